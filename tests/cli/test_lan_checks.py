"""What `hipgw doctor` says of an endbox's LAN, by links made by hand."""

from hipgw.cli.lan_checks import judge
from hipgw.platform.lan_links import LanLinks
from hipgw.platform.rtnetlink import IFF_RUNNING, IFF_UP, Link

UP = IFF_UP | IFF_RUNNING
LAN = LanLinks("hipgw0", "br-hipgw", ("eth1",), 9000)


def found(*links: Link, running: bool = False) -> list[tuple[str, str, str]]:
    by_index = {link.index: link for link in links}
    return [(one.name, one.verdict, one.detail) for one in judge(by_index, LAN, running=running)]


def test_before_the_start() -> None:
    assert found(Link(1, "eth1", 0, 0, 9000)) == [
        ("port eth1", "good", "is there, with an MTU of 9000")
    ]
    assert found() == [("port eth1", "bad", "no such interface")]
    assert found(Link(1, "eth1", UP, 2, 9000), Link(2, "br-own", UP, 0)) == [
        ("port eth1", "bad", "is a port of br-own already")
    ]
    assert found(Link(1, "eth1", IFF_UP, 0, 1500)) == [
        ("port eth1", "slow", "the LAN port eth1 has no carrier"),
        ("port eth1", "slow", "the LAN port eth1 has an MTU of 1500, and endbox.mtu is 9000"),
    ]


def test_while_a_daemon_runs() -> None:
    port = Link(1, "eth1", UP, 3, 9000)
    tap, bridge = Link(2, "hipgw0", UP, 3, 9000), Link(3, "br-hipgw", UP, 0, 9000)
    assert [verdict for _, verdict, _ in found(port, tap, bridge, running=True)] == ["good"]
    off = Link(2, "hipgw0", 0, 3, 9000)
    assert found(port, off, bridge, running=True)[1:] == [
        ("LAN", "slow", "the endbox's interface hipgw0 is switched off")
    ]
    gone = found(tap, bridge, running=True)
    assert gone == [("port eth1", "bad", "no such interface")]
