//! BEET mode (RFC 7402 appendix B): packets between HITs or LSIs, without their IP header.
//!
//! On the wire every transport checksum counts HITs in its pseudo header, whatever the
//! applications use (RFC 7401 §4.5.1). Nothing in RFC 7402 tells the receiver whether the peer's
//! application spoke IPv4 (LSI) or IPv6 (HIT), so LSI traffic other than ICMP travels behind the
//! pseudo header for IPv4 options (appendix B.1.7), here with no options: its presence says IPv4.
//! Hosts of HIPv1 do not know it, and get the transport header alone.

pub mod flows;
pub mod input;
pub mod output;
pub mod too_big;

use crate::packet::{checksum, protocol};

pub type Hit = [u8; 16];
pub type Lsi = [u8; 4];

/// Octets of a pseudo header without options: four fields and four octets of padding.
pub const PSEUDO_HEADER_LEN: usize = 8;
/// Octets of IPv4 options at most.
const MAX_OPTIONS: usize = 40;

const UDP_LITE: u8 = 136;
const DCCP: u8 = 33;
const UDP_CHECKSUM: usize = 6;
const TCP_CHECKSUM: usize = 16;

/// Whether an address is a HIT: an ORCHIDv2 (RFC 7343 §2: 2001:20::/28), or an ORCHID of HIPv1.
#[must_use]
pub fn is_hit(address: &[u8]) -> bool {
    is_hit_v1(address) || matches!(address, [0x20, 0x01, 0x00, fourth, ..] if fourth & 0xf0 == 0x20)
}

/// Whether an address is an ORCHID of HIPv1 (RFC 4843 §2: 2001:10::/28).
#[must_use]
pub fn is_hit_v1(address: &[u8]) -> bool {
    matches!(address, [0x20, 0x01, 0x00, fourth, ..] if fourth & 0xf0 == 0x10)
}

/// The HITs of this host: of one version of HIP, or one of each.
#[derive(Clone, Copy, Debug)]
pub struct LocalHits {
    first: Hit,
    second: Hit,
}

impl LocalHits {
    #[must_use]
    pub fn new(first: Hit, second: Option<Hit>) -> Self {
        Self {
            first,
            second: second.unwrap_or(first),
        }
    }

    #[must_use]
    pub fn contains(&self, address: &[u8]) -> bool {
        address == self.first || address == self.second
    }
}

/// Whether an address is a Local Scope Identifier (1.0.0.0/8).
#[must_use]
pub fn is_lsi(address: &[u8]) -> bool {
    matches!(address, [1, _, _, _])
}

/// What the pseudo headers of one peer's traffic count: the sums of both addresses.
#[derive(Clone, Copy, Debug)]
pub struct Translation {
    pub hits: u64,
    pub lsis: u64,
    /// Whether IPv4 is marked as such by a pseudo header.
    pub marked: bool,
}

impl Translation {
    /// Each the own one and the peer's.
    #[must_use]
    pub fn new(hits: (&Hit, &Hit), lsis: (Lsi, Lsi)) -> Self {
        Self {
            hits: checksum::add(checksum::add(0, hits.0), hits.1),
            lsis: checksum::add(checksum::add(0, &lsis.0), &lsis.1),
            marked: !is_hit_v1(hits.1),
        }
    }

    /// From counting LSIs to counting HITs; `None` if the segment is too short for its checksum.
    fn to_hits(self, protocol: u8, segment: &mut [u8]) -> Option<()> {
        let Some(offset) = checksum_offset(protocol) else {
            return Some(());
        };
        let field = segment.get(offset..offset + 2)?;
        if protocol == protocol::UDP && field == [0, 0] {
            // IPv4 allows UDP without a checksum, IPv6 does not.
            let sum = checksum::add_number(self.hits, u16::from(protocol));
            let sum = checksum::add_number(sum, segment.len() as u16);
            let sum = checksum::add(sum, segment);
            checksum::store_udp(segment, offset, sum);
            return Some(());
        }
        self.exchange(protocol, segment, offset, self.lsis, self.hits);
        Some(())
    }

    /// From counting HITs to counting LSIs.
    fn to_lsis(self, protocol: u8, segment: &mut [u8]) -> Option<()> {
        let Some(offset) = checksum_offset(protocol) else {
            return Some(());
        };
        let field = segment.get(offset..offset + 2)?;
        if protocol == protocol::UDP && field == [0, 0] {
            return Some(());
        }
        self.exchange(protocol, segment, offset, self.hits, self.lsis);
        Some(())
    }

    fn exchange(self, protocol: u8, segment: &mut [u8], offset: usize, old: u64, new: u64) {
        checksum::exchange(segment, offset, old, new);
        if protocol == protocol::UDP && segment[offset..offset + 2] == [0, 0] {
            segment[offset..offset + 2].fill(0xff);
        }
    }
}

/// Where the checksum lies of the protocols that count addresses in it and travel over IPv4.
fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(TCP_CHECKSUM),
        protocol::UDP | UDP_LITE | DCCP => Some(UDP_CHECKSUM),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
