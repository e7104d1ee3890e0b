"""What carries a flow outside: the same as inside, unless only UDP gets through there.

A NAT spoils the checksum of HIP on protocol 139, and may know neither that nor ESP. Whether there
is one, a router cannot see: any private address may be behind one. So from such a place, what is to
be plain is sent in UDP as well, until the correspondent has shown what gets there. What comes first
is taken, and that is plain where both get there.
"""

from ipaddress import IPv4Network

from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport
from hipgw.wire.packet import PacketType

REMIND_S = 15.0
"""How often a NAT is reminded of a flow that a client does not know to be in UDP."""
_PRIVATE = tuple(
    IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
"""Of RFC 1918 and RFC 6598."""
_IN_BOTH = frozenset({PacketType.I1, PacketType.UPDATE})
"""What does no harm if it comes twice, and begins everything else."""


def begin(config: MobileRouterConfig, flow: Flow) -> None:
    """A flow has begun, or is at another place outside: nothing is known of that."""
    flow.transport = config.outside or flow.carried
    udp = flow.carried is Transport.UDP
    flow.settled = config.outside is not None or udp or flow.fixed


def carry(flow: Flow, transport: Transport) -> bool:
    """Let a flow go by something else from now on; whether that is new."""
    if flow.transport is transport:
        return False
    flow.transport = transport
    for places in (flow.peer, flow.claimed, flow.servers):
        for version, place in places.items():
            places[version] = Place(place.address, transport)
    return True


def others(flow: Flow, kind: PacketType, source: IPAddress, to: Place) -> list[Place]:
    """Where else to send a packet that goes from an address to a place."""
    if flow.settled or kind not in _IN_BOTH or to.transport is Transport.UDP:
        return []
    if source.version != 4 or not any(source in net for net in _PRIVATE):
        return []
    return [Place(to.address, Transport.UDP, HIP_UDP_PORT)]


def is_to_be_reminded(flow: Flow, now: float) -> bool:
    """Whether a NAT may soon forget a flow, and the router can do something about it."""
    return (
        flow.transport is not flow.carried
        and flow.transport is Transport.UDP
        and flow.ticket is not None
        and flow.proxy is None
        and flow.reminded + REMIND_S <= now
    )
