"""Sends and receives HIP packets: inside UDP, or by IP protocol 139."""

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping, Sequence

from hipgw.errors import PlatformError
from hipgw.logs import packet_path_logger
from hipgw.platform.routes import source_address
from hipgw.platform.sockets import receive_hip, receive_too_big, send_along, send_hip
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.wire.icmp import TooBig

BATCH = 64
"""Raw packets read before the event loop gets its turn again."""

ICMP_BATCH = 32
ICMP_PAUSE_S = 0.05
"""ICMP messages read at once, and how long none is read then: a flood of them costs little."""

# A stranger's I1 from a network that there is no way to is enough for one of these.
_log = packet_path_logger(__name__)


class ControlTransport:
    """The sockets of the control plane.

    What comes in over UDP is read by the data plane, which owns the receiving side of those
    sockets; here they only send. Raw sockets are read here.
    """

    def __init__(
        self,
        udp: Mapping[int, socket.socket],
        raw: Mapping[int, socket.socket],
        *,
        udp_port: int,
        icmp: Sequence[socket.socket] = (),
        interface_of: Callable[[IPAddress], int] = lambda _: 0,
        relayed: Mapping[tuple[int, int], socket.socket] | None = None,
    ) -> None:
        """*udp* and *raw* are keyed by IP version, 4 and 6; a family may be missing.

        *relayed* are the sockets of a data relay, by IP version and port.

        *icmp* are sockets of `sockets.open_icmp`. *interface_of* tells by which interface packets
        from an own address have to leave; 0 for where the routing table sends them.
        """
        self._interface_of = interface_of
        self.udp_port = udp_port
        self._icmp = tuple(icmp)
        self._sockets = {Transport.UDP: udp, Transport.RAW: raw}
        self._relayed = dict(relayed or {})
        self.send_errors = 0

    @staticmethod
    def source_address(remote: IPAddress) -> IPAddress | None:
        """The own address that packets to *remote* leave from; None without a route."""
        return source_address(remote)

    def send(self, data: bytes, path: Path, *, dont_fragment: bool = False) -> None:
        """Send one HIP packet. A failure is counted and logged: HIP repeats what matters.

        *dont_fragment* marks a probe: that it is too large even for the own link is no failure.
        """
        version = path.remote.version
        sock = self._sockets[path.transport].get(version)
        if path.transport is Transport.UDP:
            sock = self._relayed.get((version, path.local_port), sock)
        try:
            if sock is None:
                raise PlatformError(f"This machine has no IPv{version} sockets.")
            interface = 0 if path.local is None else self._interface_of(path.local)
            send_hip(sock, data, path, dont_fragment=dont_fragment, interface=interface)
        except (PlatformError, OSError) as error:
            if dont_fragment and getattr(error, "errno", None) == errno.EMSGSIZE:
                return
            self.send_errors += 1
            _log.warning("cannot send to %s: %s", path.remote, error)

    def send_stun(self, message: bytes, path: Path) -> None:
        """Send a STUN message from HIP's own UDP port. A failure is counted: STUN repeats it."""
        sock = self._sockets[Transport.UDP].get(path.remote.version)
        try:
            if sock is None:
                raise PlatformError(f"This machine has no IPv{path.remote.version} sockets.")
            interface = 0 if path.local is None else self._interface_of(path.local)
            send_along(sock, message, path, interface=interface)
        except (PlatformError, OSError) as error:
            self.send_errors += 1
            _log.info("cannot send a STUN message to %s: %s", path.remote, error)

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[bytes, Path], None],
        too_big: Callable[[TooBig], None],
    ) -> None:
        """Read the raw sockets from now on."""
        for sock in self._icmp:
            loop.add_reader(sock, self._icmp_readable, loop, sock, too_big)
        for sock in self._sockets[Transport.RAW].values():
            loop.add_reader(sock, self._readable, sock, received)

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close all sockets."""
        for sock in self._icmp:
            loop.remove_reader(sock)
            sock.close()
        for sock in self._sockets[Transport.RAW].values():
            loop.remove_reader(sock)
        for sock in self._relayed.values():
            sock.close()
        for sockets in self._sockets.values():
            for sock in sockets.values():
                sock.close()

    @classmethod
    def _icmp_readable(
        cls,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        too_big: Callable[[TooBig], None],
    ) -> None:
        for _ in range(ICMP_BATCH):
            try:
                message = receive_too_big(sock)
            except OSError:  # nothing more waits
                return
            if message is not None:
                too_big(message)
        loop.remove_reader(sock)

        def go_on() -> None:
            if sock.fileno() >= 0:
                loop.add_reader(sock, cls._icmp_readable, loop, sock, too_big)

        loop.call_later(ICMP_PAUSE_S, go_on)

    @staticmethod
    def _readable(sock: socket.socket, received: Callable[[bytes, Path], None]) -> None:
        for _ in range(BATCH):
            try:
                packet = receive_hip(sock)
            except BlockingIOError:
                return
            except OSError as error:
                # An ICMP error of an earlier packet surfaces here; the socket goes on.
                _log.debug("raw socket: %s", error)
                continue
            if packet is not None:
                received(*packet)
