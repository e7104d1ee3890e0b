//! What comes from the network: other implementations, attackers, garbage.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use esp_core::{
    drops::DropReason,
    engine::{Direction, SaPath, ThreadOptions},
    esp::Sealer,
    events::{Event, ENGINE_EVENTS},
    stats::Counter,
    sys::fd::duplicate,
};

use crate::node::{connect, eventually, hit, ip_of, receive, silent, Node, Options, Sa};

/// A peer made of a socket and a cipher.
pub(crate) struct Stranger {
    pub socket: UdpSocket,
    sa: Sa,
    sealer: Sealer,
}

impl Stranger {
    pub(crate) fn new(node: &Node, spi: u32) -> Self {
        Self::number(9, node, spi)
    }

    pub(crate) fn number(number: u8, node: &Node, spi: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sa = Sa::new(spi);
        let identity = (hit(number), socket.local_addr().unwrap());
        node.add_sa(Direction::In, &sa, identity);
        let sealer = Sealer::new(sa.suite, spi, &sa.encryption_key(), &[]).unwrap();
        socket.connect(node.address).unwrap();
        Self { socket, sa, sealer }
    }

    pub(crate) fn sealed(&self, sequence: u64, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; self.sealer.sealed_len(payload.len())];
        packet[self.sealer.header_len()..][..payload.len()].copy_from_slice(payload);
        let sealed = self
            .sealer
            .seal(sequence, next_header, &mut packet, payload.len());
        sealed.unwrap();
        packet
    }

    pub(crate) fn send(&self, sequence: u64, next_header: u8, payload: &[u8]) {
        let packet = self.sealed(sequence, next_header, payload);
        self.socket.send(&packet).unwrap();
    }
}

/// EtherIP with a small broadcast frame.
pub(crate) fn etherip(number: u8) -> Vec<u8> {
    let mut payload = vec![0x30, 0];
    payload.extend([0xff; 6]);
    payload.extend([2, 0, 0, 0, 0, 9, 0x88, 0xb5, number]);
    payload
}

/// Numbers that look random, and are the same in every run.
fn generator(mut state: u64) -> impl FnMut() -> u32 {
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u32
    }
}

fn drops(node: &Node) -> u64 {
    DropReason::ALL
        .iter()
        .map(|reason| node.engine.drop_count(*reason))
        .sum()
}

#[test]
fn hip_keepalive_and_esp_are_told_apart() {
    let mut node = Node::new(1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(node.address).unwrap();
    socket.send(&[0xff]).unwrap();
    let packet: Vec<u8> = (0..48).collect();
    socket.send(&[&[0; 4][..], &packet].concat()).unwrap();
    let expected = Event::Control {
        data: packet.into(),
        local: ip_of(node.address),
        remote: ip_of(socket.local_addr().unwrap()),
        local_port: node.address.port(),
        remote_port: socket.local_addr().unwrap().port(),
    };
    node.event("control packet", |event| (*event == expected).then_some(()));
    assert_eq!(node.engine.counter(Counter::Keepalives), 1);
    socket.send(&[0; 20]).unwrap();
    node.wait_drops(DropReason::Runt, 1);
    socket.send(&[0; 4 + 2049]).unwrap();
    node.wait_drops(DropReason::ControlTooLong, 1);
    assert!(node.events().is_empty());
}

/// A STUN message without attributes: its first word, the cookie, a transaction id.
fn stun_message() -> Vec<u8> {
    [&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat()
}

#[test]
fn stun_messages_are_passed_up() {
    let mut node = Node::new(1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(node.address).unwrap();
    let message = stun_message();
    socket.send(&message).unwrap();
    let expected = Event::Stun {
        data: message.clone().into(),
        local: ip_of(node.address),
        remote: ip_of(socket.local_addr().unwrap()),
        local_port: node.address.port(),
        remote_port: socket.local_addr().unwrap().port(),
    };
    node.event("STUN message", |event| (*event == expected).then_some(()));
    assert_eq!(node.engine.counter(Counter::StunMessages), 1);
    assert_eq!(node.engine.drop_count(DropReason::UnknownSpi), 0);
    // With another length than its own it is but ESP of nobody.
    socket.send(&[&message[..], &[0; 4]].concat()).unwrap();
    node.wait_drops(DropReason::UnknownSpi, 1);
    assert_eq!(node.engine.counter(Counter::StunMessages), 1);
}

#[test]
fn esp_that_begins_like_stun_is_esp() {
    let mut node = Node::new(1);
    let payload = etherip(1);
    // Its length in place of the STUN length: octets 2 and 3 of the SPI.
    let len = Stranger::new(&node, 600).sealed(1, 97, &payload).len() as u32;
    let peer = Stranger::number(8, &node, 0x0101_0000 | (len - 20));
    peer.send(0x2112_A442, 97, &payload);
    assert_eq!(receive(&node.tap).last(), Some(&1));
    assert_eq!(node.engine.counter(Counter::StunMessages), 0);
    assert!(!node
        .events()
        .iter()
        .any(|event| matches!(event, Event::Stun { .. })));
    // The same datagram, when the SPI is not installed.
    let packet = peer.sealed(0x2112_A442, 97, &payload);
    let other = Node::new(2);
    peer.socket.connect(other.address).unwrap();
    peer.socket.send(&packet).unwrap();
    eventually("a STUN message", || {
        (other.engine.counter(Counter::StunMessages) == 1).then_some(())
    });
}

#[test]
fn a_replayed_packet_is_refused_and_the_first_is_told_once() {
    let mut node = Node::new(1);
    let peer = Stranger::new(&node, 600);
    let packet = peer.sealed(1, 97, &etherip(1));
    for _ in 0..3 {
        peer.socket.send(&packet).unwrap();
    }
    node.wait_drops(DropReason::Replayed, 2);
    peer.send(2, 97, &etherip(2));
    assert_eq!(receive(&node.tap).last(), Some(&1));
    assert_eq!(receive(&node.tap).last(), Some(&2));
    silent(&node.tap);
    assert_eq!(node.events(), [Event::FirstData { spi: 600 }]);
    let line = &node.engine.security_associations()[0];
    let numbers = line.numbers;
    assert_eq!(
        (numbers.packets, numbers.replayed, numbers.sequence),
        (2, 2, 2)
    );
    assert!(line.last_used_s.is_some_and(|s| s < 5.0));
}

#[test]
fn a_forged_packet_moves_no_window() {
    let mut node = Node::new(1);
    let peer = Stranger::new(&node, 600);
    let mut forged = peer.sealed(1_000_000, 97, &etherip(1));
    *forged.last_mut().unwrap() ^= 1;
    peer.socket.send(&forged).unwrap();
    node.wait_drops(DropReason::AuthFailed, 1);
    assert!(
        node.events().is_empty(),
        "not authentic, so not the first data"
    );
    peer.send(1, 97, &etherip(1));
    assert_eq!(receive(&node.tap).last(), Some(&1));
    assert_eq!(
        node.engine.security_associations()[0].numbers.auth_failed,
        1
    );
}

#[test]
fn an_unknown_spi_is_told_once_a_second() {
    let mut node = Node::new(1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(node.address).unwrap();
    let packet = [&0x0001_0203u32.to_be_bytes()[..], &[7; 60]].concat();
    for _ in 0..50 {
        socket.send(&packet).unwrap();
    }
    node.wait_drops(DropReason::UnknownSpi, 50);
    let address = socket.local_addr().unwrap();
    let expected = Event::UnknownSpi {
        spi: 0x0001_0203,
        remote: address.ip(),
        remote_port: address.port(),
    };
    assert_eq!(node.events(), [expected]);
}

#[test]
fn authentic_nonsense_is_counted_and_dropped() {
    let node = Node::new(1);
    let peer = Stranger::new(&node, 600);
    let payloads: [(u8, &[u8], DropReason); 7] = [
        (97, &[0x30], DropReason::BadEtherIp),
        (97, &[0x40, 0, 1, 2, 3], DropReason::BadEtherIp),
        (97, &[0x30, 0, 1, 2, 3], DropReason::FrameTooShort),
        (44, &[97, 0, 0], DropReason::FragmentMalformed),
        (94, &[6, 200, 0, 0], DropReason::BadBeet),
        (0, &[1; 60], DropReason::BadBeet),
        (1, &[8; 60], DropReason::NoLsi),
    ];
    for (n, (next_header, payload, reason)) in payloads.iter().enumerate() {
        let before = node.engine.drop_count(*reason);
        peer.send(n as u64 + 1, *next_header, payload);
        node.wait_drops(*reason, before + 1);
    }
    peer.send(100, 59, &[1; 60]);
    node.wait_counter(Counter::DummyPackets, 1);
    assert_eq!(drops(&node), payloads.len() as u64);
    silent(&node.tap);
}

#[test]
fn unmarked_ipv4_is_told_by_who_began() {
    // Another implementation's answers do not say that its application speaks IPv4.
    let node = Node::new(1);
    let peer = Stranger::new(&node, 600);
    node.engine.set_lsi([1, 0, 0, 9], hit(9)).unwrap();
    let out = Sa::new(700);
    let peer_address = peer.socket.local_addr().unwrap();
    node.add_sa(Direction::Out, &out, (hit(9), peer_address));
    let udp = |from: u16, to: u16| {
        let mut segment = [from.to_be_bytes(), to.to_be_bytes(), [0, 8], [0, 0]].concat();
        segment[6..].copy_from_slice(&[0x12, 0x34]);
        segment
    };
    peer.send(1, 17, &udp(53, 4000));
    assert_eq!(receive(&node.tun)[0] >> 4, 6);
    // This host asks by LSI; what answers is IPv4.
    let mut packet = vec![0; 20];
    esp_core::packet::ip::V4 {
        traffic_class: 0,
        identification: 0,
        fragment: 0,
        hop_limit: 64,
        protocol: 17,
        source: [1, 0, 0, 1],
        destination: [1, 0, 0, 9],
        payload_len: 8,
    }
    .emit(&mut packet, &[]);
    packet.extend(udp(4000, 53));
    node.tun.send(&packet).unwrap();
    let mut buffer = [0; 200];
    peer.socket.recv(&mut buffer).unwrap();
    peer.send(2, 17, &udp(53, 4000));
    let got = receive(&node.tun);
    assert_eq!(got[0], 0x45);
    assert_eq!(got[12..20], [1, 0, 0, 9, 1, 0, 0, 1]);
    // Another flow is not affected.
    peer.send(3, 17, &udp(54, 4000));
    assert_eq!(receive(&node.tun)[0] >> 4, 6);
    assert_eq!(peer.sa.spi, 600);
}

#[test]
fn garbage_disturbs_nothing() {
    let (a, mut b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    attacker.connect(b.address).unwrap();
    let mut random = generator(1);
    for round in 0..200u8 {
        for _ in 0..30 {
            let len = random() as usize % 1500;
            let mut packet: Vec<u8> = (0..len).map(|_| random() as u8).collect();
            if len >= 8 {
                match random() % 4 {
                    0 => packet[..4].fill(0),
                    // A known SPI, forged in all else.
                    1 => packet[..4].copy_from_slice(&300u32.to_be_bytes()),
                    _ => {}
                }
            }
            attacker.send(&packet).unwrap();
        }
        let mut sent = vec![0xff; 6];
        sent.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5, round]);
        a.tap.send(&sent).unwrap();
        assert_eq!(receive(&b.tap), sent);
    }
    let events = b.events();
    assert!(events.len() <= ENGINE_EVENTS);
    assert!(!events
        .iter()
        .any(|event| matches!(event, Event::Fatal { .. })));
    let unknown = |event: &&Event| matches!(event, Event::UnknownSpi { .. });
    assert!(events.iter().filter(unknown).count() < 20, "rate-limited");
}

#[test]
fn authentic_garbage_disturbs_nothing() {
    // A peer that has the keys, and loses its mind.
    let mut node = Node::with(
        1,
        Options {
            mss_clamp: true,
            ..Options::default()
        },
    );
    let peer = Stranger::new(&node, 600);
    node.engine.set_lsi([1, 0, 0, 9], hit(9)).unwrap();
    let mut random = generator(7);
    for sequence in 1..8_000u64 {
        let len = random() as usize % 200;
        let mut payload: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        let next_header = [97, 44, 94, 1, 6, 17, 58, 60, 0, 59, random() as u8];
        let next_header = next_header[random() as usize % next_header.len()];
        if len >= 30 {
            match next_header {
                97 => {
                    payload[..2].copy_from_slice(&[0x30, 0]);
                    payload[2] &= 0xfe;
                    payload[8] &= 0xfe;
                    let types = [[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8]];
                    payload[14..16].copy_from_slice(&types[random() as usize % 4]);
                    payload[16] = [0x45, 0x60, 0x46][random() as usize % 3];
                }
                44 => {
                    payload[0] = [97, 94, 1, 17][random() as usize % 4];
                    // Few packets, so that their pieces meet.
                    payload[2] &= 0x03;
                    payload[4..8].copy_from_slice(&[0, 0, 0, random() as u8 % 4]);
                }
                94 => payload[1..3].copy_from_slice(&[random() as u8 % 6, random() as u8 & 4]),
                _ => {}
            }
        }
        peer.send(sequence, next_header, &payload);
        if sequence % 16 == 0 {
            for device in [&node.tap, &node.tun] {
                device.set_nonblocking(true).unwrap();
                while device.recv(&mut [0; 2048]).is_ok() {}
                device.set_nonblocking(false).unwrap();
            }
        }
    }
    node.wait_counter(Counter::NetRxPackets, 7_000);
    peer.send(8_000, 97, &etherip(42));
    eventually("the frame after the garbage", || {
        (receive(&node.tap).last() == Some(&42)).then_some(())
    });
    let fatal = |event: &Event| matches!(event, Event::Fatal { .. });
    assert!(!node.events().iter().any(fatal));
}

#[test]
fn garbage_from_the_devices_disturbs_nothing() {
    let (mut a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let mut random = generator(11);
    for _ in 0..5_000 {
        let len = random() as usize % 120;
        let mut packet: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        if len > 40 && random() % 4 > 0 {
            if random() % 2 == 0 {
                packet[0] = 0x60;
                packet[4] = 0;
                packet[5] %= 80;
                packet[8..24].copy_from_slice(&a.hit);
                packet[24..40].copy_from_slice(&b.hit);
            } else {
                packet[0] = 0x45;
                packet[2] = 0;
                packet[12..16].copy_from_slice(&a.lsi);
                packet[16..20].copy_from_slice(&b.lsi);
            }
        }
        a.tun.send(&packet).unwrap();
        a.tap.send(&packet).unwrap();
    }
    for device in [&b.tap, &b.tun] {
        device.set_nonblocking(true).unwrap();
        while device.recv(&mut [0; 2048]).is_ok() {}
        device.set_nonblocking(false).unwrap();
    }
    let mut sent = vec![0xff; 6];
    sent.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5, 42]);
    b.tap
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    eventually("the frame after the garbage", || {
        // What was left of the flood may have filled the device when it came.
        a.tap.send(&sent).unwrap();
        let mut buffer = [0; 2048];
        while let Ok(len) = b.tap.recv(&mut buffer) {
            if buffer[..len] == sent {
                return Some(());
            }
        }
        None
    });
    let fatal = |event: &Event| matches!(event, Event::Fatal { .. });
    assert!(!a.events().iter().any(fatal));
}

#[test]
fn a_bulk_of_frames_arrives_in_order() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let count = AtomicU32::new(0);
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let numbers = (0..20_000).map(|_| {
                let frame = receive(&b.tap);
                count.fetch_add(1, Ordering::Relaxed);
                u32::from_be_bytes(frame[14..18].try_into().unwrap())
            });
            numbers.collect::<Vec<_>>()
        });
        for n in 0..20_000u32 {
            let mut frame = vec![0xff; 6];
            frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
            frame.extend(n.to_be_bytes());
            frame.resize(60 + (n % 1400) as usize, 0);
            a.tap.send(&frame).unwrap();
            // The socket pair in place of the TAP holds ten packets; the tunnel loses none.
            if n % 8 == 7 {
                eventually("progress", || {
                    (count.load(Ordering::Relaxed) == n + 1).then_some(())
                });
            }
        }
        receiver.join().unwrap()
    });
    assert!(received.iter().copied().eq(0..20_000));
}

#[test]
fn what_cannot_be_used_is_refused() {
    let node = Node::with(
        1,
        Options {
            devices: false,
            ..Options::default()
        },
    );
    let late = node.engine.add_udp_socket(0).unwrap_err();
    assert!(late.to_string().contains("started"), "{late}");
    let path = |remote: &str, udp, mtu| SaPath {
        local: None,
        remote: remote.parse().unwrap(),
        udp,
        local_port: 0,
        remote_port: 10500,
        mtu,
        interface: 0,
        verified: true,
        wire_spi: 0,
    };
    let refused = |path: &SaPath, expected: &str| {
        let error = node.engine.move_sa(300, hit(2), path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused(&path("::1", true, 1500), "no UDP socket for IPv6");
    refused(
        &path("127.0.0.1", false, 1500),
        "no raw ESP socket for IPv4",
    );
    refused(&path("127.0.0.1", true, 100), "path MTU");
    refused(&path("127.0.0.1", true, 1500), "0x0000012c");
    let engine = esp_core::engine::Engine::new().unwrap();
    assert!(engine.add_udp_socket(-1).is_err());
    let file = std::fs::File::open("/dev/null").unwrap();
    let file = std::os::fd::AsRawFd::as_raw_fd(&file);
    assert!(engine.add_udp_socket(file).is_err());
    assert!(engine.add_esp_socket(file).is_err());
    assert!(duplicate(file).is_ok());
    engine.start(ThreadOptions::default()).unwrap();
    assert!(engine.start(ThreadOptions::default()).is_err());
    engine.stop();
    engine.stop();
}
