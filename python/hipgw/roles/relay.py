"""The relay: carries HIP packets and data between its clients and everybody (RFC 9028)."""

import logging
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from hipgw.dataplane.relaying import RelayDataPlane
from hipgw.protocol.effects import (
    CloseRelayedPort,
    Effect,
    OpenRelayedPort,
    PermitPeer,
    RegistrationChanged,
    RevokePeer,
)
from hipgw.protocol.registration import ServiceType, service_name

_log = logging.getLogger(__name__)


class RelayRole:
    """Has the data plane do what the HIP machine grants to clients."""

    name = "relay"

    def __init__(self, dataplane: RelayDataPlane) -> None:
        self._dataplane = dataplane

    def start(self) -> None:
        """Nothing: clients come by themselves."""

    def handle_event(self, event: Effect) -> None:
        match event:
            case OpenRelayedPort(address=address, port=port, octets_per_s=octets_per_s):
                self._dataplane.open_relay_port(
                    version=address.version, port=port, octets_per_s=octets_per_s
                )
            case CloseRelayedPort(address=address, port=port):
                self._dataplane.close_relay_port(version=address.version, port=port)
            case PermitPeer(client=client) if client.local is not None:
                self._dataplane.permit_peer(
                    port=event.port,
                    local=client.local,
                    client=client.remote,
                    client_port=client.remote_port,
                    peer=event.peer,
                    peer_port=event.peer_port,
                    outbound_spi=event.outbound_spi,
                    inbound_spi=event.inbound_spi,
                )
            case RevokePeer(client=client) if client.local is not None:
                self._dataplane.revoke_peer(
                    port=event.port,
                    local=client.local,
                    client=client.remote,
                    client_port=client.remote_port,
                    peer=event.peer,
                    peer_port=event.peer_port,
                    outbound_spi=event.outbound_spi,
                    inbound_spi=event.inbound_spi,
                )
            case RegistrationChanged(registrar=True, reg_type=reg_type, reason=reason) if (
                reg_type != ServiceType.RENDEZVOUS and reason != "renewed"
            ):
                _log.info(
                    "registration of a client",
                    extra={
                        "peer_hit": str(event.peer_hit),
                        "service": service_name(reg_type),
                        "reason": reason,
                    },
                )
            case _:
                pass

    def kept(self) -> Iterable[IPv6Address]:
        """None: associations with clients last as long as their registrations by themselves."""
        return ()

    def acquire(self, _destination: IPv4Address | IPv6Address) -> bool:
        """Nothing is sent to clients by this host itself."""
        return False
