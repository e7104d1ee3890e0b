"""OpenHIP's thread for names, as recorded: hipgw in its place says the same."""

from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.name
from dns.rdtypes.ANY.HIP import HIP

from hipgw.naming.dns.hip_answers import HipAnswers, LocalName
from hipgw.naming.dns.hip_rr import make_rdata, read_rdata
from hipgw.naming.dns.octets import asks_below, suffix_octets
from interop.openhip import OPENHIP, identities, ip_packets

_UDP, _PORT = 17, 53
_TTL_S = 3600
"""OpenHIP's."""


def recorded() -> list[tuple[int, int, bytes]]:
    """Ports and octets of all messages."""
    packets = [ip for ip in ip_packets(OPENHIP / "dns.pcap") if ip.protocol == _UDP]
    return [
        (int.from_bytes(ip.data[:2], "big"), int.from_bytes(ip.data[2:4], "big"), ip.data[8:])
        for ip in packets
    ]


async def test_names_of_known_hosts_are_answered_alike() -> None:
    messages = recorded()
    answered = 0
    for source, port, query in messages:
        if port != _PORT or source == _PORT or not asks_below(query, suffix_octets("hip")):
            continue
        answers = [data for _, to, data in messages if to == source]
        if not answers:
            continue  # AAAA, which OpenHIP leaves unanswered
        (answer,) = answers
        lsi = IPv4Address(answer[-4:])

        async def lookup(_name: str, lsi: IPv4Address = lsi) -> LocalName:
            return LocalName(lsi, None, _TTL_S)

        made = await HipAnswers("hip", lookup, _TTL_S).answer(query)
        assert made is not None
        # It also says that it answers for others, which OpenHIP leaves out.
        assert made[3] == answer[3] | 0x80
        assert made[:3] + made[4:] == answer[:3] + answer[4:]
        answered += 1
    assert answered == 2


def test_the_record_of_a_host_is_the_same_in_every_octet() -> None:
    (host,) = (
        identity
        for hit, identity in identities("dns").items()
        if any(hit.packed in data for _, _, data in recorded())
    )
    found = [
        rdata
        for source, _, data in recorded()
        if source == _PORT
        for rrset in dns.message.from_wire(data).answer
        for rdata in rrset
        if isinstance(rdata, HIP)
    ]
    assert len(found) == 1
    assert read_rdata(found[0]).hit == host.in_version(1).hit
    made = make_rdata(host.in_version(1).public)
    assert made.to_wire() == found[0].to_wire()


def test_other_names_are_passed_on() -> None:
    others = [
        data
        for source, port, data in recorded()
        if port == _PORT and source != _PORT and not asks_below(data, suffix_octets("hip"))
    ]
    assert len(others) == 1
    assert dns.message.from_wire(others[0]).question[0].name == dns.name.from_text(
        "www.example.com"
    )
