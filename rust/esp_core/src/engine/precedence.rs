//! Data threads before others, while that does good.
//!
//! Where packets pass, their senders and receivers keep the CPUs busy. A thread that has to take its
//! turn among them waits milliseconds for it, a whole window of TCP piles up meanwhile in front of
//! each daemon, and every other flow waits behind that. What the kernel does with packets it does
//! before all programs, too.
//!
//! There are two loads under which a thread takes turns nevertheless. One that is busy all the time
//! would take its CPU from everybody else. And small packets that come singly are cheap only by the
//! batch: a thread that is woken for each leaves their sender no time to send the next.

use super::worker::Load;
use crate::sys::schedule;

/// Load in percent that leaves too little to others.
const GREEDY_LOAD: u32 = 95;
/// Single packets in a window (20 ms) that are better let gather.
const MANY_SINGLES: u32 = 300;
/// Windows of a load that is too much after which a thread takes turns; with many single packets
/// one is enough.
const GREEDY_WINDOWS: u32 = 3;
/// Windows without either after which it goes first again.
const FIT_WINDOWS: u32 = 10;

/// Where the calling thread stands; belongs to it.
pub(super) struct Precedence {
    /// The engine was asked for it, and the system has not refused.
    wanted: bool,
    first: bool,
    /// Windows in a row that speak for a change.
    against: u32,
}

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    First,
    GivenUp,
    Refused,
}

impl Precedence {
    #[must_use]
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            first: false,
            against: 0,
        }
    }

    /// The calling thread begins its work.
    pub(super) fn begin(&mut self) -> Option<Change> {
        (self.wanted && !self.first).then(|| self.go_first())
    }

    /// A window with this load has passed.
    pub(super) fn window_passed(&mut self, load: Load) -> Option<Change> {
        if !self.wanted {
            return None;
        }
        let many = load.singles >= MANY_SINGLES;
        let fit = load.percent < GREEDY_LOAD && !many;
        if fit == self.first {
            self.against = 0;
            return None;
        }
        self.against += 1;
        match self.first {
            true if many || self.against >= GREEDY_WINDOWS => Some(self.give_up()),
            false if self.against >= FIT_WINDOWS => Some(self.go_first()),
            _ => None,
        }
    }

    /// Look at how many single packets have come in a window that has not passed yet: a flood is not
    /// waited for.
    pub(super) fn singles_so_far(&mut self, singles: u32) -> Option<Change> {
        (self.first && singles >= MANY_SINGLES).then(|| self.give_up())
    }

    fn go_first(&mut self) -> Change {
        self.against = 0;
        self.first = schedule::go_first().is_ok();
        // Who was refused once would be refused every time.
        self.wanted = self.first;
        if self.first {
            Change::First
        } else {
            Change::Refused
        }
    }

    fn give_up(&mut self) -> Change {
        self.against = 0;
        self.first = false;
        // It needs no permission; should it fail, the kernel still keeps a twentieth of each CPU for
        // the others.
        let _ = schedule::take_turns();
        Change::GivenUp
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn load(percent: u32, singles: u32) -> Load {
        Load { percent, singles }
    }

    #[test]
    fn two_loads_under_which_it_takes_turns() {
        let test = || {
            let mut one = Precedence::new(true);
            if one.begin() == Some(Change::Refused) {
                // Asked once and never again.
                assert_eq!(one.begin(), None);
                assert_eq!(one.window_passed(load(0, 0)), None);
                return;
            }
            for unfit in [load(95, 0), load(10, 300)] {
                for n in 0..21 {
                    let load = if n % 3 == 0 {
                        load(94, 299)
                    } else {
                        load(100, 0)
                    };
                    assert_eq!(one.window_passed(load), None, "too short to count");
                }
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
        };
        // A thread of its own, as the runner uses this one for other tests.
        thread::spawn(test).join().unwrap();
    }

    #[test]
    fn never_unasked() {
        let mut one = Precedence::new(false);
        assert_eq!(one.begin(), None);
        for percent in [0, 100, 100, 100, 100, 100, 100, 0] {
            assert_eq!(one.window_passed(load(percent, 0)), None);
        }
    }
}
