//! The engine's time.

use std::time::Instant;

/// Time since the engine was made; copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    #[must_use]
    pub(super) fn now_ms(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

/// Whole seconds of a time in milliseconds.
#[must_use]
pub(super) fn seconds(now_ms: u64) -> u32 {
    (now_ms / 1000) as u32
}
