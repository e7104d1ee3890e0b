//! A packet's headers, as the other side has them.

use super::{packet::Shape, way::Way};
use crate::packet::{
    checksum,
    ip::{Header, Version, UDP_CHECKSUM, UDP_HEADER_LEN, V4, V4_HEADER_LEN, V6, V6_HEADER_LEN},
    protocol, put16,
};

/// Octets that a packet may grow by: from an IPv4 header to one of IPv6 with one of UDP.
pub const HEADROOM: usize = V6_HEADER_LEN + UDP_HEADER_LEN - V4_HEADER_LEN;

const ESP: u8 = 50;
const V4_CHECKSUM: usize = 10;

/// Rewrite the packet at `start`; where it begins now, or `None` if it would need more room than is
/// in front of it. It ends where it ended.
pub(super) fn rewrite(buffer: &mut [u8], start: usize, shape: &Shape, way: &Way) -> Option<usize> {
    if shape.version == way.version() && shape.udp == way.udp {
        exchange(&mut buffer[start..start + shape.total], shape, way);
        return Some(start);
    }
    let new_len = way.version().header_len() + if way.udp { UDP_HEADER_LEN } else { 0 };
    let new_start = (start + shape.esp_at()).checked_sub(new_len)?;
    let total = new_len + shape.esp_len();
    if total > usize::from(u16::MAX) {
        return None;
    }
    let old = Old::read(&buffer[start..start + shape.total])?;
    renew(&mut buffer[new_start..new_start + total], &old, way);
    Some(new_start)
}

/// Exchange addresses, ports and SPI where they are.
fn exchange(packet: &mut [u8], shape: &Shape, way: &Way) {
    let addresses = match shape.version {
        Version::V4 => 12..20,
        Version::V6 => 8..40,
    };
    let (source, destination) = packet[addresses.clone()].split_at_mut(addresses.len() / 2);
    let old_sum = checksum::add(checksum::add(0, source), destination);
    source.copy_from_slice(&way.source[..source.len()]);
    destination.copy_from_slice(&way.destination[..source.len()]);
    if shape.version == Version::V4 {
        checksum::exchange(packet, V4_CHECKSUM, old_sum, u64::from(way.sum));
    }
    let esp_at = shape.esp_at();
    if shape.udp {
        let udp = &mut packet[shape.ip_len..];
        if udp[UDP_CHECKSUM..UDP_HEADER_LEN] != [0, 0] {
            // SPI and ports count as well.
            let spi = &udp[UDP_HEADER_LEN..UDP_HEADER_LEN + 4];
            let old = checksum::add(checksum::add(old_sum, &udp[..4]), spi);
            let new = checksum::add(checksum::add(u64::from(way.sum), &way.ports), &way.spi);
            checksum::exchange(udp, UDP_CHECKSUM, old, new);
            if udp[UDP_CHECKSUM..UDP_HEADER_LEN] == [0, 0] {
                udp[UDP_CHECKSUM..UDP_HEADER_LEN].fill(0xff);
            }
        }
        udp[..4].copy_from_slice(&way.ports);
    }
    packet[esp_at..esp_at + 4].copy_from_slice(&way.spi);
}

/// What a new header takes from the old one.
struct Old {
    traffic_class: u8,
    hop_limit: u8,
    identification: u16,
    dont_fragment: bool,
}

impl Old {
    fn read(packet: &[u8]) -> Option<Self> {
        let header = Header::parse(packet)?;
        let identification = match header.version {
            Version::V4 => crate::packet::be16(packet, 4),
            Version::V6 => 0,
        };
        Some(Self {
            traffic_class: header.traffic_class,
            hop_limit: header.hop_limit,
            identification,
            dont_fragment: header.dont_fragment,
        })
    }
}

/// Write headers in front of ESP, which ends where `packet` does.
fn renew(packet: &mut [u8], old: &Old, way: &Way) {
    let ip_len = way.version().header_len();
    let payload_len = packet.len() - ip_len;
    let esp_at = ip_len + if way.udp { UDP_HEADER_LEN } else { 0 };
    let protocol = if way.udp { protocol::UDP } else { ESP };
    packet[esp_at..esp_at + 4].copy_from_slice(&way.spi);
    if way.v6 {
        let header = V6 {
            traffic_class: old.traffic_class,
            next_header: protocol,
            hop_limit: old.hop_limit,
            source: way.source,
            destination: way.destination,
            payload_len,
        };
        header.emit(packet);
    } else {
        let [source, destination] = [way.source, way.destination].map(|octets| {
            let [a, b, c, d, ..] = octets;
            [a, b, c, d]
        });
        let header = V4 {
            traffic_class: old.traffic_class,
            identification: old.identification,
            fragment: if old.dont_fragment {
                V4::DONT_FRAGMENT
            } else {
                0
            },
            hop_limit: old.hop_limit,
            protocol,
            source,
            destination,
            payload_len,
        };
        header.emit(packet, &[]);
    }
    if way.udp {
        let udp = &mut packet[ip_len..];
        udp[..4].copy_from_slice(&way.ports);
        put16(udp, 4, payload_len as u16);
        put16(udp, UDP_CHECKSUM, 0);
        // IPv4 needs none for ESP (RFC 3948 §2.1), IPv6 does (RFC 8200 §8.1).
        if way.v6 {
            let sum = checksum::add_number(u64::from(way.sum), u16::from(protocol::UDP));
            let sum = checksum::add_number(sum, payload_len as u16);
            let sum = checksum::add(sum, udp);
            checksum::store_udp(udp, UDP_CHECKSUM, sum);
        }
    }
}
