"""The table of what was checked of each OpenHIP recording.

Write it anew with: PYTHONPATH=tests .venv/bin/python -m interop.openhip_table
"""

from interop.openhip import CAPTURES, OPENHIP
from interop.openhip_checks import CHECKS

FILE = OPENHIP / "CHECKED.md"

_HEAD = """# What is checked of each OpenHIP recording

Written by `interop.openhip_table`; `test_openhip.py` fails when a count changes. The columns are
the checks of `openhip_checks.py`, whose docstrings say what each asserts; nothing stands for none.

"""


def table() -> str:
    """The whole file; every check is made on the way, and raises AssertionError if it fails."""
    rows = [("recording", *CHECKS), ("---", *("---:" for _ in CHECKS))]
    totals = dict.fromkeys(CHECKS, 0)
    for capture in CAPTURES:
        counts = {name: check(capture) for name, check in CHECKS.items()}
        rows.append((capture.stem, *(str(count or "") for count in counts.values())))
        for name, count in counts.items():
            totals[name] += count
    rows.append(("**all**", *map(str, totals.values())))
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    FILE.write_text(table())
