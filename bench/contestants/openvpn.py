"""OpenVPN."""

from pathlib import Path

from contestants.base import Contestant, Ends, bridged, sites
from hipgw.lab import Lab
from hipgw.lab.topologies import underlay_address


class OpenVpn(Contestant):
    """OpenVPN over UDP, bridging."""

    name, program, note = "openvpn", "openvpn", "L2, AES-128-GCM, MTU 1500"
    version_command = ("openvpn", "--version")

    def start(self, lab: Lab) -> Ends:
        gateways, lans = sites(lab)
        prints = []
        for n, gateway in enumerate(gateways, 1):
            files: list[str | Path] = ["-keyout", gateway.directory / f"ovpn-{n}.key"]
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
        return bridged(gateways, lans, mtu=1500)
