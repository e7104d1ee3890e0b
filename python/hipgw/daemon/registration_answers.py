"""Registrations, as the control socket answers them."""

from collections.abc import Iterable

from hipgw.control.api import RegistrationAnswer
from hipgw.identity.hit import hit_version
from hipgw.naming.peers import PeerDirectory
from hipgw.protocol.path import IPAddress
from hipgw.protocol.registration import RegistrationInfo, service_name


def registration_answers(
    infos: Iterable[RegistrationInfo], directory: PeerDirectory, now: float
) -> list[RegistrationAnswer]:
    """Those in force, *now* on the machine's clock."""
    return [_answer(info, directory, now) for info in infos]


def _answer(info: RegistrationInfo, directory: PeerDirectory, now: float) -> RegistrationAnswer:
    peer = directory.by_hit(info.peer_hit)
    return {
        "peer": peer.name if peer else None,
        "peer_hit": str(info.peer_hit),
        "version": hit_version(info.peer_hit),
        "role": "registrar" if info.registrar else "client",
        "service": service_name(info.reg_type),
        "lifetime_s": info.lifetime_s,
        "remaining_s": max(0.0, info.expires - now),
        "mapped": None if info.mapped is None else _endpoint(*info.mapped),
        "relayed": [_endpoint(*relayed) for relayed in info.relayed],
    }


def _endpoint(address: IPAddress, port: int) -> str:
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{port}"
