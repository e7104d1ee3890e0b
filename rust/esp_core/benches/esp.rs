//! What a packet costs: sealed and opened by each suite, and looked up in the replay window.
//!
//! `cargo bench -p esp_core --bench esp -- seal/AES-128-GCM-16` runs some of them.

use std::{hint::black_box, time::Duration};

use criterion::{criterion_group, criterion_main, BatchSize, BenchmarkId, Criterion, Throughput};
use esp_core::{
    esp::{Opener, Sealer, Unsealed},
    replay::ReplayWindow,
    suite::Suite,
};

/// Octets of payload: the shortest Ethernet frame, a middling packet, a full one, a jumbo frame.
const PAYLOADS: [usize; 4] = [64, 512, 1400, 9000];

const SPI: u32 = 0x1234_5678;

fn keys(suite: Suite) -> (Vec<u8>, Vec<u8>) {
    (
        vec![1; suite.encryption_key_len()],
        vec![2; suite.authentication_key_len()],
    )
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for suite in Suite::ALL {
        let (enc_key, auth_key) = keys(suite);
        let sealer = Sealer::new(suite, SPI, &enc_key, &auth_key).unwrap();
        for payload_len in PAYLOADS {
            let mut buf = vec![0; sealer.sealed_len(payload_len)];
            let mut seq = 0;
            group.throughput(Throughput::Bytes(payload_len as u64));
            group.bench_function(BenchmarkId::new(suite.name(), payload_len), |bencher| {
                bencher.iter(|| {
                    seq += 1;
                    sealer
                        .seal(seq, 97, black_box(&mut buf), payload_len)
                        .unwrap()
                });
            });
        }
    }
}

/// A TCP super-packet's worth of packets at once.
fn seal_batch(criterion: &mut Criterion) {
    const COUNT: u64 = 32;
    const PAYLOAD: usize = 1400;
    let mut group = criterion.benchmark_group("seal_batch_of_32");
    group.throughput(Throughput::Bytes(COUNT * PAYLOAD as u64));
    for suite in Suite::ALL {
        let (enc_key, auth_key) = keys(suite);
        let sealer = Sealer::new(suite, SPI, &enc_key, &auth_key).unwrap();
        let mut bufs = vec![vec![0; sealer.sealed_len(PAYLOAD)]; COUNT as usize];
        let mut seq = 0;
        group.bench_function(suite.name(), |bencher| {
            bencher.iter(|| {
                let mut batch: [Unsealed<'_>; COUNT as usize] = {
                    let mut bufs = black_box(&mut bufs).iter_mut();
                    std::array::from_fn(|_| {
                        seq += 1;
                        let buf = bufs.next().unwrap();
                        Unsealed {
                            seq,
                            next_header: 97,
                            buf,
                            payload_len: PAYLOAD,
                        }
                    })
                };
                sealer.seal_batch(&mut batch).unwrap();
            });
        });
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for suite in Suite::ALL {
        let (enc_key, auth_key) = keys(suite);
        let sealer = Sealer::new(suite, SPI, &enc_key, &auth_key).unwrap();
        let opener = Opener::new(suite, SPI, &enc_key, &auth_key).unwrap();
        for payload_len in PAYLOADS {
            let mut packet = vec![0; sealer.sealed_len(payload_len)];
            sealer.seal(1, 97, &mut packet, payload_len).unwrap();
            group.throughput(Throughput::Bytes(payload_len as u64));
            group.bench_function(BenchmarkId::new(suite.name(), payload_len), |bencher| {
                // Opening works in place, so each run gets a copy, made off the clock.
                bencher.iter_batched_ref(
                    || packet.clone(),
                    |packet| opener.open(1, packet).unwrap(),
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

fn forged(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refuse_forged");
    for suite in [
        Suite::Aes128CbcSha256,
        Suite::AesGcm16,
        Suite::ChaCha20Poly1305,
    ] {
        let (enc_key, auth_key) = keys(suite);
        let opener = Opener::new(suite, SPI, &enc_key, &auth_key).unwrap();
        let mut packet = vec![0; suite.sealed_len(1400)];
        packet[..4].copy_from_slice(&SPI.to_be_bytes());
        packet[7] = 1;
        group.bench_function(suite.name(), |bencher| {
            bencher.iter(|| opener.open(1, black_box(&mut packet)).unwrap_err());
        });
    }
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(1));
    let mut bench = |name: &str, step: fn(u64) -> u64| {
        group.bench_function(name, |bencher| {
            let mut window = ReplayWindow::new(ReplayWindow::DEFAULT_SIZE);
            let mut count = 0;
            bencher.iter(|| {
                count += 1;
                let seq = window.infer(black_box(step(count) as u32));
                window.check(seq).and_then(|()| window.commit(seq))
            });
        });
    };
    bench("in_order", |count| count);
    bench("pairs_swapped", |count| count ^ 1);
    bench("jumps_of_1000", |count| count * 1000);
    bench("replayed", |_| 1);
}

fn set_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new_sealer");
    for suite in Suite::ALL {
        let (enc_key, auth_key) = keys(suite);
        group.bench_function(suite.name(), |bencher| {
            bencher.iter(|| Sealer::new(suite, SPI, black_box(&enc_key), &auth_key).unwrap());
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = seal, seal_batch, open, forged, replay, set_up
}
criterion_main!(benches);
