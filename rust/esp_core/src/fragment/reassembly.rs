//! Pieces back into whole payloads: bounded in number, memory and time (RFC 8200 §4.5, RFC 5722).

use super::{FragmentHeader, MAX_PAYLOAD};
use crate::{
    drops::DropReason,
    ecn,
    packet::ip::FRAGMENT_HEADER_LEN as HEADER_LEN,
    stats::{Counter, Counters},
};

/// How long a payload waits for its last piece. RFC 8200 allows a minute, but pieces leave together,
/// so what is not there after this has been lost.
pub const TIMEOUT_MS: u64 = 2_000;
/// Payloads of one security association that wait for pieces.
const MAX_WAITING: usize = 64;
/// Octets of one security association that wait for pieces.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Octets of all security associations that wait for pieces.
const MAX_TOTAL_BYTES: usize = 32 << 20;
/// Gaps in one payload.
const MAX_RANGES: usize = 32;
/// Buffers kept for later payloads.
const MAX_SPARE: usize = 64;

/// What the payloads of all security associations share: a limit, and buffers to use again.
#[derive(Default)]
pub struct Pool {
    spare: Vec<Vec<u8>>,
    spare_ranges: Vec<Vec<(usize, usize)>>,
    bytes: usize,
}

impl Pool {
    /// A pool with as many buffers as it keeps, for payloads of this many octets. (An empty one has
    /// to take them first when more payloads wait, or are longer, than ever before.)
    #[must_use]
    pub fn filled(len: usize) -> Self {
        Self {
            spare: (0..MAX_SPARE).map(|_| Vec::with_capacity(len)).collect(),
            spare_ranges: (0..MAX_SPARE).map(|_| Vec::with_capacity(4)).collect(),
            bytes: 0,
        }
    }

    /// Take back the buffer of a payload that was delivered.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    fn give_back_ranges(&mut self, mut ranges: Vec<(usize, usize)>) {
        if self.spare_ranges.len() < MAX_SPARE {
            ranges.clear();
            self.spare_ranges.push(ranges);
        }
    }
}

/// A payload that is all there.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    pub next_header: u8,
    /// Of the outer header of its last piece, with congestion marked if any piece was.
    pub traffic_class: u8,
    pub payload: Vec<u8>,
}

struct Waiting {
    identification: u32,
    next_header: u8,
    traffic_class: u8,
    payload: Vec<u8>,
    /// What is there: ascending, neither overlapping nor touching.
    ranges: Vec<(usize, usize)>,
    total: Option<usize>,
    pieces: usize,
    deadline_ms: u64,
}

/// The incomplete payloads of one inbound security association, oldest first.
#[derive(Default)]
pub struct Reassembler {
    waiting: Vec<Waiting>,
    bytes: usize,
}

impl Reassembler {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Add the piece that an opened packet carries (fragment header first); returns the payload
    /// it completes.
    pub fn insert(
        &mut self,
        packet: &[u8],
        now_ms: u64,
        pool: &mut Pool,
        counters: &Counters,
    ) -> Option<Whole> {
        self.insert_marked(packet, 0, now_ms, pool, counters)
    }

    /// Likewise, with the TOS or Traffic Class of the outer header that the piece came in.
    pub fn insert_marked(
        &mut self,
        packet: &[u8],
        traffic_class: u8,
        now_ms: u64,
        pool: &mut Pool,
        counters: &Counters,
    ) -> Option<Whole> {
        counters.add(Counter::FragmentsReceived, 1);
        match self.try_insert(packet, traffic_class, now_ms, pool, counters) {
            Ok(whole) => whole,
            Err(reason) => {
                counters.dropped(reason);
                None
            }
        }
    }

    fn try_insert(
        &mut self,
        packet: &[u8],
        traffic_class: u8,
        now_ms: u64,
        pool: &mut Pool,
        counters: &Counters,
    ) -> Result<Option<Whole>, DropReason> {
        let header = FragmentHeader::parse(packet).ok_or(DropReason::FragmentMalformed)?;
        let data = &packet[HEADER_LEN..];
        let end = header.offset + data.len();
        if data.is_empty() || end > MAX_PAYLOAD || (header.more && data.len() % 8 != 0) {
            return Err(DropReason::FragmentMalformed);
        }
        let found = self
            .waiting
            .iter()
            .rposition(|waiting| waiting.identification == header.identification);
        let index = match found {
            Some(index) => index,
            None => self.begin(&header, now_ms, pool)?,
        };
        let grown = end.saturating_sub(self.waiting[index].payload.len());
        if self.bytes + grown > MAX_WAITING_BYTES || pool.bytes + grown > MAX_TOTAL_BYTES {
            self.discard(index, DropReason::FragmentLimit, pool, counters);
            return Err(DropReason::FragmentLimit);
        }
        self.bytes += grown;
        pool.bytes += grown;
        let waiting = &mut self.waiting[index];
        waiting.traffic_class = ecn::join_pieces(waiting.traffic_class, traffic_class);
        match self.waiting[index].add(&header, data) {
            Err(reason) => {
                self.discard(index, reason, pool, counters);
                Err(reason)
            }
            Ok(false) => Ok(None),
            Ok(true) => {
                let waiting = self.remove(index, pool);
                counters.add(Counter::Reassembled, 1);
                Ok(Some(Whole {
                    next_header: waiting.next_header,
                    traffic_class: waiting.traffic_class,
                    payload: waiting.payload,
                }))
            }
        }
    }

    fn begin(
        &mut self,
        header: &FragmentHeader,
        now_ms: u64,
        pool: &mut Pool,
    ) -> Result<usize, DropReason> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(DropReason::FragmentLimit);
        }
        self.waiting.push(Waiting {
            identification: header.identification,
            next_header: header.next_header,
            traffic_class: 0,
            payload: pool.spare.pop().unwrap_or_default(),
            ranges: pool.spare_ranges.pop().unwrap_or_default(),
            total: None,
            pieces: 0,
            deadline_ms: now_ms + TIMEOUT_MS,
        });
        Ok(self.waiting.len() - 1)
    }

    /// Discard what has waited too long.
    pub fn expire(&mut self, now_ms: u64, pool: &mut Pool, counters: &Counters) {
        // The time allowed is the same for all, so the oldest come first.
        while self
            .waiting
            .first()
            .is_some_and(|first| first.deadline_ms <= now_ms)
        {
            self.discard(0, DropReason::FragmentTimeout, pool, counters);
        }
    }

    /// Discard everything, as the security association goes.
    pub fn clear(&mut self, pool: &mut Pool, counters: &Counters) {
        while !self.waiting.is_empty() {
            self.discard(0, DropReason::FragmentTimeout, pool, counters);
        }
    }

    fn discard(&mut self, index: usize, reason: DropReason, pool: &mut Pool, counters: &Counters) {
        let waiting = self.remove(index, pool);
        counters.dropped_many(reason, waiting.pieces);
        pool.give_back(waiting.payload);
    }

    fn remove(&mut self, index: usize, pool: &mut Pool) -> Waiting {
        let mut waiting = self.waiting.remove(index);
        self.bytes -= waiting.payload.len();
        pool.bytes -= waiting.payload.len();
        pool.give_back_ranges(std::mem::take(&mut waiting.ranges));
        waiting
    }
}

impl Waiting {
    /// Add a piece; true if nothing is missing now.
    fn add(&mut self, header: &FragmentHeader, data: &[u8]) -> Result<bool, DropReason> {
        let (start, end) = (header.offset, header.offset + data.len());
        // Room first: the caller has counted it, whatever becomes of the piece.
        if end > self.payload.len() {
            self.payload.resize(end, 0);
        }
        if !header.more && self.total.replace(end).is_some() {
            return Err(DropReason::FragmentOverlap);
        }
        let last_end = self.ranges.last().map_or(0, |range| range.1).max(end);
        if self.total.is_some_and(|total| total < last_end) {
            return Err(DropReason::FragmentMalformed);
        }
        if start == 0 {
            // Only the first piece's next header counts (RFC 8200 §4.5).
            self.next_header = header.next_header;
        }
        self.note(start, end)?;
        self.payload[start..end].copy_from_slice(data);
        self.pieces += 1;
        Ok(self.total.is_some_and(|total| self.ranges == [(0, total)]))
    }

    /// Enter a range among those that are there.
    fn note(&mut self, start: usize, end: usize) -> Result<(), DropReason> {
        let at = self.ranges.partition_point(|range| range.0 < start);
        if at > 0 && self.ranges[at - 1].1 > start {
            return Err(DropReason::FragmentOverlap);
        }
        if self.ranges.get(at).is_some_and(|next| next.0 < end) {
            return Err(DropReason::FragmentOverlap);
        }
        let joins_before = at > 0 && self.ranges[at - 1].1 == start;
        let joins_after = self.ranges.get(at).is_some_and(|next| next.0 == end);
        match (joins_before, joins_after) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = end,
            (false, true) => self.ranges[at].0 = start,
            (false, false) if self.ranges.len() >= MAX_RANGES => {
                return Err(DropReason::FragmentLimit);
            }
            (false, false) => self.ranges.insert(at, (start, end)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
