"""A mobile router's path, with ways entered by hand, until its process is ended.

    python -m measures.spinat_router FAMILY udp|plain WAYS BATCH ebpf|queue

WAYS associations are entered, of which `esp_flood` sends the first ones. Prints
"ready".
"""

import signal
import socket
import sys
from ipaddress import ip_address

from hipgw._esp_core import SpinatPath
from measures.esp_flood import CLIENT, FIRST_SPI, PEER, PORT

QUEUE = 10500
OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
INSIDE_DEVICE, OUTSIDE_DEVICE = "in0", "out0"


def main() -> None:
    """See the module's text."""
    version, framing, count, batch, kind = sys.argv[1:]
    family, ways = int(version), int(count)
    port = PORT if framing == "udp" else 0
    client, peer, own = (ip_address(ends[family]).packed for ends in (CLIENT, PEER, OUTSIDE))
    path = SpinatPath(queue=QUEUE, capacity=2 * ways, batch=int(batch), ebpf=kind == "ebpf")
    if kind == "ebpf" and path.ebpf is not None:
        sys.exit(path.ebpf)
    inside, outside = map(socket.if_nametoindex, (INSIDE_DEVICE, OUTSIDE_DEVICE))
    path.own([], [own])
    path.outside([outside])
    for spi in range(FIRST_SPI, FIRST_SPI + ways):
        path.insert(
            spi=spi,
            client=client,
            correspondent=peer,
            source=own,
            destination=peer,
            source_port=port,
            destination_port=port,
            new_spi=spi,
            ifindex=outside,
        )
        path.insert(
            spi=spi,
            source=peer,
            destination=client,
            source_port=port,
            destination_port=port,
            new_spi=spi + 1,
            ifindex=inside,
        )
    path.start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    print({name: value for name, value in path.statistics().items() if value}, flush=True)
    path.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
