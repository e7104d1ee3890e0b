"""The host role's TUN where the kernel carries the packets: what comes out of it waits for that."""

import logging
import os
from ipaddress import IPv6Address

from hipgw.dataplane.backend import IPAddress
from hipgw.dataplane.held_packets import HeldPackets
from hipgw.dataplane.kernel_sas import KernelSas
from hipgw.identity.hit import HIT_PREFIX
from hipgw.platform import sockets

BATCH = 64
"""Packets read at once, before others get their turn."""
_IPV6_HEADER = 40
_HOP_LIMIT = 7

_log = logging.getLogger(__name__)


class KernelTun:
    """Holds packets for peers without a security association, and sends them again later."""

    def __init__(self, fd: int, sas: KernelSas) -> None:
        """Duplicates *fd*. Raises OSError or PlatformError."""
        self._sas = sas
        self._sender = sockets.open_ip_sender(sas.local_hit)
        self._fd = os.dup(fd)
        os.set_blocking(self._fd, False)
        self._held = HeldPackets()
        self._counters = dict.fromkeys(("held", "sent_again"), 0)
        self._drops = dict.fromkeys(("not_for_a_peer", "not_sent"), 0)

    def fileno(self) -> int:
        """Readable while packets wait."""
        return self._fd

    def close(self) -> None:
        """Close it, and forget what is held."""
        os.close(self._fd)
        self._sender.close()

    def read(self, now: float) -> list[IPv6Address]:
        """Take some packets; returns the HITs for which a security association is wanted."""
        wanted = []
        for _ in range(BATCH):
            try:
                packet = os.read(self._fd, sockets.LARGEST_PACKET)
            except BlockingIOError:
                break
            except OSError as error:
                _log.debug("TUN: %s", error)
                break
            destination = self._destination(packet)
            if destination is None:
                self._drops["not_for_a_peer"] += 1
            elif self._sas.carries(destination):
                # It was on its way here when the policy was made. No packet goes round for ever.
                if packet[_HOP_LIMIT] > 1:
                    hops = bytes((packet[_HOP_LIMIT] - 1,))
                    self._send(packet[:_HOP_LIMIT] + hops + packet[_HOP_LIMIT + 1 :], destination)
            else:
                self._counters["held"] += 1
                if self._held.hold(destination, packet, now):
                    wanted.append(destination)
        return wanted

    def release(self, destination: IPv6Address, now: float) -> None:
        """Send what was held for a HIT: it has a security association now."""
        for packet in self._held.take(destination, now):
            self._send(packet, destination)

    def drop(self, destination: IPAddress) -> int:
        """Forget what was held; returns how many packets that were."""
        return self._held.drop(destination)

    def forget_old(self, now: float) -> None:
        """Forget what has waited too long."""
        self._held.forget_old(now)

    def counters(self) -> dict[str, int]:
        """What was held and sent."""
        return {**self._counters, "held_now": len(self._held)}

    def drops(self) -> dict[str, int]:
        """Dropped packets by reason."""
        held = {"held_overflow": self._held.overflows, "held_timeout": self._held.expired}
        return {**self._drops, **held}

    def _destination(self, packet: bytes) -> IPv6Address | None:
        """The HIT that a packet from the own HIT is for; None for what else a TUN gives out."""
        if len(packet) < _IPV6_HEADER or packet[0] >> 4 != 6:
            return None
        source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        usable = source == self._sas.local_hit != destination and destination in HIT_PREFIX
        return destination if usable else None

    def _send(self, packet: bytes, destination: IPv6Address) -> None:
        try:
            self._sender.sendto(packet, (str(destination), 0))
            self._counters["sent_again"] += 1
        except OSError as error:
            self._drops["not_sent"] += 1
            _log.debug("a held packet was not sent: %s", error)
