"""Records are what their owners signed, under their own key, or nothing."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import NamingError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.dht.hdrr import (
    LOCATORS_MAX,
    RecordError,
    Refusal,
    locator_for,
    make_address_record,
    make_name_record,
    peek_sequence,
    read_address_record,
    read_name_record,
    transport_locator_for,
)
from hipgw.naming.dht.keys import hit_key, name_key
from hipgw.naming.dht.limits import VALUE_LENGTH
from hipgw.naming.dht.source import found_of
from hipgw.naming.sources import Provenance, Rendezvous
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import HostId, PlainLocator
from hipgw.wire.parameters.mobility import Locator

ADDRESSES = (ip_address("192.0.2.7"), ip_address("2001:db8::7"))
EC = LocalIdentity.generate("ecdsa-p256")
RSA = LocalIdentity.generate("rsa2048")
IDENTITIES = {
    "ed25519": LocalIdentity.generate("ed25519"),
    "p256": EC,
    "p384": LocalIdentity.generate("ecdsa-p384"),
    "rsa": RSA,
    "v1": RSA.in_version(1),
}
any_identity = pytest.mark.parametrize("identity", IDENTITIES.values(), ids=IDENTITIES)


def record(identity: LocalIdentity = EC, sequence: int = 7, ttl_s: int = 600) -> bytes:
    locators = [locator_for(one, ttl_s, preferred=not i) for i, one in enumerate(ADDRESSES)]
    return make_address_record(identity, locators, sequence)


def test_hit_key_is_the_last_100_bits_and_60_zero_bits() -> None:
    hit = IPv6Address("2001:10:5fe:6c8f:c2db:34c5:e293:640f")
    assert hit_key(hit).hex() == "05fe6c8fc2db34c5e293640f".rjust(25, "0") + "0" * 15
    assert hit_key(IPv6Address("2001:1a:5072:beec:f56a:c32c:98d2:fe8f")).hex() == (
        "a5072beecf56ac32c98d2fe8f" + "0" * 15
    )


@any_identity
def test_what_a_host_has_signed_can_be_read(identity: LocalIdentity) -> None:
    data = record(identity)
    assert len(data) <= VALUE_LENGTH
    read = read_address_record(data, hit_key(identity.hit))
    assert read.hit == identity.hit
    assert read.addresses == ADDRESSES
    assert (read.sequence, read.lifetime_s) == (7, 600)
    packet = HipPacket.parse(data, versions={1, 2})
    assert packet.packet_type is PacketType.HDRR
    assert packet.version == identity.version
    assert packet.receiver_hit == IPv6Address(0)
    assert [parameter.type for parameter in packet.parameters] == [193, 385, 705, 61697]


@any_identity
def test_every_octet_counts(identity: LocalIdentity) -> None:
    data = record(identity)
    key = hit_key(identity.hit)
    for position in range(len(data)):
        if position in (0, 3):
            continue  # next header and reserved bits, which are signed too
        forged = bytearray(data)
        forged[position] ^= 1
        try:
            read = read_address_record(bytes(forged), key)
        except RecordError:
            continue
        # Padding of the signature itself is covered by nothing, and says nothing.
        assert position >= len(data) - 7
        assert read == read_address_record(data, key)


def test_refusals() -> None:
    other = LocalIdentity.generate("ecdsa-p256")
    data, key = record(), hit_key(EC.hit)
    with pytest.raises(RecordError) as caught:
        read_address_record(data, hit_key(other.hit))
    assert caught.value.refusal is Refusal.WRONG_KEY
    stolen = bytearray(record(other))
    stolen[8:24] = EC.hit.packed
    with pytest.raises(RecordError) as caught:
        read_address_record(bytes(stolen), key)
    assert caught.value.refusal is Refusal.HIT_MISMATCH
    packet = HipPacket.parse(data)
    swapped = tuple(
        HostId(other.public.algorithm, other.public.encoded) if isinstance(one, HostId) else one
        for one in packet.parameters
    )
    forged = HipPacket(packet.packet_type, EC.hit, packet.receiver_hit, swapped).emit()
    with pytest.raises(RecordError) as caught:
        read_address_record(forged, key)
    assert caught.value.refusal is Refusal.HIT_MISMATCH
    moved = data.replace(ADDRESSES[0].packed, IPv4Address("198.51.100.1").packed)
    with pytest.raises(RecordError) as caught:
        read_address_record(moved, key)
    assert caught.value.refusal is Refusal.BAD_SIGNATURE
    for spoiled in (b"", data[:-8], data + bytes(8), data[:4] + b"\1\1" + data[6:]):
        with pytest.raises(RecordError) as caught:
            read_address_record(spoiled, key)
        assert caught.value.refusal is Refusal.MALFORMED


def test_addresses_that_no_packet_may_be_sent_to_are_left_out() -> None:
    bad = ["224.0.0.1", "127.0.0.1", "::1", "255.255.255.255", "0.0.0.0", "fe80::1", "ff02::1"]
    listed = [*map(ip_address, bad), IPv6Address("2001:21::1"), *ADDRESSES]
    data = make_address_record(EC, [locator_for(one, 60) for one in listed], 1)
    assert read_address_record(data, hit_key(EC.hit)).addresses == ADDRESSES


def test_locators_are_bounded_and_the_preferred_ones_stand_first() -> None:
    many = [Locator(PlainLocator(IPv4Address(0xC0000200 + i)), 60, i == 11) for i in range(12)]
    read = read_address_record(make_address_record(EC, many, 1), hit_key(EC.hit))
    assert len(read.locators) == LOCATORS_MAX
    assert read.addresses[0] == IPv4Address("192.0.2.11")


def test_rendezvous_servers_and_ports_are_told_apart() -> None:
    server = ip_address("198.51.100.9")
    locators = [
        locator_for(ADDRESSES[0], 900, preferred=True),
        locator_for(server, 900, signalling_only=True),
        transport_locator_for(ADDRESSES[0], 10501, 900),
    ]
    found = found_of(
        read_address_record(make_address_record(EC, locators, 1), hit_key(EC.hit)), "b"
    )
    assert found.addresses == ADDRESSES[:1]
    assert found.rendezvous == (Rendezvous((server,)),)
    assert (found.udp, found.port, found.name) == (True, 10501, "b")
    assert found.provenance is Provenance.UNSIGNED


def test_a_key_that_does_not_fit_is_said_so() -> None:
    with pytest.raises(NamingError, match="RSA-4096"):
        record(LocalIdentity.generate("rsa4096"))


def test_names() -> None:
    assert read_name_record(make_name_record(EC.hit)).hit == EC.hit
    assert len(make_name_record(EC.hit)) == 40
    assert read_name_record(make_name_record(EC.hit, [b"der"])).certificates == (b"der",)
    assert name_key("A-1024").hex() == "4d8841c3b88c7cf3a50ad34a9483f3b6f5777a5e"
    with pytest.raises(RecordError):
        read_name_record(record())


@given(st.binary(max_size=1100), st.integers(0, 400))
def test_garbage_is_refused_and_nothing_else_happens(garbage: bytes, at: int) -> None:
    good = record()
    for data in (garbage, good[:at] + garbage, good[:at] + garbage + good[at + len(garbage) :]):
        peek_sequence(data)
        for read in (
            lambda data=data: read_address_record(data, hit_key(EC.hit)),
            lambda data=data: read_name_record(data),
        ):
            try:
                read()
            except RecordError:
                continue
