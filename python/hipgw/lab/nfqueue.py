"""Packets that a rule of iptables hands to a program, which says what becomes of them (NFQUEUE)."""

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable

from hipgw.errors import LabError

_NETLINK_NETFILTER = 12
_SUBSYSTEM_QUEUE = 3
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLMSG_ERROR = 2
_CFG_CMD, _CFG_PARAMS = 1, 2
_CMD_BIND = 1
_COPY_PACKET = 2
_A_PACKET_HEADER, _A_VERDICT, _A_PAYLOAD = 1, 2, 10
_DROP, _ACCEPT = 0, 1
_NLMSGHDR = struct.Struct("=IHHII")
_NFGENMSG = struct.Struct("!BBH")
_ATTRIBUTE = struct.Struct("=HH")

_COPIED_OCTETS = 256
"""Of each packet: its headers are enough here."""


class PacketQueue:
    """One queue of the network namespace it is made in."""

    def __init__(self, number: int) -> None:
        """Raises LabError if the kernel has none, or somebody else listens at it."""
        self._number = number
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC)
        try:
            self._socket.bind((0, 0))
            self._configure(_CFG_CMD, struct.pack("!BBH", _CMD_BIND, 0, socket.AF_INET))
            self._configure(_CFG_PARAMS, struct.pack("!IB", _COPIED_OCTETS, _COPY_PACKET))
        except BaseException:
            self.close()
            raise

    def run(self, verdict: Callable[[bytes], bool]) -> None:
        """Ask *verdict* of each packet (its first octets, from the IP header) until `stop`.

        What it does not let go on is dropped.
        """
        while True:
            wanted = [self._socket.fileno(), self._wake]
            if self._wake in select.select(wanted, [], [])[0]:
                return
            # Packets that did not fit into the socket's buffer were dropped by the kernel.
            with contextlib.suppress(OSError):
                data = self._socket.recv(1 << 16)
                for identifier, packet in _packets(data):
                    self._answer(identifier, accept=verdict(packet))

    def stop(self) -> None:
        """End `run`, from any thread."""
        os.write(self._waker, b"x")

    def close(self) -> None:
        """Packets that still wait are dropped."""
        self._socket.close()
        os.close(self._wake)
        os.close(self._waker)

    def _configure(self, kind: int, value: bytes) -> None:
        self._send(_CONFIG, kind, value, _NLM_F_REQUEST | _NLM_F_ACK)
        answer = self._socket.recv(4096)
        code = -struct.unpack_from("=i", answer, _NLMSGHDR.size)[0]
        if _NLMSGHDR.unpack_from(answer)[1] == _NLMSG_ERROR and code:
            raise LabError(f"Packet queue {self._number}: {os.strerror(code)}.")

    def _answer(self, identifier: int, *, accept: bool) -> None:
        value = struct.pack("!II", _ACCEPT if accept else _DROP, identifier)
        self._send(_VERDICT, _A_VERDICT, value, _NLM_F_REQUEST)

    def _send(self, message: int, attribute: int, value: bytes, flags: int) -> None:
        padding = bytes(-len(value) % 4)
        body = _NFGENMSG.pack(socket.AF_UNSPEC, 0, self._number)
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + value + padding
        kind = _SUBSYSTEM_QUEUE << 8 | message
        self._socket.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, flags, 0, 0) + body)


def _packets(data: bytes) -> list[tuple[int, bytes]]:
    """Number and first octets of each packet in a batch of messages."""
    found = []
    while len(data) >= _NLMSGHDR.size:
        length, kind, _, _, _ = _NLMSGHDR.unpack_from(data)
        if not _NLMSGHDR.size <= length <= len(data):
            break
        if kind == _SUBSYSTEM_QUEUE << 8 | _PACKET:
            identifier, payload = None, b""
            rest = data[_NLMSGHDR.size + _NFGENMSG.size : length]
            while len(rest) >= _ATTRIBUTE.size:
                size, attribute = _ATTRIBUTE.unpack_from(rest)
                if size < _ATTRIBUTE.size:
                    break
                value = rest[_ATTRIBUTE.size : size]
                if attribute & 0x3FFF == _A_PACKET_HEADER:
                    identifier = int(struct.unpack_from("!I", value)[0])
                elif attribute & 0x3FFF == _A_PAYLOAD:
                    payload = value
                rest = rest[(size + 3) & ~3 :]
            if identifier is not None:
                found.append((identifier, payload))
        data = data[(length + 3) & ~3 :]
    return found
