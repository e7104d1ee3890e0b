"""What OpenHIP's mobile router has made of packets, from hipgw in its place: octet for octet."""

from dataclasses import replace
from functools import cache
from ipaddress import ip_address

import pytest

from hipgw.protocol.compat import OPENHIP
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import Effect, ForwardHip
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import Grant, ServiceType
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import AuthTicket, EspInfo, EspInfoNoSig, ProxyTicket
from interop import openhip
from interop.openhip import Packet
from protocol.network import establish

INSIDE, OUTSIDE = openhip.OPENHIP / "mr-raw-mn.pcap", openhip.OPENHIP / "mr-raw-cn.pcap"
CLIENT, PEER = ip_address("10.78.0.2"), ip_address("10.77.0.2")
HERE, THERE = ip_address("10.77.0.9"), ip_address("10.77.0.19")


class Router:
    """A mobile router with the client of the recording."""

    def __init__(self) -> None:
        case = openhip.case_of(INSIDE)
        hits = {node.name: node.hit for node in openhip.nodes(case)}
        self.hits = hits
        config = MachineConfig(
            compat=lambda _hit: OPENHIP,
            registrar=RegistrarConfig(
                services=(ServiceType.MOBILE_ROUTER,), mobile_router=MobileRouterConfig()
            ),
        )
        own = openhip.identities(case)[hits["R"]]
        self.machine = HipMachine(config, [own], lambda count: bytes([1]) * count, 0.0)
        self.client = establish(self.machine, hits["M"], 0.0)
        self.client.path = Path(ip_address("10.78.0.1"), CLIENT, Transport.RAW)
        assert self.client.session is not None
        self.client.session.compat = OPENHIP
        grant = Grant(ServiceType.MOBILE_ROUTER, 900.0, 900.0)
        self.client.registrations.granted.grants[grant.reg_type] = grant
        registrar = self.machine._core.registrar
        assert registrar is not None
        registrar.clients[hits["M"]] = self.client
        self.at(HERE)
        # OpenHIP's router lends an SPI at random always, hipgw's only if the client's is taken.
        core = self.machine._core
        core.by_inbound_spi[_i2(INSIDE).hip.get(EspInfo).new_spi] = self.client  # type: ignore[union-attr]
        lent = _i2(OUTSIDE).hip.get(EspInfoNoSig).new_spi  # type: ignore[union-attr]
        core.random = lambda count: lent.to_bytes(4, "big") if count == 4 else bytes(count)

    def at(self, address) -> list[ForwardHip]:  # type: ignore[no-untyped-def]
        places = [Place(address, Transport.RAW)]
        return _sent(self.machine.outside_changed(places, 1.0))

    def out(self, packet: Packet) -> list[ForwardHip]:
        return _sent(self.machine.transit_received(packet.data, _transit(packet), 1.0, inside=True))

    def into(self, packet: Packet) -> list[ForwardHip]:
        return _sent(
            self.machine.transit_received(packet.data, _transit(packet), 1.0, inside=False)
        )

    def ticket(self) -> None:
        (packet,) = (p for p in openhip.hip_packets(INSIDE) if p.hip.get(ProxyTicket))
        ticket = packet.hip.get(ProxyTicket)
        core = self.machine._core
        assert ticket is not None and core.mobile_router is not None
        core.mobile_router.ticket_came(core, self.client, ticket, 1.0)

    def pass_all(self, until: PacketType | None = None) -> list[tuple[Packet, ForwardHip]]:
        """What it makes of each packet before the first of a type, beside what OpenHIP made of it.

        It moves before the first UPDATE, as in the recording.
        """
        found = []
        outside = [packet for packet in _between(OUTSIDE) if packet.hip.get(AuthTicket) is None]
        for within, without in zip(_between(INSIDE), outside, strict=True):
            kind = within.hip.packet_type
            if kind is until:
                break
            if kind is PacketType.UPDATE:
                self.at(THERE)
            if within.source == CLIENT:
                made, (sent,) = without, self.out(within)
            else:
                made, (sent,) = within, self.into(without)
            found.append((made, sent))
        return found


@cache
def _between(capture) -> list[Packet]:  # type: ignore[no-untyped-def]
    """HIP packets of client and correspondent."""
    return [p for p in openhip.hip_packets(capture) if PEER in (p.source, p.destination)]


def _i2(capture) -> Packet:  # type: ignore[no-untyped-def]
    return next(p for p in _between(capture) if p.hip.packet_type is PacketType.I2)


def _transit(packet: Packet) -> Transit:
    return Transit(Place(packet.source, Transport.RAW), Place(packet.destination, Transport.RAW))


def _sent(effects: list[Effect]) -> list[ForwardHip]:
    return [effect for effect in effects if isinstance(effect, ForwardHip)]


def test_packets_are_passed_on_as_openhip_does() -> None:
    pairs = Router().pass_all()
    assert len(pairs) == 8
    for recorded, made in pairs:
        assert made.transit == _transit(recorded)
        assert made.data.hex() == recorded.data.hex()


def test_the_update_in_the_clients_name_is_openhips() -> None:
    router = Router()
    router.pass_all(PacketType.UPDATE)
    router.ticket()
    (sent,) = router.at(THERE)
    (recorded,) = (p for p in _between(OUTSIDE) if p.hip.get(AuthTicket))
    assert sent.transit == _transit(recorded)
    assert sent.data.hex() == recorded.data.hex()


@pytest.mark.parametrize("changed", ["mobile_hit", "peer_hit"])
def test_a_ticket_of_somebody_else_is_refused(changed: str) -> None:
    router = Router()
    router.pass_all(PacketType.CLOSE)
    (packet,) = (p for p in openhip.hip_packets(INSIDE) if p.hip.get(ProxyTicket))
    core, ticket = router.machine._core, packet.hip.get(ProxyTicket)
    assert ticket is not None and core.mobile_router is not None
    with pytest.raises(Exception, match="bad_ticket"):
        core.mobile_router.ticket_came(
            core, router.client, replace(ticket, **{changed: router.hits["R"]}), 1.0
        )
