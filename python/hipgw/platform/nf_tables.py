"""Rules of the kernel's nf_tables, by netlink: a table of one's own is made, or goes, as a whole.

No tool has to be there, and CAP_NET_ADMIN is enough, so what root has made can be undone by the
user that it became. `linux/netfilter/nf_tables.h` has the numbers.
"""

import contextlib
import enum
import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hipgw.platform.netlink_socket import NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, split

NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_IPV6 = 10
"""Families: the first one has the packets of both others."""

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_NLM_F_APPEND = 0x800
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _GETRULE = 0, 1, 2, 3, 6, 7
_NLM_F_DUMP = 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_OWNER = 2
_ACCEPT = 1
_REGISTER, _VERDICT = 1, 0
_NESTED = 0x8000
_QUEUE_BYPASS = 1
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("!BBH")
_TIMEOUT_S = 10.0


class Hook(enum.IntEnum):
    """Where a chain gets packets (NF_INET_…)."""

    PREROUTING = 0
    OUTPUT = 3


class Meta(enum.IntEnum):
    """What a packet is known by besides its octets (NFT_META_…)."""

    PRIORITY = 2
    IIFNAME = 6
    NFPROTO = 15
    L4PROTO = 16
    PKTTYPE = 19


class Compare(enum.IntEnum):
    """How what was loaded is compared (NFT_CMP_…)."""

    EQ = 0
    NEQ = 1
    LTE = 3


# -- expressions: what a rule is made of, in order; one that does not hold ends the rule -----------


def meta(key: Meta, value: bytes, compare: Compare = Compare.EQ) -> bytes:
    """Holds if what the packet is known by compares so with *value*."""
    load = _expression("meta", _number(1, _REGISTER), _number(2, key))
    return load + _compare(value, compare)


def transport(offset: int, value: bytes, compare: Compare = Compare.EQ) -> bytes:
    """Holds if the octets from *offset* behind the IP headers compare so with *value*."""
    load = _expression(
        "payload",
        _number(1, _REGISTER),
        _number(2, 2),
        _number(3, offset),
        _number(4, len(value)),
    )
    return load + _compare(value, compare)


def counter() -> bytes:
    """Counts the packets that come here; `nft list` shows them."""
    return _expression("counter")


def accept() -> bytes:
    """The packet goes on, past the rules that follow in this table."""
    code = _nested(2, _number(1, _ACCEPT))
    return _expression("immediate", _number(1, _VERDICT), _nested(2, code))


def queue(number: int) -> bytes:
    """Give the packet to NFQUEUE *number*; it goes on if nobody listens there."""
    return _expression(
        "queue",
        _attribute(1, struct.pack("!H", number)),
        _attribute(2, struct.pack("!H", 1)),
        _attribute(3, struct.pack("!H", _QUEUE_BYPASS)),
    )


def queue_target(number: int) -> bytes:
    """The same by the target of iptables, for kernels without the expression (NFT_COMPAT)."""
    info = struct.pack("=HHHxx", number, 1, _QUEUE_BYPASS)
    return _expression("target", _string(1, "NFQUEUE"), _number(2, 3), _attribute(3, info))


def untracked() -> bytes:
    """Leave the packet out of connection tracking, and so out of NAT. It goes on."""
    return _expression("notrack")


def reassembly() -> bytes:
    """Does nothing, but has the kernel put fragments together before rules look at them.

    Without connection tracking it does not. The expression, which takes packets to a local
    socket, asks for that by being there.
    """
    port = _expression(
        "immediate", _number(1, _REGISTER), _nested(2, _attribute(1, struct.pack("!H", 0)))
    )
    return meta(Meta.L4PROTO, b"\xff") + port + _expression("tproxy", _number(1, 0), _number(3, 1))


# -- tables ----------------------------------------------------------------------------------------


class _Kernel:
    """A netlink socket of nf_tables, in the network namespace of the calling thread."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def transaction(self, messages: Sequence[bytes]) -> None:
        """All or none. Raises OSError as the kernel answered to the first that it refused."""
        # The answer to the last one says that all is done.
        self.ask(
            _header(_BATCH_BEGIN, b"", 0, resource=_SUBSYSTEM),
            *messages[:-1],
            _acknowledged(messages[-1]),
            _header(_BATCH_END, b"", 0, resource=_SUBSYSTEM),
            last=len(messages),
        )

    def ask(self, *messages: bytes, last: int = 0) -> list[bytes]:
        """Answers until that to the message of this index."""
        first = self._sequence
        self._sequence += len(messages)
        self._socket.send(
            b"".join(_numbered(message, first + n) for n, message in enumerate(messages))
        )
        answers: list[bytes] = []
        while True:
            for sequence, kind, answer in split(self._socket.recv(1 << 18)):
                if sequence < first:
                    continue  # more that was refused before
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    if sequence == first + last:
                        return answers
                elif kind == _NLMSG_DONE:
                    return answers
                else:
                    answers.append(answer)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of a table, named by its hook; its packets go on unless a rule says otherwise."""

    hook: Hook
    priority: int
    rules: Sequence[bytes]
    """In the order in which they are asked."""

    @property
    def name(self) -> str:
        """As it is shown."""
        return self.hook.name.lower()


class OwnTable:
    """A table of chains. It goes with the object, if this kernel knows how.

    From Linux 5.12 on it belongs to a netlink socket: nobody else can change or flush it, and
    it goes when the process ends, however that comes about. Raises OSError as the kernel answers.
    """

    def __init__(self, name: str, chains: Sequence[Chain]) -> None:
        """Make the table, in place of one of that name."""
        self._kernel = _Kernel()
        try:
            try:
                self._kernel.transaction(_whole(name, chains, owned=True))
                self.owned = True
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self._kernel.transaction(_whole(name, chains, owned=False))
                self.owned = False
        except BaseException:
            self._kernel.close()
            raise
        self._name = name
        self._rules = sum(len(chain.rules) for chain in chains)

    def whole(self) -> bool:
        """Is it there still, with all its rules?"""
        return _count_rules(self._kernel, self._name) == self._rules

    def close(self) -> None:
        """Remove it. What is gone already is no error."""
        try:
            _remove(self._kernel, self._name)
        finally:
            self._kernel.close()


def remove(name: str) -> None:
    """Remove a table that nobody owns; without one nothing is done. Raises OSError."""
    kernel = _Kernel()
    try:
        _remove(kernel, name)
    finally:
        kernel.close()


def exists(name: str) -> bool:
    """Is there a table of that name, whoever made it? Raises OSError, also without nf_tables."""
    kernel = _Kernel()
    try:
        try:
            kernel.ask(_message(_GETTABLE, _string(1, name), NLM_F_ACK))
        except FileNotFoundError:
            return False
        return True
    finally:
        kernel.close()


def _whole(name: str, chains: Iterable[Chain], *, owned: bool) -> list[bytes]:
    """Messages that make a table anew: it is made if there is none, removed, and made."""
    plain = _string(1, name)
    flagged = plain + (_number(2, _OWNER) if owned else b"")
    messages = [
        _message(_NEWTABLE, flagged, NLM_F_CREATE),
        _message(_DELTABLE, plain),
        _message(_NEWTABLE, flagged, NLM_F_CREATE),
    ]
    for chain in chains:
        hook = _number(1, chain.hook) + _attribute(2, struct.pack("!i", chain.priority))
        named = plain + _string(3, chain.name)
        body = named + _nested(4, hook) + _string(7, "filter")
        messages.append(_message(_NEWCHAIN, body, NLM_F_CREATE))
        for rule in chain.rules:
            body = plain + _string(2, chain.name) + _nested(4, rule)
            messages.append(_message(_NEWRULE, body, NLM_F_CREATE | _NLM_F_APPEND))
    return messages


def _remove(kernel: _Kernel, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        kernel.transaction([_message(_DELTABLE, _string(1, name))])


def _count_rules(kernel: _Kernel, name: str) -> int:
    return len(kernel.ask(_message(_GETRULE, _string(1, name), _NLM_F_DUMP)))


# -- messages --------------------------------------------------------------------------------------


def _message(command: int, body: bytes, flags: int = 0) -> bytes:
    return _header(_SUBSYSTEM << 8 | command, body, flags, family=NFPROTO_INET)


def _header(kind: int, body: bytes, flags: int, *, family: int = 0, resource: int = 0) -> bytes:
    body = _FAMILY.pack(family, 0, resource) + body
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body


def _acknowledged(message: bytes) -> bytes:
    length, kind, flags, sequence, port = _HEADER.unpack_from(message)
    return _HEADER.pack(length, kind, flags | NLM_F_ACK, sequence, port) + message[_HEADER.size :]


def _numbered(message: bytes, sequence: int) -> bytes:
    length, kind, flags, _, port = _HEADER.unpack_from(message)
    return _HEADER.pack(length, kind, flags, sequence, port) + message[_HEADER.size :]


def _expression(name: str, *attributes: bytes) -> bytes:
    return _nested(1, _string(1, name) + _nested(2, b"".join(attributes)))


def _compare(value: bytes, compare: Compare) -> bytes:
    data = _nested(3, _attribute(1, value))
    return _expression("cmp", _number(1, _REGISTER), _number(2, compare), data)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!I", value))


def _string(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")
