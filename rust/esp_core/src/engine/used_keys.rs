//! Keys that have been in use. None may begin anew: with sequence number 1 the nonces of the combined
//! algorithms would come again, and give the keys away (RFC 4106 §2), and a fresh
//! replay window would take old packets for new ones.

use std::collections::{HashSet, VecDeque};

/// Keys remembered after their security association is gone. They come from KEYMAT, which draws no
/// octet twice, so this guards against a mistake, which would come soon after.
const MAX_RETIRED: usize = 1 << 16;

/// Fingerprints of keys, of those in use and of those that were.
#[derive(Default)]
pub(super) struct UsedKeys {
    known: HashSet<u64>,
    retired: VecDeque<u64>,
}

impl UsedKeys {
    /// Take keys into use; false if they were before.
    #[must_use]
    pub(super) fn take(&mut self, fingerprint: u64) -> bool {
        self.known.insert(fingerprint)
    }

    /// They are in use no longer, but still known.
    pub(super) fn retire(&mut self, fingerprint: u64) {
        if self.retired.len() >= MAX_RETIRED {
            if let Some(oldest) = self.retired.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.retired.push_back(fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_twice_and_bounded() {
        let mut used = UsedKeys::default();
        assert!(used.take(7));
        assert!(!used.take(7));
        used.retire(7);
        assert!(!used.take(7));
        for n in 100..100 + MAX_RETIRED as u64 {
            assert!(used.take(n));
            used.retire(n);
        }
        assert_eq!(used.known.len(), MAX_RETIRED);
        assert!(!used.take(100 + MAX_RETIRED as u64 - 1));
        assert!(used.take(7), "as long ago as can be remembered");
    }
}
