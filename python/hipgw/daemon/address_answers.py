"""Own addresses and those of peers, as the control socket answers them."""

from collections.abc import Iterable, Sequence

from hipgw.control.api import (
    AddressesAnswer,
    LocatorAnswer,
    OwnAddressAnswer,
    PeerLocatorsAnswer,
)
from hipgw.daemon.events import path_answer
from hipgw.naming.peers import PeerDirectory
from hipgw.platform.address_watch import AddressWatch
from hipgw.protocol.association_infos import AssociationInfo
from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.protocol.path import IPAddress


def addresses_answer(
    watch: AddressWatch,
    infos: Iterable[AssociationInfo],
    directory: PeerDirectory,
    reflexive: Sequence[Reflexive],
) -> AddressesAnswer:
    """Everything that is known of where this machine and its peers are."""
    own: list[OwnAddressAnswer] = [
        {
            "address": str(address),
            "interface": watch.interface_name(address),
            "pinned": watch.interface_of(address) != 0,
            "reflexive": list(
                dict.fromkeys(
                    _endpoint(*one.mapped) for one in reflexive if one.local[0] == address
                )
            ),
        }
        for address in watch.addresses
    ]
    return {"own": own, "peers": [_peer(info, directory) for info in infos]}


def _peer(info: AssociationInfo, directory: PeerDirectory) -> PeerLocatorsAnswer:
    peer, path = directory.by_hit(info.peer_hit), info.path
    here = None if path is None else (path.remote, path.locator_port)
    locators: list[LocatorAnswer] = [
        {
            "address": str(locator.address),
            "port": locator.port,
            "state": locator.state.value,
            "listed": locator.listed,
            "preferred": locator.preferred,
            "in_use": locator.key == here,
        }
        for locator in info.locators
    ]
    return {
        "peer": peer.name if peer else None,
        "peer_hit": str(info.peer_hit),
        "path": None if path is None else path_answer(path),
        "verified": info.path_verified,
        "mapped": None if info.mapped is None else _endpoint(*info.mapped),
        "locators": locators,
    }


def _endpoint(address: IPAddress, port: int) -> str:
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{port}"
