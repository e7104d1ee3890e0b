//! Credit-based authorization: how much may go to a peer at an address where it has not yet been
//! proven to be (RFC 8046 §5.6).
//!
//! A peer earns credit by every authentic packet from it, and what goes to an unverified address
//! uses it up. So nobody can have a flood sent to a third party that it does not pay for with as many
//! octets of its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// CreditAgingInterval (RFC 8046 §5.6.2).
const AGING_INTERVAL_MS: u64 = 5_000;
/// Octets that a burst to an unverified address may have at most, whatever the peer has sent: those
/// of a round trip of 100 ms at 5 Gbit/s, as the address is verified in one.
const MAX_CREDIT: u64 = 64 << 20;

/// Bits of a word that count octets; the others count intervals, and last for 42 years.
const OCTET_BITS: u32 = 36;
const MAX_OCTETS: u64 = (1 << OCTET_BITS) - 1;

/// A peer's credit, as what it has earned and what was spent of it.
///
/// INVARIANT: `earned` is written by the receiving direction alone, `spent` by the sending one. So
/// neither needs a locked instruction. Both age alike, so their difference does as well.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Credit {
    earned: AtomicU64,
    spent: AtomicU64,
}

/// Octets as of an interval.
#[derive(Clone, Copy)]
struct Amount {
    octets: u64,
    interval: u64,
}

impl Amount {
    fn load(word: &AtomicU64) -> Self {
        let word = word.load(Ordering::Relaxed);
        Self {
            octets: word & MAX_OCTETS,
            interval: word >> OCTET_BITS,
        }
    }

    fn store(self, word: &AtomicU64) {
        word.store(self.interval << OCTET_BITS | self.octets, Ordering::Relaxed);
    }

    /// What is left of it in a later interval: CreditAgingFactor of 7/8 for each that has passed.
    /// `age` tells what becomes of so many octets.
    fn aged(mut self, interval: u64, age: fn(u64) -> u64) -> Self {
        while self.interval < interval {
            let octets = age(self.octets);
            if octets == self.octets {
                self.interval = interval;
            } else {
                self.octets = octets;
                self.interval += 1;
            }
        }
        self
    }
}

impl Credit {
    /// An authentic packet of so many octets came from the peer. For the receiving direction.
    pub(super) fn earn(&self, octets: usize, now_ms: u64) {
        let before = Amount::load(&self.earned).aged(now_ms / AGING_INTERVAL_MS, round_down);
        Amount {
            octets: (before.octets + octets as u64).min(MAX_OCTETS),
            ..before
        }
        .store(&self.earned);
    }

    /// Take credit for packets of so many octets; false if there is not enough, and none is taken.
    /// For the sending direction.
    pub(super) fn spend(&self, octets: usize, now_ms: u64) -> bool {
        let (earned, spent) = (Amount::load(&self.earned), Amount::load(&self.spent));
        // The other direction may have looked at the clock a little later.
        let interval = (now_ms / AGING_INTERVAL_MS).max(earned.interval);
        let earned = earned.aged(interval, round_down).octets;
        let spent = spent.aged(interval, round_up).octets;
        let credit = earned.saturating_sub(spent).min(MAX_CREDIT);
        let octets = octets as u64;
        if credit < octets {
            return false;
        }
        // What is beyond the limit is gone with it.
        Amount {
            octets: earned - credit + octets,
            interval,
        }
        .store(&self.spent);
        true
    }
}

/// Roundings are never in the peer's favour.
fn round_down(octets: u64) -> u64 {
    octets * 7 / 8
}

fn round_up(octets: u64) -> u64 {
    (octets * 7).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that can be spent now, found by trying; it is spent.
    fn drain(credit: &Credit, now_ms: u64) -> u64 {
        let mut total = 0;
        for bit in (0..OCTET_BITS).rev() {
            if credit.spend(1 << bit, now_ms) {
                total += 1 << bit;
            }
        }
        total
    }

    #[test]
    fn what_came_in_may_go_out_and_no_more() {
        let credit = Credit::default();
        assert!(!credit.spend(1, 0));
        credit.earn(1000, 0);
        credit.earn(500, 10);
        assert!(!credit.spend(1501, 20));
        assert!(credit.spend(1000, 20));
        assert!(!credit.spend(501, 20));
        assert!(credit.spend(500, 20));
        assert!(!credit.spend(1, 20));
        credit.earn(7, 30);
        assert_eq!(drain(&credit, 40), 7);
    }

    #[test]
    fn an_eighth_goes_every_five_seconds() {
        let credit = Credit::default();
        credit.earn(8000, 4_999);
        assert!(credit.spend(800, 4_999));
        // 7/8 of what was left.
        assert_eq!(drain(&credit, 5_000), 6300);
        credit.earn(64_000, 6_000);
        assert!((48_990..=49_000).contains(&drain(&credit, 19_999)));
        // Slowly gathered over a week, it is no more than the last minute's worth.
        for second in 0..7 * 24 * 3600 {
            credit.earn(100, 20_000 + second * 1000);
        }
        let now_ms = 20_000 + 7 * 24 * 3_600_000;
        assert!((3_000..=4_100).contains(&drain(&credit, now_ms)));
        credit.earn(1 << 20, now_ms);
        assert_eq!(drain(&credit, now_ms + 3_600_000), 0);
    }

    #[test]
    fn a_burst_is_bounded() {
        let credit = Credit::default();
        for _ in 0..1000 {
            credit.earn(1 << 30, 0);
        }
        assert_eq!(drain(&credit, 0), MAX_CREDIT);
        assert!(!credit.spend(1, 0));
        // Nor does it count afterwards what was beyond the limit.
        assert_eq!(drain(&credit, 5_000), 0);
    }

    #[test]
    fn a_reader_behind_the_writer_by_an_interval() {
        let credit = Credit::default();
        credit.earn(1000, 5_001);
        assert_eq!(drain(&credit, 4_999), 1000);
        assert!(!credit.spend(1, 5_001));
    }

    proptest! {
        /// Against one counter that is aged for all (RFC 8046 §5.6, as it stands there).
        #[test]
        fn as_one_counter(
            steps in prop::collection::vec(
                (any::<bool>(), 1usize..100_000, prop_oneof![3 => 0u64..2_000, 1 => 0u64..30_000]),
                1..200,
            )
        ) {
            let credit = Credit::default();
            let (mut counter, mut now_ms) = (0f64, 0);
            for (incoming, octets, pause_ms) in steps {
                let passed = (now_ms + pause_ms) / AGING_INTERVAL_MS - now_ms / AGING_INTERVAL_MS;
                now_ms += pause_ms;
                counter *= 0.875f64.powi(passed as i32);
                if incoming {
                    credit.earn(octets, now_ms);
                    counter += octets as f64;
                } else if credit.spend(octets, now_ms) {
                    prop_assert!(counter + 1e-6 >= octets as f64, "more than there was");
                    counter -= octets as f64;
                } else {
                    // Each interval and each spending rounds by less than eight octets in the end.
                    prop_assert!(counter < octets as f64 + 16.0, "less than there was");
                }
            }
        }
    }
}
