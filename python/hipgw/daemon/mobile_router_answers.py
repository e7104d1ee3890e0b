"""What the control socket is told about a mobile router."""

from hipgw.control.api import MobileClientAnswer, MobileRouterAnswer
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.mobile_router import MobileRouterParts
from hipgw.dataplane.spinat_ways import Traffic
from hipgw.naming.peers import PeerDirectory
from hipgw.protocol.mobile_router.clients import ClientInfo
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import Transport

CLIENTS_MAX = 1000
"""In one answer."""


def mobile_router_answer(parts: MobileRouterParts, driver: HipDriver) -> MobileRouterAnswer:
    """Where it is, and how packets pass it."""
    clients = driver.machine.mobile_router_clients()
    without_ebpf = parts.dataplane.without_ebpf
    return {
        "outside": [
            {"address": str(place.address), "interface": parts.interface_name(place.address)}
            for place in parts.places
        ],
        "interfaces": sorted(parts.interfaces.values()),
        "path": "nfqueue" if without_ebpf is not None else "ebpf",
        "path_reason": without_ebpf,
        "rules": parts.rules.description,
        "clients": len(clients),
        "correspondents": sum(client.correspondents for client in clients),
        "flows": len(parts.ways),
        "refused": parts.ways.refused,
        "counters": parts.dataplane.statistics(),
    }


def mobile_client_answers(
    parts: MobileRouterParts, driver: HipDriver, directory: PeerDirectory
) -> list[MobileClientAnswer]:
    """Its clients, of very many the first."""
    traffic = parts.ways.traffic()
    return [
        _client(info, traffic.get(info.hit, Traffic()), directory)
        for info in driver.machine.mobile_router_clients()[:CLIENTS_MAX]
    ]


def _client(info: ClientInfo, traffic: Traffic, directory: PeerDirectory) -> MobileClientAnswer:
    peer = directory.by_hit(info.hit)
    return {
        "peer": peer.name if peer else None,
        "hit": str(info.hit),
        "inside": None if info.place is None else place_text(info.place),
        "correspondents": info.correspondents,
        "begun": info.begun,
        "tickets": info.tickets,
        "packets_in": traffic.inward.packets,
        "packets_out": traffic.outward.packets,
        "octets_in": traffic.inward.octets,
        "octets_out": traffic.outward.octets,
        "hip_packets_in": info.packets_in,
        "hip_packets_out": info.packets_out,
    }


def place_text(place: Place) -> str:
    """As `10.1.0.2`, or `10.1.0.2:10500` with UDP."""
    if place.transport is not Transport.UDP:
        return str(place.address)
    version = place.address.version
    return f"{place.address}:{place.port}" if version == 4 else f"[{place.address}]:{place.port}"
