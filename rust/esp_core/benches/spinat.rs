//! What a mobile router does to each ESP packet of its clients, among 100,000 associations.

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use esp_core::spinat::{Direction, Flow, Packet, Spinat, Target, Verdict, HEADROOM};
use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

const ASSOCIATIONS: u32 = 100_000;
const BATCH: usize = 64;

/// Numbers that jump about, as SPIs do.
fn scattered(n: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b9).rotate_left(7) | 0x100
}

fn v4(last: u32, port: u16) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0000 + last), port).into()
}

fn v6(last: u32, port: u16) -> SocketAddr {
    (Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(last)), port).into()
}

type End = fn(u32, u16) -> SocketAddr;

/// A router's table, all ways of which lead to such ends.
fn table(inside: End, outside: End, port: u16) -> Spinat {
    let mut spinat = Spinat::new(2 * ASSOCIATIONS as usize);
    for n in 0..ASSOCIATIONS {
        let spi = scattered(n);
        let inward = Target {
            source: inside(n + 1_000_000, 0),
            destination: inside(n % 250, 0),
            spi: spi ^ 0x5555,
        };
        // Every bit of the number counts once, so that no two are the same.
        let _ = spinat.insert(Flow::Public { spi }, &inward, 0);
        let outward = Target {
            source: outside(1, port),
            destination: outside(n + 1_000_000, port),
            spi,
        };
        let flow = Flow::Client {
            spi,
            client: inside(n % 250, 0).ip(),
            correspondent: inside(n + 1_000_000, 0).ip(),
        };
        let _ = spinat.insert(flow, &outward, 0);
    }
    spinat
}

/// A plain ESP packet of IPv4.
fn packet(source: IpAddr, destination: IpAddr, spi: u32, esp_len: usize) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else {
        panic!("IPv4 only");
    };
    let total = (20 + esp_len) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0x40, 0, 64, 50, 0, 0]);
    bytes.extend_from_slice(&source.octets());
    bytes.extend_from_slice(&destination.octets());
    bytes.extend_from_slice(&spi.to_be_bytes());
    bytes.resize(usize::from(total), 0x5a);
    bytes
}

fn rewrite(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spinat");
    group.throughput(Throughput::Elements(1));
    for (name, direction, outside, port) in [
        ("inward", Direction::Inward, v4 as End, 0),
        ("outward", Direction::Outward, v4, 0),
        ("outward_to_udp", Direction::Outward, v4, 10_500),
        ("outward_to_v6_udp", Direction::Outward, v6, 10_500),
    ] {
        for size in [64usize, 1400] {
            let mut spinat = table(v4, outside, port);
            let stride = (HEADROOM + 20 + size).next_multiple_of(64);
            let mut buffer = vec![0; stride * BATCH];
            let mut packets = Vec::with_capacity(BATCH);
            let mut next = 0;
            let id = BenchmarkId::new(name, size);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|wanted| {
                    let mut took = Duration::ZERO;
                    let mut done = 0;
                    while done < wanted {
                        // What came in is in the cache already, as the kernel has just copied it.
                        packets.clear();
                        for slot in buffer.chunks_exact_mut(stride) {
                            next = (next + 7919) % ASSOCIATIONS;
                            let (source, destination) = match direction {
                                Direction::Inward => (v4(next + 1_000_000, 0), v4(1, 0)),
                                Direction::Outward => (v4(next % 250, 0), v4(next + 1_000_000, 0)),
                            };
                            let bytes =
                                packet(source.ip(), destination.ip(), scattered(next), size);
                            slot[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(&bytes);
                            let start = packets.len() * stride + HEADROOM;
                            packets.push(Packet::new(start, start + bytes.len()));
                        }
                        let begin = Instant::now();
                        spinat.rewrite(direction, black_box(&mut buffer), &mut packets, 1);
                        took += begin.elapsed();
                        done += BATCH as u64;
                        assert!(packets
                            .iter()
                            .all(|packet| packet.verdict == Verdict::Rewritten));
                    }
                    took.mul_f64(wanted as f64 / done as f64)
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2));
    targets = rewrite
}
criterion_main!(benches);
