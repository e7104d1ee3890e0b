"""Random lives of an association: what can happen to two hosts and the network between them."""

import random
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from hipgw.errors import LocalProtocolError
from hipgw.protocol.effects import Direction
from hipgw.protocol.path import Transport
from hipgw.protocol.states import State
from protocol.network import FAST, Nat, Network, Node, assert_joined, ordered

CONFIG = replace(FAST, rekey_s=300.0, keepalive_s=15.0, ual_s=3600.0)
ADDRESSES = {
    "a": ("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8:a::1", "2001:db8:a::2"),
    "b": ("198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8:b::1", "2001:db8:b::2"),
}
NATS = {"192.0.2.1": "203.0.113.1", "192.0.2.2": "203.0.113.2", "192.0.2.3": "203.0.113.3"}
"""What some lives have between the first host and the other: IPv6 goes around them."""
UP = {State.R2_SENT, State.ESTABLISHED}
STEPS_MAX = 25
SETTLED_S = 400.0
"""Long enough for every timer that can stand between two hosts and a healthy network."""


@dataclass
class Life:
    """One schedule, replayed from its seed."""

    seed: int
    log: list[str] = field(default_factory=list)
    """What was done, in words."""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        transport = Transport.RAW if self.dice.random() < 0.25 else Transport.UDP
        self.network = Network(self.seed, transport)
        small, great = ordered()
        keys = [small, great] if self.dice.random() < 0.5 else [great, small]
        self.a = self.network.add("a", ADDRESSES["a"][0], keys[0], CONFIG)
        self.b = self.network.add("b", ADDRESSES["b"][0], keys[1], CONFIG)
        if transport is Transport.UDP and self.dice.random() < 0.4:
            for inside, outside in NATS.items():
                self.network.nats[ip_address(inside)] = Nat(outside)
        if self.dice.random() < 0.3:
            self.b.port = 20500
        self.log.append(f"{transport.value}, {len(self.network.nats)} NATs, port {self.b.port}")
        self.weather()

    def run(self) -> None:
        """Live it, and see how it ends."""
        self.readdress(self.a)
        self.readdress(self.b)
        self.connect(self.a, self.b)
        for _ in range(self.dice.randint(1, STEPS_MAX)):
            self.step()
        self.settle()

    def step(self) -> None:
        """Something happens, and some time passes."""
        node, other = self.dice.sample([self.a, self.b], 2)
        for_all = [self.weather, self.talk, self.talk, self.rebind, self.block]
        for_one = [self.readdress, self.readdress, self.cut_off, self.crash]
        for_two = [self.rekey, self.close, self.silent, self.ping]
        action = self.dice.choice([*for_all, *for_one, *for_two])
        if action in for_all:
            action()
        elif action in for_one:
            action(node)
        else:
            action(node, other)
        self.network.run(self.dice.choice([0.0, 0.005, 0.05, 0.5, 3.0, 20.0]))
        self.check_states()

    def check_states(self) -> None:
        """Every association is in a state that RFC 7401 names, with what belongs to it."""
        for node in (self.a, self.b):
            for info in node.machine.associations():
                assert isinstance(info.state, State)
                if info.state in UP:
                    assert (Direction.INBOUND, info.inbound_spi) in node.sas
                    assert (Direction.OUTBOUND, info.outbound_spi) in node.sas
            outbound = [spi for way, spi in node.sas if way is Direction.OUTBOUND]
            assert len(outbound) <= 2
            assert len(node.sas) <= 14

    # -- what happens --------------------------------------------------------------------------

    def weather(self) -> None:
        """Loss, repetition and reordering from now on."""
        loss, twice = self.dice.choice([0.0, 0.1, 0.3, 0.6]), self.dice.choice([0.0, 0.2])
        slow = self.dice.choice([0.01, 0.1, 1.0])
        self.log.append(f"weather: loss {loss}, twice {twice}, up to {slow} s")

        def through(_sender: str, _data: bytes) -> list[float]:
            copies = 2 if self.dice.random() < twice else 1
            return [
                self.dice.uniform(0.001, slow) for _ in range(copies) if self.dice.random() >= loss
            ]

        self.network.filter = through

    def rebind(self) -> None:
        """The NATs forget what they knew."""
        if self.network.nats:
            self.log.append("NATs forget")
            for nat in self.network.nats.values():
                nat.rebind()

    def block(self) -> None:
        """Some pairs of addresses do not work, perhaps one way only; the ones before do again."""
        everywhere = [ip_address(address) for pool in ADDRESSES.values() for address in pool]
        bad = set(self.dice.sample(everywhere, self.dice.randint(0, 3)))
        ways = self.dice.choice([("from",), ("to",), ("from", "to")])
        self.log.append(f"blocked {' and '.join(ways)}: {', '.join(map(str, bad))}")
        self.network.blocked = lambda path: (
            ("from" in ways and path.local in bad) or ("to" in ways and path.remote in bad)
        )

    def talk(self) -> None:
        self.log.append("data")
        for _ in range(3):
            self.data(self.a, self.b)
            self.data(self.b, self.a)
            self.network.run(0.01)

    def data(self, node: Node, other: Node) -> bool:
        """One packet, if there is anything to send it by."""
        spi = node.outbound.get(other.hit, (0,))[0]
        if (Direction.OUTBOUND, spi) not in node.sas:
            return False
        return self.network.data(node, other)

    def rekey(self, node: Node, other: Node) -> None:
        dh = self.dice.random() < 0.5
        self.log.append(f"{node.name} renews keys, dh {dh}")
        try:
            effects = node.machine.rekey(other.hit, self.network.now, dh=dh)
        except LocalProtocolError:
            return
        self.network.perform(node, effects)

    def readdress(self, node: Node) -> None:
        pool = ADDRESSES[node.name]
        chosen = self.dice.sample(pool, self.dice.randint(1, 3))
        self.log.append(f"{node.name} is at {', '.join(chosen)}")
        self.network.readdress(node, *chosen)

    def cut_off(self, node: Node) -> None:
        self.log.append(f"{node.name} has no address")
        self.network.cut_off(node)

    def crash(self, node: Node) -> None:
        """It starts again without its state, and forgets all."""
        self.log.append(f"{node.name} crashes")
        config = replace(CONFIG, r1_counter_start=int(self.network.now))
        fresh = self.network.add(node.name, str(node.address), node.keys, config)
        fresh.others, fresh.port = node.others, node.port
        if node is self.a:
            self.a = fresh
        else:
            self.b = fresh
        self.network.readdress(fresh, *(str(address) for address in node.addresses))

    def close(self, node: Node, other: Node) -> None:
        self.log.append(f"{node.name} closes")
        self.network.perform(node, node.machine.close(other.hit, self.network.now))

    def silent(self, node: Node, other: Node) -> None:
        self.log.append(f"{node.name} hears nothing")
        self.network.perform(node, node.machine.path_silent(other.hit, self.network.now))

    def ping(self, node: Node, other: Node) -> None:
        self.log.append(f"{node.name} pings")
        try:
            _, effects = node.machine.ping(other.hit, self.network.now)
        except LocalProtocolError:
            return
        self.network.perform(node, effects)

    def connect(self, node: Node, other: Node) -> None:
        """Call the other at all its addresses of a family that both have."""
        mine = {address.version for address in node.addresses}
        paths = [
            replace(
                self.network.path(node, other),
                local=next(one for one in node.addresses if one.version == address.version),
                remote=address,
            )
            for address in other.addresses
            if address.version in mine
        ]
        if paths:
            effects = node.machine.connect(other.hit, paths, self.network.now)
            self.network.perform(node, effects)

    # -- how it ends ---------------------------------------------------------------------------

    def settle(self) -> None:
        """The network heals; whoever has no association calls, as roles do: both must be joined."""
        self.log.append("all is well again")
        self.network.filter = lambda _sender, _data: [0.01]
        self.network.blocked = lambda _path: False
        if self.dice.random() < 0.5 or not self.reachable():
            for node in (self.a, self.b):
                pool = ADDRESSES[node.name]
                self.network.readdress(node, pool[0], pool[3])
        deadline = self.network.now + SETTLED_S
        while self.network.now < deadline:
            for node, other in ((self.a, self.b), (self.b, self.a)):
                if node.state(other) not in UP:
                    self.connect(node, other)
            self.network.run(5.0)
            self.check_states()
            if self.talks():
                break
            self.detect_dead_peers()
        assert self.talks(), "no data comes through"
        self.network.run(120.0)
        assert self.talks(), "no data comes through any more"
        for _ in range(3):
            self.network.run(10.0)
            if len(self.a.sas) == len(self.b.sas) == 2:
                break
            # Keys have just been renewed: the old ones go once data comes by the new ones.
            self.talks()
        assert_joined(self.a, self.b)
        for node, other in ((self.a, self.b), (self.b, self.a)):
            assert node.outbound[other.hit][2], f"{node.name} sends on credit"

    def reachable(self) -> bool:
        """Whether there is any pair of addresses of one family."""
        families = [
            {where.version for where, owner in self.network.nodes.items() if owner is node}
            for node in (self.a, self.b)
        ]
        return bool(families[0] & families[1])

    def talks(self) -> bool:
        """Whether data flows both ways."""
        if not all(
            [
                self.a.state(self.b) in UP,
                self.b.state(self.a) in UP,
                self.data(self.a, self.b),
                self.data(self.b, self.a),
            ]
        ):
            return False
        for node, other in ((self.a, self.b), (self.b, self.a)):
            flows = node.machine.data_flows(other.hit, self.network.now, one_way=False)
            self.network.perform(node, flows)
        return True

    def detect_dead_peers(self) -> None:
        """As the daemon does it: who sends and hears nothing asks, and gives up in the end."""
        for node, other in ((self.a, self.b), (self.b, self.a)):
            if node.state(other) in UP and not self.data(other, node):
                before = len(node.events)
                self.ping(node, other)
                self.network.run(3.0)
                answered = any(
                    type(event).__name__ == "PingReply" for event in node.events[before:]
                )
                if not answered:
                    self.close(node, other)
