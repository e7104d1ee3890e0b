//! What becomes of packets, without queue and sockets.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::{
    beet::Hit,
    mobile_router::hip::wrap,
    packet::ip::{V4, V4_HEADER_LEN},
    spinat::{Flow, Target},
};

const OUTSIDE: u32 = 3;
const INSIDE: u32 = 4;
const PORT: u16 = 10500;
const OWN_HIT: Hit = [1; 16];
const SPI: u32 = 0x4545;
const PUBLIC_SPI: u32 = 0x1212;
const CLIENT: [u8; 4] = [10, 0, 0, 10];
const OWN: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [198, 51, 100, 7];

/// A router that cannot send: every packet that would be is counted as failed.
struct Router {
    places: Places,
    ways: Mutex<Ways>,
    links: Links,
    counters: Counters,
    events: Events,
}

impl Router {
    fn new() -> Self {
        let mut ways = Ways::new(10);
        let end = |octets: [u8; 4]| SocketAddr::new(octets.into(), 0);
        let outward = Flow::Client {
            spi: SPI,
            client: CLIENT.into(),
            correspondent: PEER.into(),
        };
        let target = |source, destination, spi| Target {
            source: end(source),
            destination: end(destination),
            spi,
        };
        let public = Flow::Public { spi: PUBLIC_SPI };
        ways.insert(outward, &target(OWN, PEER, SPI), 1).unwrap();
        ways.insert(public, &target(PEER, CLIENT, 7), 1).unwrap();
        Self {
            places: Places {
                hits: [OWN_HIT].into(),
                addresses: [OWN.into()].into(),
                outside: vec![OUTSIDE],
            },
            ways: Mutex::new(ways),
            links: Links::default(),
            counters: Counters::default(),
            events: Events::new().unwrap(),
        }
    }

    /// Pass packets; the numbers of those that the kernel is to let pass.
    fn pass(&self, packets: &[(u32, Vec<u8>)]) -> Vec<u32> {
        let mut batch = Batch::new(packets.len());
        let mut data = Vec::new();
        for (id, (interface, packet)) in packets.iter().enumerate() {
            let start = data.len() + 44;
            data.resize(start, 0);
            data.extend_from_slice(packet);
            batch.put(
                id as u32,
                *interface,
                &data,
                start..data.len(),
                &self.places,
            );
        }
        batch.rewrite(&mut data, &mut self.ways.lock().unwrap().spinat, 5);
        let context = Context {
            places: &self.places,
            ways: &self.ways,
            links: &self.links,
            counters: &self.counters,
            events: &self.events,
            udp_port: PORT,
        };
        batch.sort(&mut data, &context);
        batch.send(&data, &context);
        batch.accepted
    }

    fn accepts(&self, interface: u32, packet: &[u8]) -> bool {
        self.pass(&[(interface, packet.to_vec())]) == [0]
    }

    fn count(&self, counter: Counter) -> u64 {
        self.counters.read(counter)
    }
}

fn ip(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = V4 {
        traffic_class: 0,
        identification: 1,
        fragment: 0,
        hop_limit: 64,
        protocol,
        source,
        destination,
        payload_len: payload.len(),
    };
    let mut packet = vec![0; V4_HEADER_LEN];
    header.emit(&mut packet, &[]);
    packet.extend_from_slice(payload);
    packet
}

fn esp(source: [u8; 4], destination: [u8; 4], spi: u32) -> Vec<u8> {
    let payload = [&spi.to_be_bytes()[..], &[9; 30]].concat();
    ip(source, destination, ESP, &payload)
}

fn hip(source: [u8; 4], destination: [u8; 4], port: u16, receiver: Hit) -> Vec<u8> {
    let mut data = [59, 4, 1, 0x21].to_vec();
    data.resize(24, 0);
    data.extend(receiver);
    let ends = [source, destination].map(|octets| SocketAddr::new(octets.into(), port));
    wrap(&data, ends[0], ends[1]).unwrap()
}

#[test]
fn hip_for_this_host_is_told_by_its_hit() {
    let router = Router::new();
    for interface in [OUTSIDE, INSIDE] {
        assert!(router.accepts(interface, &hip(PEER, OWN, PORT, OWN_HIT)));
        assert!(router.accepts(interface, &hip(CLIENT, PEER, PORT, OWN_HIT)));
    }
    assert_eq!(router.events.drain().unwrap().len(), 0);
}

#[test]
fn hip_that_names_nobody_is_told_by_its_address() {
    let router = Router::new();
    assert!(router.accepts(OUTSIDE, &hip(PEER, OWN, PORT, [0; 16])));
    assert!(!router.accepts(INSIDE, &hip(CLIENT, PEER, PORT, [0; 16])));
    assert_eq!(router.events.drain().unwrap().len(), 1);
}

#[test]
fn other_ports_of_this_host_are_others_affair() {
    let router = Router::new();
    assert!(router.accepts(OUTSIDE, &hip(PEER, OWN, PORT + 1, [2; 16])));
    assert!(!router.accepts(OUTSIDE, &hip(PEER, OWN, PORT, [2; 16])));
    assert!(!router.accepts(INSIDE, &hip(CLIENT, PEER, PORT + 1, [2; 16])));
}

#[test]
fn hip_for_others_is_an_event() {
    let router = Router::new();
    let [outer, inner] = [
        hip(PEER, OWN, PORT, [2; 16]),
        hip(CLIENT, PEER, PORT, [2; 16]),
    ];
    assert_eq!(router.pass(&[(OUTSIDE, outer), (INSIDE, inner)]), []);
    let events = router.events.drain().unwrap();
    let sides: Vec<_> = events
        .iter()
        .map(|event| (event.sender, event.interface))
        .collect();
    assert_eq!(
        sides,
        [(Sender::Correspondent, OUTSIDE), (Sender::Inside, INSIDE)]
    );
    assert_eq!(router.count(Counter::Control), 2);
}

#[test]
fn a_flood_of_hip_is_counted_and_lost() {
    let router = Router::new();
    let flood = vec![(OUTSIDE, hip(PEER, OWN, PORT, [2; 16])); 500];
    for _ in 0..4 {
        assert_eq!(router.pass(&flood), []);
    }
    let kept = router.events.drain().unwrap().len() as u64;
    assert_eq!(router.count(Counter::Control), kept);
    assert_eq!(router.count(Counter::ControlQueueFull), 2000 - kept);
}

#[test]
fn a_flood_of_strangers_leaves_correspondents_and_clients_alone() {
    let router = Router::new();
    let flood: Vec<_> = (0..=255)
        .flat_map(|a| (0..=15).map(move |b| [203, a, b, 1]))
        .map(|source| (OUTSIDE, hip(source, OWN, PORT, [2; 16])))
        .collect();
    assert_eq!(router.pass(&flood), []);
    assert!(router.count(Counter::ControlLimited) > 2000);
    let before = router.events.drain().unwrap().len();
    assert!(before <= 256);
    assert_eq!(router.pass(&flood), []);
    let [outer, inner] = [
        hip(PEER, OWN, PORT, [2; 16]),
        hip(CLIENT, PEER, PORT, [2; 16]),
    ];
    router.pass(&[(OUTSIDE, outer), (INSIDE, inner)]);
    let senders: Vec<_> = router
        .events
        .drain()
        .unwrap()
        .iter()
        .map(|one| one.sender)
        .collect();
    assert!(senders.ends_with(&[Sender::Correspondent, Sender::Inside]));
}

#[test]
fn a_flood_for_the_router_itself_has_a_limit_and_clients_have_none() {
    let router = Router::new();
    let flood = vec![(OUTSIDE, hip(PEER, OWN, PORT, OWN_HIT)); 1000];
    let accepted = router.pass(&flood).len();
    assert!(accepted < 300, "{accepted}");
    let clients = vec![(INSIDE, hip(CLIENT, OWN, PORT, OWN_HIT)); 1000];
    assert_eq!(router.pass(&clients).len(), 1000);
}

#[test]
fn esp_goes_on_or_is_this_hosts() {
    let router = Router::new();
    let packets = [
        (INSIDE, esp(CLIENT, PEER, SPI)),
        (OUTSIDE, esp(PEER, OWN, PUBLIC_SPI)),
    ];
    assert_eq!(router.pass(&packets), []);
    assert_eq!(router.count(Counter::SendFailed), 2, "both would be sent");
    // For somebody of this host; and ways of one side are none of the other.
    assert!(router.accepts(OUTSIDE, &esp(PEER, OWN, 0x9999)));
    assert!(router.accepts(INSIDE, &esp(CLIENT, OWN, 0x9999)));
    assert!(!router.accepts(INSIDE, &esp(CLIENT, PEER, 0x9999)));
    assert!(!router.accepts(OUTSIDE, &esp(CLIENT, PEER, SPI)));
    assert!(!router.accepts(INSIDE, &esp(PEER, [10, 0, 0, 11], PUBLIC_SPI)));
    assert_eq!(router.count(Counter::Unknown), 3);
}

#[test]
fn nobody_forwards_for_ever() {
    let router = Router::new();
    for (limit, counter) in [(1, Counter::Expired), (2, Counter::SendFailed)] {
        let mut packet = esp(CLIENT, PEER, SPI);
        packet[8] = limit;
        assert!(!router.accepts(INSIDE, &packet));
        assert_eq!(router.count(counter), 1);
    }
}

#[test]
fn what_is_neither_esp_nor_hip() {
    let router = Router::new();
    assert!(
        router.accepts(OUTSIDE, &ip(PEER, CLIENT, 6, &[0; 20])),
        "diverted by mistake"
    );
    assert!(router.accepts(OUTSIDE, &ip(PEER, OWN, 17, &[0xff])));
    assert!(!router.accepts(INSIDE, &ip(CLIENT, PEER, ESP, &[1; 3])));
    assert!(!router.accepts(INSIDE, &[0x45; 3]));
    assert_eq!(router.count(Counter::Malformed), 2);
    let mut fragment = esp(CLIENT, PEER, SPI);
    fragment[6] = 0x20;
    assert!(!router.accepts(INSIDE, &fragment));
    assert_eq!(router.count(Counter::Fragment), 1);
}

#[test]
fn errors_about_a_clients_packets_are_its_own() {
    let router = Router::new();
    let mut sent = esp(OWN, PEER, SPI);
    let about = |quote: &[u8]| {
        let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0];
        message.extend_from_slice(&quote[..28]);
        let sum = checksum::add(0, &message);
        checksum::store(&mut message, 2, sum);
        ip([203, 0, 113, 1], OWN, protocol::ICMP, &message)
    };
    assert!(!router.accepts(OUTSIDE, &about(&sent)));
    assert_eq!(router.count(Counter::SendFailed), 1, "it would be sent");
    // From inside, or about what is not there, it is the kernel's.
    assert!(router.accepts(INSIDE, &about(&sent)));
    sent[20] ^= 1;
    assert!(router.accepts(OUTSIDE, &about(&sent)));
}

proptest! {
    /// Whatever comes, each packet has one fate, and nothing panics.
    #[test]
    fn nothing_is_lost_or_counted_twice(
        packets in prop::collection::vec((
            prop_oneof![Just(OUTSIDE), Just(INSIDE)],
            prop_oneof![
                prop::collection::vec(any::<u8>(), 1..100),
                (any::<[u8; 4]>(), prop_oneof![Just(OWN), any::<[u8; 4]>()],
                 prop_oneof![Just(ESP), Just(HIP), Just(17), Just(1), any::<u8>()],
                 prop::collection::vec(any::<u8>(), 0..60))
                    .prop_map(|(source, destination, protocol, payload)| {
                        ip(source, destination, protocol, &payload)
                    }),
                any::<u32>().prop_map(|spi| esp(CLIENT, PEER, spi | 1)),
                Just(esp(CLIENT, PEER, SPI)),
            ],
        ), 1..40),
    ) {
        let router = Router::new();
        let accepted = router.pass(&packets).len() as u64;
        prop_assert_eq!(accepted, router.count(Counter::Accepted));
        let fates = [
            Counter::Accepted,
            Counter::Control,
            Counter::ControlQueueFull,
            Counter::ControlLimited,
            Counter::ControlMalformed,
            Counter::Unknown,
            Counter::Malformed,
            Counter::Fragment,
            Counter::Expired,
            Counter::TooBig,
            Counter::SendFailed,
        ];
        let sum: u64 = fates.iter().map(|counter| router.count(*counter)).sum();
        prop_assert_eq!(sum, packets.len() as u64);
    }
}
