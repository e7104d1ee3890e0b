//! ECN and DSCP across the tunnel (RFC 6040, RFC 2983): what the outer header gets of the inner one,
//! and what the inner one gets of a mark that a router has made on the way.

use crate::{
    drops::DropReason,
    packet::{
        be16, checksum,
        ethernet::{self, Header},
        ip::Version,
        put16,
    },
    stats::{Counter, Counters},
};

const MASK: u8 = 0x03;
/// Congestion experienced: a router would rather have dropped the packet.
const CE: u8 = 3;
const ECT_1: u8 = 1;
const NOT_ECT: u8 = 0;

/// What the outer header takes over from the inner one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkPolicy {
    /// The six bits of DSCP.
    pub dscp: bool,
    /// The two bits of ECN: normal mode; without, compatibility mode (RFC 6040 §4.1).
    pub ecn: bool,
}

impl Default for MarkPolicy {
    fn default() -> Self {
        Self {
            dscp: true,
            ecn: true,
        }
    }
}

impl MarkPolicy {
    /// TOS or Traffic Class of the outer header around a packet that has this one.
    #[must_use]
    pub fn outer(self, inner: u8) -> u8 {
        let dscp = if self.dscp { !MASK } else { 0 };
        let ecn = if self.ecn { MASK } else { 0 };
        inner & (dscp | ecn)
    }

    /// TOS or Traffic Class of a packet whose header did not travel (BEET): that of the outer one.
    /// Its ECN is taken in any case, as the sender has put it there, or a router.
    #[must_use]
    pub fn inner(self, outer: u8) -> u8 {
        if self.dscp {
            outer
        } else {
            outer & MASK
        }
    }

    /// TOS or Traffic Class of the outer header around a frame; None for one without any marks, so
    /// that the socket's own value is used.
    #[must_use]
    pub fn around_frame(self, frame: &[u8], header: &Header) -> Option<u8> {
        let packet = frame.get(header.len..)?;
        let inner = traffic_class(version(header, packet)?, packet);
        Some(self.outer(inner)).filter(|outer| *outer != 0)
    }
}

/// The ECN field of a packet that leaves the tunnel: RFC 6040 §4.2, figure 4. None means that it has
/// to be dropped.
#[must_use]
pub fn combine(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        // Its sender understands loss only.
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (CE, _) | (_, CE) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// Whether the outer ECN field can change or drop what is inside; most cannot.
#[must_use]
pub fn matters(outer: u8) -> bool {
    // ECT(1) or CE.
    outer & 1 != 0
}

/// The ECN field for a payload that came in two pieces: a mark on either counts (RFC 3168 §5.3).
/// The rest is that of the later one.
#[must_use]
pub fn join_pieces(earlier: u8, later: u8) -> u8 {
    if earlier & MASK == CE {
        later | CE
    } else {
        later
    }
}

/// Give the IP packet in a frame the mark of the outer header that it came in.
pub fn into_frame(
    frame: &mut [u8],
    header: &Header,
    outer: u8,
    counters: &Counters,
) -> Result<(), DropReason> {
    let Some(packet) = frame.get_mut(header.len..) else {
        return Ok(());
    };
    let Some(version) = version(header, packet) else {
        // Not IP: there is no field for it, and nobody who would look at it.
        return Ok(());
    };
    let inner = traffic_class(version, packet);
    let ecn = combine(inner, outer).ok_or(DropReason::EcnNotCapable)?;
    if ecn != inner & MASK {
        set_ecn(version, packet, ecn);
        if ecn == CE {
            counters.add(Counter::EcnMarked, 1);
        }
    }
    Ok(())
}

/// The kind of IP packet in a frame, if its fixed header is whole.
fn version(header: &Header, packet: &[u8]) -> Option<Version> {
    let (version, number) = match header.ethertype {
        ethernet::TYPE_IPV4 => (Version::V4, 4),
        ethernet::TYPE_IPV6 => (Version::V6, 6),
        _ => return None,
    };
    (packet.len() >= version.header_len() && packet[0] >> 4 == number).then_some(version)
}

fn traffic_class(version: Version, packet: &[u8]) -> u8 {
    match version {
        Version::V4 => packet[1],
        Version::V6 => packet[0] << 4 | packet[1] >> 4,
    }
}

fn set_ecn(version: Version, packet: &mut [u8], ecn: u8) {
    match version {
        Version::V4 => {
            let old = be16(packet, 0);
            let new = old & !u16::from(MASK) | u16::from(ecn);
            put16(packet, 0, new);
            let (old, new) = (checksum::add_number(0, old), checksum::add_number(0, new));
            checksum::exchange(packet, 10, old, new);
        }
        Version::V6 => packet[1] = packet[1] & !(MASK << 4) | ecn << 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::ip::{self, V4, V6};

    const ECT_0: u8 = 2;

    #[test]
    fn figure_4_of_rfc_6040() {
        let outers = [NOT_ECT, ECT_0, ECT_1, CE];
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ];
        for (inner, row) in rows {
            for (outer, expected) in outers.into_iter().zip(row) {
                // DSCP is nothing to it.
                for dscp in [0, 0xb8] {
                    assert_eq!(combine(dscp | inner, outer | dscp), expected);
                }
                let changes = expected != Some(inner);
                assert!(matters(outer) || !changes, "{inner} {outer}");
            }
        }
    }

    #[test]
    fn what_the_outer_header_gets() {
        let policy = |dscp, ecn| MarkPolicy { dscp, ecn };
        for inner in 0..=255 {
            assert_eq!(policy(true, true).outer(inner), inner);
            assert_eq!(policy(true, false).outer(inner), inner & 0xfc);
            assert_eq!(policy(false, true).outer(inner), inner & 0x03);
            assert_eq!(policy(false, false).outer(inner), 0);
            assert_eq!(policy(true, false).inner(inner), inner);
            assert_eq!(policy(false, true).inner(inner), inner & 0x03);
        }
    }

    #[test]
    fn one_marked_piece_marks_the_whole() {
        assert_eq!(join_pieces(CE, 0xb8 | ECT_0), 0xb8 | CE);
        assert_eq!(join_pieces(ECT_1, ECT_0), ECT_0);
        assert_eq!(join_pieces(0, CE), CE);
    }

    fn frame(v6: bool, tag: bool, traffic_class: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        if tag {
            frame.extend([0x81, 0, 0, 7]);
        }
        frame.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0] });
        let mut packet = [0; 60];
        let len = if v6 {
            V6 {
                traffic_class,
                next_header: 17,
                hop_limit: 64,
                source: [1; 16],
                destination: [2; 16],
                payload_len: 8,
            }
            .emit(&mut packet)
        } else {
            V4 {
                traffic_class,
                identification: 9,
                fragment: 0,
                hop_limit: 64,
                protocol: 17,
                source: [1; 4],
                destination: [2; 4],
                payload_len: 8,
            }
            .emit(&mut packet, &[])
        };
        frame.extend(&packet[..len + 8]);
        frame
    }

    #[test]
    fn frames_take_and_give() {
        let counters = Counters::default();
        for (v6, tag) in [(false, false), (false, true), (true, false), (true, true)] {
            for inner in 0..=255 {
                let policy = MarkPolicy::default();
                for outer in 0..4 {
                    let mut bytes = frame(v6, tag, inner);
                    let header = Header::parse(&bytes).unwrap();
                    assert_eq!(
                        policy.around_frame(&bytes, &header),
                        (inner != 0).then_some(inner)
                    );
                    let result = into_frame(&mut bytes, &header, outer, &counters);
                    let Some(ecn) = combine(inner, outer) else {
                        assert_eq!(result, Err(DropReason::EcnNotCapable));
                        continue;
                    };
                    // As if it had been made with that field: the checksum is right as well.
                    assert_eq!(bytes, frame(v6, tag, inner & 0xfc | ecn));
                    let read = ip::Header::parse(&bytes[header.len..]).unwrap();
                    assert_eq!(read.traffic_class, inner & 0xfc | ecn);
                }
            }
        }
    }

    #[test]
    fn other_frames_are_left_alone() {
        let counters = Counters::default();
        let mut arp = vec![2; 60];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let header = Header::parse(&arp).unwrap();
        let before = arp.clone();
        assert_eq!(MarkPolicy::default().around_frame(&arp, &header), None);
        assert_eq!(into_frame(&mut arp, &header, CE, &counters), Ok(()));
        assert_eq!(arp, before);
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 14..80), outer in any::<u8>()) {
            for ethertype in [ethernet::TYPE_IPV4, ethernet::TYPE_IPV6] {
                put16(&mut bytes, 12, ethertype);
                let header = Header::parse(&bytes).unwrap();
                let _ = MarkPolicy::default().around_frame(&bytes, &header);
                let _ = into_frame(&mut bytes, &header, outer, &Counters::default());
            }
        }
    }
}
