//! The anti-replay window with 64-bit sequence numbers (RFC 4303 §3.4.3 and appendix A, RFC 6479).

use crate::error::Error;

const BLOCK_BITS: u64 = 64;

/// A blocked bitmap of the sequence numbers seen (RFC 6479): the window slides by clearing whole
/// blocks, so a packet costs one word, however far it jumps ahead.
///
/// Not shared between threads: one thread owns the inbound side of a security association.
pub struct ReplayWindow {
    /// A ring of blocks, a power of two of them, with at least one more than the window covers.
    blocks: Box<[u64]>,
    size: u64,
    highest: u64,
    counts: ReplayCounts,
}

/// What a window has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Sequence numbers committed.
    pub accepted: u64,
    /// Refused as seen before.
    pub duplicate: u64,
    /// Refused as left of the window.
    pub too_old: u64,
    /// Numbers that left the window without having come: lost on the way, or far too late. They are
    /// counted by whole blocks, so the last 63 at most are still to be counted.
    pub lost: u64,
}

impl ReplayWindow {
    /// Packets covered by default.
    pub const DEFAULT_SIZE: u32 = 8192;

    /// A window over the last `size` numbers, rounded up to a multiple of 64 (64 at least,
    /// 2^24 at most).
    #[must_use]
    pub fn new(size: u32) -> Self {
        let size = u64::from(size.clamp(64, 1 << 24)).next_multiple_of(BLOCK_BITS);
        let blocks = (size / BLOCK_BITS + 1).next_power_of_two();
        Self {
            blocks: vec![0; blocks as usize].into_boxed_slice(),
            size,
            highest: 0,
            counts: ReplayCounts::default(),
        }
    }

    /// The window's size in packets.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The highest authentic sequence number so far, 0 before the first.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest
    }

    #[must_use]
    pub fn counts(&self) -> ReplayCounts {
        self.counts
    }

    /// The 64-bit number that a packet with these low 32 bits has, if it is neither left of the
    /// window nor 2^32 - `size` or more ahead (RFC 4303 appendix A2.2).
    #[must_use]
    pub fn infer(&self, seq_low: u32) -> u64 {
        let (top_high, top_low) = ((self.highest >> 32) as u32, self.highest as u32);
        let bottom_low = top_low.wrapping_sub(self.size as u32 - 1);
        let high = if u64::from(top_low) >= self.size - 1 {
            // Case A: the window lies within one subspace.
            if seq_low >= bottom_low {
                top_high
            } else {
                top_high.wrapping_add(1)
            }
        } else if seq_low >= bottom_low {
            // Case B: it spans two, and the number is in the lower one. Below subspace 0 there is
            // nothing: before 2^32 such a number can only be ahead.
            top_high.saturating_sub(1)
        } else {
            top_high
        };
        u64::from(high) << 32 | u64::from(seq_low)
    }

    /// Whether a packet with this number may still be new. Call it before the ICV is verified.
    pub fn check(&mut self, seq: u64) -> Result<(), Error> {
        let result = self.state(seq);
        match result {
            Err(Error::Duplicate) => self.counts.duplicate += 1,
            Err(_) => self.counts.too_old += 1,
            Ok(()) => {}
        }
        result
    }

    /// Mark the number as seen. Call it only once the ICV holds. It checks again, as a batch may
    /// hold two copies that were both checked before either was committed.
    pub fn commit(&mut self, seq: u64) -> Result<(), Error> {
        self.check(seq)?;
        if seq > self.highest {
            let (from, to) = (self.highest / BLOCK_BITS, seq / BLOCK_BITS);
            if to > from {
                self.count_lost(from, to);
            }
            for block in from + 1..=to.min(from + self.blocks.len() as u64) {
                let index = self.index(block);
                self.blocks[index] = 0;
            }
            self.highest = seq;
        }
        let index = self.index(seq / BLOCK_BITS);
        self.blocks[index] |= 1 << (seq % BLOCK_BITS);
        self.counts.accepted += 1;
        Ok(())
    }

    /// Count what is missing in the blocks that leave the window whole as its right edge moves from
    /// one block to another. Call it before any is cleared.
    fn count_lost(&mut self, from: u64, to: u64) {
        let span = self.size / BLOCK_BITS;
        let end = to.saturating_sub(span);
        for block in from.saturating_sub(span)..end.min(from + 1) {
            let missing = self.blocks[self.index(block)].count_zeros();
            // Number 0 is never sent, so it cannot be lost.
            self.counts.lost += u64::from(missing) - u64::from(block == 0);
        }
        // Nothing ahead of the right edge has come.
        self.counts.lost += end.saturating_sub(from + 1) * BLOCK_BITS;
    }

    fn state(&self, seq: u64) -> Result<(), Error> {
        // Number 0 is never sent (RFC 4303 §3.3.3).
        if seq == 0 || self.highest.saturating_sub(seq) >= self.size {
            return Err(Error::TooOld);
        }
        let block = self.blocks[self.index(seq / BLOCK_BITS)];
        if seq <= self.highest && block >> (seq % BLOCK_BITS) & 1 == 1 {
            return Err(Error::Duplicate);
        }
        Ok(())
    }

    fn index(&self, block: u64) -> usize {
        block as usize & (self.blocks.len() - 1)
    }
}
