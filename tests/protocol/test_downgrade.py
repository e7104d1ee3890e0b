"""A man in the middle who wants two hosts to speak HIPv1, though both have HIPv2."""

from dataclasses import replace

from hipgw.protocol.effects import Established
from hipgw.protocol.states import State
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import DiffieHellman
from protocol.network import FAST, Network, Node, identity, parse

CONFIG = replace(FAST, rekey_s=0.0, keepalive_s=0.0)
OLD = {"a": identity("rsa2048", 1, 1), "b": identity("rsa2048", 2, 1)}


def pair() -> tuple[Network, Node, Node]:
    """Two hosts that have a HIT of each version; *a* calls *b* by that of HIPv2."""
    network = Network(1)
    a = network.add("a", "192.0.2.1", identity("rsa2048", 1), CONFIG, others=[OLD["a"]])
    b = network.add("b", "198.51.100.2", identity("rsa2048", 2), CONFIG, others=[OLD["b"]])
    return network, a, b


def up(node: Node) -> set[int]:
    """Versions of its associations that data can flow by."""
    return {
        info.version
        for info in node.machine.associations()
        if info.state in {State.ESTABLISHED, State.R2_SENT}
    }


def in_the_middle(network: Network, a: Node, b: Node, forge) -> None:
    """Whatever one side sends is replaced by what *forge* makes of it, or None lets nothing by."""

    def meet(sender: str, data: bytes) -> list[float]:
        source, target = (a, b) if sender == "a" else (b, a)
        forged = forge(data)
        if forged is not None and forged != data:
            network._later(0.01, lambda: network.deliver(target, forged, source.address))
            return []
        return [0.01] if forged is not None else []

    network.filter = meet


def test_the_version_in_the_header_alone_is_refused_by_whoever_gets_it() -> None:
    network, a, b = pair()
    in_the_middle(network, a, b, lambda data: data[:3] + bytes([0x11]) + data[4:])
    network.connect(a, b)
    network.run(60.0)
    assert not up(a)
    assert not up(b)
    # DH_GROUP_LIST means nothing in HIPv1, and may not be passed over; without it, the HITs tell.
    assert set(b.drops()) == {"unknown_critical"}


def test_hits_of_the_other_version_lead_to_an_answer_that_nobody_asked_for() -> None:
    network, a, b = pair()

    def forge(data: bytes) -> bytes:
        packet = parse(data)
        if packet.packet_type is PacketType.I1 and packet.version == 2:
            old = replace(
                packet,
                sender_hit=OLD["a"].hit,
                receiver_hit=OLD["b"].hit,
                parameters=(),
                version=1,
            )
            return old.emit()
        return data

    in_the_middle(network, a, b, forge)
    network.connect(a, b)
    network.run(60.0)
    assert b.machine.statistics()["sent"]["R1"]
    assert not up(a)
    assert not up(b)
    assert not a.of(Established)
    assert a.drops()["no_association"]


def test_a_public_value_of_a_weaker_group_breaks_the_signature() -> None:
    network = Network(1)
    a = network.add("a", "192.0.2.1", OLD["a"], CONFIG)
    b = network.add("b", "198.51.100.2", OLD["b"], CONFIG)

    def forge(data: bytes) -> bytes:
        packet = parse(data)
        if packet.packet_type is PacketType.R1:
            weak = [
                replace(one, group=2) if isinstance(one, DiffieHellman) else one
                for one in packet.parameters
            ]
            return replace(packet, parameters=tuple(weak)).emit()
        return data

    in_the_middle(network, a, b, forge)
    network.connect(a, b)
    network.run(60.0)
    assert not up(a)
    assert a.drops()["bad_signature"]


def test_without_him_they_speak_version_2() -> None:
    network, a, b = pair()
    network.connect(a, b)
    network.run(5.0)
    assert up(a) == up(b) == {2}
