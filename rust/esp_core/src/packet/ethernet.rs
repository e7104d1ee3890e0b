//! Ethernet headers with their VLAN tags (IEEE 802.3, 802.1Q, 802.1ad).

use super::be16;

/// Octets of a header without tags.
pub const HEADER_LEN: usize = 14;
/// Octets of one VLAN tag.
pub const TAG_LEN: usize = 4;

pub const TYPE_IPV4: u16 = 0x0800;
pub const TYPE_ARP: u16 = 0x0806;
pub const TYPE_IPV6: u16 = 0x86dd;
/// For local experiments (IEEE 802): OpenHIP's endboxes say hello by it.
pub const TYPE_EXPERIMENTAL: u16 = 0x88b5;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_PROVIDER_VLAN: u16 = 0x88a8;

/// More tags than a provider's and a customer's are not looked behind.
const MAX_TAGS: usize = 2;

pub type Mac = [u8; 6];

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub destination: Mac,
    pub source: Mac,
    /// VLAN id of the outer tag; 0 for untagged and priority-tagged frames.
    pub vlan: u16,
    /// Type (or length) behind the tags.
    pub ethertype: u16,
    /// Octets of the header with its tags.
    pub len: usize,
}

impl Header {
    /// Read the header; `None` if the frame ends within it.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        if frame.len() < HEADER_LEN {
            return None;
        }
        let mut destination = [0; 6];
        destination.copy_from_slice(&frame[..6]);
        let mut source = [0; 6];
        source.copy_from_slice(&frame[6..12]);
        let mut header = Self {
            destination,
            source,
            vlan: 0,
            ethertype: be16(frame, 12),
            len: HEADER_LEN,
        };
        for tag in 0..MAX_TAGS {
            if header.ethertype != TYPE_VLAN && header.ethertype != TYPE_PROVIDER_VLAN {
                break;
            }
            if frame.len() < header.len + TAG_LEN {
                return None;
            }
            if tag == 0 {
                header.vlan = be16(frame, header.len) & 0x0fff;
            }
            header.ethertype = be16(frame, header.len + 2);
            header.len += TAG_LEN;
        }
        Some(header)
    }
}

/// Broadcast and multicast addresses have the group bit set.
#[must_use]
pub fn is_group(mac: &Mac) -> bool {
    mac[0] & 1 == 1
}

/// The addresses that no bridge forwards: 01-80-C2-00-00-00 to -0F (IEEE 802.1Q table 8-1), used
/// by spanning tree, PAUSE, LACP, 802.1X and LLDP.
#[must_use]
pub fn is_link_local(mac: &Mac) -> bool {
    mac[..5] == [0x01, 0x80, 0xc2, 0x00, 0x00] && mac[5] & 0xf0 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn frame(rest: &[u8]) -> Vec<u8> {
        [&ADDRESSES[..], rest].concat()
    }

    #[test]
    fn untagged() {
        let header = Header::parse(&frame(&[0x08, 0x00])).unwrap();
        assert_eq!((header.vlan, header.ethertype, header.len), (0, 0x0800, 14));
        assert_eq!(header.destination, [2, 0, 0, 0, 0, 1]);
        assert_eq!(header.source, [2, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn one_tag_and_two() {
        let one = Header::parse(&frame(&[0x81, 0x00, 0xe0, 0x64, 0x86, 0xdd])).unwrap();
        assert_eq!((one.vlan, one.ethertype, one.len), (100, 0x86dd, 18));
        let two = [0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x64, 0x08, 0x00];
        let two = Header::parse(&frame(&two)).unwrap();
        assert_eq!((two.vlan, two.ethertype, two.len), (7, 0x0800, 22));
    }

    #[test]
    fn cut_short() {
        assert_eq!(Header::parse(&ADDRESSES), None);
        assert_eq!(Header::parse(&frame(&[0x81, 0x00, 0x00])), None);
    }

    #[test]
    fn link_local_addresses() {
        for last in 0..=0x0f {
            assert!(is_link_local(&[0x01, 0x80, 0xc2, 0, 0, last]));
        }
        assert!(!is_link_local(&[0x01, 0x80, 0xc2, 0, 0, 0x10]));
        assert!(!is_link_local(&[0x01, 0x00, 0x5e, 0, 0, 1]));
    }
}
