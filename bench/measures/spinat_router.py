"""A mobile router's path, with ways entered by hand, until its process is ended.

    python -m measures.spinat_router FAMILY udp|plain FAMILY udp|plain WAYS BATCH ebpf|queue

Family and framing of packets inside, and outside. WAYS associations are entered, both ways, of
which `esp_flood` sends the first ones. Prints "ready".
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
    version, framing, outside_version, outside_framing, count, batch, kind = sys.argv[1:]
    family, outside_family, ways = int(version), int(outside_version), int(count)
    inside_port, outside_port = (PORT if one == "udp" else 0 for one in (framing, outside_framing))
    client, correspondent = (ip_address(ends[family]).packed for ends in (CLIENT, PEER))
    own, peer = (ip_address(ends[outside_family]).packed for ends in (OUTSIDE, PEER))
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
            correspondent=correspondent,
            source=own,
            destination=peer,
            source_port=outside_port,
            destination_port=outside_port,
            new_spi=spi,
            ifindex=outside,
        )
        path.insert(
            spi=spi,
            source=correspondent,
            destination=client,
            source_port=inside_port,
            destination_port=inside_port,
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
