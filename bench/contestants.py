"""What is measured: the plain path, hipgw, and the tunnels that Debian has packages of.

All of them connect the same way: LAN host, gateway, router, gateway, LAN host, one underlay MTU of
1500. Tunnels that bridge (hipgw endbox, fastd, tinc, OpenVPN) are measured between the LAN hosts;
so is wireguard-go, which routes. hipgw's host role has no LAN: it is measured between the gateways,
which is one hop less on each side, and so are the plain path and wireguard-go a second time, under
the names that end in "-host".
"""

import itertools
import os
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from hipgw.errors import LabError
from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.topologies import (
    endbox_pair,
    host_pair,
    plain_pair,
    underlay,
    underlay_address,
)

UP_TIMEOUT_S = 30.0
LAN = ("10.77.0.1", "10.77.0.2")
_serial = itertools.count(1)


@dataclass(slots=True)
class Ends:
    """Between whom a contestant is measured."""

    client: Host
    server: Host
    address: str
    """Of the server, as the client reaches it."""


class Contestant(ABC):
    """Something that packets can go through."""

    name: str
    prefix: str = "peer"
    """First part of its results' names: "e2e" for hipgw and the plain path."""
    program: str = ""
    """What has to be installed; empty for hipgw itself."""
    note: str = ""
    version_command: tuple[str, ...] = ()

    @abstractmethod
    def start(self, lab: Lab) -> Ends:
        """Build and start it in a lab of its own, and return when packets pass."""

    def missing(self) -> str:
        """The program that is not installed, or nothing."""
        return self.program if self.program and not shutil.which(self.program) else ""


class Plain(Contestant):
    """The same hosts and hops without a tunnel: what the machine can do."""

    name, prefix, note = "plain", "e2e", "routed, no tunnel"

    def start(self, lab: Lab) -> Ends:
        network = plain_pair(lab)
        return Ends(network.a, network.b, network.b4)


class PlainHost(Contestant):
    """The two gateways without a tunnel, for what is measured between these."""

    name, prefix, note = "plain-host", "e2e", "as above, gateway to gateway"

    def start(self, lab: Lab) -> Ends:
        _, gateways = underlay(lab, 2)
        return _when_reached(Ends(gateways[0], gateways[1], underlay_address(2, 4)))


class Endbox(Contestant):
    """hipgw bridging two LANs."""

    name, prefix, note = "endbox", "e2e", "L2, AES-128-GCM-16"

    def start(self, lab: Lab) -> Ends:
        network = endbox_pair(lab)
        network.start()
        one, two = network.sites
        return _when_reached(Ends(one.lan, two.lan, two.lan4))


class HostRole(Contestant):
    """hipgw between two hosts, by HIT."""

    name, prefix, note = "host", "e2e", "L3 by HIT, AES-128-GCM-16, gateway to gateway"

    def start(self, lab: Lab) -> Ends:
        network = host_pair(lab)
        network.start()
        one, two = network.sites
        return _when_reached(Ends(one.gateway, two.gateway, str(two.daemon.hit)))


class WireguardGo(Contestant):
    """WireGuard in user space; it routes, so each LAN has a network of its own."""

    name, program, note = "wireguard-go", "wireguard-go", "L3, ChaCha20-Poly1305, MTU 1420"
    version_command = ("wireguard-go", "--version")

    def start(self, lab: Lab) -> Ends:
        gateways, lans = _sites(lab)
        for n, (gateway, lan) in enumerate(zip(gateways, lans, strict=True), 1):
            gateway.sysctl("net/ipv4/ip_forward", 1)
            gateway.address("lan0", f"10.78.{n}.254/24")
            lan.address("eth0", f"10.78.{n}.1/24")
            lan.route("default", f"10.78.{n}.254")
        self.join(gateways)
        return _when_reached(Ends(lans[0], lans[1], "10.78.2.1"))

    def join(self, gateways: list[Host]) -> None:
        """Start it on both gateways; each has 10.79.0.N in the tunnel and 10.78.N.0/24 behind."""
        keys = []
        for gateway in gateways:
            private = gateway.run(["wg", "genkey"]).stdout.strip()
            public = gateway.run(["wg", "pubkey"], text=private).stdout.strip()
            keys.append((private, public))
        for n, gateway in enumerate(gateways, 1):
            other = 3 - n
            # Interfaces of user-space WireGuard have a socket in one folder for all namespaces.
            device = f"wg{os.getpid()}_{next(_serial)}"
            environment = {**os.environ, "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"}
            gateway.popen([self.program, "-f", device], environment=environment)
            wait_until(
                lambda g=gateway, d=device: (
                    d in g.run(["ip", "-br", "link"]).stdout
                    and Path(f"/run/wireguard/{d}.sock").exists()
                ),
                what=device,
            )
            secret = _secret(gateway.directory / f"{device}.key", keys[n - 1][0])
            gateway.run(
                [
                    *("wg", "set", device, "listen-port", "51820", "private-key", secret),
                    *("peer", keys[other - 1][1]),
                    *("endpoint", f"{underlay_address(other, 4)}:51820"),
                    *("allowed-ips", f"10.78.{other}.0/24,10.79.0.{other}/32"),
                ]
            )
            gateway.address(device, f"10.79.0.{n}/24")
            gateway.mtu(device, 1420)
            gateway.up(device)
            gateway.route(f"10.78.{other}.0/24", interface=device)


class WireguardGoHost(WireguardGo):
    """The same between the two gateways."""

    name, note = "wireguard-go-host", "as above, gateway to gateway"

    def start(self, lab: Lab) -> Ends:
        _, gateways = underlay(lab, 2)
        self.join(gateways)
        return _when_reached(Ends(gateways[0], gateways[1], "10.79.0.2"))


def newer_wireguard(program: str) -> list[Contestant]:
    """The same two with another build of wireguard-go than Debian's: *program* is its path.

    Debian 12 has that of 2022, without the offloads (GSO and GRO on TUN and UDP) of 2023.
    """
    built: list[Contestant] = []
    for kind in (WireguardGo, WireguardGoHost):
        contestant = kind()
        contestant.name = kind.name.replace("wireguard-go", "wireguard-go-new")
        contestant.note = f"{kind.name} in a newer build than Debian's"
        contestant.program = program
        contestant.version_command = (program, "--version")
        built.append(contestant)
    return built


class Fastd(Contestant):
    """fastd with its fastest authenticated encryption."""

    name, program, note = "fastd", "fastd", "L2, salsa2012+umac, MTU 1426"
    version_command = ("fastd", "--version")

    def start(self, lab: Lab) -> Ends:
        gateways, lans = _sites(lab)
        secrets, publics = [], []
        for gateway in gateways:
            secret = gateway.run(["fastd", "--generate-key", "--machine-readable"]).stdout.strip()
            own = f'secret "{secret}";\n'
            show = ["fastd", "--show-key", "--machine-readable", "--config", "-"]
            secrets.append(own)
            publics.append(gateway.run(show, text=own).stdout.strip())
        for n, gateway in enumerate(gateways, 1):
            other = 3 - n
            config = _secret(
                gateway.directory / f"fastd-{n}.conf",
                f'log level warn; interface "tap0"; mode tap; method "salsa2012+umac"; mtu 1426;\n'
                f"{secrets[n - 1]} bind 0.0.0.0:10000;\n"
                f'peer "p" {{ key "{publics[other - 1]}";'
                f" remote {underlay_address(other, 4)}:10000; }}\n",
            )
            gateway.popen(["fastd", "-c", config])
        return _bridged(gateways, lans, mtu=1426)


class Tinc(Contestant):
    """tinc as a switch."""

    name, program, note = "tinc", "tincd", "L2, AES-128-CBC with HMAC, MTU 1500"
    version_command = ("tincd", "--version")

    def start(self, lab: Lab) -> Ends:
        gateways, lans = _sites(lab)
        folders = []
        for n, gateway in enumerate(gateways, 1):
            folder = gateway.directory / f"tinc-{n}"
            (folder / "hosts").mkdir(parents=True)
            (folder / "tinc.conf").write_text(
                f"Name=g{n}\nMode=switch\nInterface=tap0\nDeviceType=tap\nConnectTo=g{3 - n}\n"
            )
            (folder / "hosts" / f"g{n}").write_text(
                f"Address={underlay_address(n, 4)}\nCipher=aes-128-cbc\nDigest=sha256\n"
            )
            gateway.run(["tincd", "-c", folder, "-K2048"], text="\n\n\n")
            folders.append(folder)
        for n, folder in enumerate(folders, 1):
            other = folders[2 - n] / "hosts" / f"g{3 - n}"
            shutil.copy(other, folder / "hosts" / f"g{3 - n}")
        for gateway, folder in zip(gateways, folders, strict=True):
            gateway.popen(["tincd", "-D", "-c", folder, f"--pidfile={folder / 'pid'}"])
        return _bridged(gateways, lans, mtu=1500)


class OpenVpn(Contestant):
    """OpenVPN over UDP, bridging."""

    name, program, note = "openvpn", "openvpn", "L2, AES-128-GCM, MTU 1500"
    version_command = ("openvpn", "--version")

    def start(self, lab: Lab) -> Ends:
        gateways, lans = _sites(lab)
        prints = []
        for n, gateway in enumerate(gateways, 1):
            files = ["-keyout", gateway.directory / f"ovpn-{n}.key"]
            certificate = gateway.directory / f"ovpn-{n}.crt"
            curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            gateway.run(
                [
                    *("openssl", "req", "-x509", *curve, "-days", "30", *files),
                    *("-out", certificate, "-subj", f"/CN=g{n}"),
                ]
            )
            shown = gateway.run(
                ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"]
            )
            prints.append(shown.stdout.strip().partition("=")[2])
        for n, gateway in enumerate(gateways, 1):
            other = 3 - n
            role = "tls-server" if n == 1 else "tls-client"
            config = gateway.directory / f"ovpn-{n}.conf"
            config.write_text(
                "dev tap0\ndev-type tap\nproto udp\nport 1194\ndata-ciphers AES-128-GCM\n"
                "auth SHA256\ndh none\nkeepalive 10 60\nverb 1\ndisable-dco\n"
                "txqueuelen 1000\nsndbuf 4194304\nrcvbuf 4194304\n"
                f"{role}\nkey {gateway.directory / f'ovpn-{n}.key'}\n"
                f"cert {gateway.directory / f'ovpn-{n}.crt'}\n"
                f"remote {underlay_address(other, 4)}\n"
                f"<peer-fingerprint>\n{prints[other - 1]}\n</peer-fingerprint>\n"
            )
            gateway.popen(["openvpn", "--config", config])
        return _bridged(gateways, lans, mtu=1500)


ALL: tuple[type[Contestant], ...] = (
    *(Plain, PlainHost, Endbox, HostRole),
    *(WireguardGo, WireguardGoHost, Fastd, Tinc, OpenVpn),
)


def _sites(lab: Lab) -> tuple[list[Host], list[Host]]:
    """Two gateways round a router, and a LAN host behind each."""
    _, gateways = underlay(lab, 2)
    lans = []
    for n, gateway in enumerate(gateways, 1):
        lan = lab.host(f"h{n}")
        lab.link(lan, "eth0", gateway, "lan0")
        lans.append(lan)
    return gateways, lans


def _bridged(gateways: list[Host], lans: list[Host], *, mtu: int) -> Ends:
    """Join tap0, which a tunnel makes, with the LAN port; hosts use the MTU it recommends."""
    for n, (gateway, lan) in enumerate(zip(gateways, lans, strict=True), 1):
        wait_until(
            lambda g=gateway: "tap0" in g.run(["ip", "-br", "link"]).stdout,
            UP_TIMEOUT_S,
            what=f"tap0 on {gateway.name}",
        )
        bridge = ["ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0"]
        gateway.run([*bridge, "mcast_snooping", "0"])
        for port in ("tap0", "lan0"):
            gateway.run(["ip", "link", "set", port, "master", "br0", "up"])
        gateway.up("br0")
        lan.address("eth0", f"{LAN[n - 1]}/24")
        lan.mtu("eth0", mtu)
    return _when_reached(Ends(lans[0], lans[1], LAN[1]))


def _when_reached(ends: Ends) -> Ends:
    wait_until(
        lambda: ends.client.ping(ends.address, timeout_s=0.5).received,
        UP_TIMEOUT_S,
        what=f"an answer from {ends.address}",
    )
    time.sleep(0.5)
    if not ends.client.ping(ends.address, count=3, interval_s=0.1):
        raise LabError(f"{ends.address} answered once and then no more.")
    return ends


def _secret(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(text)
    return file
