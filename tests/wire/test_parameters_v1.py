"""The parameters of HIPv1: there and back, and what they refuse."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.errors import (
    EmitError,
    MalformedError,
    TruncatedError,
    UnknownCriticalParameterError,
    UnsupportedVersionError,
)
from hipgw.wire.packet import HipPacket, PacketType, parse_parameters
from hipgw.wire.parameters import (
    PARAMETERS,
    AuthTicket,
    DiffieHellman,
    DiffieHellmanV1,
    EspInfo,
    EspInfoNoSig,
    HipSignature,
    HipSignature2,
    HipSignature2V1,
    HipSignatureV1,
    HipTransform,
    HostId,
    HostIdV1,
    Parameter,
    ProxyTicket,
    Puzzle,
    PuzzleV1,
    R1Counter,
    R1CounterV1,
    Seq,
    Solution,
    SolutionV1,
)
from hipgw.wire.tlv import build

octet = st.integers(0, 255)
word = st.integers(0, 0xFFFF)
data = st.binary(max_size=80)


def exact(length: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=length, max_size=length)


value = st.builds(DiffieHellman, octet, data)
signature = {"algorithm": octet, "signature": st.binary(min_size=1, max_size=80)}

STRATEGIES: dict[type[Parameter], st.SearchStrategy] = {  # type: ignore[type-arg]
    R1CounterV1: st.builds(R1CounterV1, st.integers(0, 2**64 - 1), exact(4)),
    PuzzleV1: st.builds(PuzzleV1, octet, octet, exact(2), exact(8)),
    SolutionV1: st.builds(SolutionV1, octet, exact(2), exact(8), exact(8), octet),
    DiffieHellmanV1: st.builds(DiffieHellmanV1, octet, data, st.none() | value),
    HipTransform: st.builds(HipTransform, st.lists(word, max_size=8).map(tuple)),
    HostIdV1: st.builds(HostIdV1, octet, data, st.integers(0, 15), data, word, octet),
    HipSignatureV1: st.builds(HipSignatureV1, **signature),
    HipSignature2V1: st.builds(HipSignature2V1, **signature),
}

KINDS = sorted(set(PARAMETERS[1].values()) - set(PARAMETERS[2].values()), key=lambda k: k.TYPE)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_every_parameter_of_v1_is_tested() -> None:
    assert set(STRATEGIES) == set(KINDS)


@every_kind
@given(values=st.data())
def test_there_and_back(kind: type[Parameter], values: st.DataObject) -> None:
    parameter = values.draw(STRATEGIES[kind])
    assert kind.parse(parameter.emit()) == parameter


@every_kind
@given(contents=st.binary(max_size=120))
def test_any_contents_are_read_or_refused(kind: type[Parameter], contents: bytes) -> None:
    try:
        parameter = kind.parse(contents)
    except (TruncatedError, MalformedError):
        return
    assert parameter.emit() == contents


@given(values=st.lists(st.sampled_from(KINDS).flatmap(STRATEGIES.__getitem__), max_size=5))
def test_whole_packets_there_and_back(values: list[Parameter]) -> None:
    hits = IPv6Address("2001:10::1"), IPv6Address("2001:1f::2")
    packet = HipPacket(PacketType.UPDATE, *hits, tuple(values), version=1)
    parsed = HipPacket.parse(packet.emit(keep_order=True), strict_order=False, versions={1})
    assert parsed == packet
    assert parsed.raw[3] == 0x11
    ordered = HipPacket.parse(packet.emit(), versions={1})
    assert list(ordered.parameters) == sorted(values, key=lambda parameter: parameter.type)


def test_they_are_found_by_the_class_of_v2() -> None:
    packet = HipPacket(
        PacketType.R1,
        IPv6Address("2001:10::1"),
        IPv6Address("2001:10::2"),
        (
            R1CounterV1(7),
            PuzzleV1(10, 39, bytes(2), bytes(8)),
            DiffieHellmanV1(3, b"value"),
            HostIdV1(5, b"key"),
            HipSignature2V1(5, b"signature"),
        ),
        version=1,
    )
    parsed = HipPacket.parse(packet.emit(), versions={1})
    for kind in (R1Counter, Puzzle, DiffieHellman, HostId, HipSignature2):
        assert type(parsed.get(kind)).__name__ == f"{kind.__name__}V1"
    assert parsed.get(HipSignature) is None
    assert parsed.get(Solution) is None


def test_what_nobody_has_signed_is_no_esp_info() -> None:
    assert not issubclass(EspInfoNoSig, EspInfo)


def test_the_example_of_rfc_5201_appendix_c() -> None:
    i1 = HipPacket(PacketType.I1, IPv6Address("2001:10::1"), IPv6Address("2001:10::2"), version=1)
    four = PseudoHeader(IPv4Address("192.168.0.1"), IPv4Address("192.168.0.2"))
    six = PseudoHeader(IPv6Address("::192.168.0.1"), IPv6Address("::192.168.0.2"))
    for pseudo in (four, six):
        emitted = i1.emit(pseudo)
        assert emitted[:8].hex() == "3b040111" + "01be" + "0000"
        assert HipPacket.parse(emitted, pseudo, versions={1, 2}) == i1


def test_v1_is_read_only_where_it_is_asked_for() -> None:
    hits = IPv6Address("2001:10::1"), IPv6Address("2001:10::2")
    old, new = (HipPacket(PacketType.I1, *hits, version=version).emit() for version in (1, 2))
    with pytest.raises(UnsupportedVersionError):
        HipPacket.parse(old)
    with pytest.raises(UnsupportedVersionError):
        HipPacket.parse(new, versions={1})
    assert HipPacket.parse(new, versions={1, 2}).version == 2
    third = bytes([*old[:3], 0x31, *old[4:]])
    with pytest.raises(UnsupportedVersionError):
        HipPacket.parse(third, versions=range(16))


def test_the_versions_do_not_share_numbers_that_differ() -> None:
    contents = bytes(12)
    assert parse_parameters(build([(128, contents)]), 1) == (R1CounterV1(0),)
    with pytest.raises(UnknownCriticalParameterError):
        parse_parameters(build([(129, contents)]), 1)
    with pytest.raises(UnknownCriticalParameterError):
        parse_parameters(build([(577, contents)]), 2)
    for version in (1, 2):
        assert parse_parameters(build([(385, bytes(4))]), version) == (Seq(0),)


def test_the_identity_is_the_key_alone() -> None:
    contents = bytes.fromhex("0007 1004 0202 ff 05") + b"key" + b"name"
    host_id = HostIdV1.parse(contents)
    assert (host_id.algorithm, host_id.host_identity) == (5, b"key")
    assert (host_id.di_type, host_id.domain_identifier) == (1, b"name")
    assert host_id.emit() == contents


def test_two_public_values() -> None:
    one, two = DiffieHellman(3, b"first"), DiffieHellman(1, b"second")
    both = DiffieHellmanV1.parse(one.emit() + two.emit())
    assert both.values == (one, two)
    assert DiffieHellmanV1.parse(one.emit()).values == (one,)
    with pytest.raises(MalformedError):
        DiffieHellmanV1.parse(one.emit() + two.emit() + one.emit())


def test_a_ticket_does_not_show_its_key() -> None:
    ticket = ProxyTicket(IPv6Address(1), IPv6Address(2), b"k" * 20, 144, 1, 0, 0, b"m" * 20)
    assert "kkk" not in repr(ticket)


@pytest.mark.parametrize(
    "parameter",
    [
        PuzzleV1(1, 1, bytes(2), bytes(32)),
        SolutionV1(1, bytes(2), bytes(8), bytes(7)),
        SolutionV1(1, bytes(2), bytes(32), bytes(32)),
        HostIdV1(256, b"key"),
        HostIdV1(5, b"key", 16),
        HipSignatureV1(256, b"signature"),
        AuthTicket(1, 1, 0, 0, b"short"),
    ],
    ids=repr,
)
def test_values_without_an_encoding(parameter: Parameter) -> None:
    with pytest.raises(EmitError):
        parameter.emit()


@pytest.mark.parametrize(
    ("kind", "contents"),
    [
        (PuzzleV1, bytes(4 + 32)),
        (PuzzleV1, bytes(11)),
        (SolutionV1, bytes(4 + 64)),
        (DiffieHellmanV1, b""),
        (DiffieHellmanV1, b"\x03\x00\x05abcd"),
        (DiffieHellmanV1, b"\x03\x00\x03abcd"),
        (HostIdV1, b"\x00\x03\x00\x00\x02\x02\xff\x05"),
        (HostIdV1, b"\x00\x09\x00\x00\x02\x02\xff\x05abcd"),
        (HostIdV1, b"\x00\x07\x00\x00\x02\x02\xff\x05abcd"),
        (HipTransform, bytes(3)),
        (HipSignatureV1, b"\x05"),
    ],
)
def test_contents_that_break_a_rule(kind: type[Parameter], contents: bytes) -> None:
    with pytest.raises((TruncatedError, MalformedError)):
        kind.parse(contents)
