"""Passes queries by UDP on to real name servers, and their answers back, octet for octet.

Only the transaction id changes on the way, and the port: each query leaves by one of several
sockets, connected to one server, with an id and at a port that nobody can foretell (RFC 5452 §9.2).
Sockets are replaced after some thousand queries, or a minute. What comes back is taken from that
server, with that id and that question alone.

What happens for every datagram is in `hipgw._dns.QueryPath`; here is what does not: sockets that
come and go, servers that are silent or not there.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from hipgw._dns import Pending, Port, QueryPath, host_of
from hipgw.logs import packet_path_logger
from hipgw.naming.dns.octets import server_failure
from hipgw.naming.dns.servers import NameServer

_SOCKETS = 4
"""Of each server."""
_QUERIES_PER_SOCKET = 4000
_SOCKET_AGE_S = 60.0
"""A port that is known is half of the way to a forged answer."""
_PENDING_MAX = 8192
"""Queries under way; what comes on top is dropped, and asked again by its sender."""
_PATIENCE_S = 1.5
"""Until the next server is tried."""
_TICK_S = 0.25
_ROUNDS = 2
"""How often each server is tried."""
_RECEIVE_BUFFER_OCTETS = 1 << 20
_GONE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM)

_log = logging.getLogger(__name__)
_packet_log = packet_path_logger(__name__ + ".packets")

Client = bytes
"""Where a query came from: a socket address as the kernel has it."""


@dataclass(slots=True)
class DnsStatistics:
    """What became of queries."""

    local: int = 0
    """Those below the suffix."""
    forwarded: int = 0
    cached: int = 0
    """Answered as before, without asking."""
    answered: int = 0
    """By name servers."""
    retried: int = 0
    failed: int = 0
    """Answered with SERVFAIL, as no name server did."""
    dropped: int = 0
    """Too many at once."""
    not_asked_for: int = 0
    """Datagrams from a server that answer nothing: late ones, or forged ones."""


class UdpForwarder:
    """Not to be used before `start`, on the running loop."""

    def __init__(self, path: QueryPath) -> None:
        """*path*: of queries from clients, and of answers back to them."""
        self._path = path
        path.forward_by(
            self._forward, self._prefer, self._refused, _SOCKETS, _PENDING_MAX, _PATIENCE_S
        )
        self._servers: tuple[NameServer, ...] = ()
        self._ports: list[list[Port]] = []
        """Of each server."""
        self._retired: list[Port] = []
        """Replaced, but with queries under way."""
        self._preferred = 0
        """The server that is asked first: the last one that answered when others did not."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look after what is under way."""
        self._loop = loop
        self._tick = loop.call_later(_TICK_S, self._look_after)

    def stop(self) -> None:
        """Close everything; nothing is answered any more."""
        if self._tick is not None:
            self._tick.cancel()
        self._close_ports()
        self._loop = None

    def use(self, servers: tuple[NameServer, ...]) -> None:
        """Ask these from now on, the first one first; what is under way is given up."""
        if servers == self._servers:
            return
        self._close_ports()
        self._servers = servers
        self._ports = [[] for _ in servers]
        self._prefer(0)
        if self._path.cache is not None:
            self._path.cache.clear()

    @property
    def server(self) -> NameServer | None:
        """The server that is asked first."""
        return self._servers[self._preferred] if self._servers else None

    def servers_in_turn(self) -> Iterator[NameServer]:
        """All of them, the preferred one first."""
        for n in range(len(self._servers)):
            yield self._servers[(self._preferred + n) % len(self._servers)]

    # -- towards servers -----------------------------------------------------------------------

    def _forward(self, query: bytes, client: Client) -> None:
        """Have a query answered by a server."""
        assert self._loop is not None
        statistics = self._path.statistics
        if self._path.waiting >= _PENDING_MAX:
            statistics.dropped += 1
            return
        statistics.forwarded += 1
        self._send(Pending(query, client, self._loop.time() + _PATIENCE_S))

    def _prefer(self, server: int) -> None:
        self._preferred = server
        self._path.ports = self._ports[server] if self._ports else []

    def _send(self, pending: Pending) -> None:
        while pending.attempt < _ROUNDS * len(self._servers):
            server = (self._preferred + pending.attempt) % len(self._servers)
            try:
                # Both of one draw: which socket, and the transaction id.
                draw = self._path.draw()
                port = self._port_of(server, draw)
                number = draw & 0xFFFF
                while number in port.pending:
                    number = (number + 1) & 0xFFFF
                # Sending may find that an earlier query was refused; one more try tells.
                message = number.to_bytes(2, "big") + pending.query[2:]
                try:
                    port.sock.send(message)
                except ConnectionRefusedError:
                    self._listen(port)
                    port.sock.send(message)
            except OSError as error:
                self._trouble(server, error)
                pending.attempt += 1
                continue
            port.pending[number] = pending
            self._path.waiting += 1
            return
        self._path.statistics.failed += 1
        self.reply(pending.client, server_failure(pending.query))

    def reply(self, client: Client, answer: bytes) -> None:
        """Send an answer to a client."""
        error = self._path.reply(client, answer)
        if error:
            # A client that does not wait for the answer any more, or a full buffer.
            _packet_log.debug("cannot answer %s: %s", host_of(client), os.strerror(error))

    def _port_of(self, server: int, draw: int) -> Port:
        ports = self._ports[server]
        if len(ports) < _SOCKETS:
            port = self._open(server)
            ports.append(port)
            return port
        place = (draw >> 16) % _SOCKETS
        port = ports[place]
        port.left -= 1
        if port.left <= 0:
            self._retired.append(port)
            port = ports[place] = self._open(server)
        return port

    def _open(self, server: int) -> Port:
        assert self._loop is not None
        where = self._servers[server]
        family = socket.AF_INET if where.address.version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_OCTETS)
            sock.connect((str(where.address), where.port))
        except OSError:
            sock.close()
            raise
        port = Port(sock, server, self._loop.time() + _SOCKET_AGE_S, _QUERIES_PER_SOCKET)
        self._listen(port)
        return port

    def _listen(self, port: Port) -> None:
        """Hear what comes to a socket, from now on or again.

        After an ICMP error libuv watches a socket no longer, whether or not anybody has seen it.
        """
        assert self._loop is not None
        file = port.sock.fileno()
        # Otherwise nothing begins anew: the loop believes that it watches.
        self._loop.remove_reader(file)
        self._loop.add_reader(file, self._path.receive_answers, port)

    # -- from servers ----------------------------------------------------------------------------

    def _refused(self, port: Port | None, error: int) -> None:
        """Nobody is there: all that waits on this socket is asked elsewhere at once."""
        if port is None:
            _packet_log.warning("cannot receive DNS queries: %s", os.strerror(error))
            return
        self._listen(port)
        self._trouble(port.server, OSError(error, os.strerror(error)))
        waiting = list(port.pending.values())
        self._path.waiting -= len(waiting)
        port.pending.clear()
        for pending in waiting:
            self._again(pending)

    def _again(self, pending: Pending) -> None:
        assert self._loop is not None
        self._path.statistics.retried += 1
        pending.attempt += 1
        pending.due = self._loop.time() + _PATIENCE_S
        self._send(pending)

    def _trouble(self, server: int, error: OSError) -> None:
        if error.errno not in _GONE:
            _packet_log.warning("name server %s: %s", self._servers[server], error.strerror)

    # -- housekeeping ------------------------------------------------------------------------------

    def _look_after(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        late: list[Pending] = []
        for port in [port for ports in self._ports for port in ports] + self._retired:
            before = len(late)
            # They wait in the order of their coming, but for a few that were tried again.
            for number, pending in list(port.pending.items()):
                if pending.due > now:
                    break
                del port.pending[number]
                late.append(pending)
            if len(late) > before:
                # Perhaps something else has taken the error that has ended the watch.
                self._listen(port)
        self._path.waiting -= len(late)
        for pending in late:
            self._again(pending)
        for ports in self._ports:
            for port in [port for port in ports if port.until < now]:
                ports.remove(port)
                self._retired.append(port)
        for port in [port for port in self._retired if not port.pending]:
            self._retired.remove(port)
            self._close(port)
        self._tick = self._loop.call_later(_TICK_S, self._look_after)

    def _close_ports(self) -> None:
        for port in [port for ports in self._ports for port in ports] + self._retired:
            self._close(port)
        self._ports = [[] for _ in self._servers]
        self._prefer(self._preferred)
        self._retired.clear()
        self._path.waiting = 0

    def _close(self, port: Port) -> None:
        if self._loop is not None:
            self._loop.remove_reader(port.sock.fileno())
        port.close()
