//! The program, run by the kernel on made frames: it does what `Spinat` does. These need root, and
//! say so on standard error where they have to be left out.

use std::net::SocketAddr;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{program::GO_ON, *};
use crate::{
    packet::checksum,
    spinat::{
        tests::{end, esp, packet, pass, plain, target},
        Direction, Spinat,
    },
    sys::bpf::test_run,
};

const REDIRECT: i32 = 7;
const MTU: u32 = 1500;
/// The loopback device: it is attached to nothing else.
const EXIT: Exit = Exit {
    ifindex: 1,
    mtu: MTU,
};

/// The fast path beside the table that it mirrors.
struct Both {
    spinat: Spinat,
    fast: Ebpf,
}

impl Both {
    fn new() -> Option<Self> {
        match Ebpf::open(64) {
            Ok(fast) => Some(Self {
                spinat: Spinat::new(64),
                fast,
            }),
            Err(why) => {
                let lacking = ["not permitted", "no eBPF", "no tcx"];
                assert!(lacking.iter().any(|one| why.contains(one)), "{why}");
                eprintln!("left out: {why}");
                None
            }
        }
    }

    fn insert(&mut self, flow: Flow, target: &Target, exit: Exit) -> WayId {
        let id = self.spinat.insert(flow, target, 0).unwrap();
        self.fast.insert(id, flow, target, exit);
        id
    }

    fn fast(&self, direction: Direction, packet: &[u8]) -> (i32, Vec<u8>) {
        self.joined(direction, packet, (0, 0))
    }

    /// With what the Ethernet header says, whatever the packet says itself.
    fn framed(&self, direction: Direction, packet: &[u8], v6: bool) -> (i32, Vec<u8>) {
        let program = self.fast.devices.for_test(direction);
        let (verdict, out, _) = test_run(program, &framed(packet, v6), (0, 0), 1).unwrap();
        (verdict, out[14..].to_vec())
    }

    fn joined(&self, direction: Direction, packet: &[u8], gso: (u32, u32)) -> (i32, Vec<u8>) {
        let program = self.fast.devices.for_test(direction);
        let (verdict, out, _) =
            test_run(program, &framed(packet, packet[0] >> 4 == 6), gso, 1).unwrap();
        (verdict, out[14..].to_vec())
    }

    /// The packet goes on as it was.
    fn goes_on(&self, direction: Direction, packet: &[u8]) -> bool {
        let (verdict, out) = self.fast(direction, packet);
        assert_eq!(out, packet);
        verdict == GO_ON
    }

    fn statistic(&self, name: &str) -> u64 {
        let all = self.fast.statistics();
        all.iter().find(|(one, _)| *one == name).unwrap().1
    }
}

fn framed(packet: &[u8], v6: bool) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(if v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    frame.extend_from_slice(packet);
    frame
}

/// With a TTL or hop limit of one less.
fn farther(mut packet: Vec<u8>) -> Vec<u8> {
    set_limit(&mut packet, |limit| limit - 1);
    packet
}

fn set_limit(packet: &mut [u8], change: impl Fn(u8) -> u8) {
    if packet[0] >> 4 == 4 {
        packet[8] = change(packet[8]);
        packet[10..12].fill(0);
        let sum = !checksum::fold(checksum::add(0, &packet[..20]));
        packet[10..12].copy_from_slice(&sum.to_ne_bytes());
    } else {
        packet[7] = change(packet[7]);
    }
}

fn ends(v6: bool) -> impl Strategy<Value = SocketAddr> {
    let port = prop_oneof![Just(10500), 1..=u16::MAX];
    if v6 {
        (any::<[u8; 16]>(), port).prop_map(SocketAddr::from).boxed()
    } else {
        (any::<[u8; 4]>(), port).prop_map(SocketAddr::from).boxed()
    }
}

/// A packet's ends and SPI, those it gets, what it is told by, and what else is in its headers.
#[derive(Clone, Debug)]
struct Case {
    came: Target,
    goes: Target,
    kind: u8,
    esp_len: usize,
    v4_checksum: bool,
    traffic_class: u8,
    /// Flow label of IPv6; identification and "don't fragment" of IPv4.
    label: u32,
}

/// One side of a flow of any family, plain or in UDP.
fn sides() -> impl Strategy<Value = Target> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(v6, udp)| {
        (ends(v6), ends(v6), 1..=u32::MAX).prop_map(move |(mut source, mut destination, spi)| {
            if !udp {
                source.set_port(0);
                destination.set_port(0);
            }
            target(source, destination, spi)
        })
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let fields = (any::<u8>(), 0..1u32 << 20);
    let packets = (0..3u8, 8..1400usize, any::<bool>(), fields);
    (sides(), sides(), packets).prop_map(|(came, goes, packet)| {
        let (kind, esp_len, v4_checksum, (traffic_class, label)) = packet;
        Case {
            came,
            goes,
            kind,
            esp_len,
            v4_checksum,
            traffic_class,
            label,
        }
    })
}

impl Case {
    fn flow(&self) -> (Direction, Flow) {
        let (spi, correspondent) = (self.came.spi, self.came.source.ip());
        match self.kind {
            0 => (Direction::Inward, Flow::Public { spi }),
            1 => (Direction::Inward, Flow::Plain { spi, correspondent }),
            _ => (
                Direction::Outward,
                Flow::Client {
                    spi,
                    client: correspondent,
                    correspondent: self.came.destination.ip(),
                },
            ),
        }
    }

    fn packet(&self) -> Vec<u8> {
        let mut packet = packet(
            self.came.source,
            self.came.destination,
            &esp(self.came.spi, self.esp_len),
            self.v4_checksum,
        );
        let [_, a, b, c] = self.label.to_be_bytes();
        if self.came.source.is_ipv6() {
            packet[0] = 0x60 | self.traffic_class >> 4;
            packet[1] = self.traffic_class << 4 | a;
            packet[2..4].copy_from_slice(&[b, c]);
        } else {
            packet[1] = self.traffic_class;
            packet[4..8].copy_from_slice(&[b, c, a << 6 & 0x40, 0]);
            set_limit(&mut packet, |limit| limit);
        }
        packet
    }

    fn same_shape(&self) -> bool {
        let shape = |end: SocketAddr| (end.is_ipv6(), end.port() != 0);
        shape(self.came.source) == shape(self.goes.source)
    }
}

#[test]
fn it_rewrites_as_the_table_does() {
    let Some(both) = Both::new() else { return };
    let both = std::cell::RefCell::new(both);
    // A way of a correspondent that knows no public SPI changes how inward ones are looked for.
    let other = Flow::Plain {
        spi: 1,
        correspondent: plain("192.0.2.99").ip(),
    };
    let far = target(plain("192.0.2.1"), plain("192.0.2.2"), 9);
    TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    })
    .run(&(cases(), any::<bool>()), |(case, with_plain)| {
        let mut both = both.borrow_mut();
        let (direction, flow) = case.flow();
        let mut ids = vec![both.insert(flow, &case.goes, EXIT)];
        if with_plain {
            ids.push(both.insert(other, &far, EXIT));
        }
        let before = case.packet();
        let both = &mut *both;
        let (verdict, out) = both.fast(direction, &before);
        let expected = pass(&mut both.spinat, direction, &before).map(farther);
        let counts = ids
            .iter()
            .map(|id| both.fast.remove(*id))
            .collect::<Vec<_>>();
        for id in ids {
            both.spinat.remove(id);
        }
        prop_assert_eq!(verdict, REDIRECT);
        prop_assert_eq!(Ok(out), expected);
        prop_assert_eq!(counts[0].packets, 1);
        prop_assert_eq!(counts[0].octets, case.esp_len as u64 + 4);
        prop_assert!(both.goes_on(direction, &before), "the way is gone");
        Ok(())
    })
    .unwrap();
}

/// A way of each family and framing in each direction, whose packets these are.
fn examples() -> [Case; 4] {
    let udp = |address: &str| end(&format!("{address}:10500"));
    [
        (plain("192.0.2.1"), plain("192.0.2.2")),
        (udp("192.0.2.1"), udp("192.0.2.2")),
        (plain("2001:db8::1"), plain("2001:db8::2")),
        (udp("[2001:db8::1]"), udp("[2001:db8::2]")),
    ]
    .map(|(source, destination)| Case {
        came: target(source, destination, 0x1234_5678),
        goes: target(destination, source, 0x1234_5678),
        kind: 2,
        esp_len: 100,
        v4_checksum: true,
        traffic_class: 0,
        label: 1 << 16,
    })
}

#[test]
fn what_is_not_for_it_goes_on() {
    let Some(mut both) = Both::new() else { return };
    for case in examples() {
        let (direction, flow) = case.flow();
        let good = case.packet();
        assert!(both.goes_on(direction, &good), "there is no way yet");
        let id = both.insert(flow, &case.goes, EXIT);
        assert_eq!(both.fast(direction, &good).0, REDIRECT);
        assert!(
            both.goes_on(Direction::Inward, &good),
            "the other direction"
        );

        let v6 = case.came.source.is_ipv6();
        let changed = |at: usize, octet: u8| {
            let mut packet = good.clone();
            packet[at] = octet;
            packet
        };
        let mut near_its_end = good.clone();
        set_limit(&mut near_its_end, |_| 1);
        let mut others = vec![near_its_end, good[..good.len() - 1].to_vec()];
        if v6 {
            others.push(changed(6, 0)); // hop-by-hop options
            others.push(changed(6, 44)); // a fragment
            others.push(changed(6, 139)); // HIP
        } else {
            others.push(changed(0, 0x46)); // options
            others.push(changed(6, 0x20)); // the first fragment
            others.push(changed(7, 1)); // a later one
            others.push(changed(9, 139)); // HIP
        }
        let ip_len = if v6 { 40 } else { 20 };
        if case.came.source.port() != 0 {
            others.push(changed(ip_len + 5, 9)); // lengths that differ
            let mut hip = good.clone();
            hip[ip_len + 8..ip_len + 12].fill(0);
            others.push(hip);
        } else {
            others.push(changed(ip_len, 0xff)); // another SPI
        }
        for other in others {
            assert!(both.goes_on(direction, &other), "{other:02x?}");
        }
        assert_eq!(both.fast.remove(id).packets, 1);
        both.spinat.remove(id);
    }
}

#[test]
fn what_it_cannot_do_goes_on_and_is_counted() {
    let Some(mut both) = Both::new() else { return };
    let examples = examples();
    let headers = |end: SocketAddr| {
        let ip = if end.is_ipv6() { 40 } else { 20 };
        ip + if end.port() != 0 { 8 } else { 0 }
    };
    for case in &examples {
        for other in &examples {
            let (direction, flow) = case.flow();
            let len = headers(other.goes.source) + 4 + case.esp_len as u32;
            let exit = |mtu| Exit { mtu, ..EXIT };
            let id = both.insert(flow, &other.goes, exit(len - 1));
            assert!(both.goes_on(direction, &case.packet()), "too long");
            both.fast.aim(id, &other.goes, exit(len));
            let (verdict, out) = both.fast(direction, &case.packet());
            assert_eq!((verdict, out.len()), (REDIRECT, len as usize));
            both.fast.aim(id, &other.goes, Exit::default());
            assert!(
                both.goes_on(direction, &case.packet()),
                "nobody said where to"
            );
            assert_eq!(both.fast.counts(id).packets, 1);
            both.fast.remove(id);
            both.spinat.remove(id);
        }
    }
    assert_eq!(both.statistic("ebpf_left_other_shape"), 0);
    assert_eq!(both.statistic("ebpf_left_too_long"), 16);
    assert_eq!(both.statistic("ebpf_rewritten"), 16);
    assert_eq!(both.statistic("ebpf_refused"), 0);
}

/// Packets that the kernel has joined to one (UDP GRO): the SPI of each lies in what is the payload
/// of the first.
#[test]
fn joined_packets() {
    let Some(mut both) = Both::new() else { return };
    for case in examples() {
        if case.came.source.port() == 0 {
            continue;
        }
        let (direction, flow) = case.flow();
        let id = both.insert(flow, &case.goes, EXIT);
        let join = |spis: &[u32], len: usize| {
            let all: Vec<u8> = spis.iter().flat_map(|spi| esp(*spi, len - 4)).collect();
            packet(case.came.source, case.came.destination, &all, true)
        };
        let spi = case.came.spi;
        let one_way = join(&[spi; 9], 120);
        let (verdict, out) = both.joined(direction, &one_way, (9, 120));
        assert_eq!(verdict, REDIRECT);
        assert_eq!(
            Ok(out),
            pass(&mut both.spinat, direction, &one_way).map(farther)
        );
        let counts = both.fast.counts(id);
        assert_eq!((counts.packets, counts.octets), (9, 9 * 120));

        for other in examples() {
            // Only what goes as it came can stay joined.
            if !(Case {
                goes: other.goes,
                ..case.clone()
            })
            .same_shape()
            {
                both.fast.aim(id, &other.goes, EXIT);
                let (verdict, out) = both.joined(direction, &one_way, (9, 120));
                assert_eq!((verdict, &out), (GO_ON, &one_way));
            }
        }
        both.fast.aim(id, &case.goes, EXIT);

        for (spis, len) in [
            (vec![spi, spi, 7, spi], 120), // of two ways
            (vec![spi, spi, spi, 7], 120),
            (vec![spi; 2], 1480), // each is longer than the MTU
        ] {
            let apart = join(&spis, len);
            let (verdict, out) = both.joined(direction, &apart, (spis.len() as u32, len as u32));
            assert_eq!((verdict, out), (GO_ON, apart));
        }
        // With a checksum of each, as these have, the SPI of each is not to be changed.
        let other_spi = Target {
            spi: 8,
            ..case.goes
        };
        both.fast.aim(id, &other_spi, EXIT);
        let (verdict, out) = both.joined(direction, &one_way, (9, 120));
        assert_eq!((verdict, out), (GO_ON, one_way));
        both.fast.remove(id);
        both.spinat.remove(id);
    }
    assert_eq!(both.statistic("ebpf_left_joined"), 6 + 6);
    assert_eq!(both.statistic("ebpf_left_too_long"), 2);
}

/// Whatever a packet looks like, it goes on as it was or becomes what the table makes of it.
#[test]
fn nothing_is_done_that_the_table_would_not_do() {
    let Some(both) = Both::new() else { return };
    let both = std::cell::RefCell::new(both);
    let changes = prop::collection::vec((0..64usize, any::<u8>()), 0..4);
    TestRunner::new(Config {
        failure_persistence: None,
        cases: 2000,
        ..Config::default()
    })
    .run(
        &(cases(), changes, 0..4usize),
        |(case, changes, missing)| {
            let mut both = both.borrow_mut();
            let both = &mut *both;
            let (direction, flow) = case.flow();
            let id = both.insert(flow, &case.goes, EXIT);
            let mut before = case.packet();
            for (at, octet) in changes {
                let at = at % before.len();
                before[at] = octet;
            }
            before.truncate(before.len() - missing);
            if before[0] >> 4 == 4 {
                set_limit(&mut before, |limit| limit);
            }
            let v6 = case.came.source.is_ipv6();
            let (verdict, out) = both.framed(direction, &before, v6);
            let table = pass(&mut both.spinat, direction, &before);
            both.fast.remove(id);
            both.spinat.remove(id);
            if verdict == GO_ON {
                prop_assert_eq!(out, before);
            } else {
                prop_assert_eq!(verdict, REDIRECT);
                // The table cuts off what is behind the packet.
                let expected = table.map(farther);
                prop_assert!(expected.is_ok(), "{:?}: {:02x?}", expected, before);
                let expected = expected.unwrap();
                prop_assert_eq!(&out[..expected.len()], &expected[..]);
            }
            Ok(())
        },
    )
    .unwrap();
}
