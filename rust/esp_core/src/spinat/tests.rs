use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use proptest::prelude::*;

use super::*;
use crate::packet::{
    checksum,
    ip::{self, Header, V4, V6},
    protocol, put16,
};

const ESP: u8 = 50;
const ROOM: usize = HEADROOM;

pub(crate) fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn plain(text: &str) -> SocketAddr {
    (text.parse::<IpAddr>().unwrap(), 0).into()
}

/// The packet that carries this ESP, made from nothing. UDP over IPv4 has a checksum if asked for.
pub(crate) fn packet(
    source: SocketAddr,
    destination: SocketAddr,
    esp: &[u8],
    v4_checksum: bool,
) -> Vec<u8> {
    let mut payload = esp.to_vec();
    let mut next_header = ESP;
    if source.port() != 0 {
        let mut udp = [
            source.port().to_be_bytes(),
            destination.port().to_be_bytes(),
        ]
        .concat();
        udp.extend_from_slice(&(8 + esp.len() as u16).to_be_bytes());
        udp.extend_from_slice(&[0, 0]);
        udp.extend_from_slice(esp);
        if source.is_ipv6() || v4_checksum {
            let octets = |end: SocketAddr| match end.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let pseudo = checksum::pseudo_header(
                &octets(source),
                &octets(destination),
                protocol::UDP,
                udp.len(),
            );
            let sum = checksum::add(pseudo, &udp);
            checksum::store_udp(&mut udp, ip::UDP_CHECKSUM, sum);
        }
        payload = udp;
        next_header = protocol::UDP;
    }
    let mut out = vec![0; 40];
    let len = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => V4 {
            traffic_class: 0xb9,
            identification: 0,
            fragment: V4::DONT_FRAGMENT,
            hop_limit: 61,
            protocol: next_header,
            source: source.octets(),
            destination: destination.octets(),
            payload_len: payload.len(),
        }
        .emit(&mut out, &[]),
        (IpAddr::V6(source), IpAddr::V6(destination)) => V6 {
            traffic_class: 0xb9,
            next_header,
            hop_limit: 61,
            source: source.octets(),
            destination: destination.octets(),
            payload_len: payload.len(),
        }
        .emit(&mut out),
        _ => panic!("two families"),
    };
    out.truncate(len);
    out.extend_from_slice(&payload);
    out
}

pub(crate) fn esp(spi: u32, len: usize) -> Vec<u8> {
    let mut bytes = spi.to_be_bytes().to_vec();
    bytes.extend((0..len).map(|n| (n * 7) as u8));
    bytes
}

/// Rewrite one packet.
pub(crate) fn pass(
    spinat: &mut Spinat,
    direction: Direction,
    bytes: &[u8],
) -> Result<Vec<u8>, Verdict> {
    let mut buffer = vec![0xaa; ROOM];
    buffer.extend_from_slice(bytes);
    let mut packets = [Packet::new(ROOM, buffer.len())];
    spinat.rewrite(direction, &mut buffer, &mut packets, 1);
    let [packet] = packets;
    match packet.verdict {
        Verdict::Rewritten => Ok(buffer[packet.start..packet.end].to_vec()),
        other => {
            assert_eq!(&buffer[ROOM..], bytes, "it is left as it was");
            Err(other)
        }
    }
}

pub(crate) fn target(source: SocketAddr, destination: SocketAddr, spi: u32) -> Target {
    Target {
        source,
        destination,
        spi,
    }
}

/// draft-melen-spinat-01 figures 1 and 3.
#[test]
fn the_drafts_example() {
    let [client, router, peer] = ["10.0.0.10", "138.76.29.4", "138.76.29.7"].map(plain);
    let mut spinat = Spinat::new(10);
    let inward = Flow::Public { spi: 1212 };
    spinat
        .insert(inward, &target(peer, client, 3030), 0)
        .unwrap();
    let outward = Flow::Client {
        spi: 4545,
        client: client.ip(),
        correspondent: peer.ip(),
    };
    spinat
        .insert(outward, &target(router, peer, 4545), 0)
        .unwrap();
    assert_eq!(
        pass(
            &mut spinat,
            Direction::Inward,
            &packet(peer, router, &esp(1212, 80), false)
        ),
        Ok(packet(peer, client, &esp(3030, 80), false))
    );
    assert_eq!(
        pass(
            &mut spinat,
            Direction::Outward,
            &packet(client, peer, &esp(4545, 80), false)
        ),
        Ok(packet(router, peer, &esp(4545, 80), false))
    );
    // Nothing of one direction goes for the other, and nobody else speaks for the client.
    let refused = [
        (
            Direction::Outward,
            packet(peer, router, &esp(1212, 80), false),
        ),
        (
            Direction::Inward,
            packet(client, peer, &esp(4545, 80), false),
        ),
        (
            Direction::Outward,
            packet(plain("10.0.0.11"), peer, &esp(4545, 80), false),
        ),
        (
            Direction::Inward,
            packet(peer, router, &esp(3030, 80), false),
        ),
    ];
    for (direction, bytes) in refused {
        assert_eq!(pass(&mut spinat, direction, &bytes), Err(Verdict::Unknown));
    }
}

/// Two clients with the same SPI: of correspondents with a public SPI each has its own, others are
/// told by their address.
#[test]
fn clients_with_the_same_spi_do_not_collide() {
    let [one, two, router, first, second] = [
        "10.0.0.1",
        "10.0.0.2",
        "192.0.2.1",
        "198.51.100.1",
        "198.51.100.2",
    ]
    .map(plain);
    let mut spinat = Spinat::new(10);
    for (flow, source, destination) in [
        (Flow::Public { spi: 1001 }, first, one),
        (Flow::Public { spi: 1002 }, first, two),
        (
            Flow::Plain {
                spi: 777,
                correspondent: first.ip(),
            },
            first,
            one,
        ),
        (
            Flow::Plain {
                spi: 777,
                correspondent: second.ip(),
            },
            second,
            two,
        ),
        // A public SPI that somebody chose who knows of none.
        (Flow::Public { spi: 777 }, first, one),
    ] {
        spinat
            .insert(flow, &target(source, destination, 777), 0)
            .unwrap();
    }
    let mut arrives = |source, spi| {
        let bytes = packet(source, router, &esp(spi, 40), false);
        let bytes = pass(&mut spinat, Direction::Inward, &bytes).unwrap();
        let destination: [u8; 4] = bytes[16..20].try_into().unwrap();
        IpAddr::from(destination)
    };
    assert_eq!(arrives(first, 1001), one.ip());
    assert_eq!(arrives(first, 1002), two.ip());
    assert_eq!(arrives(first, 777), one.ip());
    assert_eq!(arrives(second, 777), two.ip());
    let taken = Flow::Plain {
        spi: 777,
        correspondent: second.ip(),
    };
    assert_eq!(
        spinat.insert(taken, &target(second, one, 777), 0),
        Err(Refused::Taken),
        "a client cannot take over another's"
    );
}

#[test]
fn ways_change_and_end() {
    let [client, peer] = ["10.0.0.1", "198.51.100.1"].map(plain);
    let moved = end("[2001:db8::1]:10500");
    let mut spinat = Spinat::new(1);
    let flow = Flow::Client {
        spi: 300,
        client: client.ip(),
        correspondent: peer.ip(),
    };
    let id = spinat
        .insert(flow, &target(plain("192.0.2.1"), peer, 300), 5)
        .unwrap();
    let other = Flow::Public { spi: 301 };
    assert_eq!(
        spinat.insert(other, &target(peer, client, 1), 5),
        Err(Refused::Full)
    );
    let elsewhere = target(end("[2001:db8::9]:10500"), moved, 300);
    assert_eq!(spinat.aim(id, &elsewhere), Ok(true));
    let bytes = packet(client, peer, &esp(300, 100), false);
    assert_eq!(
        pass(&mut spinat, Direction::Outward, &bytes),
        Ok(packet(elsewhere.source, moved, &esp(300, 100), false))
    );
    let counts = Counts {
        packets: 1,
        octets: 104,
        used_s: 1,
    };
    assert_eq!(spinat.counts(id), Some(counts));
    assert_eq!(spinat.idle(60, 60).count(), 0);
    assert_eq!(spinat.idle(61, 60).collect::<Vec<_>>(), [id]);
    assert_eq!(spinat.remove(id), Some(counts));
    assert_eq!(spinat.remove(id), None);
    assert_eq!(spinat.aim(id, &elsewhere), Ok(false));
    assert_eq!(
        pass(&mut spinat, Direction::Outward, &bytes),
        Err(Verdict::Unknown)
    );
    let again = spinat.insert(flow, &elsewhere, 5).unwrap();
    assert_ne!(again, id, "an old name is nobody's");
    assert_eq!(spinat.counts(id), None);
}

#[test]
fn impossible_ways_are_refused() {
    let [v4, v6, udp] = [
        plain("192.0.2.1"),
        plain("2001:db8::1"),
        end("192.0.2.2:10500"),
    ];
    let mut spinat = Spinat::new(10);
    for (spi, target) in [
        (1, target(v4, v6, 1)),
        (1, target(v4, udp, 1)),
        (0, target(v4, v4, 1)),
        (1, target(v4, v4, 0)),
    ] {
        let refused = spinat.insert(Flow::Public { spi }, &target, 0);
        assert_eq!(refused, Err(Refused::Invalid));
    }
    assert!(spinat.is_empty());
}

#[test]
fn other_packets_are_told_apart() {
    let [a, b] = ["192.0.2.1", "192.0.2.2"].map(plain);
    let [c, d] = ["192.0.2.1:10500", "192.0.2.2:10500"].map(end);
    let mut hip = packet(a, b, &esp(1, 36), false);
    hip[9] = 139;
    let mut other = packet(a, b, &esp(1, 36), false);
    other[9] = protocol::TCP;
    let mut fragment = packet(a, b, &esp(1, 36), false);
    put16(&mut fragment, 6, 100);
    let mut v6_fragment = packet(plain("::1"), plain("::2"), &esp(1, 36), false);
    v6_fragment[6] = protocol::FRAGMENT;
    let mut wrong_length = packet(c, d, &esp(1, 36), false);
    put16(&mut wrong_length, 24, 1000);
    let mut spinat = Spinat::new(10);
    for (bytes, verdict) in [
        (hip, Verdict::Control),
        (packet(c, d, &esp(0, 40), false), Verdict::Control),
        (packet(a, b, &esp(0, 40), false), Verdict::Malformed),
        (packet(a, b, &esp(9, 3), false), Verdict::Malformed),
        (packet(c, d, &[0xff], false), Verdict::Malformed),
        (other, Verdict::Malformed),
        (fragment, Verdict::Fragment),
        (v6_fragment, Verdict::Fragment),
        (wrong_length, Verdict::Malformed),
        (vec![], Verdict::Malformed),
    ] {
        for direction in [Direction::Inward, Direction::Outward] {
            assert_eq!(pass(&mut spinat, direction, &bytes), Err(verdict));
        }
    }
}

#[test]
fn a_header_that_grows_needs_room() {
    let [a, b] = ["192.0.2.1", "192.0.2.2"].map(plain);
    let mut spinat = Spinat::new(1);
    let to = target(end("[2001:db8::1]:1"), end("[2001:db8::2]:2"), 5);
    spinat.insert(Flow::Public { spi: 5 }, &to, 0).unwrap();
    let bytes = packet(a, b, &esp(5, 40), false);
    let mut buffer = [vec![0; ROOM - 1], bytes.clone()].concat();
    let mut packets = [Packet::new(ROOM - 1, buffer.len())];
    spinat.rewrite(Direction::Inward, &mut buffer, &mut packets, 0);
    assert_eq!(packets[0].verdict, Verdict::NoRoom);
    assert_eq!(buffer[ROOM - 1..], bytes);
    // Nor may it become longer than an IP packet can be.
    let long = packet(a, b, &esp(5, 65_535 - 24), false);
    let to = target(end("192.0.2.1:1"), end("192.0.2.2:2"), 6);
    spinat = Spinat::new(1);
    spinat.insert(Flow::Public { spi: 5 }, &to, 0).unwrap();
    assert_eq!(
        pass(&mut spinat, Direction::Inward, &long),
        Err(Verdict::NoRoom)
    );
}

#[test]
fn floods_of_unknown_spis_cost_no_memory() {
    let [a, b] = ["192.0.2.1", "192.0.2.2"].map(plain);
    let mut spinat = Spinat::new(1000);
    let before = spinat.memory();
    for spi in 1..20_000 {
        let bytes = packet(a, b, &esp(spi, 40), false);
        for direction in [Direction::Inward, Direction::Outward] {
            assert_eq!(pass(&mut spinat, direction, &bytes), Err(Verdict::Unknown));
        }
    }
    assert!(spinat.is_empty());
    assert_eq!(spinat.memory(), before);
}

#[test]
fn a_full_table_takes_the_memory_set_aside() {
    let [a, b] = ["192.0.2.1", "192.0.2.2"].map(plain);
    let mut spinat = Spinat::new(200_000);
    let before = spinat.memory();
    for spi in 1..=200_000 {
        spinat
            .insert(Flow::Public { spi }, &target(a, b, spi), 0)
            .unwrap();
    }
    assert_eq!(spinat.memory(), before);
    assert_eq!(spinat.len(), 200_000);
}

fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let v6 = any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let ports = prop_oneof![Just((0u16, 0u16)), (1u16.., 1u16..)];
    (prop_oneof![v4, v6], ports).prop_map(|((a, b), (c, d))| ((a, c).into(), (b, d).into()))
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u8),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1u32..20, 0u8..4).prop_map(|(spi, last)| Step::Insert(spi, last)),
        1 => any::<usize>().prop_map(Step::Remove),
    ]
}

proptest! {
    /// Whatever the families and encapsulations of both sides, what comes out is what a sender on
    /// the other side would have made.
    #[test]
    fn rewriting_is_making_anew(
        (from, to) in ends(),
        (source, destination) in ends(),
        (spi, new_spi) in (1u32.., 1u32..),
        len in 4usize..200,
        with_checksum: bool,
        padding in 0usize..9,
    ) {
        let mut spinat = Spinat::new(4);
        let outward = Flow::Client { spi, client: from.ip(), correspondent: to.ip() };
        let target = target(source, destination, new_spi);
        for flow in [Flow::Public { spi }, outward] {
            spinat.insert(flow, &target, 0).unwrap();
        }
        let same = from.is_ipv6() == source.is_ipv6() && (from.port() == 0) == (source.port() == 0);
        let mut bytes = packet(from, to, &esp(spi, len), with_checksum);
        let expected = packet(source, destination, &esp(new_spi, len), with_checksum && same);
        bytes.extend(vec![0x55; padding]);
        for direction in [Direction::Inward, Direction::Outward] {
            let made = pass(&mut spinat, direction, &bytes).unwrap();
            prop_assert_eq!(&made, &expected);
            prop_assert_eq!(Header::parse(&made).unwrap().total, made.len());
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120), start in 0u8..3) {
        let mut bytes = bytes;
        // Else hardly anything begins like an IP packet.
        if let (Some(first), 1..) = (bytes.first_mut(), start) {
            *first = if start == 1 { 0x45 } else { 0x60 };
        }
        let mut spinat = Spinat::new(4);
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(plain);
        spinat.insert(Flow::Public { spi: 1 }, &target(a, b, 1), 0).unwrap();
        for direction in [Direction::Inward, Direction::Outward] {
            let verdict = pass(&mut spinat, direction, &bytes);
            prop_assert!(verdict.is_ok() || verdict != Err(Verdict::Rewritten));
        }
    }

    #[test]
    fn the_table_behaves_like_a_map(steps in prop::collection::vec(step(), 0..200)) {
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(plain);
        let mut spinat = Spinat::new(32);
        let mut model: HashMap<(u32, u8), WayId> = HashMap::new();
        let flow = |spi, last: u8| {
            let correspondent = IpAddr::from([198, 51, 100, last]);
            match last {
                0 => Flow::Public { spi },
                1 => Flow::Plain { spi, correspondent },
                _ => Flow::Client { spi, client: a.ip(), correspondent },
            }
        };
        for step in steps {
            match step {
                Step::Insert(spi, last) => {
                    let result = spinat.insert(flow(spi, last), &target(a, b, spi), 0);
                    if model.contains_key(&(spi, last)) {
                        prop_assert_eq!(result, Err(Refused::Taken));
                    } else if model.len() == 32 {
                        prop_assert_eq!(result, Err(Refused::Full));
                    } else {
                        model.insert((spi, last), result.unwrap());
                    }
                }
                Step::Remove(n) => {
                    let key = model.keys().nth(n % model.len().max(1)).copied();
                    if let Some(id) = key.and_then(|key| model.remove(&key)) {
                        prop_assert!(spinat.remove(id).is_some());
                    }
                }
            }
            prop_assert_eq!(spinat.len(), model.len());
        }
        for spi in 1..20 {
            for last in 0..4 {
                let id = model.get(&(spi, last)).copied();
                prop_assert_eq!(spinat.named(flow(spi, last)), id);
            }
        }
    }
}
