//! Split, sealed, opened, joined, and cut again as a kernel does: everything is as it was.
//!
//! The cutting at the end is written anew here, so that `split` is not its own judge.

use proptest::prelude::*;

use super::{
    coalesce::{Coalescer, Link, Place},
    split::SuperPacket,
    testing::{checksum_holds, Shape},
    GsoKind, VnetHeader,
};
use crate::{
    esp::{Opener, Sealer},
    packet::{
        be16, be32, checksum, ethernet,
        ip::{self, Header, Version, TCP_ACK, TCP_CWR, TCP_FIN, TCP_PSH},
        protocol, put16, put32,
    },
    suite::Suite,
};

/// What is sent: one packet, or many at once.
#[derive(Clone, Debug)]
struct Sent {
    shape: Shape,
    /// Octets; more than `segment` make a super-packet.
    payload: usize,
    segment: u16,
    /// Hides the transport header: IPv4 options or a fragment, an IPv6 extension header.
    hidden: bool,
    /// Octets behind the packet.
    padding: usize,
}

fn sent(link: bool) -> impl Strategy<Value = Sent> {
    let flags = prop_oneof![
        8 => Just(TCP_ACK),
        1 => Just(TCP_ACK | TCP_PSH),
        1 => Just(TCP_ACK | TCP_FIN),
        1 => Just(TCP_ACK | TCP_CWR),
        1 => any::<u8>(),
    ];
    let size = prop_oneof![6 => Just(500u16), 1 => 1u16..1200];
    let count = prop_oneof![6 => Just(1usize), 1 => 1usize..20];
    (
        (any::<bool>(), any::<bool>(), 0usize..=2, 0u16..3),
        (flags, size, count, 0usize..1200),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.05),
    )
        .prop_map(
            move |(kind, (flags, segment, count, less), hidden, padded)| {
                let (tcp, v6, tags, port) = kind;
                let full = usize::from(segment);
                let payload = full * count
                    - if less < full && less % 5 == 0 {
                        less
                    } else {
                        0
                    };
                Sent {
                    shape: Shape {
                        tcp,
                        v6,
                        vlan_tags: link.then_some(tags),
                        timestamps: port == 1,
                        port: 40_000 + port,
                        flags,
                        ..Shape::default()
                    },
                    payload,
                    segment,
                    hidden: hidden && payload <= full,
                    padding: usize::from(padded && link && payload <= full) * 3,
                }
            },
        )
}

/// Make the transport header hard to find; checksums stay right.
fn hide(packet: &mut Vec<u8>, shape: &Shape) {
    let ip = shape.link_len();
    if shape.v6 {
        let next = std::mem::replace(&mut packet[ip + 6], protocol::DESTINATION_OPTIONS);
        packet.splice(
            shape.transport()..shape.transport(),
            [next, 0, 1, 4, 0, 0, 0, 0],
        );
        let len = be16(packet, ip + 4) + 8;
        put16(packet, ip + 4, len);
    } else {
        packet[ip] = 0x46;
        packet.splice(shape.transport()..shape.transport(), [1, 1, 1, 0]);
        let len = be16(packet, ip + 2) + 4;
        put16(packet, ip + 2, len);
        ip::store_v4_checksum(&mut packet[ip..ip + 24]);
    }
}

/// Everything that is sent, as packets on the wire in order; each has a number of its own at the
/// begin of its payload, if there is room for it.
fn on_the_wire(all: &[Sent]) -> Vec<Vec<u8>> {
    let mut sequences = std::collections::HashMap::new();
    let mut packets = Vec::new();
    for (n, one) in all.iter().enumerate() {
        let shape = &one.shape;
        let flow = (shape.tcp, shape.v6, shape.vlan_tags, shape.port);
        let sequence = sequences.entry(flow).or_insert(u32::MAX - 3000);
        let shape = Shape {
            sequence: *sequence,
            ..shape.clone()
        };
        *sequence = sequence.wrapping_add(one.payload as u32);
        let mut payload: Vec<u8> = (0..one.payload).map(|at| (at / 7) as u8).collect();
        let number = (n as u32).to_be_bytes();
        for chunk in payload.chunks_mut(usize::from(one.segment)) {
            let room = chunk.len().min(4);
            chunk[..room].copy_from_slice(&number[..room]);
        }
        if one.payload > usize::from(one.segment) {
            let (packet, vnet) = shape.super_packet(&payload, one.segment);
            let whole = SuperPacket::parse(&packet, shape.link_len(), &vnet).unwrap();
            packets.extend((0..whole.count()).map(|n| {
                let mut out = vec![0; whole.packet_len(n)];
                whole.emit(&packet, n, 0, &mut out);
                out
            }));
        } else {
            let mut packet = shape.packet(&payload);
            if one.hidden {
                hide(&mut packet, &shape);
            }
            packet.resize(packet.len() + one.padding, 0xee);
            packets.push(packet);
        }
    }
    packets
}

/// What the kernel makes of a super-packet (RFC 9293; linux/net/ipv4/tcp_offload.c, udp_offload.c).
fn cut(packet: &[u8], vnet: &VnetHeader) -> Vec<Vec<u8>> {
    if vnet.kind == GsoKind::None {
        assert!(!vnet.needs_checksum);
        return vec![packet.to_vec()];
    }
    let transport = usize::from(vnet.checksum_start);
    let tcp = vnet.kind != GsoKind::Udp;
    let payload = transport
        + if tcp {
            usize::from(packet[transport + 12] >> 4) * 4
        } else {
            8
        };
    assert_eq!(payload, usize::from(vnet.header_len));
    let (headers, data) = packet.split_at(payload);
    let size = usize::from(vnet.segment_size);
    assert!(data.len() > size, "a super-packet of one");
    let ip = ethernet_len(packet, transport);
    let count = data.len().div_ceil(size);
    let pieces = data.chunks(size).enumerate();
    let cut = pieces.map(|(n, data)| {
        let mut out = [headers, data].concat();
        let len = out.len();
        if packet[ip] >> 4 == 4 {
            put16(&mut out, ip + 2, (len - ip) as u16);
            let identification = be16(&out, ip + 4).wrapping_add(n as u16);
            put16(&mut out, ip + 4, identification);
            ip::store_v4_checksum(&mut out[ip..transport]);
        } else {
            put16(&mut out, ip + 4, (len - ip - 40) as u16);
        }
        if tcp {
            let sequence = be32(&out, transport + 4).wrapping_add((n * size) as u32);
            put32(&mut out, transport + 4, sequence);
            if n > 0 {
                out[transport + 13] &= !TCP_CWR;
            }
            if n + 1 < count {
                out[transport + 13] &= !(TCP_FIN | TCP_PSH);
            }
        } else {
            put16(&mut out, transport + 4, (len - transport) as u16);
        }
        let header = Header::parse(&out[ip..]).unwrap();
        let at = transport + usize::from(vnet.checksum_offset);
        put16(&mut out, at, 0);
        let (source, destination) = header.addresses(&out[ip..]);
        let sum = checksum::pseudo_header(source, destination, header.protocol, len - transport);
        let sum = checksum::add(sum, &out[transport..]);
        if tcp {
            checksum::store(&mut out, at, sum);
        } else {
            checksum::store_udp(&mut out, at, sum);
        }
        out
    });
    cut.collect()
}

/// Where the IP header begins in a packet without extension headers.
fn ethernet_len(packet: &[u8], transport: usize) -> usize {
    match packet[transport - 20] {
        0x45 if be16(packet, transport - 18) as usize == packet.len() - (transport - 20) => {
            transport - 20
        }
        _ => transport - 40,
    }
}

/// Addresses; and protocol and ports, if they are known.
type Flow = (Vec<u8>, Option<Vec<u8>>);

/// What packets that may not pass each other have in common, and whether the ports are known.
fn flow(packet: &[u8], link: Link) -> Flow {
    let ip = match link {
        Link::Ip => 0,
        Link::Ethernet => ethernet::Header::parse(packet).unwrap().len,
    };
    let header = Header::parse(&packet[ip..]).unwrap();
    let (source, destination) = header.addresses(&packet[ip..]);
    let pair = [&packet[..ip], source, destination].concat();
    let known = matches!(header.protocol, protocol::TCP | protocol::UDP)
        && header.len == header.version.header_len();
    let transport = ip + header.len;
    let ports = known.then(|| [&[header.protocol], &packet[transport..transport + 4]].concat());
    (pair, ports)
}

/// A packet without what may change: with "don't fragment" the identification means nothing.
fn canonical(packet: &[u8], link: Link) -> Vec<u8> {
    let ip = match link {
        Link::Ip => 0,
        Link::Ethernet => ethernet::Header::parse(packet).unwrap().len,
    };
    let mut packet = packet.to_vec();
    let header = Header::parse(&packet[ip..]).unwrap();
    if header.version == Version::V4 && header.dont_fragment {
        put16(&mut packet, ip + 4, 0);
        put16(&mut packet, ip + 10, 0);
    }
    packet
}

fn sealed_and_opened(packets: &[Vec<u8>], suite: Suite) -> Vec<Vec<u8>> {
    let (encryption, authentication) = (
        vec![7; suite.encryption_key_len()],
        vec![9; suite.authentication_key_len()],
    );
    let sealer = Sealer::new(suite, 300, &encryption, &authentication).unwrap();
    let opener = Opener::new(suite, 300, &encryption, &authentication).unwrap();
    let through = (1..).zip(packets).map(|(sequence, packet)| {
        let mut buf = vec![0; sealer.sealed_len(packet.len())];
        buf[sealer.header_len()..][..packet.len()].copy_from_slice(packet);
        let next_header = protocol::ETHERIP;
        sealer
            .seal(sequence, next_header, &mut buf, packet.len())
            .unwrap();
        let (range, _) = opener.open(sequence, &mut buf).unwrap();
        buf[range].to_vec()
    });
    through.collect()
}

/// Join packets as the engine does, and cut what comes out. `front` is how many octets are given
/// apart, as the TUN's IP headers are.
fn joined_and_cut(
    packets: &[Vec<u8>],
    queue: &mut Coalescer,
    front: impl Fn(&[u8]) -> usize,
    batch: usize,
) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for batch in packets.chunks(batch) {
        for (n, packet) in batch.iter().enumerate() {
            let front = front(packet);
            let place = Place {
                buffer: n as u32,
                range: front..packet.len(),
            };
            queue.push(&packet[..front], &packet[front..], place);
        }
        for output in queue.outputs() {
            let (vnet, count) = (output.vnet, output.packets);
            let mut packet = output.headers.to_vec();
            for place in output {
                packet.extend(&batch[place.buffer as usize][place.range.clone()]);
            }
            let pieces = cut(&packet, &vnet);
            assert_eq!(pieces.len(), count);
            out.extend(pieces);
        }
        queue.clear();
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_changes_on_the_way(
        (link, all) in any::<bool>()
            .prop_flat_map(|link| (Just(link), prop::collection::vec(sent(link), 1..60))),
        (tcp, udp) in (any::<bool>(), any::<bool>()),
        batch in 1usize..100,
        suite in prop::sample::select(Suite::ALL.to_vec()),
    ) {
        let link = if link { Link::Ethernet } else { Link::Ip };
        let packets = on_the_wire(&all);
        let opened = sealed_and_opened(&packets, suite);
        prop_assert_eq!(&opened, &packets);
        let mut queue = Coalescer::new(link, tcp, udp);
        let front = |packet: &[u8]| match link {
            Link::Ethernet => 0,
            Link::Ip => Header::parse(packet).map_or(0, |header| header.len),
        };
        let arrived = joined_and_cut(&opened, &mut queue, front, batch);
        prop_assert_eq!(arrived.len(), packets.len());
        for packet in &arrived {
            let (_, ports) = flow(packet, link);
            let ip = if link == Link::Ip { 0 } else { ethernet::Header::parse(packet).unwrap().len };
            prop_assert!(ports.is_none() || checksum_holds(packet, ip));
        }
        // In every flow the same packets in the same order, also among those that may be of it.
        let flows = |packets: &[Vec<u8>]| -> Vec<_> {
            packets.iter().map(|p| (flow(p, link), canonical(p, link))).collect()
        };
        let (right, got) = (flows(&packets), flows(&arrived));
        for ((pair, ports), _) in &right {
            let of_it = |all: &[(Flow, Vec<u8>)]| -> Vec<Vec<u8>> {
                all.iter()
                    .filter(|((p, q), _)| p == pair && (q.is_none() || q == ports))
                    .map(|(_, packet)| packet.clone())
                    .collect()
            };
            prop_assert_eq!(of_it(&right), of_it(&got));
        }
    }
}
