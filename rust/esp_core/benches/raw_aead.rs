//! What ESP adds to the cipher it is made of: sealing and opening a packet beside ring's own AEAD
//! over as many octets, one right after the other, so that both meet the same machine.

use std::{hint::black_box, time::Duration};

use criterion::{criterion_group, criterion_main, BatchSize, BenchmarkId, Criterion, Throughput};
use esp_core::{
    esp::{Opener, Sealer},
    suite::Suite,
};
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM};

/// Octets of payload: the shortest Ethernet frame, a middling packet, a full one, a jumbo frame.
const PAYLOADS: [usize; 4] = [64, 512, 1400, 9000];

const SUITE: Suite = Suite::AesGcm16;
const SPI: u32 = 0x1234_5678;
const KEY: [u8; 20] = [1; 20];
const TAG_LEN: usize = 16;
/// Octets of a cache line. Where in one a text begins makes a difference of up to 15 % in what ring
/// takes for it, more than what is measured here, so each text takes all places in turn.
const LINE: usize = 64;
const STEP: usize = 16;
/// Packets opened between two pauses of the clock; few enough for the cache.
const PACKETS: u64 = 64;

/// Buffers of one length, each of which begins at another place in a cache line.
struct Places {
    memory: Vec<u8>,
    len: usize,
    /// Where the first one begins, and how far behind it the next one does.
    first: usize,
    stride: usize,
}

impl Places {
    fn new(len: usize) -> Self {
        let stride = len.next_multiple_of(LINE) + STEP;
        let memory = vec![0; LINE + LINE / STEP * stride];
        let first = memory.as_ptr().align_offset(LINE);
        Self {
            memory,
            len,
            first,
            stride,
        }
    }

    fn turn(&mut self, n: u64) -> &mut [u8] {
        let start = self.first + n as usize % (LINE / STEP) * self.stride;
        &mut self.memory[start..start + self.len]
    }
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY[..16]).unwrap())
}

/// Salt and explicit IV, as RFC 4106 makes them.
fn nonce(seq: u64) -> Nonce {
    let mut octets = [1; 12];
    octets[4..].copy_from_slice(&seq.to_be_bytes());
    Nonce::assume_unique_for_key(octets)
}

/// SPI and extended sequence number (RFC 4106 §5).
fn aad(seq: u64) -> Aad<[u8; 12]> {
    let mut octets = [0; 12];
    octets[..4].copy_from_slice(&SPI.to_be_bytes());
    octets[4..].copy_from_slice(&seq.to_be_bytes());
    Aad::from(octets)
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("beside_raw_seal");
    let sealer = Sealer::new(SUITE, SPI, &KEY, &[]).unwrap();
    let raw = raw_key();
    for payload_len in PAYLOADS {
        group.throughput(Throughput::Bytes(payload_len as u64));
        let mut places = Places::new(sealer.sealed_len(payload_len));
        let mut seq = 0;
        group.bench_function(BenchmarkId::new("esp", payload_len), |bencher| {
            bencher.iter(|| {
                seq += 1;
                sealer
                    .seal(seq, 97, black_box(places.turn(seq)), payload_len)
                    .unwrap()
            });
        });
        let mut places = Places::new(payload_len);
        let mut seq = 0;
        group.bench_function(BenchmarkId::new("raw", payload_len), |bencher| {
            bencher.iter(|| {
                seq += 1;
                let text = black_box(places.turn(seq));
                raw.seal_in_place_separate_tag(nonce(seq), aad(seq), text)
                    .unwrap()
            });
        });
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("beside_raw_open");
    let sealer = Sealer::new(SUITE, SPI, &KEY, &[]).unwrap();
    let opener = Opener::new(SUITE, SPI, &KEY, &[]).unwrap();
    let raw = raw_key();
    for payload_len in PAYLOADS {
        group.throughput(Throughput::Bytes(payload_len as u64));
        let mut packet = vec![0; sealer.sealed_len(payload_len)];
        sealer.seal(1, 97, &mut packet, payload_len).unwrap();
        group.bench_function(BenchmarkId::new("esp", payload_len), |bencher| {
            // Opening works in place, so each run gets a copy, made off the clock. They do not all
            // begin at the same place in a cache line.
            bencher.iter_batched_ref(
                || packet.clone(),
                |packet| opener.open(1, packet).unwrap(),
                BatchSize::NumIterations(PACKETS),
            );
        });
        let mut sealed = vec![0; payload_len];
        let tag = raw
            .seal_in_place_separate_tag(nonce(1), aad(1), &mut sealed)
            .unwrap();
        sealed.extend_from_slice(tag.as_ref());
        assert_eq!(sealed.len(), payload_len + TAG_LEN);
        group.bench_function(BenchmarkId::new("raw", payload_len), |bencher| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |sealed| raw.open_in_place(nonce(1), aad(1), sealed).unwrap().len(),
                BatchSize::NumIterations(PACKETS),
            );
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = seal, open
}
criterion_main!(benches);
