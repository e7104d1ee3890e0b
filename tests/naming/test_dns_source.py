"""Peers by HIP, A and AAAA records (RFC 8005 §4)."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest

from hipgw.errors import NamingError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.dns.hip_rr import make_rdata
from hipgw.naming.dns.servers import NameServer, NameServers
from hipgw.naming.dns.source import DnssecPolicy, DnsSource
from hipgw.naming.sources import Found, Provenance
from naming.name_server import Records, name_server

IDENTITY = LocalIdentity.generate("rsa2048")


def records(*rendezvous: str, validated: bool = False) -> Records:
    made = Records(validated=validated)
    made.add("b.example.com.", 300, "HIP", make_rdata(IDENTITY.public, rendezvous).to_text())
    return made


def look_up(
    served: Records,
    name: str = "b.example.com",
    *,
    dnssec: DnssecPolicy = DnssecPolicy.AUTO,
    search: tuple[str, ...] = (),
    trusted: bool = False,
    before: Sequence[NameServer] = (),
) -> Sequence[Found]:
    async def run() -> Sequence[Found]:
        async with name_server(served) as server:
            servers = NameServers((*before, server), search, trusted)
            return await DnsSource(lambda: servers, dnssec=dnssec).by_name(name)

    return asyncio.run(run())


def test_a_host_with_addresses() -> None:
    served = records()
    served.add("b.example.com.", 60, "A", "192.0.2.1", "1.1.1.1", "127.0.0.1")
    served.add("b.example.com.", 120, "AAAA", "2001:db8::1", "2001:21::5", "fe80::1")
    (found,) = look_up(served)
    assert found.hit == IDENTITY.hit
    assert found.other_hits == (IDENTITY.in_version(1).hit,)
    # HITs, LSIs and what no other host can reach are left out.
    assert found.addresses == (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))
    assert found.rendezvous == ()
    assert found.name == "b.example.com"
    assert found.source == "dns"
    assert found.ttl_s == 60
    assert found.provenance is Provenance.UNSIGNED


def test_rendezvous_servers_in_order() -> None:
    served = records("second.example", "gone.example", "first.example", "b.example.com")
    served.add("first.example.", 30, "A", "192.0.2.10")
    served.add("second.example.", 60, "AAAA", "2001:db8::20")
    served.add("second.example.", 60, "A", "192.0.2.20")
    (found,) = look_up(served)
    assert [server.name for server in found.rendezvous] == ["second.example", "first.example"]
    second, first = found.rendezvous
    assert second.addresses == (IPv4Address("192.0.2.20"), IPv6Address("2001:db8::20"))
    assert first.addresses == (IPv4Address("192.0.2.10"),)
    assert found.addresses == ()
    assert found.ttl_s == 30


def test_nobody_is_nobody() -> None:
    assert look_up(records(), "c.example.com") == ()
    without = Records()
    without.add("b.example.com.", 60, "A", "192.0.2.1")
    assert look_up(without) == ()
    assert look_up(records(), "b..example") == ()
    assert look_up(records(), "b.hip") == ()
    assert asyncio.run(DnsSource(NameServers).by_hit(IDENTITY.hit)) == ()


def test_a_record_that_does_not_fit_its_key_is_nobody() -> None:
    served = Records()
    text = make_rdata(IDENTITY.public).to_text()
    other = IPv6Address(int(IDENTITY.hit) ^ 1).packed.hex()
    served.add("b.example.com.", 60, "HIP", text.replace(IDENTITY.hit.packed.hex(), other))
    assert look_up(served) == ()


def test_aliases_are_followed() -> None:
    served = records()
    served.add("alias.example.com.", 20, "CNAME", "b.example.com.")
    (found,) = look_up(served, "alias.example.com")
    assert found.hit == IDENTITY.hit
    assert found.name == "alias.example.com"
    assert found.ttl_s == 20


def test_a_host_that_is_its_own_rendezvous_server_has_none() -> None:
    served = records("b.example.com")
    served.add("b.example.com.", 60, "A", "192.0.2.1")
    (found,) = look_up(served)
    assert found.rendezvous == ()
    assert found.addresses == (IPv4Address("192.0.2.1"),)


@pytest.mark.parametrize(
    ("policy", "trusted", "expected"),
    [
        (DnssecPolicy.AUTO, False, Provenance.UNSIGNED),
        (DnssecPolicy.AUTO, True, Provenance.DNSSEC),
        (DnssecPolicy.TRUST, False, Provenance.DNSSEC),
        (DnssecPolicy.REQUIRE, False, Provenance.DNSSEC),
        (DnssecPolicy.IGNORE, True, Provenance.UNSIGNED),
    ],
)
def test_the_word_of_a_server_that_validates(
    policy: DnssecPolicy, trusted: bool, expected: Provenance
) -> None:
    served = records(validated=True)
    (found,) = look_up(served, dnssec=policy, trusted=trusted)
    assert found.provenance is expected
    # The bit is asked for (RFC 6840 §5.7).
    assert all(data[3] & 0x20 for data in served.asked)


def test_what_is_not_validated_is_no_answer_where_it_has_to_be() -> None:
    with pytest.raises(NamingError, match="not validated"):
        look_up(records(), dnssec=DnssecPolicy.REQUIRE)
    # Nobody is nobody, whoever says so.
    assert look_up(records(), "c.example.com", dnssec=DnssecPolicy.REQUIRE) == ()


def test_names_of_one_word_are_completed() -> None:
    (found,) = look_up(records(), "b", search=("example.net", "example.com"))
    assert found.hit == IDENTITY.hit
    assert found.name == "b"
    assert look_up(records(), "b") == ()


def test_a_record_larger_than_a_datagram() -> None:
    served = records(*(f"{'r' * 60}{n}.{'s' * 60}.example" for n in range(8)))
    for n in range(3):
        other = LocalIdentity.generate("rsa2048").public
        served.rrsets[0].add(make_rdata(other, [f"{n}{'x' * 60}.example"]))
    assert len(look_up(served)) == 4


def test_servers_that_fail_are_passed_over() -> None:
    with pytest.raises(NamingError, match="SERVFAIL"):
        look_up(Records(failing=True))
    gone = NameServer(IPv4Address("127.0.0.1"), 9)
    (found,) = look_up(records(), before=[gone])
    assert found.hit == IDENTITY.hit
    with pytest.raises(NamingError, match="no name server"):
        asyncio.run(DnsSource(NameServers).by_name("b.example.com"))


async def test_a_server_that_was_silent_is_asked_last_the_next_time() -> None:
    mute = Records(mute=True)
    async with name_server(mute) as silent, name_server(records()) as server:
        servers = NameServers((silent, server))
        source = DnsSource(lambda: servers)
        assert await source.by_name("b.example.com")
        silent_asked = len(mute.asked)
        assert await source.by_name("b.example.com")
        assert len(mute.asked) == silent_asked


def test_nothing_is_loaded_for_names_beyond_ascii() -> None:
    """The daemon may not be able to any more, once it is another user."""
    program = (
        "import sys, dns.name; from hipgw.naming.dns.preload import preload; preload();"
        "before = set(sys.modules);"
        "dns.name.from_text('m\u00fcnchen.example'); print(sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
