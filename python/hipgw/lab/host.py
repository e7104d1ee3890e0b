"""What a lab consists of: hosts, routers and switches, each a network namespace."""

import contextlib
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from hipgw.errors import LabError
from hipgw.lab.capture import Capture, packet_socket
from hipgw.lab.process import Process
from hipgw.platform.netlink import Netlink, with_netlink
from hipgw.platform.netns import Namespace

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_IFA_F_NODAD = 0x02
_WHOLE = {"default": "0.0.0.0/0", "default6": "::/0"}

_QUIET = {
    # Addresses are usable at once, and nothing is sent that nobody asked for.
    "net/ipv6/conf/all/accept_dad": 0,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/all/dad_transmits": 0,
    "net/ipv6/conf/default/dad_transmits": 0,
    "net/ipv6/conf/default/router_solicitations": 0,
    # Where the kernel filters bridged frames, iptables rules of the lab would see them twice.
    "net/bridge/bridge-nf-call-iptables": 0,
    "net/bridge/bridge-nf-call-ip6tables": 0,
    "net/bridge/bridge-nf-call-arptables": 0,
}


@dataclass(frozen=True, slots=True)
class PingResult:
    """What `ping` reported."""

    sent: int
    received: int
    duplicates: int
    times_ms: tuple[float, ...]
    """Round trip of each answer, in milliseconds."""

    def __bool__(self) -> bool:
        """Whether anything came back."""
        return self.received > 0


class Host:
    """A computer of the lab. Made by `Lab.host`, gone with the lab."""

    def __init__(self, name: str, namespace: Namespace, directory: Path) -> None:
        self.name = name
        self.namespace = namespace
        """Its network namespace; `ip netns exec NAME` works with its name."""
        self.directory = directory
        """Logs and captures go here by default."""
        self._processes: list[Process] = []
        self._captures: list[Capture] = []
        for key, value in _QUIET.items():
            self.sysctl(key, value, optional=True)
        self.up("lo")

    # -- interfaces and routes -------------------------------------------------------------------

    def address(self, interface: str, *addresses: str) -> None:
        """Give *interface* the addresses, each as "10.0.0.1/24" or "fd00::1/64"."""
        for text in addresses:
            one = ip_interface(text)
            options = {"address": str(one.ip), "prefixlen": one.network.prefixlen}
            if one.version == 6:
                # Without this the kernel considers the address for a moment before it is used.
                options["flags"] = _IFA_F_NODAD
            self._on(interface, "addr", "replace", **options)

    def remove_address(self, interface: str, address: str) -> None:
        """Take an address, as "10.0.0.1/24", from *interface*."""
        one = ip_interface(address)
        prefix_length = one.network.prefixlen
        self._on(interface, "addr", "del", address=str(one.ip), prefixlen=prefix_length)

    def replace_address(self, interface: str, old: str, new: str) -> None:
        """Give *interface* the address *new*, then take *old* from it; both as "10.0.0.1/24".

        The interface is never without an address, and routes through gateways stay.
        """
        # Else all further IPv4 addresses of a network go with its first one.
        self.sysctl(f"net/ipv4/conf/{interface}/promote_secondaries", 1)
        self.address(interface, new)
        self.remove_address(interface, old)

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8) one after the other, quickly: "route del default", for example."""
        self.run(["ip", "-batch", "-"], text="".join(f"{command}\n" for command in commands))

    def remove_route(self, destination: str) -> None:
        """Take the route to *destination* away; see `route`."""
        network = ip_network(_WHOLE.get(destination, destination))
        self._netlink(f"route to {destination}", lambda ip: ip.route("del", dst=str(network)))

    def route(
        self,
        destination: str,
        via: str | None = None,
        interface: str | None = None,
        *,
        source: str | None = None,
        mtu: int | None = None,
        metric: int | None = None,
    ) -> None:
        """Route *destination* ("10.0.0.0/8", "default", "default6") by gateway or interface.

        It replaces a route of the same *metric*; the route with the least one is used.
        """
        network = ip_network(_WHOLE.get(destination, destination))
        options: dict[str, Any] = {"dst": str(network)}
        if via is not None:
            options["gateway"] = via
        if source is not None:
            options["prefsrc"] = source
        if mtu is not None:
            options["metrics"] = {"mtu": mtu}
        if metric is not None:
            options["priority"] = metric
        if interface is not None:
            options["oif"] = self.index(interface)
        self._netlink(f"route to {destination}", lambda ip: ip.route("replace", **options))

    def has_carrier(self, interface: str) -> bool:
        """Whether *interface* is on and so is the other end of its cable."""
        index = self.index(interface)
        links = self._netlink(interface, lambda ip: list(ip.get_links(index)))
        return bool(links[0].get("operstate") == "UP")

    def index(self, interface: str) -> int:
        """The number of *interface*; LabError if it does not exist."""
        found = self._netlink(interface, lambda ip: list(ip.link_lookup(ifname=interface)))
        if not found:
            raise LabError(f"{self.name} has no interface {interface}.")
        return int(found[0])

    def up(self, interface: str) -> None:
        """Switch *interface* on."""
        self._on(interface, "link", "set", state="up")

    def down(self, interface: str) -> None:
        """Switch *interface* off, as if its cable were pulled (addresses of IPv6 go with it)."""
        self._on(interface, "link", "set", state="down")

    def mtu(self, interface: str, octets: int) -> None:
        """Set the largest IP packet that *interface* sends, in octets."""
        self._on(interface, "link", "set", mtu=octets)

    def mac(self, interface: str) -> str:
        """The Ethernet address of *interface*, as "02:00:00:00:00:01"."""
        index = self.index(interface)
        links = self._netlink(interface, lambda ip: list(ip.get_links(index)))
        return str(links[0].get("address"))

    def sysctl(self, key: str, value: int | str, *, optional: bool = False) -> None:
        """Set a kernel variable below /proc/sys of this host, as "net/ipv4/ip_forward".

        Raises LabError if the kernel has none by that name, unless *optional*.
        """
        place = Path("/proc/sys") / key
        try:
            self.call(place.write_text, str(value))
        except OSError as error:
            if not optional:
                raise LabError(f"{self.name}: sysctl {key}: {error.strerror}.") from error

    # -- programs --------------------------------------------------------------------------------

    def call(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run a short Python *function* of this process on the host: open sockets, for example."""
        return self.namespace.call(function, *args, **kwargs)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        text: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run *command* with *text* as its input and return its status and output.

        Raises LabError when it fails (unless not *check*) or takes longer than *timeout_s*.
        """
        process = self.call(
            _popen,
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            output, errors = process.communicate(text, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            shown = _shown(command)
            raise LabError(
                f"{self.name}: {shown} took longer than {timeout_s:g} s.\n{output}{errors}"
            ) from None
        except BaseException:
            process.kill()
            process.wait()
            raise
        if check and process.returncode:
            shown = _shown(command)
            raise LabError(
                f"{self.name}: {shown} ended with status {process.returncode}.\n{output}{errors}"
            )
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        name: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start *command*; its output goes to a file of the lab's directory.

        *name* names that file; by default it is the program's name. Ended with the lab.
        """
        label = f"{self.name}-{name or Path(command[0]).name}"
        log = _unused(self.directory / f"{label}.log")
        with log.open("wb") as out:
            started = self.call(
                _popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C in a terminal is for the lab, which then ends its programs in order.
                start_new_session=True,
            )
        process = Process(label, started, log)
        self._processes.append(process)
        return process

    def ping(
        self,
        target: str,
        *,
        count: int = 1,
        interval_s: float = 0.2,
        timeout_s: float = 2.0,
        size: int = 56,
        dont_fragment: bool = False,
        interface: str | None = None,
    ) -> PingResult:
        """Send *count* echo requests with *size* octets of payload; false if none is answered.

        *timeout_s* is how long to wait for an answer after the last one, if there was none before;
        otherwise ping waits for *interval_s* or two round trips, whichever is longer.
        """
        command = ["ping", "-n", f"-c{count}", f"-i{interval_s}", f"-W{timeout_s}", f"-s{size}"]
        if dont_fragment:
            command += ["-M", "do"]
        if interface is not None:
            command += ["-I", interface]
        limit = count * interval_s + timeout_s + 10
        done = self.run([*command, target], check=False, timeout_s=limit)
        summary = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
        if summary is None:
            # No route, no address: ping did not get to send anything.
            return PingResult(0, 0, 0, ())
        times = tuple(float(ms) for ms in re.findall(r"time=([\d.]+) ms", done.stdout))
        duplicates = re.search(r"\+(\d+) duplicates", done.stdout)
        return PingResult(
            sent=int(summary[1]),
            received=int(summary[2]),
            duplicates=int(duplicates[1]) if duplicates else 0,
            times_ms=times,
        )

    def capture(self, interface: str, file: Path | None = None) -> Capture:
        """Capture all frames of *interface* from now on, by default into the lab's directory."""
        opened = self.call(packet_socket, interface)
        place = file or _unused(self.directory / f"{self.name}-{interface}.pcap")
        capture = Capture(opened, interface, place)
        self._captures.append(capture)
        return capture

    def close(self) -> None:
        """End its programs and captures. The lab calls this."""
        for process in self._processes:
            if process.running:
                process.signal(signal.SIGTERM)
        with contextlib.ExitStack() as steps:
            for capture in self._captures:
                steps.callback(capture.stop)
            for process in self._processes:
                steps.callback(process.stop, 3.0)

    # -- inside ----------------------------------------------------------------------------------

    def _netlink(self, what: str, action: Callable[[Netlink], Result]) -> Result:
        try:
            return self.call(with_netlink, action)
        except NetlinkError as error:
            raise LabError(f"{self.name}: {what}: {error.args[1]}.") from error

    def _on(
        self, interface: str, kind: Literal["link", "addr"], verb: str, **options: object
    ) -> None:
        index = self.index(interface)
        self._netlink(
            f"{kind} {verb} on {interface} with {options}",
            lambda ip: getattr(ip, kind)(verb, index=index, **options),
        )


class Router(Host):
    """A host that forwards IPv4 and IPv6."""

    def __init__(self, name: str, namespace: Namespace, directory: Path) -> None:
        super().__init__(name, namespace, directory)
        self.sysctl("net/ipv4/ip_forward", 1)
        self.sysctl("net/ipv6/conf/all/forwarding", 1)

    def firewall(self, *rule: str, family: Literal[4, 6] = 4) -> None:
        """Add an iptables rule: `firewall("-A", "FORWARD", "-p", "esp", "-j", "DROP")`."""
        program = "iptables" if family == 4 else "ip6tables"
        self.run([program, "-w", *rule])


class Switch(Host):
    """An Ethernet switch: a bridge without an address that learns and forwards at once."""

    BRIDGE = "br0"

    def __init__(self, name: str, namespace: Namespace, directory: Path) -> None:
        super().__init__(name, namespace, directory)
        # The switch itself stays silent.
        self.sysctl("net/ipv6/conf/all/disable_ipv6", 1, optional=True)
        self.sysctl("net/ipv6/conf/default/disable_ipv6", 1, optional=True)
        self._netlink(
            "bridge",
            lambda ip: ip.link(
                "add",
                ifname=self.BRIDGE,
                kind="bridge",
                br_stp_state=0,
                br_forward_delay=0,
                br_mcast_snooping=0,
            ),
        )
        self.up(self.BRIDGE)

    def enslave(self, interface: str) -> None:
        """Make *interface* a port of the switch. `Lab.link` does it by itself."""
        bridge = self.index(self.BRIDGE)
        self._on(interface, "link", "set", master=bridge)


def _popen(command: Sequence[str | Path], **options: Any) -> "subprocess.Popen[Any]":
    try:
        return subprocess.Popen([str(part) for part in command], **options)
    except FileNotFoundError:
        raise LabError(
            f"There is no program {command[0]}.", hint="Install the package that has it."
        ) from None


def _shown(command: Sequence[str | Path]) -> str:
    return " ".join(str(part) for part in command)


def _unused(path: Path) -> Path:
    """*path*, or with a number in its name if there is such a file already."""
    number = 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate
