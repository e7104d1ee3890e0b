//! What becomes of security associations while packets flow: they are rekeyed, moved, added and
//! removed, and their peers turn up elsewhere.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use esp_core::{
    drops::DropReason,
    engine::{Direction, PacketForm, SaParameters, SaPath},
    events::Event,
    suite::Suite,
};

use crate::{
    node::{connect, eventually, hit, receive, silent, Node, Sa},
    wire::{etherip, Stranger},
};

/// Frames under way at a time. The socket pair in place of the TAP holds ten.
const WINDOW: u64 = 8;

fn frame(number: u64) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.resize(60 + (number % 1400) as usize, 0);
    frame.extend(number.to_be_bytes());
    frame
}

/// Numbered frames from one node to another as fast as they go, from other threads.
#[derive(Default)]
struct Flow {
    arrived: AtomicU64,
    stop: AtomicBool,
}

impl Flow {
    /// Have frames flow while `work` runs; each has to arrive, and in order.
    fn during(&self, a: &Node, b: &Node, work: impl FnOnce()) {
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut sent = 0;
                while !self.stop.load(Ordering::Relaxed) {
                    if sent - self.arrived.load(Ordering::Relaxed) >= WINDOW {
                        thread::yield_now();
                        continue;
                    }
                    a.tap.send(&frame(sent)).unwrap();
                    sent += 1;
                }
                sent
            });
            let receiver = scope.spawn(|| {
                let mut expected = 0u64;
                let mut wrong = None;
                b.tap
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .unwrap();
                let mut buffer = [0; 2000];
                loop {
                    match b.tap.recv(&mut buffer) {
                        Ok(len) => {
                            let number = buffer[len - 8..len].try_into().unwrap();
                            let number = u64::from_be_bytes(number);
                            if number != expected {
                                wrong = wrong.or(Some((expected, number)));
                            }
                            expected += 1;
                            self.arrived.fetch_add(1, Ordering::Relaxed);
                        }
                        // Nothing is under way any more.
                        Err(_) if self.stop.load(Ordering::Relaxed) => return (expected, wrong),
                        Err(_) => {}
                    }
                }
            });
            // Also when the work fails.
            let stop = StopAtEnd(&self.stop);
            work();
            drop(stop);
            let sent = sender.join().unwrap();
            let (arrived, wrong) = receiver.join().unwrap();
            assert_eq!(wrong, None, "expected this frame, and the other came");
            assert_eq!(arrived, sent, "lost");
        });
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Wait until so many more are through.
    fn wait_for_more(&self, count: u64) {
        let target = self.arrived() + count;
        eventually("that frames flow", || {
            (self.arrived() >= target).then_some(())
        });
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn assert_no_drops(node: &Node) {
    for reason in DropReason::ALL {
        assert_eq!(node.engine.drop_count(*reason), 0, "{}", reason.name());
    }
}

#[test]
fn rekeying_under_load_loses_and_reorders_nothing() {
    let (a, b) = (Node::new(1), Node::new(2));
    let first = Sa {
        key: 255,
        ..Sa::new(300)
    };
    connect(&a, &b, &first, &Sa::new(600));
    // As many as there are different keys in these tests.
    let generation = |n: u32| Sa {
        key: n as u8,
        ..Sa::new(1000 + n)
    };
    let flow = Flow::default();
    flow.during(&a, &b, || {
        flow.wait_for_more(1);
        for n in 1..=200 {
            let new = generation(n);
            // Inbound first: with the outbound one there, packets come (RFC 7402 §6.9).
            b.add_sa(Direction::In, &new, a.identity());
            a.add_sa(Direction::Out, &new, b.identity());
            match n {
                1 => a.engine.remove_sa(Direction::Out, 300, b.hit),
                _ => a.engine.remove_sa(Direction::Out, 1000 + n - 1, b.hit),
            }
            if n % 3 == 0 {
                // Again, as after a lost answer: it goes on with its next number.
                a.add_sa(Direction::Out, &new, b.identity());
                b.add_sa(Direction::In, &new, a.identity());
            }
            flow.wait_for_more(2 * WINDOW + 20);
            // All that the one before carried has arrived by now.
            if n > 1 {
                let numbers = b.inbound(1000 + n - 1);
                assert_eq!(numbers.packets, numbers.sequence, "a hole");
                assert!(numbers.packets > 0);
                assert_eq!((numbers.replayed, numbers.lost), (0, 0));
                b.engine.remove_sa(Direction::In, 1000 + n - 1, a.hit);
            }
        }
    });
    assert_no_drops(&a);
    assert_no_drops(&b);
}

#[test]
fn the_old_and_the_new_inbound_one_side_by_side() {
    let mut node = Node::new(1);
    let old = Stranger::new(&node, 600);
    let new = Stranger::new(&node, 700);
    for n in 1..=20u8 {
        let from = if n % 2 == 0 { &old } else { &new };
        from.send(n.div_ceil(2).into(), 97, &etherip(n));
        assert_eq!(receive(&node.tap).last(), Some(&n));
    }
    node.engine.remove_sa(Direction::In, 600, hit(9));
    for n in 11..=13 {
        old.send(n, 97, &etherip(77));
    }
    node.wait_drops(DropReason::UnknownSpi, 3);
    new.send(11, 97, &etherip(21));
    assert_eq!(receive(&node.tap).last(), Some(&21));
    let told = node.events();
    let unknown = |event: &&Event| matches!(event, Event::UnknownSpi { spi: 600, .. });
    assert_eq!(told.iter().filter(unknown).count(), 1, "{told:?}");
}

#[test]
fn keys_do_not_begin_anew() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    a.tap.send(&frame(1)).unwrap();
    receive(&b.tap);
    let refused = |node: &Node, direction, sa: &Sa, peer: &Node| {
        let error = node.try_add_sa(direction, sa, peer.identity()).unwrap_err();
        assert!(error.to_string().contains("in use before"), "{error}");
    };
    let shorter_icv = Sa {
        suite: Suite::AesGcm8,
        ..Sa::new(300)
    };
    let other_name = Sa {
        spi: 302,
        ..Sa::new(300)
    };
    for _ in 0..2 {
        refused(&a, Direction::Out, &shorter_icv, &b);
        refused(&a, Direction::Out, &other_name, &b);
        a.engine.remove_sa(Direction::Out, 300, b.hit);
        b.engine.remove_sa(Direction::In, 300, a.hit);
        refused(&a, Direction::Out, &Sa::new(300), &b);
        refused(&b, Direction::In, &Sa::new(300), &a);
    }
    let fresh = Sa {
        key: 7,
        ..Sa::new(300)
    };
    b.add_sa(Direction::In, &fresh, a.identity());
    a.add_sa(Direction::Out, &fresh, b.identity());
    a.tap.send(&frame(2)).unwrap();
    assert_eq!(receive(&b.tap), frame(2));
}

#[test]
fn ten_thousands_come_and_go_while_packets_flow() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = a.path_to(elsewhere.local_addr().unwrap(), 1500);
    let hit_of = |n: u32| {
        let mut hit = hit(0xee);
        hit[12..].copy_from_slice(&n.to_be_bytes());
        hit
    };
    let add = |n: u32| {
        let mut key = [0x5a; 20];
        key[..4].copy_from_slice(&n.to_be_bytes());
        for (node, direction) in [(&a, Direction::Out), (&b, Direction::In)] {
            node.engine
                .add_sa(&SaParameters {
                    direction,
                    spi: 10_000 + n,
                    suite: Suite::AesGcm16.id(),
                    encryption_key: &key,
                    authentication_key: &[],
                    local_hit: node.hit,
                    peer_hit: hit_of(n),
                    path: path.clone(),
                    segment: 0,
                    replay_window: 1024,
                    form: PacketForm::default(),
                })
                .unwrap();
        }
    };
    let remove = |n: u32| {
        a.engine.remove_sa(Direction::Out, 10_000 + n, hit_of(n));
        b.engine.remove_sa(Direction::In, 10_000 + n, hit_of(n));
    };
    let flow = Flow::default();
    flow.during(&a, &b, || {
        flow.wait_for_more(1);
        for n in 0..20_000 {
            add(n);
            if n >= 1_000 {
                remove(n - 1_000);
            }
            if n % 1_000 == 999 {
                // Neither waits for the other: frames have passed meanwhile, and pass at once.
                flow.wait_for_more(1);
            }
        }
    });
    assert_no_drops(&a);
    assert_no_drops(&b);
    assert_eq!(a.engine.security_associations().len(), 1_002);
}

/// What is told of sources, once a packet sent behind what may have caused it is through.
fn sources(node: &mut Node, probe: &Stranger, sequence: u64) -> Vec<(u32, u16)> {
    probe.send(sequence, 97, &etherip(200));
    while receive(&node.tap).last() != Some(&200) {}
    let changes = node.events().into_iter().filter_map(|event| match event {
        Event::SourceChanged {
            spi,
            local,
            local_port,
            remote,
            remote_port,
            udp,
        } => {
            assert!(local.is_loopback() && remote.is_loopback() && udp);
            assert_eq!(local_port, node.address.port());
            Some((spi, remote_port))
        }
        _ => None,
    });
    changes.collect()
}

#[test]
fn a_peer_that_turns_up_elsewhere_is_told_once() {
    let mut node = Node::new(1);
    let probe = Stranger::number(8, &node, 500);
    let peer = Stranger::new(&node, 600);
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let address = node.address;
    let send_there = |packet: &[u8]| elsewhere.send_to(packet, address).unwrap();
    let at = |sequence| peer.sealed(sequence, 97, &etherip(1));

    peer.send(1, 97, &etherip(1));
    let known = at(2);
    peer.socket.send(&known).unwrap();
    // Neither replayed nor forged packets, nor any of an unknown SPI, say where a peer is.
    let mut forged = at(9);
    *forged.last_mut().unwrap() ^= 1;
    for packet in [&known, &forged, &vec![3; 80]] {
        send_there(packet);
    }
    assert_eq!(sources(&mut node, &probe, 1), []);
    // A newer one does, and only the first of several.
    for sequence in [4, 5, 6] {
        send_there(&at(sequence));
    }
    assert_eq!(sources(&mut node, &probe, 2), [(600, port)]);
    // A late one from the old place does not.
    peer.send(3, 97, &etherip(1));
    send_there(&at(7));
    assert_eq!(sources(&mut node, &probe, 3), []);
    // Back again: told as soon as a quarter of a second has passed, and once.
    let mut sequence = 7;
    let mut told = Vec::new();
    eventually("the news of the return", || {
        sequence += 1;
        peer.send(sequence, 97, &etherip(1));
        told.extend(sources(&mut node, &probe, sequence));
        (!told.is_empty()).then_some(())
    });
    peer.send(sequence + 1, 97, &etherip(1));
    told.extend(sources(&mut node, &probe, sequence + 1));
    assert_eq!(told, [(600, peer.socket.local_addr().unwrap().port())]);
}

#[test]
fn a_peer_that_hops_with_every_packet_is_told_of_a_few_times() {
    let mut node = Node::new(1);
    let probe = Stranger::number(8, &node, 500);
    let peer = Stranger::new(&node, 600);
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let began = std::time::Instant::now();
    for sequence in 1..=2000 {
        if sequence % 2 == 0 {
            peer.send(sequence, 97, &etherip(1));
        } else {
            let packet = peer.sealed(sequence, 97, &etherip(1));
            elsewhere.send_to(&packet, node.address).unwrap();
        }
        receive(&node.tap);
    }
    let told = sources(&mut node, &probe, 1).len() as u128;
    let most = 2 + began.elapsed().as_millis() / 250;
    assert!((1..=most).contains(&told), "{told} of {most}");
}

#[test]
fn an_unverified_address_gets_no_more_than_came_from_the_peer() {
    let node = Node::new(1);
    let peer = Stranger::new(&node, 600);
    let place = UdpSocket::bind("127.0.0.1:0").unwrap();
    place
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let out = Sa::new(700);
    let to = (hit(9), peer.socket.local_addr().unwrap());
    node.add_sa(Direction::Out, &out, to);
    let path = node.path_to(place.local_addr().unwrap(), 1500);
    let unverified = SaPath {
        verified: false,
        ..path.clone()
    };
    node.engine.move_sa(out.spi, hit(9), &unverified).unwrap();
    let send = |count: u64| {
        let before = node.engine.drop_count(DropReason::NoCredit);
        for n in 0..count {
            node.tap.send(&frame(n)).unwrap();
        }
        let mut octets = 0;
        let mut packets = 0;
        let mut buffer = [0; 2000];
        while let Ok(len) = place.recv(&mut buffer) {
            octets += 28 + len;
            packets += 1;
        }
        let dropped = node.engine.drop_count(DropReason::NoCredit) - before;
        assert_eq!(packets + dropped, count);
        (packets, octets)
    };
    assert_eq!(send(5), (0, 0));
    // Forged packets earn nothing, authentic ones what they are long, with all headers.
    let mut earned = 0;
    for sequence in 1..=20 {
        let mut packet = peer.sealed(sequence, 97, &etherip(sequence as u8));
        peer.socket.send(&packet).unwrap();
        receive(&node.tap);
        earned += 28 + packet.len();
        *packet.last_mut().unwrap() ^= 1;
        peer.socket.send(&packet).unwrap();
    }
    let (packets, octets) = send(40);
    assert!(packets > 5 && octets <= earned, "{octets} of {earned}");
    assert!(octets + 200 > earned * 7 / 8, "{octets} of {earned}");
    assert_eq!(send(5), (0, 0), "all is used up");
    // Verified, it gets everything.
    node.engine.move_sa(out.spi, hit(9), &path).unwrap();
    assert_eq!(send(20).0, 20);
    silent(&node.tap);
}

#[test]
fn what_never_came_is_counted_once_it_cannot_come_any_more() {
    let node = Node::new(1);
    let peer = Stranger::new(&node, 600);
    // The window is 1024 wide.
    for sequence in (1..=64 * 20).filter(|n| n % 2 == 0 || *n > 64) {
        peer.send(sequence, 59, &[]);
        if sequence % 32 == 0 {
            eventually("that it was opened", || {
                (node.inbound(600).sequence == sequence).then_some(())
            });
        }
    }
    assert_eq!(node.inbound(600).lost, 32);
}

#[test]
fn an_interface_may_be_chosen() {
    let (a, b) = (Node::new(1), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let path = a.path_to(b.address, 1500);
    // The loopback interface has index 1 wherever it is.
    let by_loopback = SaPath {
        interface: 1,
        ..path.clone()
    };
    a.engine.move_sa(300, b.hit, &by_loopback).unwrap();
    a.tap.send(&frame(1)).unwrap();
    assert_eq!(receive(&b.tap), frame(1));
    let by_none = SaPath {
        interface: 0x7fff_0000,
        ..path
    };
    a.engine.move_sa(300, b.hit, &by_none).unwrap();
    a.tap.send(&frame(2)).unwrap();
    a.wait_drops(DropReason::SendFailed, 1);
}

/// A packet that comes just after a command finds it carried out, on either side.
#[test]
fn commands_come_before_the_packets_behind_them() {
    let (a, b) = (Node::new(1), Node::new(2));
    // No key may be used twice, and these have a single octet.
    let suites = [Suite::AesGcm16, Suite::Aes256CbcSha256, Suite::NullSha256];
    for (suite, key) in suites
        .into_iter()
        .flat_map(|suite| (1..=255).map(move |key| (suite, key)))
    {
        let sa = Sa {
            suite,
            key,
            ..Sa::new(300)
        };
        b.add_sa(Direction::In, &sa, a.identity());
        a.add_sa(Direction::Out, &sa, b.identity());
        a.tap.send(&frame(key.into())).unwrap();
        assert_eq!(receive(&b.tap), frame(key.into()), "{suite:?} {key}");
        a.engine.remove_sa(Direction::Out, 300, b.hit);
        b.engine.remove_sa(Direction::In, 300, a.hit);
    }
}
