"""What is right about a frame that arrived, and in which flow it did."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from system.frame_numbers import (
    CWR,
    EXTENSIONS,
    FIN,
    FRAGMENT,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LARGE_SEGMENTS_PORT,
    PROVIDER_VLAN,
    PSH,
    ROUTING,
    TCP,
    UDP,
    VLAN,
    ones_sum,
)

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A frame as far as it can be read."""

    frame: bytes
    link: bytes
    """The Ethernet header with its tags."""
    addresses: bytes = b""
    protocol: int = -1
    """The last header's number; -1 if it is not IP."""
    hidden: bool = False
    """The transport header is not right behind a plain IP header."""
    fragment: bool = False
    ip: int = 0
    transport: int = 0
    end: int = 0
    pseudo: bytes = b""
    """Addresses as they count for the checksum."""

    @classmethod
    def of(cls, frame: bytes) -> "Parsed":
        at = 12
        while (kind := int.from_bytes(frame[at : at + 2])) in (VLAN, PROVIDER_VLAN):
            at += 4
        ip = at + 2
        link = frame[:ip]
        if kind == IPV4:
            length = (frame[ip] & 15) * 4
            fragment = bool(int.from_bytes(frame[ip + 6 : ip + 8]) & 0x3FFF)
            addresses = frame[ip + 12 : ip + 20]
            end = ip + int.from_bytes(frame[ip + 2 : ip + 4])
            hidden = fragment or length > 20
            transport = ip + length
            return cls(
                frame,
                link,
                addresses,
                frame[ip + 9],
                hidden,
                fragment,
                ip,
                transport,
                end,
                addresses,
            )
        if kind == IPV6:
            return cls._of_v6(frame, link, ip)
        return cls(frame, link)

    @classmethod
    def _of_v6(cls, frame: bytes, link: bytes, ip: int) -> "Parsed":
        addresses = frame[ip + 8 : ip + 40]
        end = ip + 40 + int.from_bytes(frame[ip + 4 : ip + 6])
        pseudo, protocol, at, fragment = addresses, frame[ip + 6], ip + 40, False
        while protocol in EXTENSIONS and not fragment:
            if protocol == ROUTING and frame[at + 3]:
                # The last segment is where it is going (RFC 8754 §2.1: they are listed backwards).
                pseudo = addresses[:16] + frame[at + 8 : at + 24]
            if protocol == FRAGMENT:
                fragment = bool(int.from_bytes(frame[at + 2 : at + 4]) & 0xFFF9)
                length = 8
            else:
                length = 8 + 8 * frame[at + 1]
            protocol, at = frame[at], at + length
        hidden = at > ip + 40
        return cls(frame, link, addresses, protocol, hidden, fragment, ip, at, end, pseudo)

    def check(self) -> None:
        """Every checksum is right."""
        frame = self.frame
        if self.protocol < 0:
            return
        v4 = frame[self.ip] >> 4 == 4
        header = frame[self.ip : self.transport]
        assert not v4 or ones_sum(header) == 0xFFFF, f"IPv4 header of {self}"
        body = frame[self.transport : self.end]
        if self.fragment:
            return
        if self.protocol == ICMP and v4:
            assert ones_sum(body) == 0xFFFF, f"ICMP of {self}"
        if self.protocol in (TCP, UDP, ICMPV6):
            if self.protocol == UDP and v4 and body[6:8] == b"\0\0":
                return
            pseudo = self.pseudo + struct.pack("!LL", len(body), self.protocol)
            assert ones_sum(pseudo, body) == 0xFFFF, f"transport checksum of {self}"

    def canonical(self) -> bytes:
        """The frame without what the kernel may change: with "don't fragment" the identification
        of an IPv4 packet means nothing (RFC 6864 §4), and super-packets number theirs anew. And
        there are two zeros."""
        frame = self.frame
        if self.protocol < 0 or self.fragment:
            return frame
        at = self.transport + 16
        if self.protocol == TCP and frame[at : at + 2] == b"\xff\xff":
            frame = frame[:at] + b"\0\0" + frame[at + 2 :]
        if frame[self.ip] >> 4 != 4 or not frame[self.ip + 6] & 0x40:
            return frame
        ip = self.ip
        return b"".join(
            (frame[: ip + 4], b"\0\0", frame[ip + 6 : ip + 10], b"\0\0", frame[ip + 12 :])
        )

    @property
    def pair(self) -> Key:
        """What packets that may be of one flow have in common."""
        return (self.link[6:], self.addresses)

    @property
    def flow(self) -> Key:
        """What packets of one flow have in common."""
        if self.protocol in (TCP, UDP) and not self.hidden:
            return (*self.pair, self.protocol, self.ports)
        return (*self.pair, self.protocol)

    @property
    def ports(self) -> bytes:
        return self.frame[self.transport : self.transport + 4]

    @property
    def may_be_cut(self) -> bool:
        """It is of a TCP stream with segments larger than the path."""
        return (
            self.protocol == TCP
            and not self.fragment
            and int.from_bytes(self.ports[2:]) == LARGE_SEGMENTS_PORT
        )

    def __str__(self) -> str:
        return f"{self.frame[:100].hex()}… ({len(self.frame)} octets)"


@dataclass
class Stream:
    """A TCP stream whose segments were cut as the path wants."""

    data: bytearray = field(default_factory=bytearray)
    next: int | None = None
    flags: list[tuple[int, int]] = field(default_factory=list)
    """Flags other than ACK, and how many octets came before them (before the end for PSH, FIN)."""

    def add(self, packet: Parsed) -> None:
        frame, at = packet.frame, packet.transport
        sequence = int.from_bytes(frame[at + 4 : at + 8])
        payload = frame[at + (frame[at + 12] >> 4) * 4 : packet.end]
        assert self.next in (None, sequence), f"{packet} comes out of order"
        self.next = (sequence + len(payload)) % 2**32
        flags = frame[at + 13]
        if flags & CWR:
            self.flags.append((CWR, len(self.data)))
        self.data += payload
        if flags & (FIN | PSH):
            self.flags.append((flags & (FIN | PSH), len(self.data)))


Arrived = dict[Key, list[bytes] | Stream]


def by_flow(frames: Iterable[bytes], checked: set[bytes]) -> Arrived:
    """What arrived in each flow, in order, with every packet between the same addresses that may
    be of the flow. Frames that are not in *checked* are checked and entered."""
    flows: Arrived = {}
    visible: dict[Key, list[Key]] = {}
    hidden: dict[Key, list[bytes]] = {}
    for frame in frames:
        packet = Parsed.of(frame)
        if frame not in checked:
            packet.check()
            checked.add(frame)
        key = packet.flow
        if packet.may_be_cut:
            stream = flows.setdefault(key, Stream())
            assert isinstance(stream, Stream)
            stream.add(packet)
            continue
        canonical = packet.canonical()
        if packet.hidden:
            targets = [*visible.get(packet.pair, ()), ("hidden", *packet.pair)]
            hidden.setdefault(packet.pair, []).append(canonical)
        else:
            if key not in flows:
                # Those that came before count as earlier packets of the flow.
                flows[key] = list(hidden.get(packet.pair, ()))
                visible.setdefault(packet.pair, []).append(key)
            targets = [key]
        for target in targets:
            queue = flows.setdefault(target, [])
            assert isinstance(queue, list)
            queue.append(canonical)
    return flows
