"""Makes the table of tags in docs/openhip.md, so that it never differs from what is done."""

from hipgw.config.openhip.conf import tags
from hipgw.config.openhip.importing import covered_tags
from hipgw.config.openhip.mapping import KEPT

START = "<!-- Made by `tools/docs.py` from python/hipgw/config/openhip/mapping.py. -->\n"
END = "<!-- end -->"


def table() -> str:
    """Every tag of hip.conf with the key that it becomes, or the reason why it becomes none."""
    covered = covered_tags()
    lines = ["", "| tag | becomes | or why not |", "|---|---|---|"]
    for tag in tags():
        why = KEPT.get(tag, "")
        key = "" if why else f"`{covered[tag]}`"
        lines.append(f"| `{tag}` | {key} | {why} |")
    return "\n".join([*lines, "", ""])
