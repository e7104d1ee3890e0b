"""The demo: two endboxes bridge two LANs through an untrusted network, live and measured."""

import contextlib
import json
import statistics
import threading
import time
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hipgw.errors import ControlError
from hipgw.lab.host import Host
from hipgw.lab.lab import Lab
from hipgw.lab.topologies import GatewayNetwork, PlainNetwork, endbox_pair, plain_pair
from hipgw.lab.waiting import wait_until

PINGS = 50
IPERF_S = 5
IPERF_PORT = 5201

PICTURE = """\
  LAN 1                       untrusted network                      LAN 2
 ┌──────────┐   ┌─────────┐      ┌────────┐      ┌─────────┐   ┌──────────┐
 │ h1       ├───┤ e1      ├──────┤ router ├──────┤ e2      ├───┤ h2       │
 │ 10.77.0.1│   │ endbox  │══════╪══ESP═══╪══════│ endbox  │   │ 10.77.0.2│
 └──────────┘   └─────────┘      └────────┘      └─────────┘   └──────────┘"""


@dataclass
class Measurement:
    """One path, measured."""

    rtt_ms: float | None = None
    """Median round trip of a ping."""
    lost: int = 0
    gbps: float | None = None
    """One TCP stream, what the receiver got."""


@dataclass
class Story:
    """What has happened so far; the live view draws it."""

    step: str = "building two LANs, two endboxes and a router"
    packets: list[tuple[float, str, str, str, int]] = field(default_factory=list)
    """(seconds since the start, from, to, packet, octets)."""
    states: dict[str, str] = field(default_factory=dict)
    exchange_ms: float | None = None
    tunnel: Measurement = field(default_factory=Measurement)
    plain: Measurement = field(default_factory=Measurement)
    done: list[str] = field(default_factory=list)

    def finish(self, what: str) -> None:
        """Tick off a step."""
        self.done.append(what)

    def __rich__(self) -> Group:
        packets = Table(box=None, padding=(0, 2), pad_edge=False)
        for heading in ("time", "", "packet", "octets"):
            packets.add_column(heading, style="dim" if heading == "time" else "")
        exchange = [packet for packet in self.packets if packet[3] != "UPDATE"]
        for at, source, target, name, size in exchange[-10:]:
            packets.add_row(
                f"{at * 1000:8.1f} ms", f"{source} → {target}", Text(name, "bold cyan"), str(size)
            )
        states = "   ".join(
            f"{name}: [{'green' if state == 'ESTABLISHED' else 'yellow'}]{state}[/]"
            for name, state in self.states.items()
        )
        updates = len(self.packets) - len(exchange)
        if updates:
            states += f"   [dim]{updates} UPDATEs: own addresses, path MTU[/]"
        ticks = "\n".join(f"[green]✓[/] {line}" for line in self.done)
        running = f"[yellow]…[/] {self.step}" if self.step else ""
        return Group(
            Panel(PICTURE, title="hipgw demo", border_style="blue", expand=False),
            packets if self.packets else Text(""),
            Text.from_markup(states),
            Text.from_markup("\n".join(line for line in (ticks, running) if line)),
        )


class _Watcher(threading.Thread):
    """Follows the events of the endbox that is called, and adds them to the story."""

    def __init__(self, network: GatewayNetwork, story: Story) -> None:
        super().__init__(daemon=True)
        caller, self._called = network.sites
        self._names = {"in": (caller.gateway.name, self._called.gateway.name)}
        self._names["out"] = self._names["in"][::-1]
        self._story = story
        self._client = self._called.daemon.client()
        self._first: float | None = None

    def run(self) -> None:
        with contextlib.suppress(ControlError, OSError, ValueError):
            for event in self._client.subscribe("packet", "state"):
                if event["kind"] == "state":
                    self._story.states[self._called.gateway.name] = event["new"]
                    continue
                self._first = self._first or event["time"]
                at = event["time"] - self._first
                names = self._names[event["direction"]]
                self._story.packets.append((at, *names, event["packet"], event["size"]))

    def stop(self) -> None:
        """End the subscription."""
        self._client.close()


def run(console: Console, *, keep_going_s: float = 0.0) -> int:
    """Play the demo; 0 if every step worked. LabError says what did not.

    *keep_going_s* leaves the LANs joined for so long at the end, to look around in them.
    """
    story = Story()
    with Lab("demo") as lab, Live(story, console=console, refresh_per_second=8) as live:
        network = endbox_pair(lab)
        plain = plain_pair(lab)
        story.finish("two LANs, two endboxes with fresh Host Identities, a router between them")
        _associate(network, story)
        _measure_tunnel(network, story)
        _measure_plain(plain, story)
        story.step = ""
        live.refresh()
        if keep_going_s:
            story.step = f"staying for {keep_going_s:g} s"
            time.sleep(keep_going_s)
        story.step = ""
        live.stop()
        console.print()
        console.print(_summary(story))
    return 0


def _associate(network: GatewayNetwork, story: Story) -> None:
    story.step = "base exchange: I1, R1 (a puzzle), I2 (its solution), R2"
    caller, called = network.sites
    # One calls and one is called, so that the exchange is seen once and whole.
    called.daemon.wait_to_be_called()
    called.daemon.start()
    watcher = _Watcher(network, story)
    watcher.start()
    caller.daemon.start()
    network.wait_established()
    story.states[caller.gateway.name] = "ESTABLISHED"
    (made,) = caller.daemon.request("associations")
    story.exchange_ms = made["exchange_s"] * 1000
    story.finish(f"associated: the base exchange took {story.exchange_ms:.1f} ms")
    wait_until(
        lambda: caller.lan.ping(called.lan4, timeout_s=1.0), 10.0, what="the first ping across"
    )
    story.finish("h1 reaches h2: the two LANs are one")
    time.sleep(0.3)  # the last state change is on its way to the watcher
    watcher.stop()


def _measure_tunnel(network: GatewayNetwork, story: Story) -> None:
    first, second = network.sites
    story.step = f"pinging h2 from h1, {PINGS} times"
    story.tunnel.rtt_ms, story.tunnel.lost = ping(first.lan, second.lan4)
    full_frames = first.lan.ping(second.lan4, size=1472, dont_fragment=True, count=3)
    story.finish(
        f"ping through the tunnel: {story.tunnel.rtt_ms:.3f} ms; "
        f"1500-byte packets with DF: {full_frames.received} of {full_frames.sent}"
    )
    story.step = f"iperf3, one TCP stream for {IPERF_S} s through the tunnel"
    story.tunnel.gbps = iperf(first.lan, second.lan, second.lan4)
    story.finish(f"TCP through the tunnel: {story.tunnel.gbps:.2f} Gb/s")


def _measure_plain(plain: PlainNetwork, story: Story) -> None:
    story.step = "the same through the plain path, without hipgw"
    story.plain.rtt_ms, story.plain.lost = ping(plain.a, plain.b4)
    story.plain.gbps = iperf(plain.a, plain.b, plain.b4)
    story.finish(f"plain path: {story.plain.rtt_ms:.3f} ms, {story.plain.gbps:.2f} Gb/s")


def ping(source: Host, target: str) -> tuple[float, int]:
    """Median round trip in ms and how many of the pings were lost."""
    result = source.ping(target, count=PINGS, interval_s=0.02)
    return statistics.median(result.times_ms), result.sent - result.received


def iperf(client: Host, server: Host, address: str) -> float:
    """Gb/s of one TCP stream, as the receiver counted."""
    listener = server.popen(["iperf3", "--server", "--one-off", "--port", str(IPERF_PORT)])
    try:
        wait_until(
            lambda: "LISTEN" in server.run(["ss", "-Hltn", f"sport = {IPERF_PORT}"]).stdout,
            what="iperf3",
        )
        command = ["iperf3", "--json", "-c", address, "-p", str(IPERF_PORT), "-t", str(IPERF_S)]
        report = json.loads(client.run(command, timeout_s=IPERF_S + 20).stdout)
    finally:
        listener.stop()
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def _summary(story: Story) -> Table:
    table = Table(title="Measured just now", title_style="bold", min_width=64)
    table.add_column("")
    table.add_column("through hipgw", justify="right")
    table.add_column("plain path", justify="right")
    table.add_row("base exchange (I1 to R2)", f"{story.exchange_ms:.1f} ms", "-")
    table.add_row("ping, median", f"{story.tunnel.rtt_ms:.3f} ms", f"{story.plain.rtt_ms:.3f} ms")
    table.add_row("pings lost", f"{story.tunnel.lost} of {PINGS}", f"{story.plain.lost} of {PINGS}")
    table.add_row(
        "TCP, one stream", f"{story.tunnel.gbps:.2f} Gb/s", f"{story.plain.gbps:.2f} Gb/s"
    )
    return table
