"""What `hipgw doctor` says about being a mobile router; everything is tried out of the way."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hipgw.cli.findings import Finding
from hipgw.errors import HipgwError

if TYPE_CHECKING:
    from hipgw.config.schema import Config

_RULES, _QUEUE, _EBPF = "mobile router, rules", "mobile router, queue", "mobile router, eBPF"
_OUTSIDE, _BRIDGES = "mobile router, outside", "mobile router, bridges"
_WAYS = 16
_INTERFACES = Path("/sys/class/net")
_AS_ROOT = "run hipgw doctor as root"


def mobile_router(config: "Config") -> Iterator[Finding]:
    """Rules, queue and eBPF in a network namespace of their own; interfaces as they are here."""
    if config.mobile_router is None:
        return
    yield _outside(config)
    yield from _bridges()
    if os.geteuid() != 0:
        yield Finding(_RULES, "slow", "not tried", _AS_ROOT)
        return
    yield _rules()
    yield from _path()


def _outside(config: "Config") -> Finding:
    from hipgw.daemon.mobile_router import outside_interfaces
    from hipgw.platform.rtnetlink import take_snapshot

    router = config.mobile_router
    assert router is not None
    patterns = router.external_interfaces or config.mobility.preferred_interfaces
    try:
        names = outside_interfaces(take_snapshot(range(0)), patterns, {}).values()
    except (HipgwError, OSError) as error:
        return Finding(_OUTSIDE, "slow", f"not looked at: {error}")
    if names:
        return Finding(_OUTSIDE, "good", f"{', '.join(names)}; clients are behind all others")
    missing = f"no interface matches {', '.join(patterns)}" if patterns else "no default route"
    hint = "it may come later; mobile_router.external_interfaces names the interfaces"
    return Finding(_OUTSIDE, "slow", f"{missing} now", hint)


def _bridges() -> Iterator[Finding]:
    from hipgw.platform import links

    if links.bridged_frames_are_filtered() and any(_INTERFACES.glob("*/bridge")):
        yield Finding(
            _BRIDGES,
            "slow",
            "rules see bridged packets: eBPF gets none that come by a bridge, and ESP between two"
            " machines on one is lost",
            "sysctl net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0",
        )


def _rules() -> Finding:
    from hipgw.platform.threads import in_thread

    try:
        description, stays, reassembles = in_thread(_try_rules)
    except (HipgwError, OSError) as error:
        return Finding(_RULES, "bad", str(error), getattr(error, "hint", ""))
    if not reassembles:
        return Finding(
            _RULES,
            "slow",
            f"{description}; the kernel puts no fragments together for them",
            "the kernel needs nft_tproxy, or xt_socket; connection tracking does it, too",
        )
    if stays:
        return Finding(
            _RULES,
            "slow",
            f"{description}; others can remove them, then they are set again",
            "from Linux 5.12 on they belong to hipgw",
        )
    return Finding(_RULES, "good", f"{description}; they go when hipgw ends")


def _try_rules() -> tuple[str, bool, bool]:
    """Where rules would be, whether they outlast kill -9, and whether fragments are joined."""
    from hipgw.platform import netns
    from hipgw.platform.diversion import Diversion, Way

    netns.leave_network()
    tried = Diversion(0, 1, lambda _way: None, tuple(Way))
    try:
        return tried.description, tried.outlasts, tried.reassembles
    finally:
        tried.close()


def _path() -> Iterator[Finding]:
    from hipgw.platform.threads import in_thread

    try:
        without = in_thread(_try_path)
    except (ImportError, AttributeError, HipgwError, OSError) as error:
        yield Finding(
            _QUEUE, "bad", str(error), getattr(error, "hint", "") or "modprobe nfnetlink_queue"
        )
        return
    yield Finding(_QUEUE, "good", "the kernel hands packets to programs (NFQUEUE)")
    if without is None:
        yield Finding(_EBPF, "good", "there: the kernel rewrites most data by itself")
    else:
        yield Finding(_EBPF, "slow", f"missing: {without}", "works without, at less speed")


def _try_path() -> str | None:
    from hipgw.dataplane.spinat import SpinatDataPlane
    from hipgw.platform import netns

    netns.leave_network()
    path = SpinatDataPlane(queue=0, ways=_WAYS, ebpf=True, udp_port=1)
    try:
        return path.without_ebpf
    finally:
        path.stop()
