"""What each stage of the engine takes, beside one TCP stream through an endbox pair (root).

For an engine built with the feature `stage-cycles`:

    .venv/bin/maturin develop --release --features python,stage-cycles
    .venv/bin/python bench/stages.py
"""

import argparse
import sys
import time

from contestants.base import Ends, when_reached
from hipgw.lab import Lab
from hipgw.lab.topologies import Site, endbox_pair
from measures.tcp import stream

PREFIX = "stage_ns_"


def main() -> int:
    """Measure, and print nanoseconds a packet that the sender's gateway sent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3)
    seconds: float = parser.parse_args().seconds
    with Lab("stages") as lab:
        network = endbox_pair(lab)
        network.start()
        near, far = network.sites
        ends = when_reached(Ends(near.lan, far.lan, far.lan4))
        with stream(ends, seconds + 2):
            before = [counters(site) for site in (near, far)]
            time.sleep(seconds)
            after = [counters(site) for site in (near, far)]
    sent, received = (
        {name: now[name] - then[name] for name in now}
        for then, now in zip(before, after, strict=True)
    )
    names = [name for name in sent if name.startswith(PREFIX)]
    if not names:
        print("This engine was built without the feature stage-cycles.", file=sys.stderr)
        return 1
    packets = sent["net_tx_packets"]
    mean = sent["net_tx_bytes"] / packets
    print(f"{packets} packets of {mean:.0f} octets in {seconds:g} s; nanoseconds a packet\n")
    print(f"{'stage':10}{'sender':>10}{'receiver':>10}")
    for name in names:
        columns = (part[name] / packets for part in (sent, received))
        print(f"{name.removeprefix(PREFIX):10}" + "".join(f"{ns:10.0f}" for ns in columns))
    return 0


def counters(site: Site) -> dict[str, int]:
    """What a site's engine has counted so far."""
    counted: dict[str, int] = site.daemon.request("counters")["dataplane"]
    return counted


if __name__ == "__main__":
    sys.exit(main())
