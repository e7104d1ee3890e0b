//! What each stage of the packet path takes, if built with the feature `stage-cycles`; else nothing
//! of this is left in the program.
//!
//! Every thread adds up ticks in its own counters, as it does with packets. `bench/stages.py` shows
//! them as nanoseconds a packet.

use crate::{drops::named, stats::Counters};

named! {
    /// A part of the way of a packet. None contains another.
    Stage {
        /// From a device into the engine.
        Read = "read",
        /// Cutting a super-packet: the copy, headers and checksums of each piece.
        Build = "build",
        Seal = "seal",
        Send = "send",
        Receive = "receive",
        Open = "open",
        /// From an opened packet to what is to be written: addresses, checksums, joining.
        Deliver = "deliver",
        Write = "write",
        /// Asking the kernel for more, and sleeping until there is.
        Wait = "wait",
    }
}

/// A stage that has begun.
#[must_use]
pub(crate) struct Lap {
    #[cfg(feature = "stage-cycles")]
    began: u64,
}

impl Lap {
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        Self {
            #[cfg(feature = "stage-cycles")]
            began: crate::sys::ticks::now(),
        }
    }

    /// The stage is over: count what it took. Only the thread that owns the counters may call it.
    #[inline(always)]
    pub(crate) fn end(self, counters: &Counters, stage: Stage) {
        #[cfg(feature = "stage-cycles")]
        counters.add_ticks(stage, crate::sys::ticks::now().saturating_sub(self.began));
        #[cfg(not(feature = "stage-cycles"))]
        let _ = (counters, stage);
    }
}

/// Ticks as nanoseconds, by what a tick has been since the first call.
#[cfg(feature = "stage-cycles")]
#[must_use]
pub fn nanoseconds(ticks: u64) -> u64 {
    use std::{sync::OnceLock, time::Instant};
    static BEGAN: OnceLock<(Instant, u64)> = OnceLock::new();
    let (began, first) = BEGAN.get_or_init(|| (Instant::now(), crate::sys::ticks::now()));
    let passed = crate::sys::ticks::now().saturating_sub(*first).max(1);
    (u128::from(ticks) * began.elapsed().as_nanos() / u128::from(passed)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "stage-cycles"))]
    fn nothing_is_left_without_the_feature() {
        assert_eq!(std::mem::size_of::<Lap>(), 0);
        Lap::begin().end(&Counters::default(), Stage::Seal);
    }

    #[test]
    #[cfg(feature = "stage-cycles")]
    fn each_lap_counts_for_its_stage() {
        let counters = Counters::default();
        let lap = Lap::begin();
        let began = crate::sys::ticks::now();
        while crate::sys::ticks::now() <= began {}
        lap.end(&counters, Stage::Seal);
        assert!(counters.ticks(Stage::Seal) > 0);
        assert_eq!(counters.ticks(Stage::Open), 0);
        assert_eq!(nanoseconds(0), 0);
    }
}
