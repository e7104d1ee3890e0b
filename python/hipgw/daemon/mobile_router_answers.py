"""What the control socket is told about a mobile router."""

from ipaddress import IPv6Address

from hipgw.control.api import HealthWarning, MobileClientAnswer, MobileRouterAnswer
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
        "counters": parts.statistics(),
    }


def mobile_client_answers(
    parts: MobileRouterParts, driver: HipDriver, directory: PeerDirectory
) -> list[MobileClientAnswer]:
    """Its clients and their guests, of very many the first."""
    traffic = parts.ways.traffic()
    answers = [
        _client(info, traffic.pop(info.hit, Traffic()), directory)
        for info in driver.machine.mobile_router_clients()
    ]
    answers += [_guest(hit, one, directory) for hit, one in traffic.items() if one.flows]
    return answers[:CLIENTS_MAX]


def mobile_router_warnings(parts: MobileRouterParts) -> list[HealthWarning]:
    """What keeps it from working as it should."""
    found: list[HealthWarning] = [
        {"code": "no_clients_allowed", "severity": "warning", "message": message, "hint": ""}
        for message in parts.warnings
    ]
    if not parts.places:
        found.append(
            {
                "code": "no_address_outside",
                "severity": "warning",
                "message": "the mobile router has no address outside",
                "hint": "mobile_router.external_interfaces says which interfaces lead there",
            }
        )
    if (why := parts.lacks_ebpf) is not None:
        found.append(
            {
                "code": "no_ebpf",
                "severity": "notice",
                "message": f"the kernel does not rewrite data of clients by itself: {why}",
                "hint": "this program does, at less speed",
            }
        )
    return found


def _client(info: ClientInfo, traffic: Traffic, directory: PeerDirectory) -> MobileClientAnswer:
    peer = directory.by_hit(info.hit)
    return {
        "peer": peer.name if peer else None,
        "hit": str(info.hit),
        "inside": None if info.place is None else place_text(info.place),
        "correspondents": info.correspondents,
        "guests": info.guests,
        "guest": False,
        "begun": info.begun,
        "tickets": info.tickets,
        "packets_in": traffic.inward.packets,
        "packets_out": traffic.outward.packets,
        "octets_in": traffic.inward.octets,
        "octets_out": traffic.outward.octets,
        "hip_packets_in": info.packets_in,
        "hip_packets_out": info.packets_out,
    }


def _guest(hit: IPv6Address, traffic: Traffic, directory: PeerDirectory) -> MobileClientAnswer:
    """Somebody behind a client that is a mobile router itself."""
    info = ClientInfo(
        hit=hit,
        place=None,
        correspondents=traffic.flows,
        guests=0,
        tickets=0,
        begun=0,
        packets_in=0,
        packets_out=0,
    )
    return {**_client(info, traffic, directory), "guest": True}


def place_text(place: Place) -> str:
    """As `10.1.0.2`, or `10.1.0.2:10500` with UDP."""
    if place.transport is not Transport.UDP:
        return str(place.address)
    version = place.address.version
    return f"{place.address}:{place.port}" if version == 4 else f"[{place.address}]:{place.port}"
