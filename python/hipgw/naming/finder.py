"""Makes peers of what the sources of names answer, and forgets them when nobody needs them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from hipgw.errors import HipgwError
from hipgw.identity.hit import hit_version, is_hit
from hipgw.naming.peers import CONFIGURED, FLEET, Peer, PeerDirectory
from hipgw.naming.resolver import Resolver
from hipgw.naming.sources import Found, Provenance, Rendezvous

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
IPAddress = IPv4Address | IPv6Address
Then = Callable[[Peer | None], None]

ADDRESSES_MAX = 16
RENDEZVOUS_MAX = 8
"""Most places that are tried of one peer, whatever the sources say."""
OPPORTUNISTIC = "opportunistic"
"""The source of a peer that has answered at an address that was called without a HIT."""
FRESH_S = 5.0
"""Sources are not asked anew about the same peer more often than that."""


@dataclass(frozen=True, slots=True)
class PeerDefaults:
    """What is assumed of a peer if the source does not tell."""

    udp: bool = True
    port: int = 10500
    versions: tuple[int, ...] = (2,)
    """Versions of HIP that are spoken to peers that were found, the preferred one first."""
    compats: tuple[tuple[int, str], ...] = ()
    """The profile of deviations expected of a peer, by version; else none."""


@dataclass(slots=True)
class _Lease:
    """How long a peer that was found is kept, and how long what was found is good."""

    good_until: float
    kept_until: float


class PeerFinder:
    """Finds peers by name or HIT: in the directory, else by the sources.

    Those that were found are added to the directory, at most *found_max*, and taken out again when
    their time is over and they are not in use. Configured peers, and those of the fleet, stay as
    they are, but get the places where they were found in front of their own when calling them has
    failed.
    """

    def __init__(
        self,
        resolver: Resolver,
        directory: PeerDirectory,
        defaults: PeerDefaults | None = None,
        *,
        own_hits: Collection[IPv6Address] = (),
        found_max: int = 4096,
        keep_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*keep_s*: how long a peer stays, at least, after it was found or was in use."""
        self._resolver = resolver
        self._directory = directory
        self._defaults = defaults or PeerDefaults()
        self._own_hits = frozenset(own_hits)
        self._found_max = found_max
        self._keep_s = keep_s
        self._clock = clock
        self._leases: dict[IPv6Address, _Lease] = {}
        self._base: dict[IPv6Address, Peer] = {}
        """Peers of the configuration and the fleet, as they were before they were looked up."""
        self._stale: set[IPv6Address] = set()
        """Peers that could not be reached where they were thought to be."""
        self._tried: set[IPv6Address] = set()
        """Peers that are being called where they were found just now."""
        self._asked: dict[IPv6Address, float] = {}
        self._waiting: dict[IPv6Address, list[Then]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = False
        self.in_use: Callable[[IPv6Address], bool] = lambda _hit: False
        """Whether a peer has an association, so that it has to stay."""
        directory.subscribe(self._changed)

    # -- questions ---------------------------------------------------------------------------

    async def by_name(self, name: str) -> Peer | None:
        """The peer of this name (without the `.hip` suffix); None if nobody knows one."""
        known = self._directory.by_name(name)
        if known is not None and not self._outdated(known):
            return known
        resolution = await self._resolver.resolve(name)
        found = self._best_first(self._usable(resolution.found))
        if not found:
            return known
        # Several may have a name; the others are no places of this one.
        found = [one for one in found if set(_hits(one)) & set(_hits(found[0]))]
        first = self._directory.by_hit(found[0].hit)
        if first is not None and first.hit not in self._leases:
            return first  # another name of a peer that needs no looking up
        if not any(_located(one) for one in found):
            # The name is known here, the places perhaps elsewhere (RFC 6537 §3).
            more = await self._resolver.resolve(found[0].hit, enough=_any_located)
            found = [*found, *self._usable(more.found)]
        return self._take(found, name=name)

    async def by_hit(self, hit: IPv6Address) -> Peer | None:
        """The peer with this HIT, if it is known or somebody knows where it is."""
        known = self._directory.by_hit(hit)
        if known is not None and not self._outdated(known):
            return known
        if known is not None:
            return await self._refresh(known)
        resolution = await self._resolver.resolve(hit, enough=_any_located)
        found = [one for one in self._usable(resolution.found) if hit in (one.hit, *one.other_hits)]
        return self._take(found) if found else None

    def find(self, hit: IPv6Address, then: Then) -> None:
        """Look up a HIT and call *then* with what came out.

        Equal questions are asked once; when too many are under way, the answer is None at once.
        """
        if (waiting := self._waiting.get(hit)) is not None:
            waiting.append(then)
            return
        if not is_hit(hit) or hit in self._own_hits or len(self._waiting) >= self._found_max:
            then(None)
            return
        self._waiting[hit] = [then]
        self._spawn(self._answer(hit, self.by_hit(hit)))

    def keep(self, hit: IPv6Address, seconds: float) -> None:
        """A program was told this peer's LSI or HIT, and may use it so long."""
        if (lease := self._leases.get(self._directory.primary(hit))) is not None:
            lease.kept_until = max(lease.kept_until, self._clock() + seconds)

    def met(self, hit: IPv6Address, address: IPAddress, *, udp: bool) -> Peer | None:
        """Somebody was called without a HIT, and has this one: a peer now, as if looked up.

        None if there is no room for it.
        """
        found = Found(
            hit,
            OPPORTUNISTIC,
            Provenance.UNSIGNED,
            self._keep_s,
            addresses=(address,),
            udp=udp,
        )
        usable = self._usable([found])
        return self._take(usable) if usable else None

    # -- calling -----------------------------------------------------------------------------

    def wanted(self, peer: Peer) -> bool:
        """Whether a peer has to be looked up before it is called."""
        if not self._asks_anybody:
            return False
        return peer.hit in self._stale or not peer.located or self._outdated(peer)

    def is_fresh(self, peer: Peer) -> bool:
        """Whether a peer was looked up just now, so that doing it again tells nothing new."""
        return peer.hit in self._tried

    def failed(self, peer: Peer) -> bool:
        """A peer could not be reached, or is not heard any more: ask anew before the next call.

        True if what was tried was not fresh, so that it is worth looking it up and calling at once.
        """
        hit = peer.hit
        fresh = hit in self._tried
        self._tried.discard(hit)
        self._stale.add(hit)
        return not fresh and self._asks_anybody

    def reached(self, hit: IPv6Address) -> None:
        """There is an association with a peer."""
        hit = self._directory.primary(hit)
        self._stale.discard(hit)
        self._tried.discard(hit)
        self.keep(hit, self._keep_s)

    def refresh(self, peer: Peer, then: Then) -> None:
        """Ask all sources where a peer is now, and call *then* with the peer as it is then."""
        if (waiting := self._waiting.get(peer.hit)) is not None:
            waiting.append(then)
            return
        self._waiting[peer.hit] = [then]
        self._spawn(self._answer(peer.hit, self._refresh(peer), peer))

    def base(self, peer: Peer) -> Peer:
        """A peer as its source says it, without the places where it was found besides."""
        return self._base.get(peer.hit, peer)

    # -- house-keeping -----------------------------------------------------------------------

    def expire(self) -> None:
        """Forget the found peers whose time is over, those in use excepted."""
        now = self._clock()
        for hit in [hit for hit, lease in self._leases.items() if lease.kept_until <= now]:
            peer = self._directory.by_hit(hit)
            if peer is not None and any(map(self.in_use, peer.hits)):
                self.keep(hit, self._keep_s)
            else:
                self._directory.remove(hit)

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- inside ------------------------------------------------------------------------------

    @property
    def _asks_anybody(self) -> bool:
        return any(name != CONFIGURED for name in self._resolver.sources)

    def _outdated(self, peer: Peer) -> bool:
        lease = self._leases.get(peer.hit)
        return lease is not None and lease.good_until <= self._clock()

    def _usable(self, found: Iterable[Found]) -> list[Found]:
        """What is about others than this machine, in versions of HIP that are spoken."""
        spoken = self._defaults.versions
        return [
            one
            for one in found
            if one.hit not in self._own_hits
            and (
                self._directory.by_hit(one.hit) is not None
                or any(is_hit(hit) and hit_version(hit) in spoken for hit in _hits(one))
            )
        ]

    def _best_first(self, found: list[Found]) -> list[Found]:
        """Those first that can be talked to in the version of HIP that is preferred here.

        A source lists in any order, and a machine may have a key for each version: nobody else may
        choose the weaker one.
        """
        order = self._defaults.versions

        def rank(one: Found) -> int:
            versions = [hit_version(hit) for hit in _hits(one) if is_hit(hit)]
            return min((order.index(v) for v in versions if v in order), default=len(order))

        return sorted(found, key=rank)

    async def _refresh(self, peer: Peer) -> Peer | None:
        now = self._clock()
        fresh = peer.hit in self._stale and now - self._asked.get(peer.hit, -FRESH_S) >= FRESH_S
        queries: list[str | IPv6Address] = [*peer.hits]
        if "." in peer.name or (peer.hit in self._leases and ":" not in peer.name):
            # Others are names of this machine's own, which nobody else has to hear.
            queries.append(peer.name)
        self._asked[peer.hit] = now
        asked = await asyncio.gather(
            *(self._resolver.ask_all(query, fresh=fresh) for query in queries)
        )
        found = [
            one
            for name in self._resolver.sources
            for resolution in asked
            for answer in resolution.answers
            if answer.source == name and name != CONFIGURED
            for one in self._usable(answer.found)
            if set(_hits(one)) & set(peer.hits)
        ]
        current = self._directory.by_hit(peer.hit)
        if current is None:
            # It was taken out meanwhile, and is not to come back by this.
            self._asked.pop(peer.hit, None)
            return peer
        peer = current
        self._stale.discard(peer.hit)
        self._tried.add(peer.hit)
        if not any(_located(one) for one in found):
            return peer
        if peer.hit in self._leases:
            return self._take(found, name=peer.name) or peer
        base = self._base.get(peer.hit, peer)
        rendezvous, addresses = _places(found)
        moved = replace(
            base,
            rendezvous=_unique(rendezvous, base.rendezvous)[:RENDEZVOUS_MAX],
            addresses=_unique(addresses, base.addresses)[:ADDRESSES_MAX],
        )
        self._put(moved)
        self._base[peer.hit] = base
        return moved

    def _take(self, found: Sequence[Found], name: str = "") -> Peer | None:
        """Make a peer of what was found, and add it or bring it up to date."""
        first = found[0]
        found = [one for one in found if set(_hits(one)) & set(_hits(first))]
        hits = self._hits_of(found)
        known = next((peer for hit in hits if (peer := self._directory.by_hit(hit))), None)
        if known is not None:
            hits = known.hits
        if known is not None and known.hit not in self._leases:
            return known
        if known is None and not self._make_room():
            _log.warning("too many peers were looked up", extra={"most": self._found_max})
            return None
        rendezvous, addresses = _places(found)
        told = next((one for one in found if one.udp is not None), None)
        port = next((one.port for one in found if one.port is not None), self._defaults.port)
        compats = dict(self._defaults.compats)
        try:
            peer = Peer(
                name=_named(found, name) or str(hits[0]),
                hit=hits[0],
                other_hits=hits[1:],
                compats=tuple(compats.get(hit_version(hit), "none") for hit in hits),
                addresses=addresses[:ADDRESSES_MAX],
                rendezvous=rendezvous[:RENDEZVOUS_MAX],
                udp=self._defaults.udp if told is None else bool(told.udp),
                port=port,
                lsi=self._directory.lsi_for(hits[0]),
                source=first.source,
                sought=True,
            )
            self._put(peer)
        except HipgwError as error:
            _log.warning("a peer cannot be taken in: %s", error)
            if known is None:
                with contextlib.suppress(HipgwError):
                    self._directory.remove(hits[0])
                self._directory.forget(hits[0])
            return None
        now = self._clock()
        good_until = now + min(one.ttl_s for one in found)
        kept_until = max(good_until, now + self._keep_s)
        if known is None:
            self._leases[peer.hit] = _Lease(good_until, kept_until)
            _log.info(
                "peer found",
                extra={"peer": peer.name, "peer_hit": str(peer.hit), "source": first.source},
            )
        else:
            lease = self._leases[peer.hit]
            lease.good_until, lease.kept_until = good_until, max(kept_until, lease.kept_until)
        return peer

    def _hits_of(self, found: Sequence[Found]) -> tuple[IPv6Address, ...]:
        """The HITs that a found peer is talked to by, the preferred one first."""
        order = self._defaults.versions
        hits = dict.fromkeys(hit for one in found for hit in _hits(one))
        usable = [hit for hit in hits if is_hit(hit) and hit_version(hit) in order]
        usable.sort(key=lambda hit: order.index(hit_version(hit)))
        # One of each version: two of the same would be two keys.
        return tuple({hit_version(hit): hit for hit in reversed(usable)}.values())[::-1]

    def _make_room(self) -> bool:
        if len(self._leases) < self._found_max:
            return True
        self.expire()
        return len(self._leases) < self._found_max

    def _put(self, peer: Peer) -> None:
        self._changing = True
        try:
            self._directory.add(peer)
        finally:
            self._changing = False

    def _changed(self, old: Peer | None, new: Peer | None) -> None:
        """The directory was changed; if by others, what was known of that peer is of no use."""
        if self._changing or old is None:
            return
        self._base.pop(old.hit, None)
        if new is None or new.source in (CONFIGURED, FLEET):
            self._leases.pop(old.hit, None)
        for marks in (self._stale, self._tried):
            marks.discard(old.hit)
        self._asked.pop(old.hit, None)

    async def _answer(
        self,
        hit: IPv6Address,
        question: Coroutine[None, None, Peer | None],
        known: Peer | None = None,
    ) -> None:
        peer = known
        try:
            peer = await question or known
        except Exception:
            _log.exception("look-up of a peer", extra={"peer_hit": str(hit)})
        finally:
            waiting = self._waiting.pop(hit)
        for then in waiting:
            then(peer)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _hits(found: Found) -> tuple[IPv6Address, ...]:
    return (found.hit, *found.other_hits)


def _located(found: Found) -> bool:
    return bool(found.addresses or found.rendezvous)


def _any_located(found: Iterable[Found]) -> bool:
    return any(map(_located, found))


def _named(found: Iterable[Found], name: str) -> str:
    return name or next((one.name for one in found if one.name), "")


def _places(
    found: Iterable[Found],
) -> tuple[tuple[Rendezvous, ...], tuple[IPAddress, ...]]:
    found = list(found)
    rendezvous = [server for one in found for server in one.rendezvous]
    addresses = [address for one in found for address in one.addresses]
    return _unique(rendezvous), _unique(addresses)


def _unique(*lists: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(one for each in lists for one in each))
