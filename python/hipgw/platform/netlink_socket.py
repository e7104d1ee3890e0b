"""Netlink requests without an event loop: for what has to be done within microseconds.

The messages are pyroute2's (or made in its way); only its sockets, which bring an event loop of
their own, are left out. See `hipgw.platform.netlink` for everything that may take its time.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_HEADER = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")
_SOL_NETLINK = 270
_NETLINK_EXT_ACK = 11
_NLM_F_ACK_TLVS = 0x200
_NLM_F_CAPPED = 0x100
_NLMSGERR_ATTR_MSG = 1
_RECEIVE_OCTETS = 1 << 18


class NetlinkSocket:
    """One socket of a netlink family, in the network namespace of the calling thread.

    Every method raises OSError as the kernel answered, with its explanation as `strerror` where it
    gave one.
    """

    def __init__(self, family: int) -> None:
        """*family* is a NETLINK_… number."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, family)
        self._sequence = 0
        # Before Linux 4.12 errors come without explanations.
        with contextlib.suppress(OSError):
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def request(self, kind: int, message: Any, flags: int = 0) -> None:
        """Send a pyroute2 *message* of type *kind* and wait until the kernel has done it."""
        for _ in self._ask(kind, message, flags | NLM_F_ACK):
            pass

    def get(self, kind: int, message: Any) -> bytes:
        """Ask for one thing; the answer with its header. Raises OSError(ENOENT) without one."""
        for answer in self._ask(kind, message, 0, single=True):
            return answer
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def dump(self, kind: int, message: Any) -> list[bytes]:
        """All things of a kind, each with its header."""
        return list(self._ask(kind, message, NLM_F_DUMP))

    def _ask(self, kind: int, message: Any, flags: int, *, single: bool = False) -> Iterator[bytes]:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        message["header"] = {
            "type": kind,
            "flags": flags | NLM_F_REQUEST,
            "sequence_number": self._sequence,
            "pid": 0,
        }
        message.reset()
        message.encode()
        try:
            self._socket.send(message.data)
        finally:
            # There may be keys in it.
            message.data[:] = bytes(len(message.data))
        while True:
            data = self._socket.recv(_RECEIVE_OCTETS)
            for sequence, answer_kind, answer in split(data):
                if sequence != self._sequence:
                    continue  # what an earlier request left unread
                if answer_kind == _NLMSG_ERROR:
                    _raise_error(answer)
                    return
                if answer_kind == _NLMSG_DONE:
                    return
                yield answer
                if single:
                    return


def split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Sequence number, type and octets (with the header) of each message in what was received."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            return
        yield sequence, kind, data[offset : offset + length]
        offset += (length + 3) & ~3


def _raise_error(answer: bytes) -> None:
    code = -_ERROR.unpack_from(answer, _HEADER.size)[0]
    if code:
        raise OSError(code, _explanation(answer) or os.strerror(code))


def _explanation(answer: bytes) -> str:
    """The kernel's own words about an error (NLMSGERR_ATTR_MSG), if there are any."""
    flags = _HEADER.unpack_from(answer)[2]
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    offset = _HEADER.size + _ERROR.size
    inner = _HEADER.unpack_from(answer, offset)[0]
    offset += _HEADER.size if flags & _NLM_F_CAPPED else (inner + 3) & ~3
    while offset + 4 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, offset)
        if length < 4:
            break
        if kind == _NLMSGERR_ATTR_MSG:
            return answer[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += (length + 3) & ~3
    return ""
