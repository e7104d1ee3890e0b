"""Write the documents that are made from the code, or check that they are up to date.

python tools/docs.py            write them
python tools/docs.py --check    fail if one differs from what would be written
"""

import argparse
import ast
import inspect
import itertools
import sys
from pathlib import Path

from hipgw.cli import reference as cli
from hipgw.config import reference as configuration
from hipgw.config.openhip import reference as openhip_tags
from hipgw.control import reference as control
from hipgw.protocol import compat, transitions
from hipgw.protocol.drops import DropReason

DOCS = Path(__file__).resolve().parents[1] / "docs"


def state_machine() -> str:
    """The state diagram, and the reasons for which HIP packets are dropped."""
    return f"""# State machine

Made by `tools/docs.py` from `python/hipgw/protocol/transitions.py`; do not edit.

The states of an association are those of RFC 7401 §4.4.2. Packets that change none are left out.

```mermaid
{transitions.mermaid()}
```

## Why a HIP packet is dropped

`hipgw counters` shows how often each was the case.

{chr(10).join(f"- `{reason.value}`" for reason in DropReason)}
"""


def openhip() -> str:
    """docs/openhip.md as it is, with the table of tags made anew."""
    text = (DOCS / "openhip.md").read_text()
    start, _, rest = text.partition(openhip_tags.START)
    _, _, end = rest.partition(openhip_tags.END)
    return start + openhip_tags.START + openhip_tags.table() + openhip_tags.END + end


def deviations() -> str:
    """The profiles of peers that do not do what the RFCs say."""
    names = [name for name in compat.PROFILES if name != compat.RFC.name]
    header = f"| deviation | {' | '.join(names)} | what it is |"
    lines = [header, f"|---|{'---|' * len(names)}---|"]
    for name, about in documented():
        cells = (_deviates(compat.PROFILES[profile], name) for profile in names)
        lines.append(f"| `{name}` | {' | '.join(cells)} | {about} |")
    return f"""# Peers that deviate

Made by `tools/docs.py` from `python/hipgw/protocol/compat.py`; do not edit.

Some implementations of HIP do things otherwise than the RFCs say, so that nobody who follows these
can talk to them. `compat` of a `[[peer]]` names the implementation that a peer runs, and
`hip.v1.compat` that of all peers of HIP version 1 that do not say otherwise. Nothing else ever
chooses a profile: not what a peer sends, and not what fails. `hipgw peers`, `hipgw associations`
and `hipgw status` show the profiles in use. *Recorded* means seen on the packets in
`tests/vectors`, *read* in the source of that implementation alone.

An empty cell stands for what the RFCs say.

{chr(10).join(lines)}
"""


def documented() -> list[tuple[str, str]]:
    """Every deviation and what is written about it in the class."""
    body = ast.parse(inspect.getsource(compat.Compat)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = []
    for field, text in itertools.pairwise(body.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and field.target.id != "name"
        ):
            found.append((field.target.id, " ".join(str(text.value.value).split())))
    return found


def _deviates(profile: compat.Compat, name: str) -> str:
    value = getattr(profile, name)
    if value == getattr(compat.RFC, name):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return ", ".join(str(one) for one in sorted(value))
    return str(getattr(value, "value", value))


DOCUMENTS = {
    "cli.md": cli.render,
    "compat.md": deviations,
    "configuration.md": configuration.render,
    "control-api.md": control.render,
    "openhip.md": openhip,
    "state-machine.md": state_machine,
}


def main() -> int:
    """Write or check all documents; 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, make in DOCUMENTS.items():
        place, text = DOCS / name, make()
        if not check:
            place.write_text(text)
        elif not place.exists() or place.read_text() != text:
            stale.append(name)
    for name in stale:
        print(f"docs/{name} is out of date: run tools/docs.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
