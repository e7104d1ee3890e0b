"""A rendezvous server, a client of it, and what a stranger can send to the server."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address

from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import SendDatagram
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.protocol.states import State
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.coverage import rvs_hmac_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import DhGroupList, Parameter, RvsHmac
from protocol.network import FAST, Network, Node, hip_version, identity, parse

RVS, RELAY = ServiceType.RENDEZVOUS, ServiceType.RELAY_UDP_HIP
INITIATOR = IPv6Address("2001:20::1")
INITIATOR_V1 = IPv6Address("2001:10::1")
SERVER, CLIENT, STRANGER = "10.0.0.1", "10.0.0.2", "198.51.100.7"
ANY = lambda _hit: True  # noqa: E731


def server_config(*, services: tuple[int, ...] = (RVS,), **terms: object) -> MachineConfig:
    rendezvous = replace(RendezvousConfig(allow=ANY, rest_s=2.0), **terms)  # type: ignore[arg-type]
    return replace(FAST, registrar=RegistrarConfig(services=services, rendezvous=rendezvous))


def host(number: int) -> LocalIdentity:
    version = hip_version.get()
    return identity("ecdsa-p256" if version == 2 else "rsa2048", number, version)


def met(
    transport: Transport = Transport.UDP,
    *,
    config: MachineConfig | None = None,
    client_config: MachineConfig = FAST,
    lifetime_s: float = 60.0,
) -> tuple[Network, Node, Node]:
    """A rendezvous server and a client of it."""
    network = Network(transport=transport)
    server = network.add("server", SERVER, host(1), config or server_config())
    client = network.add("client", CLIENT, host(2), client_config)
    network.perform(server, server.machine.addresses_changed(server.addresses, network.now))
    network.perform(client, client.machine.addresses_changed(client.addresses, network.now))
    effects = client.machine.register(server.hit, [RVS], lifetime_s, network.now)
    network.perform(client, effects)
    network.connect(client, server)
    network.until(lambda: server.state(client) is State.ESTABLISHED)
    network.run(0.1)
    assert [one.reg_type for one in client.machine.registrations()] == [RVS]
    return network, server, client


def rested(network: Network, server: Node, seconds: float = 12.0) -> None:
    """Let the server's clients go into compact form."""
    network.run(seconds)
    assert server.machine.resting_count == 1
    assert not server.machine._core.associations
    assert not server.machine._core.by_inbound_spi


def i1(
    client: Node,
    *more: Parameter,
    kind: PacketType = PacketType.I1,
    sender: IPv6Address | None = None,
    pseudo: PseudoHeader | None = None,
) -> bytes:
    version = hip_version.get()
    sender = sender or (INITIATOR if version == 2 else INITIATOR_V1)
    parameters = (DhGroupList((7,)), *more) if version == 2 else more
    packet = HipPacket(kind, sender, client.hit, parameters, version=version)
    return packet.emit(pseudo)


def relay(
    network: Network,
    server: Node,
    data: bytes,
    source: str = STRANGER,
    *,
    transport: Transport | None = None,
    port: int = 10500,
) -> list[SendDatagram]:
    """What the server sends when a packet comes to it."""
    where = ip_address(source)
    own = next(one for one in server.addresses if one.version == where.version)
    path = Path(own, where, transport or network.transport, 10500, port)
    effects = server.machine.datagram_received(data, path, network.now)
    return [effect for effect in effects if isinstance(effect, SendDatagram)]


def checked(client: Node, server: Node, data: bytes) -> HipPacket:
    """A relayed packet whose RVS_HMAC the client can verify."""
    packet = parse(data)
    code = packet.get(RvsHmac)
    assert code is not None
    (association,) = client.machine._core.with_peer(server.hit)
    session = association.session
    assert session is not None
    covered = rvs_hmac_coverage(data)
    assert session.rhash.verify_mac(session.hip_keys.incoming_integrity, covered, code.mac)
    return packet
