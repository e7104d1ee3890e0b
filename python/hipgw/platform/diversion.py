"""Which packets are diverted to a mobile router, by whichever rules this kernel has.

Everything that may be a client's: HIP and ESP, plain and in UDP, and the ICMP errors about them,
whatever interface they come by. The router's queue gets them before routing, connection tracking
and other people's NAT, and after other people's `raw` rules, which may drop them. If the router
does not listen, they go on as if there were no rules.
"""

import enum
import errno
import itertools
import struct
from collections.abc import Callable, Sequence

from hipgw.errors import PlatformError
from hipgw.platform import iptables, nf_tables, sockets
from hipgw.platform.nf_tables import (
    Chain,
    Compare,
    Hook,
    Meta,
    OwnTable,
    accept,
    counter,
    meta,
    transport,
)

TABLE = "hipgw-mobile-router"
"""Of nf_tables, family inet."""
CHAIN = "HIPGW-MR"
"""Of iptables."""
PRIORITY = -290
"""Between the `raw` rules (-300) and connection tracking (-200)."""

_OUTPUT_PRIORITY = -300
UNTRACKED_PRIORITY = 0x68690000
"""SO_PRIORITY of what the router sends for others (`sys/socket.rs`), by which it is told from what
this host sends: connection tracking, and NAT, are not to see it."""

_ICMP, _TCP, _UDP, _ESP, _ICMPV6, _HIP = 1, 6, 17, 50, 58, 139
_ICMP_ERRORS = (3, 11, 12)
_ICMPV6_ERROR_MAX = 4
"""Destination unreachable, packet too big, time exceeded, parameter problem: 1 to 4."""
_QUOTED = 8
"""Where the packet begins that an ICMP error is about."""
_IPV4_OCTETS, _IPV4_PROTOCOL, _IPV6_OCTETS, _IPV6_NEXT_HEADER = 20, 9, 40, 6
_LACKING = {errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL}
"""What nf_tables answers if an expression, or all of it, is not in this kernel."""


class Way(enum.StrEnum):
    """What the rules are made with."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"


class Diversion:
    """The rules, as long as they are there."""

    def __init__(
        self, queue: int, udp_port: int, record: Callable[[Way], None], ways: Sequence[Way]
    ) -> None:
        """Set the rules by the first of *ways* that can. Raises PlatformError if none can.

        *record* is called before anything is changed, with the way that is tried.
        """
        self._ways = ways
        self._record = record
        self._table: OwnTable | None = None
        self._chains: list[iptables.OwnChain] = []
        self._queue, self._udp_port = queue, udp_port
        self.description = ""
        """Where the rules are, for those who look for them."""
        self.reassembles = True
        """Does the kernel put fragments together before it diverts them, in any case?"""
        self._set()

    @property
    def outlasts(self) -> bool:
        """Do the rules stay when this process is killed, and can others remove them?"""
        return self._table is None or not self._table.owned

    @property
    def takes_time(self) -> bool:
        """Does `renew` have to wait for other programs?"""
        return self._table is None

    def renew(self) -> bool:
        """Set the rules again if somebody has removed them; True if so. Raises PlatformError.

        Rules that belong to this process (Linux 5.12 and later) cannot be removed by others.
        """
        if self._table is not None:
            try:
                if self._table.owned or self._table.whole():
                    return False
            except OSError as error:
                raise _nf_tables_failed(error) from error
            self._table.close()
            self._table = None
            self._set()
            return True
        gone = [chain for chain in self._chains if not chain.whole()]
        for chain in gone:
            chain.renew()
        return bool(gone)

    def close(self) -> None:
        """Remove the rules. Raises PlatformError."""
        if self._table is not None:
            try:
                self._table.close()
            except OSError as error:
                raise _nf_tables_failed(error) from error
        for chain in self._chains:
            chain.close()

    def _set(self) -> None:
        refusals: list[PlatformError] = []
        for way in self._ways:
            self._record(way)
            refusal = self._set_table() if way is Way.NFTABLES else self._set_chains()
            if refusal is None:
                return
            refusals.append(refusal)
        raise PlatformError(
            "Packets cannot be diverted to the mobile router. " + " ".join(map(str, refusals)),
            hint=next((refusal.hint for refusal in reversed(refusals) if refusal.hint), ""),
        )

    def _set_table(self) -> PlatformError | None:
        """Why this kernel's nf_tables cannot have the rules; None if it does."""
        refusal: OSError | None = None
        queues = (nf_tables.queue(self._queue), nf_tables.queue_target(self._queue))
        # All that there may be first.
        for queue, reassembles, tracks in itertools.product(queues, (True, False), (False, True)):
            rules = table_rules(queue, self._udp_port, reassembles=reassembles)
            chains = [Chain(Hook.PREROUTING, PRIORITY, rules)]
            if not tracks:
                chains.append(Chain(Hook.OUTPUT, _OUTPUT_PRIORITY, [_untracked()]))
            try:
                self._table = OwnTable(TABLE, chains)
            except OSError as error:
                if error.errno not in _LACKING:
                    raise _nf_tables_failed(error) from error
                refusal = refusal or error
            else:
                self.reassembles = reassembles
                self.description = f"nftables table inet {TABLE}"
                return None
        return _nf_tables_failed(refusal) if refusal is not None else None

    def _set_chains(self) -> PlatformError | None:
        """Why iptables cannot have the rules; None if it does."""
        for version in (4, 6) if sockets.ipv6_there() else (4,):
            try:
                self._chains.append(self._chain(version))
            except (PlatformError, OSError) as error:
                for chain in self._chains:
                    chain.close()
                self._chains.clear()
                if isinstance(error, PlatformError):
                    return error
                return PlatformError(f"iptables: {error}.", hint="Start hipgw as root.")
        self.description = ", ".join(f"{chain.place} {CHAIN}" for chain in self._chains)
        return None

    def _chain(self, version: int) -> iptables.OwnChain:
        try:
            rules = chain_rules(version, self._queue, self._udp_port, reassembles=True)
            return iptables.OwnChain(version, CHAIN, rules)
        except PlatformError:
            rules = chain_rules(version, self._queue, self._udp_port, reassembles=False)
            chain = iptables.OwnChain(version, CHAIN, rules)
            self.reassembles = False
            return chain


def remove(way: Way) -> None:
    """Remove what a process that is gone has left. Raises OSError and PlatformError."""
    if way is Way.NFTABLES:
        try:
            nf_tables.remove(TABLE)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
        return
    for version in (4, 6):
        iptables.remove(version, CHAIN)


def table_rules(queue: bytes, udp_port: int, *, reassembles: bool) -> list[bytes]:
    """The rules for nf_tables. *queue* is the expression that diverts."""
    divert = counter() + queue
    port = struct.pack("!H", udp_port)
    rules = [
        # Most of what there is on most machines is asked no more than this.
        meta(Meta.L4PROTO, bytes([_TCP])) + accept(),
        meta(Meta.IIFNAME, b"lo\0") + accept(),
        # Broadcasts and multicasts are for this host; so is what the kernel takes for them.
        meta(Meta.PKTTYPE, b"\0", Compare.NEQ) + accept(),
        *(meta(Meta.L4PROTO, bytes([protocol])) + divert for protocol in (_ESP, _HIP)),
        *(
            meta(Meta.L4PROTO, bytes([_UDP])) + transport(offset, port) + divert
            for offset in (2, 0)  # destination, source
        ),
        meta(Meta.L4PROTO, bytes([_UDP])) + accept(),
    ]
    about = [
        (
            [
                meta(Meta.L4PROTO, bytes([_ICMP])) + transport(0, bytes([kind]))
                for kind in _ICMP_ERRORS
            ],
            _QUOTED + _IPV4_PROTOCOL,
            _QUOTED + _IPV4_OCTETS,
        ),
        (
            [
                meta(Meta.L4PROTO, bytes([_ICMPV6]))
                + transport(0, bytes([_ICMPV6_ERROR_MAX]), Compare.LTE)
            ],
            _QUOTED + _IPV6_NEXT_HEADER,
            _QUOTED + _IPV6_OCTETS,
        ),
    ]
    for heads, protocol_at, ports_at in about:
        for head in heads:
            rules += [
                head + transport(protocol_at, bytes([protocol])) + divert
                for protocol in (_HIP, _ESP)
            ]
            rules += [
                head
                + transport(protocol_at, bytes([_UDP]))
                + transport(ports_at + offset, port)
                + divert
                for offset in (0, 2)
            ]
    if reassembles:
        rules.append(nf_tables.reassembly())
    return rules


def _untracked() -> bytes:
    priority = struct.pack("=I", UNTRACKED_PRIORITY)
    return meta(Meta.PRIORITY, priority) + nf_tables.untracked()


def chain_rules(
    version: int, queue: int, udp_port: int, *, reassembles: bool
) -> list[Sequence[str]]:
    """The rules for iptables or ip6tables. All ICMP errors are diverted: it reads no quotes."""
    divert = ("-j", "NFQUEUE", "--queue-num", str(queue), "--queue-bypass")
    rules: list[Sequence[str]] = [("-p", "tcp", "-j", "RETURN"), ("-i", "lo", "-j", "RETURN")]
    if reassembles:
        # Nothing comes here from `lo`; that it is there has the kernel put fragments together.
        rules.append(("-i", "lo", "-p", "udp", "-m", "socket", "-j", "RETURN"))
    rules.append(("-m", "pkttype", "!", "--pkt-type", "unicast", "-j", "RETURN"))
    rules += [("-p", str(protocol), *divert) for protocol in (_ESP, _HIP)]
    rules += [("-p", "udp", side, str(udp_port), *divert) for side in ("--dport", "--sport")]
    if version == 4:
        rules += [("-p", "icmp", "--icmp-type", str(kind), *divert) for kind in _ICMP_ERRORS]
    else:
        rules += [
            ("-p", "icmpv6", "--icmpv6-type", str(kind), *divert)
            for kind in range(1, _ICMPV6_ERROR_MAX + 1)
        ]
    return rules


def _nf_tables_failed(error: OSError) -> PlatformError:
    if error.errno == errno.EPERM:
        # A table of another living process is answered so, too.
        return PlatformError(
            f"nftables table inet {TABLE}: {error.strerror}.",
            hint="CAP_NET_ADMIN is needed, and one mobile router at most runs in a network"
            " namespace.",
        )
    return PlatformError(f"nftables table inet {TABLE}: {error.strerror}.")
