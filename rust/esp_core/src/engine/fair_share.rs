//! How much of the CPUs an engine would have if its data threads took turns with all others.
//!
//! While they use no more than that, going first takes nothing from anybody: what is theirs they have
//! at once and not when their turn comes. It is the sum of both threads that counts. Each alone may be
//! far from filling a CPU while together, and with what the kernel does on their behalf, they leave
//! others a fraction of what is due to them.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Data threads of an engine.
const THREADS: i64 = 2;
/// Where the system tells how many threads run or wait for a CPU.
const RUNNABLE: &str = "/proc/loadavg";
/// The average of their number is kept in so many parts of one.
const WHOLE: u32 = 1 << 10;
/// What one more look at it adds to the average: an eighth of the difference.
const SMOOTHING: i64 = 8;
/// Runnable threads to a CPU where the system does not tell.
const USUAL: u32 = 3;
/// Microseconds of CPU time that may be saved up.
const MOST_SAVED_US: i64 = 100_000;

/// Shared by the data threads of an engine.
pub(super) struct FairShare {
    runnable: Option<File>,
    cpus: u32,
    /// Threads that run or wait for a CPU, all of the machine, on average.
    crowd: AtomicU32,
    /// Microseconds of CPU time that are still due to the data threads.
    due_us: AtomicI64,
    began: Instant,
    /// Until when what is due has been counted, in microseconds since then.
    counted_us: AtomicU64,
}

impl FairShare {
    #[must_use]
    pub(super) fn new() -> Self {
        Self {
            runnable: File::open(RUNNABLE).ok(),
            ..Self::of(thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32))
        }
    }

    /// On a machine with so many CPUs that does not tell who else wants them.
    pub(super) fn of(cpus: u32) -> Self {
        Self {
            runnable: None,
            cpus,
            crowd: AtomicU32::new(cpus * USUAL * WHOLE),
            due_us: AtomicI64::new(MOST_SAVED_US),
            began: Instant::now(),
            counted_us: AtomicU64::new(0),
        }
    }

    /// Count the CPU time that a data thread has used while it went first, and what has become due to
    /// both meanwhile. Looks at who else wants the CPUs.
    pub(super) fn count(&self, used: Duration) {
        if let Some(count) = self.runnable.as_ref().and_then(runnable) {
            smooth(&self.crowd, count.saturating_mul(WHOLE));
        }
        let now = self.began.elapsed().as_micros() as u64;
        // Whichever thread comes first counts the time that has passed, and no time counts twice.
        let passed = now.saturating_sub(self.counted_us.swap(now, Ordering::Relaxed));
        self.pass(used, passed);
    }

    fn pass(&self, used: Duration, passed_us: u64) {
        let crowd = self.crowd.load(Ordering::Relaxed).max(self.cpus * WHOLE);
        let passed = passed_us.min(MOST_SAVED_US as u64) as i64;
        let due = passed * THREADS * i64::from(self.cpus * WHOLE) / i64::from(crowd);
        let change = due - used.as_micros() as i64;
        let before = self.due_us.fetch_add(change, Ordering::Relaxed);
        // What the other thread counts just now may be lost, but not every time.
        if before + change > MOST_SAVED_US {
            self.due_us.store(MOST_SAVED_US, Ordering::Relaxed);
        }
    }

    /// Whether both together have used more than they would have if they took turns.
    #[must_use]
    pub(super) fn is_exceeded(&self) -> bool {
        self.due_us.load(Ordering::Relaxed) <= 0
    }

    /// Whether anybody has to wait for a CPU.
    #[must_use]
    pub(super) fn is_crowded(&self) -> bool {
        self.crowd.load(Ordering::Relaxed) > self.cpus * WHOLE
    }
}

/// Of two that do this at once one is lost, which does no harm to an average.
fn smooth(average: &AtomicU32, value: u32) {
    let old = i64::from(average.load(Ordering::Relaxed));
    let step = (i64::from(value) - old) / SMOOTHING;
    average.store((old + step) as u32, Ordering::Relaxed);
}

/// How many threads run or wait for a CPU: the number before the slash.
fn runnable(file: &File) -> Option<u32> {
    let mut text = [0; 64];
    let len = file.read_at(&mut text, 0).ok()?;
    parse(&text[..len])
}

fn parse(text: &[u8]) -> Option<u32> {
    let field = text.split(|octet| *octet == b' ').nth(3)?;
    let (number, _) = std::str::from_utf8(field).ok()?.split_once('/')?;
    number.parse().ok()
}

#[cfg(test)]
impl FairShare {
    /// So many threads have wanted the CPUs for long.
    pub(super) fn set_crowd(&self, threads: u32) {
        self.crowd.store(threads * WHOLE, Ordering::Relaxed);
    }

    /// So much is due.
    pub(super) fn set_due(&self, microseconds: i64) {
        self.due_us.store(microseconds, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After ten seconds with so many runnable threads and this use by both, in percent of a CPU.
    fn exceeded(cpus: u32, crowd: u32, percent: [u64; 2]) -> bool {
        let share = FairShare::of(cpus);
        share.set_crowd(crowd);
        for _ in 0..500 {
            for (passed_us, percent) in [20_000, 0].into_iter().zip(percent) {
                share.pass(Duration::from_micros(20_000 * percent / 100), passed_us);
            }
        }
        share.is_exceeded()
    }

    #[test]
    fn both_threads_and_all_others_count() {
        // As many as there are CPUs: each has one for itself.
        assert!(!exceeded(2, 2, [99, 99]));
        assert!(!exceeded(32, 8, [99, 99]));
        // Two of four threads on two CPUs have one together.
        assert!(!exceeded(2, 4, [49, 49]));
        assert!(exceeded(2, 4, [55, 55]));
        assert!(exceeded(2, 4, [104, 0]));
        // Twelve.
        assert!(!exceeded(2, 12, [16, 16]));
        assert!(exceeded(2, 12, [30, 30]));
        assert!(!exceeded(32, 64, [49, 49]));
        assert!(!exceeded(1, 4, [24, 24]));
        assert!(exceeded(1, 4, [30, 30]));
    }

    #[test]
    fn a_little_is_saved_up() {
        let share = FairShare::of(2);
        share.set_crowd(4);
        share.pass(Duration::ZERO, 1 << 40);
        let burst = Duration::from_micros(MOST_SAVED_US as u64);
        share.pass(burst - Duration::from_micros(1), 0);
        assert!(!share.is_exceeded());
        share.pass(Duration::from_micros(1), 0);
        assert!(share.is_exceeded());
        share.pass(Duration::ZERO, 1);
        assert!(!share.is_exceeded(), "half of two CPUs' time is due");
    }

    #[test]
    fn a_moment_says_nothing() {
        let share = FairShare::of(2);
        assert!(share.is_crowded(), "as long as nothing else is known");
        for n in 0..100 {
            smooth(&share.crowd, if n % 10 == 0 { 5 } else { 1 } * WHOLE);
        }
        assert!(!share.is_crowded());
    }

    #[test]
    fn what_the_system_tells() {
        assert_eq!(parse(b"13.70 11.49 6.47 17/512 17240\n"), Some(17));
        for text in [
            "",
            "1 2 3",
            "1 2 3 x/4 5",
            "1 2 3 4 5",
            "1 2 3 99999999999/4 5",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        let share = FairShare::new();
        if let Some(file) = &share.runnable {
            assert!(runnable(file).unwrap() >= 1, "this one at least");
        }
        share.count(Duration::ZERO);
    }
}
