"""Two associated nodes that may move."""

from dataclasses import replace
from ipaddress import ip_address

from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import Closed, PathChanged
from hipgw.protocol.locators import LocatorState
from hipgw.protocol.path import Transport
from hipgw.protocol.states import State
from hipgw.wire.parameters import Locator, PlainLocator
from protocol.network import FAST, Nat, Network, Node, ordered

CONFIG = replace(FAST, rekey_s=0.0, keepalive_s=0.0)
DELAY = 0.01
RTT = 2 * DELAY
A4, B4, NEW4 = "192.0.2.1", "198.51.100.2", "203.0.113.7"
A6, B6, NEW6 = "2001:db8:a::1", "2001:db8:b::2", "2001:db8:c::7"
HOME, OFFICE = "10.0.0.5", "10.0.1.7"
"""Each behind a NAT of its own."""


def joined(
    a_addresses: tuple[str, ...] = (A4,),
    b_addresses: tuple[str, ...] = (B4,),
    *,
    transport: Transport = Transport.UDP,
    config: MachineConfig = CONFIG,
    seed: int = 1,
) -> tuple[Network, Node, Node]:
    """Two associated nodes that have told each other where they are; the initiator first."""
    small, great = ordered()
    network = Network(seed, transport)
    network.filter = lambda _sender, _data: [DELAY]
    a = network.add("a", a_addresses[0], small, config)
    b = network.add("b", b_addresses[0], great, config)
    network.readdress(a, *a_addresses)
    network.readdress(b, *b_addresses)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert network.data(a, b)
    network.run(1.0)
    assert network.data(b, a)
    a.events.clear()
    b.events.clear()
    return network, a, b


def joined_behind_nat() -> tuple[Network, Node, Node]:
    """Two associated nodes, the initiator behind a NAT."""
    small, great = ordered()
    network = Network(1)
    network.filter = lambda _sender, _data: [DELAY]
    network.nats = {ip_address(HOME): Nat("192.0.2.99"), ip_address(OFFICE): Nat("203.0.113.99")}
    a = network.add("a", HOME, small, CONFIG)
    b = network.add("b", B4, great, CONFIG)
    network.readdress(a, HOME)
    network.readdress(b, B4)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert network.data(a, b)
    network.run(1.0)
    assert network.data(b, a)
    a.events.clear()
    b.events.clear()
    return network, a, b


def closed(*nodes: Node) -> list[Closed]:
    return [event for node in nodes for event in node.events if isinstance(event, Closed)]


def paths_changed(node: Node) -> list[PathChanged]:
    return [event for event in node.events if isinstance(event, PathChanged)]


def locators(node: Node) -> dict[str, LocatorState]:
    return {str(one.address): one.state for one in node.machine.associations()[0].locators}


def assert_at(network: Network, a: Node, b: Node, a_address: str, b_address: str) -> None:
    """Data flows both ways between these two addresses, which are verified."""
    for one, other, near, far in ((a, b, a_address, b_address), (b, a, b_address, a_address)):
        path = one.path_to(other)
        assert (str(path.local), str(path.remote)) == (near, far), one.name
        assert one.outbound[other.hit][2], f"{one.name} has not verified {far}"
        assert network.data(one, other)


def plain(address: str, *, preferred: bool = False, lifetime: int = 1000) -> Locator:
    return Locator(PlainLocator(ip_address(address)), lifetime, preferred)
