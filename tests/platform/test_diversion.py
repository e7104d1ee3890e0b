"""Which packets a mobile router gets: the rules as they are written down, without any kernel."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.nfnetlink.nftsocket import nft_rule_msg

from hipgw.errors import PlatformError
from hipgw.platform import diversion, iptables, nf_tables, sockets
from hipgw.platform.diversion import Diversion, Way, chain_rules, table_rules


def decoded(rule: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The expressions of a rule as pyroute2 reads them."""
    body = struct.pack("!BBH", nf_tables.NFPROTO_INET, 0, 0)
    body += struct.pack("=HH", 4 + len(rule), 0x8004) + rule
    message = nft_rule_msg(struct.pack("=IHHII", 16 + len(body), 0xA06, 0, 0, 0) + body)
    message.decode()
    found = []
    for expression in message.get_attr("NFTA_RULE_EXPRESSIONS"):
        data = expression.get_attr("NFTA_EXPR_DATA")
        attributes = dict(data["attrs"]) if data is not None else {}
        found.append((expression.get_attr("NFTA_EXPR_NAME"), attributes))
    return found


def matches(rule: bytes) -> list[tuple[str, int, bytes]]:
    """What a rule asks: where it looks (a meta key, or an offset), and for what."""
    asked: list[tuple[str, int, bytes]] = []
    place = ("", 0)
    for name, data in decoded(rule):
        if name == "meta":
            place = ("meta", int(nf_tables.Meta[data["NFTA_META_KEY"].removeprefix("NFT_META_")]))
        elif name == "payload":
            place = ("octet", data["NFTA_PAYLOAD_OFFSET"])
        elif name == "cmp":
            value = dict(data["NFTA_CMP_DATA"]["attrs"])["NFTA_DATA_VALUE"]
            asked.append((*place, bytes(value)))
    return asked


def test_other_programs_read_the_rules_as_they_are_meant() -> None:
    rules = table_rules(nf_tables.queue(7), 10500, reassembles=True)
    queued = [rule for rule in rules if decoded(rule)[-1][0] == "queue"]
    for rule in queued:
        data = decoded(rule)[-1][1]
        assert (data["NFTA_QUEUE_NUM"], data["NFTA_QUEUE_TOTAL"]) == (7, 1)
        assert decoded(rule)[-2][0] == "counter"
    port = struct.pack("!H", 10500)
    l4 = ("meta", int(nf_tables.Meta.L4PROTO))
    asked = [matches(rule) for rule in queued]
    assert asked[:4] == [
        [(*l4, bytes([50]))],
        [(*l4, bytes([139]))],
        [(*l4, bytes([17])), ("octet", 2, port)],
        [(*l4, bytes([17])), ("octet", 0, port)],
    ]
    # ICMP: type, protocol of the quoted packet, its ports.
    assert asked[4] == [(*l4, b"\x01"), ("octet", 0, b"\x03"), ("octet", 17, bytes([139]))]
    assert asked[6][2:] == [("octet", 17, bytes([17])), ("octet", 28, port)]
    assert asked[-1] == [
        (*l4, bytes([58])),
        ("octet", 0, b"\x04"),
        ("octet", 14, bytes([17])),
        ("octet", 50, port),
    ]
    assert len(asked) == 4 + 4 * 4


def test_what_is_for_this_host_alone_is_passed_over_first() -> None:
    rules = table_rules(nf_tables.queue(0), 10500, reassembles=False)
    assert matches(rules[0]) == [("meta", int(nf_tables.Meta.L4PROTO), b"\6")]
    assert matches(rules[1]) == [("meta", int(nf_tables.Meta.IIFNAME), b"lo\0")]
    assert matches(rules[2]) == [("meta", int(nf_tables.Meta.PKTTYPE), b"\0")]
    assert {decoded(rule)[-1][0] for rule in rules[:3]} == {"immediate"}


def test_a_kernel_without_the_expression_gets_the_target() -> None:
    name, data = decoded(nf_tables.queue_target(0x1234))[-1]
    assert (name, data["NFTA_TARGET_NAME"]) == ("target", "NFQUEUE")


@pytest.mark.parametrize("version", [4, 6])
def test_iptables_gets_the_same(version: int) -> None:
    rules = chain_rules(version, 7, 10501, reassembles=True)
    assert rules[1][:2] == ("-i", "lo")
    queued = [rule for rule in rules if "NFQUEUE" in rule]
    assert all(rule[-4:] == ("NFQUEUE", "--queue-num", "7", "--queue-bypass") for rule in queued)
    assert [rule[1] for rule in queued[:4]] == ["50", "139", "udp", "udp"]
    assert {rule[3] for rule in queued[2:4]} == {"10501"}
    assert len(queued) == 4 + (3 if version == 4 else 4)


class Tool:
    """Stands in for the tools: tells what it was asked, and refuses what it is told to."""

    def __init__(self, *refused: str, left: int = 0) -> None:
        self.refused = refused
        self.asked: list[str] = []

    def __call__(self, tool: str, table: str, *arguments: str, lock: object) -> str:
        said = " ".join((Path(tool).name, table, *arguments))
        self.asked.append(said)
        if arguments[0] in {"-S", "-D"}:
            return "No chain/target/match by that name"
        return "refused" if any(word in said for word in self.refused) else ""

    def made(self) -> list[str]:
        """Where chains were made that are led to."""
        return [" ".join(said.split()[:2]) for said in self.asked if " -I PREROUTING " in said]


def divert(monkeypatch: pytest.MonkeyPatch, tool: Tool, ways: Sequence[Way]) -> Diversion:
    monkeypatch.setattr(iptables, "_refusal", tool)
    monkeypatch.setattr(iptables, "_tools", lambda version: [f"/sbin/{'ip6' * (version == 6)}x"])
    monkeypatch.setattr(sockets, "ipv6_there", lambda: False)
    return Diversion(7, 10500, lambda way: None, ways)


def test_iptables_without_raw_takes_mangle(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool("x raw -N")
    made = divert(monkeypatch, tool, [Way.IPTABLES])
    assert tool.made() == ["x mangle"]
    assert made.description == "x -t mangle HIPGW-MR"
    assert made.reassembles


def test_a_jump_is_made_last_and_nothing_stays_of_a_chain_that_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool = Tool("-j NFQUEUE")
    with pytest.raises(PlatformError, match="refused") as caught:
        divert(monkeypatch, tool, [Way.IPTABLES])
    assert tool.made() == []
    assert "CONFIG_NETFILTER_XT_TARGET_NFQUEUE" in caught.value.hint


def test_without_the_match_that_reassembles_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool("-m socket")
    made = divert(monkeypatch, tool, [Way.IPTABLES])
    assert tool.made() == ["x raw"]
    assert not made.reassembles


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_nf_tables(*_: object, **__: object) -> None:
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(diversion, "OwnTable", no_nf_tables)
    monkeypatch.setattr(iptables, "PATH", "/nowhere")
    tried: list[Way] = []
    with pytest.raises(PlatformError, match="There is no iptables") as caught:
        Diversion(7, 10500, tried.append, tuple(Way))
    assert "apt-get install iptables" in caught.value.hint
    assert "Protocol not supported" in str(caught.value)
    assert tried == [Way.NFTABLES, Way.IPTABLES]


def test_a_table_of_somebody_else_is_no_reason_to_try_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of_another_process(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(diversion, "OwnTable", of_another_process)
    tried: list[Way] = []
    with pytest.raises(PlatformError) as caught:
        Diversion(7, 10500, tried.append, tuple(Way))
    assert "one mobile router" in caught.value.hint
    assert tried == [Way.NFTABLES]


def test_only_root_may_use_the_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(iptables, "LOCK", Path("/nowhere/xtables.lock"))
    monkeypatch.setattr(iptables, "_tools", lambda version: ["/sbin/iptables"])
    with pytest.raises(PlatformError, match="root only") as caught:
        Diversion(7, 10500, lambda way: None, [Way.IPTABLES])
    assert "root" in caught.value.hint
