"""The single checks of `hipgw doctor`; none of them changes anything."""

import errno
import os
import platform
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hipgw.cli.findings import Finding
from hipgw.cli.kernel_checks import kernel_esp
from hipgw.cli.lan_checks import lan
from hipgw.cli.mobile_router_checks import mobile_router
from hipgw.control.client import default_socket
from hipgw.errors import HipgwError
from hipgw.protocol.path import HIP_UDP_PORT

if TYPE_CHECKING:
    from hipgw.config.schema import Config

_TUN_DEVICE = Path("/dev/net/tun")
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
"""Bit numbers of linux/capability.h."""

_OLDEST_KERNEL = (5, 4)
_PROTOCOLS = {"HIP": 139, "ESP": 50}

_FEATURES = {
    "udp_gso": "UDP_SEGMENT: many packets a send (Linux 4.18)",
    "udp_gro": "UDP_GRO: many packets a receive (Linux 5.12)",
    "aes": "AES instructions of the CPU",
    "vaes": "AES instructions on wide registers",
    "pclmulqdq": "carry-less multiplication, for GCM",
    "vpclmulqdq": "the same on wide registers",
    "avx512": "512-bit registers of the CPU",
    "sha": "SHA-256 instructions of the CPU",
}
"""What the data plane's capabilities mean; others are shown by their name."""
_SHOWN_OTHERWISE = {"tun_vnet_hdr"}
_TUN_FEATURES = {
    "vnet_hdr": ("IFF_VNET_HDR: offload headers on TUN and TAP", "one packet at a time"),
    "tso4": ("TUN_F_TSO4: TCP over IPv4 in packets of up to 64 KiB", "one segment at a time"),
    "tso6": ("TUN_F_TSO6: the same over IPv6", "one segment at a time"),
    "uso": ("TUN_F_USO: the same for UDP (Linux 6.2)", "one datagram at a time"),
    "multi_queue": ("IFF_MULTI_QUEUE: several queues a TUN", "one queue, which is all hipgw uses"),
}
"""By their names in `tuntap.TunFeatures`: what they are, and what is done without."""


def examine(config: "Config | None" = None) -> list[Finding]:
    """Run every check; with a configuration, also those of what it needs."""
    port = config.hip.port if config is not None else HIP_UDP_PORT
    running = _daemon_runs(config)
    findings = [
        _kernel(platform.release()),
        _ipv6(),
        _tun(),
        *_rights(),
        *(_raw_socket(name, number) for name, number in _PROTOCOLS.items()),
        *(_port(port, family, running) for family in (socket.AF_INET, socket.AF_INET6)),
        *_tun_features(),
        *_buffers(),
        *_data_plane(),
        *kernel_esp(needed=config is not None and config.esp.backend == "kernel"),
    ]
    if config is not None and config.endbox is not None:
        findings += lan(config.endbox, running=running)
    if config is not None and config.relay is not None and config.relay.port_range:
        findings.append(_lent_ports(config.relay.port_range, running))
    if config is not None:
        findings += mobile_router(config)
    return findings


def _kernel(release: str) -> Finding:
    match = re.match(r"(\d+)\.(\d+)", release)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if platform.system() != "Linux" or version < _OLDEST_KERNEL:
        needed = ".".join(map(str, _OLDEST_KERNEL))
        return Finding(
            "kernel", "bad", f"{platform.system()} {release}", f"Linux {needed} or newer"
        )
    return Finding("kernel", "good", f"Linux {release}, {platform.machine()}")


def _ipv6() -> Finding:
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    try:
        off = switch.read_text().strip() != "0"
    except OSError:
        off = True
    if off:
        return Finding(
            "IPv6",
            "slow",
            "switched off: no HITs on this machine (host role), IPv4 underlay only",
            "sysctl net.ipv6.conf.all.disable_ipv6=0",
        )
    return Finding("IPv6", "good", "on")


def _tun() -> Finding:
    try:
        os.close(os.open(_TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Finding(str(_TUN_DEVICE), "bad", "is not there", "modprobe tun")
    except OSError as error:
        hint = "run as root" if error.errno in (errno.EACCES, errno.EPERM) else "modprobe tun"
        return Finding(str(_TUN_DEVICE), "bad", str(error.strerror), hint)
    return Finding(str(_TUN_DEVICE), "good", "can be opened")


def _rights() -> Iterator[Finding]:
    effective = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    for name, bit in _CAPABILITIES.items():
        if effective >> bit & 1:
            yield Finding(name, "good", "held by this user")
        else:
            yield Finding(name, "bad", "not held by this user", "run the daemon as root")


def _raw_socket(name: str, protocol: int) -> Finding:
    label = f"raw {name}"
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol).close()
    except OSError as error:
        return Finding(
            label,
            "slow",
            f'{error.strerror}: no transport = "raw"',
            "run as root, or reach peers by UDP",
        )
    return Finding(label, "good", f"IP protocol {protocol} can be opened")


def _daemon_runs(config: "Config | None") -> bool:
    """Whether a daemon listens on the control socket: then the port is taken, and rightly so."""
    path = config.daemon.control_socket if config is not None else default_socket()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
    except OSError:
        return False
    return True


def _bind(port: int, family: socket.AddressFamily) -> None:
    """Take a UDP port and let it go again; OSError if that cannot be."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(("", port))


def _lent_ports(ports: range, running: bool) -> Finding:
    """Those that the relay lends; what else may ail a family, `_port` tells."""
    label = f"UDP ports {ports[0]} to {ports[-1]}"
    taken = []
    for port in ports:
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                _bind(port, family)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                taken.append(port)
    if not taken:
        return Finding(label, "good", "free, for clients of the relay")
    if running:
        return Finding(label, "good", "taken by the hipgw daemon that runs")
    return Finding(
        label,
        "bad",
        f"{len(taken)} taken by other programs, the first is {taken[0]}",
        "`ss -ulpn` shows them; relay.first_port and relay.ports choose others",
    )


def _port(port: int, family: socket.AddressFamily, running: bool) -> Finding:
    version = "IPv4" if family == socket.AF_INET else "IPv6"
    label = f"UDP port {port}, {version}"
    try:
        _bind(port, family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and running:
            return Finding(label, "good", "taken by the hipgw daemon that runs")
        if error.errno == errno.EADDRINUSE:
            return Finding(
                label,
                "bad",
                "taken by another program",
                "`ss -ulpn` shows it; hip.port chooses another. If it is hipgw with a configuration"
                " of its own, give --config",
            )
        return Finding(label, "slow", str(error.strerror), f"no peers over {version}")
    return Finding(label, "good", "free")


def _tun_features() -> Iterator[Finding]:
    from hipgw.platform import tuntap

    try:
        found = tuntap.features()
    except (HipgwError, OSError):
        return  # told by `_tun` already
    for name, (meaning, without) in _TUN_FEATURES.items():
        label, there = f"tun_{name}", getattr(found, name)
        if there is None:
            yield Finding(label, "slow", f"not tried: {meaning}", "run hipgw doctor as root")
        elif there:
            yield Finding(label, "good", f"there: {meaning}")
        else:
            yield Finding(label, "slow", f"missing: {meaning}", f"works without: {without}")


def _buffers() -> Iterator[Finding]:
    from hipgw.platform import sockets

    try:
        granted = sockets.reachable_buffers()
    except HipgwError:
        return
    for name, key, octets in zip(
        ("receive buffer", "send buffer"), ("rmem_max", "wmem_max"), granted, strict=True
    ):
        detail = f"{octets >> 10} KiB of {sockets.DATA_BUFFER_OCTETS >> 10} that hipgw asks for"
        if octets >= sockets.DATA_BUFFER_OCTETS:
            yield Finding(name, "good", detail)
        else:
            hint = f"run as root, or: sysctl net.core.{key}={sockets.DATA_BUFFER_OCTETS}"
            yield Finding(name, "slow", detail, hint)


def _data_plane() -> Iterator[Finding]:
    try:
        from hipgw.dataplane.esp_core import capabilities

        found = capabilities()
    except (ImportError, AttributeError, HipgwError) as error:
        yield Finding("data plane", "bad", str(error), "install hipgw with `pip install .`")
        return
    for name, there in sorted(found.items()):
        if name in _SHOWN_OTHERWISE:
            continue
        meaning = _FEATURES.get(name, "")
        detail = f"{'there' if there else 'missing'}{': ' if meaning else ''}{meaning}"
        yield Finding(name, "good" if there else "slow", detail)
