//! Telling an application's own kernel that a packet does not fit the path.

use crate::packet::{
    checksum,
    ip::{Header, Version, V4, V4_HEADER_LEN, V6, V6_HEADER_LEN},
    protocol, put16, put32,
};

/// The smallest MTU of IPv6 (RFC 8200 §5); packets up to it have to pass, in fragments if need be.
pub const V6_MIN_MTU: usize = 1280;
/// Octets of the longest answer (RFC 4443 §2.4 c).
pub const MAX_ANSWER: usize = V6_MIN_MTU;

const ICMP_HEADER_LEN: usize = 8;
/// As much of the packet as RFC 1812 §4.3.2.3 wants quoted.
const MAX_V4_ANSWER: usize = 576;

/// Write the ICMP message that refuses `packet`, as if a router at the peer's name had sent it;
/// returns its length. `mtu` is what would have fitted.
pub fn answer(packet: &[u8], header: &Header, mtu: usize, out: &mut [u8; MAX_ANSWER]) -> usize {
    let (source, destination) = header.addresses(packet);
    match header.version {
        Version::V6 => {
            let quoted = header
                .total
                .min(MAX_ANSWER - V6_HEADER_LEN - ICMP_HEADER_LEN);
            let message_len = ICMP_HEADER_LEN + quoted;
            V6 {
                traffic_class: 0,
                next_header: protocol::ICMPV6,
                hop_limit: 64,
                source: to_array(destination),
                destination: to_array(source),
                payload_len: message_len,
            }
            .emit(out);
            let message = &mut out[V6_HEADER_LEN..][..message_len];
            // Packet Too Big (RFC 4443 §3.2).
            message[..4].copy_from_slice(&[2, 0, 0, 0]);
            put32(message, 4, mtu.max(V6_MIN_MTU) as u32);
            message[ICMP_HEADER_LEN..].copy_from_slice(&packet[..quoted]);
            let sum = checksum::pseudo_header(destination, source, protocol::ICMPV6, message_len);
            let sum = checksum::add(sum, message);
            checksum::store(message, 2, sum);
            V6_HEADER_LEN + message_len
        }
        Version::V4 => {
            let quoted = header
                .total
                .min(MAX_V4_ANSWER - V4_HEADER_LEN - ICMP_HEADER_LEN);
            let message_len = ICMP_HEADER_LEN + quoted;
            V4 {
                traffic_class: 0,
                identification: 0,
                fragment: V4::DONT_FRAGMENT,
                hop_limit: 64,
                protocol: protocol::ICMP,
                source: to_array(destination),
                destination: to_array(source),
                payload_len: message_len,
            }
            .emit(out, &[]);
            let message = &mut out[V4_HEADER_LEN..][..message_len];
            // Fragmentation needed (RFC 1191 §4).
            message[..ICMP_HEADER_LEN].copy_from_slice(&[3, 4, 0, 0, 0, 0, 0, 0]);
            put16(message, 6, mtu as u16);
            message[ICMP_HEADER_LEN..].copy_from_slice(&packet[..quoted]);
            let sum = checksum::add(0, message);
            checksum::store(message, 2, sum);
            V4_HEADER_LEN + message_len
        }
    }
}

fn to_array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
