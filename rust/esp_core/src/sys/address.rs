//! Socket addresses in the kernel's layout (`sockaddr_in`, `sockaddr_in6`), as plain bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of the larger layout.
pub const MAX_LEN: usize = 28;
const V4_LEN: usize = 16;

/// An address as the kernel reads and writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct RawAddress {
    pub(super) bytes: [u8; MAX_LEN],
    pub(super) len: u32,
}

impl RawAddress {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; MAX_LEN],
        len: 0,
    };

    /// `None` if the kernel wrote no address of a family that hipgw uses.
    #[must_use]
    pub fn parse(&self) -> Option<SocketAddr> {
        let bytes = &self.bytes;
        let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match family {
            libc::AF_INET if self.len as usize >= V4_LEN => {
                let octets: [u8; 4] = bytes[4..8].try_into().ok()?;
                Some((Ipv4Addr::from(octets), port).into())
            }
            libc::AF_INET6 if self.len as usize >= MAX_LEN => {
                let octets: [u8; 16] = bytes[8..24].try_into().ok()?;
                Some((Ipv6Addr::from(octets), port).into())
            }
            _ => None,
        }
    }
}

impl From<(IpAddr, u16)> for RawAddress {
    fn from(address: (IpAddr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<SocketAddr> for RawAddress {
    fn from(address: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let family = match address.ip() {
            IpAddr::V4(ip) => {
                raw.bytes[4..8].copy_from_slice(&ip.octets());
                raw.len = V4_LEN as u32;
                libc::AF_INET
            }
            IpAddr::V6(ip) => {
                raw.bytes[8..24].copy_from_slice(&ip.octets());
                raw.len = MAX_LEN as u32;
                libc::AF_INET6
            }
        };
        raw.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for text in ["192.0.2.1:10500", "[2001:db8::1]:10500", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::from(address).parse(), Some(address));
        }
        assert_eq!(RawAddress::EMPTY.parse(), None);
    }

    #[test]
    fn layouts_have_the_kernels_size() {
        assert_eq!(size_of::<libc::sockaddr_in>(), V4_LEN);
        assert_eq!(size_of::<libc::sockaddr_in6>(), MAX_LEN);
    }
}
