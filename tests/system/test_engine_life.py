"""Two engines with real devices: rekeyed under load, moved, and kept to an interface."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from hipgw.dataplane.backend import FirstData, SecurityAssociation, SourceChanged
from hipgw.lab import Host, Lab, wait_until
from system.engines import Gateway, Pair, copy, pair_of

pytestmark = pytest.mark.system

SUITE = 13


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("life") as lab:
        yield lab


def rekey(pair: Pair, *, family: int = 4, udp: bool = True) -> int:
    """New security associations both ways, and the older outbound ones go; returns the SPI."""
    before = pair.next_spi
    pair.connect(SUITE, family, udp)
    for gateway, peer, spi in ((pair.one, pair.two, before - 1), (pair.two, pair.one, before)):
        gateway.dataplane.remove_sa(direction="out", spi=spi, peer_hit=peer.hit)
    return pair.next_spi


def drops(gateway: Gateway) -> dict[str, int]:
    """What was dropped, but for what the namespace's own kernel sends to nobody by the devices."""
    of_the_kernel = ("no_peer", "not_a_peer_address", "wrong_source")
    counts = gateway.dataplane.statistics().drops
    return {name: n for name, n in counts.items() if n and name not in of_the_kernel}


def inbound(gateway: Gateway) -> dict[int, SecurityAssociation]:
    entries = gateway.dataplane.security_associations()
    return {entry.spi: entry for entry in entries if entry.direction == "in"}


@pytest.mark.parametrize("udp", [True, False], ids=["udp", "raw"])
def test_rekeying_under_full_load_loses_nothing(lab: Lab, udp: bool) -> None:
    """TCP at full rate through a tunnel whose keys change as fast as this thread can change them.

    What is lost or reordered would be seen in the sequence numbers of each security association.
    """
    with pair_of(lab) as pair:
        pair.connect(SUITE, 4, udp)
        one, two = pair.one, pair.two
        flow = threading.Thread(
            target=copy, args=(one.host, two.host, two.lan, 150_000_000), daemon=True
        )
        flow.start()
        wait_until(lambda: two.counter("net_rx_packets") > 100, what="the first packets")
        rekeyings = 0
        spis = [pair.next_spi - 1]
        carried = 0
        while flow.is_alive():
            spis.append(rekey(pair, udp=udp) - 1)
            rekeyings += 1
            time.sleep(0.01)
            there, back = inbound(two), inbound(one)
            # All that one has carried is in once packets of a newer one are.
            while any(there[spi].packets for spi in spis[1:]) and any(
                back[spi + 1].packets for spi in spis[1:]
            ):
                old = spis.pop(0)
                for entry in (there[old], back[old + 1]):
                    assert entry.packets == entry.sequence, "a hole in the numbers"
                    assert (entry.replayed, entry.lost) == (0, 0)
                carried += there[old].packets
                two.dataplane.remove_sa(direction="in", spi=old, peer_hit=one.hit)
                one.dataplane.remove_sa(direction="in", spi=old + 1, peer_hit=two.hit)
        flow.join()
        assert rekeyings > 5
        assert carried > 100
        for gateway in (one, two):
            assert drops(gateway) == {}
            kinds = {type(event) for event in gateway.dataplane.drain_events()}
            assert kinds <= {FirstData}


def test_a_new_source_is_told_and_an_unverified_one_gets_little(lab: Lab) -> None:
    with pair_of(lab) as pair:
        one, two = pair.one, pair.two
        one.host.address("u0", "192.0.2.101/24", "2001:db8::101/64")
        for family, udp in ((4, True), (4, False), (6, True), (6, False)):
            pair.connect(SUITE, family, udp)
            assert one.host.ping(two.lan).received == 1
            two.dataplane.drain_events()
            spi = pair.next_spi - 1
            elsewhere = IPv4Address("192.0.2.101") if family == 4 else IPv6Address("2001:db8::101")
            port = 10500 if udp else 0

            def move(
                gateway: Gateway,
                spi: int,
                local: IPv4Address | IPv6Address,
                remote: IPv4Address | IPv6Address,
                *,
                udp: bool = udp,
                verified: bool = True,
            ) -> None:
                peer = two if gateway is one else one
                gateway.dataplane.move_sa(
                    spi=spi,
                    peer_hit=peer.hit,
                    local=local,
                    remote=remote,
                    udp=udp,
                    local_port=10500,
                    remote_port=10500,
                    verified=verified,
                )

            move(one, spi, elsewhere, two.underlay(family))
            assert one.host.ping(two.lan).received == 1
            changed = [e for e in two.dataplane.drain_events() if isinstance(e, SourceChanged)]
            assert changed == [
                SourceChanged(spi, two.underlay(family), port, elsewhere, port, udp)
            ], (family, udp)
            # Where the peer is not known to be, an answer may go for each question, but no more.
            move(two, spi + 1, two.underlay(family), elsewhere, verified=False)
            assert one.host.ping(two.lan, count=3, interval_s=0.1).received == 3
            flood = two.host.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
            with flood:
                for _ in range(500):
                    flood.sendto(bytes(1000), (one.lan, 9))
            wait_until(
                lambda: two.dataplane.statistics().drops["no_credit"] > 300, what="the drops"
            )
            move(two, spi + 1, two.underlay(family), elsewhere)
            before = two.dataplane.statistics().drops["no_credit"]
            assert one.host.ping(two.lan, count=3, interval_s=0.1).received == 3
            assert two.dataplane.statistics().drops["no_credit"] == before


def test_the_interface_chosen_is_the_one_it_leaves_by(lab: Lab) -> None:
    """Two links lead to the peer: the routing table prefers one, the path names the other."""
    with pair_of(lab) as pair:
        one, two = pair.one, pair.two
        lab.link(one.host, "u1", two.host, "u1")
        one.host.address("u1", "198.51.100.1/24", "2001:db8:1::1/64")
        two.host.address("u1", "198.51.100.2/24", "2001:db8:1::2/64")
        two.host.address("u0", "203.0.113.2/32", "2001:db8:2::2/128")
        two.host.address("u1", "2001:db8:2::2/128")
        # As two routers advertise them: for IPv6 the kernel chooses by interface only among routes
        # of one metric that are not one route over several links.
        for route in (
            "203.0.113.2 via 192.0.2.2 dev u0 metric 10",
            "203.0.113.2 via 198.51.100.2 dev u1 metric 20",
            "2001:db8:2::2 dev u0 metric 10",
            "2001:db8:2::2 dev u1 metric 10",
        ):
            one.host.run(["ip", "route", "append", *route.split()])
        for family, udp in ((4, True), (4, False), (6, True), (6, False)):
            pair.connect(SUITE, family, udp)
            local = ip_address("198.51.100.1" if family == 4 else "2001:db8:1::1")
            remote = ip_address("203.0.113.2" if family == 4 else "2001:db8:2::2")
            choices = [("u0", one.host.index("u0")), ("u1", one.host.index("u1"))]
            if family == 4:
                choices.append(("u0", 0))
            for name, interface in choices:
                one.dataplane.move_sa(
                    spi=pair.next_spi - 1,
                    peer_hit=two.hit,
                    local=local,
                    remote=remote,
                    udp=udp,
                    local_port=10500,
                    remote_port=10500,
                    interface=interface,
                )
                before = {other: sent_by(one.host, other) for other in ("u0", "u1")}
                assert one.host.ping(two.lan, count=20, interval_s=0.1).received == 20
                sent = {other: sent_by(one.host, other) - n for other, n in before.items()}
                # A few others are the kernel's own: ARP, neighbour discovery.
                assert sent.pop(name) >= 20, (family, udp, name)
                assert all(n < 20 for n in sent.values()), (family, udp, name)


def sent_by(host: Host, interface: str) -> int:
    """Packets that have left by an interface."""
    shown = json.loads(host.run(["ip", "-j", "-s", "link", "show", "dev", interface]).stdout)
    return int(shown[0]["stats64"]["tx"]["packets"])
