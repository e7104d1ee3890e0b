//! How often something may happen in a second.

use std::{collections::hash_map::RandomState, hash::BuildHasher, net::IpAddr};

/// Sources that are told apart.
const SOURCES: usize = 8192;

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    second: u32,
    count: u32,
}

impl Count {
    /// Count once more; false if that is too often.
    pub(super) fn allow(&mut self, second: u32, most: u32) -> bool {
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        if self.count >= most {
            return false;
        }
        self.count += 1;
        true
    }
}

/// Counts for sources, in fixed memory: they share places by a hash that outsiders do not know.
/// Who forges addresses spreads over all places, and needs the limit's number of packets for each.
pub(super) struct Sources {
    hasher: RandomState,
    counts: Box<[Count]>,
}

impl Sources {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            counts: vec![Count::default(); SOURCES].into_boxed_slice(),
        }
    }

    /// Count a packet of an IPv4 address, or an IPv6 network of 64 bits; false if it is too many.
    pub(super) fn allow(&mut self, source: IpAddr, second: u32, most: u32) -> bool {
        let key = match source {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64 | 1 << 63,
        };
        let place = self.hasher.hash_one(key) as usize % SOURCES;
        self.counts[place].allow(second, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_number() {
        let mut sources = Sources::new();
        let mut passed = |text: &str, second| {
            let source = text.parse().unwrap();
            (0..10).filter(|_| sources.allow(source, second, 3)).count()
        };
        assert_eq!(passed("192.0.2.1", 7), 3);
        assert_eq!(passed("192.0.2.1", 7), 0);
        assert_eq!(passed("192.0.2.1", 8), 3);
        assert_eq!(passed("2001:db8::1", 8), 3);
        assert_eq!(passed("2001:db8::2", 8), 0);
        assert_eq!(passed("2001:db8:0:1::2", 8), 3);
    }
}
