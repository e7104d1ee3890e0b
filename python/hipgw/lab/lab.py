"""A network that lasts as long as a `with` block."""

import atexit
import contextlib
import functools
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from hipgw.errors import LabError, PlatformError
from hipgw.lab import stale
from hipgw.lab.host import Host, Router, Switch
from hipgw.lab.impairment import Impairment
from hipgw.lab.lossy import LossyLink
from hipgw.lab.nat import Nat
from hipgw.lab.waiting import wait_until
from hipgw.platform.netlink import with_netlink
from hipgw.platform.netns import Namespace

Node = TypeVar("Node", bound=Host)

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_WISH_S = 1.0
_MAX_INTERFACE_NAME = 15


class Lab:
    """Hosts and links, gone at the end of the block: also after an error, SIGINT or SIGTERM.

    Inside the block SIGTERM and SIGHUP raise SystemExit (in the main thread), unless the program
    has handlers of its own. Should a signal hit the moment between the block and the cleaning up,
    the end of the program still does it.
    """

    def __init__(self, name: str, *, keep: bool = False) -> None:
        """*name* is of a-z, 0-9 and _; *keep* leaves the directory with the logs where it is."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise LabError(f"{name!r} is no name for a lab.", hint="Use a-z, 0-9 and _.")
        self.name = name
        self.hosts: dict[str, Host] = {}
        """Every host, router, NAT and switch by its name."""
        self._lossy_links: list[LossyLink] = []
        self.directory = Path()
        """Where logs, captures and configurations go; removed with the lab, unless kept."""
        self._id = f"{name}-{os.getpid()}"
        self._keep = keep
        self._lock = -1
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if os.geteuid():
            raise LabError("A lab needs network namespaces, so root.", hint="Try it with sudo.")
        stale.clean_stale()
        try:
            self._lock, self.directory = stale.claim(self._id)
        except FileExistsError:
            raise LabError(
                f"This process has a lab {self.name} already.",
                hint="Give the second one another name.",
            ) from None
        atexit.register(self._clean_at_exit)
        self._exit.enter_context(_ending_signals_raise())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._exit, _signals_wait(), contextlib.ExitStack() as steps:
            # Every step is taken, also when one before it fails; the last one pushed goes first.
            steps.callback(atexit.unregister, self._clean_at_exit)
            steps.callback(os.close, self._lock)
            self._lock = -1
            steps.callback(stale.remove, self._id, keep_directory=self._keep)
            for host in self.hosts.values():
                steps.callback(host.namespace.close)
            for link in self._lossy_links:
                steps.callback(link.close)
            for host in self.hosts.values():
                steps.callback(host.close)
            self.hosts = {}

    # -- building --------------------------------------------------------------------------------

    def host(self, name: str) -> Host:
        """Add a computer without any link but its loopback."""
        return self._add(name, Host)

    def router(self, name: str) -> Router:
        """Add a computer that forwards IPv4 and IPv6."""
        return self._add(name, Router)

    def nat(self, name: str) -> Nat:
        """Add a router that can hide what is behind it; see `Nat.hide`."""
        return self._add(name, Nat)

    def switch(self, name: str) -> Switch:
        """Add an Ethernet switch."""
        return self._add(name, Switch)

    def link(
        self,
        a: Host,
        a_interface: str,
        b: Host,
        b_interface: str = "",
        *,
        mtu: int = 1500,
        a_mac: str = "",
        b_mac: str = "",
    ) -> None:
        """Join two hosts by a cable, switch both ends on and wait until the link is there.

        On a switch the interface becomes a port; without a name it gets one. *mtu* is the
        largest IP packet either end sends, in octets.
        """
        b_interface = b_interface or f"to_{a.name}"[:_MAX_INTERFACE_NAME]
        for interface in (a_interface, b_interface):
            if not 0 < len(interface) <= _MAX_INTERFACE_NAME:
                raise LabError(f"{interface!r} is no name for an interface (1 to 15 characters).")
        near: dict[str, Any] = {"ifname": a_interface, "mtu": mtu}
        far: dict[str, Any] = {
            "ifname": b_interface,
            "mtu": mtu,
            "net_ns_fd": b.namespace.fileno(),
        }
        if a_mac:
            near["address"] = a_mac
        if b_mac:
            far["address"] = b_mac
        try:
            a.call(with_netlink, lambda ip: ip.link("add", kind="veth", peer=far, **near))
        except NetlinkError as error:
            raise LabError(
                f"Cannot link {a.name} ({a_interface}) with {b.name} ({b_interface}):"
                f" {error.args[1]}."
            ) from error
        for host, interface in ((a, a_interface), (b, b_interface)):
            if isinstance(host, Switch):
                host.enslave(interface)
            host.up(interface)
        for host, interface in ((a, a_interface), (b, b_interface)):
            wait_until(
                functools.partial(host.has_carrier, interface),
                what=f"the link of {host.name} on {interface}",
                interval_s=0.002,
            )

    def lossy_link(
        self,
        a: Host,
        a_interface: str,
        b: Host,
        b_interface: str,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        delay_s: float = 0.0,
        seed: int = 1,
        mtu: int = 1500,
        a_mac: str = "",
        b_mac: str = "",
    ) -> LossyLink:
        """Join two hosts by a bad cable and switch both ends on.

        *loss*, *duplicate* and *reorder* are shares (0 to 1) of the frames of each direction,
        *delay_s* is added to each. The same *seed* hits the same frames, by number.
        """
        impairment = Impairment(loss=loss, duplicate=duplicate, reorder=reorder, delay_s=delay_s)
        ends = ((a, a_interface, a_mac), (b, b_interface, b_mac))
        link = LossyLink(ends, impairment, seed=seed, mtu=mtu)
        self._lossy_links.append(link)
        return link

    # -- inside ----------------------------------------------------------------------------------

    def _clean_at_exit(self) -> None:
        with _signals_wait():
            stale.remove(self._id)

    def _add(self, name: str, kind: type[Node]) -> Node:
        if self._lock < 0:
            raise LabError("A lab is built inside its `with` block.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise LabError(f"{name!r} is no name for a host.")
        try:
            namespace = Namespace.create(f"hipgw-{self._id}-{name}")
        except PlatformError as error:
            raise LabError(str(error), hint=error.hint) from error
        try:
            host = kind(name, namespace, self.directory)
        except BaseException:
            namespace.delete()
            raise
        self.hosts[name] = host
        return host


@contextlib.contextmanager
def _ending_signals_raise() -> Iterator[None]:
    """Let signals that end a program raise, so that `with` blocks are left in order.

    Another one within a second is taken for the same wish: it must not break off what the first
    has set going.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -_SAME_WISH_S

    def leave(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SAME_WISH_S:
            return
        last = now
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    ours = [number for number, handler in before.items() if handler in usual]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Put off signals that would break off the cleaning up until it is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Blocking them would not do: the kernel would hand them to another thread, and Python
    # runs its handlers in the main one all the same.
    arrived: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])
