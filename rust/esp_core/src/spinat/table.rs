//! The ways of SPINAT, found by SPI and addresses at a cost that does not grow.

use std::{collections::hash_map::RandomState, fmt, hash::BuildHasher, ops::Range};

use super::{
    key::{Direction, Flow, Key},
    packet::Shape,
    way::{Counts, Passage, Target, Way},
};
use crate::sys::memory::{prefer_huge_pages, prefetch};

/// Names a way that was entered; never another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WayId {
    pub place: u32,
    pub generation: u32,
}

/// Why a way was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as there may be.
    Full,
    /// Packets of this kind have a way already.
    Taken,
    /// SPI 0, addresses of two families on one side, or UDP on one end alone.
    Invalid,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "there are as many ways as there may be",
            Self::Taken => "packets of this kind have a way already",
            Self::Invalid => {
                "an SPI is not 0, the ends of a side have one family, and both are in UDP or neither"
            }
        })
    }
}

impl std::error::Error for Refused {}

/// What a packet is looked up by.
#[derive(Clone, Copy)]
pub(super) struct Sought {
    key: Key,
    hash: u32,
}

impl Sought {
    pub(super) const NONE: Self = Self {
        key: Key::NONE,
        hash: 0,
    };
}

/// More ways than this no table has.
pub const MOST_WAYS: usize = 1 << 24;

/// Where a way is: its place, plus 1, below a part of its hash; 0 is free.
type Entry = u64;

/// All ways of a router, for one thread.
///
/// Clients and correspondents choose most of what is hashed, so that the hash is a secret one: else
/// they could choose what falls into one place.
pub struct Spinat {
    secret: [u64; 3],
    /// A power of two, at most five eighths in use; linear probing.
    entries: Vec<Entry>,
    ways: Vec<Way>,
    free: Vec<u32>,
    capacity: usize,
    /// Ways of correspondents that know no public SPI; without any none has to be looked for.
    plain: usize,
}

impl Spinat {
    /// A table for this many ways: two for each association, and two more while it is rekeyed.
    /// Memory that is not used yet is only set aside.
    ///
    /// # Panics
    ///
    /// If it is to have more than `MOST_WAYS`.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity <= MOST_WAYS, "too many ways");
        let random = RandomState::new();
        let places = (capacity * 8 / 5 + 1).next_power_of_two().max(8);
        let (mut entries, mut ways) = (vec![0; places], Vec::with_capacity(capacity));
        prefer_huge_pages(&mut entries);
        prefer_huge_pages(&mut ways);
        Self {
            secret: [0, 1, 2].map(|n: u64| random.hash_one(n) | 1),
            entries,
            ways,
            free: Vec::with_capacity(capacity),
            capacity,
            plain: 0,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ways.len() - self.free.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enter a way.
    pub fn insert(&mut self, flow: Flow, target: &Target, now_s: u32) -> Result<WayId, Refused> {
        let key = Key::from(flow);
        check(&key, target)?;
        let hash = key.hash(&self.secret);
        if self.find_key(&key, hash).is_some() {
            return Err(Refused::Taken);
        }
        if self.len() >= self.capacity {
            return Err(Refused::Full);
        }
        let place = match self.free.pop() {
            Some(place) => {
                let way = &mut self.ways[place as usize];
                *way = Way::new(key, way.generation.wrapping_add(1), now_s);
                place
            }
            None => {
                self.ways.push(Way::new(key, 0, now_s));
                self.ways.len() as u32 - 1
            }
        };
        let way = &mut self.ways[place as usize];
        way.aim(target);
        let id = WayId {
            place,
            generation: way.generation,
        };
        self.plain += usize::from(key.is_plain());
        let mut at = self.home(hash);
        while self.entries[at] != 0 {
            at = self.next(at);
        }
        self.entries[at] = entry(hash, place);
        Ok(id)
    }

    /// Change what the packets of a way become, as when the router or a correspondent has moved;
    /// false if there is no such way.
    pub fn aim(&mut self, id: WayId, target: &Target) -> Result<bool, Refused> {
        let Some(way) = self.entered(id) else {
            return Ok(false);
        };
        check(&way.key, target)?;
        way.aim(target);
        Ok(true)
    }

    /// Forget a way; what it carried, if there was one.
    pub fn remove(&mut self, id: WayId) -> Option<Counts> {
        let way = self.entered(id)?;
        let (key, counts) = (way.key, way.counts);
        way.used = false;
        self.plain -= usize::from(key.is_plain());
        let wanted = entry(key.hash(&self.secret), id.place);
        let mut gap = self.home(key.hash(&self.secret));
        while self.entries[gap] != wanted {
            gap = self.next(gap);
        }
        let mut at = gap;
        loop {
            at = self.next(at);
            let moved = self.entries[at];
            if moved == 0 {
                break;
            }
            // Move back what stands behind its home, unless its home lies behind the gap.
            let home = self.home(hash_of(moved));
            let mask = self.entries.len() - 1;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.entries[gap] = moved;
                gap = at;
            }
        }
        self.entries[gap] = 0;
        self.free.push(id.place);
        Some(counts)
    }

    /// What a way has carried.
    #[must_use]
    pub fn counts(&self, id: WayId) -> Option<Counts> {
        let way = self.ways.get(id.place as usize)?;
        (way.used && way.generation == id.generation).then_some(way.counts)
    }

    /// What a way does.
    #[must_use]
    pub fn passage(&self, id: WayId) -> Option<Passage> {
        let way = self.ways.get(id.place as usize)?;
        (way.used && way.generation == id.generation).then(|| way.passage())
    }

    /// The ways that nothing has passed for so many seconds.
    pub fn idle(&self, now_s: u32, idle_s: u32) -> impl Iterator<Item = WayId> + '_ {
        let ways = self.ways.iter().zip(0..);
        ways.filter(move |(way, _)| way.used && now_s.wrapping_sub(way.counts.used_s) >= idle_s)
            .map(|(way, place)| WayId {
                place,
                generation: way.generation,
            })
    }

    /// How many places of ways have been in use; a way's is below.
    #[must_use]
    pub fn places(&self) -> usize {
        self.ways.len()
    }

    /// The ways in some of the places, with what they carried.
    pub fn ways(&self, places: Range<usize>) -> impl Iterator<Item = (WayId, Counts)> + '_ {
        let ways = self.ways[places.clone()].iter().zip(places);
        ways.filter(|(way, _)| way.used).map(|(way, place)| {
            let id = WayId {
                place: place as u32,
                generation: way.generation,
            };
            (id, way.counts)
        })
    }

    /// The way of a flow.
    #[must_use]
    pub fn named(&self, flow: Flow) -> Option<WayId> {
        let key = Key::from(flow);
        let place = self.find_key(&key, key.hash(&self.secret))?;
        Some(WayId {
            place,
            generation: self.ways[place as usize].generation,
        })
    }

    /// Octets set aside for ways, used or not: the same as long as the table lives.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.ways.capacity() * size_of::<Way>()
            + self.free.capacity() * size_of::<u32>()
    }

    fn entered(&mut self, id: WayId) -> Option<&mut Way> {
        let way = self.ways.get_mut(id.place as usize)?;
        (way.used && way.generation == id.generation).then_some(way)
    }

    pub(super) fn way(&mut self, place: u32) -> &mut Way {
        &mut self.ways[place as usize]
    }

    /// How a packet is told, and the hash of that; fetches the entry ahead.
    pub(super) fn sought(&self, direction: Direction, packet: &[u8], shape: &Shape) -> Sought {
        let key = Key::of(direction, packet, shape, self.plain != 0);
        let hash = key.hash(&self.secret);
        prefetch(&self.entries[self.home(hash)]);
        Sought { key, hash }
    }

    /// Fetch ahead the way that it will probably be.
    pub(super) fn fetch(&self, sought: &Sought) {
        let entry = self.entries[self.home(sought.hash)];
        if entry != 0 {
            if let Some(way) = self.ways.get((entry as u32 - 1) as usize) {
                prefetch(way);
            }
        }
    }

    /// The place of the way of a packet.
    pub(super) fn find(&self, sought: &Sought) -> Option<u32> {
        let found = self.find_key(&sought.key, sought.hash);
        if found.is_none() && sought.key.is_plain() {
            let key = Key::public(sought.key.spi());
            return self.find_key(&key, key.hash(&self.secret));
        }
        found
    }

    fn find_key(&self, key: &Key, hash: u32) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            if hash_of(entry) == hash {
                let place = entry as u32 - 1;
                if self.ways[place as usize].key == *key {
                    return Some(place);
                }
            }
            at = self.next(at);
        }
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.entries.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }
}

fn entry(hash: u32, place: u32) -> Entry {
    Entry::from(hash) << 32 | Entry::from(place + 1)
}

fn hash_of(entry: Entry) -> u32 {
    (entry >> 32) as u32
}

fn check(key: &Key, target: &Target) -> Result<(), Refused> {
    let Target {
        source,
        destination,
        spi,
    } = target;
    let fits = source.is_ipv6() == destination.is_ipv6()
        && (source.port() == 0) == (destination.port() == 0)
        && key.spi() != 0
        && *spi != 0;
    if fits {
        Ok(())
    } else {
        Err(Refused::Invalid)
    }
}
