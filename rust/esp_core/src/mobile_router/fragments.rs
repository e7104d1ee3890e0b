//! IP packets that are too long for a link, cut into fragments (RFC 791, RFC 8200 §4.5).

use std::{collections::hash_map::RandomState, hash::BuildHasher, ops::Range};

use crate::packet::{
    be16,
    ip::{store_v4_checksum, Header, Version, FRAGMENT_HEADER_LEN, V4, V6_HEADER_LEN},
    protocol, put16, put32,
};

/// Octets that offsets count in.
const UNIT: usize = 8;
const MORE: u16 = 0x2000;
const V6_MORE: u16 = 1;

/// Cuts packets; what names the fragments of one is not to be foreseen (RFC 7739).
pub struct Cutter {
    secret: RandomState,
    count: u64,
}

impl Default for Cutter {
    fn default() -> Self {
        Self {
            secret: RandomState::new(),
            count: 0,
        }
    }
}

impl Cutter {
    /// Append to `out` what a packet becomes on a link for `mtu` octets, and tell where each piece
    /// lies; false if it cannot be cut so. An IPv4 packet's "don't fragment" is not looked at.
    pub fn cut(
        &mut self,
        packet: &[u8],
        mtu: usize,
        out: &mut Vec<u8>,
        mut each: impl FnMut(Range<usize>),
    ) -> bool {
        let Some(header) = Header::parse(packet) else {
            return false;
        };
        let extra = match header.version {
            Version::V4 => 0,
            Version::V6 => FRAGMENT_HEADER_LEN,
        };
        let front = header.len + extra;
        let room = mtu.saturating_sub(front) / UNIT * UNIT;
        if room == 0 || header.fragment || header.protocol == protocol::FRAGMENT {
            return false;
        }
        self.count += 1;
        let name = self.secret.hash_one(self.count) as u32;
        let payload = &packet[header.len..header.total];
        for (number, piece) in payload.chunks(room).enumerate() {
            let offset = number * room;
            let more = offset + piece.len() < payload.len();
            let start = out.len();
            out.extend_from_slice(&packet[..header.len]);
            out.resize(start + front, 0);
            out.extend_from_slice(piece);
            let fragment = &mut out[start..];
            match header.version {
                Version::V4 => v4(fragment, header.len, offset, more, name),
                Version::V6 => v6(fragment, header.protocol, offset, more, name),
            }
            each(start..out.len());
        }
        true
    }
}

fn v4(fragment: &mut [u8], header_len: usize, offset: usize, more: bool, name: u32) {
    let len = fragment.len();
    put16(fragment, 2, len as u16);
    // Its own, if it has one: 0 would have the kernel choose one for each piece.
    if be16(fragment, 4) == 0 {
        put16(fragment, 4, (name as u16).max(1));
    }
    let flags = if more { MORE } else { 0 };
    debug_assert!(offset / UNIT < usize::from(V4::DONT_FRAGMENT));
    put16(fragment, 6, flags | (offset / UNIT) as u16);
    store_v4_checksum(&mut fragment[..header_len]);
}

fn v6(fragment: &mut [u8], next_header: u8, offset: usize, more: bool, name: u32) {
    let payload_len = fragment.len() - V6_HEADER_LEN;
    put16(fragment, 4, payload_len as u16);
    fragment[6] = protocol::FRAGMENT;
    fragment[V6_HEADER_LEN] = next_header;
    let more = if more { V6_MORE } else { 0 };
    put16(fragment, V6_HEADER_LEN + 2, offset as u16 | more);
    put32(fragment, V6_HEADER_LEN + 4, name);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{
        checksum,
        ip::{V4_HEADER_LEN, V6},
    };

    fn packet(v6: bool, payload: &[u8]) -> Vec<u8> {
        if v6 {
            let header = V6 {
                traffic_class: 3,
                next_header: 50,
                hop_limit: 9,
                source: [1; 16],
                destination: [2; 16],
                payload_len: payload.len(),
            };
            let mut packet = vec![0; V6_HEADER_LEN];
            header.emit(&mut packet);
            return [&packet, payload].concat();
        }
        let header = V4 {
            traffic_class: 3,
            identification: 0,
            fragment: V4::DONT_FRAGMENT,
            hop_limit: 9,
            protocol: 50,
            source: [1; 4],
            destination: [2; 4],
            payload_len: payload.len(),
        };
        let mut packet = vec![0; V4_HEADER_LEN];
        header.emit(&mut packet, &[]);
        [&packet, payload].concat()
    }

    proptest! {
        #[test]
        fn pieces_fit_and_make_the_whole(v6 in any::<bool>(), len in 9usize..9000, mtu in 68usize..3000) {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let packet = packet(v6, &payload);
            let (mut out, mut ranges) = (Vec::new(), Vec::new());
            prop_assert!(Cutter::default().cut(&packet, mtu, &mut out, |range| ranges.push(range)));
            let mut whole = Vec::new();
            let mut names = Vec::new();
            for (number, range) in ranges.iter().enumerate() {
                let piece = &out[range.clone()];
                prop_assert!(piece.len() <= mtu);
                let header = Header::parse(piece).unwrap();
                prop_assert_eq!(header.total, piece.len());
                prop_assert_eq!((header.traffic_class, header.hop_limit), (3, 9));
                let last = number + 1 == ranges.len();
                let (offset, more, body) = if v6 {
                    let field = be16(piece, 42);
                    prop_assert_eq!(piece[40], 50);
                    names.push(piece[44..48].to_vec());
                    (usize::from(field & 0xfff8), field & 1 != 0, &piece[48..])
                } else {
                    prop_assert_eq!(checksum::fold(checksum::add(0, &piece[..20])), 0xffff);
                    let field = be16(piece, 6);
                    prop_assert_eq!(field & V4::DONT_FRAGMENT, 0);
                    prop_assert_ne!(be16(piece, 4), 0);
                    names.push(piece[4..6].to_vec());
                    (usize::from(field & 0x1fff) * 8, field & MORE != 0, &piece[20..])
                };
                prop_assert_eq!((offset, more), (whole.len(), !last));
                whole.extend_from_slice(body);
            }
            names.dedup();
            prop_assert_eq!((whole, names.len()), (payload, 1));
        }
    }

    #[test]
    fn what_cannot_be_cut() {
        let mut out = Vec::new();
        for (packet, mtu) in [(packet(false, &[1; 50]), 27), (packet(true, &[1; 50]), 55)] {
            assert!(!Cutter::default().cut(&packet, mtu, &mut out, |_| ()));
        }
        assert!(!Cutter::default().cut(&[], 1500, &mut out, |_| ()));
        assert_eq!(out, []);
    }
}
