"""fastd, encrypted and not."""

from typing import ClassVar

from contestants.base import Contestant, Ends, bridged, secret_file, sites
from hipgw.lab import Lab
from hipgw.lab.topologies import underlay_address


class Fastd(Contestant):
    """fastd with its fastest authenticated encryption."""

    name, program, note = "fastd", "fastd", "L2, salsa2012+umac, MTU 1426"
    version_command = ("fastd", "--version")
    method: ClassVar[str] = "salsa2012+umac"

    def start(self, lab: Lab) -> Ends:
        gateways, lans = sites(lab)
        secrets, publics = [], []
        for gateway in gateways:
            secret = gateway.run(["fastd", "--generate-key", "--machine-readable"]).stdout.strip()
            own = f'secret "{secret}";\n'
            show = ["fastd", "--show-key", "--machine-readable", "--config", "-"]
            secrets.append(own)
            publics.append(gateway.run(show, text=own).stdout.strip())
        for n, gateway in enumerate(gateways, 1):
            other = 3 - n
            config = secret_file(
                gateway.directory / f"fastd-{n}.conf",
                f'log level warn; interface "tap0"; mode tap; method "{self.method}"; mtu 1426;\n'
                f"{secrets[n - 1]} bind 0.0.0.0:10000;\n"
                f'peer "p" {{ key "{publics[other - 1]}";'
                f" remote {underlay_address(other, 4)}:10000; }}\n",
            )
            gateway.popen(["fastd", "-c", config])
        return bridged(gateways, lans, mtu=1426)


class FastdNull(Fastd):
    """fastd without any protection: what its path costs without a cipher."""

    name, note, encrypted = "fastd-null", "L2, not encrypted, MTU 1426", False
    method = "null"
