//! Host traffic by HIT and LSI.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use esp_core::{
    beet::Hit,
    drops::DropReason,
    engine::Direction,
    events::Event,
    packet::{
        checksum,
        ip::{Header, Version, V4, V6},
    },
    stats::Counter,
};

use crate::node::{connect, hit, lsi, receive, silent, Node, Sa};

/// A UDP packet between two nodes, with a right checksum.
fn datagram(v6: bool, from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    datagram_between(v6, hit(from), hit(to), payload)
}

/// The same between two HITs, or the LSIs of their nodes.
pub(crate) fn datagram_between(v6: bool, from: Hit, to: Hit, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    let payload_len = 8 + payload.len();
    let len = if v6 {
        V6 {
            traffic_class: 0x02,
            next_header: 17,
            hop_limit: 33,
            source: from,
            destination: to,
            payload_len,
        }
        .emit(&mut packet)
    } else {
        V4 {
            traffic_class: 0x02,
            identification: 0,
            fragment: V4::DONT_FRAGMENT,
            hop_limit: 33,
            protocol: 17,
            source: lsi(from[15]),
            destination: lsi(to[15]),
            payload_len,
        }
        .emit(&mut packet, &[])
    };
    packet.truncate(len);
    packet.extend([0x03, 0xe8, 0x07, 0xd0]);
    packet.extend((payload_len as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let sum = transport_sum(&packet);
    checksum::store_udp(&mut packet, len + 6, sum);
    packet
}

pub(crate) fn transport_sum(packet: &[u8]) -> u64 {
    let header = Header::parse(packet).unwrap();
    let (source, destination) = header.addresses(packet);
    let segment = &packet[header.len..header.total];
    let sum = checksum::pseudo_header(source, destination, header.protocol, segment.len());
    checksum::add(sum, segment)
}

fn pair() -> (Node, Node) {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    (a, b)
}

#[test]
fn by_hit_and_by_lsi() {
    let (a, b) = pair();
    for v6 in [true, false] {
        let sent = datagram(v6, 1, 2, b"hello");
        a.tun.send(&sent).unwrap();
        let got = receive(&b.tun);
        // Hop limit and ECN come from the outer header, which had them from the inner one.
        assert_eq!(got, sent);
        let back = datagram(v6, 2, 1, b"hello yourself");
        b.tun.send(&back).unwrap();
        assert_eq!(receive(&a.tun), back);
    }
}

#[test]
fn names_are_local() {
    // A knows B as 1.0.0.2, B knows A as 1.0.0.77.
    let (a, mut b) = pair();
    b.engine.set_lsi([1, 0, 0, 77], a.hit).unwrap();
    // The name that it had is nobody's now.
    b.tun.send(&datagram(false, 2, 1, b"hello")).unwrap();
    let nobody = Event::Acquire {
        destination: IpAddr::from(lsi(1)),
    };
    b.event("acquire", |event| (*event == nobody).then_some(()));
    a.tun.send(&datagram(false, 1, 2, b"hello")).unwrap();
    let got = receive(&b.tun);
    assert_eq!(got[12..20], [1, 0, 0, 77, 1, 0, 0, 2]);
    assert_eq!(checksum::fold(transport_sum(&got)), 0xffff);
    b.engine.remove_lsi([1, 0, 0, 77]);
    a.tun.send(&datagram(false, 1, 2, b"hello")).unwrap();
    b.wait_drops(DropReason::NoLsi, 1);
}

#[test]
fn packets_wait_for_a_security_association_and_leave_in_order() {
    let (mut a, b) = (Node::new(1), Node::new(2));
    for v6 in [true, false] {
        for n in 0..5u8 {
            a.tun.send(&datagram(v6, 1, 2, &[n])).unwrap();
        }
        let expected: IpAddr = match v6 {
            true => Ipv6Addr::from(hit(2)).into(),
            false => Ipv4Addr::from(lsi(2)).into(),
        };
        let got = a.event("acquire", |event| match event {
            Event::Acquire { destination } => Some(*destination),
            _ => None,
        });
        assert_eq!(got, expected);
    }
    let others = a.events();
    assert!(others.is_empty(), "once a second at most: {others:?}");
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let got = (0..10).map(|_| receive(&b.tun));
    // Those by LSI leave once the LSI is known, if that is later.
    let (by_lsi, by_hit): (Vec<_>, Vec<_>) = got.partition(|packet| packet[0] >> 4 == 4);
    for (version, packets) in [(Version::V6, by_hit), (Version::V4, by_lsi)] {
        let numbers: Vec<_> = packets
            .iter()
            .map(|packet| *packet.last().unwrap())
            .collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4], "{version:?}");
    }
}

#[test]
fn holding_is_bounded_and_can_be_ended() {
    let a = Node::new(1);
    for n in 0..100u8 {
        a.tun.send(&datagram(true, 1, 2, &[n])).unwrap();
    }
    a.wait_drops(DropReason::HeldOverflow, 36);
    let destination = Ipv6Addr::from(hit(2)).into();
    assert_eq!(a.engine.drop_held(destination), 64);
    assert_eq!(a.engine.drop_held(destination), 0);
    a.wait_drops(DropReason::HeldDiscarded, 64);
}

#[test]
fn what_does_not_fit_is_refused_by_icmp() {
    let (a, b) = pair();
    for v6 in [true, false] {
        let large = datagram(v6, 1, 2, &[7; 1460]);
        a.tun.send(&large).unwrap();
        let answer = receive(&a.tun);
        let header = Header::parse(&answer).unwrap();
        let message = &answer[header.len..];
        let mtu = match v6 {
            true => {
                assert_eq!((header.protocol, message[0]), (58, 2));
                u32::from_be_bytes(message[4..8].try_into().unwrap()) as usize
            }
            false => {
                assert_eq!((header.protocol, message[..2].to_vec()), (1, vec![3, 4]));
                u16::from_be_bytes(message[6..8].try_into().unwrap()).into()
            }
        };
        // Exactly what the answer promises passes, in one packet.
        let overhead = large.len() - 1460;
        let fits = datagram(v6, 1, 2, &vec![7; mtu - overhead]);
        a.tun.send(&fits).unwrap();
        assert_eq!(receive(&b.tun), fits);
        assert_eq!(a.engine.counter(Counter::FragmentsSent), 0);
    }
    assert_eq!(a.engine.drop_count(DropReason::PacketTooBig), 2);
    silent(&b.tun);
}

#[test]
fn ipv6_packets_of_1280_octets_pass_a_narrower_path() {
    let (a, b) = (Node::new(1), Node::new(2));
    let sa = |spi| Sa {
        mtu: 1280,
        ..Sa::new(spi)
    };
    connect(&a, &b, &sa(300), &sa(301));
    let sent = datagram(true, 1, 2, &[7; 1280 - 48]);
    a.tun.send(&sent).unwrap();
    // Fragments, for B's kernel to join.
    let mut payload = Vec::new();
    for _ in 0..2 {
        let got = receive(&b.tun);
        let header = Header::parse(&got).unwrap();
        assert_eq!((header.version, header.protocol), (Version::V6, 44));
        assert_eq!(got[40], 17);
        payload.extend_from_slice(&got[48..]);
    }
    assert_eq!(payload, sent[40..]);
}

#[test]
fn large_ipv4_packets_pass_if_they_may_be_fragmented() {
    let (a, b) = pair();
    let mut sent = datagram(false, 1, 2, &[7; 3000]);
    sent[6] = 0;
    esp_core::packet::ip::store_v4_checksum(&mut sent[..20]);
    a.tun.send(&sent).unwrap();
    let got = receive(&b.tun);
    assert_eq!(got[20..], sent[20..]);
    assert_eq!(b.engine.counter(Counter::Reassembled), 1);
}

#[test]
fn ipv4_fragments_are_joined_before_they_are_sealed() {
    let (a, b) = pair();
    let mut whole = datagram(false, 1, 2, &[7; 5000]);
    whole[6] = 0;
    // As the kernel cuts it for a TUN with an MTU of 1400, out of order.
    let pieces: Vec<_> = whole[20..]
        .chunks(1376)
        .enumerate()
        .map(|(n, payload)| {
            let last = n == 3;
            let mut packet = whole[..20].to_vec();
            let field = (n * 1376 / 8) as u16 | if last { 0 } else { 0x2000 };
            packet[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
            packet[6..8].copy_from_slice(&field.to_be_bytes());
            esp_core::packet::ip::store_v4_checksum(&mut packet);
            packet.extend_from_slice(payload);
            packet
        })
        .collect();
    for n in [1, 0, 3, 2] {
        a.tun.send(&pieces[n]).unwrap();
    }
    let got = receive(&b.tun);
    assert_eq!(got[20..], whole[20..]);
    assert_eq!(checksum::fold(transport_sum(&got)), 0xffff);
}

#[test]
fn strangers_and_nonsense_stay_out() {
    let (a, _b) = pair();
    let mut elsewhere = datagram(true, 1, 2, b"x");
    elsewhere[24] = 0xff;
    a.tun.send(&elsewhere).unwrap();
    a.wait_drops(DropReason::NotAPeerAddress, 1);
    a.tun.send(&datagram(true, 3, 2, b"x")).unwrap();
    a.wait_drops(DropReason::WrongSource, 1);
    a.tun.send(&[0; 9]).unwrap();
    a.wait_drops(DropReason::BadInnerPacket, 1);
}

#[test]
fn a_node_without_tun_takes_no_host_traffic() {
    let (a, _) = pair();
    let options = crate::node::Options {
        devices: false,
        ..Default::default()
    };
    let c = Node::with(3, options);
    let sa = Sa {
        segment: 0,
        ..Sa::new(500)
    };
    c.add_sa(Direction::In, &sa, a.identity());
    a.add_sa(Direction::Out, &sa, c.identity());
    a.tun.send(&datagram(true, 1, 3, b"x")).unwrap();
    c.wait_drops(DropReason::NoTun, 1);
}
