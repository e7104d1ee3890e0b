"""A network that lasts as long as a `with` block."""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from hipgw.errors import LabError, PlatformError
from hipgw.lab import stale
from hipgw.lab.host import Host, Nat, Router, Switch
from hipgw.platform.netlink import with_netlink
from hipgw.platform.netns import Namespace

Node = TypeVar("Node", bound=Host)

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_MAX_INTERFACE_NAME = 15


class Lab:
    """Hosts and links, gone at the end of the block: also after an error, SIGINT or SIGTERM.

    Inside the block SIGTERM and SIGHUP raise SystemExit (in the main thread), unless the program
    has handlers of its own.
    """

    def __init__(self, name: str, *, keep: bool = False) -> None:
        """*name* is of a-z, 0-9 and _; *keep* leaves the directory with the logs where it is."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise LabError(f"{name!r} is no name for a lab.", hint="Use a-z, 0-9 and _.")
        self.name = name
        self.hosts: dict[str, Host] = {}
        """Every host, router, NAT and switch by its name."""
        self._id = f"{name}-{os.getpid()}"
        self._keep = keep
        self._lock = -1
        self._exit = contextlib.ExitStack()

    @property
    def directory(self) -> Path:
        """Where logs, captures and configurations go; removed with the lab."""
        return stale.directory_of(self._id)

    def __enter__(self) -> Self:
        if os.geteuid():
            raise LabError("A lab needs network namespaces, so root.", hint="Try it with sudo.")
        stale.clean_stale()
        try:
            self._lock = stale.claim(self._id)
        except FileExistsError:
            raise LabError(
                f"This process has a lab {self.name} already, or kept its directory"
                f" {self.directory}.",
                hint="Give the second one another name.",
            ) from None
        self._exit.enter_context(_ending_signals_raise())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _signals_wait():
            for host in self.hosts.values():
                host.close()
            for host in self.hosts.values():
                stale.end_processes(host.namespace.name)
                host.namespace.delete()
            self.hosts.clear()
            if not self._keep:
                stale.remove(self._id)
            os.close(self._lock)
            self._exit.close()

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
        """Join two hosts by a cable and switch both ends on.

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

    # -- inside ----------------------------------------------------------------------------------

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
    """Let SIGTERM and SIGHUP raise SystemExit, so that `with` blocks are left in order."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
    ours = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Keep signals that would break off the cleaning up until it is done."""
    held = {signal.SIGINT, *_ENDING_SIGNALS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
