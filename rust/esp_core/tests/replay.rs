//! The replay window against a model that remembers everything.

use std::collections::HashSet;

use esp_core::{error::Error, replay::ReplayWindow};
use proptest::prelude::*;

/// The window as RFC 4303 §3.4.3 describes it, with no thought for memory.
struct Model {
    size: u64,
    highest: u64,
    seen: HashSet<u64>,
}

impl Model {
    fn new(size: u64) -> Self {
        Self {
            size,
            highest: 0,
            seen: HashSet::new(),
        }
    }

    fn check(&self, seq: u64) -> Result<(), Error> {
        if seq == 0 || seq + self.size <= self.highest {
            Err(Error::TooOld)
        } else if self.seen.contains(&seq) {
            Err(Error::Duplicate)
        } else {
            Ok(())
        }
    }

    fn commit(&mut self, seq: u64) {
        self.seen.insert(seq);
        self.highest = self.highest.max(seq);
    }

    /// Numbers from 1 on that are left of the window's last block boundary and never came.
    fn lost(&self) -> u64 {
        let end = (self.highest / 64 * 64).saturating_sub(self.size);
        let seen = self.seen.iter().filter(|seq| **seq < end).count();
        end.saturating_sub(1) - seen as u64
    }
}

/// Steps from the highest number: mostly near it, some far in either direction.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        6 => -10i64..10,
        3 => -600i64..600,
        1 => -9000i64..9000,
        1 => 0i64..200_000,
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        size in prop_oneof![Just(64u32), Just(128), Just(1024), Just(8192), 1u32..3000],
        start in prop_oneof![Just(1u64), Just((1 << 32) - 100), Just(1 << 40), 1u64..1 << 60],
        steps in steps(),
    ) {
        let mut window = ReplayWindow::new(size);
        let mut model = Model::new(window.size());
        let mut refused = (0, 0);
        let mut accepted = 0;
        window.commit(start).unwrap();
        model.commit(start);
        for step in steps {
            let seq = model.highest.saturating_add_signed(step);
            let expected = model.check(seq);
            prop_assert_eq!(window.check(seq), expected, "{}", seq);
            match expected {
                Ok(()) => {
                    prop_assert_eq!(window.commit(seq), Ok(()));
                    model.commit(seq);
                    accepted += 1;
                }
                Err(Error::Duplicate) => refused.0 += 1,
                Err(_) => refused.1 += 1,
            }
            prop_assert_eq!(window.highest(), model.highest);
        }
        let counts = window.counts();
        prop_assert_eq!((counts.accepted, counts.duplicate, counts.too_old),
                        (accepted + 1, refused.0, refused.1));
        prop_assert_eq!(counts.lost, model.lost());
    }

    /// From any position, every number from the left edge of the window to 2^32 beyond is inferred
    /// from its low half.
    #[test]
    fn infers_the_high_half(
        size in prop_oneof![Just(64u32), Just(8192)],
        highest in prop_oneof![
            1u64..20_000,
            (1u64 << 32) - 10_000..(1 << 32) + 10_000,
            (5u64 << 32) - 10_000..(5 << 32) + 10_000,
            1u64..1 << 50,
        ],
        offset in prop_oneof![-8191i64..9000, 0i64..(1 << 32) - 8192],
    ) {
        let mut window = ReplayWindow::new(size);
        window.commit(highest).unwrap();
        let seq = highest.saturating_add_signed(offset.max(1 - i64::from(size))).max(1);
        prop_assert_eq!(window.infer(seq as u32), seq);
    }
}

#[test]
fn a_fresh_window_expects_the_first_lap() {
    let window = ReplayWindow::new(ReplayWindow::DEFAULT_SIZE);
    assert_eq!(window.size(), 8192);
    for low in [1, 2, 8191, 8192, 1 << 31, u32::MAX] {
        assert_eq!(window.infer(low), u64::from(low));
    }
}

#[test]
fn the_low_half_wraps() {
    let mut window = ReplayWindow::new(64);
    let first = (1u64 << 32) - 40;
    for seq in first..first + 80 {
        assert_eq!(window.infer(seq as u32), seq);
        window.commit(seq).unwrap();
    }
    // A late packet from before the wrap belongs to the lap before.
    assert_eq!(window.infer(u32::MAX), u64::from(u32::MAX));
    assert_eq!(window.check(u64::from(u32::MAX)), Err(Error::Duplicate));
    // One further back cannot be in the window, so it is read as of the lap to come.
    assert_eq!(window.infer(first as u32), first + (1 << 32));
}

#[test]
fn the_edges_of_the_window_are_exact() {
    let mut window = ReplayWindow::new(8192);
    window.commit(100_000).unwrap();
    assert_eq!(window.check(100_000 - 8191), Ok(()));
    assert_eq!(window.check(100_000 - 8192), Err(Error::TooOld));
    assert_eq!(window.check(100_000), Err(Error::Duplicate));
    assert_eq!(window.check(100_001), Ok(()));
    assert_eq!(window.check(0), Err(Error::TooOld));
}

#[test]
fn two_copies_checked_before_either_is_committed() {
    let mut window = ReplayWindow::new(64);
    assert_eq!((window.check(5), window.check(5)), (Ok(()), Ok(())));
    assert_eq!(
        (window.commit(5), window.commit(5)),
        (Ok(()), Err(Error::Duplicate))
    );
}

#[test]
fn a_jump_over_everything_forgets_everything() {
    let mut window = ReplayWindow::new(1024);
    for seq in 1..=2000 {
        window.commit(seq).unwrap();
    }
    let far = u64::MAX - 3;
    window.commit(far).unwrap();
    for seq in (far - 1023..far).chain(far + 1..=u64::MAX) {
        assert_eq!(window.check(seq), Ok(()));
    }
}

#[test]
fn what_leaves_the_window_without_having_come_is_lost() {
    let mut window = ReplayWindow::new(128);
    for seq in (1..=10_000).filter(|seq| seq % 10 != 0) {
        window.commit(seq).unwrap();
    }
    // The window still covers the last two blocks, and those behind a boundary wait for theirs.
    let end = 9_999 / 64 * 64 - 128;
    assert_eq!(window.counts().lost, (end - 1) / 10);
    // Late, but in time.
    window.commit(9_990).unwrap();
    window.commit(20_000).unwrap();
    let end = 20_000 / 64 * 64 - 128;
    let never = (1..end)
        .filter(|seq| (seq % 10 == 0 || *seq > 10_000) && *seq != 9_990)
        .count();
    assert_eq!(window.counts().lost, never as u64);
    assert_eq!(ReplayWindow::new(64).counts().lost, 0);
}

#[test]
fn sizes_are_rounded_and_bounded() {
    for (asked, got) in [
        (0, 64),
        (1, 64),
        (64, 64),
        (65, 128),
        (8192, 8192),
        (u32::MAX, 1 << 24),
    ] {
        assert_eq!(ReplayWindow::new(asked).size(), got);
    }
}
