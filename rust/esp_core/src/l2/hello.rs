//! OpenHIP's election among the endboxes of one LAN: who announces the smallest HIT delivers to it.
//!
//! A hello is an Ethernet broadcast of the local experimental type 0x88B5 with the sender's HIT and
//! the seconds until its next one. It is not authenticated, as the LAN is trusted.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{
    beet::Hit,
    packet::{
        be32,
        ethernet::{Header, Mac, HEADER_LEN, TYPE_EXPERIMENTAL},
    },
};

/// Octets of a hello as it is sent.
pub const HELLO_LEN: usize = 42;
/// A longer announced interval is taken for this: nobody is silenced for longer at a time.
const INTERVAL_MAX_S: u32 = 300;
/// Hellos looked at in a second; more are an attack.
const HELLOS_PER_S: u32 = 64;

const HIT_AT: usize = HEADER_LEN;
const INTERVAL_AT: usize = HIT_AT + 16;

/// What a hello says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    pub hit: Hit,
    pub interval_s: u32,
}

impl Hello {
    /// Read one; `None` if it is no hello.
    #[must_use]
    pub fn parse(frame: &[u8], header: &Header) -> Option<Self> {
        if header.ethertype != TYPE_EXPERIMENTAL
            || header.len != HEADER_LEN
            || header.destination != [0xff; 6]
            || frame.len() < INTERVAL_AT + 4
        {
            return None;
        }
        let mut hit = [0; 16];
        hit.copy_from_slice(&frame[HIT_AT..INTERVAL_AT]);
        let interval_s = be32(frame, INTERVAL_AT);
        // 2001:10::/28 and 2001:20::/28 (RFC 4843, RFC 7343); an interval of 0 is one that is off.
        let orchid = hit[..3] == [0x20, 0x01, 0x00] && matches!(hit[3] >> 4, 1 | 2);
        (orchid && interval_s > 0).then_some(Self { hit, interval_s })
    }

    /// For how long it counts, in milliseconds.
    #[must_use]
    pub fn lasts_ms(&self) -> u64 {
        2000 * u64::from(self.interval_s.min(INTERVAL_MAX_S))
    }

    /// The frame that says it.
    #[must_use]
    pub fn emit(&self, source: &Mac) -> [u8; HELLO_LEN] {
        let mut frame = [0; HELLO_LEN];
        frame[..6].fill(0xff);
        frame[6..12].copy_from_slice(source);
        frame[12..14].copy_from_slice(&TYPE_EXPERIMENTAL.to_be_bytes());
        frame[HIT_AT..INTERVAL_AT].copy_from_slice(&self.hit);
        frame[INTERVAL_AT..INTERVAL_AT + 4].copy_from_slice(&self.interval_s.to_be_bytes());
        frame
    }
}

/// What the loser of an election leaves to the winner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Delivering frames for several hosts, as OpenHIP does.
    Multicast,
    /// Everything to and from learning peers: one endbox at a time bridges the LAN.
    Everything,
}

/// The election on one LAN. The thread that reads the LAN writes, others read.
#[derive(Debug)]
pub struct Election {
    hit: Hit,
    interval_s: u32,
    own_mac: Mac,
    extent: Extent,
    /// Milliseconds on the engine's clock until which another one delivers.
    passive_until_ms: AtomicU64,
    /// The HIT heard that made it so; its two halves may be of two hellos for a moment.
    winner: [AtomicU64; 2],
    heard: AtomicU64,
    /// The second in which hellos are counted, and how many it had.
    second: AtomicU32,
    in_second: AtomicU32,
}

impl Election {
    /// `now_ms`: where one endbox bridges everything, it listens first.
    #[must_use]
    pub fn new(hit: Hit, interval_s: u32, own_mac: Mac, extent: Extent, now_ms: u64) -> Self {
        let interval_s = interval_s.clamp(1, INTERVAL_MAX_S);
        let listen_ms = match extent {
            Extent::Multicast => 0,
            Extent::Everything => now_ms + 2000 * u64::from(interval_s),
        };
        Self {
            hit,
            interval_s,
            own_mac,
            extent,
            passive_until_ms: AtomicU64::new(listen_ms),
            winner: [AtomicU64::new(0), AtomicU64::new(0)],
            heard: AtomicU64::new(0),
            second: AtomicU32::new(0),
            in_second: AtomicU32::new(0),
        }
    }

    /// A hello was heard on the LAN; false if there are too many to look at. One thread calls it.
    pub fn hear(&self, hello: &Hello, now_ms: u64) -> bool {
        let second = (now_ms / 1000) as u32;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.in_second.store(0, Ordering::Relaxed);
        }
        if self.in_second.fetch_add(1, Ordering::Relaxed) >= HELLOS_PER_S {
            return false;
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        if hello.hit < self.hit {
            let (high, low) = hello.hit.split_at(8);
            for (word, half) in self.winner.iter().zip([high, low]) {
                let mut octets = [0; 8];
                octets.copy_from_slice(half);
                word.store(u64::from_be_bytes(octets), Ordering::Relaxed);
            }
            let until = now_ms + hello.lasts_ms();
            // The winner alone says for how long; a loser with a short interval ends nothing.
            self.passive_until_ms.fetch_max(until, Ordering::Relaxed);
        }
        true
    }

    /// Whether this endbox leaves it to another one to deliver.
    #[must_use]
    pub fn is_passive(&self, now_ms: u64) -> bool {
        now_ms < self.passive_until_ms.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The MAC address of the device that frames are delivered by.
    #[must_use]
    pub fn own_mac(&self) -> &Mac {
        &self.own_mac
    }

    /// The own hello.
    #[must_use]
    pub fn hello(&self) -> [u8; HELLO_LEN] {
        let hello = Hello {
            hit: self.hit,
            interval_s: self.interval_s,
        };
        hello.emit(&self.own_mac)
    }

    /// Who won over this endbox last, if anybody has.
    #[must_use]
    pub fn winner(&self) -> Option<Hit> {
        let mut hit = [0; 16];
        hit[..8].copy_from_slice(&self.winner[0].load(Ordering::Relaxed).to_be_bytes());
        hit[8..].copy_from_slice(&self.winner[1].load(Ordering::Relaxed).to_be_bytes());
        (hit != [0; 16]).then_some(hit)
    }

    /// Hellos heard so far.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn hit(last: u8) -> Hit {
        let mut hit = [0; 16];
        hit[..4].copy_from_slice(&[0x20, 0x01, 0x00, 0x1f]);
        hit[15] = last;
        hit
    }

    fn hello(last: u8, interval_s: u32) -> Hello {
        Hello {
            hit: hit(last),
            interval_s,
        }
    }

    fn parse(frame: &[u8]) -> Option<Hello> {
        Hello::parse(frame, &Header::parse(frame)?)
    }

    #[test]
    fn a_hello_is_42_octets() {
        let frame = hello(3, 9).emit(&MAC);
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[12..14], [0x88, 0xb5]);
        assert_eq!(parse(&frame), Some(hello(3, 9)));
        assert_eq!(parse(&hello(3, 0).emit(&MAC)), None);
        assert_eq!(parse(&frame[..33]), None);
        let mut stranger = frame;
        stranger[14] = 0xfe;
        assert_eq!(parse(&stranger), None);
        let mut unicast = frame;
        unicast[..6].copy_from_slice(&MAC);
        assert_eq!(parse(&unicast), None);
    }

    #[test]
    fn the_smallest_hit_delivers_until_it_is_silent_for_two_intervals() {
        let election = Election::new(hit(5), 10, MAC, Extent::Multicast, 0);
        assert!(!election.is_passive(0));
        election.hear(&hello(6, 10), 0);
        election.hear(&hello(5, 10), 0);
        assert!(!election.is_passive(0), "neither a larger one nor the own");
        election.hear(&hello(4, 10), 1000);
        assert!(election.is_passive(20_999));
        assert!(!election.is_passive(21_000));
        assert_eq!(election.winner(), Some(hit(4)));
        assert_eq!(election.heard(), 3);
    }

    #[test]
    fn who_bridges_everything_listens_first() {
        let election = Election::new(hit(5), 3, MAC, Extent::Everything, 500);
        assert!(election.is_passive(6499));
        assert!(!election.is_passive(6500));
        assert_eq!(election.winner(), None);
    }

    #[test]
    fn nobody_is_silenced_for_ever_or_by_a_flood() {
        let election = Election::new(hit(5), 10, MAC, Extent::Multicast, 0);
        election.hear(&hello(1, u32::MAX), 0);
        assert!(!election.is_passive(2000 * u64::from(INTERVAL_MAX_S)));
        let looked_at = (0..1000).filter(|_| election.hear(&hello(9, 1), 5000));
        assert_eq!(looked_at.count(), HELLOS_PER_S as usize);
        assert!(election.hear(&hello(9, 1), 6000));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(hello) = parse(&bytes) {
                prop_assert!(hello.interval_s > 0);
            }
        }
    }
}
