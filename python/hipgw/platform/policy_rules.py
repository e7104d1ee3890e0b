"""Makes and removes routes and rules in routing tables of hipgw's own."""

import errno
import logging
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from hipgw.platform.netlink import Netlink, refused, with_netlink
from hipgw.platform.rtnetlink import (
    OWN_ORIGIN,
    SCOPE_LINK,
    Rule,
    TableRoute,
    take_snapshot,
)
from hipgw.platform.source_routes import Entry, SourceRoutes, changes, present

_RTNH_F_ONLINK = 4
_NOT_ALLOWED = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT}
_GONE = {errno.ESRCH, errno.ENOENT, errno.ENODEV}

_log = logging.getLogger(__name__)


def make(entries: Iterable[Entry]) -> list[Entry]:
    """Make routes and rules in this order; returns those that the kernel refused.

    An interface may have gone meanwhile, and a gateway with it: that is logged. Raises
    PlatformError if the kernel would take none at all.
    """
    return _perform("add", entries)


def remove(entries: Iterable[Entry]) -> None:
    """Remove routes and rules in this order. Those that are gone already are passed over.

    Raises PlatformError like `make`.
    """
    _perform("del", entries)


def flush(tables: range) -> None:
    """Remove everything of hipgw's own from its tables, and the rules that lead there.

    Raises PlatformError.
    """
    there = present(take_snapshot(tables), tables)
    remove(changes(SourceRoutes(), there).remove)


def _perform(verb: str, entries: Iterable[Entry]) -> list[Entry]:
    entries = tuple(entries)
    failed: list[Entry] = []

    def work(ip: Netlink) -> None:
        for entry in entries:
            try:
                if isinstance(entry, Rule):
                    ip.rule(verb, **_rule_options(entry))
                else:
                    ip.route("replace" if verb == "add" else verb, **_route_options(entry))
            except NetlinkError as error:
                if error.code in _NOT_ALLOWED:
                    raise refused("Routing by source address", error) from error
                if error.code == errno.EEXIST or (verb == "del" and error.code in _GONE):
                    continue
                failed.append(entry)
                _log.info("routing by source address: %s: %s", entry, error)

    if entries:
        with_netlink(work)
    return failed


def _route_options(route: TableRoute) -> dict[str, Any]:
    options: dict[str, Any] = {
        "family": _family(route.version),
        "table": route.table,
        "dst": f"{ip_address(route.destination)}/{route.length}",
        "oif": route.interface,
        "proto": OWN_ORIGIN,
    }
    if route.metric:
        options["priority"] = route.metric
    if route.mtu:
        options["metrics"] = {"mtu": route.mtu}
    if route.onlink:
        options["flags"] = _RTNH_F_ONLINK
    gateway = route.gateway
    if gateway is None:
        if route.version == 4:
            options["scope"] = SCOPE_LINK
    elif gateway.version == route.version:
        options["gateway"] = str(gateway)
    else:
        options["via"] = {"family": _family(gateway.version), "addr": str(gateway)}
    return options


def _rule_options(rule: Rule) -> dict[str, Any]:
    options: dict[str, Any] = {
        "family": _family(rule.version),
        "src": str(rule.source),
        "table": rule.table,
        "priority": rule.priority,
        "protocol": OWN_ORIGIN,
        "ip_proto": rule.ip_protocol,
    }
    if rule.source_port:
        options["sport_range"] = f"{rule.source_port}:{rule.source_port}"
    return options


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6
