//! Where MAC addresses were heard: written by the thread that receives from tunnels, read by the one
//! that sends into them, without a lock.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        Arc,
    },
};

use crate::packet::ethernet::Mac;

/// Names a peer; 0 is none.
pub type PeerId = u32;

/// Most places looked at for one address. With half of the places free, chains are far shorter.
const MAX_PROBES: usize = 32;
/// Set in every key, as 0 says that a place was never used.
const USED: u64 = 0x8000;

struct Place {
    /// MAC (48 bits), then USED and the VLAN id (16 bits). Written by the learner only.
    key: AtomicU64,
    /// Peer (32 bits), then the second it was last heard (32 bits); 0 for a forgotten address.
    value: AtomicU64,
}

/// What any thread may do: look up, forget, list.
///
/// The key of a place is changed by the one `MacLearner` only; forgetting merely empties the value.
/// A reader that meets a change sees the place as not matching, never a mixture.
pub struct MacTable {
    places: Box<[Place]>,
    seed: u64,
    limit: usize,
    age_s: u32,
    live: AtomicUsize,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mac: Mac,
    pub vlan: u16,
    pub peer: PeerId,
    pub age_s: u32,
}

impl MacTable {
    /// A table for `limit` addresses (1 to 2^20) that are forgotten after `age_s` seconds.
    #[must_use]
    pub fn new(limit: usize, age_s: u32) -> Self {
        let limit = limit.clamp(1, 1 << 20);
        let places = (limit * 2).next_power_of_two().max(64);
        Self {
            places: (0..places)
                .map(|_| Place {
                    key: AtomicU64::new(0),
                    value: AtomicU64::new(0),
                })
                .collect(),
            // Unknown to the network, so that nobody can pile up addresses on one place.
            seed: RandomState::new().hash_one(0u64),
            limit,
            age_s: age_s.max(1),
            live: AtomicUsize::new(0),
        }
    }

    /// The peer behind which an address was heard within the allowed age. Times are in seconds.
    #[must_use]
    pub fn lookup(&self, mac: &Mac, vlan: u16, now_s: u32) -> Option<PeerId> {
        let key = key(mac, vlan);
        let (place, value) = self.find(key)?;
        let fresh = value != 0 && !self.is_expired(value, now_s);
        // The place may have been given to another address between the two reads.
        (fresh && place.key.load(Ordering::Acquire) == key).then(|| peer(value))
    }

    /// Forget an address, as it is local now; true if it was known.
    pub fn forget(&self, mac: &Mac, vlan: u16) -> bool {
        match self.find(key(mac, vlan)) {
            Some((place, value)) if value != 0 => self.empty(place, value),
            _ => false,
        }
    }

    /// Forget all addresses, or those behind one peer; returns how many.
    pub fn flush(&self, only: Option<PeerId>) -> usize {
        let mut count = 0;
        for place in &self.places {
            let value = place.value.load(Ordering::Acquire);
            if value != 0 && only.is_none_or(|only| only == peer(value)) {
                count += usize::from(self.empty(place, value));
            }
        }
        count
    }

    /// What is known now.
    #[must_use]
    pub fn entries(&self, now_s: u32) -> Vec<Entry> {
        let mut entries = Vec::new();
        for place in &self.places {
            let key = place.key.load(Ordering::Acquire);
            let value = place.value.load(Ordering::Acquire);
            if value == 0 || self.is_expired(value, now_s) {
                continue;
            }
            let [a, b, c, d, e, f, ..] = key.to_be_bytes();
            entries.push(Entry {
                mac: [a, b, c, d, e, f],
                vlan: (key & 0x0fff) as u16,
                peer: peer(value),
                age_s: now_s.saturating_sub(value as u32),
            });
        }
        entries
    }

    /// Addresses known, including those that are due to be forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&self, key: u64) -> Option<(&Place, u64)> {
        for place in self.chain(key) {
            match place.key.load(Ordering::Acquire) {
                0 => return None,
                found if found == key => return Some((place, place.value.load(Ordering::Acquire))),
                _ => {}
            }
        }
        None
    }

    /// The places where an address may be, in order.
    fn chain(&self, key: u64) -> impl Iterator<Item = &Place> {
        let product = u128::from(key ^ self.seed) * 0x9e37_79b9_7f4a_7c15;
        let start = (product >> 64) as usize ^ product as usize;
        let mask = self.places.len() - 1;
        (0..MAX_PROBES).map(move |step| &self.places[start.wrapping_add(step) & mask])
    }

    /// Forget the address at a place, unless it was heard again meanwhile.
    fn empty(&self, place: &Place, value: u64) -> bool {
        let exchanged = place
            .value
            .compare_exchange(value, 0, Ordering::AcqRel, Ordering::Acquire);
        if exchanged.is_ok() {
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
        exchanged.is_ok()
    }

    fn is_expired(&self, value: u64, now_s: u32) -> bool {
        now_s.saturating_sub(value as u32) > self.age_s
    }
}

/// What became of an address that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    Known,
    New,
    /// It was behind another peer before.
    Moved,
    /// There is no room for it.
    TableFull,
}

/// The only writer of a table's keys.
pub struct MacLearner {
    table: Arc<MacTable>,
    sweep: usize,
}

impl MacLearner {
    /// INVARIANT: there is one learner for a table, so it is made together with it.
    #[must_use]
    pub fn new(limit: usize, age_s: u32) -> Self {
        Self {
            table: Arc::new(MacTable::new(limit, age_s)),
            sweep: 0,
        }
    }

    #[must_use]
    pub fn table(&self) -> &Arc<MacTable> {
        &self.table
    }

    /// An address was heard behind a peer.
    pub fn learn(&mut self, mac: &Mac, vlan: u16, from: PeerId, now_s: u32) -> Learned {
        let table = &*self.table;
        let key = key(mac, vlan);
        let new = u64::from(from) << 32 | u64::from(now_s);
        if let Some((place, old)) = table.find(key) {
            if old == new {
                return Learned::Known;
            }
            // Exchanged and not stored, so that a value emptied meanwhile is counted again.
            if old != 0 {
                let exchanged =
                    place
                        .value
                        .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
                match exchanged {
                    Ok(_) if peer(old) == from => return Learned::Known,
                    Ok(_) => return Learned::Moved,
                    Err(_) => {}
                }
            }
            if table.len() >= table.limit {
                return Learned::TableFull;
            }
            table.live.fetch_add(1, Ordering::Relaxed);
            place.value.store(new, Ordering::Release);
            return Learned::New;
        }
        self.insert(key, new, now_s)
    }

    fn insert(&mut self, key: u64, value: u64, now_s: u32) -> Learned {
        let table = &*self.table;
        for place in table.chain(key) {
            let old = place.value.load(Ordering::Acquire);
            if old != 0 {
                if !table.is_expired(old, now_s) {
                    continue;
                }
                table.empty(place, old);
            }
            if table.len() >= table.limit {
                return Learned::TableFull;
            }
            // The value is empty here, so a reader of the old key finds nothing.
            place.key.store(key, Ordering::Release);
            table.live.fetch_add(1, Ordering::Relaxed);
            place.value.store(value, Ordering::Release);
            return Learned::New;
        }
        Learned::TableFull
    }

    /// Forget what is too old, looking at a part of the table; call it about once a second.
    pub fn sweep(&mut self, now_s: u32) {
        let table = &*self.table;
        let mask = table.places.len() - 1;
        // Backwards, so that freed places at the end of a chain free those in front of them.
        for _ in 0..(table.places.len() / 16).max(64) {
            self.sweep = self.sweep.wrapping_sub(1) & mask;
            let place = &table.places[self.sweep];
            let value = place.value.load(Ordering::Acquire);
            if value != 0 && table.is_expired(value, now_s) {
                table.empty(place, value);
            }
            let next = &table.places[(self.sweep + 1) & mask];
            if place.value.load(Ordering::Acquire) == 0 && next.key.load(Ordering::Acquire) == 0 {
                // No chain goes on behind this place, so its key holds nothing together.
                place.key.store(0, Ordering::Release);
            }
        }
    }
}

fn key(mac: &Mac, vlan: u16) -> u64 {
    let [a, b, c, d, e, f] = *mac;
    u64::from_be_bytes([a, b, c, d, e, f, 0, 0]) | USED | u64::from(vlan & 0x0fff)
}

fn peer(value: u64) -> PeerId {
    (value >> 32) as PeerId
}

#[cfg(test)]
mod tests;
