"""What one lost packet of a mobile router's move costs, in virtual time."""

from ipaddress import ip_address

import pytest

from hipgw.protocol.path import Transport
from protocol.moving import Moving, both_ways, is_check
from protocol.moving_clients import HERE, moving
from protocol.network import Nat, Node

pytestmark = pytest.mark.both_versions

PRIVATE = "172.16.0.2"
EACH_S = 0.01
"""Between datagrams, and between two hosts."""
REPEATED_S = 0.1 * 1.1 + 8 * EACH_S
"""An UPDATE goes again after a tenth of a second at least, with its jitter, and takes up to four
ways, with the client's, there and four back."""
LOOK_S = 2.0
MOST = 15
"""Packets of a move."""


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("tickets", [True, False])
def test_a_lost_packet_of_a_move_costs_little(transport: Transport, tickets: bool) -> None:
    """The router goes behind a NAT, where data in both directions has to wait for its UPDATE.

    It knows how long the correspondent takes to answer, even at its first move.
    """
    network, router, client, peer = moving(transport, tickets=tickets)
    network.nats[ip_address(PRIVATE)] = Nat("203.0.113.200")
    network.join(client, peer)
    for lost in range(MOST):
        silences = _move(network, router, (client, peer), lost)
        assert max(silences) <= REPEATED_S, (lost, silences)
        network.move(router, [HERE])
        network.run(3.0)
        both_ways(network, client, peer)


def _move(network: Moving, router: Node, ends: tuple[Node, Node], lost: int) -> tuple[float, float]:
    """Go behind the NAT and lose one packet; the longest silences up and down, in seconds."""
    count = 0

    def through(_sender: str, data: bytes) -> list[float]:
        nonlocal count
        if not is_check(data, router):
            count += 1
            if count == lost + 1:
                return []
        return [EACH_S]

    network.filter = through
    network.move(router, [PRIVATE])
    end = network.now + LOOK_S
    heard, longest = [network.now, network.now], [0.0, 0.0]
    while network.now < end:
        for way, (one, other) in enumerate((ends, ends[::-1])):
            longest[way] = max(longest[way], network.now - heard[way])
            if network.esp(one, other):
                heard[way] = network.now
        network.run(EACH_S)
    network.filter = lambda _sender, _data: [EACH_S]
    return longest[0], longest[1]
