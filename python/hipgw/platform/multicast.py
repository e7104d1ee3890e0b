"""Membership in an IPv4 multicast group, for sockets that others have."""

import contextlib
import socket
import struct
from ipaddress import IPv4Address

from hipgw.errors import PlatformError
from hipgw.platform import routes

TTL = 64
"""Of what is sent to a group: as far as routers carry it, as OpenHIP has it."""

_IP_MREQN = struct.Struct("@4s4si")


class GroupMembership:
    """Keeps this machine in a group on one interface at a time.

    A raw socket gets what comes to any group that the machine is in, so the one that holds the
    membership need not be the one that receives.
    """

    def __init__(self, group: IPv4Address) -> None:
        self._group = group
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._interface = 0

    def join(self, local: IPv4Address) -> int:
        """Be in the group where an own address is, and nowhere else; returns the interface.

        Raises PlatformError.
        """
        interface = routes.interface_index(local)
        if interface == self._interface:
            return interface
        if self._interface:
            # The interface may be gone, and the membership with it.
            with contextlib.suppress(OSError):
                self._change(socket.IP_DROP_MEMBERSHIP, self._interface)
            self._interface = 0
        try:
            self._change(socket.IP_ADD_MEMBERSHIP, interface)
        except OSError as error:
            raise PlatformError(
                f"The multicast group {self._group} cannot be joined: {error.strerror}."
            ) from error
        self._interface = interface
        return interface

    def close(self) -> None:
        """Leave the group."""
        self._socket.close()

    def _change(self, option: int, interface: int) -> None:
        request = _IP_MREQN.pack(self._group.packed, bytes(4), interface)
        self._socket.setsockopt(socket.IPPROTO_IP, option, request)


def prepare_to_send(sock: socket.socket) -> None:
    """Have a socket send to groups so far as routers carry it, and not back to this machine."""
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
