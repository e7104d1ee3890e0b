"""What `hipgw doctor` says about being a mobile router."""

import os
import tomllib
from functools import partial
from pathlib import Path

import pytest

from hipgw.cli import mobile_router_checks
from hipgw.config.schema import Config
from hipgw.errors import DataPlaneError, PlatformError
from hipgw.platform import links

RULES, QUEUE, EBPF = "mobile router, rules", "mobile router, queue", "mobile router, eBPF"


def config(table: str) -> Config:
    return Config.model_validate(tomllib.loads("[identity]\nkey_file = 'x'\n" + table))


def findings(table: str = "[mobile_router]") -> dict[str, tuple[str, str]]:
    found = mobile_router_checks.mobile_router(config(table))
    return {one.name: (one.verdict, f"{one.detail}; {one.hint}") for one in found}


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(mobile_router_checks, "_try_rules", lambda: ("nftables table", False, True))
    monkeypatch.setattr(mobile_router_checks, "_try_path", lambda: None)
    monkeypatch.setattr(links, "bridged_frames_are_filtered", lambda: False)


def test_others_are_not_told() -> None:
    assert findings("[host]") == {}


def test_all_is_there() -> None:
    shown = findings('[mobile_router]\nexternal_interfaces = ["l?"]')
    assert {verdict for verdict, _ in shown.values()} == {"good"}
    assert shown["mobile router, outside"][1].startswith("lo; clients")
    assert "nftables table" in shown[RULES][1]


def test_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_rules() -> None:
        raise PlatformError("There is no iptables.", hint="apt-get install iptables")

    def no_queue() -> None:
        raise DataPlaneError("queue 0: Protocol not supported")

    monkeypatch.setattr(mobile_router_checks, "_try_rules", no_rules)
    monkeypatch.setattr(mobile_router_checks, "_try_path", no_queue)
    monkeypatch.setattr(links, "bridged_frames_are_filtered", lambda: True)
    (tmp_path / "br0" / "bridge").mkdir(parents=True)
    monkeypatch.setattr(mobile_router_checks, "_INTERFACES", tmp_path)
    shown = findings('[mobile_router]\nexternal_interfaces = ["wwan9*"]')
    assert shown[RULES] == ("bad", "There is no iptables.; apt-get install iptables")
    assert shown[QUEUE][0] == "bad"
    assert "nfnetlink_queue" in shown[QUEUE][1]
    assert shown["mobile router, outside"][0] == "slow"
    assert "wwan9*" in shown["mobile router, outside"][1]
    assert "bridge-nf-call" in shown["mobile router, bridges"][1]


def test_what_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobile_router_checks, "_try_path", lambda: "no tcx")
    assert findings()[EBPF] == ("slow", "missing: no tcx; works without, at less speed")
    for outlasts, reassembles, said in ((True, True, "5.12"), (False, False, "fragments")):
        found = ("iptables -t raw HIPGW-MR", outlasts, reassembles)
        monkeypatch.setattr(mobile_router_checks, "_try_rules", partial(tuple, found))
        verdict, text = findings()[RULES]
        assert verdict == "slow"
        assert said in text


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert findings()[RULES] == ("slow", "not tried; run hipgw doctor as root")
    assert QUEUE not in findings()
