"""Sends or counts UDP datagrams, faster than iperf3 can: many to a system call.

    python bench/datagrams.py receive PORT OCTETS SKIP_S WINDOW_S   prints JSON at the end
    python bench/datagrams.py count PORT OCTETS                     so does this
    python bench/datagrams.py send ADDRESS PORT OCTETS SECONDS RATE

OCTETS are those of the payload. RATE is a second; 0: as fast as it goes. iperf3 makes one system
call for each datagram, and its control connection starves when a flood fills the tunnel. Every
datagram here still is a packet of its own to the kernel: no segmentation offload.

For throughput, `receive` counts what arrives in WINDOW_S seconds that begin SKIP_S after the first
datagram, so neither the start nor what queues give away after the end is in the figure. For loss,
`count` counts all of them until no more come.
"""

import ctypes
import errno
import json
import os
import socket
import sys
import time
from ipaddress import ip_address

BATCH = 64
"""Datagrams to a system call, at most."""
BURST_S = 0.001
"""A paced sender sends what is due in this time at once."""
BUFFER = 4 << 20
FIRST_S = 10.0
"""How long the receiver waits for the first datagram."""
QUIET_S = 0.2
"""After this time without one, all that will come has come."""

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

    def __init__(self, octets: int) -> None:
        self._buffer = ctypes.create_string_buffer(octets)
        self._vector = _Vector(ctypes.addressof(self._buffer), octets)
        self.messages = (_Message * BATCH)()
        for message in self.messages:
            message.header.vectors = ctypes.pointer(self._vector)
            message.header.vector_count = 1


def receive(port: int, octets: int, skip_s: float, window_s: float) -> dict[str, float]:
    """Count what arrives at *port* in a window; ends by itself after it."""
    with _bound(port) as opened:
        if not _first(opened, 0.1):
            return {"packets": 0, "seconds": window_s}
        begin = time.monotonic() + skip_s
        end = begin + window_s
        batch, packets, first = _Batch(octets), 0, begin
        while True:
            got = _receive(opened, batch)
            now = time.monotonic()
            if now < begin:
                first = now
                continue
            packets += got
            if now >= end:
                return {"packets": packets, "seconds": now - first}


def count(port: int, octets: int) -> dict[str, float]:
    """Count all that arrives at *port* until no more does."""
    with _bound(port) as opened:
        packets = int(_first(opened, QUIET_S))
        batch = _Batch(octets)
        while packets and (got := _receive(opened, batch)):
            packets += got
        return {"packets": packets}


def send(address: str, port: int, octets: int, seconds: float, rate: float) -> dict[str, float]:
    """Send to *address*, *rate* datagrams a second or as many as go."""
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    at_once = min(max(round(rate * BURST_S), 1), BATCH) if rate else BATCH
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_FORCE, BUFFER)
        opened.connect((address, port))
        batch, packets = _Batch(octets), 0
        begin = due = time.monotonic()
        while (now := time.monotonic()) - begin < seconds:
            if rate:
                if due > now:
                    time.sleep(due - now)
                    continue
                # Who was held up does not make up for it by a flood.
                due = max(due, now - 2 * BURST_S) + at_once / rate
            sent = _libc.sendmmsg(opened.fileno(), batch.messages, at_once, 0)
            # A full queue or a receiver that has just ended is no reason to stop.
            packets += max(sent, 0)
        return {"packets": packets, "seconds": time.monotonic() - begin}


def _bound(port: int) -> socket.socket:
    # One socket takes both families: IPv4 arrives at it as mapped addresses.
    opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, BUFFER)
    opened.bind(("::", port))
    return opened


def _first(opened: socket.socket, wake_s: float) -> bool:
    """Wait for the first datagram; from then on the kernel wakes us at least every *wake_s*."""
    opened.settimeout(FIRST_S)
    try:
        opened.recv(1)
    except TimeoutError:
        return False
    opened.settimeout(None)
    timeout = (0).to_bytes(8, sys.byteorder) + round(wake_s * 1e6).to_bytes(8, sys.byteorder)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    return True


def _receive(opened: socket.socket, batch: _Batch) -> int:
    """Datagrams that arrived; 0 if none did in time."""
    got = _libc.recvmmsg(opened.fileno(), batch.messages, BATCH, _WAIT_FOR_ONE, None)
    if got < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(max(got, 0))


def main() -> int:
    """See the module's text."""
    what, *arguments = sys.argv[1:]
    if what == "receive":
        port, octets, skip_s, window_s = arguments
        result = receive(int(port), int(octets), float(skip_s), float(window_s))
    elif what == "count":
        port, octets = arguments
        result = count(int(port), int(octets))
    else:
        address, port, octets, seconds, rate = arguments
        result = send(address, int(port), int(octets), float(seconds), float(rate))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
