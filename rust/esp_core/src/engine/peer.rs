//! What several threads know of a peer and of a security association.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::credit::Credit;
use crate::{
    beet::{Hit, Lsi},
    l2::{hello::Hello, mac_table::PeerId},
    stats::bump,
};

/// A peer, from its first security association or LSI until it has neither.
#[derive(Debug)]
pub(super) struct Peer {
    pub id: PeerId,
    pub hit: Hit,
    /// What may go to it where it was not proven to be.
    pub credit: Credit,
    lsi: AtomicU32,
    frame_room: AtomicU32,
    /// Milliseconds on the engine's clock until which it counts as being on this host's own LAN.
    on_lan_until_ms: AtomicU64,
}

/// Bits of a peer's id that are its place; the rest tell later tenants of the place apart.
const PLACE_BITS: u32 = 20;
/// Most peers at a time.
pub(super) const MAX_PEERS: usize = 1 << PLACE_BITS;

/// A peer's place in tables, from its id.
#[must_use]
pub(super) fn place(id: PeerId) -> usize {
    id as usize & (MAX_PEERS - 1)
}

/// The id of a place's n-th tenant, n > 0. Numbers come again after 4095 tenants, long after any
/// MAC address learned from the earlier one is forgotten.
#[must_use]
pub(super) fn id(place: usize, tenant: u32) -> PeerId {
    let generation = (tenant - 1) % ((1 << (32 - PLACE_BITS)) - 1) + 1;
    generation << PLACE_BITS | place as u32
}

impl Peer {
    #[must_use]
    pub(super) fn new(id: PeerId, hit: Hit) -> Self {
        Self {
            id,
            hit,
            credit: Credit::default(),
            lsi: AtomicU32::new(0),
            frame_room: AtomicU32::new(0),
            on_lan_until_ms: AtomicU64::new(0),
        }
    }

    /// The peer's name in IPv4, if it has one.
    #[must_use]
    pub(super) fn lsi(&self) -> Option<Lsi> {
        match self.lsi.load(Ordering::Relaxed) {
            0 => None,
            lsi => Some(lsi.to_be_bytes()),
        }
    }

    pub(super) fn set_lsi(&self, lsi: Option<Lsi>) {
        let lsi = lsi.map_or(0, u32::from_be_bytes);
        self.lsi.store(lsi, Ordering::Relaxed);
    }

    /// Octets of the largest Ethernet frame that reaches the peer unfragmented; 0 if unknown.
    #[must_use]
    pub(super) fn frame_room(&self) -> usize {
        self.frame_room.load(Ordering::Relaxed) as usize
    }

    /// It says hello on this host's own LAN.
    pub(super) fn heard_on_lan(&self, hello: &Hello, now_ms: u64) {
        self.on_lan_until_ms
            .store(now_ms + hello.lasts_ms(), Ordering::Relaxed);
    }

    /// Whether it is on this host's own LAN, so that frames between the two would go in circles.
    #[must_use]
    pub(super) fn is_on_lan(&self, now_ms: u64) -> bool {
        now_ms < self.on_lan_until_ms.load(Ordering::Relaxed)
    }

    pub(super) fn set_frame_room(&self, octets: usize) {
        self.frame_room.store(octets as u32, Ordering::Relaxed);
    }
}

/// What a security association has carried. One data thread writes, others read.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct SaCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    sequence: AtomicU64,
    replayed: AtomicU64,
    auth_failed: AtomicU64,
    lost: AtomicU64,
    /// Milliseconds on the engine's clock, plus one.
    last_used: AtomicU64,
}

/// Numbers of a security association at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaNumbers {
    pub packets: u64,
    /// Octets of plain text.
    pub bytes: u64,
    /// Last sent or highest received sequence number.
    pub sequence: u64,
    pub replayed: u64,
    pub auth_failed: u64,
    /// Inbound: sequence numbers that left the replay window without having come.
    pub lost: u64,
    pub last_used_ms: Option<u64>,
}

impl SaCounters {
    pub(super) fn packets(&self, count: usize, bytes: usize, sequence: u64, now_ms: u64) {
        bump(&self.packets, count as u64);
        bump(&self.bytes, bytes as u64);
        self.sequence.store(sequence, Ordering::Relaxed);
        self.last_used.store(now_ms + 1, Ordering::Relaxed);
    }

    pub(super) fn replayed(&self) {
        bump(&self.replayed, 1);
    }

    pub(super) fn auth_failed(&self) {
        bump(&self.auth_failed, 1);
    }

    /// Set how many are lost so far.
    pub(super) fn lost(&self, count: u64) {
        self.lost.store(count, Ordering::Relaxed);
    }

    #[must_use]
    pub(super) fn read(&self) -> SaNumbers {
        SaNumbers {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            sequence: self.sequence.load(Ordering::Relaxed),
            replayed: self.replayed.load(Ordering::Relaxed),
            auth_failed: self.auth_failed.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            last_used_ms: self.last_used.load(Ordering::Relaxed).checked_sub(1),
        }
    }
}
