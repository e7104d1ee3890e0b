//! Ethernet segments.

use esp_core::{
    drops::DropReason,
    engine::Direction,
    packet::{
        checksum,
        ip::{Header, TCP_SYN, V4},
    },
    stats::Counter,
    suite::Suite,
};

use crate::node::{connect, eventually, receive, silent, Node, Options, Sa, SEGMENT};

const BROADCAST: [u8; 6] = [0xff; 6];

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn frame(to: [u8; 6], from: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = [&to[..], &from, &[0x88, 0xb5]].concat();
    frame.extend((0..len).map(|n| n as u8));
    frame
}

#[test]
fn every_suite_both_families_both_ways() {
    for v6 in [false, true] {
        let options = Options {
            v6,
            ..Options::default()
        };
        for suite in Suite::ALL {
            let (a, b) = (Node::with(1, options), Node::with(2, options));
            let sa = |spi| Sa {
                suite,
                ..Sa::new(spi)
            };
            connect(&a, &b, &sa(300), &sa(301));
            for len in [0, 46, 1000] {
                let there = frame(mac(2), mac(1), len);
                a.tap.send(&there).unwrap();
                assert_eq!(receive(&b.tap), there, "{}", suite.name());
                let back = frame(mac(1), mac(2), len);
                b.tap.send(&back).unwrap();
                assert_eq!(receive(&a.tap), back, "{}", suite.name());
            }
        }
    }
}

#[test]
fn a_full_frame_crosses_any_path() {
    for (mtu, pieces) in [(1500, 2), (1280, 2), (576, 4)] {
        let (a, b) = (Node::new(1), Node::new(2));
        let sa = |spi| Sa {
            mtu,
            ..Sa::new(spi)
        };
        connect(&a, &b, &sa(300), &sa(301));
        for _ in 0..3 {
            let full = frame(mac(2), mac(1), 1500);
            a.tap.send(&full).unwrap();
            assert_eq!(receive(&b.tap), full);
        }
        a.wait_counter(Counter::FragmentsSent, 3 * pieces);
        assert_eq!(a.engine.counter(Counter::FragmentsSent), 3 * pieces);
        assert_eq!(b.engine.counter(Counter::Reassembled), 3);
    }
}

#[test]
fn vlan_tags_are_kept_and_keep_addresses_apart() {
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    connect(&a, &c, &Sa::new(302), &Sa::new(303));
    let tagged = |to: u8, from: u8, vlan: u8| {
        let mut frame = frame(mac(to), mac(from), 100);
        frame.splice(12..12, [0x81, 0x00, 0xe0, vlan]);
        frame
    };
    // The same address in two VLANs, at two sites.
    b.tap.send(&tagged(1, 9, 10)).unwrap();
    assert_eq!(receive(&a.tap), tagged(1, 9, 10));
    c.tap.send(&tagged(1, 9, 20)).unwrap();
    assert_eq!(receive(&a.tap), tagged(1, 9, 20));
    a.tap.send(&tagged(9, 1, 10)).unwrap();
    a.tap.send(&tagged(9, 1, 20)).unwrap();
    assert_eq!(receive(&b.tap), tagged(9, 1, 10));
    assert_eq!(receive(&c.tap), tagged(9, 1, 20));
    silent(&b.tap);
    let mut vlans: Vec<_> = a.engine.mac_table(SEGMENT).unwrap();
    vlans.sort_by_key(|line| line.vlan);
    assert_eq!((vlans[0].vlan, vlans[0].peer_hit), (10, b.hit));
    assert_eq!((vlans[1].vlan, vlans[1].peer_hit), (20, c.hit));
}

#[test]
fn a_triangle_floods_learns_and_never_loops() {
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    connect(&b, &c, &Sa::new(302), &Sa::new(303));
    connect(&c, &a, &Sa::new(304), &Sa::new(305));
    let shout = frame(BROADCAST, mac(1), 60);
    a.tap.send(&shout).unwrap();
    assert_eq!(receive(&b.tap), shout);
    assert_eq!(receive(&c.tap), shout);
    for node in [&a, &b, &c] {
        silent(&node.tap);
    }
    assert_eq!(a.engine.counter(Counter::FloodedFrames), 2);
    // B knows A's station now; C hears nothing of it.
    let answer = frame(mac(1), mac(2), 60);
    b.tap.send(&answer).unwrap();
    assert_eq!(receive(&a.tap), answer);
    silent(&c.tap);
    // The station moves to C's site: B follows it as soon as it is heard there.
    let moved = frame(BROADCAST, mac(1), 61);
    c.tap.send(&moved).unwrap();
    assert_eq!(receive(&a.tap), moved);
    assert_eq!(receive(&b.tap), moved);
    b.tap.send(&answer).unwrap();
    assert_eq!(receive(&c.tap), answer);
    silent(&a.tap);
    assert_eq!(b.engine.counter(Counter::MacsMoved), 1);
}

#[test]
fn an_address_that_comes_home_is_forgotten() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    b.tap.send(&frame(BROADCAST, mac(7), 60)).unwrap();
    receive(&a.tap);
    assert_eq!(a.engine.mac_table(SEGMENT).unwrap().len(), 1);
    a.tap.send(&frame(BROADCAST, mac(7), 60)).unwrap();
    receive(&b.tap);
    assert!(a.engine.mac_table(SEGMENT).unwrap().is_empty());
    // Flushing does the same for all.
    assert_eq!(b.engine.flush_macs(SEGMENT, Some(a.hit)).unwrap(), 1);
    assert_eq!(b.engine.flush_macs(SEGMENT, None).unwrap(), 0);
    assert!(b.engine.mac_table(9).is_err());
}

#[test]
fn frames_that_no_bridge_forwards() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    for last in 0..16 {
        let to = [0x01, 0x80, 0xc2, 0, 0, last];
        a.tap.send(&frame(to, mac(1), 60)).unwrap();
    }
    a.wait_drops(DropReason::LinkLocalFrame, 16);
    a.tap.send(&frame(mac(2), BROADCAST, 60)).unwrap();
    a.wait_drops(DropReason::GroupSource, 1);
    a.tap.send(&[1, 2, 3]).unwrap();
    a.wait_drops(DropReason::FrameTooShort, 1);
    silent(&b.tap);
}

#[test]
fn without_security_association_nothing_goes() {
    let (a, b) = (Node::new(1), Node::new(2));
    a.tap.send(&frame(BROADCAST, mac(1), 60)).unwrap();
    a.wait_drops(DropReason::NoPeer, 1);
    // A peer of another kind gets no frames, and may not send any.
    let sa = |spi| Sa {
        segment: 0,
        ..Sa::new(spi)
    };
    connect(&a, &b, &Sa::new(300), &sa(301));
    b.tap.send(&frame(BROADCAST, mac(2), 60)).unwrap();
    b.wait_drops(DropReason::NoPeer, 1);
    let (c, d) = (Node::new(3), Node::new(4));
    c.add_sa(Direction::Out, &Sa::new(300), d.identity());
    d.add_sa(Direction::In, &sa(300), c.identity());
    c.tap.send(&frame(BROADCAST, mac(3), 60)).unwrap();
    d.wait_drops(DropReason::NoSegment, 1);
}

#[test]
fn a_new_security_association_takes_over() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let sent = frame(mac(2), mac(1), 60);
    let sequence = |spi: u32| {
        let lines = a.engine.security_associations();
        let line = lines.iter().find(|line| line.spi == spi).unwrap();
        line.numbers.sequence
    };
    let send = || {
        a.tap.send(&sent).unwrap();
        assert_eq!(receive(&b.tap), sent);
    };
    send();
    connect(&a, &b, &Sa::new(400), &Sa::new(401));
    send();
    send();
    assert_eq!((sequence(300), sequence(400)), (1, 2));
    // Installing it again with the same keys must not begin with number 1 again.
    connect(&a, &b, &Sa::new(400), &Sa::new(401));
    send();
    assert_eq!(sequence(400), 3);
    // When it goes, the older one carries the traffic again.
    a.engine.remove_sa(Direction::Out, 400, b.hit);
    send();
    assert_eq!(sequence(300), 2);
}

#[test]
fn packets_follow_a_move() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let elsewhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = a.path_to(elsewhere.local_addr().unwrap(), 1500);
    a.engine.move_sa(300, b.hit, &path).unwrap();
    a.tap.send(&frame(mac(2), mac(1), 60)).unwrap();
    let mut packet = [0; 200];
    let (len, from) = elsewhere.recv_from(&mut packet).unwrap();
    assert_eq!(packet[..4], 300u32.to_be_bytes());
    assert_eq!((len % 4, from), (0, a.address));
    assert!(a.engine.move_sa(999, b.hit, &path).is_err());
}

#[test]
fn mss_is_clamped_on_both_sides() {
    let with_clamp = Options {
        mss_clamp: true,
        ..Options::default()
    };
    for (first, second) in [(true, false), (false, true)] {
        let pick = |clamp| {
            if clamp {
                with_clamp
            } else {
                Options::default()
            }
        };
        let (a, b) = (Node::with(1, pick(first)), Node::with(2, pick(second)));
        connect(&a, &b, &Sa::new(300), &Sa::new(301));
        let mut packet = vec![0; 44];
        V4 {
            traffic_class: 0,
            identification: 0,
            fragment: V4::DONT_FRAGMENT,
            hop_limit: 64,
            protocol: 6,
            source: [10, 0, 0, 1],
            destination: [10, 0, 0, 2],
            payload_len: 24,
        }
        .emit(&mut packet, &[]);
        packet[32] = 0x60;
        packet[33] = TCP_SYN;
        packet[40..].copy_from_slice(&[2, 4, 0x05, 0xb4]);
        let sum = checksum::pseudo_header(&[10, 0, 0, 1], &[10, 0, 0, 2], 6, 24);
        let sum = checksum::add(sum, &packet[20..]);
        checksum::store(&mut packet, 36, sum);
        let mut syn = frame(mac(2), mac(1), 0);
        syn[12..].copy_from_slice(&[0x08, 0x00]);
        syn.extend(&packet);
        a.tap.send(&syn).unwrap();
        let got = receive(&b.tap);
        let mss = usize::from(u16::from_be_bytes([got[56], got[57]]));
        let mtu = mss + 40;
        assert!((1400..1440).contains(&mtu), "{mtu}");
        assert!(Header::parse(&got[14..]).is_some());
        let sum = checksum::pseudo_header(&[10, 0, 0, 1], &[10, 0, 0, 2], 6, 24);
        assert_eq!(checksum::fold(checksum::add(sum, &got[34..])), 0xffff);
        // What was promised holds: such a segment is not fragmented, one octet more is.
        a.tap.send(&frame(mac(2), mac(1), mtu)).unwrap();
        receive(&b.tap);
        assert_eq!(a.engine.counter(Counter::FragmentsSent), 0);
        a.tap.send(&frame(mac(2), mac(1), mtu + 4)).unwrap();
        receive(&b.tap);
        assert_eq!(a.engine.counter(Counter::FragmentsSent), 2);
        eventually("count", || {
            let clamped = a.engine.counter(Counter::MssClamped);
            (clamped + b.engine.counter(Counter::MssClamped) == 1).then_some(())
        });
    }
}
