"""Sending packets of clients on: where a flow leaves from, and as what a stranger is shown."""

from typing import TYPE_CHECKING

from hipgw.protocol.association import Association
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.mobile_router import carriers
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.mobile_router.packets import (
    bare,
    send,
)
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import HIP_UDP_PORT
from hipgw.wire.packet import PacketType

if TYPE_CHECKING:
    from hipgw.protocol.mobile_router.router import MobileRouter


def place_for(router: "MobileRouter", flow: Flow) -> Place | None:
    """Where a flow's packets leave from: the best place of the IP version that they have now.

    What the correspondent still sends to the one before comes in there all the same.
    """
    mine = [one for one in router.outside if one.address.version in flow.peer]
    mine = mine or [one for one in router.outside if one.address.version in flow.claimed]
    version = flow.outside.address.version if flow.outside is not None else 0
    best = next((one for one in mine if one.address.version == version), None)
    best = best or next(iter(mine), None)
    return Place(best.address, flow.transport, best.port) if best is not None else None


def leave(
    router: "MobileRouter",
    core: Core,
    raw: bytes,
    to: Place | None,
    flow: Flow | None,
    kind: PacketType = PacketType.R1,
) -> Place:
    """Send a packet out; returns where to. Raises Dropped."""
    source: Place | None = None
    if flow is not None:
        source = place_for(router, flow)
        if source is not None and (to is None or to.address.version != source.address.version):
            version = source.address.version
            to = flow.peer.get(version) or flow.claimed.get(version)
        if to is not None and to.transport is not flow.transport:
            to = Place(to.address, flow.transport)
        if flow.outside is None:
            flow.outside = source
    elif to is not None:
        version = to.address.version
        source = next((p for p in router.outside if p.address.version == version), None)
    if source is None or to is None:
        raise Dropped(DropReason.NO_ROUTE)
    send(core, bare(raw), Place(source.address, to.transport, source.port), to)
    if flow is not None:
        for other in carriers.others(flow, kind, source.address, to):
            send(core, bare(raw), Place(source.address, other.transport, source.port), other)
    return to


def enter(
    core: Core,
    raw: bytes,
    source: Place,
    association: Association,
    inside: Place,
    flow: Flow | None,
) -> None:
    """Send a packet in, to a client at *inside*. Raises Dropped."""
    path = association.path
    assert path is not None
    if inside.address.version != source.address.version:
        # To a client without such an address this host stands for the stranger.
        own = Place(path.local, inside.transport) if path.local is not None else None
        found = flow.shown if flow is not None else own
        if found is None or found.address.version != inside.address.version:
            raise Dropped(DropReason.NO_ROUTE)
        shown = found
    else:
        port = source.port if source.transport is inside.transport else HIP_UDP_PORT
        shown = Place(source.address, inside.transport, port)
    send(core, bare(raw), shown, inside)


def begins_anew(flow: Flow, kind: PacketType, transit: Transit) -> bool:
    """Whether a client calls a correspondent by something else than before, as its operator wants.

    Then it goes by that outside too, and so does the flow once the correspondent has answered.
    """
    return (
        flow.done
        and flow.holder == flow.client_hit
        and kind in {PacketType.I1, PacketType.I2}
        and transit.destination.transport is not flow.carried
        and transit.destination.address.version in flow.peer
    )
