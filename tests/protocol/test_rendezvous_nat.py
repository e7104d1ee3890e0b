"""Rendezvous with NATs on the way: what of it works, and where a relay is needed instead."""

from functools import cache
from itertools import product
from pathlib import Path as FilePath

import pytest

from hipgw.protocol.path import Path
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.states import State
from protocol.nats import Internet, NatKind
from protocol.network import Node, identity
from protocol.test_rendezvous_client import SERVER, server_config

KINDS = list(NatKind)
DOCUMENTATION = FilePath(__file__).parents[2] / "docs" / "rendezvous.md"


def site(mobile: NatKind, caller: NatKind) -> tuple[Internet, Node, Node, Node]:
    """A server, a client of it, and one who calls that: both behind NATs."""
    net = Internet()
    server = net.host("server", SERVER, identity("ecdsa-p256", 1), server_config())
    a = net.behind("mobile", mobile, 1, identity("ecdsa-p256", 2))
    b = net.behind("caller", caller, 2, identity("ecdsa-p256", 3))
    net.perform(a, a.machine.register(server.hit, [ServiceType.RENDEZVOUS], 120.0, net.now))
    net.call(a, server.hit, SERVER)
    net.until(lambda: bool(a.machine.registrations()))
    net.run(60)
    return net, server, a, b


def call(net: Internet, node: Node, peer: Node) -> None:
    way = Path(node.address, net.all["server"].address, by_rendezvous=True)
    net.perform(node, node.machine.connect(peer.hit, [way], net.now))


@cache
def reached(caller: NatKind, mobile: NatKind) -> str:
    """Whether a host behind the first NAT reaches one behind the second by its server."""
    net, _server, a, b = site(mobile, caller)
    call(net, b, a)
    net.run(5)
    return "yes" if b.state(a) is State.ESTABLISHED and net.flows(a, b) else "no"


def table() -> str:
    """Of every pair, for the documentation."""
    head = ["caller's NAT", *(kind.value for kind in KINDS)]
    rows = [[kind.value, *(reached(kind, other) for other in KINDS)] for kind in KINDS]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@pytest.mark.parametrize(("caller", "mobile"), list(product(KINDS, KINDS)))
def test_every_pair_of_nats(caller: NatKind, mobile: NatKind) -> None:
    """The R1 comes from where the caller has never written to, which only a full cone lets in."""
    lets_in = caller in {NatKind.NONE, NatKind.FULL_CONE}
    assert reached(caller, mobile) == ("yes" if lets_in else "no")


def test_the_documentation_shows_the_table() -> None:
    assert table() in DOCUMENTATION.read_text(), f"docs/rendezvous.md lacks this:\n{table()}"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not NatKind.NONE])
def test_both_move_at_once_from_behind_a_nat(kind: NatKind) -> None:
    """The mobile host goes from behind one NAT to behind another."""
    net, _server, a, b = site(kind, NatKind.NONE)
    call(net, b, a)
    net.until(lambda: b.state(a) is State.ESTABLISHED)
    net.run(1)
    assert net.flows(a, b)
    net.nat(kind if kind is not NatKind.DOUBLE else NatKind.SYMMETRIC, "198.51.100.7", "site 7")
    net.move(a, "10.0.0.2", "site 7")
    net.move(b, "198.51.100.8")
    net.run(6)
    assert net.flows(a, b), (a.drops(), b.drops())
    assert len(b.installed) == 2, "nothing is begun anew"
