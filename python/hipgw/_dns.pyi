"""Compiled from cython/_dns.pyx; `hipgw.naming.dns.octets` is what it looks at, in Python."""

import socket
from collections.abc import Callable

from hipgw.naming.dns.answer_cache import AnswerCache
from hipgw.naming.dns.forwarder import DnsStatistics

def asks_below(data: bytes, suffix: bytes) -> bool: ...
def answers(data: bytes, query: bytes) -> bool: ...
def host_of(client: bytes) -> str: ...

class Pending:
    query: bytes
    client: bytes
    due: float
    attempt: int
    def __init__(self, query: bytes, client: bytes, due: float) -> None: ...

class Port:
    sock: socket.socket
    server: int
    until: float
    left: int
    pending: dict[int, Pending]
    def __init__(self, sock: socket.socket, server: int, until: float, left: int) -> None: ...
    def close(self) -> None: ...

class QueryPath:
    ports: list[Port]
    waiting: int
    sock: socket.socket
    cache: AnswerCache | None
    statistics: DnsStatistics
    def __init__(
        self,
        sock: socket.socket,
        suffix: bytes,
        cache: AnswerCache | None,
        statistics: DnsStatistics,
        allowed: Callable[[str], bool],
        look_up: Callable[[bytes, bytes], None],
    ) -> None: ...
    def forward_by(
        self,
        forward: Callable[[bytes, bytes], None],
        prefer: Callable[[int], None],
        refused: Callable[[Port | None, int], None],
        spread: int,
        waiting_max: int,
        patience_s: float,
    ) -> None: ...
    def close(self) -> None: ...
    def draw(self) -> int: ...
    def reply(self, client: bytes, answer: bytes) -> int: ...
    def receive_queries(self) -> None: ...
    def receive_answers(self, port: Port) -> None: ...
