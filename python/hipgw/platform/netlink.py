"""The one door to pyroute2: a netlink socket in the network namespace of the calling thread."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from hipgw.errors import PlatformError
from hipgw.platform.threads import in_thread

Result = TypeVar("Result")

Netlink = Any
"""A pyroute2 `IPRoute`; its methods are made at run time, so they have no types."""


def with_netlink(action: Callable[[Netlink], Result]) -> Result:
    """Run *action* with an open routing netlink socket and return what it returns.

    pyroute2 drives its socket with an asyncio loop of its own, which cannot run inside another
    one (and uvloop cannot drive netlink at all). Where a loop runs already, a helper thread does
    the work; it inherits the caller's network namespace.

    Raises `pyroute2.netlink.exceptions.NetlinkError` as the kernel answered; the functions of this
    room turn it into `PlatformError` where they know what was asked for.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(action)
    return in_thread(_run, action)


def _run(action: Callable[[Netlink], Result]) -> Result:
    # A selector loop by name: the policy may say uvloop, which refuses netlink sockets.
    loop = asyncio.SelectorEventLoop()
    try:
        with IPRoute(use_event_loop=loop) as netlink:
            return action(netlink)
    finally:
        loop.close()


def refused(what: str, error: NetlinkError | OSError) -> PlatformError:
    """Say in a `PlatformError` that the kernel refused *what*, with a hint if one is known."""
    code = getattr(error, "code", None) or getattr(error, "errno", None) or 0
    hints = {
        errno.EPERM: "CAP_NET_ADMIN is needed: run as root or give the service that capability.",
        errno.EACCES: "CAP_NET_ADMIN is needed: run as root or give the service that capability.",
        errno.EOPNOTSUPP: "This kernel was built without support for it.",
        errno.ENODEV: "There is no such interface.",
    }
    text = errno.errorcode.get(code, str(code))
    detail = str(error.args[1]) if len(error.args) > 1 else str(error)
    return PlatformError(f"{what}: {detail} ({text})", hint=hints.get(code, ""))
