"""Very many clients of a rendezvous server, played by one process, and those who call them.

    python -m measures.crowd SERVER HIT CLIENTS FILE RATE...

Every client has a key, an address and a HIP machine's whole way of registering; only then it is
silent. Once FILE is there, calls come at each rate in turn for some seconds. Tells what it did, in
lines of JSON: {"registered": …}, then {"asked", "sent", "arrived", "seconds"} for each rate.
"""

import json
import multiprocessing
import os
import random
import select
import socket
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path as FilePath

from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.puzzle import search
from hipgw.platform import sockets
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import RegistrationChanged, SendDatagram, SolvePuzzle
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import HIP_UDP_PORT, Path, Transport
from hipgw.protocol.r1_pool import R1Pool
from hipgw.protocol.registration import ServiceType
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import DhGroupList

FIRST_ADDRESS = IPv4Address("10.96.0.1")
BATCH = 200
"""Clients that register at the same time."""
LIFETIME_S = 86400.0
RATE_S = 5.0
CALLERS = 64
MARKER = bytes(4)
P_256 = 7


class _NoAnswers(R1Pool):
    """Nobody calls these clients: R1s need not be made."""

    def prepare(self, identities: list[LocalIdentity]) -> None:
        pass


def register(sock: socket.socket, server: IPv4Address, hit: IPv6Address, first: int) -> list[bytes]:
    """Have one batch of clients registered; the HITs of those that are."""
    import hipgw.protocol.core as core

    core.R1Pool = _NoAnswers  # type: ignore[misc]
    identities = [LocalIdentity.generate("ecdsa-p256") for _ in range(BATCH)]
    config = MachineConfig(dh_groups=(P_256,), keepalive_s=0.0, rekey_s=0.0)
    machine = HipMachine(config, identities, os.urandom, time.monotonic())
    granted: dict[bytes, None] = {}

    def perform(effects: list[object]) -> None:
        for effect in effects:
            match effect:
                case SendDatagram(data=data, path=path):
                    sockets.send_along(sock, MARKER + data, path)
                case SolvePuzzle(hash_name=name, prefix=prefix, length=length):
                    start = os.urandom(length)
                    j = search(name, prefix, length, effect.difficulty, start, 1 << 20)
                    perform(machine.puzzle_solved(effect.request, j, time.monotonic()))
                case RegistrationChanged(lifetime_s=lifetime_s) if lifetime_s:
                    granted[effect.local_hit.packed] = None
                case _:
                    pass

    perform(machine.register(hit, [ServiceType.RENDEZVOUS], LIFETIME_S, time.monotonic()))
    for number, identity in enumerate(identities):
        path = Path(FIRST_ADDRESS + first + number, server, Transport.UDP)
        perform(machine.connect(hit, [path], time.monotonic(), local_hit=identity.hit))
    deadline = time.monotonic() + 60
    while len(granted) < BATCH and time.monotonic() < deadline:
        ready, _, _ = select.select([sock], [], [], 0.02)
        for _ in range(BATCH if ready else 0):
            try:
                received = sockets.receive_udp(sock)
            except BlockingIOError:
                break
            if received is not None:
                data, local, remote, port, remote_port = received
                came = Path(local, remote, Transport.UDP, port, remote_port)
                perform(machine.datagram_received(data, came, time.monotonic()))
        perform(machine.timer_expired(time.monotonic()))
    return list(granted)


def call(server: str, hits: list[bytes], rate: int) -> tuple[int, float]:
    """Call clients at random, at a rate; how often, and for how many seconds."""
    callers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(CALLERS)]
    for one in callers:
        one.connect((server, HIP_UDP_PORT))
    sender = LocalIdentity.generate("ecdsa-p256").hit
    calls = [
        MARKER + HipPacket(PacketType.I1, sender, IPv6Address(hit), (DhGroupList((8, 7)),)).emit()
        for hit in random.sample(hits, min(len(hits), 20000))
    ]
    began = time.monotonic()
    sent = 0
    while (passed := time.monotonic() - began) < RATE_S:
        due = int(rate * passed)
        while sent < due:
            callers[sent % CALLERS].send(calls[sent % len(calls)])
            sent += 1
        time.sleep(0.0005)
    for one in callers:
        one.close()
    return sent, time.monotonic() - began


def _count(sock: socket.socket, arrived: object, stop: object) -> None:
    """Count what comes, in a process of its own."""
    sock.setblocking(True)
    sock.settimeout(0.2)
    while not stop.is_set():  # type: ignore[attr-defined]
        try:
            sock.recv(4096)
        except TimeoutError:
            continue
        arrived.value += 1  # type: ignore[attr-defined]


def main() -> None:
    """See the module."""
    server, hit, count = IPv4Address(sys.argv[1]), IPv6Address(sys.argv[2]), int(sys.argv[3])
    go, rates = FilePath(sys.argv[4]), [int(text) for text in sys.argv[5:]]
    sock = sockets.open_udp(4, HIP_UDP_PORT, dont_fragment=False)
    hits: list[bytes] = []
    began = time.monotonic()
    for first in range(0, count, BATCH):
        hits += register(sock, server, hit, first)
    seconds = time.monotonic() - began
    print(json.dumps({"registered": len(hits), "seconds": seconds}), flush=True)
    while not go.exists():
        time.sleep(0.1)
    for rate in rates:
        while select.select([sock], [], [], 0)[0]:
            sock.recv(4096)
        arrived = multiprocessing.Value("Q", 0, lock=False)
        stop = multiprocessing.Event()
        counting = multiprocessing.Process(target=_count, args=(sock, arrived, stop))
        counting.start()
        sent, seconds = call(str(server), hits, rate)
        time.sleep(0.5)
        stop.set()
        counting.join()
        line = {"asked": rate, "sent": sent, "arrived": arrived.value, "seconds": seconds}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
