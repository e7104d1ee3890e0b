//! A super-packet into the packets that it stands for.

use super::{GsoKind, VnetHeader};
use crate::{
    drops::DropReason,
    packet::{
        be16, be32, checksum,
        ip::{
            self, Header, Version, TCP_CHECKSUM, TCP_CWR, TCP_FIN, TCP_PSH, UDP_CHECKSUM,
            UDP_HEADER_LEN,
        },
        protocol, put16, put32,
    },
};

/// A super-packet that was looked through; its bytes stay with the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperPacket {
    tcp: bool,
    version: Version,
    /// Where the IP header begins: behind the Ethernet header, or 0.
    ip: usize,
    /// Where the transport header begins.
    transport: usize,
    /// Where the payload begins.
    payload: usize,
    /// Where it ends.
    end: usize,
    /// Octets of payload in each packet but the last.
    segment: usize,
    /// Sum of the addresses in the pseudo header.
    addresses: u64,
}

impl SuperPacket {
    /// Look through a packet whose IP header begins at `ip`. What the header tells about lengths is
    /// not trusted.
    pub fn parse(packet: &[u8], ip: usize, vnet: &VnetHeader) -> Result<Self, DropReason> {
        Self::try_parse(packet, ip, vnet).ok_or(DropReason::BadOffload)
    }

    fn try_parse(packet: &[u8], ip: usize, vnet: &VnetHeader) -> Option<Self> {
        let header = Header::parse(packet.get(ip..)?)?;
        let (tcp, version) = match vnet.kind {
            GsoKind::None => return None,
            GsoKind::TcpV4 => (true, Version::V4),
            GsoKind::TcpV6 => (true, Version::V6),
            GsoKind::Udp => (false, header.version),
        };
        let end = ip + header.total;
        // IPv6 extension headers may lie between, so it is the checksum's start that tells.
        let transport = usize::from(vnet.checksum_start);
        if version != header.version
            || header.fragment
            || transport < ip + header.len
            || transport > end
            || vnet.segment_size == 0
        {
            return None;
        }
        let expected = if tcp { protocol::TCP } else { protocol::UDP };
        if transport == ip + header.len && header.protocol != expected {
            return None;
        }
        let transport_header = if tcp {
            ip::tcp_header_len(&packet[transport..end])?
        } else {
            UDP_HEADER_LEN
        };
        let payload = transport + transport_header;
        if payload > end {
            return None;
        }
        let (source, destination) = header.addresses(&packet[ip..]);
        let mut addresses = checksum::add(checksum::add(0, source), destination);
        if transport > ip + header.len && vnet.needs_checksum {
            // A routing header may lie between, and the destination that counts in it (RFC 8200
            // §8.1). The unfinished checksum has it: the sum of the whole pseudo header.
            let offset = if tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
            let field = [packet[transport + offset], packet[transport + offset + 1]];
            let rest = checksum::add_number(0, u16::from(expected));
            let rest = checksum::add_number(rest, (end - transport) as u16);
            addresses = checksum::join(
                u16::from_ne_bytes(field).into(),
                (!checksum::fold(rest)).into(),
            );
        }
        Some(Self {
            tcp,
            version,
            ip,
            transport,
            payload,
            end,
            segment: usize::from(vnet.segment_size),
            addresses,
        })
    }

    /// Use other addresses in the pseudo header: their sum.
    pub fn set_addresses(&mut self, sum: u64) {
        self.addresses = sum;
    }

    /// Octets in front of the payload.
    #[must_use]
    pub fn headers_len(&self) -> usize {
        self.payload
    }

    /// Make packets of at most `limit` octets, counted like the super-packet. TCP is a stream of
    /// octets, so its segments may be cut smaller than asked for; false if that does not help.
    pub fn limit(&mut self, limit: usize) -> bool {
        if self.packet_len(0) <= limit {
            return true;
        }
        match limit.checked_sub(self.payload) {
            Some(room) if self.tcp && room > 0 => {
                self.segment = self.segment.min(room);
                true
            }
            _ => false,
        }
    }

    /// How many packets it stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        (self.end - self.payload).div_ceil(self.segment).max(1)
    }

    /// Length of the n-th packet.
    #[must_use]
    pub fn packet_len(&self, n: usize) -> usize {
        let rest = (self.end - self.payload).saturating_sub(n * self.segment);
        self.payload + rest.min(self.segment)
    }

    /// Write the n-th packet to `out`, without its first `skip` octets; these may be any number of
    /// headers in front of the transport header.
    pub fn emit(&self, packet: &[u8], n: usize, skip: usize, out: &mut [u8]) {
        let len = self.packet_len(n);
        let start = self.payload + n * self.segment;
        let (headers, payload) = out[..len - skip].split_at_mut(self.payload - skip);
        headers.copy_from_slice(&packet[skip..self.payload]);
        // Summed where it came from: copying has brought that into the cache, while reading what
        // is just being written would stall the CPU.
        let source = &packet[start..][..payload.len()];
        payload.copy_from_slice(source);
        let payload_sum = checksum::add(0, source);
        if skip <= self.ip {
            self.finish_ip(&mut headers[self.ip - skip..self.transport - skip], n, len);
        }
        let transport = &mut headers[self.transport - skip..];
        let last = n + 1 == self.count();
        if self.tcp {
            finish_tcp(transport, n * self.segment, n == 0, last);
        } else {
            put16(transport, 4, (UDP_HEADER_LEN + payload.len()) as u16);
        }
        self.finish_checksum(transport, payload.len(), payload_sum);
    }

    fn finish_ip(&self, header: &mut [u8], n: usize, len: usize) {
        match self.version {
            Version::V4 => {
                put16(header, 2, (len - self.ip) as u16);
                let identification = be16(header, 4).wrapping_add(n as u16);
                put16(header, 4, identification);
                ip::store_v4_checksum(header);
            }
            Version::V6 => put16(header, 4, (len - self.ip - ip::V6_HEADER_LEN) as u16),
        }
    }

    fn finish_checksum(&self, transport: &mut [u8], payload_len: usize, payload_sum: u64) {
        let (protocol, offset) = if self.tcp {
            (protocol::TCP, TCP_CHECKSUM)
        } else {
            (protocol::UDP, UDP_CHECKSUM)
        };
        put16(transport, offset, 0);
        let len = transport.len() + payload_len;
        let sum = checksum::add_number(self.addresses, u16::from(protocol));
        let sum = checksum::add_number(sum, len as u16);
        // The header has an even length, so the sums of the two add up.
        let sum = checksum::join(checksum::add(sum, transport), payload_sum);
        if self.tcp {
            checksum::store(transport, offset, sum);
        } else {
            checksum::store_udp(transport, offset, sum);
        }
    }
}

fn finish_tcp(header: &mut [u8], sent: usize, first: bool, last: bool) {
    let sequence = be32(header, 4).wrapping_add(sent as u32);
    put32(header, 4, sequence);
    if !last {
        header[13] &= !(TCP_FIN | TCP_PSH);
    }
    if !first {
        // "Congestion window reduced" is told once (RFC 3168 §6.1.2).
        header[13] &= !TCP_CWR;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::offload::testing::{checksum_holds, Shape};

    fn split(packet: &[u8], shape: &Shape, vnet: &VnetHeader) -> Vec<Vec<u8>> {
        let whole = SuperPacket::parse(packet, shape.link_len(), vnet).unwrap();
        (0..whole.count())
            .map(|n| {
                let mut out = vec![0xaa; whole.packet_len(n)];
                whole.emit(packet, n, 0, &mut out);
                out
            })
            .collect()
    }

    #[test]
    fn tcp_flags_belong_to_the_first_or_the_last() {
        let shape = Shape::default();
        let (mut packet, vnet) = shape.super_packet(&[7; 2500], 1000);
        let flags = shape.transport() + 13;
        packet[flags] |= TCP_FIN | TCP_PSH | TCP_CWR;
        let packets = split(&packet, &shape, &vnet);
        let flags: Vec<u8> = packets.iter().map(|packet| packet[flags]).collect();
        assert_eq!(flags, [0x90, 0x10, 0x19]);
    }

    #[test]
    fn a_smaller_limit_cuts_tcp_but_not_udp() {
        let shape = Shape::default();
        let (packet, vnet) = shape.super_packet(&[7; 2800], 1400);
        let mut whole = SuperPacket::parse(&packet, shape.link_len(), &vnet).unwrap();
        assert_eq!(whole.count(), 2);
        assert!(whole.limit(1000));
        assert!((0..whole.count()).all(|n| whole.packet_len(n) <= 1000));
        assert!(!whole.limit(whole.headers_len()));
        let shape = Shape {
            tcp: false,
            ..shape
        };
        let (packet, vnet) = shape.super_packet(&[7; 2800], 1400);
        let mut whole = SuperPacket::parse(&packet, shape.link_len(), &vnet).unwrap();
        assert!(whole.limit(1500));
        assert!(!whole.limit(1000));
    }

    #[test]
    fn behind_a_routing_header_the_last_destination_counts() {
        let shape = Shape {
            v6: true,
            vlan_tags: None,
            ..Shape::default()
        };
        let (mut packet, mut vnet) = shape.super_packet(&[7; 2500], 1000);
        // Segment routing (RFC 8754): the header names the next segment, the list the last one.
        let last = [2; 16];
        let mut routing = vec![protocol::TCP, 2, 4, 1, 0, 0, 0, 0];
        routing.extend(last);
        packet[24..40].fill(9);
        packet[6] = protocol::ROUTING;
        packet.splice(40..40, routing.iter().copied());
        let len = be16(&packet, 4) + 24;
        put16(&mut packet, 4, len);
        vnet.checksum_start += 24;
        vnet.header_len += 24;
        let packets = split(&packet, &shape, &vnet);
        assert_eq!(packets.len(), 3);
        for packet in packets {
            let segment = &packet[64..];
            let sum = checksum::pseudo_header(&[1; 16], &last, protocol::TCP, segment.len());
            assert_eq!(checksum::fold(checksum::add(sum, segment)), 0xffff);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let shape = Shape::default();
        let (packet, vnet) = shape.super_packet(&[7; 2800], 1400);
        for bad in [
            VnetHeader {
                segment_size: 0,
                ..vnet
            },
            VnetHeader {
                checksum_start: 0,
                ..vnet
            },
            VnetHeader {
                checksum_start: 5000,
                ..vnet
            },
            VnetHeader {
                kind: GsoKind::Udp,
                ..vnet
            },
            VnetHeader {
                kind: GsoKind::TcpV6,
                ..vnet
            },
            VnetHeader {
                kind: GsoKind::None,
                ..vnet
            },
        ] {
            assert_eq!(
                SuperPacket::parse(&packet, shape.link_len(), &bad),
                Err(DropReason::BadOffload)
            );
        }
    }

    proptest! {
        #[test]
        fn every_packet_is_right(
            shape in Shape::any(),
            payload in prop::collection::vec(any::<u8>(), 0..6000),
            segment in 1u16..1500,
        ) {
            let (packet, vnet) = shape.super_packet(&payload, segment);
            let packets = split(&packet, &shape, &vnet);
            let joined: Vec<u8> =
                packets.iter().flat_map(|p| p[shape.headers_len()..].to_vec()).collect();
            prop_assert_eq!(joined, payload);
            for (n, packet) in packets.iter().enumerate() {
                prop_assert!(checksum_holds(packet, shape.link_len()));
                let header = Header::parse(&packet[shape.link_len()..]).unwrap();
                prop_assert_eq!(header.total, packet.len() - shape.link_len());
                if shape.tcp {
                    let sequence = be32(packet, shape.transport() + 4);
                    prop_assert_eq!(sequence, (n * usize::from(segment)) as u32);
                }
            }
        }

        #[test]
        fn skipped_headers_change_nothing_else(
            shape in Shape::any(),
            payload in prop::collection::vec(any::<u8>(), 1..4000),
        ) {
            let (packet, vnet) = shape.super_packet(&payload, 700);
            let whole = SuperPacket::parse(&packet, shape.link_len(), &vnet).unwrap();
            for skip in [shape.link_len(), shape.transport()] {
                for (n, full) in split(&packet, &shape, &vnet).iter().enumerate() {
                    let mut out = vec![0; full.len() - skip];
                    whole.emit(&packet, n, skip, &mut out);
                    prop_assert_eq!(&out[..], &full[skip..]);
                }
            }
        }

        #[test]
        fn any_bytes(
            packet in prop::collection::vec(any::<u8>(), 0..200),
            ip in 0usize..50,
            vnet in any::<[u8; 10]>(),
        ) {
            if let Ok(vnet) = VnetHeader::parse(&vnet) {
                let _ = vnet.complete_checksum(&mut packet.clone());
                if let Ok(whole) = SuperPacket::parse(&packet, ip, &vnet) {
                    for n in 0..whole.count() {
                        let mut out = vec![0; whole.packet_len(n)];
                        whole.emit(&packet, n, 0, &mut out);
                    }
                }
            }
        }

        #[test]
        fn a_single_checksum_is_completed(
            shape in Shape::any(),
            payload in prop::collection::vec(any::<u8>(), 0..1400),
        ) {
            let (mut packet, vnet) = shape.super_packet(&payload, 1400);
            let vnet = VnetHeader { kind: GsoKind::None, segment_size: 0, ..vnet };
            vnet.complete_checksum(&mut packet).unwrap();
            prop_assert!(checksum_holds(&packet, shape.link_len()));
        }
    }
}
