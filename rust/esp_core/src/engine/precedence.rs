//! Data threads before others, while that does good.
//!
//! Where packets pass, their senders and receivers keep the CPUs busy. A thread that has to take its
//! turn among them waits milliseconds for it, a whole window of TCP piles up meanwhile in front of
//! each daemon, and every other flow waits behind that. What the kernel does with packets it does
//! before all programs, too.
//!
//! Where nobody waits for a CPU there is nobody to go before. Then a thread takes turns, as those of
//! real time are moved about more by the kernel: two of them that wake each other never meet on one
//! CPU, but each time wake the other one up.
//!
//! Where many want the CPUs, both threads of an engine together go first only for as long as their
//! share of the time (`fair_share.rs`), and take turns for the rest of it.
//!
//! There are two loads under which a thread takes turns altogether. One that is busy all the time would
//! take its CPU from everybody else. And small packets that come singly are cheap only by the batch: a
//! thread that is woken for each leaves their sender no time to send the next.

use std::{sync::Arc, time::Duration};

use super::{fair_share::FairShare, worker::Load};
use crate::sys::schedule;

/// Percent of a CPU that leave too little to others.
const GREEDY_LOAD: u32 = 95;
/// Single packets in a window (20 ms) that are better let gather.
const MANY_SINGLES: u32 = 300;
/// Windows of a load that is too much after which a thread takes turns; with many single packets
/// one is enough.
const GREEDY_WINDOWS: u32 = 3;
/// Windows without either after which it goes first again, and windows without anybody who waits
/// after which it does not.
const FIT_WINDOWS: u32 = 10;

/// Where the calling thread stands; belongs to it.
pub(super) struct Precedence {
    /// The engine was asked for it, and the system has not refused.
    wanted: bool,
    /// It goes first while its share lasts.
    entitled: bool,
    /// It does now.
    first: bool,
    /// Windows in a row that speak for a change.
    against: u32,
    share: Arc<FairShare>,
}

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    First,
    /// For a load under which others go short.
    GivenUp,
    /// As nobody waits.
    NotNeeded,
    Refused,
}

impl Precedence {
    #[must_use]
    pub(super) fn new(wanted: bool, share: Arc<FairShare>) -> Self {
        Self {
            wanted,
            entitled: false,
            first: false,
            against: 0,
            share,
        }
    }

    /// The calling thread begins its work.
    pub(super) fn begin(&mut self) -> Option<Change> {
        (self.wanted && !self.entitled).then(|| self.go_first())
    }

    /// A window with this load has passed.
    pub(super) fn window_passed(&mut self, load: Load) -> Option<Change> {
        if !self.wanted {
            return None;
        }
        let counted = if self.first {
            load.used
        } else {
            Duration::ZERO
        };
        self.share.count(counted);
        let many = load.singles >= MANY_SINGLES;
        let fit = load.used_percent < GREEDY_LOAD && !many;
        if (fit && self.share.is_crowded()) == self.entitled {
            self.against = 0;
            return self.mind_the_share();
        }
        self.against += 1;
        let enough = match (self.entitled, fit) {
            (true, false) if many => 1,
            (true, false) => GREEDY_WINDOWS,
            _ => FIT_WINDOWS,
        };
        if self.against < enough {
            return self.mind_the_share();
        }
        if !self.entitled {
            return Some(self.go_first());
        }
        self.entitled = false;
        self.take_turns();
        Some(if fit {
            Change::NotNeeded
        } else {
            Change::GivenUp
        })
    }

    /// Take turns while the share is used up.
    fn mind_the_share(&mut self) -> Option<Change> {
        if !self.entitled || self.first != self.share.is_exceeded() {
            return None;
        }
        if self.first {
            self.take_turns();
            Some(Change::GivenUp)
        } else {
            Some(self.go_first())
        }
    }

    /// Look at how many single packets have come in a window that has not passed yet: a flood is not
    /// waited for.
    pub(super) fn singles_so_far(&mut self, singles: u32) -> Option<Change> {
        let flooded = self.entitled && singles >= MANY_SINGLES;
        flooded.then(|| {
            self.entitled = false;
            self.take_turns();
            Change::GivenUp
        })
    }

    fn go_first(&mut self) -> Change {
        self.against = 0;
        self.first = schedule::go_first().is_ok();
        self.entitled = self.first;
        // Who was refused once would be refused every time.
        self.wanted = self.first;
        if self.first {
            Change::First
        } else {
            Change::Refused
        }
    }

    fn take_turns(&mut self) {
        self.against = 0;
        self.first = false;
        // It needs no permission; should it fail, the kernel still keeps a twentieth of each CPU for
        // the others.
        let _ = schedule::take_turns();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn load(used_percent: u32, singles: u32) -> Load {
        Load {
            percent: 100,
            used_percent,
            used: Duration::from_millis(20) * used_percent / 100,
            singles,
        }
    }

    /// Windows until a change, each with this load.
    fn windows(one: &mut Precedence, load: Load) -> (u32, Change) {
        (1..1000)
            .find_map(|n| one.window_passed(load).map(|change| (n, change)))
            .unwrap()
    }

    /// In a thread of its own, as the runner uses this one for other tests, and only where it may go
    /// first.
    fn entitled(test: impl FnOnce(Precedence, Arc<FairShare>) + Send + 'static) {
        let run = || {
            let share = Arc::new(FairShare::of(2));
            let mut one = Precedence::new(true, share.clone());
            if one.begin() == Some(Change::Refused) {
                // Asked once and never again.
                assert_eq!(one.begin(), None);
                assert_eq!(one.window_passed(load(0, 0)), None);
                return;
            }
            test(one, share);
        };
        thread::spawn(run).join().unwrap();
    }

    #[test]
    fn first_for_as_long_as_its_share() {
        entitled(|mut one, share| {
            let due = |microseconds| share.set_due(microseconds);
            for _ in 0..3 {
                due(90_000);
                assert_eq!(one.window_passed(load(50, 0)), None);
                due(5_000);
                assert_eq!(one.window_passed(load(50, 0)), Some(Change::GivenUp));
                due(-90_000);
                assert_eq!(one.window_passed(load(50, 0)), None);
                assert_eq!(one.begin(), None, "not even with another direction");
                due(90_000);
                // What it uses while it takes turns does not count.
                assert_eq!(one.window_passed(load(90, 0)), Some(Change::First));
            }
        });
    }

    #[test]
    fn nobody_to_go_before() {
        entitled(|mut one, share| {
            assert_eq!(one.window_passed(load(10, 0)), None);
            share.set_crowd(2);
            share.set_due(90_000);
            assert_eq!(windows(&mut one, load(10, 0)), (10, Change::NotNeeded));
            for _ in 0..100 {
                assert_eq!(one.window_passed(load(10, 0)), None);
            }
            share.set_crowd(3);
            assert_eq!(windows(&mut one, load(10, 0)), (10, Change::First));
        });
    }

    #[test]
    fn two_loads_under_which_it_takes_turns() {
        entitled(|mut one, share| {
            let due = || share.set_due(90_000);
            for unfit in [load(95, 0), load(10, 300)] {
                for n in 0..21 {
                    due();
                    let load = if n % 3 == 0 {
                        load(94, 299)
                    } else {
                        load(100, 0)
                    };
                    assert_eq!(one.window_passed(load), None, "too short to count");
                }
                due();
                assert_eq!(one.window_passed(unfit), Some(Change::GivenUp));
                for n in 1..40 {
                    let load = if n % 10 == 0 { unfit } else { load(94, 299) };
                    assert_eq!(one.window_passed(load), None, "{n}: not over yet");
                }
                assert_eq!(one.window_passed(load(0, 0)), Some(Change::First));
            }
            assert_eq!(one.singles_so_far(299), None);
            assert_eq!(one.singles_so_far(300), Some(Change::GivenUp));
            assert_eq!(one.singles_so_far(301), None);
        });
    }

    #[test]
    fn never_unasked() {
        let mut one = Precedence::new(false, Arc::new(FairShare::of(2)));
        assert_eq!(one.begin(), None);
        for percent in [0, 100, 100, 100, 100, 100, 100, 0] {
            assert_eq!(one.window_passed(load(percent, 0)), None);
        }
    }
}
