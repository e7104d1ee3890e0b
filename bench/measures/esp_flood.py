"""ESP of many security associations of one client, as it would come from a network card.

    python -m measures.esp_flood INTERFACE SOURCE DESTINATION udp|plain OCTETS WAYS

OCTETS are those of ESP, WAYS a power of two. The kernel is told that the frames have come in at
the interface (XDP live frames, Linux 5.18), 64 at a time, and does on this core what it would then
do: nothing sends them and hardly anything is spent on making them. Prints "sending", and at the end
how many a second came in.
"""

import socket
import struct
import sys
from ipaddress import ip_address

from hipgw.wire.checksum import checksum16
from measures.bpf import XDP, XDP_DEVICE, Instruction, attach, load, receive

CLIENT = {4: "10.0.0.10", 6: "fd00:1::10"}
PEER = {4: "192.0.2.7", 6: "2001:db8::7"}
PORT = 10500
FIRST_SPI = 0x10000
AT_ONCE = 1 << 20
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_ESP, _UDP = 50, 17
_XDP_DROP, _XDP_PASS = 1, 2
ETHERNET = 14
_UDP_HEADER = 8
_SPI_AND_SEQUENCE = struct.pack("!II", FIRST_SPI, 0xFFFF)


def frame(mac: bytes, source: str, destination: str, encapsulated: bool, octets: int) -> bytes:
    """One packet behind an Ethernet header."""
    family = ip_address(source).version
    ends = ip_address(source).packed + ip_address(destination).packed
    payload, protocol = _SPI_AND_SEQUENCE + bytes(octets - 8), _ESP
    if encapsulated:
        header, protocol = struct.pack("!HHH", PORT, PORT, _UDP_HEADER + octets), _UDP
        pseudo = ends + struct.pack("!II", _UDP_HEADER + octets, _UDP)
        # Over IPv4 ESP has none (RFC 3948 §2.1); over IPv6 it has to.
        checksum = checksum16(pseudo + header + bytes(2) + payload) if family == 6 else 0
        payload = header + checksum.to_bytes(2, "big") + payload
    if family == 6:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    else:
        header = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), 0, 1 << 14, 64, protocol)
        header += checksum16(header + bytes(2) + ends).to_bytes(2, "big")
    return mac + bytes(6) + struct.pack("!H", _ETHERTYPES[family]) + header + ends + payload


def program(frame: bytes, spi_at: int, ways: int) -> list[Instruction]:
    """Gives a frame its headers, which others have changed meanwhile, and an SPI by chance.

    What the SPI adds to the checksum of UDP the sequence number takes from it.
    """
    headers = frame[: spi_at + 8]
    words = [
        (0x62, 6, 0, at, struct.unpack("=i", headers[at : at + 4])[0])
        for at in range(0, len(headers) - 3, 4)
    ]
    if len(headers) % 4:
        at = len(headers) - 2
        words.append((0x6A, 6, 0, at, struct.unpack("=H", headers[at:])[0]))
    body = [
        *words,
        (0x85, 0, 0, 0, 7),  # bpf_get_prandom_u32
        (0x57, 0, 0, 0, ways - 1),
        (0xDC, 0, 0, 0, 16),
        (0x6B, 6, 0, spi_at + 2, 0),
        (0xA7, 0, 0, 0, 0xFFFF),
        (0x6B, 6, 0, spi_at + 6, 0),
        (0xB7, 0, 0, 0, _XDP_PASS),
        (0x95, 0, 0, 0, 0),
    ]
    return [
        (0x61, 6, 1, 0, 0),  # data
        (0x61, 3, 1, 4, 0),  # data_end
        (0xBF, 2, 6, 0, 0),
        (0x07, 2, 0, 0, len(headers)),
        (0x2D, 2, 3, len(body), 0),
        *body,
        (0xB7, 0, 0, 0, _XDP_DROP),
        (0x95, 0, 0, 0, 0),
    ]


def main() -> None:
    """See the module's text."""
    interface, source, destination, framing, octets, ways = sys.argv[1:]
    family, encapsulated = ip_address(source).version, framing == "udp"
    ifindex = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        mac = sock.getsockname()[4]
    made = frame(mac, source, destination, encapsulated, int(octets))
    spi_at = ETHERNET + (40 if family == 6 else 20) + (_UDP_HEADER if encapsulated else 0)
    sender = load(XDP, program(made, spi_at, int(ways)))
    # Only for a device that XDP is turned on at are there such frames.
    attach(load(XDP, [(0xB7, 0, 0, 0, _XDP_PASS), (0x95, 0, 0, 0, 0)]), ifindex, XDP_DEVICE)
    print("sending", flush=True)
    while True:
        # To begin takes the kernel as long as thousands of frames do.
        receive(sender, made, ifindex, AT_ONCE)


if __name__ == "__main__":
    main()
