"""Packets that wait for a security association: bounded in every direction."""

from collections import deque
from dataclasses import dataclass, field

from hipgw.dataplane.backend import IPAddress

MAX_PACKETS = 64
"""Of one destination."""
MAX_OCTETS = 256 * 1024
"""Of one destination."""
MAX_DESTINATIONS = 256
TIMEOUT_S = 10.0
"""How long a packet is held."""
REMIND_S = 1.0
"""How often the control plane is reminded of a destination."""


@dataclass(slots=True)
class _Queue:
    packets: deque[tuple[float, bytes]] = field(default_factory=deque)
    octets: int = 0
    reminded: float = -REMIND_S


class HeldPackets:
    """The same bounds as those of the engine (rust/esp_core/src/engine/hold.rs)."""

    def __init__(self) -> None:
        self._queues: dict[IPAddress, _Queue] = {}
        self.overflows = 0
        """Packets that were too many."""
        self.expired = 0
        """Packets that waited too long."""

    def hold(self, destination: IPAddress, packet: bytes, now: float) -> bool:
        """Keep a packet if there is room; returns whether the control plane is to be told."""
        queue = self._queues.get(destination)
        if queue is None:
            if len(self._queues) >= MAX_DESTINATIONS:
                self.forget_old(now)
            if len(self._queues) >= MAX_DESTINATIONS:
                self.overflows += 1
                return False
            queue = self._queues[destination] = _Queue(reminded=now - REMIND_S)
        self._expire(queue, now)
        if len(queue.packets) < MAX_PACKETS and queue.octets + len(packet) <= MAX_OCTETS:
            queue.packets.append((now, packet))
            queue.octets += len(packet)
        else:
            self.overflows += 1
        remind = now - queue.reminded >= REMIND_S
        if remind:
            queue.reminded = now
        return remind

    def take(self, destination: IPAddress, now: float) -> list[bytes]:
        """Hand out the packets of a destination, oldest first, and forget it."""
        queue = self._queues.pop(destination, None)
        if queue is None:
            return []
        self._expire(queue, now)
        return [packet for _, packet in queue.packets]

    def drop(self, destination: IPAddress) -> int:
        """Forget a destination; returns how many packets it had."""
        queue = self._queues.pop(destination, None)
        return len(queue.packets) if queue is not None else 0

    def forget_old(self, now: float) -> None:
        """Forget what waits too long, and destinations without packets."""
        for destination, queue in list(self._queues.items()):
            self._expire(queue, now)
            if not queue.packets and now - queue.reminded >= REMIND_S:
                del self._queues[destination]

    def __len__(self) -> int:
        return sum(len(queue.packets) for queue in self._queues.values())

    def _expire(self, queue: _Queue, now: float) -> None:
        while queue.packets and now - queue.packets[0][0] > TIMEOUT_S:
            _, packet = queue.packets.popleft()
            queue.octets -= len(packet)
            self.expired += 1
