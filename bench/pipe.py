"""Carries Ethernet frames between a TAP and a UDP socket, whole and unencrypted.

    python bench/pipe.py LOCAL REMOTE

What a tunnel in user space cannot do without, and nothing else: a super-packet of up to 64 KiB is
read, sent as one datagram over an underlay with an MTU as large, received, and written. No tunnel
can be faster that takes packets from a TAP and sends them by UDP; the plain path is no such limit.
"""

import contextlib
import fcntl
import os
import select
import socket
import sys

from hipgw.platform import sockets, tuntap

PORT = 10501
ROOM = 65600
_TUNSETOFFLOAD = 0x400454D0
_CHECKSUM_AND_TCP = 1 | 2 | 4


def main() -> int:
    """One process for each direction; both end with the first."""
    local, remote = sys.argv[1:]
    tap = tuntap.open_tap("tap0")
    fcntl.ioctl(tap.fd, _TUNSETOFFLOAD, _CHECKSUM_AND_TCP)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    for force in (32, 33):  # SO_SNDBUFFORCE, SO_RCVBUFFORCE
        udp.setsockopt(socket.SOL_SOCKET, force, sockets.BUFFER_OCTETS)
    udp.bind((local, PORT))
    udp.connect((remote, PORT))
    if child := os.fork():
        with contextlib.suppress(KeyboardInterrupt):
            carry(tap.fd, udp.fileno())
        os.kill(child, 9)
    else:
        carry(udp.fileno(), tap.fd)
    return 0


def carry(source: int, target: int) -> None:
    """Hand on what comes, for ever. What the other side does not take is lost, as on a cable."""
    buffer = memoryview(bytearray(ROOM))
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while True:
        try:
            length = os.readv(source, [buffer])
            os.write(target, buffer[:length])
        except BlockingIOError:
            poll.poll()
        except OSError:
            continue


if __name__ == "__main__":
    sys.exit(main())
