"""What SPIs clients have outside, and how correspondents are told.

A client's SPI is left as it is, unless another client or this host has the same one.
So a correspondent need not know that there is a router. It is told the SPI by `EspInfoNoSig` all
the same, which is how one that can take UPDATEs of the router learns of it: in HIPv2 by the type
that others skip, in HIPv1 by the one that OpenHIP knows, and there every other copy of an I2 goes
without, for correspondents that drop what they do not know. Only an SPI that is taken is changed.
A correspondent at another address than the one of the other client may disregard that, as packets
are told apart by their source as well. For one at the same address it is the critical type: if it
drops the packet, the client begins anew and draws another SPI. That is one case in 2^32 for each
two clients of one correspondent.
"""

from hipgw.errors import WireError
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import LendSpi, ReturnSpi
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.flows import Flow, Lent, Offer
from hipgw.protocol.mobile_router.labels import wire_spi
from hipgw.wire.insertion import with_parameters, without_types
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    EspInfo,
    EspInfoNoSig,
    EspInfoNoSigOptional,
    LocatorSet,
    Solution,
    SpiLocator,
)

PROVEN_MAX, SEEN_MAX = 2, 2
"""SPIs of a correspondent that are let pass: they lead to it, whoever has named them."""
OFFERS_MAX = 16
"""UPDATEs of a correspondent that may wait for the client's answer, which takes milliseconds. With
fewer, forged ones would displace genuine ones."""
SAME_MAX = 4
"""Of those, different ones with one Update ID."""
LENT_MAX = 4
"""SPIs of a flow, with those that were replaced."""
_SPI_MIN = 256


class Spis:
    """Those that clients have outside."""

    def __init__(self, config: MobileRouterConfig) -> None:
        self._config = config
        self.by_public: dict[int, Flow] = {}

    def peer_uses(self, core: Core, flow: Flow, spi: int) -> None:
        """A correspondent takes data by an SPI, as the client has found."""
        if spi in flow.proven_spis:
            return
        flow.proven_spis.append(spi)
        del flow.proven_spis[:-PROVEN_MAX]
        if spi in flow.seen_spis:
            flow.seen_spis.remove(spi)
        self.told(core, flow)

    def seen(self, core: Core, flow: Flow, spi: int) -> None:
        """A correspondent may take data by an SPI: that displaces nothing that the client knows."""
        if spi < _SPI_MIN or spi in flow.peer_spis:
            return
        flow.seen_spis.append(spi)
        del flow.seen_spis[:-SEEN_MAX]
        self.told(core, flow)

    def offered(self, core: Core, flow: Flow, update_id: int, offer: Offer) -> None:
        """A correspondent says so in an UPDATE, which the client has not acknowledged."""
        some = flow.offers.setdefault(update_id, [])
        if offer not in some and len(some) < SAME_MAX:
            some.append(offer)
        while len(flow.offers) > OFFERS_MAX:
            flow.offers.popitem(last=False)
        if offer.spi:
            self.seen(core, flow, offer.spi)

    def told(self, core: Core, flow: Flow) -> None:
        """Something else than its SPIs has changed of a flow: tell of all of them."""
        for one in flow.lent:
            self._tell(core, flow, one)

    def end(self, core: Core, flow: Flow) -> None:
        """A flow is over."""
        for one in flow.lent:
            self._return(core, flow, one)
        flow.lent.clear()

    def expire(self, core: Core, flow: Flow, now: float) -> None:
        """Take back what was replaced long enough ago."""
        for old in [one for one in flow.lent if one.until is not None and one.until <= now]:
            flow.lent.remove(old)
            self._return(core, flow, old)

    def with_spi(self, core: Core, flow: Flow, packet: HipPacket, now: float) -> bytes:
        """A packet of a client with the SPI that it is lent, if it tells one. Raises Dropped."""
        info = packet.get(EspInfo)
        if info is None and packet.get(LocatorSet) is None:
            return packet.raw
        # With 0 a client withdraws one that it has.
        if info is not None and (info.new_spi not in (info.old_spi, 0) or not flow.lent):
            # A router inside may have lent one.
            self._lend(core, flow, packet, wire_spi(packet, info.new_spi), now)
        elif not flow.lent and (spi := _spi_of_locator(packet)):
            self._lend(core, flow, packet, wire_spi(packet, spi), now)
        if not flow.lent:
            return packet.raw
        spi = wire_spi(packet, info.new_spi) if info is not None else 0
        lent = next((one for one in flow.lent if one.private == spi), flow.current)
        if packet.packet_type is PacketType.I2:
            solution = packet.get(Solution)
            name = solution.i + solution.j if solution is not None else b""
            flow.copies = flow.copies + 1 if name == flow.i2 else 0
            flow.i2 = name
            bare = flow.version == 1 and flow.copies % 2 == 1
            flow.knows = not bare
        elif packet.packet_type is PacketType.R2 or (flow.resumed and flow.version != 1):
            flow.knows = True
        kind = EspInfoNoSig if flow.version == 1 else EspInfoNoSigOptional
        if lent.public != lent.private and self._is_ambiguous(flow, lent):
            kind = EspInfoNoSig
        elif not flow.knows:
            return packet.raw
        try:
            # What a router inside has said is void: who is outermost is listened to.
            inner = packet.all(EspInfoNoSig)
            if any(not isinstance(one, EspInfoNoSigOptional) for one in inner):
                kind = EspInfoNoSig
            raw = without_types(packet.raw, [one.type for one in inner]) if inner else packet.raw
            return with_parameters(raw, [kind(0, 0, lent.public)])
        except WireError:
            if lent.public != lent.private:
                raise Dropped(DropReason.MALFORMED) from None
            return packet.raw  # there is no room, and nothing that it has to know

    def _is_ambiguous(self, flow: Flow, lent: Lent) -> bool:
        """Whether the same SPI is used from the same place outside towards another client."""
        other = self.by_public.get(lent.private)
        if other is None:
            return True  # this host's own
        mine = {place.address for place in flow.peer.values()}
        return bool(mine & {place.address for place in other.peer.values()})

    def _lend(self, core: Core, flow: Flow, packet: HipPacket, spi: int, now: float) -> None:
        if any(one.private == spi for one in flow.lent):
            return
        if spi < _SPI_MIN:
            raise Dropped(DropReason.BAD_SPI)
        public = spi
        while public in self.by_public or public in core.by_inbound_spi or public < _SPI_MIN:
            public = int.from_bytes(core.random(4), "big")
        until = now + self._config.retired_s if flow.done and flow.lent else None
        for old in list(flow.lent):
            if until is None and packet.packet_type is not PacketType.UPDATE:
                # A base exchange that was not finished.
                flow.lent.remove(old)
                self._return(core, flow, old)
        while len(flow.lent) >= LENT_MAX:
            # What is in use stays; the others anybody inside could have named.
            victim = next(one for one in flow.lent if one is not flow.current)
            flow.lent.remove(victim)
            self._return(core, flow, victim)
        lent = Lent(private=spi, public=public, until=until)
        flow.lent.append(lent)
        self.by_public[public] = flow
        self._tell(core, flow, lent)

    def prove(self, core: Core, flow: Flow, spi: int, now: float, *, returns: bool = False) -> None:
        """A client takes data by an SPI, as the correspondent or the client itself has shown.

        One that another has replaced stays replaced unless it *returns*: while a client renews its
        keys, its other UPDATEs still name the SPI before, and may be answered last.
        """
        found = next((one for one in flow.lent if one.private == spi), None)
        if found is None or (found.proven and found is flow.current):
            return
        if found.proven and found.until is not None and not returns:
            return
        for old in flow.lent:
            if old.until is None:
                old.until = now + self._config.retired_s
        found.until, found.proven = None, True
        flow.lent.remove(found)
        flow.lent.append(found)
        self._tell(core, flow, found)

    def _return(self, core: Core, flow: Flow, lent: Lent) -> None:
        if self.by_public.get(lent.public) is flow:
            del self.by_public[lent.public]
        core.effects.append(ReturnSpi(flow.client_hit, flow.peer_hit, lent.public))

    @staticmethod
    def _tell(core: Core, flow: Flow, lent: Lent) -> None:
        core.effects.append(
            LendSpi(
                flow.client_hit,
                flow.peer_hit,
                lent.public,
                lent.private,
                flow.peer_spis,
                flow.client,
                tuple(flow.peer.values()),
                flow.shown,
            )
        )


def _spi_of_locator(packet: HipPacket) -> int:
    """The SPI that an UPDATE without ESP_INFO names; 0 for none."""
    listed = packet.get(LocatorSet)
    entries = listed.locators if listed is not None else ()
    spis = (one.locator.spi for one in entries if isinstance(one.locator, SpiLocator))
    return next(spis, 0)
