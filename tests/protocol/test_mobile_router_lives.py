"""Random lives of a mobile router, its clients and their correspondents: in the end data flows."""

from ipaddress import ip_address

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hipgw.protocol.path import Transport
from hipgw.protocol.states import State
from protocol.moving import Moving, both_ways, is_check, router_config
from protocol.network import Node, hip_version

PLACES = st.lists(
    st.one_of(
        st.integers(1, 200).map(lambda number: f"203.0.113.{number}"),
        st.integers(1, 200).map(lambda number: f"2001:db8:1::{number:x}"),
    ),
    max_size=2,
)


class Lives(RuleBasedStateMachine):
    """Moves, losses, new keys and flows among two clients and two correspondents."""

    @initialize(
        transport=st.sampled_from(list(Transport)),
        tickets=st.booleans(),
        version=st.sampled_from([1, 2]),
    )
    def begin(self, transport: Transport, tickets: bool, version: int) -> None:
        self.token = hip_version.set(version)
        self.network = network = Moving(transport=transport)
        self.loss = 0.0
        config = router_config(tickets=tickets)
        self.router = network.router("router", "10.1.0.1", ["198.51.100.1"], 1, config=config)
        self.clients = [
            network.host(f"client-{one}", f"10.1.0.{10 + one}", 2 + one, "router")
            for one in range(2)
        ]
        self.peers = [network.host(f"peer-{one}", f"192.0.2.{9 + one}", 5 + one) for one in (0, 1)]
        for client in self.clients:
            network.register(client, self.router)
        for number, peer in enumerate(self.peers):
            network.where[ip_address(f"2001:db8::{9 + number}")] = ""
            network.readdress(peer, f"192.0.2.{9 + number}", f"2001:db8::{9 + number}")
        self.pairs: list[tuple[Node, Node]] = []
        for client in self.clients:
            network.join(client, self.peers[0])
            self.pairs.append((client, self.peers[0]))
        network.run(3.0)
        network.filter = self.through

    def through(self, _sender: str, data: bytes) -> list[float]:
        """How long a packet takes, if it comes."""
        dice = self.network.random
        lost = dice.random() < self.loss and not is_check(data, self.router)
        return [] if lost else [dice.uniform(0.005, 0.05)]

    @rule(places=PLACES, wait=st.sampled_from([0.01, 0.3, 5.0]))
    def move(self, places: list[str], wait: float) -> None:
        self.network.move(self.router, list(dict.fromkeys(places)))
        self.network.run(wait)

    @rule(loss=st.sampled_from([0.0, 0.05, 0.1]))
    def lose(self, loss: float) -> None:
        self.loss = loss

    @rule(which=st.integers(0, 3), wait=st.sampled_from([0.0, 2.0]))
    def rekey(self, which: int, wait: float) -> None:
        client, peer = self.pairs[which % len(self.pairs)]
        node, other = (client, peer) if which < 2 else (peer, client)
        self.network.perform(node, node.machine.rekey(other.hit, self.network.now))
        self.network.run(wait)

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "network"):
            spinat = self.network.spinat(self.router)
            lent = self.network.routers["router"].lent
            assert spinat.flow_count == len(self.pairs)
            assert set(lent) == set(spinat.spis.by_public)
            assert len(lent) <= 4 * spinat.flow_count

    def teardown(self) -> None:
        if not hasattr(self, "network"):
            return
        hip_version.reset(self.token)
        network, self.loss = self.network, 0.0
        network.move(self.router, ["203.0.113.250", "2001:db8:1::fa"])
        network.run(60.0)
        for client, peer in self.pairs:
            assert client.state(peer) is State.ESTABLISHED
            both_ways(network, client, peer)
        network.move(self.router, ["203.0.113.251"])
        network.run(10.0)
        for client, peer in self.pairs:
            both_ways(network, client, peer)
            assert peer.path_to(client).remote == ip_address("203.0.113.251")


Lives.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLives = Lives.TestCase
