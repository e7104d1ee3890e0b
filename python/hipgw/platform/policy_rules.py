"""Makes and removes routes and rules in routing tables of hipgw's own.

A handover waits for this, so the messages are pyroute2's, but its sockets are not used.
"""

import errno
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from hipgw.platform.netlink import refused
from hipgw.platform.netlink_socket import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkSocket
from hipgw.platform.rtnetlink import (
    OWN_ORIGIN,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    Rule,
    TableRoute,
    take_snapshot,
)
from hipgw.platform.source_routes import Entry, SourceRoutes, changes, present

_NETLINK_ROUTE = 0
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_NEWRULE, _RTM_DELRULE = 24, 25, 32, 33
_RTN_UNICAST = _FR_ACT_TO_TBL = 1
_RTNH_F_ONLINK = 4
_TABLE_COMPAT = 252
"""What stands in place of a number above 255; an attribute has that."""
_NOT_ALLOWED = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT}
_GONE = {errno.ESRCH, errno.ENOENT, errno.ENODEV}

_log = logging.getLogger(__name__)


def make(entries: Iterable[Entry]) -> list[Entry]:
    """Make routes and rules in this order; returns those that the kernel refused.

    An interface may have gone meanwhile, and a gateway with it: that is logged. Raises
    PlatformError if the kernel would take none at all.
    """
    return _perform(entries, _make)


def remove(entries: Iterable[Entry]) -> None:
    """Remove routes and rules in this order. Those that are gone already are passed over.

    Raises PlatformError like `make`.
    """
    _perform(entries, _remove)


def flush(tables: range) -> None:
    """Remove everything of hipgw's own from its tables, and the rules that lead there.

    Raises PlatformError.
    """
    there = present(take_snapshot(tables), tables)
    remove(changes(SourceRoutes(), there).remove)


def _perform(entries: Iterable[Entry], act: Callable[[NetlinkSocket, Entry], None]) -> list[Entry]:
    entries = tuple(entries)
    failed: list[Entry] = []
    if not entries:
        return failed
    with closing(NetlinkSocket(_NETLINK_ROUTE)) as kernel:
        for entry in entries:
            try:
                act(kernel, entry)
            except OSError as error:
                if error.errno in _NOT_ALLOWED:
                    raise refused("Routing by source address", error) from error
                failed.append(entry)
                _log.info("routing by source address: %s: %s", entry, error.strerror)
    return failed


def _make(kernel: NetlinkSocket, entry: Entry) -> None:
    if isinstance(entry, TableRoute):
        kernel.request(_RTM_NEWROUTE, _route_message(entry), NLM_F_CREATE | NLM_F_REPLACE)
        return
    with suppress(FileExistsError):
        kernel.request(_RTM_NEWRULE, _rule_message(entry), NLM_F_CREATE | NLM_F_EXCL)


def _remove(kernel: NetlinkSocket, entry: Entry) -> None:
    try:
        if isinstance(entry, TableRoute):
            kernel.request(_RTM_DELROUTE, _route_message(entry))
        else:
            kernel.request(_RTM_DELRULE, _rule_message(entry))
    except OSError as error:
        if error.errno not in _GONE:
            raise


def _route_message(route: TableRoute) -> Any:
    gateway = route.gateway
    attributes: list[tuple[str, Any]] = [("RTA_TABLE", route.table), ("RTA_OIF", route.interface)]
    if route.length:
        attributes.append(("RTA_DST", str(ip_address(route.destination))))
    if route.metric:
        attributes.append(("RTA_PRIORITY", route.metric))
    if route.mtu:
        attributes.append(("RTA_METRICS", {"attrs": [("RTAX_MTU", route.mtu)]}))
    if gateway is not None and gateway.version == route.version:
        attributes.append(("RTA_GATEWAY", str(gateway)))
    elif gateway is not None:
        via = {"family": _family(gateway.version), "addr": str(gateway)}
        attributes.append(("RTA_VIA", via))
    message = rtmsg()
    message.update(
        {
            "family": _family(route.version),
            "dst_len": route.length,
            "table": _TABLE_COMPAT,
            "proto": OWN_ORIGIN,
            "scope": SCOPE_LINK if gateway is None and route.version == 4 else SCOPE_UNIVERSE,
            "type": _RTN_UNICAST,
            "flags": _RTNH_F_ONLINK if route.onlink else 0,
        }
    )
    message["attrs"] = attributes
    return message


def _rule_message(rule: Rule) -> Any:
    attributes: list[tuple[str, Any]] = [
        ("FRA_TABLE", rule.table),
        ("FRA_PRIORITY", rule.priority),
        ("FRA_SRC", str(rule.source)),
        ("FRA_PROTOCOL", OWN_ORIGIN),
        ("FRA_IP_PROTO", rule.ip_protocol),
    ]
    if rule.source_port:
        attributes.append(("FRA_SPORT_RANGE", f"{rule.source_port}:{rule.source_port}"))
    message = fibmsg()
    message.update(
        {
            "family": _family(rule.version),
            "src_len": 32 if rule.version == 4 else 128,
            "table": _TABLE_COMPAT,
            "action": _FR_ACT_TO_TBL,
        }
    )
    message["attrs"] = attributes
    return message


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6
