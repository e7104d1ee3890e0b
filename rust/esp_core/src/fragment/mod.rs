//! Packets larger than the path, cut before sealing.
//!
//! ESP of HIP carries what an IPv6 packet from HIT to HIT would carry (RFC 7402 §3.1), so a payload
//! that does not fit is fragmented as that packet would be (RFC 8200 §4.5): every piece begins with
//! a fragment header and is sealed as a packet of its own, with next header 44. The receiver thus
//! reassembles authentic pieces only, and routers never see an IP fragment.

pub mod reassembly;

use crate::packet::{be16, be32, ip::FRAGMENT_HEADER_LEN as HEADER_LEN, put16, put32};

/// The longest payload that a fragment offset reaches.
pub const MAX_PAYLOAD: usize = 65535;

/// An IPv6 fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// What the whole payload begins with.
    pub next_header: u8,
    /// Octets of the payload in front of this piece; a multiple of 8.
    pub offset: usize,
    pub more: bool,
    pub identification: u32,
}

impl FragmentHeader {
    /// Read the header at the start of `payload`.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        if payload.len() < HEADER_LEN {
            return None;
        }
        let field = be16(payload, 2);
        Some(Self {
            next_header: payload[0],
            offset: usize::from(field & 0xfff8),
            more: field & 1 == 1,
            identification: be32(payload, 4),
        })
    }

    /// Write the header to the start of `out`.
    pub fn emit(&self, out: &mut [u8]) {
        out[0] = self.next_header;
        out[1] = 0;
        put16(out, 2, self.offset as u16 | u16::from(self.more));
        put32(out, 4, self.identification);
    }
}

/// The length of the pieces (but the last, which may be shorter) of a payload, when each with its
/// header has to fit into `room` octets. The pieces are about equal, so that neither is tiny.
/// `None` if it cannot be done.
#[must_use]
pub fn piece_len(payload_len: usize, room: usize) -> Option<usize> {
    let largest = room.checked_sub(HEADER_LEN)? & !7;
    if largest == 0 || payload_len == 0 || payload_len > MAX_PAYLOAD {
        return None;
    }
    let pieces = payload_len.div_ceil(largest);
    Some(payload_len.div_ceil(pieces).next_multiple_of(8))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn header_round_trip(
            next_header in any::<u8>(),
            offset in 0usize..8192,
            more in any::<bool>(),
            identification in any::<u32>(),
        ) {
            let header = FragmentHeader { next_header, offset: offset * 8, more, identification };
            let mut bytes = [0xff; 8];
            header.emit(&mut bytes);
            prop_assert_eq!(FragmentHeader::parse(&bytes), Some(header));
        }

        #[test]
        fn pieces_fit(payload in 1usize..=MAX_PAYLOAD, room in 0usize..10_000) {
            match piece_len(payload, room) {
                None => prop_assert!(room < 16),
                Some(piece) => {
                    prop_assert_eq!(piece % 8, 0);
                    prop_assert!(piece + HEADER_LEN <= room);
                }
            }
        }
    }

    #[test]
    fn a_full_frame_over_a_full_path_makes_two_equal_pieces() {
        assert_eq!(piece_len(1516, 1444), Some(760));
    }
}
