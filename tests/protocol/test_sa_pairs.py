"""Pairs of security associations that a peer adds or withdraws (RFC 8046 §5.3, RFC 8047 §4.2.4)."""

from ipaddress import ip_address

import pytest

from hipgw.protocol import rekeying, sa_pairs
from hipgw.protocol.association import Session, SparePair
from hipgw.protocol.effects import Closed, Direction, InstallSA, Rekeyed
from hipgw.protocol.locators import LocatorState
from hipgw.protocol.states import State
from hipgw.wire.parameters import DiffieHellman, EspInfo, Locator, LocatorSet, SpiLocator
from protocol.network import Network, Node
from protocol.test_rekeying import exchange_data, joined, rekey, spis, update_of

pytestmark = pytest.mark.both_versions

FOREVER = 0xFFFFFFFF
INBOUND, OUTBOUND = Direction.INBOUND, Direction.OUTBOUND


def session_of(node: Node, peer: Node) -> Session:
    session = node.machine._core.find(node.hit, peer.hit).session
    assert session is not None
    return session


def ask(network: Network, node: Node, peer: Node, *, dh: bool = False) -> None:
    """Have a node ask for one more pair, as no hipgw does by itself."""
    core = node.machine._core
    association = core.find(node.hit, peer.hit)
    session = association.session
    session.rekey = made = rekeying._new(core, session, dh=dh)
    made.old_spi = 0
    rekeying._ask(core, association, session, made, association.path, network.now)
    network.perform(node, core.effects[:])
    core.effects.clear()


def with_a_spare(*, dh: bool = False) -> tuple[Network, Node, Node, SparePair]:
    """Two nodes with two pairs; b has asked for the second one. Returns a's."""
    network, a, b = joined()
    ask(network, b, a, dh=dh)
    network.run(1.0)
    (spare,) = session_of(a, b).spares
    return network, a, b, spare


def withdraw(network: Network, node: Node, peer: Node, spi: int, *more: object) -> None:
    """Have a node say that it takes nothing on one of its SPIs any more."""
    index = session_of(node, peer).keymat.index
    data = update_of(network, node, peer, EspInfo(index, spi, 0), *more)
    network.deliver(peer, data, node.address)


@pytest.mark.parametrize("dh", [False, True])
def test_one_more_pair(dh: bool) -> None:
    network, a, b, spare = with_a_spare(dh=dh)
    (other,) = session_of(b, a).spares
    assert (spare.inbound_spi, spare.outbound_spi) == (other.outbound_spi, other.inbound_spi)
    assert spare.keys.incoming_encryption == other.keys.outgoing_encryption
    assert spare.keys.outgoing_encryption == other.keys.incoming_encryption
    assert (INBOUND, spare.inbound_spi) in a.sas
    assert (INBOUND, session_of(a, b).inbound_spi) in a.sas, "the first one stays"
    assert (OUTBOUND, spare.outbound_spi) not in a.sas
    sa = a.sas[INBOUND, spare.inbound_spi]
    assert sa.encryption_key == other.keys.outgoing_encryption
    assert not a.drops()
    assert not a.of(Rekeyed), "data goes as before"
    exchange_data(network, a, b)
    network.run(200.0)
    assert (INBOUND, spare.inbound_spi) in a.sas
    keys = {one.encryption_key for one in a.installed}
    assert len(keys) == len(a.installed)


def test_the_answer_names_no_old_spi() -> None:
    """As the request does: both make a pair that there was not."""
    network, a, b = joined()
    index = session_of(b, a).keymat.index
    network.deliver(a, update_of(network, b, a, EspInfo(index, 0, 70000)), b.address)
    made = session_of(a, b).rekey
    assert made is not None
    assert rekeying.parameters(session_of(a, b), made) == [EspInfo(index, 0, made.new_spi)]


def test_keys_of_the_pair_in_use_are_renewed_beside_it() -> None:
    network, a, b, spare = with_a_spare()
    for node, peer in ((a, b), (b, a)):
        for dh in (False, True):
            rekey(network, node, peer, dh=dh)
            network.run(2.0)
            exchange_data(network, a, b)
    assert session_of(a, b).spares == [spare]
    assert session_of(a, b).rekeyed == 4
    assert (INBOUND, spare.inbound_spi) in a.sas


def test_a_spare_pair_gets_new_keys() -> None:
    network, a, b, spare = with_a_spare()
    session = session_of(b, a)
    (other,) = session.spares
    core = b.machine._core
    association = core.find(b.hit, a.hit)
    session.rekey = made = rekeying._new(core, session, dh=False)
    made.old_spi, made.replaces = other.inbound_spi, other
    rekeying._ask(core, association, session, made, association.path, network.now)
    network.perform(b, core.effects[:])
    core.effects.clear()
    network.run(1.0)
    (new,) = session_of(a, b).spares
    assert new.outbound_spi == made.new_spi
    assert new.keys.incoming_encryption != spare.keys.incoming_encryption
    assert session_of(a, b).rekeyed == 0
    assert (INBOUND, new.inbound_spi) in a.sas
    network.run(100.0)
    assert (INBOUND, spare.inbound_spi) not in a.sas, "replaced"
    exchange_data(network, a, b)


def test_a_spare_pair_is_withdrawn() -> None:
    network, a, b, spare = with_a_spare()
    withdraw(network, b, a, spare.outbound_spi)
    assert not session_of(a, b).spares
    assert (INBOUND, spare.inbound_spi) in a.sas, "for stragglers"
    network.run(5.0)
    assert (INBOUND, spare.inbound_spi) not in a.sas
    assert not a.drops()
    exchange_data(network, a, b)


def test_the_pair_in_use_is_withdrawn() -> None:
    """Data goes by the other one, whose keys nothing was sent with so far."""
    network, a, b, spare = with_a_spare()
    old = session_of(a, b)
    old_in, old_out = old.inbound_spi, old.outbound_spi
    withdraw(network, b, a, old_out)
    session = session_of(a, b)
    assert (session.inbound_spi, session.outbound_spi) == (spare.inbound_spi, spare.outbound_spi)
    assert a.outbound[b.hit][0] == spare.outbound_spi
    assert a.sas[OUTBOUND, spare.outbound_spi].encryption_key == spare.keys.outgoing_encryption
    assert (OUTBOUND, old_out) not in a.sas
    network.run(5.0)
    assert spis(a) == {(INBOUND, spare.inbound_spi), (OUTBOUND, spare.outbound_spi)}
    assert (INBOUND, old_in) not in a.sas
    assert [event.outbound_spi for event in a.of(Rekeyed)] == [spare.outbound_spi]
    assert network.data(a, b)
    installed = [one for one in a.of(InstallSA) if one.direction is OUTBOUND]
    assert len({one.encryption_key for one in installed}) == len(installed)


def test_the_last_pair_is_withdrawn() -> None:
    """No data can be sent any more: the association is over."""
    network, a, b = joined()
    withdraw(network, b, a, session_of(a, b).outbound_spi)
    assert a.state(b) is State.CLOSING
    network.run(30.0)
    assert a.state(b) is b.state(a) is State.UNASSOCIATED
    assert [event.reason for event in a.of(Closed)] == [
        "the peer has withdrawn its security association"
    ]
    assert not a.sas
    assert not b.sas
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    exchange_data(network, a, b)


def test_addresses_of_a_withdrawn_pair_are_deprecated() -> None:
    """§5.3, case 4: those that belong to that SPI and to no other."""
    network, a, b, spare = with_a_spare()
    first, second = b.address, ip_address("198.51.100.77")
    session = session_of(b, a)
    listed = LocatorSet(
        (
            Locator(SpiLocator(session.inbound_spi, first), FOREVER, preferred=True),
            Locator(SpiLocator(spare.outbound_spi, second), FOREVER),
        )
    )
    network.deliver(a, update_of(network, b, a, listed), first)
    locators = a.machine._core.find(a.hit, b.hit).mobility.locators

    def states() -> dict[object, LocatorState]:
        return {one.address: one.state for one in locators}

    assert states() == {first: LocatorState.ACTIVE, second: LocatorState.UNVERIFIED}
    withdraw(network, b, a, spare.outbound_spi)
    assert states() == {first: LocatorState.ACTIVE, second: LocatorState.DEPRECATED}
    exchange_data(network, a, b)


def test_a_peer_gets_a_bounded_number() -> None:
    network, a, b = joined()
    for _ in range(sa_pairs.SPARES_MAX):
        ask(network, b, a)
        network.run(1.0)
    assert len(session_of(a, b).spares) == sa_pairs.SPARES_MAX
    kept = dict(a.sas)
    index = session_of(b, a).keymat.index
    network.deliver(a, update_of(network, b, a, EspInfo(index, 0, 70000)), b.address)
    assert a.drops()["table_full"] == 1
    assert a.sas == kept
    for spare in list(session_of(a, b).spares):
        withdraw(network, b, a, spare.outbound_spi)
    network.run(10.0)
    assert len(a.sas) == 2
    exchange_data(network, a, b)


def test_one_after_the_other() -> None:
    """While keys are renewed, a request for one more pair has to wait; it comes again."""
    network, a, b = joined()
    network.filter = lambda sender, data: []
    rekey(network, a, b, dh=False)
    index = session_of(b, a).keymat.index
    request = update_of(network, b, a, EspInfo(index + 200, 0, 70000))
    network.deliver(a, request, b.address)
    assert a.drops()["unexpected"] == 1
    withdrawal = update_of(network, b, a, EspInfo(index, session_of(a, b).outbound_spi, 0))
    network.deliver(a, withdrawal, b.address)
    assert a.drops()["unexpected"] == 2
    network.filter = lambda sender, data: [0.01]
    network.run(5.0)
    exchange_data(network, a, b)
    network.deliver(a, request, b.address)
    assert session_of(a, b).rekey is not None
    assert session_of(a, b).rekey.old_spi == 0


def test_a_replayed_request_adds_nothing() -> None:
    network, a, b = joined()
    session = session_of(b, a)
    info = EspInfo(0, 0, 70000)
    dh = DiffieHellman(session.dh_group, session.own_dh.public_value)
    request = update_of(network, b, a, info, dh)
    for _ in range(3):
        network.deliver(a, request, b.address)
    assert len([one for one in a.sas if one[0] is INBOUND]) == 2


def test_nothing_is_left_when_it_ends() -> None:
    network, a, b, _spare = with_a_spare()
    network.perform(a, a.machine.close(b.hit, network.now))
    network.run(60.0)
    assert not a.sas
    assert not b.sas
    assert not a.machine._core.by_inbound_spi
