"""Write the documents that are made from the code, or check that they are up to date.

python tools/docs.py            write them
python tools/docs.py --check    fail if one differs from what would be written
"""

import argparse
import sys
from pathlib import Path

from hipgw.cli import reference as cli
from hipgw.config import reference as configuration
from hipgw.config.openhip import reference as openhip_tags
from hipgw.control import reference as control
from hipgw.protocol import transitions
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


DOCUMENTS = {
    "cli.md": cli.render,
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
