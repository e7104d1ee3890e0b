"""Frames of every kind, made from a seed, and what is right about a frame that arrived."""

import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SENDER = bytes.fromhex("02000000 0a01")
RECEIVER = bytes.fromhex("02000000 0a02")
BROADCAST = b"\xff" * 6

VNET_HEADER = struct.Struct("=BBHHHH")
NO_OFFLOAD = VNET_HEADER.pack(0, 0, 0, 0, 0, 0)
NEEDS_CHECKSUM = 1
GSO_TCP4, GSO_TCP6, GSO_UDP, GSO_ECN = 1, 4, 5, 0x80

IPV4, IPV6, VLAN, PROVIDER_VLAN, LOCAL = 0x0800, 0x86DD, 0x8100, 0x88A8, 0x88B5
HOP_BY_HOP, ICMP, TCP, UDP, ROUTING, FRAGMENT, ICMPV6, DESTINATION = 0, 1, 6, 17, 43, 44, 58, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << n for n in range(8))

LARGE_SEGMENTS_PORT = 7000
"""TCP flows to this port have segments that may be cut smaller on the way: streams are compared."""

Key = tuple[object, ...]


def ones_sum(*parts: bytes) -> int:
    """The one's complement sum in 16 bits (RFC 1071); every part but the last is even."""
    data = b"".join(parts)
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


# -- reading ---------------------------------------------------------------------------------------


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


def weight(sent: bytes) -> int:
    """About how many packets a frame behind its offload header is on its way."""
    size = VNET_HEADER.unpack_from(sent)[3] or 1300
    return len(sent) // min(size, 1300) + 1


# -- making ----------------------------------------------------------------------------------------


@dataclass
class Maker:
    """Makes frames; two with the same seed make the same."""

    seed: int
    mtu: int
    """The largest IP packet of the LAN."""
    count: int = 0
    host: int = 1
    """The last octet of the source address."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def payload(self, length: int) -> bytes:
        """Octets that begin with a number that no other payload has, as far as there is room."""
        self.count += 1
        return (self.count.to_bytes(4) + self.chance.randbytes(max(0, length - 4)))[:length]

    def link(self, kind: int, tags: int = 0) -> bytes:
        target = RECEIVER if self.chance.random() < 0.97 else BROADCAST
        tagged = {
            0: b"",
            1: struct.pack("!HH", VLAN, 0x6007),
            2: struct.pack("!HHHH", PROVIDER_VLAN, 0x0064, VLAN, 0x0007),
        }[tags]
        return target + SENDER + tagged + kind.to_bytes(2)

    def v4(
        self,
        protocol: int,
        length: int,
        *,
        host: int = 0,
        identification: int = 0,
        field: int = 0x4000,
        options: bytes = b"",
        tos: int = 0,
    ) -> bytes:
        """A header in front of *length* octets; *field* is that of flags and fragment offset."""
        size = 20 + len(options)
        words = struct.pack(
            "!BBHHHBB", 0x40 | size // 4, tos, size + length, identification, field, 64, protocol
        )
        addresses = bytes((10, 7, 0, host or self.host, 10, 7, 0, 99))
        checksum = 0xFFFF - ones_sum(words, addresses, options)
        return words + checksum.to_bytes(2) + addresses + options

    def v6(self, protocol: int, length: int, *, host: int = 0, target: int = 99) -> bytes:
        label = self.chance.choice((0, 0x12345))
        words = struct.pack("!LHBB", 6 << 28 | label, length, protocol, 64)
        return words + address6(host or self.host) + address6(target)

    def udp(self, port: int, payload: bytes) -> bytes:
        return struct.pack("!HHHH", port, 5000, 8 + len(payload), 0) + payload

    def tcp(
        self,
        port: int,
        sequence: int,
        payload: bytes,
        *,
        flags: int = ACK,
        options: bytes = b"",
        to: int = 6000,
        urgent: int = 0,
        acknowledged: int = 77,
        window: int = 500,
    ) -> bytes:
        offset = (20 + len(options)) // 4 << 4
        header = struct.pack(
            "!HHLLBBHHH", port, to, sequence % 2**32, acknowledged, offset, flags, window, 0, urgent
        )
        return header + options + payload


def address6(host: int) -> bytes:
    return bytes.fromhex("fd07") + bytes(12) + host.to_bytes(2)


def sealed(pseudo: bytes, protocol: int, transport: bytes, *, finish: bool) -> bytes:
    """The transport header with its checksum, or with what the kernel begins it with."""
    at = {TCP: 16, UDP: 6, ICMPV6: 2}[protocol]
    header = pseudo + struct.pack("!LL", len(transport), protocol)
    value = 0xFFFF - ones_sum(header, transport) or 0xFFFF if finish else ones_sum(header)
    return transport[:at] + value.to_bytes(2) + transport[at + 2 :]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a packet with a transport header consists of."""

    link: bytes
    ip: bytes
    """With everything in front of the transport header."""
    protocol: int
    transport: bytes
    pseudo: bytes

    def single(self) -> bytes:
        return NO_OFFLOAD + self.link + self.ip + self._sealed(finish=True)

    def unfinished(self) -> bytes:
        """As a kernel hands it to a device that completes checksums."""
        return self._vnet(0, 0) + self.link + self.ip + self._sealed(finish=False)

    def whole(self, size: int) -> bytes:
        """As a super-packet of segments of *size* octets."""
        v4 = self.ip[0] >> 4 == 4
        kind = GSO_UDP if self.protocol == UDP else GSO_TCP4 if v4 else GSO_TCP6
        if self.protocol == TCP and self.transport[13] & CWR:
            kind |= GSO_ECN
        return self._vnet(kind, size) + self.link + self.ip + self._sealed(finish=False)

    def _sealed(self, *, finish: bool) -> bytes:
        return sealed(self.pseudo, self.protocol, self.transport, finish=finish)

    def _vnet(self, kind: int, size: int) -> bytes:
        start = len(self.link) + len(self.ip)
        header = (self.transport[12] >> 4) * 4 if self.protocol == TCP else 8
        offset = 16 if self.protocol == TCP else 6
        return VNET_HEADER.pack(NEEDS_CHECKSUM, kind, start + header, size, start, offset)


class Traffic(Maker):
    """Everything that a LAN may carry, in chunks whose order does not matter."""

    def chunks(self) -> list[list[bytes]]:
        """Frames, each behind an offload header."""
        made = [list(one) for one in self._kinds()]
        # Other flows, mixed with each other, each in order.
        self.host += 1
        mixed = [list(one) for one in self._kinds()]
        queues = [queue for queue in mixed if queue]
        together = []
        while queues:
            queue = self.chance.choice(queues)
            for _ in range(min(len(queue), self.chance.choice((1, 1, 2, 5)))):
                together.append(queue.pop(0))
            queues = [queue for queue in queues if queue]
        return [*made, together]

    def _kinds(self) -> Iterator[Iterable[bytes]]:
        yield self.datagrams()
        yield self.trains_of_datagrams()
        yield self.segments()
        yield self.super_packets()
        yield self.large_super_packets()
        yield self.fragments()
        yield self.extension_headers()
        yield self.hidden_among_visible()
        yield self.others()

    def layout(
        self, v6: bool, protocol: int, transport: bytes, tags: int = 0, **options: int
    ) -> Layout:
        length = len(transport)
        if v6:
            ip = self.v6(protocol, length)
            return Layout(self.link(IPV6, tags), ip, protocol, transport, ip[8:40])
        ip = self.v4(protocol, length, **options)
        return Layout(self.link(IPV4, tags), ip, protocol, transport, ip[12:20])

    def extended(self, chain: list[tuple[int, bytes]], protocol: int, transport: bytes) -> Layout:
        """An IPv6 packet with headers in front of the transport's, each with its number."""
        numbers = [number for number, _ in chain[1:]] + [protocol]
        headers = b"".join(
            bytes((following,)) + header[1:]
            for following, (_, header) in zip(numbers, chain, strict=True)
        )
        ip = self.v6(chain[0][0], len(headers) + len(transport))
        pseudo = ip[8:40]
        if any(number == ROUTING for number, _ in chain):
            pseudo = ip[8:24] + address6(1000)
        return Layout(self.link(IPV6), ip + headers, protocol, transport, pseudo)

    def datagrams(self) -> Iterator[bytes]:
        """Of every size: empty, odd, what just fits and what just does not, jumbo."""
        sizes = [0, 1, 2, 3, 4, 5, 17, 18, 19, 333, 1024, 1357, 1358, 1371, 1372, 1400, 1401]
        sizes += [1471, 1472, 1473, 4001, 8192, self.mtu - 48]
        sizes += [self.chance.randrange(1500) for _ in range(10)]
        for n, size in enumerate(sizes):
            for v6 in (False, True):
                transport = self.udp(4000 + n % 3, self.payload(size))
                layout = self.layout(v6, UDP, transport, n % 3 if size < 8000 else 0)
                yield layout.single() if n % 2 else layout.unfinished()
        for _ in range(3):
            # Without a checksum, which IPv4 allows.
            transport = self.udp(4100, self.payload(600))
            layout = self.layout(False, UDP, transport)
            yield NO_OFFLOAD + layout.link + layout.ip + transport

    def trains_of_datagrams(self) -> Iterator[bytes]:
        """Equal ones in a row, which may be joined, and what breaks the row."""
        identification = 65530
        for port, flags in ((4200, 0x4000), (4201, 0)):
            for size in [700] * 20 + [699, 700, 701, 700, 700, 0, 700, 700, 1, 1000, 1000]:
                for v6 in (False, True):
                    layout = self.layout(
                        v6,
                        UDP,
                        self.udp(port, self.payload(size)),
                        identification=identification % 65536,
                        field=flags,
                        tos=self.chance.choice((0,) * 9 + (3,)),
                    )
                    yield layout.single()
                identification += self.chance.choice((1,) * 9 + (7,))
        for size in (1, 500, 1300, 1472, 8000, self.mtu - 48):
            for v6 in (False, True):
                for tags in (0, 1, 2):
                    count = min(60, 60_000 // size)
                    data = self.payload(size * count - self.chance.randrange(size))
                    transport = self.udp(4300, data)
                    fits = size + 48 + 4 * tags <= self.mtu
                    layout = self.layout(v6, UDP, transport, tags if fits else 0, field=0)
                    yield layout.whole(size)

    def segments(self) -> Iterator[bytes]:
        """A row of TCP segments with everything that may come between."""
        timestamps = b"\1\1\x08\x0a" + bytes(range(8))
        sack = b"\1\1\5\x0a" + bytes(range(8))
        sequences = {(v6, tags): 2**32 - 5000 for v6 in (False, True) for tags in (0, 1)}
        for flags, size, options in [
            (SYN | ECE | CWR, 0, b"\2\4\5\xb4\4\2\1\1"),
            *[(ACK, 1000, timestamps)] * 12,
            (ACK | PSH, 1000, timestamps),
            *[(ACK, 1000, timestamps)] * 3,
            (ACK, 0, timestamps),
            (ACK, 1000, timestamps),
            (ACK, 1000, sack),
            *[(ACK, 777, b"")] * 5,
            (ACK | URG, 777, b""),
            *[(ACK, 777, b"")] * 3,
            (ACK | CWR, 777, b""),
            (ACK | ECE, 777, b""),
            *[(ACK, 777, b"")] * 3,
            (ACK, 5, b""),
            (ACK, 777, b""),
            (0, 10, b""),
            (0xFF, 10, b""),
            (SYN | FIN, 10, b""),
            *[(ACK, 1, b"")] * 5,
            (ACK | FIN, 0, b""),
            (RST, 0, b""),
        ]:
            for (v6, tags), sequence in sequences.items():
                step = size
                if self.chance.random() < 0.1:
                    # The next one is a repetition, or something was lost.
                    step = self.chance.choice((0, 2 * size))
                sequences[v6, tags] = sequence + step
                segment = self.tcp(
                    4400,
                    sequence,
                    self.payload(size),
                    flags=flags,
                    options=options,
                    urgent=3 if flags & URG else 0,
                    window=self.chance.choice((500,) * 9 + (501,)),
                )
                identification = self.chance.randrange(65536)
                layout = self.layout(v6, TCP, segment, tags, identification=identification)
                yield layout.single() if self.chance.random() < 0.5 else layout.unfinished()

    def super_packets(self) -> Iterator[bytes]:
        """TCP in segments that fit the path."""
        for size in (1, 536, 1000, 1201, 1300):
            for v6 in (False, True):
                for tags in (0, 1, 2):
                    for flags in (0, PSH, FIN | PSH, CWR, CWR | ECE | URG):
                        if flags and self.chance.random() < 0.6:
                            continue
                        length = self.chance.choice((1, size, size + 1, 7 * size, 30 * size - 1))
                        segment = self.tcp(
                            4500,
                            self.chance.randrange(2**32),
                            self.payload(length),
                            flags=flags | ACK,
                            options=self.chance.choice((b"", b"\1\1\x08\x0a" + bytes(8))),
                        )
                        layout = self.layout(
                            v6,
                            TCP,
                            segment,
                            tags,
                            identification=65530,
                            field=self.chance.choice((0x4000, 0)),
                        )
                        # A size that asks for nothing is none to the kernel.
                        yield layout.whole(size) if length > size else layout.single()

    def large_super_packets(self) -> Iterator[bytes]:
        """TCP in segments that the path cannot carry whole."""
        for v6 in (False, True):
            for tags in (0, 1, 2):
                sequence = self.chance.randrange(2**32)
                for size in (1440, 1460, 4000, self.mtu - 72):
                    flags = self.chance.choice((0, PSH, CWR)) | ACK
                    data = self.payload(self.chance.randrange(size + 1, 60_000))
                    segment = self.tcp(
                        4600 + tags, sequence, data, flags=flags, to=LARGE_SEGMENTS_PORT
                    )
                    sequence += len(data)
                    yield self.layout(v6, TCP, segment, tags).whole(size)

    def fragments(self) -> Iterator[bytes]:
        """IPv4 fragments, and packets with options."""
        for n in range(6):
            transport = self.udp(4700, self.payload(3001))
            pseudo = self.v4(UDP, 0)[12:20]
            body = sealed(pseudo, UDP, transport, finish=True)
            cut = self.chance.choice((8, 1000, 1480, 2960))
            for start in range(0, len(body), cut):
                piece = body[start : start + cut]
                field = start // 8 | (0x2000 if start + cut < len(body) else 0)
                header = self.v4(UDP, len(piece), identification=n, field=field)
                yield NO_OFFLOAD + self.link(IPV4, n % 3) + header + piece

    def extension_headers(self) -> Iterator[bytes]:
        """Hop-by-hop and destination options, segment routing, fragment headers."""
        options = b"\0\0\1\4" + bytes(4)
        segment_list = address6(1000) + address6(99)
        routing = bytes((0, 4, 4, 1, 1, 0, 0, 0)) + segment_list
        atomic = b"\0\0\0\0\0\0\0\7"
        chains = [
            [(HOP_BY_HOP, options)],
            [(DESTINATION, options)],
            [(ROUTING, routing)],
            [(HOP_BY_HOP, options), (DESTINATION, options), (ROUTING, routing)],
            [(FRAGMENT, atomic)],
            [(HOP_BY_HOP, options), (FRAGMENT, atomic)],
        ]
        for chain in chains:
            for size in (0, 33, 1000, 1400):
                udp = self.extended(chain, UDP, self.udp(4800, self.payload(size)))
                yield udp.single()
                tcp = self.extended(chain, TCP, self.tcp(4800, self.count, self.payload(size)))
                yield tcp.single()
                if (FRAGMENT, atomic) not in chain:
                    yield self.extended(chain, UDP, self.udp(4801, self.payload(size))).unfinished()
                    segment = self.tcp(4801, self.count, self.payload(4001))
                    yield self.extended(chain, TCP, segment).whole(1000)
        for n in range(4):
            body = sealed(
                self.v6(UDP, 0)[8:40], UDP, self.udp(4802, self.payload(2000)), finish=True
            )
            for start in range(0, len(body), 1232):
                piece = body[start : start + 1232]
                more = start + 1232 < len(body)
                header = struct.pack("!BBHL", UDP, 0, start | more, n)
                ip = self.v6(FRAGMENT, 8 + len(piece))
                yield NO_OFFLOAD + self.link(IPV6) + ip + header + piece

    def hidden_among_visible(self) -> Iterator[bytes]:
        """Datagrams of one flow, now and then one of them in fragments, with IPv4 options or with
        extension headers: they must not be overtaken by those behind them."""
        link4, link6 = (RECEIVER + SENDER + kind.to_bytes(2) for kind in (IPV4, IPV6))
        host = self.host + 10
        for n in range(60):
            kind = n % 10
            body = self.udp(4900, self.payload(600))
            ip4 = self.v4(UDP, 608, host=host)
            v4 = Layout(link4, ip4, UDP, body, ip4[12:20])
            ip6 = self.v6(UDP, 608, host=host)
            v6 = Layout(link6, ip6, UDP, body, ip6[8:40])
            if kind == 3:
                done = sealed(v4.pseudo, UDP, body, finish=True)
                for start, flags in ((0, 0x2000), (400, 50)):
                    piece = done[start : start + 400 if start == 0 else None]
                    head = self.v4(UDP, len(piece), host=host, identification=n, field=flags)
                    yield NO_OFFLOAD + link4 + head + piece
                continue
            if kind == 6:
                head = self.v4(UDP, 608, host=host, options=b"\1\1\1\0")
                v4 = Layout(link4, head, UDP, body, v4.pseudo)
                label = ip6[:4]
                ip6 = label + struct.pack("!HBB", 616, HOP_BY_HOP, 64) + ip6[8:]
                v6 = Layout(link6, ip6 + bytes((UDP, 0, 1, 4, 0, 0, 0, 0)), UDP, body, v6.pseudo)
            yield v4.single()
            yield v6.single()

    def others(self) -> Iterator[bytes]:
        """What is not TCP or UDP, and frames shorter than they look."""
        for n in range(3):
            for size in (0, 56, 1000, 1472, 4000):
                body = bytes((8, 0, 0, 0)) + struct.pack("!HH", 7, n) + self.payload(size)
                checksum = 0xFFFF - ones_sum(body)
                body = body[:2] + checksum.to_bytes(2) + body[4:]
                yield NO_OFFLOAD + self.link(IPV4, n % 3) + self.v4(ICMP, len(body)) + body
                body = bytes((128, 0, 0, 0)) + struct.pack("!HH", 7, n) + self.payload(size)
                layout = self.layout(True, ICMPV6, body, n % 3)
                yield layout.single()
            arp = bytes.fromhex("0001080006040001") + SENDER + bytes(10) + self.payload(4)
            for padding in (b"", bytes(18), self.payload(18)):
                yield NO_OFFLOAD + self.link(0x0806, n % 2) + arp + padding
            for kind in (LOCAL, 0x8847, 0x8863, 0x9000, 100):
                # The last is a length, as IEEE 802.2 has it.
                yield NO_OFFLOAD + self.link(kind, n % 3) + self.payload(100)
            yield NO_OFFLOAD + self.link(LOCAL)
            # Padded to what Ethernet's shortest frame is.
            for padding in (bytes, self.payload):
                for v6 in (False, True):
                    layout = self.layout(v6, UDP, self.udp(4901, self.payload(n % 4)))
                    frame = layout.single()
                    yield frame + padding(max(0, 60 + len(NO_OFFLOAD) - len(frame)))
                layout = self.layout(False, TCP, self.tcp(4902, n, self.payload(n % 4)))
                frame = layout.single()
                yield frame + padding(max(0, 60 + len(NO_OFFLOAD) - len(frame)))
