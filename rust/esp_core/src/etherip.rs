//! EtherIP (RFC 3378): two octets in front of an Ethernet frame, next header 97.

use crate::drops::DropReason;

pub const HEADER_LEN: usize = 2;
/// Version 3, reserved bits zero.
pub const HEADER: [u8; HEADER_LEN] = [0x30, 0x00];

/// The frame behind the header; other versions and set reserved bits MUST be discarded (§3).
pub fn decapsulate(payload: &[u8]) -> Result<&[u8], DropReason> {
    payload.strip_prefix(&HEADER).ok_or(DropReason::BadEtherIp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_3_without_reserved_bits() {
        assert_eq!(decapsulate(&[0x30, 0, 1, 2]), Ok(&[1, 2][..]));
        for bad in [
            &[0x30][..],
            &[0x03, 0, 1],
            &[0x31, 0, 1],
            &[0x30, 1, 1],
            &[],
        ] {
            assert_eq!(decapsulate(bad), Err(DropReason::BadEtherIp));
        }
    }
}
