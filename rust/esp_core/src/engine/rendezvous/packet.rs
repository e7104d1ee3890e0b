//! What a rendezvous server makes of an I1 or UPDATE for a client (RFC 8004 §4.2, RFC 8046 §3.2.3).
//!
//! Anything out of the ordinary is left to the control plane, which knows the rules in full.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

use crate::{beet::Hit, packet::be32};

const HEADER_LEN: usize = 40;
const MAX_LEN: usize = 256 * 8;
const TLV_HEADER_LEN: usize = 4;
/// Octets in front of HIP in UDP, all zero (RFC 9028 §5.1).
const MARKER_LEN: usize = 4;
const I1: u8 = 1;
const UPDATE: u8 = 16;
const NOTIFY: u8 = 17;
/// Where clients take answers to belong that nobody tells the port of (RFC 9028 §4.1).
const HIP_PORT: u16 = 10_500;
const UDP: u8 = 17;

const RELAY_FROM: u16 = 63_998;
const FROM: u16 = 65_498;
const RVS_HMAC: u16 = 65_500;

/// A HIP packet that is whole as far as its fixed header tells.
pub(super) struct Packet<'a>(&'a [u8]);

impl<'a> Packet<'a> {
    /// None for what the header says is something else. What stands behind it is cut off.
    pub(super) fn new(data: &'a [u8]) -> Option<Self> {
        if data.len() < HEADER_LEN {
            return None;
        }
        let length = 8 * (usize::from(data[1]) + 1);
        if length < HEADER_LEN || length > data.len() {
            return None;
        }
        let packet = Self(&data[..length]);
        let prefix = match data[3] >> 4 {
            1 => 0x200_1001,
            2 => 0x200_1002,
            _ => return None,
        };
        let of_version = |hit: &Hit| be32(hit, 0) >> 4 == prefix;
        (of_version(packet.sender()) && of_version(packet.receiver())).then_some(packet)
    }

    fn kind(&self) -> u8 {
        self.0[2] & 0x7f
    }

    pub(super) fn sender(&self) -> &'a Hit {
        self.0[8..].first_chunk().expect("checked when it was made")
    }

    pub(super) fn receiver(&self) -> &'a Hit {
        self.0[24..]
            .first_chunk()
            .expect("checked when it was made")
    }

    /// Whether it is of a kind that is relayed, and what is to be inserted belongs at its end:
    /// nothing of that is there, and nothing that would have to stand behind it.
    pub(super) fn is_ordinary(&self) -> bool {
        if !matches!(self.kind(), I1 | UPDATE) {
            return false;
        }
        let mut at = HEADER_LEN;
        while at < self.0.len() {
            let Some(header) = self.0[at..].first_chunk::<TLV_HEADER_LEN>() else {
                return false;
            };
            let kind = u16::from_be_bytes([header[0], header[1]]);
            if kind >= RELAY_FROM {
                return false;
            }
            at += padded(u16::from_be_bytes([header[2], header[3]]).into());
        }
        at == self.0.len()
    }

    /// Whether it is what a client behind a NAT sends for the NAT's sake.
    pub(super) fn is_notify(&self) -> bool {
        self.kind() == NOTIFY
    }
}

/// Octets of a parameter with its header and padding (RFC 7401 §5.2.1).
fn padded(length: usize) -> usize {
    11 + length - (length + 3) % 8
}

/// Put the datagram for the client into `datagram`; false if it would be longer than HIP allows.
pub(super) fn relayed(
    packet: &Packet<'_>,
    from: SocketAddr,
    tells_ports: bool,
    key: &hmac::Key,
    datagram: &mut Vec<u8>,
) -> bool {
    datagram.clear();
    datagram.extend_from_slice(&[0; MARKER_LEN]);
    datagram.extend_from_slice(packet.0);
    datagram[MARKER_LEN + 4..MARKER_LEN + 6].fill(0);
    let address = match from.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    if tells_ports && from.port() != HIP_PORT {
        let [high, low] = from.port().to_be_bytes();
        push(
            datagram,
            RELAY_FROM,
            &[&[high, low, UDP, 0], &address.octets()],
        );
    }
    push(datagram, FROM, &[&address.octets()]);
    // The length in the header leaves out what the MAC does not cover.
    if !set_length(datagram) {
        return false;
    }
    let code = hmac::sign(key, &datagram[MARKER_LEN..]);
    push(datagram, RVS_HMAC, &[code.as_ref()]);
    set_length(datagram)
}

fn push(datagram: &mut Vec<u8>, kind: u16, contents: &[&[u8]]) {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let end = datagram.len() + padded(length);
    datagram.extend_from_slice(&kind.to_be_bytes());
    datagram.extend_from_slice(&(length as u16).to_be_bytes());
    for part in contents {
        datagram.extend_from_slice(part);
    }
    datagram.resize(end, 0);
}

fn set_length(datagram: &mut [u8]) -> bool {
    let length = datagram.len() - MARKER_LEN;
    if length > MAX_LEN {
        return false;
    }
    datagram[MARKER_LEN + 1] = (length / 8 - 1) as u8;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn i1(parameters: &[u8]) -> Vec<u8> {
        let mut data = vec![59, 0, I1, 0x21, 0x12, 0x34, 0, 0];
        for last in [1, 2] {
            data.extend([0x20, 0x01, 0x00, 0x2a]);
            data.extend([last; 12]);
        }
        data.extend(parameters);
        data[1] = (data.len() / 8 - 1) as u8;
        data
    }

    /// A parameter of eight octets.
    fn parameter(kind: u16) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &[0, 1, 7, 0, 0, 0]].concat()
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_not_touched() {
        let ordinary = |data: &[u8]| Packet::new(data).is_some_and(|packet| packet.is_ordinary());
        assert!(ordinary(&i1(&[])));
        assert!(ordinary(&i1(&parameter(511))));
        assert!(ordinary(&i1(&parameter(RELAY_FROM - 1))));
        for kind in [RELAY_FROM, 64_002, FROM, RVS_HMAC, 65_502, 65_520, u16::MAX] {
            assert!(!ordinary(&i1(&parameter(kind))), "{kind}");
        }
        let mut long = parameter(511);
        long[3] = 200;
        assert!(!ordinary(&i1(&long)));
        for (place, value) in [
            (1, 0),
            (1, 255),
            (2, 2),
            (2, 18),
            (3, 0x11),
            (3, 0x31),
            (11, 0x1a),
        ] {
            let mut data = i1(&[]);
            data[place] = value;
            assert!(!ordinary(&data), "{place}");
        }
        assert!(!ordinary(&i1(&[])[..39]));
        let mut update = i1(&[]);
        update[2] = UPDATE;
        assert!(ordinary(&update));
    }

    #[test]
    fn what_is_inserted_is_covered_and_in_order() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let data = i1(&parameter(511));
        let packet = Packet::new(&data).unwrap();
        let mut made = Vec::new();
        let from: SocketAddr = "192.0.2.7:40001".parse().unwrap();
        assert!(relayed(&packet, from, true, &key, &mut made));
        assert_eq!(made.len(), MARKER_LEN + data.len() + 24 + 24 + 40);
        let (covered, code) = made[MARKER_LEN..].split_at(data.len() + 48);
        assert_eq!(&covered[covered.len() - 24..][..4], [0xff, 0xda, 0, 16]);
        assert_eq!(
            &covered[data.len()..][..8],
            [0xf9, 0xfe, 0, 20, 0x9c, 0x41, 17, 0]
        );
        let mut covered = covered.to_vec();
        covered[1] = (covered.len() / 8 - 1) as u8;
        assert!(hmac::verify(&key, &covered, &code[4..36]).is_ok());
        assert_eq!(usize::from(made[MARKER_LEN + 1]), (made.len() - 4) / 8 - 1);
        assert_eq!(made[MARKER_LEN + 4..][..2], [0, 0]);
        // From the usual port, or to somebody who knows FROM alone, there is no more than that.
        for (port, tells) in [(HIP_PORT, true), (40_001, false)] {
            let from = SocketAddr::new(from.ip(), port);
            assert!(relayed(&packet, from, tells, &key, &mut made));
            assert_eq!(made.len(), MARKER_LEN + data.len() + 24 + 40);
        }
    }

    #[test]
    fn nothing_is_made_too_long() {
        let key = hmac::Key::new(hmac::HMAC_SHA384, &[7; 48]);
        let from: SocketAddr = "[2001:db8::7]:10500".parse().unwrap();
        let mut made = Vec::new();
        for (count, fits) in [(220, true), (241, true), (242, false), (250, false)] {
            let data = i1(&parameter(511).repeat(count));
            let packet = Packet::new(&data).unwrap();
            let room = data.len() + 24 + 56 <= MAX_LEN;
            assert_eq!(relayed(&packet, from, true, &key, &mut made), room);
            assert_eq!(room, fits, "{count}");
        }
    }
}
