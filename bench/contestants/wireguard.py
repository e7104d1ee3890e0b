"""WireGuard in user space, by several programs that are all set up in the same way."""

import functools
import itertools
import os
from pathlib import Path

from contestants.base import Contestant, Ends, has_link, routed, secret_file, when_reached
from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.topologies import underlay, underlay_address

NOTE = "L3, ChaCha20-Poly1305, MTU 1420"
FOREGROUND: dict[str, tuple[str, ...]] = {
    "wireguard-go": ("-f",),
    "boringtun": ("-f", "--disable-drop-privileges"),
    "gotatun": ("-f", "--disable-drop-privileges"),
}
"""Programs by how their contestants' names begin, with the options that keep them in front."""
_serial = itertools.count(1)


class WireguardGo(Contestant):
    """WireGuard in user space; it routes, so each LAN has a network of its own."""

    name, program, note = "wireguard-go", "wireguard-go", NOTE
    version_command = ("wireguard-go", "--version")
    options = FOREGROUND["wireguard-go"]

    def start(self, lab: Lab) -> Ends:
        gateways, ends = routed(lab)
        self.join(gateways)
        return when_reached(ends)

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
            gateway.popen([self.program, *self.options, device], environment=environment)
            wait_until(
                functools.partial(_ready, gateway, device), what=f"{device} of {self.program}"
            )
            secret = secret_file(gateway.directory / f"{device}.key", keys[n - 1][0])
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

    name, note, between_gateways = "wireguard-go-host", "as above, gateway to gateway", True

    def start(self, lab: Lab) -> Ends:
        _, gateways = underlay(lab, 2)
        self.join(gateways)
        return when_reached(Ends(gateways[0], gateways[1], "10.79.0.2"))


def _ready(gateway: Host, device: str) -> bool:
    return has_link(gateway, device) and Path(f"/run/wireguard/{device}.sock").exists()


def built_elsewhere(name: str, program: str) -> list[Contestant]:
    """*name* and *name*-host: a WireGuard that is no package of Debian's, by its path.

    Raises ValueError if *name* does not begin like one of FOREGROUND.
    """
    options = next((FOREGROUND[known] for known in FOREGROUND if name.startswith(known)), None)
    if options is None or name.endswith("-host"):
        known = ", ".join(FOREGROUND)
        raise ValueError(f"no such peer: {name}; names begin with {known}, and not end with -host")
    built: list[WireguardGo] = [WireguardGo(), WireguardGoHost()]
    for contestant in built:
        contestant.name = name + ("-host" if contestant.between_gateways else "")
        contestant.program = program
        contestant.version_command = (program, "--version")
        contestant.options = options
    return list(built)
