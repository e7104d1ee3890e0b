//! Which TCP and UDP flows this host began by LSI, and which by HIT.
//!
//! A peer other than hipgw does not mark IPv4 traffic, so its answers are told apart by memory:
//! what answers a flow that went out by LSI is IPv4, and what answers one by HIT is IPv6. A flow
//! that the peer began is taken for IPv6, or for IPv4 where it is known to take it so itself.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
};

/// Flows remembered; the oldest of a set make room.
const PLACES: usize = 1 << 15;
const WAYS: usize = 4;
/// How long an idle flow is remembered: longer than TCP keepalives of two hours.
const IDLE_S: u32 = 3 * 3600;
const TIME_BITS: u32 = 24;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Written by the thread that reads the TUN, read by the one that writes it.
pub struct FlowMemory {
    /// Fingerprint (40 bits) and second of last use plus one (24 bits); 0 is free.
    places: Box<[AtomicU64]>,
    seed: u64,
}

impl Default for FlowMemory {
    fn default() -> Self {
        Self::new()
    }
}

/// What names a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The peer's id.
    pub peer: u32,
    pub protocol: u8,
    pub local_port: u16,
    pub remote_port: u16,
}

impl Flow {
    /// The same flow by HIT: the other one is by LSI.
    #[must_use]
    pub const fn by_hit(mut self) -> Self {
        // Neither TCP nor UDP has this bit.
        self.protocol |= 0x80;
        self
    }
}

impl FlowMemory {
    #[must_use]
    pub fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            seed: RandomState::new().hash_one(0u64),
        }
    }

    /// A packet of this flow went out. Only one thread may call it.
    pub fn remember(&self, flow: Flow, now_s: u32) {
        let (set, fingerprint) = self.locate(flow);
        let value = fingerprint << TIME_BITS | stamp(now_s);
        let place = set
            .iter()
            .find(|place| place.load(Ordering::Relaxed) >> TIME_BITS == fingerprint)
            .or_else(|| {
                set.iter()
                    .min_by_key(|place| place.load(Ordering::Relaxed) & TIME_MASK)
            });
        if let Some(place) = place.filter(|place| place.load(Ordering::Relaxed) != value) {
            place.store(value, Ordering::Relaxed);
        }
    }

    /// Whether packets of this flow went out lately.
    #[must_use]
    pub fn knows(&self, flow: Flow, now_s: u32) -> bool {
        let (set, fingerprint) = self.locate(flow);
        set.iter().any(|place| {
            let value = place.load(Ordering::Relaxed);
            let age = stamp(now_s).saturating_sub(value & TIME_MASK);
            value >> TIME_BITS == fingerprint && age <= u64::from(IDLE_S)
        })
    }

    fn locate(&self, flow: Flow) -> (&[AtomicU64], u64) {
        let ports = u64::from(flow.local_port) << 16 | u64::from(flow.remote_port);
        let rest = u64::from(flow.peer) << 8 | u64::from(flow.protocol);
        let product = u128::from(ports ^ self.seed) * u128::from(rest.wrapping_mul(2) | 1);
        let folded =
            ((product >> 64) as u64 ^ product as u64 ^ rest).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = folded ^ folded >> 29;
        let set = mixed as usize % (PLACES / WAYS) * WAYS;
        // Zero says that a place is free.
        let fingerprint = (mixed >> TIME_BITS).max(1);
        (&self.places[set..set + WAYS], fingerprint)
    }
}

/// Seconds in the bits there are: enough for half a year, after which old flows count as fresh.
fn stamp(now_s: u32) -> u64 {
    (u64::from(now_s) + 1) & TIME_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(n: u32) -> Flow {
        Flow {
            peer: 1 + n / 60000,
            protocol: 6,
            local_port: (n % 60000) as u16,
            remote_port: 80,
        }
    }

    #[test]
    fn remembered_until_idle_for_long() {
        let memory = FlowMemory::new();
        assert!(!memory.knows(flow(1), 5));
        memory.remember(flow(1), 5);
        assert!(memory.knows(flow(1), 5 + IDLE_S));
        assert!(!memory.knows(flow(1), 6 + IDLE_S));
        let other = Flow {
            protocol: 17,
            ..flow(1)
        };
        assert!(!memory.knows(other, 5));
        let turned = Flow {
            local_port: 80,
            remote_port: 1,
            ..flow(1)
        };
        assert!(!memory.knows(turned, 5));
    }

    #[test]
    fn the_newest_survive_a_flood() {
        let memory = FlowMemory::new();
        for n in 0..500_000 {
            memory.remember(flow(n), n / 1000);
        }
        let known = (495_000..500_000)
            .filter(|n| memory.knows(flow(*n), 500))
            .count();
        assert!(known > 4_900, "{known}");
        let strangers = (600_000..700_000)
            .filter(|n| memory.knows(flow(*n), 500))
            .count();
        assert_eq!(strangers, 0);
    }
}
