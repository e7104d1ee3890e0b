"""The kernel's own ESP: security associations and policies in BEET mode, by NETLINK_XFRM.

The mode is "bound end-to-end tunnel" (RFC 7402 appendix B): the addresses inside, here a pair of
HITs, are those of the security association's selector and are never sent.
"""

import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from typing import Any

from hipgw.errors import PlatformError
from hipgw.platform import xfrm_messages as m
from hipgw.platform.netlink_socket import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkSocket,
    split,
)
from hipgw.platform.xfrm_codec import (
    ATTRIBUTES_OFFSET,
    ESP,
    concerns,
    moved_message,
    parse_counters,
    parse_event,
    policy_message,
    redacted,
    route_message,
    sa_id,
    sa_message,
    selector,
    unpacked,
)
from hipgw.platform.xfrm_values import Counters, Event, IPAddress, Policy, State

REPLACE_TRIES = 3
_NETLINK_ROUTE, _NETLINK_XFRM = 0, 6
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1

_log = logging.getLogger(__name__)


class Xfrm:
    """Requests to the kernel, in the network namespace of the thread that made it.

    Every method raises OSError as the kernel answered.
    """

    def __init__(self) -> None:
        try:
            self._xfrm = NetlinkSocket(_NETLINK_XFRM)
        except OSError as error:
            raise PlatformError(
                f"This kernel has no XFRM: {error.strerror}.",
                hint='`esp.backend = "engine"` needs none.',
            ) from error
        self._route = NetlinkSocket(_NETLINK_ROUTE)

    def close(self) -> None:
        """Close the sockets; what was installed stays."""
        self._xfrm.close()
        self._route.close()

    # -- security associations -----------------------------------------------------------------

    def add(self, state: State) -> None:
        """Install a security association; OSError(EEXIST) if there is one of its name."""
        self.add_message(sa_message(state))

    def remove(self, destination: IPAddress, spi: int) -> None:
        """Remove a security association; OSError(ESRCH) if there is none."""
        self._xfrm.request(m.XFRM_MSG_DELSA, sa_id(destination, spi))

    def replace(
        self,
        destination: IPAddress,
        spi: int,
        *,
        new_source: IPAddress,
        new_destination: IPAddress,
        ports: tuple[int, int] | None,
        skip: int = 0,
        keep_old: bool = False,
    ) -> Counters:
        """Give a security association other outer addresses or ports.

        The kernel has no way to change them, so another one of the same keys takes its place, with
        its sequence numbers and replay window; *skip* sequence numbers are left out, for packets
        that the old one sends meanwhile. With *keep_old* the old one stays, if their names differ,
        until the caller has turned its policy to the new one.

        Returns what the old one has carried; the new one counts from zero. Raises PlatformError
        where the kernel does not give the keys out.
        """
        answer = self._xfrm.get(m.XFRM_MSG_GETSA, sa_id(destination, spi))
        if redacted(answer):
            raise PlatformError(
                "The kernel does not tell keys (it is locked down), so a security association"
                " cannot be moved.",
                hint='`esp.backend = "engine"` can.',
            )
        fresh = moved_message(answer, new_source, new_destination, ports, skip)
        if destination == new_destination or not keep_old:
            # First the old one: what it opens from now on, the new one would open again.
            self.remove(destination, spi)
        for _ in range(REPLACE_TRIES):
            try:
                self.add_message(fresh)
                break
            except FileExistsError:
                # A packet came between, for which the kernel has made a place holder.
                self.remove(new_destination, spi)
        else:
            self.add_message(fresh)
        return parse_counters(answer)

    def add_message(self, message: Any) -> None:
        """Install what `sa_message` made."""
        self._xfrm.request(m.XFRM_MSG_NEWSA, message, NLM_F_CREATE | NLM_F_EXCL)

    def counters(self, destination: IPAddress, spi: int) -> Counters:
        """What one has carried; OSError(ESRCH) if there is none."""
        return parse_counters(self._xfrm.get(m.XFRM_MSG_GETSA, sa_id(destination, spi)))

    def all_counters(self) -> Iterator[Counters]:
        """What all of ESP have carried, also those of others."""
        message = m.xfrm_sa_dump()
        message["attrs"] = [("XFRMA_PROTO", ESP)]
        for answer in self._xfrm.dump(m.XFRM_MSG_GETSA, message):
            if len(answer) >= ATTRIBUTES_OFFSET:
                yield parse_counters(answer)

    # -- policies --------------------------------------------------------------------------------

    def set_policy(self, policy: Policy) -> None:
        """Install a policy, or replace the one of the same selector and direction."""
        self._xfrm.request(m.XFRM_MSG_UPDPOLICY, policy_message(policy))

    def remove_policy(self, policy: Policy) -> None:
        """Remove the policy of the same selector and direction; OSError(ENOENT) without."""
        message = m.xfrm_userpolicy_id()
        message.update({**selector(policy.source, policy.destination), "index": 0})
        message["dir"] = policy.direction
        self._xfrm.request(m.XFRM_MSG_DELPOLICY, message)

    # -- routes ------------------------------------------------------------------------------------

    def set_route(
        self, destination: IPv6Address, interface: int, source: IPv6Address, mtu: int
    ) -> None:
        """Route one address by an interface, with an MTU that its packets keep to."""
        message = route_message(destination, interface)
        message["attrs"] += [
            ("RTA_PREFSRC", str(source)),
            ("RTA_METRICS", {"attrs": [("RTAX_MTU", mtu)]}),
        ]
        self._route.request(_RTM_NEWROUTE, message, NLM_F_CREATE | NLM_F_REPLACE)

    def remove_route(self, destination: IPv6Address, interface: int) -> None:
        """Remove what `set_route` made; OSError(ESRCH) without."""
        self._route.request(_RTM_DELROUTE, route_message(destination, interface))

    # -- cleaning up -------------------------------------------------------------------------------

    def sweep(self, local: IPv6Address, others: IPv6Network) -> int:
        """Remove all that has *local* at one end inside and one of *others* at the other.

        Returns how many security associations and policies that were.
        """
        count = 0
        for answer in self._xfrm.dump(m.XFRM_MSG_GETPOLICY, m.xfrm_userpolicy_id()):
            policy = m.xfrm_userpolicy_info(answer)
            policy.decode()
            if concerns(policy, local, others):
                message = m.xfrm_userpolicy_id()
                message.update(
                    {
                        name: policy[name]
                        for name, kind in message.fields
                        if kind[-1] != "x" and name in policy
                    }
                )
                with contextlib.suppress(FileNotFoundError):
                    self._xfrm.request(m.XFRM_MSG_DELPOLICY, message)
                    count += 1
        for answer in self._xfrm.dump(m.XFRM_MSG_GETSA, m.xfrm_sa_dump()):
            state = m.xfrm_usersa_info(answer)
            state.decode()
            if state["mode"] == m.XFRM_MODE_BEET and concerns(state, local, others):
                destination = unpacked(state["id_daddr"], state["family"])
                with contextlib.suppress(ProcessLookupError):
                    self.remove(destination, state["id_spi"])
                    count += 1
        return count


class XfrmEvents:
    """What the kernel tells of security associations by itself."""

    GROUPS = (m.XFRMNLGRP_ACQUIRE, m.XFRMNLGRP_EXPIRE, m.XFRMNLGRP_MAPPING)

    def __init__(self) -> None:
        """Raises OSError."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_XFRM)
        self._socket.bind((0, 0))
        for group in self.GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """A file descriptor that is readable while events wait."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def receive(self) -> list[Event]:
        """Take some of the events that wait, oldest first; events of other programs among them."""
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                _log.info("the kernel told more of its security associations than could be read")
                return []
            raise
        return [event for _, kind, body in split(data) if (event := parse_event(kind, body))]
