use proptest::prelude::*;

use super::*;
use crate::{
    offload::{
        split::SuperPacket,
        testing::{checksum_holds, Shape},
    },
    packet::ip::{TCP_FIN, TCP_SYN},
};

/// Packets in buffers of their own, queued with `front` octets apart from the rest.
fn queue(shape: &Shape, packets: &[Vec<u8>], front: usize) -> Coalescer {
    let link = match shape.vlan_tags {
        None => Link::Ip,
        Some(_) => Link::Ethernet,
    };
    let mut queue = Coalescer::new(link, true, true);
    for (n, packet) in packets.iter().enumerate() {
        let place = Place {
            buffer: n as u32,
            range: front..packet.len(),
        };
        queue.push(&packet[..front], &packet[front..], place);
    }
    queue
}

/// What would be written.
fn written(queue: &mut Coalescer, packets: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    queue
        .outputs()
        .map(|output| {
            let (vnet, mut bytes) = (output.vnet, output.headers.to_vec());
            for place in output {
                bytes.extend_from_slice(&packets[place.buffer as usize][place.range.clone()]);
            }
            (vnet, bytes)
        })
        .collect()
}

/// What the kernel makes of it again.
fn split(shape: &Shape, vnet: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    if vnet.kind == GsoKind::None {
        return vec![packet.to_vec()];
    }
    let whole = SuperPacket::parse(packet, shape.link_len(), vnet).unwrap();
    (0..whole.count())
        .map(|n| {
            let mut out = vec![0; whole.packet_len(n)];
            whole.emit(packet, n, 0, &mut out);
            out
        })
        .collect()
}

/// A stream cut into packets.
fn stream(shape: &Shape, sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut shape = shape.clone();
    sizes
        .iter()
        .enumerate()
        .map(|(n, size)| {
            let packet = shape.packet(&vec![n as u8; *size]);
            shape.sequence = shape.sequence.wrapping_add(*size as u32);
            packet
        })
        .collect()
}

fn count(shape: &Shape, packets: &[Vec<u8>]) -> usize {
    written(&mut queue(shape, packets, 0), packets).len()
}

#[test]
fn a_stream_becomes_one() {
    let shape = Shape {
        sequence: u32::MAX - 2000,
        ..Shape::default()
    };
    let packets = stream(&shape, &[1400, 1400, 1400, 300, 1400]);
    let mut queue = queue(&shape, &packets, 0);
    let written = written(&mut queue, &packets);
    // The short one ends the first.
    assert_eq!(written.len(), 2);
    assert_eq!(queue.take_joined(), 3);
    assert_eq!(written[0].0.segment_size, 1400);
    assert_eq!(split(&shape, &written[0].0, &written[0].1).len(), 4);
    assert_eq!(written[1].1, packets[4]);
    queue.clear();
    assert!(queue.is_empty());
}

#[test]
fn what_ends_a_run() {
    let shape = Shape::default();
    let other = |change: fn(&mut Shape)| {
        let mut packets = stream(&shape, &[1000, 1000]);
        let mut next = Shape {
            sequence: 2000,
            ..shape.clone()
        };
        change(&mut next);
        packets.push(next.packet(&[3; 1000]));
        count(&shape, &packets)
    };
    assert_eq!(other(|_| {}), 1);
    assert_eq!(other(|next| next.sequence += 1), 2);
    assert_eq!(other(|next| next.acknowledged += 1), 2);
    assert_eq!(other(|next| next.port += 1), 2);
    assert_eq!(other(|next| next.flags |= TCP_FIN), 2);
    assert_eq!(other(|next| next.flags |= TCP_SYN), 2);
    assert_eq!(other(|next| next.timestamps = false), 2);
    assert_eq!(other(|next| next.vlan_tags = Some(1)), 2);
    assert_eq!(other(|next| next.v6 = true), 2);
    assert_eq!(other(|next| next.flags |= TCP_PSH), 1);
}

#[test]
fn nothing_overtakes() {
    // Data, a pure acknowledgement, then data that would continue the first.
    let shape = Shape::default();
    let mut packets = stream(&shape, &[1000, 1000, 1000]);
    let acknowledgement = Shape {
        sequence: 2000,
        ..shape.clone()
    };
    packets.insert(2, acknowledgement.packet(&[]));
    let written = written(&mut queue(&shape, &packets, 0), &packets);
    assert_eq!(written.len(), 3);
    assert_eq!(written[1].1, packets[2]);
    assert_eq!(written[2].1, packets[3]);
}

#[test]
fn a_wrong_checksum_passes_alone_and_unchanged() {
    let shape = Shape::default();
    let mut packets = stream(&shape, &[1000, 1000, 1000]);
    let last = packets[1].len() - 1;
    packets[1][last] ^= 1;
    let written = written(&mut queue(&shape, &packets, 0), &packets);
    assert_eq!(written.len(), 3);
    for (written, packet) in written.iter().zip(&packets) {
        assert_eq!(&written.1, packet);
        assert_eq!(written.0, VnetHeader::default());
    }
}

#[test]
fn limits() {
    let shape = Shape::default();
    let packets = stream(&shape, &[100; 150]);
    assert_eq!(count(&shape, &packets), 3);
    let packets = stream(&shape, &[1400; 50]);
    for (_, packet) in written(&mut queue(&shape, &packets, 0), &packets) {
        assert!(packet.len() <= MAX_PACKET + shape.link_len());
    }
}

#[test]
fn padding_is_kept() {
    let shape = Shape::default();
    let mut packets = stream(&shape, &[100, 100]);
    packets[0].push(0);
    let written = written(&mut queue(&shape, &packets, 0), &packets);
    assert_eq!(written.len(), 2);
    assert_eq!(written[0].1, packets[0]);
}

#[test]
fn identification_matters_only_where_routers_may_fragment() {
    let shape = Shape::default();
    let with = |fragment: u16, step: u16| {
        let mut packets = stream(&shape, &[100, 100, 100]);
        for (n, packet) in packets.iter_mut().enumerate() {
            put16(packet, 14 + 4, 0xffff_u16.wrapping_add(step * n as u16));
            put16(packet, 14 + 6, fragment);
            ip::store_v4_checksum(&mut packet[14..34]);
        }
        count(&shape, &packets)
    };
    assert_eq!(with(V4::DONT_FRAGMENT, 5), 1);
    assert_eq!(with(0, 1), 1);
    assert_eq!(with(0, 5), 3);
    assert_eq!(with(0x2000, 1), 3);
}

proptest! {
    #[test]
    fn split_of_coalesced_is_identity(
        shape in Shape::any(),
        segment in 1usize..1400,
        packets in 1usize..80,
        last in 1usize..1400,
        apart in any::<bool>(),
    ) {
        let mut sizes = vec![segment; packets];
        sizes.push(last.min(segment));
        let packets = stream(&shape, &sizes);
        let front = if apart && shape.vlan_tags.is_none() { shape.transport() } else { 0 };
        let mut queue = queue(&shape, &packets, front);
        let written = written(&mut queue, &packets);
        let back: Vec<_> =
            written.iter().flat_map(|(vnet, packet)| split(&shape, vnet, packet)).collect();
        prop_assert!(back.iter().all(|packet| checksum_holds(packet, shape.link_len())));
        prop_assert_eq!(back.len(), packets.len());
        for (back, packet) in back.iter().zip(&packets) {
            // The identification is numbered on, which "don't fragment" allows.
            let (mut back, mut packet) = (back.clone(), packet.clone());
            if !shape.v6 {
                for bytes in [&mut back, &mut packet] {
                    put16(bytes, shape.link_len() + 4, 0);
                    put16(bytes, shape.link_len() + 10, 0);
                }
            }
            if shape.tcp {
                // Zero has two forms in one's complement arithmetic, and both hold.
                for bytes in [&mut back, &mut packet] {
                    let checksum = shape.transport() + TCP_CHECKSUM;
                    if be16(bytes, checksum) == 0xffff {
                        put16(bytes, checksum, 0);
                    }
                }
            }
            prop_assert_eq!(back, packet);
        }
        let (full, limit) = (sizes.len(), MAX_PACKETS.min(MAX_PACKET / (segment + 100)));
        prop_assert!(written.len() <= full.div_ceil(limit.max(1)) + 1);
    }

    #[test]
    fn flows_in_between_each_other_stay_in_order(
        order in prop::collection::vec(0u16..4, 1..100),
        v6 in any::<bool>(),
    ) {
        let mut sequences = [0u32; 4];
        let packets: Vec<_> = order
            .iter()
            .map(|flow| {
                let sequence = &mut sequences[usize::from(*flow)];
                let shape =
                    Shape { port: 1000 + flow, sequence: *sequence, v6, ..Shape::default() };
                *sequence += 200;
                shape.packet(&[*flow as u8; 200])
            })
            .collect();
        let shape = Shape { v6, ..Shape::default() };
        let mut queue = queue(&shape, &packets, 0);
        let mut next = [0u32; 4];
        for (vnet, packet) in written(&mut queue, &packets) {
            for packet in split(&shape, &vnet, &packet) {
                let flow = usize::from(be16(&packet, shape.transport()) - 1000);
                prop_assert_eq!(be32(&packet, shape.transport() + 4), next[flow]);
                next[flow] += 200;
            }
        }
        prop_assert_eq!(next, sequences);
    }

    #[test]
    fn any_bytes_pass_unchanged(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20),
        tap in any::<bool>(),
    ) {
        let shape = Shape { vlan_tags: tap.then_some(0), ..Shape::default() };
        let written = written(&mut queue(&shape, &packets, 0), &packets);
        let written: Vec<_> = written.into_iter().map(|(_, packet)| packet).collect();
        prop_assert_eq!(written, packets);
    }
}
