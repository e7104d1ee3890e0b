"""The engine relays to silent clients just as the HIP machine does: octet for octet."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address

import pytest

from hipgw.dataplane.backend import ControlReceived
from hipgw.dataplane.esp_core import EspCoreDataPlane
from hipgw.errors import DataPlaneError
from hipgw.lab import wait_until
from hipgw.protocol.effects import ClientRests, ClientWakes
from hipgw.protocol.path import Path, Transport
from hipgw.roles.rvs import RvsRole
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import EchoResponseUnsigned, Parameter
from protocol.network import hip_version
from protocol.rvs_clients import i1, met, relay, rested, server_config

MARKER = bytes(4)
LOCALHOST = IPv4Address("127.0.0.1")


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5.0)
    return sock


@contextmanager
def engine(own: socket.socket) -> Iterator[EspCoreDataPlane]:
    dataplane = EspCoreDataPlane()
    dataplane.add_udp_socket(own.fileno())
    dataplane.set_rendezvous(per_source=1000, per_client=1000)
    dataplane.start()
    try:
        yield dataplane
    finally:
        dataplane.stop()


def moved(rests: ClientRests, own: socket.socket, client: socket.socket) -> ClientRests:
    """The same client, at the ports of this test."""
    path = Path(LOCALHOST, LOCALHOST, Transport.UDP, own.getsockname()[1], client.getsockname()[1])
    return ClientRests(rests.hit, path, rests.mac, rests.key, rests.tells_ports, rests.expires)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (PacketType.I1, []),
        (PacketType.UPDATE, []),
        (PacketType.UPDATE, [EchoResponseUnsigned(bytes(1800))]),
    ],
)
def test_octets_are_the_same(
    kind: PacketType, parameters: list[Parameter], version: int, request: pytest.FixtureRequest
) -> None:
    token = hip_version.set(version)
    request.addfinalizer(lambda: hip_version.reset(token))
    network, server, client = met(config=server_config(compact=True))
    rested(network, server)
    (rests,) = server.of(ClientRests)
    own, at, caller = udp(), udp(), udp()
    data = i1(client, *parameters, kind=kind)
    (expected,) = relay(network, server, data, "127.0.0.1", port=caller.getsockname()[1])
    with own, at, caller, engine(own) as dataplane:
        role = RvsRole(dataplane, lambda: network.now)
        role.handle_event(moved(rests, own, at))
        caller.sendto(MARKER + data, own.getsockname())
        got, source = at.recvfrom(4096)
        assert source == own.getsockname()
        assert got == MARKER + expected.data
        wait_until(
            lambda: dataplane.statistics().counters["rendezvous_packets"] == 1,
            5.0,
            what="the packet's being counted",
        )
        # Once it wakes, the machine has to do it.
        role.handle_event(ClientWakes(client.hit))
        caller.sendto(MARKER + data, own.getsockname())
        (event,) = wait_until(dataplane.drain_events, 5.0, what="the packet's coming up")
        assert isinstance(event, ControlReceived)
        assert event.data == data


def test_what_the_engine_cannot_do_it_is_not_asked_to() -> None:
    network, server, _client = met(Transport.RAW, config=server_config(compact=True))
    rested(network, server)
    (rests,) = server.of(ClientRests)
    added: list[object] = []

    class Listening(EspCoreDataPlane):
        def add_rendezvous_client(self, **client: object) -> None:  # type: ignore[override]
            added.append(client)

    role = RvsRole(Listening(), lambda: network.now)
    role.handle_event(rests)
    with udp() as own, udp() as at:
        usable = moved(rests, own, at)
    role.handle_event(
        ClientRests(usable.hit, usable.path, "cshake128", usable.key, True, usable.expires)
    )
    assert not added
    role.handle_event(usable)
    assert len(added) == 1
    RvsRole(None, lambda: network.now).handle_event(usable)


def test_the_engine_refuses_what_cannot_be() -> None:
    dataplane = EspCoreDataPlane()
    settings = {
        "hit": IPv6Address("2001:20::1"),
        "local": LOCALHOST,
        "local_port": 10500,
        "remote": LOCALHOST,
        "remote_port": 10500,
        "mac": "sha256",
        "key": bytes(32),
        "tells_ports": True,
        "remaining_s": -1.0,
    }
    dataplane.add_rendezvous_client(**settings)  # type: ignore[arg-type]
    for wrong in ({"mac": "md5"}, {"key": bytes(49)}, {"local": IPv6Address("::1")}):
        with pytest.raises(DataPlaneError):
            dataplane.add_rendezvous_client(**settings | wrong)  # type: ignore[arg-type]
    dataplane.remove_rendezvous_client(IPv6Address("2001:20::1"))
    dataplane.remove_rendezvous_client(IPv6Address("2001:20::1"))
