"""Everything that a LAN may carry, made from a seed."""

import struct
from collections.abc import Iterable, Iterator

from system.frame_making import Layout, Maker, address6, sealed
from system.frame_numbers import (
    ACK,
    CWR,
    DESTINATION,
    ECE,
    FIN,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LARGE_SEGMENTS_PORT,
    LOCAL,
    NO_OFFLOAD,
    PSH,
    RECEIVER,
    ROUTING,
    RST,
    SENDER,
    SYN,
    TCP,
    UDP,
    URG,
    ones_sum,
)


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
