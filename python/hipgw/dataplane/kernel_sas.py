"""The kernel's security associations and policies, and how they hang together for each peer.

A peer has one policy for each direction, from its first security association to its last. The one
outward names the SPI and the path of the association that carries the traffic; the one inward takes
all of the peer's, whatever their path, and nobody else's.
"""

import contextlib
import errno
import hashlib
import itertools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.dataplane.backend import IPAddress, SecurityAssociation
from hipgw.dataplane.kernel_suites import inner_mtu
from hipgw.errors import DataPlaneError, PlatformError
from hipgw.identity.hit import HIT_PREFIX
from hipgw.platform import xfrm
from hipgw.platform.xfrm_codec import packed
from hipgw.platform.xfrm_messages import XFRM_POLICY_IN, XFRM_POLICY_OUT
from hipgw.platform.xfrm_values import Algorithms, Counters, Policy, Sequence, State

SEQUENCE_SKIP = 1 << 16
"""Sequence numbers left out when an outbound association is moved: more than it can send while the
new one is made, since none may be used twice with the same key (RFC 4106 §2)."""
FIRST_LOOK_S = 0.05
LAST_LOOK_S = 3.0
"""When to look first and last whether data came in, after an inbound association was installed;
the time between doubles. Its second packet is told by the kernel, and a single one that comes later
is found when the counters are read."""

_PRIORITY_OWN, _PRIORITY_PEER, _PRIORITY_REST = 100, 200, 4000
_FIRST_REQID = 0x48495000
"""Of the kernel's "reqid", which joins associations and policies; people use smaller ones."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the packets of a security association go, as `DataPlane.move_sa` says it."""

    local: IPAddress
    remote: IPAddress
    udp: bool
    local_port: int
    remote_port: int


@dataclass(slots=True)
class Sa:
    """What is known of one installed security association. Keys are the kernel's alone."""

    direction: str
    spi: int
    suite: int
    local_hit: IPv6Address
    peer_hit: IPv6Address
    place: Place
    key_digest: bytes
    """Tells the same keys from others."""
    path_mtu: int = 1500
    usable: bool = True
    """Outbound: whether the peer is known to be there."""
    reqid: int = 0
    counters: Counters | None = None
    carried: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Octets, packets, replayed and forged ones from before the last move."""
    last_used: float | None = None
    heard: bool = False
    next_look_s: float = FIRST_LOOK_S

    @property
    def inbound(self) -> bool:
        """Which way its packets travel."""
        return self.direction == "in"

    @property
    def source(self) -> IPAddress:
        """Outer source address."""
        return self.place.remote if self.inbound else self.place.local

    @property
    def destination(self) -> IPAddress:
        """Outer destination address."""
        return self.place.local if self.inbound else self.place.remote

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port, None without UDP."""
        pair = (self.place.local_port, self.place.remote_port)
        return None if not self.place.udp else pair[::-1] if self.inbound else pair

    @property
    def name(self) -> tuple[bytes, int]:
        """As the kernel names it."""
        return packed(self.destination), self.spi

    def sums(self) -> tuple[int, int, int, int]:
        """Octets, packets, replayed and forged ones since it was installed."""
        if (now := self.counters) is None:
            return self.carried
        octets, packets, replayed, forged = self.carried
        return (
            octets + now.octets,
            packets + now.packets,
            replayed + now.replayed,
            forged + now.auth_failed,
        )

    def described(self, now: float) -> SecurityAssociation:
        """As the data plane shows it."""
        place = self.place
        sequence = self.counters.sequence if self.counters is not None else Sequence()
        octets, packets, replayed, forged = self.sums()
        return SecurityAssociation(
            spi=self.spi,
            direction=self.direction,
            suite=self.suite,
            local_hit=self.local_hit,
            peer_hit=self.peer_hit,
            local=place.local,
            remote=place.remote,
            local_port=place.local_port if place.udp else 0,
            remote_port=place.remote_port if place.udp else 0,
            udp=place.udp,
            packets=packets,
            bytes=octets,
            sequence=sequence.received if self.inbound else sequence.sent,
            replayed=replayed,
            auth_failed=forged,
            verified=self.usable,
            last_used_s=None if self.last_used is None else now - self.last_used,
        )


@dataclass(slots=True)
class _Peer:
    reqid: int
    inbound: dict[int, Sa] = field(default_factory=dict)
    outbound: dict[int, Sa] = field(default_factory=dict)
    """By SPI, the newest last."""

    @property
    def current(self) -> Sa | None:
        """The one that carries the traffic."""
        return next((sa for sa in reversed(self.outbound.values()) if sa.usable), None)


class KernelSas:
    """All of this host's; every method raises DataPlaneError for what the kernel refuses."""

    def __init__(self, kernel: xfrm.Xfrm, local_hit: IPv6Address, interface: int) -> None:
        """*interface* has the number of the one that HITs are routed to."""
        self.local_hit = local_hit
        self._kernel = kernel
        self._interface = interface
        self._peers: dict[IPv6Address, _Peer] = {}
        self._names: dict[tuple[bytes, int], Sa] = {}
        self._awaiting: dict[int, Sa] = {}
        """Inbound ones that have carried nothing yet, by SPI."""
        self._inbound: dict[int, Sa] = {}
        self._reqids = itertools.count(_FIRST_REQID)
        self._secret = os.urandom(32)
        self._digests: set[bytes] = set()
        with refusals("the policies of this host"):
            kernel.sweep(local_hit, HIT_PREFIX)
            for policy in _own_policies(local_hit):
                kernel.set_policy(policy)

    # -- changes -----------------------------------------------------------------------------------

    def digest(self, *keys: bytes) -> bytes:
        """What `Sa.key_digest` is for these keys."""
        return hashlib.blake2b(b"".join(keys), key=self._secret, digest_size=16).digest()

    def install(
        self,
        sa: Sa,
        algorithms: Algorithms,
        *,
        replay_window: int,
        copy_dscp: bool,
        ecn: bool,
    ) -> None:
        """Install one, or replace that of the same SPI; the same keys go on where they were."""
        known = self._peers.get(sa.peer_hit)
        peer = known if known is not None else _Peer(next(self._reqids))
        table = peer.inbound if sa.inbound else peer.outbound
        before = table.get(sa.spi)
        if before is not None and before.key_digest == sa.key_digest:
            before.path_mtu, before.usable = sa.path_mtu, sa.usable or before.usable
            self._move(before, sa.place)
            self._turn(peer)
            return
        if sa.key_digest in self._digests:
            raise DataPlaneError("these keys are in use already")
        if not sa.inbound and sa.name in self._names and before is None:
            raise DataPlaneError(f"another peer behind {sa.destination} has SPI {sa.spi:#010x}")
        if before is not None:
            del table[sa.spi]
            self._forget(before)
        sa.reqid = peer.reqid
        inner = (self.local_hit, sa.peer_hit)
        state = State(
            source=sa.source,
            destination=sa.destination,
            spi=sa.spi,
            inner_source=inner[sa.inbound],
            inner_destination=inner[not sa.inbound],
            reqid=peer.reqid,
            algorithms=algorithms,
            ports=sa.ports,
            replay_window=replay_window if sa.inbound else 0,
            inbound=sa.inbound,
            copy_dscp=copy_dscp,
            ecn=ecn,
        )
        with refusals(f"a security association with SPI {sa.spi:#010x}"):
            if sa.inbound:
                self._kernel.set_policy(self._policy_in(sa.peer_hit, peer))
            self._kernel.add(state)
        self._peers[sa.peer_hit] = peer
        table[sa.spi] = self._names[sa.name] = sa
        self._digests.add(sa.key_digest)
        if sa.inbound:
            self._inbound[sa.spi] = self._awaiting[sa.spi] = sa
        else:
            self._turn(peer)

    def move(
        self, spi: int, peer_hit: IPv6Address, place: Place, path_mtu: int, *, verified: bool
    ) -> None:
        """Send by another path, and take what comes in by the same.

        Where the peer is not known to be, nothing is sent yet: the kernel cannot count a credit
        (RFC 8046 §5.6), and without one a host does not send there.
        """
        peer = self._peers.get(peer_hit)
        sa = peer.outbound.get(spi) if peer is not None else None
        if peer is None or sa is None:
            raise DataPlaneError(f"there is no outbound security association {spi:#010x}")
        if not verified and (place.remote != sa.place.remote or not sa.usable):
            return
        sa.path_mtu = path_mtu
        sa.usable = True
        # The kernel opens nothing that comes to another own address than the association's.
        for other in (*peer.inbound.values(), *peer.outbound.values()):
            if other is sa or other.inbound:
                self._move(other, place)
        self._turn(peer)

    def remove(self, direction: str, spi: int, peer_hit: IPv6Address) -> None:
        """Remove one; nothing happens if it is not there."""
        peer = self._peers.get(peer_hit)
        if peer is None:
            return
        sa = (peer.inbound if direction == "in" else peer.outbound).pop(spi, None)
        if sa is None:
            return
        if not sa.inbound:
            if peer.current is not None:
                self._turn(peer)
            else:
                self._remove_policy(_policy_out(sa))
                with contextlib.suppress(OSError):
                    self._kernel.remove_route(peer_hit, self._interface)
        self._forget(sa)
        if not peer.inbound and not peer.outbound:
            self._remove_policy(self._policy_in(peer_hit, peer))
            del self._peers[peer_hit]

    def clear(self) -> None:
        """Remove everything of this host; what cannot be removed stays."""
        self._peers.clear()
        self._names.clear()
        self._digests.clear()
        self._awaiting.clear()
        self._inbound.clear()
        with contextlib.suppress(OSError):
            self._kernel.sweep(self.local_hit, HIT_PREFIX)

    # -- what there is -----------------------------------------------------------------------------

    def carries(self, peer_hit: IPv6Address) -> bool:
        """Whether packets to a peer have a security association."""
        peer = self._peers.get(peer_hit)
        return peer is not None and peer.current is not None

    def inbound(self, spi: int, reqid: int) -> Sa | None:
        """The inbound one of an SPI, if its reqid is this."""
        sa = self._inbound.get(spi)
        return sa if sa is not None and sa.reqid == reqid else None

    def count(self, now: float) -> tuple[list[Sa], list[Sa]]:
        """Read all counters; returns all, and those that carried their first data."""
        heard = []
        with refusals("the list of security associations"):
            for counters in self._kernel.all_counters():
                sa = self._names.get((counters.destination, counters.spi))
                if sa is not None and self._update(sa, counters, now):
                    heard.append(sa)
        return list(self._names.values()), heard

    def look(self, now: float) -> tuple[list[Sa], float | None]:
        """Read the counters of those that were installed lately.

        Returns those that carried their first data, and after how many seconds to look again.
        """
        waiting = [sa for sa in self._awaiting.values() if sa.next_look_s <= LAST_LOOK_S]
        heard, soonest = [], None
        for sa in waiting:
            sa.next_look_s *= 2
            with contextlib.suppress(OSError):
                if self._update(sa, self._kernel.counters(sa.destination, sa.spi), now):
                    heard.append(sa)
                    continue
            if sa.next_look_s <= LAST_LOOK_S:
                soonest = min(sa.next_look_s / 2, soonest or LAST_LOOK_S)
        return heard, soonest

    def hear(self, sa: Sa) -> bool:
        """Note that data came in; returns whether that is new."""
        if sa.heard or not sa.inbound:
            return False
        sa.heard = True
        self._awaiting.pop(sa.spi, None)
        return True

    def _update(self, sa: Sa, counters: Counters, now: float) -> bool:
        before = sa.counters.packets if sa.counters is not None else 0
        sa.counters = counters
        if counters.packets == before:
            return False
        sa.last_used = now
        return self.hear(sa)

    # -- inside ------------------------------------------------------------------------------------

    def _turn(self, peer: _Peer) -> None:
        """Let the peer's packets go by its newest association that is usable."""
        sa = peer.current
        if sa is None:
            return
        place = sa.place
        mtu = inner_mtu(sa.path_mtu, sa.suite, version=place.remote.version, udp=place.udp)
        with refusals(f"the way to {sa.peer_hit}"):
            self._kernel.set_route(sa.peer_hit, self._interface, sa.local_hit, mtu)
            self._kernel.set_policy(_policy_out(sa))

    def _move(self, sa: Sa, place: Place) -> None:
        old_name, old_destination, old_place = sa.name, sa.destination, sa.place
        old = (sa.source, sa.destination, sa.ports)
        sa.place = place
        if old == (sa.source, sa.destination, sa.ports):
            return
        try:
            with refusals(f"the new path of security association {sa.spi:#010x}"):
                last = self._kernel.replace(
                    old_destination,
                    sa.spi,
                    new_source=sa.source,
                    new_destination=sa.destination,
                    ports=sa.ports,
                    skip=0 if sa.inbound else SEQUENCE_SKIP,
                    keep_old=not sa.inbound,
                )
        except (DataPlaneError, PlatformError):
            sa.place = old_place
            raise
        # The new one counts from zero.
        sa.counters = last
        sa.carried, sa.counters = sa.sums(), None
        del self._names[old_name]
        self._names[sa.name] = sa
        if not sa.inbound and old_destination != sa.destination:
            peer = self._peers[sa.peer_hit]
            if peer.current is sa:
                self._turn(peer)
            with contextlib.suppress(OSError):
                self._kernel.remove(old_destination, sa.spi)

    def _forget(self, sa: Sa) -> None:
        self._names.pop(sa.name, None)
        self._digests.discard(sa.key_digest)
        if sa.inbound:
            self._awaiting.pop(sa.spi, None)
            self._inbound.pop(sa.spi, None)
        try:
            self._kernel.remove(sa.destination, sa.spi)
        except ProcessLookupError:
            pass  # somebody else has removed it
        except OSError as error:
            _log.warning("cannot remove a security association: %s", error.strerror)

    def _remove_policy(self, policy: Policy) -> None:
        try:
            self._kernel.remove_policy(policy)
        except FileNotFoundError:
            pass  # there was none
        except OSError as error:
            _log.warning("cannot remove a policy: %s", error.strerror)

    def _policy_in(self, peer_hit: IPv6Address, peer: _Peer) -> Policy:
        return Policy(XFRM_POLICY_IN, peer_hit, self.local_hit, _PRIORITY_PEER, reqid=peer.reqid)


def _policy_out(sa: Sa) -> Policy:
    return Policy(
        XFRM_POLICY_OUT,
        sa.local_hit,
        sa.peer_hit,
        _PRIORITY_PEER,
        reqid=sa.reqid,
        spi=sa.spi,
        outer=(sa.place.local, sa.place.remote),
    )


def _own_policies(local_hit: IPv6Address) -> list[Policy]:
    """What holds without any peer: in the name of a HIT, nothing comes in the clear."""
    return [
        Policy(XFRM_POLICY_IN, local_hit, local_hit, _PRIORITY_OWN),
        Policy(XFRM_POLICY_IN, HIT_PREFIX, local_hit, _PRIORITY_REST, block=True),
    ]


@contextlib.contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn what the kernel refuses into a DataPlaneError."""
    try:
        yield
    except OSError as error:
        lacking = error.errno in (errno.ENOSYS, errno.EPROTONOSUPPORT, errno.ENOENT)
        raise DataPlaneError(
            f"the kernel refuses {what}: {error.strerror or error}",
            hint="`hipgw doctor` shows what this kernel has" if lacking else "",
        ) from error
