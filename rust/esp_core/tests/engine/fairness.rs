//! One that floods takes its share and no more: whoever else is there goes on.
//!
//! Nothing here is about time. A flood lasts until the others are through, and every packet is found
//! again: delivered, or counted as dropped where that happened.

use std::{
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use esp_core::{
    drops::DropReason,
    engine::Direction,
    events::{Event, ENGINE_EVENTS},
    packet::ip::V6,
    stats::Counter,
};

use crate::{
    node::{connect, eventually, hit, receive, Node, Options, Sa},
    wire::Stranger,
};

/// What those who do not flood send.
const QUIET: u64 = 400;
/// The least of it that has to arrive: a flood may fill the queue that the kernel keeps for all.
const ARRIVE: u64 = QUIET / 4;

/// An Ethernet frame from a station of its own; `len` octets before the number.
fn frame(from: u8, number: u64, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, from, 0x88, 0xb5]);
    frame.resize(14 + len, 0);
    frame.extend(number.to_be_bytes());
    frame
}

fn etherip(number: u64) -> Vec<u8> {
    [vec![0x30, 0], frame(7, number, number as usize % 1000)].concat()
}

/// A packet of an experimental protocol between two HITs.
fn packet(from: u8, to: u8, number: u64) -> Vec<u8> {
    let mut packet = vec![0; 48];
    V6 {
        traffic_class: 0,
        next_header: 253,
        hop_limit: 64,
        source: hit(from),
        destination: hit(to),
        payload_len: 8,
    }
    .emit(&mut packet);
    packet[40..].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number_of(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet[packet.len() - 8..].try_into().unwrap())
}

fn drops(node: &Node) -> u64 {
    let reasons = DropReason::ALL.iter();
    reasons.map(|reason| node.engine.drop_count(*reason)).sum()
}

/// What the kernel dropped because a node's socket was full.
fn not_received(node: &Node) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let port = format!(":{:04X}", node.address.port());
    let lines = table.lines().skip(1);
    let mut lines = lines.filter(|line| line.split_whitespace().nth(1).unwrap().ends_with(&port));
    let line = lines.next().expect("the node's socket is listed");
    line.split_whitespace().last().unwrap().parse().unwrap()
}

/// Take what comes until told to stop; returns the numbers at the ends.
fn drain(device: &UnixDatagram, stop: &AtomicBool, count: &AtomicU64) -> Vec<u64> {
    device
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut buffer = [0; 2000];
    let mut numbers = Vec::new();
    loop {
        match device.recv(&mut buffer) {
            Ok(len) => {
                count.fetch_add(1, Ordering::Relaxed);
                numbers.push(number_of(&buffer[..len]));
            }
            Err(_) if stop.load(Ordering::Relaxed) => return numbers,
            Err(_) => {}
        }
    }
}

/// Tells all threads to end, also when a test fails before it comes to that.
struct EndOf<'a>([&'a AtomicBool; 2]);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        for flag in self.0 {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

fn assert_ascending(numbers: &[u64]) {
    let wrong = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "reordered or twice");
}

fn assert_alive(node: &mut Node) {
    let events = node.events();
    assert!(events.len() <= ENGINE_EVENTS);
    let fatal = |event: &Event| matches!(event, Event::Fatal { .. });
    assert!(!events.iter().any(fatal), "{events:?}");
}

/// Send `QUIET` packets from a peer while another floods; `read_flood` tells whether anybody takes
/// what the flood brings.
fn beside_a_flood(read_flood: bool) {
    let mut node = Node::new(1);
    let flooder = Stranger::number(8, &node, 600);
    let quiet = Stranger::number(9, &node, 601);
    let (stop, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let (flood_count, quiet_count) = (AtomicU64::new(0), AtomicU64::new(0));
    let (flooded, arrived) = thread::scope(|scope| {
        let _end = EndOf([&stop, &ended]);
        let flood = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                flooder.send(number, 97, &etherip(number));
            }
            number
        });
        let tap = read_flood.then(|| scope.spawn(|| drain(&node.tap, &ended, &flood_count)));
        let tun = scope.spawn(|| drain(&node.tun, &ended, &quiet_count));
        node.wait_counter(Counter::NetRxPackets, 1000);
        for number in 1..=QUIET {
            quiet.send(number, 253, &number.to_be_bytes());
            thread::sleep(Duration::from_micros(200));
        }
        stop.store(true, Ordering::Relaxed);
        let flooded = flood.join().unwrap();
        eventually("every packet is found again", || {
            let received = node.engine.counter(Counter::NetRxPackets);
            (received + not_received(&node) == flooded + QUIET).then_some(())
        });
        eventually("every packet received is delivered or counted", || {
            let delivered = node.engine.counter(Counter::TapTxFrames)
                + node.engine.counter(Counter::TunTxPackets);
            (delivered + drops(&node) == flooded + QUIET - not_received(&node)).then_some(())
        });
        ended.store(true, Ordering::Relaxed);
        let numbers = tap.map(|tap| tap.join().unwrap());
        if let Some(numbers) = &numbers {
            assert_ascending(numbers);
        }
        (flooded, tun.join().unwrap())
    });
    assert_ascending(&arrived);
    assert!(
        arrived.len() as u64 >= ARRIVE,
        "{} of {QUIET} arrived beside a flood of {flooded}",
        arrived.len()
    );
    assert_eq!(
        node.engine.drop_count(DropReason::DeviceRefused),
        drops(&node),
        "a full device is the only reason"
    );
    if !read_flood {
        // The device takes a few, and the rest is counted instead of being kept.
        assert!(node.engine.counter(Counter::TapTxFrames) < 1000);
        assert!(drops(&node) > 0);
    }
    assert_alive(&mut node);
}

#[test]
fn a_flood_from_one_peer_does_not_starve_another() {
    beside_a_flood(true);
}

#[test]
fn a_device_that_nobody_reads_stops_nobody_else() {
    beside_a_flood(false);
}

#[test]
fn a_flood_from_the_lan_does_not_starve_the_host() {
    // Without trains, of which the kernel counts those it drops as one.
    let options = Options {
        trains: false,
        ..Options::default()
    };
    let (mut a, mut b) = (Node::with(1, options), Node::new(2));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    let (stop, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let (flood_count, quiet_count) = (AtomicU64::new(0), AtomicU64::new(0));
    let (flooded, arrived) = thread::scope(|scope| {
        let _end = EndOf([&stop, &ended]);
        let flood = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                a.tap
                    .send(&frame(1, number, number as usize % 1000))
                    .unwrap();
            }
            number
        });
        let tap = scope.spawn(|| drain(&b.tap, &ended, &flood_count));
        let tun = scope.spawn(|| drain(&b.tun, &ended, &quiet_count));
        a.wait_counter(Counter::TapRxFrames, 1000);
        for number in 1..=QUIET {
            a.tun.send(&packet(1, 2, number)).unwrap();
            // It is read while the flood goes on.
            a.wait_counter(Counter::TunRxPackets, number);
        }
        stop.store(true, Ordering::Relaxed);
        let flooded: u64 = flood.join().unwrap();
        a.wait_counter(Counter::TapRxFrames, flooded);
        eventually("every packet that was read is sent or counted", || {
            let sent = a.engine.counter(Counter::NetTxPackets);
            (sent + drops(&a) == flooded + QUIET).then_some(())
        });
        let sent = a.engine.counter(Counter::NetTxPackets);
        eventually("every packet that was sent is found again", || {
            let received = b.engine.counter(Counter::NetRxPackets);
            (received + not_received(&b) == sent).then_some(())
        });
        eventually("every packet received is delivered or counted", || {
            let delivered =
                b.engine.counter(Counter::TapTxFrames) + b.engine.counter(Counter::TunTxPackets);
            (delivered + drops(&b) == b.engine.counter(Counter::NetRxPackets)).then_some(())
        });
        ended.store(true, Ordering::Relaxed);
        assert_ascending(&tap.join().unwrap());
        (flooded, tun.join().unwrap())
    });
    assert_ascending(&arrived);
    assert!(
        arrived.len() as u64 >= ARRIVE,
        "{} of {QUIET} arrived beside a flood of {flooded}",
        arrived.len()
    );
    assert_eq!(drops(&a), a.engine.drop_count(DropReason::SendQueueFull));
    assert_eq!(drops(&b), b.engine.drop_count(DropReason::DeviceRefused));
    assert_alive(&mut a);
    assert_alive(&mut b);
}

#[test]
fn a_flood_for_nobody_starves_nobody() {
    // Security associations that are not there, and packets that do not hold.
    let mut node = Node::new(1);
    let quiet = Stranger::number(9, &node, 601);
    let flooder = Stranger::number(8, &node, 600);
    node.engine.remove_sa(Direction::In, 600, hit(8));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = EndOf([&stop, &stop]);
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                flooder.send(number, 97, &etherip(number));
                let forged = [&601u32.to_be_bytes()[..], &[7; 60]].concat();
                flooder.socket.send(&forged).unwrap();
            }
        });
        node.wait_counter(Counter::NetRxPackets, 1000);
        for number in 1..=20 {
            // One after the other, again until it arrives.
            eventually("a packet arrives beside the flood", || {
                quiet.send(number, 253, &number.to_be_bytes());
                let mut buffer = [0; 200];
                node.tun
                    .set_read_timeout(Some(Duration::from_millis(50)))
                    .unwrap();
                let len = node.tun.recv(&mut buffer).ok()?;
                (number_of(&buffer[..len]) == number).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(node.engine.drop_count(DropReason::UnknownSpi) > 0);
    assert!(node.engine.drop_count(DropReason::AuthFailed) > 0);
    assert_alive(&mut node);
    // The frames of the flood were dropped one and all.
    assert_eq!(node.engine.counter(Counter::TapTxFrames), 0);
    let peer = Stranger::number(8, &node, 602);
    peer.send(1, 97, &etherip(42));
    assert_eq!(receive(&node.tap), frame(7, 42, 42));
}
