"""New keys of a client of a mobile router, while something else is on its way, in virtual time."""

import pytest

from hipgw.wire.parameters import Ack, AuthTicket, EchoResponseSigned, LocatorSet
from protocol.moving import both_ways
from protocol.moving_clients import ELSEWHERE, THERE, moving
from protocol.network import parse

pytestmark = pytest.mark.both_versions

FOR_GOOD_S = 70.0
"""Until an SPI that was replaced is taken back."""


@pytest.mark.parametrize("late", [False, True], ids=["at once", "last"])
def test_what_is_said_meanwhile_does_not_bring_the_spi_before_back(late: bool) -> None:
    """A client tells where it is by an UPDATE that names the SPI it has until then.

    The correspondent answers that once it has answered the one about keys, or even after it has
    gone over to these.
    """
    network, router, client, peer = moving(tickets=False)
    network.join(client, peer)

    def through(sender: str, data: bytes) -> list[float]:
        packet = parse(data)
        if sender == "router" and packet.sender_hit == peer.hit and packet.get(Ack) is not None:
            return [0.05]
        if sender == "peer" and packet.get(EchoResponseSigned) is not None:
            return [0.1]
        if late and sender == "router" and packet.get(LocatorSet) is not None:
            return [0.2]
        return [0.01]

    network.filter = through
    before = client.outbound[peer.hit][0], peer.outbound[client.hit][0]
    network.perform(client, client.machine.rekey(peer.hit, network.now))
    network.run(0.035)
    network.move(router, [THERE])
    network.run(3.0)
    after = client.outbound[peer.hit][0], peer.outbound[client.hit][0]
    assert not set(before) & set(after), "there are no new keys"
    both_ways(network, client, peer)
    network.run(FOR_GOOD_S)
    both_ways(network, client, peer)
    network.move(router, [ELSEWHERE])
    network.run(3.0)
    both_ways(network, client, peer)


def test_a_router_that_has_not_seen_new_keys_yet_does_not_undo_them() -> None:
    """What it says of a move bears the SPI that the client had, and comes last."""
    network, router, client, peer = moving()
    network.join(client, peer)
    network.filter = lambda sender, data: (
        [0.3] if sender == "router" and parse(data).get(AuthTicket) is not None else [0.01]
    )
    before = peer.outbound[client.hit][0]
    network.move(router, [THERE])
    network.perform(client, client.machine.rekey(peer.hit, network.now))
    network.run(1.0)
    assert peer.outbound[client.hit][0] != before, "there are no new keys"
    both_ways(network, client, peer)
    network.run(FOR_GOOD_S)
    both_ways(network, client, peer)
