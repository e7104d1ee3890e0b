//! TCP MSS clamping: connections are kept from making packets that have to be fragmented.

use crate::packet::{
    be16, checksum,
    ip::{self, Header, TCP_CHECKSUM, TCP_HEADER_LEN, TCP_SYN},
    protocol, put16,
};

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lower the MSS option of a SYN so that segments of the other side fit into IP packets of `mtu`
/// octets; true if it was changed. `packet` begins with the IP header and has a finished checksum.
pub fn clamp(packet: &mut [u8], mtu: usize) -> bool {
    let Some(header) = Header::parse(packet) else {
        return false;
    };
    if header.protocol != protocol::TCP || header.fragment {
        return false;
    }
    let Some(limit) = mtu.checked_sub(header.version.header_len() + TCP_HEADER_LEN) else {
        return false;
    };
    let segment = &mut packet[header.len..header.total];
    if segment.len() < TCP_HEADER_LEN || segment[13] & TCP_SYN == 0 {
        return false;
    }
    let Some(offset) = find_mss(segment) else {
        return false;
    };
    let limit = limit.min(usize::from(u16::MAX)) as u16;
    let old = be16(segment, offset);
    if old <= limit {
        return false;
    }
    put16(segment, offset, limit);
    // An option may begin at an odd offset; the checksum sees its octets exchanged then.
    let (old, new) = if offset % 2 == 0 {
        (old, limit)
    } else {
        (old.swap_bytes(), limit.swap_bytes())
    };
    let old = checksum::add_number(0, old);
    let new = checksum::add_number(0, new);
    checksum::exchange(segment, TCP_CHECKSUM, old, new);
    true
}

/// Where the value of the MSS option lies (RFC 9293 §3.1, §3.7.1).
fn find_mss(segment: &[u8]) -> Option<usize> {
    let end = ip::tcp_header_len(segment)?;
    let mut at = TCP_HEADER_LEN;
    while at < end {
        match segment[at] {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(*segment.get(at + 1)?);
                if len < 2 || at + len > end {
                    return None;
                }
                if kind == OPTION_MSS {
                    return (len == 4).then_some(at + 2);
                }
                at += len;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::ip::{V4, V6};

    /// A SYN with these options and a right checksum.
    fn syn(v6: bool, options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 120];
        let payload_len = TCP_HEADER_LEN + options.len();
        let len = if v6 {
            V6 {
                traffic_class: 0,
                next_header: protocol::TCP,
                hop_limit: 64,
                source: [1; 16],
                destination: [2; 16],
                payload_len,
            }
            .emit(&mut packet)
        } else {
            V4 {
                traffic_class: 0,
                identification: 0,
                fragment: V4::DONT_FRAGMENT,
                hop_limit: 64,
                protocol: protocol::TCP,
                source: [1; 4],
                destination: [2; 4],
                payload_len,
            }
            .emit(&mut packet, &[])
        };
        packet.truncate(len + payload_len);
        packet[len + 12] = ((payload_len / 4) << 4) as u8;
        packet[len + 13] = TCP_SYN;
        packet[len + TCP_HEADER_LEN..].copy_from_slice(options);
        let sum = transport_sum(&packet);
        checksum::store(&mut packet[len..], TCP_CHECKSUM, sum);
        packet
    }

    fn transport_sum(packet: &[u8]) -> u64 {
        let header = Header::parse(packet).unwrap();
        let (source, destination) = header.addresses(packet);
        let len = header.total - header.len;
        let sum = checksum::pseudo_header(source, destination, protocol::TCP, len);
        checksum::add(sum, &packet[header.len..header.total])
    }

    #[test]
    fn both_families_are_clamped() {
        for (v6, expected) in [(false, 1380), (true, 1360)] {
            let mut packet = syn(v6, &[2, 4, 0x05, 0xb4, 1, 1, 4, 2]);
            let header = Header::parse(&packet).unwrap();
            assert!(clamp(&mut packet, 1420));
            assert_eq!(be16(&packet, header.len + 22), expected);
            assert_eq!(checksum::fold(transport_sum(&packet)), 0xffff);
            assert!(!clamp(&mut packet, 1420), "it fits now");
        }
    }

    #[test]
    fn an_option_at_an_odd_offset() {
        let mut packet = syn(false, &[1, 2, 4, 0x05, 0xb4, 1, 1, 1]);
        assert!(clamp(&mut packet, 1421));
        assert_eq!(be16(&packet, 43), 1381);
        assert_eq!(checksum::fold(transport_sum(&packet)), 0xffff);
    }

    #[test]
    fn what_is_left_alone() {
        let mss = [2, 4, 0x05, 0xb4];
        let mut small = syn(false, &[2, 4, 0x02, 0x18]);
        assert!(!clamp(&mut small, 1420));
        let mut data = syn(false, &mss);
        data[33] = ip::TCP_ACK;
        assert!(!clamp(&mut data, 1420));
        let mut fragment = syn(false, &mss);
        fragment[7] = 1;
        assert!(!clamp(&mut fragment, 1420));
        let mut udp = syn(false, &mss);
        udp[9] = protocol::UDP;
        assert!(!clamp(&mut udp, 1420));
        let mut broken = syn(false, &[2, 0, 0x05, 0xb4]);
        assert!(!clamp(&mut broken, 1420));
        let mut ended = syn(false, &[0, 0, 0, 0, 2, 4, 0x05, 0xb4]);
        assert!(!clamp(&mut ended, 1420));
    }

    proptest! {
        #[test]
        fn any_options(options in prop::collection::vec(0u8..6, 0..10), v6 in any::<bool>()) {
            let options: Vec<u8> = options.iter().flat_map(|n| [*n, 4, 0x7f, *n]).collect();
            let mut packet = syn(v6, &options);
            clamp(&mut packet, 1420);
            prop_assert_eq!(checksum::fold(transport_sum(&packet)), 0xffff);
        }

        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            clamp(&mut bytes, 1420);
        }
    }
}
