//! Ancillary data of `sendmsg` and `recvmsg` (cmsg(3)), written and read as plain bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for every message that is sent or asked for, with their headers and padding.
pub const CAPACITY: usize = 256;

/// `struct cmsghdr`: a length of the machine's word, level and type.
const HEADER_LEN: usize = size_of::<usize>() + 8;
const ALIGN: usize = size_of::<usize>();

/// A buffer of control messages, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct ControlBuffer {
    pub(super) bytes: [u8; CAPACITY],
    pub(super) len: usize,
}

impl Default for ControlBuffer {
    fn default() -> Self {
        Self {
            bytes: [0; CAPACITY],
            len: 0,
        }
    }
}

impl ControlBuffer {
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Send from this address and by this interface (IP_PKTINFO, IPV6_PKTINFO). The system chooses
    /// what is none or 0.
    pub fn push_source(&mut self, v6: bool, source: Option<IpAddr>, interface: u32) {
        if v6 {
            // struct in6_pktinfo: address, interface index.
            let mut info = [0; 20];
            if let Some(IpAddr::V6(ip)) = source {
                info[..16].copy_from_slice(&ip.octets());
            }
            info[16..].copy_from_slice(&interface.to_ne_bytes());
            self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        } else {
            // struct in_pktinfo: interface index, address to send from, header destination.
            let mut info = [0; 12];
            info[..4].copy_from_slice(&interface.to_ne_bytes());
            if let Some(IpAddr::V4(ip)) = source {
                info[4..8].copy_from_slice(&ip.octets());
            }
            self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
    }

    /// Set TOS or Traffic Class of the outer header.
    pub fn push_traffic_class(&mut self, v6: bool, value: u8) {
        let (level, kind) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        self.push(level, kind, &i32::from(value).to_ne_bytes());
    }

    /// Set TTL or Hop Limit of the outer header, 1 at least.
    pub fn push_hop_limit(&mut self, v6: bool, value: u8) {
        let (level, kind) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
        } else {
            (libc::IPPROTO_IP, libc::IP_TTL)
        };
        self.push(level, kind, &i32::from(value.max(1)).to_ne_bytes());
    }

    /// Cut the data into datagrams of this size (UDP_SEGMENT, Linux 4.18).
    pub fn push_segment_size(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let len = HEADER_LEN + data.len();
        let out = &mut self.bytes[self.len..][..len.next_multiple_of(ALIGN)];
        out[..ALIGN].copy_from_slice(&len.to_ne_bytes());
        out[ALIGN..ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
        out[ALIGN + 4..HEADER_LEN].copy_from_slice(&kind.to_ne_bytes());
        out[HEADER_LEN..len].copy_from_slice(data);
        self.len += len.next_multiple_of(ALIGN);
    }
}

/// What the kernel told about a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The address it was sent to.
    pub local: Option<IpAddr>,
    /// TOS or Traffic Class, 0 unless asked for.
    pub traffic_class: u8,
    /// TTL or Hop Limit, 0 unless asked for.
    pub hop_limit: u8,
    /// Size of the datagrams that were joined (UDP_GRO); 0 for a single one.
    pub segment_size: usize,
}

impl Received {
    /// Read control messages; what is not known or cut short is passed over.
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut received = Self::default();
        while bytes.len() >= HEADER_LEN {
            let mut word = [0; ALIGN];
            word.copy_from_slice(&bytes[..ALIGN]);
            let len = usize::from_ne_bytes(word);
            if len < HEADER_LEN || len > bytes.len() {
                break;
            }
            let level = int(&bytes[ALIGN..]);
            let kind = int(&bytes[ALIGN + 4..]);
            received.read(level, kind, &bytes[HEADER_LEN..len]);
            bytes = &bytes[len.next_multiple_of(ALIGN).min(bytes.len())..];
        }
        received
    }

    fn read(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            // The header's destination, not the address that answers would be sent from.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if data.len() >= 12 => {
                self.local = Some(Ipv4Addr::new(data[8], data[9], data[10], data[11]).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data.len() >= 20 => {
                let mut octets = [0; 16];
                octets.copy_from_slice(&data[..16]);
                self.local = Some(Ipv6Addr::from(octets).into());
            }
            // One octet, unlike every other of its kind.
            (libc::IPPROTO_IP, libc::IP_TOS) if !data.is_empty() => self.traffic_class = data[0],
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) if data.len() >= 4 => {
                self.traffic_class = int(data) as u8;
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
                if data.len() >= 4 =>
            {
                self.hop_limit = int(data) as u8;
            }
            (libc::SOL_UDP, libc::UDP_GRO) if data.len() >= 4 => {
                self.segment_size = usize::try_from(int(data)).unwrap_or(0);
            }
            _ => {}
        }
    }
}

fn int(bytes: &[u8]) -> i32 {
    i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<libc::cmsghdr>(), HEADER_LEN);
        assert_eq!(size_of::<libc::in_pktinfo>(), 12);
        assert_eq!(size_of::<libc::in6_pktinfo>(), 20);
    }

    #[test]
    fn what_is_pushed_can_be_read() {
        let mut buffer = ControlBuffer::default();
        let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
        buffer.push_source(true, Some(address.into()), 0);
        buffer.push_traffic_class(true, 0xb9);
        buffer.push_hop_limit(true, 17);
        buffer.push_segment_size(1400);
        let received = Received::parse(&buffer.bytes[..buffer.len]);
        assert_eq!(received.local, Some(address.into()));
        assert_eq!((received.traffic_class, received.hop_limit), (0xb9, 17));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Received::parse(&bytes);
        }
    }
}
