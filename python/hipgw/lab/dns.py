"""Real name servers on hosts of a lab, BIND 9 and Knot, and hosts that ask them."""

import base64
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hipgw.errors import LabError
from hipgw.lab.host import Host
from hipgw.lab.process import Process
from hipgw.lab.waiting import wait_until
from hipgw.platform.netns import bind_mount

START_TIMEOUT_S = 20.0
_RESOLV_CONF = Path("/etc/resolv.conf")
_SOA = "@ 60 IN SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 5"


def ask_name_servers(host: Host, *addresses: str, search: Sequence[str] = ()) -> Path:
    """Have the programs of a host ask these; returns the file that is its /etc/resolv.conf."""
    path = host.directory / f"{host.name}-resolv.conf"
    lines = [f"search {' '.join(search)}"] if search else []
    lines += [f"nameserver {address}" for address in addresses]
    path.write_text("".join(f"{line}\n" for line in lines))
    # Every host of a lab has its own mount namespace; the machine's file is not touched.
    host.call(bind_mount, path, _RESOLV_CONF.resolve())
    return path


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone of a server."""

    name: str
    """Without the final dot."""
    records: tuple[str, ...] = ()
    """Lines of a zone file; names without a final dot are within the zone."""
    signed: bool = False
    """With DNSSEC (Knot only)."""


@dataclass(slots=True)
class UpdateKey:
    """A TSIG key, made for one lab."""

    name: str = "lab"
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    @property
    def text(self) -> str:
        """As `tsig-keygen` writes it."""
        secret = base64.b64encode(self.secret).decode()
        return f'key "{self.name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'

    def write(self, path: Path) -> Path:
        """Write it to a file that only root can read."""
        path.touch(0o600)
        path.write_text(self.text)
        return path


class NameServerProgram(ABC):
    """What both servers have in common."""

    program = ""

    def __init__(self, host: Host, address: str, zones: Sequence[Zone], key: UpdateKey) -> None:
        """*address*: of the host, where it is asked. *key*: by which the zones may be changed."""
        self.host = host
        self.address = address
        self.zones = tuple(zones)
        self.key = key
        self.directory = host.directory / f"{self.program}-{host.name}-{address}"
        self.process: Process | None = None

    def start(self) -> None:
        """Write its files, start it, and wait until it answers for its zones."""
        if shutil.which(self.program) is None:
            raise LabError(f"There is no program {self.program}.", hint="tools/setup.sh test")
        self.directory.mkdir(mode=0o755, exist_ok=True)
        for zone in self.zones:
            lines = ["$TTL 60", _SOA.format(zone=zone.name), f"@ 60 IN NS ns.{zone.name}."]
            lines.append(f"ns 60 IN {'AAAA' if ':' in self.address else 'A'} {self.address}")
            self.zone_file(zone).write_text("\n".join([*lines, *zone.records, ""]))
        configuration = self.directory / "server.conf"
        configuration.write_text(self.configuration())
        configuration.chmod(0o600)
        self.process = self.host.popen(self.command(configuration), name=self.program)
        wait_until(self._answers, START_TIMEOUT_S, what=f"{self.program} on {self.host.name}")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()

    def zone_file(self, zone: Zone) -> Path:
        """Where a zone's records are."""
        return self.directory / f"{zone.name}.zone"

    @abstractmethod
    def configuration(self) -> str:
        """The text of its configuration."""

    @abstractmethod
    def command(self, configuration: Path) -> list[str | Path]:
        """How it is started in the foreground."""

    def dig(self, *arguments: str) -> str:
        """What `dig` prints when this server is asked, from its own host."""
        done = self.host.run(["dig", f"@{self.address}", "+time=2", "+tries=1", *arguments])
        return done.stdout

    def _answers(self) -> bool:
        if self.process is None:
            return False
        self.process.require_running()
        options = [f"@{self.address}", "+time=1", "+tries=1", "+short", "+norecurse"]
        for zone in self.zones:
            done = self.host.run(["dig", *options, "SOA", f"{zone.name}."], check=False)
            if "admin." not in done.stdout:
                return False
        return True


class Bind(NameServerProgram):
    """BIND 9: primary of zones, and a resolver that validates what it has trust anchors for."""

    program = "named"

    def __init__(
        self,
        host: Host,
        address: str,
        zones: Sequence[Zone] = (),
        key: UpdateKey | None = None,
        *,
        asks: Sequence[tuple[str, str]] = (),
        trust_anchors: Sequence[str] = (),
    ) -> None:
        """*asks*: zones and the addresses of their servers; *trust_anchors*: see `Knot.anchor`."""
        super().__init__(host, address, zones, key or UpdateKey())
        self._asks = tuple(asks)
        self._trust_anchors = tuple(trust_anchors)

    def configuration(self) -> str:
        """named.conf."""
        v6 = ":" in self.address
        own = f"{{ {self.address}; }}"
        text = f"""
options {{
    directory "{self.directory}"; pid-file none; session-keyfile none; lock-file none;
    listen-on {"{ none; }" if v6 else own}; listen-on-v6 {own if v6 else "{ none; }"};
    recursion yes; allow-query {{ any; }}; allow-recursion {{ any; }};
    dnssec-validation {"yes" if self._trust_anchors else "no"}; empty-zones-enable no;
    minimal-responses no; notify no; querylog no;
}};
controls {{ }};
{self.key.text}
"""
        if self._trust_anchors:
            text += f"trust-anchors {{ {' '.join(self._trust_anchors)} }};\n"
        # Nobody else is in the lab: without this every unknown name waits for the root servers.
        text += 'zone "." { type primary; file "root.zone"; };\n'
        root = "$TTL 60\n@ IN SOA ns.lab. admin.lab. 1 3600 600 86400 5\n@ IN NS ns.lab.\n"
        address = f"ns.lab. IN {'AAAA' if v6 else 'A'} {self.address}\n"
        delegations = [
            f"{zone}. IN NS ns.{zone}.\nns.{zone}. IN {'AAAA' if ':' in server else 'A'} {server}\n"
            for zone, server in self._asks
        ]
        (self.directory / "root.zone").write_text("".join([root, address, *delegations]))
        for zone in self.zones:
            text += (
                f'zone "{zone.name}" {{ type primary; file "{self.zone_file(zone)}";'
                f' allow-update {{ key "{self.key.name}"; }}; }};\n'
            )
        for name, server in self._asks:
            text += f'zone "{name}" {{ type static-stub; server-addresses {{ {server}; }}; }};\n'
        return text

    def command(self, configuration: Path) -> list[str | Path]:
        """One thread, logs to the standard error output."""
        return [self.program, "-g", "-n", "1", "-c", configuration]


class Knot(NameServerProgram):
    """Knot DNS: primary of zones, which it signs if they are to be."""

    program = "knotd"

    def __init__(
        self, host: Host, address: str, zones: Sequence[Zone] = (), key: UpdateKey | None = None
    ) -> None:
        super().__init__(host, address, zones, key or UpdateKey())

    def configuration(self) -> str:
        """knot.conf."""
        secret = base64.b64encode(self.key.secret).decode()
        text = f"""
server:
    listen: {self.address}@53
    rundir: {self.directory}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {self.directory}
log:
  - target: stderr
    any: info
key:
  - id: {self.key.name}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: updates
    key: {self.key.name}
    action: [update, transfer]
template:
  - id: default
    storage: {self.directory}
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
    acl: updates
zone:
"""
        for zone in self.zones:
            text += f"  - domain: {zone.name}\n    file: {self.zone_file(zone)}\n"
            text += f"    dnssec-signing: {'on' if zone.signed else 'off'}\n"
        return text

    def command(self, configuration: Path) -> list[str | Path]:
        """In the foreground."""
        return [self.program, "-c", configuration]

    def anchor(self, zone: str) -> str:
        """The keys of a signed zone as trust anchors for BIND."""
        text = self.dig("+short", "+norecurse", "DNSKEY", f"{zone}.")
        keys = re.findall(r"^257 (\d+) (\d+) (.+)$", text, re.MULTILINE)
        if not keys:
            raise LabError(f"{self.host.name}: {zone} is not signed yet.")
        return " ".join(
            f'"{zone}" static-key 257 {protocol} {algorithm} "{key.replace(" ", "")}";'
            for protocol, algorithm, key in keys
        )
