//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, as far as the data plane needs them.

use super::{be16, checksum, protocol, put16};

pub const V4_HEADER_LEN: usize = 20;
pub const V6_HEADER_LEN: usize = 40;
/// Octets of an IPv6 fragment header (RFC 8200 §4.5).
pub const FRAGMENT_HEADER_LEN: usize = 8;
pub const UDP_HEADER_LEN: usize = 8;
pub const TCP_HEADER_LEN: usize = 20;

pub const TCP_CHECKSUM: usize = 16;
pub const UDP_CHECKSUM: usize = 6;

pub const TCP_FIN: u8 = 0x01;
pub const TCP_SYN: u8 = 0x02;
pub const TCP_RST: u8 = 0x04;
pub const TCP_PSH: u8 = 0x08;
pub const TCP_ACK: u8 = 0x10;
pub const TCP_CWR: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

impl Version {
    /// Octets of a header without options.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => V4_HEADER_LEN,
            Self::V6 => V6_HEADER_LEN,
        }
    }
}

/// What the IP header of a whole packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: Version,
    /// Octets of the header, IPv4 options included, IPv6 extension headers not.
    pub len: usize,
    /// Octets of the packet as the header tells; at most those that are there.
    pub total: usize,
    /// Protocol, or Next Header of the fixed header.
    pub protocol: u8,
    /// TOS or Traffic Class.
    pub traffic_class: u8,
    /// TTL or Hop Limit.
    pub hop_limit: u8,
    /// An IPv4 fragment other than a whole datagram. IPv6 tells by its fragment header.
    pub fragment: bool,
    /// IPv4's "don't fragment"; always so for IPv6.
    pub dont_fragment: bool,
}

impl Header {
    /// Read the header at the start of `packet`, which may be followed by padding.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        if packet.len() < V4_HEADER_LEN {
            return None;
        }
        let len = usize::from(packet[0] & 0x0f) * 4;
        let total = usize::from(be16(packet, 2));
        if len < V4_HEADER_LEN || total < len || packet.len() < total {
            return None;
        }
        let flags = be16(packet, 6);
        Some(Self {
            version: Version::V4,
            len,
            total,
            protocol: packet[9],
            traffic_class: packet[1],
            hop_limit: packet[8],
            fragment: flags & 0x3fff != 0,
            dont_fragment: flags & 0x4000 != 0,
        })
    }

    fn parse_v6(packet: &[u8]) -> Option<Self> {
        if packet.len() < V6_HEADER_LEN {
            return None;
        }
        let total = V6_HEADER_LEN + usize::from(be16(packet, 4));
        if packet.len() < total {
            return None;
        }
        Some(Self {
            version: Version::V6,
            len: V6_HEADER_LEN,
            total,
            protocol: packet[6],
            traffic_class: packet[0] << 4 | packet[1] >> 4,
            hop_limit: packet[7],
            fragment: false,
            dont_fragment: true,
        })
    }

    /// Source and destination address of the packet this header was read from.
    #[must_use]
    pub fn addresses<'a>(&self, packet: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        match self.version {
            Version::V4 => (&packet[12..16], &packet[16..20]),
            Version::V6 => (&packet[8..24], &packet[24..40]),
        }
    }
}

/// Where the checksum field of a transport protocol lies, if it has one over a pseudo header.
#[must_use]
pub fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(TCP_CHECKSUM),
        protocol::UDP => Some(UDP_CHECKSUM),
        protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Octets of the TCP header that `segment` begins with, options included.
#[must_use]
pub fn tcp_header_len(segment: &[u8]) -> Option<usize> {
    if segment.len() < TCP_HEADER_LEN {
        return None;
    }
    let len = usize::from(segment[12] >> 4) * 4;
    (len >= TCP_HEADER_LEN && len <= segment.len()).then_some(len)
}

/// Compute the header checksum of an IPv4 header anew.
pub fn store_v4_checksum(header: &mut [u8]) {
    put16(header, 10, 0);
    let sum = checksum::add(0, header);
    checksum::store(header, 10, sum);
}

/// The fields of an IPv4 header without options that hipgw builds.
#[derive(Clone, Copy, Debug)]
pub struct V4 {
    pub traffic_class: u8,
    pub identification: u16,
    /// The whole field: flags and offset.
    pub fragment: u16,
    pub hop_limit: u8,
    pub protocol: u8,
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub payload_len: usize,
}

impl V4 {
    pub const DONT_FRAGMENT: u16 = 0x4000;

    /// Write the header; `options` have a length that is a multiple of 4, at most 40.
    pub fn emit(&self, out: &mut [u8], options: &[u8]) -> usize {
        let len = V4_HEADER_LEN + options.len();
        let header = &mut out[..len];
        header[0] = 0x40 | (len / 4) as u8;
        header[1] = self.traffic_class;
        put16(header, 2, (len + self.payload_len) as u16);
        put16(header, 4, self.identification);
        put16(header, 6, self.fragment);
        header[8] = self.hop_limit;
        header[9] = self.protocol;
        header[12..16].copy_from_slice(&self.source);
        header[16..20].copy_from_slice(&self.destination);
        header[V4_HEADER_LEN..].copy_from_slice(options);
        store_v4_checksum(header);
        len
    }
}

/// The fields of an IPv6 header that hipgw builds.
#[derive(Clone, Copy, Debug)]
pub struct V6 {
    pub traffic_class: u8,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub payload_len: usize,
}

impl V6 {
    /// Write the header, with flow label 0.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        out[0] = 0x60 | self.traffic_class >> 4;
        out[1] = self.traffic_class << 4;
        put16(out, 2, 0);
        put16(out, 4, self.payload_len as u16);
        out[6] = self.next_header;
        out[7] = self.hop_limit;
        out[8..24].copy_from_slice(&self.source);
        out[24..40].copy_from_slice(&self.destination);
        V6_HEADER_LEN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn v4_round_trip() {
        let mut bytes = [0u8; 64];
        let header = V4 {
            traffic_class: 0xb9,
            identification: 7,
            fragment: V4::DONT_FRAGMENT,
            hop_limit: 61,
            protocol: protocol::UDP,
            source: [1, 2, 3, 4],
            destination: [5, 6, 7, 8],
            payload_len: 30,
        };
        assert_eq!(header.emit(&mut bytes, &[1; 8]), 28);
        let read = Header::parse(&bytes).unwrap();
        assert_eq!((read.len, read.total, read.protocol), (28, 58, 17));
        assert_eq!((read.traffic_class, read.hop_limit), (0xb9, 61));
        assert!(read.dont_fragment && !read.fragment);
        assert_eq!(
            read.addresses(&bytes),
            (&[1, 2, 3, 4][..], &[5, 6, 7, 8][..])
        );
        assert_eq!(checksum::fold(checksum::add(0, &bytes[..28])), 0xffff);
    }

    #[test]
    fn v6_round_trip() {
        let mut bytes = [0u8; 64];
        let header = V6 {
            traffic_class: 0xb9,
            next_header: protocol::TCP,
            hop_limit: 61,
            source: [1; 16],
            destination: [2; 16],
            payload_len: 24,
        };
        assert_eq!(header.emit(&mut bytes), 40);
        let read = Header::parse(&bytes).unwrap();
        assert_eq!((read.len, read.total, read.protocol), (40, 64, 6));
        assert_eq!((read.traffic_class, read.hop_limit), (0xb9, 61));
    }

    #[test]
    fn lengths_beyond_the_packet_are_refused() {
        let mut bytes = [0u8; 64];
        bytes[0] = 0x45;
        put16(&mut bytes, 2, 65);
        assert_eq!(Header::parse(&bytes), None);
        put16(&mut bytes, 2, 19);
        assert_eq!(Header::parse(&bytes), None);
        bytes[0] = 0x60;
        put16(&mut bytes, 4, 25);
        assert_eq!(Header::parse(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(header) = Header::parse(&bytes) {
                prop_assert!(header.len <= header.total && header.total <= bytes.len());
                let (source, destination) = header.addresses(&bytes);
                prop_assert_eq!(source.len(), destination.len());
            }
            if let Some(len) = tcp_header_len(&bytes) {
                prop_assert!((20..=60).contains(&len) && len <= bytes.len());
            }
        }
    }
}
