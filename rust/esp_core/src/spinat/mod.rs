//! SPINAT: ESP between a mobile router's clients and their correspondents, rewritten unopened.
//!
//! A packet of a correspondent is told by its SPI, as another would be by its port: the correspondent
//! puts the *public* SPI on the wire, which the router gave it, after it has computed the ICV with the
//! client's own, which the router puts back (draft-melen-spinat-01 §4.2). A correspondent that does
//! not know of this uses the client's own SPI on the wire as well; it is told by its address besides.
//! Packets of a client are told by address and SPI, and keep the SPI.
//!
//! Nothing here learns from packets. The control plane enters *ways*, one for each SPI and
//! direction, from exchanges that it saw through; a packet without a way costs a look-up, no memory.

mod key;
mod packet;
mod rewrite;
mod table;
mod way;

#[cfg(test)]
pub(crate) mod tests;

pub use self::{
    key::{Direction, Flow},
    rewrite::HEADROOM,
    table::{Refused, Spinat, WayId, MOST_WAYS},
    way::{Counts, Passage, Target},
};

use self::{packet::Shape, table::Sought};

/// Packets that are looked at together: few enough to stay in the caches of a core.
const GROUP: usize = 64;

/// A whole IP packet of a batch, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it lies in the buffer. At least `HEADROOM` octets in front of it are free: a header
    /// that grows takes them.
    pub start: usize,
    pub end: usize,
    pub verdict: Verdict,
}

impl Packet {
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start,
            end,
            verdict: Verdict::Malformed,
        }
    }
}

/// What became of a packet. Only `Rewritten` ones differ from what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To be sent: addresses, ports, SPI and checksums are those of the other side.
    Rewritten,
    /// A HIP packet, plain or in UDP: the control plane's.
    Control,
    /// ESP that there is no way for: to be dropped.
    Unknown,
    /// A fragment: to be put together first.
    Fragment,
    /// Neither ESP nor HIP, or not whole: to be dropped.
    Malformed,
    /// There is not the room that the longer header needs.
    NoRoom,
}

impl Verdict {
    pub const ALL: [Self; 6] = [
        Self::Rewritten,
        Self::Control,
        Self::Unknown,
        Self::Fragment,
        Self::Malformed,
        Self::NoRoom,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rewritten => "rewritten",
            Self::Control => "control",
            Self::Unknown => "unknown",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::NoRoom => "no_room",
        }
    }
}

impl Spinat {
    /// Rewrite packets that came in from one side for the other. `now_s` is any clock's seconds, and
    /// is what `idle` compares with.
    ///
    /// # Panics
    ///
    /// If a packet does not lie in the buffer.
    pub fn rewrite(
        &mut self,
        direction: Direction,
        buffer: &mut [u8],
        packets: &mut [Packet],
        now_s: u32,
    ) {
        let mut looked = [(Shape::EMPTY, Sought::NONE); GROUP];
        for group in packets.chunks_mut(GROUP) {
            // One step for all, then the next one: meanwhile memory brings what the next one needs.
            for (packet, (shape, sought)) in group.iter_mut().zip(&mut looked) {
                let bytes = &buffer[packet.start..packet.end];
                packet.verdict = match Shape::parse(bytes) {
                    Ok(parsed) => {
                        *sought = self.sought(direction, bytes, &parsed);
                        *shape = parsed;
                        Verdict::Unknown
                    }
                    Err(verdict) => verdict,
                };
            }
            for (packet, (_, sought)) in group.iter().zip(&looked) {
                if packet.verdict == Verdict::Unknown {
                    self.fetch(sought);
                }
            }
            for (packet, (shape, sought)) in group.iter_mut().zip(&looked) {
                if packet.verdict != Verdict::Unknown {
                    continue;
                }
                let Some(way) = self.find(sought) else {
                    continue;
                };
                let way = self.way(way);
                way.came(&buffer[packet.start..packet.end], shape);
                packet.verdict = match rewrite::rewrite(buffer, packet.start, shape, way) {
                    Some(start) => {
                        packet.end = packet.start + shape.total;
                        packet.start = start;
                        way.count(shape.esp_len(), now_s);
                        Verdict::Rewritten
                    }
                    None => Verdict::NoRoom,
                };
            }
        }
    }
}
