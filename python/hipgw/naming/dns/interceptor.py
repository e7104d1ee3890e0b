"""A name server for this machine: it answers names under `.hip`, and passes on all the rest."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from hipgw._dns import QueryPath
from hipgw.errors import NamingError
from hipgw.logs import packet_path_logger
from hipgw.naming.dns.answer_cache import AnswerCache
from hipgw.naming.dns.forwarder import Client, DnsStatistics, UdpForwarder
from hipgw.naming.dns.hip_answers import HipAnswers, Lookup
from hipgw.naming.dns.octets import suffix_octets
from hipgw.naming.dns.servers import NameServer
from hipgw.naming.dns.tcp_server import TcpServer

_LOOKUPS_MAX = 256
"""Queries for names under the suffix that are answered at the same time."""
_RECEIVE_BUFFER_OCTETS = 1 << 20
_STRANGERS_MAX = 1024

_log = logging.getLogger(__name__)
_packet_log = packet_path_logger(__name__ + ".packets")


@dataclass(frozen=True, slots=True)
class InterceptorSettings:
    """How names are answered."""

    address: IPv4Address | IPv6Address
    port: int = 53
    suffix: str = "hip"
    ttl_s: int = 60
    """Of answers below the suffix."""
    cache_max: int = 10000
    """Answers of name servers that are kept."""


class Interceptor:
    """One address and port of this machine, by UDP and TCP. Clients are of this machine alone."""

    def __init__(self, settings: InterceptorSettings, lookup: Lookup) -> None:
        """Bind both sockets; raises NamingError if that is not allowed or the port is taken."""
        self.settings = settings
        self._suffix = suffix_octets(settings.suffix)
        self._udp, self._listening = _bind(settings)
        self._path = QueryPath(
            self._udp,
            self._suffix,
            AnswerCache(settings.cache_max) if settings.cache_max else None,
            DnsStatistics(),
            self._allowed,
            self._look_up,
        )
        self._forwarder = UdpForwarder(self._path)
        self._answers = HipAnswers(settings.suffix, lookup, settings.ttl_s)
        self._tcp = TcpServer(
            self._suffix, self._answers.answer, self._forwarder.servers_in_turn, self._allowed
        )
        self._own = str(settings.address)
        self._known: dict[str, bool] = {}
        self._lookups: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def statistics(self) -> DnsStatistics:
        """What became of queries."""
        return self._path.statistics

    def use(self, servers: Sequence[NameServer]) -> None:
        """Pass queries on to these servers from now on."""
        settings = self.settings
        # Ourselves we would ask for ever.
        others = tuple(
            server
            for server in servers
            if (server.address, server.port) != (settings.address, settings.port)
        )
        self._forwarder.use(others)

    async def start(self) -> None:
        """Begin to answer, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._forwarder.start(self._loop)
        self._loop.add_reader(self._udp.fileno(), self._path.receive_queries)
        await self._tcp.start(self._listening)

    async def stop(self) -> None:
        """Answer nothing any more."""
        if self._loop is not None:
            self._loop.remove_reader(self._udp.fileno())
            self._forwarder.stop()
        await self._tcp.stop()
        for task in list(self._lookups):
            task.cancel()
        self.close()

    def close(self) -> None:
        """Give the port back; for an interceptor that was not started."""
        self._path.close()
        self._listening.close()

    def _look_up(self, query: bytes, client: Client) -> None:
        if len(self._lookups) >= _LOOKUPS_MAX:
            self.statistics.dropped += 1
            return
        self.statistics.local += 1
        task = asyncio.ensure_future(self._look_up_and_reply(query, client))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up_and_reply(self, query: bytes, client: Client) -> None:
        try:
            answer = await self._answers.answer(query)
        except Exception:
            # A fault of ours must not go unseen, as those of tasks do.
            _packet_log.exception("DNS query")
            return
        if answer is not None:
            self._forwarder.reply(client, answer)

    def _allowed(self, client: str) -> bool:
        """Whether it asks from this machine: peers that can reach an LSI are not served."""
        known = self._known.get(client)
        if known is None:
            if len(self._known) >= _STRANGERS_MAX:
                self._known.clear()
            known = client == self._own or ip_address(client).is_loopback
            self._known[client] = known
        return known


def _bind(settings: InterceptorSettings) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET if settings.address.version == 4 else socket.AF_INET6
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    udp = socket.socket(family, socket.SOCK_DGRAM | flags)
    tcp = socket.socket(family, socket.SOCK_STREAM | flags)
    try:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_OCTETS)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        where = (str(settings.address), settings.port)
        udp.bind(where)
        tcp.bind(where)
        tcp.listen(16)
    except OSError as error:
        udp.close()
        tcp.close()
        raise NamingError(
            f"Names cannot be answered at {settings.address}, port {settings.port}:"
            f" {error.strerror}.",
            hint="Another name server may be there: `dns.listen` chooses another address.",
        ) from None
    return udp, tcp
