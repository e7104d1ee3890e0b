"""The data relay: lends ports to clients, and lets through what they permit (RFC 9028 §4.12).

The packets themselves pass in the data plane; this is what decides which.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from hipgw.identity.hit import is_hit
from hipgw.identity.lsi import is_lsi
from hipgw.protocol.effects import CloseRelayedPort, OpenRelayedPort, PermitPeer, RevokePeer
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.nat.ports import (
    PERMISSION_S,
    Permission,
    PermissionKey,
    PortPool,
    RelayedPort,
)
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.registration import Granted, ServiceType
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    EchoRequestSigned,
    Parameter,
    PeerPermission,
    RelayedAddress,
)

if TYPE_CHECKING:
    from hipgw.protocol.association import Association
    from hipgw.protocol.core import Core

PERMISSIONS_IN_PACKET = 8
_UDP = 17
_SPI_MIN = 256


class DataRelay:
    """Ports and permissions of all clients; those of one are kept with its association."""

    def __init__(self, config: RegistrarConfig, random: Callable[[int], bytes]) -> None:
        self._config = config
        self._pool = PortPool(config.relayed, random)
        self.owners: dict[tuple[int, int], Association] = {}
        """The client of each port that is lent, by IP version and port."""

    def lend(
        self, core: "Core", association: "Association", packet: HipPacket, path: Path
    ) -> list[Parameter] | None:
        """The relayed addresses that a request is answered with; None if there are none left.

        An I2 asks for the first one; an UPDATE for one more if it has an ECHO_REQUEST_SIGNED and
        names none that the client has (RFC 9028 §4.1). Otherwise it renews, and what the client
        has is told again.
        """
        granted = association.registrations.granted
        more = packet.get(EchoRequestSigned) is not None and not packet.all(RelayedAddress)
        first = not granted.ports
        if first or (
            packet.packet_type is PacketType.UPDATE
            and more
            and len(granted.ports) < self._config.ports_per_client
        ):
            port = self._pool.take(path.local) if path.local is not None else None
            if port is not None:
                granted.ports.append(port)
                self.owners[port.address.version, port.port] = association
                core.effects.append(
                    OpenRelayedPort(
                        port.slot[0], port.port, association.peer_hit, self._config.octets_per_s
                    )
                )
                return [RelayedAddress(port.address, port.port, _UDP)]
        if first:
            return None
        return [RelayedAddress(port.address, port.port, _UDP) for port in granted.ports]

    def owner(self, path: Path) -> "Association | None":
        """The client of the relayed port that a packet came to; None if it came to another one."""
        if path.local is None:
            return None
        return self.owners.get((path.local.version, path.local_port))

    def take_back(self, core: "Core", granted: Granted, packet: HipPacket) -> bool:
        """End the lending of those ports that a cancellation names; False if it names none."""
        named = {(one.address, one.port) for one in packet.all(RelayedAddress)}
        for port in [port for port in granted.ports if port.relayed in named]:
            self._close(core, granted, port)
        # Once the last one is gone, the registration is void as well.
        return bool(named) and bool(granted.ports)

    def close(self, core: "Core", granted: Granted) -> None:
        """Take all ports of a client back."""
        for port in list(granted.ports):
            self._close(core, granted, port)

    def may_permit(self, core: "Core", association: "Association", packet: HipPacket) -> bool:
        """Whether all permissions that an authentic UPDATE asks for can be given.

        Not while the client has moved and it is not known yet whether it is there: others could
        be flooded that way. It asks again.
        """
        granted = association.registrations.granted
        asked = packet.all(PeerPermission)
        if not association.mobility.verified:
            return False
        if ServiceType.RELAY_UDP_ESP not in granted.grants or len(asked) > PERMISSIONS_IN_PACKET:
            return False
        return all(self._port_for(core, association, one) is not None for one in asked)

    def permit(
        self, core: "Core", association: "Association", packet: HipPacket, now: float
    ) -> None:
        """Give the permissions of an UPDATE, or refresh them; for what `may_permit` has seen."""
        path = association.path
        for asked in packet.all(PeerPermission):
            port = self._port_for(core, association, asked)
            if port is None or path is None:
                continue
            key = _key(asked)
            known = port.permissions.pop(key, None)
            if known is not None and known.client != path:
                core.effects.append(_revoke(port, known.client, key))
            port.permissions[key] = Permission(now + PERMISSION_S, path)
            core.effects.append(_permit(port, path, key))
            core.arm(association)

    def suspend(self, core: "Core", association: "Association") -> None:
        """The client has moved: nothing passes until it permits it anew (RFC 9028 §4.12.1)."""
        for port in association.registrations.granted.ports:
            for key in list(port.permissions):
                self._revoke(core, port, key)

    def follow(self, core: "Core", association: "Association") -> None:
        """The client's address or port has changed: its data goes there, once it is verified."""
        path = association.path
        if path is None:
            return
        if not association.mobility.verified:
            self.suspend(core, association)
            return
        for port in association.registrations.granted.ports:
            for key, permission in port.permissions.items():
                if permission.client != path:
                    core.effects.append(_revoke(port, permission.client, key))
                    permission.client = path
                    core.effects.append(_permit(port, path, key))

    def expire(self, core: "Core", granted: Granted, now: float) -> None:
        """End permissions that were not refreshed."""
        for port in granted.ports:
            for key in [key for key, one in port.permissions.items() if one.expires <= now]:
                self._revoke(core, port, key)

    @staticmethod
    def permitted(granted: Granted, peer: IPAddress, peer_port: int) -> RelayedPort | None:
        """The port by which a client may speak to a peer, if it has permitted that."""
        for port in granted.ports:
            if any((key.peer, key.peer_port) == (peer, peer_port) for key in port.permissions):
                return port
        return None

    # -- inside ------------------------------------------------------------------------------

    def _port_for(
        self, core: "Core", association: "Association", asked: PeerPermission
    ) -> RelayedPort | None:
        """The port that a permission is about; None if it cannot be given."""
        granted = association.registrations.granted
        relayed = (asked.relay, asked.relay_port)
        port = next((port for port in granted.ports if port.relayed == relayed), None)
        if port is None or not _sound(asked, port):
            return None
        key = _key(asked)
        if key in port.permissions:
            return port
        others = [other for each in granted.ports for other in each.permissions]
        if asked.outbound_spi in core.by_inbound_spi:
            # What the client sends by it would be taken for data to this host.
            return None
        return port if len(others) < self._config.permissions_per_client else None

    def _close(self, core: "Core", granted: Granted, port: RelayedPort) -> None:
        for key in list(port.permissions):
            self._revoke(core, port, key)
        granted.ports.remove(port)
        self.owners.pop((port.address.version, port.port), None)
        self._pool.give_back(port)
        core.effects.append(CloseRelayedPort(*port.slot))

    @staticmethod
    def _revoke(core: "Core", port: RelayedPort, key: PermissionKey) -> None:
        permission = port.permissions.pop(key)
        core.effects.append(_revoke(port, permission.client, key))


def _key(asked: PeerPermission) -> PermissionKey:
    return PermissionKey(asked.peer, asked.peer_port, asked.outbound_spi, asked.inbound_spi)


def _permit(port: RelayedPort, client: Path, key: PermissionKey) -> PermitPeer:
    return PermitPeer(
        *port.slot, client, key.peer, key.peer_port, key.outbound_spi, key.inbound_spi
    )


def _revoke(port: RelayedPort, client: Path, key: PermissionKey) -> RevokePeer:
    return RevokePeer(
        *port.slot, client, key.peer, key.peer_port, key.outbound_spi, key.inbound_spi
    )


def _sound(asked: PeerPermission, port: RelayedPort) -> bool:
    """Whether it is about UDP to another host of the same family, with SPIs that can be."""
    peer = asked.peer
    nowhere = (
        peer.is_multicast
        or peer.is_unspecified
        or peer.is_loopback
        or peer.is_link_local
        or is_hit(peer)
        or is_lsi(peer)
    )
    return (
        asked.protocol == _UDP
        and not nowhere
        and peer.version == port.address.version
        and asked.peer_port > 0
        and (peer, asked.peer_port) != port.relayed
        and min(asked.outbound_spi, asked.inbound_spi) >= _SPI_MIN
    )
