//! How many J a core tries in a second.

use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use esp_core::puzzle::{HashName, Solver};

/// Attempts in each run: J has two octets, and no J solves the puzzle.
const ATTEMPTS: u64 = 1 << 16;

fn attempts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("puzzle_attempts");
    group.throughput(Throughput::Elements(ATTEMPTS));
    for (name, hash) in [
        ("sha256", HashName::Sha256),
        ("sha384", HashName::Sha384),
        ("sha1", HashName::Sha1),
        ("cshake128", HashName::CShake128),
    ] {
        let digest_len = hash.digest_len();
        // As long as I, both HITs and J are together in HIPv2.
        let prefix = vec![7; digest_len + 32 + digest_len - 2];
        let bits = 8 * digest_len as u32;
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || Solver::new(hash, &prefix, 2, bits, &[0; 2]).unwrap(),
                |solver| solver.run(Instant::now() + Duration::from_secs(60)),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = attempts
}
criterion_main!(benches);
