//! How many HIP packets of strangers get to the control plane, which takes some fifty microseconds
//! for each: a flood of forged ones is to leave it time for clients and their correspondents.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Packets in a second, and at once, of all strangers.
const RATE: u32 = 2000;
const BURST: u32 = 512;
/// The same of those of one network.
const NETWORK_RATE: u32 = 500;
const NETWORK_BURST: u32 = 128;
/// Networks are counted in so many places; which one a network has nobody can foresee.
const PLACES: usize = 1024;

/// Permissions that fill up with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    /// Up to when it was filled.
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        let each = Duration::from_secs(1) / rate;
        let passed = now.saturating_duration_since(self.filled);
        let more = (passed.as_nanos() / each.as_nanos()).min(u128::from(burst)) as u32;
        if self.left + more >= burst {
            self.left = burst;
            self.filled = now;
        } else {
            self.left += more;
            self.filled += each * more;
        }
        let any = self.left > 0;
        self.left -= u32::from(any);
        any
    }
}

/// A limit for strangers, and for each of their networks.
pub struct Limit {
    all: Bucket,
    networks: Box<[Bucket]>,
    secret: RandomState,
}

impl Limit {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let full = |left| Bucket { left, filled: now };
        Self {
            all: full(BURST),
            networks: vec![full(NETWORK_BURST); PLACES].into_boxed_slice(),
            secret: RandomState::new(),
        }
    }

    /// Whether a packet from there is let through.
    pub fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        let place = self.secret.hash_one(network(source)) as usize % PLACES;
        self.networks[place].take(NETWORK_RATE, NETWORK_BURST, now)
            && self.all.take(RATE, BURST, now)
    }
}

/// What one sender usually has: 24 bits of IPv4, 64 of IPv6.
fn network(source: IpAddr) -> (bool, u64) {
    match source {
        IpAddr::V4(ip) => (false, u64::from(u32::from(ip) >> 8)),
        IpAddr::V6(ip) => (true, (u128::from(ip) >> 64) as u64),
    }
}

/// Both limits of a router: packets for its clients, and those for itself.
pub struct Admission {
    pub transit: Limit,
    pub own: Limit,
}

impl Default for Admission {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            transit: Limit::new(now),
            own: Limit::new(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_network_has_its_share() {
        let begin = Instant::now();
        let mut limit = Limit::new(begin);
        let of_one = (0..1000).filter(|n| limit.admits(v4(0x0a00_0000 + n % 256), begin));
        assert_eq!(of_one.count(), NETWORK_BURST as usize);
        assert!(limit.admits("2001:db8::1".parse().unwrap(), begin));
        let later = begin + Duration::from_secs(1);
        let again = (0..1000).filter(|n| limit.admits(v4(0x0a00_0000 + n % 256), later));
        assert_eq!(again.count(), NETWORK_BURST as usize);
    }

    #[test]
    fn any_sources_have_no_more_than_all() {
        let begin = Instant::now();
        let mut limit = Limit::new(begin);
        // For ten seconds 17,000 packets a second, each from elsewhere.
        let admitted = (0..170_000u32).filter(|n| {
            let now = begin + Duration::from_secs(10) * *n / 170_000;
            limit.admits(v4(n.wrapping_mul(0x9e37_79b9)), now)
        });
        let most = (BURST + 10 * RATE) as usize;
        let admitted = admitted.count();
        assert!((most - 10..=most).contains(&admitted), "{admitted}");
    }

    #[test]
    fn what_is_slow_is_never_refused() {
        let begin = Instant::now();
        let mut limit = Limit::new(begin);
        for n in 0..10_000u32 {
            assert!(limit.admits(v4(7), begin + Duration::from_micros(2100) * n));
        }
    }
}
