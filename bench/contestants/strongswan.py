"""strongSwan with ESP in user space."""

import functools
import os
from pathlib import Path

from contestants.base import Contestant, Ends, routed, secret_file, when_reached
from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.topologies import underlay_address

PLUGIN = Path("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so")
PLUGINS = (
    "random nonce openssl aes sha1 sha2 hmac kdf gcm pem pubkey socket-default vici"
    # libipsec before netlink, which then only keeps addresses and routes.
    " kernel-libipsec kernel-netlink"
)


class StrongSwan(Contestant):
    """strongSwan whose plugin kernel-libipsec carries ESP over UDP from a TUN device; it routes."""

    name, program, note = "strongswan", "charon-systemd", "L3, AES-128-GCM-16, ESP in user space"
    version_command = ("swanctl", "--version")

    def missing(self) -> str:
        return super().missing() or ("" if PLUGIN.exists() else "libcharon-extra-plugins")

    def start(self, lab: Lab) -> Ends:
        gateways, ends = routed(lab)
        sockets = []
        for n, gateway in enumerate(gateways, 1):
            socket = f"unix://{gateway.directory / f'vici-{n}'}"
            settings = gateway.directory / f"strongswan-{n}.conf"
            settings.write_text(
                f"charon-systemd {{\n load = {PLUGINS}\n install_virtual_ip = no\n"
                f" plugins {{ vici {{ socket = {socket} }} }}\n journal {{ default = -1 }}\n}}\n"
            )
            environment = {**os.environ, "STRONGSWAN_CONF": str(settings)}
            gateway.popen(["charon-systemd"], environment=environment)
            sockets.append(socket)
        secret = os.urandom(32).hex()
        for n, gateway in enumerate(gateways, 1):
            other = 3 - n
            config = secret_file(
                gateway.directory / f"swanctl-{n}.conf",
                # Encapsulated in UDP as behind a NAT: libipsec knows no other way.
                f"connections {{ p {{ version = 2\n encap = yes\n"
                f" proposals = aes128gcm16-prfsha256-ecp256\n"
                f" local_addrs = {underlay_address(n, 4)}\n"
                f" remote_addrs = {underlay_address(other, 4)}\n"
                f" local {{ auth = psk\n id = g{n} }}\n remote {{ auth = psk\n id = g{other} }}\n"
                f" children {{ lan {{ local_ts = 10.78.{n}.0/24\n remote_ts = 10.78.{other}.0/24\n"
                f" esp_proposals = aes128gcm16\n }} }} }} }}\n"
                f"secrets {{ ike-p {{ id-1 = g1\n id-2 = g2\n secret = 0x{secret} }} }}\n",
            )
            own = ["--uri", sockets[n - 1]]
            wait_until(
                functools.partial(_answers, gateway, own), what=f"strongSwan on {gateway.name}"
            )
            gateway.run(["swanctl", "--load-all", "--file", config, *own])
        initiate = ["swanctl", "--initiate", "--child", "lan", "--timeout", "10"]
        gateways[0].run([*initiate, "--uri", sockets[0]])
        return when_reached(ends)


def _answers(gateway: Host, options: list[str]) -> bool:
    return not gateway.run(["swanctl", "--stats", *options], check=False).returncode
