"""Every parameter: there and back, and no bytes that break more than a packet."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.wire.errors import EmitError, MalformedError, PacketFormatError, TruncatedError
from hipgw.wire.packet import HipPacket, PacketType, parse_parameters
from hipgw.wire.parameters import (
    PARAMETERS,
    Ack,
    AuthTicket,
    CandidatePriority,
    Cert,
    DhGroupList,
    DiffieHellman,
    EchoRequestSigned,
    EchoRequestUnsigned,
    EchoResponseSigned,
    EchoResponseUnsigned,
    Encrypted,
    EspInfo,
    EspInfoNoSig,
    EspInfoNoSigOptional,
    EspTransform,
    From,
    HipCipher,
    HipMac,
    HipMac2,
    HipSignature,
    HipSignature2,
    HitSuiteList,
    HostId,
    Locator,
    LocatorSet,
    MappedAddress,
    NatTraversalMode,
    Nominate,
    Notification,
    Padding,
    Parameter,
    PeerPermission,
    PlainLocator,
    ProxyTicket,
    Puzzle,
    R1Counter,
    RegFailed,
    RegFrom,
    RegInfo,
    RegRequest,
    RegResponse,
    RelayedAddress,
    RelayFrom,
    RelayHmac,
    RelayTo,
    RvsHmac,
    Seq,
    Solution,
    SpiLocator,
    TransactionPacing,
    TransportFormatList,
    TransportLocator,
    UnknownLocator,
    UntoldPeers,
    ViaRvs,
)

octet = st.integers(0, 255)
word = st.integers(0, 0xFFFF)
long = st.integers(0, 0xFFFFFFFF)
octets = st.lists(octet, max_size=8).map(tuple)
words = st.lists(word, max_size=8).map(tuple)
data = st.binary(max_size=80)
four = st.binary(min_size=4, max_size=4)
two = st.binary(min_size=2, max_size=2)
v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
# An IPv4-mapped IPv6 address is the IPv4 address on the wire, so it does not come back as IPv6.
v6 = st.integers(0, 2**128 - 1).map(IPv6Address).filter(lambda a: a.ipv4_mapped is None)
address = v4 | v6
hit = st.integers(0, 2**128 - 1).map(IPv6Address)


def build(kind: type[Parameter], **fields: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(kind, **fields)


def solutions(draw: st.DrawFn) -> Solution:
    length = draw(st.integers(1, 48))
    half = st.binary(min_size=length, max_size=length)
    return Solution(draw(octet), draw(two), draw(half), draw(half), draw(octet))


def tickets(draw: st.DrawFn) -> ProxyTicket:
    half = st.binary(min_size=(size := draw(st.integers(16, 64))), max_size=size)
    rights = draw(word), draw(word), draw(word), draw(word)
    return ProxyTicket(draw(hit), draw(hit), draw(half), *rights, draw(half))


locator = (
    st.builds(PlainLocator, address)
    | st.builds(SpiLocator, long, address)
    | st.builds(TransportLocator, address, word, octet, octet, long, long)
    | st.builds(UnknownLocator, st.integers(3, 255), st.binary(max_size=10).map(lambda b: b * 4))
)
entry = st.builds(Locator, locator, long, st.booleans(), octet, st.integers(0, 127))
transport = {"address": address, "port": word, "protocol": octet}
mac = {"mac": st.binary(min_size=1, max_size=64)}
signature = {"algorithm": word, "signature": st.binary(min_size=1, max_size=80)}

STRATEGIES: dict[type[Parameter], st.SearchStrategy] = {
    R1Counter: build(R1Counter, counter=st.integers(0, 2**64 - 1), reserved=four),
    Puzzle: build(
        Puzzle, k=octet, lifetime=octet, opaque=two, i=st.binary(min_size=1, max_size=48)
    ),
    Solution: st.composite(solutions)(),
    DhGroupList: build(DhGroupList, groups=octets),
    DiffieHellman: build(DiffieHellman, group=octet, public_value=data),
    HipCipher: build(HipCipher, ciphers=words),
    Encrypted: build(Encrypted, data=data, reserved=four),
    HostId: build(
        HostId,
        algorithm=word,
        host_identity=data,
        di_type=st.integers(0, 15),
        domain_identifier=data,
    ),
    HitSuiteList: build(HitSuiteList, suites=st.lists(st.integers(0, 15), max_size=8).map(tuple)),
    TransportFormatList: build(TransportFormatList, formats=words),
    Seq: build(Seq, update_id=long),
    Ack: build(Ack, update_ids=st.lists(long, min_size=1, max_size=8).map(tuple)),
    Notification: build(Notification, notify_type=word, data=data, reserved=word),
    Cert: build(
        Cert, group=octet, count=octet, number=octet, certificate_type=octet, certificate=data
    ),
    **{
        kind: build(kind, data=data)
        for kind in (
            *(EchoRequestSigned, EchoResponseSigned),
            *(EchoRequestUnsigned, EchoResponseUnsigned, Padding),
        )
    },
    **{kind: build(kind, **mac) for kind in (HipMac, HipMac2, RvsHmac, RelayHmac)},
    **{kind: build(kind, **signature) for kind in (HipSignature, HipSignature2)},
    EspInfo: build(EspInfo, keymat_index=word, old_spi=long, new_spi=long, reserved=word),
    EspTransform: build(EspTransform, suites=words, reserved=word),
    LocatorSet: build(LocatorSet, locators=st.lists(entry, max_size=4).map(tuple)),
    RegInfo: build(RegInfo, min_lifetime=octet, max_lifetime=octet, reg_types=octets),
    RegRequest: build(RegRequest, lifetime=octet, reg_types=octets),
    RegResponse: build(RegResponse, lifetime=octet, reg_types=octets),
    RegFailed: build(RegFailed, failure_type=octet, reg_types=octets),
    From: build(From, address=address),
    ViaRvs: build(ViaRvs, addresses=st.lists(address, max_size=4).map(tuple)),
    NatTraversalMode: build(NatTraversalMode, modes=words, reserved=word),
    TransactionPacing: build(TransactionPacing, min_ta_ms=long),
    **{
        kind: build(kind, **transport)
        for kind in (RegFrom, RelayFrom, RelayTo, RelayedAddress, MappedAddress)
    },
    PeerPermission: build(
        PeerPermission,
        relay=address,
        relay_port=word,
        peer=address,
        peer_port=word,
        outbound_spi=long,
        inbound_spi=long,
        protocol=octet,
    ),
    CandidatePriority: build(CandidatePriority, priority=long),
    Nominate: build(Nominate, reserved=long),
    **{
        kind: build(kind, keymat_index=word, old_spi=long, new_spi=long, reserved=word)
        for kind in (EspInfoNoSig, EspInfoNoSigOptional)
    },
    ProxyTicket: st.composite(tickets)(),
    AuthTicket: st.composite(tickets)().map(lambda ticket: ticket.shown),
    UntoldPeers: build(UntoldPeers, hits=st.lists(hit, max_size=4).map(tuple)),
}

KINDS = sorted(PARAMETERS[2].values(), key=lambda kind: kind.TYPE)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_every_known_parameter_is_tested() -> None:
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
    again = parameter.emit()
    assert kind.parse(again) == parameter


@given(values=st.lists(st.sampled_from(KINDS).flatmap(STRATEGIES.__getitem__), max_size=6))
def test_whole_packets_there_and_back(values: list[Parameter]) -> None:
    hits = IPv6Address("2001:21::1"), IPv6Address("2001:22::2")
    packet = HipPacket(PacketType.UPDATE, *hits, tuple(values), controls=1)
    ordered = sorted(values, key=lambda parameter: parameter.type)
    parsed = HipPacket.parse(packet.emit())
    assert list(parsed.parameters) == ordered
    assert (parsed.sender_hit, parsed.receiver_hit, parsed.controls) == (*hits, 1)
    assert parsed.emit() == parsed.raw


@given(data=st.binary(max_size=200))
def test_any_octets_as_inner_parameters(data: bytes) -> None:
    try:
        parse_parameters(data)
    except PacketFormatError as error:
        assert 0 <= error.offset <= len(data)


@pytest.mark.parametrize(
    "parameter",
    [
        Seq(2**32),
        R1Counter(-1),
        Puzzle(1, 1, b"abc", b"i"),
        Solution(1, b"ab", b"i", b"jj"),
        HitSuiteList((16,)),
        DhGroupList((256,)),
        HostId(5, b"", 16),
        HostId(5, b"", 0, bytes(4096)),
        LocatorSet((Locator(UnknownLocator(9, b"abc")),)),
    ],
    ids=repr,
)
def test_values_without_an_encoding(parameter: Parameter) -> None:
    with pytest.raises(EmitError):
        parameter.emit()


@pytest.mark.parametrize(
    ("kind", "contents"),
    [
        (EspInfo, bytes(11)),
        (EspInfo, bytes(13)),
        (DiffieHellman, b"\x07\x00\x05abcd"),
        (DiffieHellman, b"\x07\x00\x03abcd"),
        (HostId, b"\x00\x09\x00\x00\x00\x05abcd"),
        (HostId, b"\x00\x03\x00\x00\x00\x05abcd"),
        (Solution, bytes(4 + 63)),
        (Ack, bytes(6)),
        (HipCipher, bytes(3)),
        (ViaRvs, bytes(17)),
        (LocatorSet, bytes(8) + b"x"),
        (LocatorSet, b"\x00\x00\x04\x00" + bytes(12)),
        (HipMac, b""),
    ],
)
def test_contents_that_break_a_rule(kind: type[Parameter], contents: bytes) -> None:
    with pytest.raises((TruncatedError, MalformedError)):
        kind.parse(contents)
