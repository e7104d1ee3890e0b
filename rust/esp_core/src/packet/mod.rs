//! Headers of Ethernet, IPv4, IPv6, TCP and UDP, read from and written to bytes.
//!
//! Nothing here allocates or panics on any bytes; what cannot be read is `None`.

pub mod checksum;
pub mod ethernet;
pub mod ip;

/// IP protocol numbers (IANA) that the data plane tells apart.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
    /// Also the Next Header of an ESP dummy packet (RFC 4303 §2.6).
    pub const NONE: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// The pseudo header that carries IPv4 options in BEET mode (RFC 7402 appendix B.1.7).
    pub const BEET_PSEUDO_HEADER: u8 = 94;
    /// RFC 3378.
    pub const ETHERIP: u8 = 97;

    /// Whether more headers may follow before the transport's (RFC 8200 §4, IANA's registry).
    #[must_use]
    pub(crate) fn is_v6_extension(number: u8) -> bool {
        const AUTHENTICATION: u8 = 51;
        const MOBILITY: u8 = 135;
        const HIP: u8 = 139;
        const SHIM6: u8 = 140;
        matches!(
            number,
            HOP_BY_HOP
                | ROUTING
                | FRAGMENT
                | AUTHENTICATION
                | DESTINATION_OPTIONS
                | MOBILITY
                | HIP
                | SHIM6
        )
    }
}

/// The big-endian 16-bit number at an offset. The caller has checked the length.
#[must_use]
pub(crate) fn be16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([bytes[offset], bytes[offset + 1]])
}

/// The big-endian 32-bit number at an offset. The caller has checked the length.
#[must_use]
pub(crate) fn be32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes([
        bytes[offset],
        bytes[offset + 1],
        bytes[offset + 2],
        bytes[offset + 3],
    ])
}

/// Write a big-endian 16-bit number at an offset. The caller has checked the length.
pub(crate) fn put16(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}

/// Write a big-endian 32-bit number at an offset. The caller has checked the length.
pub(crate) fn put32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
}
