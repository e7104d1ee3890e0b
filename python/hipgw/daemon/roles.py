"""The roles that a configuration turns on."""

import os
import time
from collections.abc import Iterable

from hipgw.config.schema import Config
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.membership import Membership
from hipgw.daemon.mobile_router import MobileRouterParts
from hipgw.dataplane.backend import DataPlane
from hipgw.dataplane.esp_core import EspCoreDataPlane
from hipgw.naming.finder import PeerFinder
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.registration import ServiceType
from hipgw.roles.endbox import EndboxRole
from hipgw.roles.host import HostRole
from hipgw.roles.mobile_node import MobileNodeRole
from hipgw.roles.mobile_router import MobileRouterRole
from hipgw.roles.relay import RelayRole
from hipgw.roles.relay_client import RelayClientRole
from hipgw.roles.rendezvous_client import RendezvousClientRole
from hipgw.roles.role import Role
from hipgw.roles.rvs import RvsRole


def registrars(directory: PeerDirectory, names: Iterable[str]) -> list[Peer]:
    """The peers that are meant by names of this machine's own configuration.

    They stand there, or in the fleet's directory; who was looked up may have any name.
    """
    found = (directory.by_name(name) for name in names)
    return [peer for peer in found if peer is not None and not peer.was_found]


def changed_registrars(config: Config, directory: PeerDirectory, roles: Iterable[Role]) -> None:
    """The directory has changed: tell the roles that register with others whom they mean now."""
    for role in roles:
        match role:
            case RelayClientRole():
                role.change(registrars(directory, config.nat.relays))
            case RendezvousClientRole():
                role.change(registrars(directory, config.rendezvous.servers))
            case MobileNodeRole():
                role.change(registrars(directory, config.mobile_node.routers))
            case _:
                pass


def make_roles(
    config: Config,
    directory: PeerDirectory,
    dataplane: DataPlane,
    driver: HipDriver,
    finder: PeerFinder,
    membership: Membership,
    mobile_router: MobileRouterParts | None = None,
) -> list[Role]:
    """Build the roles, in the order in which they are asked; they are not started yet."""
    engine = dataplane if isinstance(dataplane, EspCoreDataPlane) else None

    def named(names: Iterable[str]) -> list[Peer]:
        return registrars(directory, names)

    roles: list[Role] = []
    if config.host is not None:
        unknown = finder if config.naming.unknown else None
        roles.append(HostRole(directory, dataplane, driver, unknown))
    if config.endbox is not None:
        peers = [peer for peer in directory if membership.is_endbox(peer.hit)]
        roles.append(EndboxRole(peers, driver, os.urandom))
    if config.relay is not None and engine is not None:
        roles.append(RelayRole(engine))
    if config.rvs is not None:
        roles.append(RvsRole(engine, time.monotonic))
    if mobile_router is not None:
        parts = mobile_router
        roles.append(MobileRouterRole(parts.ways, parts.dataplane, parts.clients_changed))
    if config.nat.relays:
        roles.append(
            RelayClientRole(
                named(config.nat.relays),
                driver,
                os.urandom,
                services=[name.wire_id for name in config.nat.services],
                lifetime_s=config.nat.lifetime_s,
            )
        )
    if config.rendezvous.servers:
        roles.append(
            RendezvousClientRole(
                named(config.rendezvous.servers),
                driver,
                os.urandom,
                services=[ServiceType.RENDEZVOUS],
                lifetime_s=config.rendezvous.lifetime_s,
            )
        )
    if config.mobile_node.routers:
        roles.append(
            MobileNodeRole(
                named(config.mobile_node.routers),
                driver,
                os.urandom,
                versions={version.wire_id for version in config.spoken},
                lifetime_s=config.mobile_node.lifetime_s,
            )
        )
    return roles
