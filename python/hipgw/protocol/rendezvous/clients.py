"""The clients of a rendezvous server, most of them in compact form."""

import math
from collections.abc import Container, Iterator
from ipaddress import IPv6Address
from itertools import islice
from typing import TYPE_CHECKING

from hipgw.protocol.effects import ClientRests, ClientWakes, Closed, RegistrationChanged
from hipgw.protocol.path import IPAddress
from hipgw.protocol.registration import Grant, RegistrationInfo, ServiceType
from hipgw.protocol.rendezvous import compact
from hipgw.protocol.rendezvous.compact import Front, Shapes
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.protocol.states import State

if TYPE_CHECKING:
    from hipgw.protocol.association import Association
    from hipgw.protocol.core import Core

BUCKET_S = 16.0
"""Clients in compact form that expire in the same span of this length go together."""
EXPIRED_AT_ONCE = 256
"""So many go in one call, so that the daemon does not stand still when very many do."""
TRIED_AT_ONCE = 4
"""Clients that are looked at in vain, at most, before one more than wanted is let be."""


class RendezvousClients:
    """Who is registered for rendezvous: by the 16 octets of the HIT.

    A client that is *awake* is an ordinary association of the machine. One that has nothing under
    way can be put to *rest*: then the machine has nothing of it but what `compact` makes. Whatever
    needs the association wakes it; so can a stranger who forges packets, and therefore the number
    of those awake is bounded, and each that is too many rests again at once.
    """

    def __init__(self, config: RendezvousConfig) -> None:
        self.config = config
        self._resting: dict[bytes, bytes] = {}
        self._awake: dict[bytes, Association] = {}
        """The one that woke last at the end."""
        self._shapes = Shapes()
        self._buckets: dict[int, set[bytes]] = {}
        self._next = math.inf

    def __len__(self) -> int:
        return len(self._resting) + len(self._awake)

    def __contains__(self, hit: bytes) -> bool:
        return hit in self._resting or hit in self._awake

    @property
    def resting_count(self) -> int:
        """Those in compact form."""
        return len(self._resting)

    @property
    def awake_count(self) -> int:
        """The others."""
        return len(self._awake)

    def is_resting(self, hit: IPv6Address) -> bool:
        """Whether a client is in compact form."""
        return hit.packed in self._resting

    def next_timer(self) -> float:
        """When the first of those that rest expires, rounded up; infinite for never."""
        return self._next

    # -- relaying ----------------------------------------------------------------------------

    def association(self, hit: bytes) -> "Association | None":
        """One that is awake."""
        return self._awake.get(hit)

    def resting(self, hit: bytes) -> Front | None:
        """What relaying needs of one that rests."""
        record = self._resting.get(hit)
        return compact.front(record, self._shapes) if record is not None else None

    # -- registration ------------------------------------------------------------------------

    def granted(self, core: "Core", association: "Association", now: float) -> None:
        """A client has got or renewed its registration."""
        self._is_awake(core, association, now)

    def ended(self, association: "Association") -> None:
        """A client is registered no more."""
        hit = association.peer_hit.packed
        if self._awake.get(hit) is association:
            del self._awake[hit]
            association.rest_at = None

    # -- rest --------------------------------------------------------------------------------

    def wake(self, core: "Core", peer_hit: IPv6Address) -> None:
        """Have the association of a client among the machine's again, if it rests."""
        hit = peer_hit.packed
        record = self._resting.pop(hit, None)
        if record is None:
            return
        core.effects.append(ClientWakes(peer_hit))
        association = compact.unpack(record, peer_hit, self._shapes)
        core.associations[association.local_hit, peer_hit] = association
        if association.session is not None:
            core.by_inbound_spi[association.session.inbound_spi] = association
        if core.registrar is not None:
            core.registrar.clients[peer_hit] = association
        self._is_awake(core, association, core.now)
        core.arm(association)

    def wake_some(self, core: "Core") -> None:
        """Wake as many as are let be awake."""
        for hit in [*islice(self._resting, self.config.awake_max)]:
            self.wake(core, IPv6Address(hit))

    def timer_expired(self, core: "Core", association: "Association", now: float) -> None:
        """Put a client to rest if its time has come and it may."""
        if association.rest_at is not None and association.rest_at <= now:
            association.rest_at = now + self.config.rest_s
            self._rest(core, association)

    def expire(self, core: "Core", now: float) -> None:
        """Forget those at rest whose registration is over, without a packet.

        A client that is still there will hear nothing when it renews, and begin anew.
        """
        if self._next > now:
            return
        over = 0
        for number in sorted(self._buckets):
            if _end(number) > now or over >= EXPIRED_AT_ONCE:
                break
            bucket = self._buckets[number]
            while bucket and over < EXPIRED_AT_ONCE:
                over += self._forget_expired(core, bucket.pop(), now)
            if not bucket:
                del self._buckets[number]
        self._next = _end(min(self._buckets)) if self._buckets else math.inf

    def displaced(self, own_addresses: Container[IPAddress | None]) -> list[IPv6Address]:
        """Those at rest that are reached from an address which is not among these own ones."""
        return [
            IPv6Address(hit)
            for hit, record in self._resting.items()
            if compact.front(record, self._shapes).path.local not in own_addresses
        ]

    def registrations(self) -> Iterator[RegistrationInfo]:
        """Of those at rest."""
        for hit, record in self._resting.items():
            head = compact.front(record, self._shapes)
            yield RegistrationInfo(
                peer_hit=IPv6Address(hit),
                registrar=True,
                reg_type=head.shape.reg_type,
                lifetime_s=compact.lifetime(record),
                expires=head.expires,
                mapped=(head.path.remote, head.path.remote_port),
                relayed=(),
            )

    # -- inside ------------------------------------------------------------------------------

    def _is_awake(self, core: "Core", association: "Association", now: float) -> None:
        hit = association.peer_hit.packed
        self._awake.pop(hit, None)
        self._awake[hit] = association
        if not self.config.compact:
            return
        association.rest_at = now + self.config.rest_s
        tries = TRIED_AT_ONCE
        while len(self._awake) > self.config.awake_max and tries:
            tries -= 1
            oldest = next(iter(self._awake))
            other = self._awake[oldest]
            if other is association or not self._rest(core, other):
                del self._awake[oldest]
                self._awake[oldest] = other

    def _rest(self, core: "Core", association: "Association") -> bool:
        granted = association.registrations.granted.grants
        grant = granted.get(ServiceType.RENDEZVOUS)
        if grant is None or not may_rest(core, association):
            return False
        record = compact.pack(association, grant, self._shapes)
        if record is None:
            return False
        peer_hit, session = association.peer_hit, association.session
        hit = peer_hit.packed
        self._resting[hit] = record
        del self._awake[hit]
        del core.associations[association.local_hit, peer_hit]
        if session is not None:
            core.by_inbound_spi.pop(session.inbound_spi, None)
        if core.registrar is not None:
            core.registrar.clients.pop(peer_hit, None)
        core.timers.disarm(association)
        # Nobody has it any more; should it be looked at once again, there is nothing to be done.
        association.session, association.state = None, State.UNASSOCIATED
        association.rest_at = None
        self._file(hit, grant)
        head = compact.front(record, self._shapes)
        shape = head.shape
        ports = shape.compat.rendezvous_ports
        core.effects.append(
            ClientRests(peer_hit, head.path, shape.rhash.name, head.key, ports, head.expires)
        )
        return True

    def _file(self, hit: bytes, grant: Grant) -> None:
        number = int(grant.expires // BUCKET_S)
        self._buckets.setdefault(number, set()).add(hit)
        self._next = min(self._next, _end(number))

    def _forget_expired(self, core: "Core", hit: bytes, now: float) -> bool:
        """Whether there was one to be forgotten: it may be awake, or have been renewed."""
        record = self._resting.get(hit)
        if record is None or compact.expires(record) > now:
            return False
        del self._resting[hit]
        head = compact.front(record, self._shapes)
        local_hit, peer_hit = head.shape.local.hit, IPv6Address(hit)
        reason = "expired"
        core.effects += [
            ClientWakes(peer_hit),
            RegistrationChanged(local_hit, peer_hit, True, head.shape.reg_type, 0.0, reason, None),
            Closed(local_hit, peer_hit, "its registration has expired"),
        ]
        return True


def may_rest(core: "Core", association: "Association") -> bool:
    """Whether nothing is under way with a client, and rendezvous is all that it has here."""
    session, path, mobility = association.session, association.path, association.mobility
    registrations = association.registrations
    granted, held = registrations.granted, registrations.held
    return (
        association.state is State.ESTABLISHED
        and session is not None
        and session.rekey is None
        and not session.retired
        and not session.spares
        and not session.by_router
        and path is not None
        and path.local is not None
        and path.relay_to is None
        and granted.grants.keys() == {ServiceType.RENDEZVOUS}
        and not granted.ports
        and not held.grants
        and not held.asked
        and association.peer_hit not in core.wanted
        and association.initiating is None
        and association.closing is None
        and association.checks is None
        and association.path_mtu is None
        and not association.called
        and not association.pings
        and not association.updates
        and mobility.verified
        and not mobility.moved
        and not mobility.changed
        and mobility.announcement is None
        and mobility.moving_to is None
        and mobility.reconsider_at is None
        and not mobility.challenges
        and not mobility.search
    )


def _end(number: int) -> float:
    return (number + 1) * BUCKET_S
