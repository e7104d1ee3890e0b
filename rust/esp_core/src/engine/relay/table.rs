//! Where relayed packets go.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Instant,
};

use super::PortKey;
use crate::{engine::socket::Socket, sys::send::Route};

/// How long a client may have sent nothing and make up for it.
const BURST_NS: u64 = 100_000_000;
/// Octets that a burst may have in any case: one train.
const BURST_MIN: u64 = 65_536;
const SECOND_NS: u64 = 1_000_000_000;

/// A port that may be lent.
#[derive(Clone)]
pub(super) struct Port {
    pub socket: Arc<Socket>,
    /// Whether it is lent now.
    pub open: bool,
    pub quota: Arc<Quota>,
}

impl Port {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket: Arc::new(socket),
            open: false,
            quota: Arc::new(Quota::new(0)),
        }
    }
}

/// Where packets that match go.
#[derive(Clone)]
pub(super) struct Way {
    pub port: PortKey,
    pub peer: SocketAddr,
    /// The socket to send by; none for the one that the client knows this host by.
    pub socket: Option<Arc<Socket>>,
    pub route: Route,
    pub quota: Arc<Quota>,
}

#[derive(Clone, Default)]
pub(super) struct Table {
    pub ports: HashMap<PortKey, Port>,
    /// By port, peer and SPI.
    pub from_peers: HashMap<(PortKey, SocketAddr, u32), Way>,
    /// By client and SPI.
    pub from_clients: HashMap<(SocketAddr, u32), Way>,
}

/// How much data a client may have relayed, in each direction.
///
/// INVARIANT: each direction has one thread at a time, so a load and a store are enough.
pub(super) struct Quota {
    octets_per_s: u64,
    made: Instant,
    /// Until when, in nanoseconds since `made`, what has passed takes at this rate: inward, outward.
    taken_ns: [AtomicU64; 2],
}

impl Quota {
    /// 0 is no limit.
    pub(super) fn new(octets_per_s: u64) -> Self {
        Self {
            octets_per_s,
            made: Instant::now(),
            taken_ns: Default::default(),
        }
    }

    /// Whether so many octets may pass now; they count if so.
    pub(super) fn take(&self, outward: bool, octets: usize) -> bool {
        if self.octets_per_s == 0 {
            return true;
        }
        let taken = &self.taken_ns[usize::from(outward)];
        let now = self.made.elapsed().as_nanos() as u64;
        let begin = taken.load(Ordering::Relaxed).max(now);
        let end = begin.saturating_add(self.lasts(octets as u64));
        if end - now > self.lasts(BURST_MIN).max(BURST_NS) {
            return false;
        }
        taken.store(end, Ordering::Relaxed);
        true
    }

    /// Nanoseconds that octets take.
    fn lasts(&self, octets: u64) -> u64 {
        octets.saturating_mul(SECOND_NS) / self.octets_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_lets_a_burst_through_and_no_more() {
        let quota = Quota::new(1);
        let mut passed = 0;
        while quota.take(true, 1000) {
            passed += 1000;
        }
        assert!((64_000..=65_536).contains(&passed), "{passed}");
        assert!(quota.take(false, 1000), "the other direction has its own");
    }

    #[test]
    fn no_quota_is_no_limit() {
        let quota = Quota::new(0);
        assert!((0..1000).all(|_| quota.take(true, 1 << 30)));
    }
}
