"""Sends or counts small UDP datagrams, faster than iperf3 can: many to a system call.

    python bench/datagrams.py receive PORT SKIP_S WINDOW_S     prints JSON at the end
    python bench/datagrams.py send ADDRESS PORT SECONDS RATE   RATE a second; 0: as fast as it goes

iperf3 makes one system call for each datagram, and its control connection starves when a flood
fills the tunnel. Every datagram here still is a packet of its own to the kernel: no segmentation
offload. What counts is what arrives in WINDOW_S seconds that begin SKIP_S after the first datagram,
so neither the start nor what queues give away after the end is in the figure.
"""

import ctypes
import errno
import json
import os
import socket
import sys
import time
from ipaddress import ip_address

PAYLOAD = 64
"""Octets of UDP payload, as with `iperf3 -l 64`."""
BATCH = 64
"""Datagrams to a system call."""
BUFFER = 4 << 20
FIRST_S = 10.0
"""How long the receiver waits for the first datagram."""

_WAIT_FOR_ONE = 0x10000  # MSG_WAITFORONE
_RECEIVE_BUFFER_FORCE, _SEND_BUFFER_FORCE = 33, 32

_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class _Batch:
    """Messages for sendmmsg and recvmmsg; all share one buffer, as nobody reads the contents."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(PAYLOAD)
        self._vector = _Vector(ctypes.addressof(self._buffer), PAYLOAD)
        self.messages = (_Message * BATCH)()
        for message in self.messages:
            message.header.vectors = ctypes.pointer(self._vector)
            message.header.vector_count = 1


def receive(port: int, skip_s: float, window_s: float) -> dict[str, float]:
    """Count what arrives at *port*; ends by itself after the window."""
    # One socket takes both families: IPv4 arrives at it as mapped addresses.
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, BUFFER)
        opened.bind(("::", port))
        opened.settimeout(FIRST_S)
        try:
            opened.recv(PAYLOAD)
        except TimeoutError:
            return {"packets": 0, "seconds": window_s}
        begin = time.monotonic() + skip_s
        end = begin + window_s
        # From here on the kernel wakes us at least every tenth of a second.
        opened.settimeout(None)
        tenth = (0).to_bytes(8, sys.byteorder) + (100_000).to_bytes(8, sys.byteorder)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tenth)
        batch, packets, first, last = _Batch(), 0, begin, end
        while True:
            got = _libc.recvmmsg(opened.fileno(), batch.messages, BATCH, _WAIT_FOR_ONE, None)
            now = time.monotonic()
            if got < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            if now < begin:
                first = now
                continue
            packets += max(got, 0)
            last = now
            if now >= end:
                return {"packets": packets, "seconds": last - first}


def send(address: str, port: int, seconds: float, rate: float) -> dict[str, float]:
    """Send to *address*, *rate* datagrams a second or as many as go."""
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_FORCE, BUFFER)
        opened.connect((address, port))
        batch, packets = _Batch(), 0
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < seconds:
            if rate:
                ahead = packets / rate - now
                if ahead > 0:
                    time.sleep(ahead)
                    continue
            sent = _libc.sendmmsg(opened.fileno(), batch.messages, BATCH, 0)
            # A full queue or a receiver that has just ended is no reason to stop.
            packets += max(sent, 0)
        return {"packets": packets, "seconds": time.monotonic() - begin}


def main() -> int:
    """See the module's text."""
    what, *arguments = sys.argv[1:]
    if what == "receive":
        port, skip_s, window_s = arguments
        result = receive(int(port), float(skip_s), float(window_s))
    else:
        address, port, seconds, rate = arguments
        result = send(address, int(port), float(seconds), float(rate))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
