"""Random lives of a rendezvous server's clients: each is found, whatever it has been through."""

import random

import pytest

from hipgw.protocol.registration import ServiceType
from hipgw.protocol.states import State
from protocol.network import Network, Node
from protocol.rvs_clients import RVS, SERVER, checked, host, i1, relay, server_config

CLIENTS = 3
EVENTS = 25
LIFETIME_S = 120.0
CALM_S = 70.0


def lives(seed: int) -> tuple[Network, Node, list[Node]]:
    """A server and its clients after some time of moves, renewals, losses and restarts."""
    chance = random.Random(seed)
    network = Network(seed=seed)
    loss = 0.15
    network.filter = lambda _sender, _data: (
        [] if network.random.random() < loss else [0.01 + 0.05 * network.random.random()]
    )
    config = server_config(compact=True, awake_max=2, rest_s=3.0)
    server = network.add("server", SERVER, host(1), config)
    network.perform(server, server.machine.addresses_changed(server.addresses, network.now))
    clients = [network.add(f"c{n}", f"10.0.1.{n}", host(n + 2)) for n in range(CLIENTS)]

    def call(client: Node) -> None:
        now = network.now
        network.perform(client, client.machine.addresses_changed(client.addresses, now))
        network.perform(client, client.machine.register(server.hit, [RVS], LIFETIME_S, now))
        network.connect(client, server)

    for client in clients:
        call(client)
    for event in range(EVENTS):
        network.run(chance.choice([0.05, 0.5, 4.0, 12.0, 40.0]))
        number = chance.randrange(CLIENTS)
        client = clients[number]
        match chance.randrange(5):
            case 0 | 1:
                network.readdress(client, f"10.1.{event}.{number + 1}")
            case 2:
                up = client.state(server) in {State.ESTABLISHED, State.R2_SENT}
                if up:
                    network.perform(client, client.machine.rekey(server.hit, network.now))
            case 3:
                where = str(client.address)
                clients[number] = network.add(client.name, where, host(number + 2))
                call(clients[number])
            case _:
                if client.state(server) is State.ESTABLISHED:
                    client.machine.ping(server.hit, network.now)
    network.filter = lambda _sender, _data: [0.01]
    for _ in range(3):
        network.run(CALM_S, steps=60_000)
        for client in clients:
            # As the role of such a host does.
            if client.state(server) not in {State.ESTABLISHED, State.R2_SENT}:
                call(client)
    network.run(1.0)
    return network, server, clients


@pytest.mark.both_versions
@pytest.mark.parametrize("seed", range(4))
def test_everybody_is_found(seed: int) -> None:
    network, server, clients = lives(seed)
    for client in clients:
        assert ServiceType.RENDEZVOUS in {one.reg_type for one in client.machine.registrations()}
        network.now += 1.0
        (sent,) = relay(network, server, i1(client))
        assert sent.path.remote == client.address
        checked(client, server, sent.data)
    # One that has just renewed its registration is awake for a while.
    network.until(lambda: server.machine.resting_count == CLIENTS, 100.0)
    assert server.machine.association_count == CLIENTS
