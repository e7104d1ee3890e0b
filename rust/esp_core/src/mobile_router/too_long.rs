//! Packets that are too long for the link they would leave by.
//!
//! What may be cut is cut: IPv4 without "don't fragment" (RFC 791), and IPv6, as its fragments have
//! been put together before the packet came here, and its sender would not know why it is to send
//! shorter ones. All but the former are told about to the sender as well.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    counters::{Counter, Counters},
    fragments::Cutter,
    icmp::{answer, Trouble},
    outbox::{ends, Links, Outbox},
};
use crate::{packet::ip::Version, sys::socket::route_mtu};

/// Errors that are told in a second, and at once.
const RATE: u32 = 1000;
/// The same sender is told of the same flow no sooner than this, whatever it sends meanwhile: others
/// are to be told as well.
const PAUSE: Duration = Duration::from_millis(20);
/// Flows that are remembered for it.
const REMEMBERED: usize = 1024;
/// What every link of IPv6 takes (RFC 8200 §5), and nearly every one of IPv4.
const SAFE_MTU: usize = 1280;
/// Packets that are sent from here together.
const ROOM: usize = 64;

/// A bucket of permissions that fills with time.
struct Bucket {
    left: u32,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self) -> bool {
        let passed = self.filled.elapsed();
        let more = (passed.as_secs_f64() * f64::from(RATE)) as u32;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(RATE);
            self.filled = Instant::now();
        }
        let any = self.left > 0;
        self.left -= u32::from(any);
        any
    }
}

/// When flows were told about last; of two in one place the later one is remembered.
struct Told {
    secret: RandomState,
    places: Box<[(u64, Option<Instant>)]>,
}

impl Told {
    fn new() -> Self {
        Self {
            secret: RandomState::new(),
            places: vec![(0, None); REMEMBERED].into_boxed_slice(),
        }
    }

    /// Whether it is time to tell of a flow again.
    fn is_due(&mut self, flow: impl Hash) -> bool {
        let hash = self.secret.hash_one(flow);
        let place = &mut self.places[hash as usize % REMEMBERED];
        let now = Instant::now();
        let recent =
            place.0 == hash && place.1.is_some_and(|told| now.duration_since(told) < PAUSE);
        if !recent {
            *place = (hash, Some(now));
        }
        !recent
    }
}

/// Makes packets of its own and sends them: pieces, and errors. Belongs to one thread.
pub struct Workshop {
    cutter: Cutter,
    outbox: Outbox,
    made: Vec<u8>,
    bucket: Bucket,
    told: Told,
}

impl Default for Workshop {
    fn default() -> Self {
        Self {
            cutter: Cutter::default(),
            outbox: Outbox::new(ROOM),
            made: Vec::new(),
            bucket: Bucket {
                left: RATE,
                filled: Instant::now(),
            },
            told: Told::new(),
        }
    }
}

impl Workshop {
    /// Forget what was not sent.
    pub fn clear(&mut self) {
        self.outbox.clear();
    }

    /// Whether an error about a flow may be told now; else it is counted.
    pub fn may_tell(&mut self, flow: impl Hash, counters: &Counters) -> bool {
        let may = self.told.is_due(flow) && self.bucket.take();
        if !may {
            counters.one(Counter::ErrorsLimited);
        }
        may
    }

    /// Send a packet made elsewhere, by any source; whether it went out.
    pub fn send(
        &mut self,
        packet: &[u8],
        own_source: bool,
        links: &Links,
        counters: &Counters,
    ) -> bool {
        self.outbox.put(packet, 0..packet.len(), own_source, 0);
        self.outbox.flush(packet, links, counters).packets == 1
    }

    /// Send a packet made elsewhere, in pieces if it has to be and `may_cut`. One that may not and
    /// is too long is dropped, as any router would.
    pub fn send_made(
        &mut self,
        packet: &[u8],
        may_cut: bool,
        own_source: bool,
        links: &Links,
        counters: &Counters,
    ) -> io::Result<()> {
        // Nobody would notice that a router further on tells of a narrower link (RFC 8200 §5).
        let to_cut = may_cut && packet.len() > SAFE_MTU && packet[0] >> 4 == 6;
        if to_cut && self.cut(packet, SAFE_MTU, own_source, links, counters) {
            return Ok(());
        }
        self.outbox.put(packet, 0..packet.len(), own_source, 0);
        let sent = self.outbox.flush(packet, links, counters);
        if sent.packets == 1 {
            return Ok(());
        }
        if !may_cut && !self.outbox.too_long.is_empty() {
            counters.one(Counter::TooBig);
            return Ok(());
        }
        let mtu = match (ends(packet), self.outbox.too_long.is_empty()) {
            (Some((_, _, destination)), false) => mtu_for(packet, destination),
            _ => return Err(sent.error.unwrap_or(io::ErrorKind::WouldBlock.into())),
        };
        if self.cut(packet, mtu, own_source, links, counters) {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::EMSGSIZE))
    }

    /// Deal with a packet that began with `front` when it came in, and was too long when it was to
    /// be sent.
    pub fn too_long(
        &mut self,
        packet: &[u8],
        front: &[u8],
        own_source: bool,
        links: &Links,
        counters: &Counters,
    ) {
        let (Some((_, source, destination)), Some(before)) = (ends(packet), Before::read(front))
        else {
            return;
        };
        let mtu = mtu_for(packet, destination);
        if !before.silent && self.may_tell((before.sender, source, destination), counters) {
            // The header grows or shrinks by as much as the whole packet does.
            let theirs = (mtu + before.total).saturating_sub(packet.len());
            let error = answer(Trouble::TooBig(theirs as u32), front);
            if error.is_some_and(|error| self.send(&error, false, links, counters)) {
                counters.one(Counter::ErrorsSent);
            }
        }
        if before.may_cut && self.cut(packet, mtu, own_source, links, counters) {
            counters.one(Counter::Fragmented);
        } else {
            counters.one(Counter::TooBig);
        }
    }

    /// Send a packet in pieces; false if not all of them went out.
    pub fn cut(
        &mut self,
        packet: &[u8],
        mtu: usize,
        own_source: bool,
        links: &Links,
        counters: &Counters,
    ) -> bool {
        self.made.clear();
        let mut pieces = Vec::new();
        if !self
            .cutter
            .cut(packet, mtu, &mut self.made, |piece| pieces.push(piece))
        {
            return false;
        }
        let mut sent = 0;
        for some in pieces.chunks(ROOM) {
            for piece in some {
                self.outbox.put(&self.made, piece.clone(), own_source, 0);
            }
            sent += self.outbox.flush(&self.made, links, counters).packets;
        }
        sent == pieces.len()
    }
}

/// The length that fits where a packet did not.
fn mtu_for(packet: &[u8], destination: IpAddr) -> usize {
    let mtu = route_mtu(destination).ok();
    mtu.filter(|mtu| *mtu < packet.len()).unwrap_or(SAFE_MTU)
}

/// What a packet was when it came.
struct Before {
    /// Its source, in the first octets.
    sender: [u8; 16],
    total: usize,
    may_cut: bool,
    /// The sender has not asked to be told.
    silent: bool,
}

impl Before {
    fn read(front: &[u8]) -> Option<Self> {
        // The rest of the packet is not there, which `Header::parse` would miss.
        let version = front.first()? >> 4;
        let mut sender = [0; 16];
        let (total, dont_fragment) = match version {
            4 if front.len() >= Version::V4.header_len() => {
                sender[..4].copy_from_slice(&front[12..16]);
                (
                    usize::from(u16::from_be_bytes([front[2], front[3]])),
                    front[6] & 0x40 != 0,
                )
            }
            6 if front.len() >= Version::V6.header_len() => {
                sender.copy_from_slice(&front[8..24]);
                let payload = usize::from(u16::from_be_bytes([front[4], front[5]]));
                (Version::V6.header_len() + payload, true)
            }
            _ => return None,
        };
        Some(Self {
            sender,
            total,
            may_cut: version == 6 || !dont_fragment,
            silent: !dont_fragment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_limit() {
        let counters = Counters::default();
        let mut workshop = Workshop::default();
        let told = (0..3 * RATE)
            .filter(|flow| workshop.may_tell(flow, &counters))
            .count();
        assert!(told >= RATE as usize);
        assert_eq!(
            counters.read(Counter::ErrorsLimited),
            u64::from(3 * RATE) - told as u64
        );
    }

    #[test]
    fn one_flow_does_not_take_what_others_need() {
        let counters = Counters::default();
        let mut workshop = Workshop::default();
        let began = Instant::now();
        let told = (0..1000)
            .filter(|_| workshop.may_tell("one", &counters))
            .count() as u128;
        assert!(told >= 1 && told <= 1 + began.elapsed().as_millis() / PAUSE.as_millis());
        assert!(workshop.may_tell("other", &counters));
    }

    #[test]
    fn who_is_told_and_what_is_cut() {
        let mut v4 = [0; 64];
        v4[..4].copy_from_slice(&[0x45, 0, 5, 220]);
        let read = |front: &[u8]| {
            Before::read(front).map(|before| (before.total, before.may_cut, before.silent))
        };
        assert_eq!(read(&v4), Some((1500, true, true)));
        v4[6] = 0x40;
        assert_eq!(read(&v4), Some((1500, false, false)));
        let mut v6 = [0; 64];
        v6[..6].copy_from_slice(&[0x60, 0, 0, 0, 5, 180]);
        assert_eq!(read(&v6), Some((1500, true, false)));
        assert_eq!(read(&v6[..39]), None);
    }
}
