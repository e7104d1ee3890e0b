"""HIP resource records (RFC 8005 §5), for all kinds of keys."""

from ipaddress import IPv6Address

import dns.exception
import dns.message
import dns.rdata
import pytest
from dns.rdtypes.ANY.HIP import HIP
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import NamingError
from hipgw.identity.host_identity import KEY_KINDS, HostIdentity, KeyKind, LocalIdentity
from hipgw.naming.dns.hip_rr import make_rdata, read_rdata
from hipgw.naming.dns.zone import Entry, generic, owner_of, presentation, zone_lines

SERVERS = ("rvs.example.com", "second.example")


@pytest.fixture(scope="module")
def rsa() -> LocalIdentity:
    return LocalIdentity.generate("rsa2048")


def parsed(text: str) -> HIP:
    rdata = dns.rdata.from_text("IN", "HIP", text)
    assert isinstance(rdata, HIP)
    return rdata


@pytest.mark.parametrize("kind", [kind for kind in KEY_KINDS if kind not in ("rsa3072", "rsa4096")])
def test_every_kind_of_key(kind: KeyKind) -> None:
    identity = LocalIdentity.generate(kind)
    rdata = make_rdata(identity.public, SERVERS)
    record = read_rdata(rdata)
    assert record.hit == identity.hit
    assert [name.to_text() for name in record.rendezvous] == [f"{name}." for name in SERVERS]
    if identity.public.algorithm == 5:
        assert record.other_hits == (identity.in_version(1).hit,)
        assert read_rdata(make_rdata(identity.in_version(1).public)).hit == record.other_hits[0]
    else:
        assert record.other_hits == ()


def test_numbers_are_those_of_ipseckey() -> None:
    kinds: tuple[KeyKind, ...] = ("rsa2048", "ecdsa-p256", "ecdsa-p384", "ed25519")
    found = [make_rdata(LocalIdentity.generate(kind).public) for kind in kinds]
    assert [rdata.algorithm for rdata in found] == [2, 3, 3, 4]
    # The bare coordinates (RFC 6605 §4), the bare key (RFC 8080 §3).
    assert [len(rdata.key) for rdata in found[1:]] == [64, 96, 32]


def test_a_point_without_its_leading_four_is_another_hit() -> None:
    public = LocalIdentity.generate("ecdsa-p256").public
    bare = HostIdentity.from_wire(public.algorithm, public.encoded[:2] + public.encoded[3:])
    assert bare.hit != public.hit
    assert read_rdata(make_rdata(bare)).hit == bare.hit
    assert make_rdata(bare).key == make_rdata(public).key


def test_a_hit_of_another_key_is_refused(rsa: LocalIdentity) -> None:
    text = make_rdata(rsa.public).to_text()
    other = f"{int(rsa.hit) ^ 1:032x}"
    with pytest.raises(NamingError, match="not that of the key"):
        read_rdata(parsed(text.replace(rsa.hit.packed.hex(), other)))
    # The examples of RFC 8005 §7 are such records: their HIT is not that of their key.
    key = text.split()[2]
    with pytest.raises(NamingError, match="not that of the key"):
        read_rdata(parsed(f"2 200100107B1A74DF365639CC39F1D578 {key}"))


@pytest.mark.parametrize(
    "text", ["2 20010db8000000000000000000000001 AwEAAQ==", "2 2001 AwEAAQ==", "9 {hit} AwEAAQ=="]
)
def test_what_is_no_hit_or_no_key_is_refused(text: str, rsa: LocalIdentity) -> None:
    with pytest.raises(NamingError):
        read_rdata(parsed(text.format(hit=rsa.hit.packed.hex())))


@given(st.binary(max_size=300), st.integers(0, 255), st.binary(min_size=16, max_size=16))
def test_garbage_is_refused_and_nothing_else_happens(
    key: bytes, algorithm: int, hit: bytes
) -> None:
    wire = bytes([16, algorithm]) + len(key).to_bytes(2, "big") + hit + key
    rdata = dns.rdata.from_wire("IN", "HIP", wire, 0, len(wire))
    assert isinstance(rdata, HIP)
    with pytest.raises(NamingError):
        read_rdata(rdata)


def test_only_so_many_rendezvous_servers(rsa: LocalIdentity) -> None:
    rdata = make_rdata(rsa.public, [f"rvs{n}.example" for n in range(20)])
    assert len(read_rdata(rdata).rendezvous) == 8


def test_as_text_for_zones(rsa: LocalIdentity) -> None:
    entry = Entry(owner_of("b.example.com"), 300, make_rdata(rsa.public, SERVERS), ())
    for text in (presentation(entry), generic(entry), "\n".join(zone_lines(entry))):
        message = dns.message.from_text(f"id 1\nopcode QUERY\nflags QR\n;ANSWER\n{_joined(text)}")
        (rrset,) = message.answer
        assert str(rrset.name) == "b.example.com."
        assert rrset.ttl == 300
        (rdata,) = rrset
        assert rdata.to_generic() == entry.record.to_generic()  # type: ignore[no-untyped-call]


def _joined(text: str) -> str:
    """Without the brackets, which only zone files have."""
    return text.replace("(", " ").replace(")", " ").replace("\n\t", " ")


@pytest.mark.parametrize("name", ["", ".", "*.example.com", "a" * 64, "a..b"])
def test_names_that_are_none(name: str, rsa: LocalIdentity) -> None:
    with pytest.raises(NamingError):
        owner_of(name)
    if name not in (".", "*.example.com"):
        with pytest.raises(NamingError):
            make_rdata(rsa.public, [name or "a..b"])


def test_a_hit_is_an_address_of_sixteen_octets(rsa: LocalIdentity) -> None:
    assert IPv6Address(make_rdata(rsa.public).hit) == rsa.hit
