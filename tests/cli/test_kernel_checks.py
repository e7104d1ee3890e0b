"""What `hipgw doctor` says about the kernel's own ESP."""

import pytest

from hipgw.cli import kernel_checks
from hipgw.errors import PlatformError
from hipgw.platform import xfrm_features
from hipgw.platform.xfrm_features import XfrmFeatures


def findings(
    monkeypatch: pytest.MonkeyPatch, found: XfrmFeatures | Exception, *, needed: bool = False
) -> dict[str, tuple[str, str]]:
    def features(_algorithms: object) -> XfrmFeatures:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(xfrm_features, "features", features)
    return {one.name: (one.verdict, one.hint) for one in kernel_checks.kernel_esp(needed=needed)}


def features(*, esp6: bool = True, beet6: bool = True, gcm: bool = True) -> XfrmFeatures:
    return XfrmFeatures(
        esp={4: True, 6: esp6},
        beet={4: True, 6: beet6},
        udp={4: True, 6: False},
        algorithms={"AES-128-GCM-16": gcm},
    )


def test_everything_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = findings(monkeypatch, features())
    assert shown["kernel ESP, IPv4"][0] == "good"
    assert shown["kernel BEET, IPv6"][0] == "good"
    assert shown["kernel UDP, IPv4"][0] == "good"
    assert shown["kernel UDP, IPv6"][0] == "slow"
    assert shown["kernel AES-128-GCM-16"][0] == "good"


def test_what_is_missing_is_bad_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = features(esp6=False, gcm=False)
    shown = findings(monkeypatch, lacking)
    assert shown["kernel ESP, IPv6"][0] == "slow"
    assert "modprobe esp6" in shown["kernel ESP, IPv6"][1]
    assert "kernel BEET, IPv6" not in shown
    assert shown["kernel AES-128-GCM-16"][0] == "slow"
    shown = findings(monkeypatch, lacking, needed=True)
    assert shown["kernel ESP, IPv6"][0] == "bad"
    assert "engine" in shown["kernel ESP, IPv6"][1]


def test_a_kernel_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = findings(monkeypatch, PlatformError("Making a network namespace: not permitted."))
    assert shown == {"kernel ESP": ("slow", "run hipgw doctor as root")}
