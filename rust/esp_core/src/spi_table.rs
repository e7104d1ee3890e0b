//! From an SPI to where its security association is kept, at a cost that does not grow.

/// Small tables chosen by the hash's top bits, so that growing one moves few entries and no packet
/// waits long for it: with a million entries a shard has about 4,000.
const SHARDS: usize = 256;
const SHARD_SHIFT: u32 = 24;
const SMALLEST: usize = 8;

#[derive(Clone, Copy, Default)]
struct Entry {
    /// 0 is never an SPI (RFC 4303 §2.1) and says that the place is free.
    spi: u32,
    index: u32,
}

#[derive(Default)]
struct Shard {
    /// A power of two of places, or none; linear probing, at most three quarters in use.
    places: Vec<Entry>,
    used: usize,
}

/// A hash table from SPI to a 32-bit index, for one thread.
///
/// SPIs are drawn at random by this host, so a multiplicative hash spreads them well.
pub struct SpiTable {
    shards: Box<[Shard]>,
    len: usize,
}

impl Default for SpiTable {
    fn default() -> Self {
        Self::new()
    }
}

impl SpiTable {
    #[must_use]
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            len: 0,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn get(&self, spi: u32) -> Option<u32> {
        let hash = hash(spi);
        let shard = &self.shards[(hash >> SHARD_SHIFT) as usize];
        if spi == 0 || shard.places.is_empty() {
            return None;
        }
        let entry = shard.places[shard.find(spi, hash)];
        (entry.spi == spi).then_some(entry.index)
    }

    /// Enter or replace; returns what was there. SPI 0 cannot be entered and is ignored.
    pub fn insert(&mut self, spi: u32, index: u32) -> Option<u32> {
        if spi == 0 {
            return None;
        }
        let hash = hash(spi);
        let shard = &mut self.shards[(hash >> SHARD_SHIFT) as usize];
        if (shard.used + 1) * 4 > shard.places.len() * 3 {
            shard.grow();
        }
        let place = shard.find(spi, hash);
        let old = std::mem::replace(&mut shard.places[place], Entry { spi, index });
        if old.spi == spi {
            return Some(old.index);
        }
        shard.used += 1;
        self.len += 1;
        None
    }

    pub fn remove(&mut self, spi: u32) -> Option<u32> {
        let hash = hash(spi);
        let shard = &mut self.shards[(hash >> SHARD_SHIFT) as usize];
        if spi == 0 || shard.places.is_empty() {
            return None;
        }
        let place = shard.find(spi, hash);
        let old = shard.places[place];
        if old.spi != spi {
            return None;
        }
        shard.close_gap(place);
        shard.used -= 1;
        self.len -= 1;
        Some(old.index)
    }
}

impl Shard {
    fn mask(&self) -> usize {
        self.places.len() - 1
    }

    /// The place of this SPI, or the free one where it would be. There always is a free one.
    fn find(&self, spi: u32, hash: u32) -> usize {
        let mask = self.mask();
        let mut place = hash as usize & mask;
        while self.places[place].spi != spi && self.places[place].spi != 0 {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(SMALLEST);
        let old = std::mem::replace(&mut self.places, vec![Entry::default(); size]);
        for entry in old.into_iter().filter(|entry| entry.spi != 0) {
            let place = self.find(entry.spi, hash(entry.spi));
            self.places[place] = entry;
        }
    }

    /// Free a place, moving back those behind it that were pushed beyond it.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.mask();
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            let entry = self.places[place];
            if entry.spi == 0 {
                break;
            }
            let home = hash(entry.spi) as usize & mask;
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(gap) & mask {
                self.places[gap] = entry;
                gap = place;
            }
        }
        self.places[gap] = Entry::default();
    }
}

/// The low bits of a product depend on few bits of the SPI, so they are mixed with the high ones.
fn hash(spi: u32) -> u32 {
    let product = spi.wrapping_mul(0x9e37_79b1);
    product ^ product >> 15
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_thousand() {
        let mut table = SpiTable::new();
        for n in 0..100_000u32 {
            assert_eq!(table.insert(256 + n * 7, n), None);
        }
        assert_eq!(table.len(), 100_000);
        for n in 0..100_000u32 {
            assert_eq!(table.get(256 + n * 7), Some(n));
            assert_eq!(table.get(257 + n * 7), None);
        }
    }

    #[test]
    fn zero_is_no_spi() {
        let mut table = SpiTable::new();
        assert_eq!(table.insert(0, 1), None);
        assert_eq!(table.get(0), None);
        assert_eq!(table.remove(0), None);
        assert!(table.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, u32),
        Remove(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few distinct SPIs, so that they meet.
        let spi = (1u32..200).prop_map(|n| n.wrapping_mul(0x0100_0001));
        prop_oneof![
            2 => (spi.clone(), any::<u32>()).prop_map(|(spi, index)| Step::Insert(spi, index)),
            1 => spi.prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec(step(), 0..400)) {
            let (mut table, mut model) = (SpiTable::new(), HashMap::new());
            for step in steps {
                match step {
                    Step::Insert(spi, index) => {
                        prop_assert_eq!(table.insert(spi, index), model.insert(spi, index));
                    }
                    Step::Remove(spi) => prop_assert_eq!(table.remove(spi), model.remove(&spi)),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (spi, index) in model {
                prop_assert_eq!(table.get(spi), Some(index));
            }
        }
    }
}
