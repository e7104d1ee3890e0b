//! Look-ups that every packet pays for: they must cost the same with a million entries as with one.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion};
use esp_core::{l2::mac_table::MacLearner, spi_table::SpiTable};

/// Numbers that jump about, as SPIs and addresses do.
fn scattered(n: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b9).rotate_left(7) | 0x100
}

fn spi_lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spi_lookup");
    for size in [1u32, 1_000, 1_000_000] {
        let mut table = SpiTable::new();
        for n in 0..size {
            table.insert(scattered(n), n);
        }
        // Few at a time are in use, however many there are.
        let hot = size.min(64);
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                next = if next + 1 == hot { 0 } else { next + 1 };
                table.get(black_box(scattered(next)))
            });
        });
        if size == 1_000_000 {
            group.bench_function("1000000/cold", |bencher| {
                bencher.iter(|| {
                    next = next.wrapping_add(7919) % size;
                    table.get(black_box(scattered(next)))
                });
            });
        }
    }
    group.finish();
}

fn spi_insert(criterion: &mut Criterion) {
    criterion.bench_function("spi_insert_remove/1000000", |bencher| {
        let mut table = SpiTable::new();
        for n in 0..1_000_000 {
            table.insert(scattered(n), n);
        }
        let mut next = 1_000_000;
        bencher.iter(|| {
            next += 1;
            table.insert(black_box(scattered(next)), next);
            table.remove(black_box(scattered(next)))
        });
    });
}

/// Look-ups among a million while associations come and go. The table belongs to one thread, which
/// carries out what others ask of it between two batches of packets: so does this.
fn spi_lookup_while_changing(criterion: &mut Criterion) {
    const SIZE: u32 = 1_000_000;
    const BATCH: u32 = 64;
    let mut group = criterion.benchmark_group("spi_lookup_while_changing");
    for changes_per_s in [0, 10_000] {
        let mut table = SpiTable::new();
        for n in 0..SIZE {
            table.insert(scattered(n), n);
        }
        let every = match changes_per_s {
            0 => Duration::MAX,
            rate => Duration::from_secs(1) / rate,
        };
        // Those looked up stay; from behind them the oldest goes when a new one comes.
        let (mut oldest, mut newest) = (BATCH, SIZE);
        group.bench_function(BenchmarkId::from_parameter(changes_per_s), |bencher| {
            bencher.iter_custom(|wanted| {
                let (mut lookups, mut due) = (0, every);
                let begin = Instant::now();
                while lookups < wanted {
                    for n in 0..BATCH {
                        black_box(table.get(black_box(scattered(n))));
                    }
                    lookups += u64::from(BATCH);
                    while begin.elapsed() >= due {
                        due += every;
                        table.insert(scattered(newest), newest);
                        table.remove(scattered(oldest));
                        newest += 1;
                        oldest += 1;
                    }
                }
                begin.elapsed().mul_f64(wanted as f64 / lookups as f64)
            });
        });
    }
    group.finish();
}

fn mac(n: u32) -> [u8; 6] {
    let [a, b, c, d] = scattered(n).to_be_bytes();
    [2, 0, a, b, c, d]
}

fn mac_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mac_table");
    for size in [1u32, 1_000, 65_536] {
        let mut learner = MacLearner::new(65_536, 300);
        for n in 0..size {
            learner.learn(&mac(n), 0, 1, 0);
        }
        let table = learner.table().clone();
        let hot = size.min(64);
        let mut next = 0;
        group.bench_function(BenchmarkId::new("lookup", size), |bencher| {
            bencher.iter(|| {
                next = if next + 1 == hot { 0 } else { next + 1 };
                table.lookup(black_box(&mac(next)), 0, 1)
            });
        });
        group.bench_function(BenchmarkId::new("refresh", size), |bencher| {
            bencher.iter(|| {
                next = if next + 1 == hot { 0 } else { next + 1 };
                learner.learn(black_box(&mac(next)), 0, 1, 1)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2));
    targets = spi_lookup, spi_lookup_while_changing, spi_insert, mac_table
}
criterion_main!(benches);
