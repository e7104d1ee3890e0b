//! HIP packets that come by, and those that are sent in others' names.

use std::net::{IpAddr, SocketAddr};

use crate::{
    beet::Hit,
    packet::{
        be16, be32, checksum,
        ip::{Header, Version, UDP_CHECKSUM, UDP_HEADER_LEN, V4, V4_HEADER_LEN, V6, V6_HEADER_LEN},
        protocol, put16,
    },
};

pub const HIP: u8 = 139;
/// Octets of zero in front of HIP in UDP (RFC 9028 §5.1).
const MARKER_LEN: usize = 4;
/// Octets of the fixed header, and of the longest packet (RFC 7401 §5.1).
const MIN_LEN: usize = 40;
const MAX_LEN: usize = 256 * 8;
/// Octets that the length field does not count.
const UNCOUNTED: usize = 8;
/// Octets that may follow a packet. A search for the path MTU has some, as lengths of HIP packets
/// are multiples of 8; they are to be ignored (RFC 8200 §4.7) and go along.
const MOST_BEHIND: usize = 16;
const RECEIVER_HIT: usize = 24;
/// Type and length of a parameter.
const TLV_HEADER_LEN: usize = 4;
const HOP_LIMIT: u8 = 64;

/// A HIP packet within an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hip<'a> {
    /// With what follows it.
    pub data: &'a [u8],
    /// Ports are 0 without UDP.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub receiver: Hit,
}

impl<'a> Hip<'a> {
    /// Read a whole IP packet that holds HIP, plain or behind UDP and marker; `None` if a length or
    /// checksum is wrong.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = Header::parse(packet)?;
        let payload = &packet[header.len..header.total];
        let (source, destination) = header.addresses(packet);
        let checked = |protocol, bytes: &[u8]| {
            let sum = checksum::pseudo_header(source, destination, protocol, bytes.len());
            checksum::fold(checksum::add(sum, bytes)) == 0xffff
        };
        let (data, ports) = if header.protocol == protocol::UDP {
            if payload.len() < UDP_HEADER_LEN + MARKER_LEN
                || usize::from(be16(payload, 4)) != payload.len()
                || be32(payload, UDP_HEADER_LEN) != 0
            {
                return None;
            }
            // IPv6 must have one (RFC 8200 §8.1).
            let none = header.version == Version::V4 && be16(payload, UDP_CHECKSUM) == 0;
            if !none && !checked(protocol::UDP, payload) {
                return None;
            }
            let ports = (be16(payload, 0), be16(payload, 2));
            (&payload[UDP_HEADER_LEN + MARKER_LEN..], ports)
        } else {
            (payload, (0, 0))
        };
        if data.len() < MIN_LEN {
            return None;
        }
        let len = usize::from(data[1]) * 8 + UNCOUNTED;
        if data.len() < len || data.len() > len + MOST_BEHIND {
            return None;
        }
        if header.protocol == HIP && !checked(HIP, &data[..len]) {
            return None;
        }
        let mut receiver = Hit::default();
        receiver.copy_from_slice(&data[RECEIVER_HIT..RECEIVER_HIT + 16]);
        Some(Self {
            data,
            source: (address(source)?, ports.0).into(),
            destination: (address(destination)?, ports.1).into(),
            receiver,
        })
    }
}

/// The address of 4 or 16 octets.
#[must_use]
pub fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}

/// Whether a HIP packet tries out the length that it has: hipgw's search for the path MTU pads it
/// with a parameter of this type (docs/protocol-support.md). It goes out whole or not at all.
#[must_use]
pub fn is_probe(data: &[u8]) -> bool {
    const PADDING: u16 = 33100;
    let Some(field) = data.get(1) else {
        return false;
    };
    let end = data.len().min(usize::from(*field) * 8 + UNCOUNTED);
    let mut at = MIN_LEN;
    while at + TLV_HEADER_LEN <= end {
        if be16(data, at) == PADDING {
            return true;
        }
        let len = TLV_HEADER_LEN + usize::from(be16(data, at + 2));
        at += len.next_multiple_of(8);
    }
    false
}

/// An IP packet around a HIP packet, in UDP behind a marker if there are ports; `None` if the ends
/// are not of one family, or one has a port alone, or there is no end to it.
#[must_use]
pub fn wrap(data: &[u8], source: SocketAddr, destination: SocketAddr) -> Option<Vec<u8>> {
    let udp = source.port() != 0;
    if udp != (destination.port() != 0) || data.len() > MAX_LEN + MOST_BEHIND {
        return None;
    }
    let front = if udp { UDP_HEADER_LEN + MARKER_LEN } else { 0 };
    let payload_len = front + data.len();
    let next = if udp { protocol::UDP } else { HIP };
    let (mut packet, ip_len) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0; V4_HEADER_LEN + payload_len];
            let header = V4 {
                traffic_class: 0,
                // The kernel chooses it, as it does for its own.
                identification: 0,
                fragment: if is_probe(data) { V4::DONT_FRAGMENT } else { 0 },
                hop_limit: HOP_LIMIT,
                protocol: next,
                source: source.octets(),
                destination: destination.octets(),
                payload_len,
            };
            header.emit(&mut packet, &[]);
            (packet, V4_HEADER_LEN)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0; V6_HEADER_LEN + payload_len];
            let header = V6 {
                traffic_class: 0,
                next_header: next,
                hop_limit: HOP_LIMIT,
                source: source.octets(),
                destination: destination.octets(),
                payload_len,
            };
            header.emit(&mut packet);
            (packet, V6_HEADER_LEN)
        }
        _ => return None,
    };
    packet[ip_len + front..].copy_from_slice(data);
    if udp {
        put16(&mut packet, ip_len, source.port());
        put16(&mut packet, ip_len + 2, destination.port());
        put16(&mut packet, ip_len + 4, payload_len as u16);
        let addresses = ip_len - if ip_len == V4_HEADER_LEN { 8 } else { 32 };
        let sum = checksum::add(0, &packet[addresses..ip_len]);
        let sum = checksum::add_number(sum, u16::from(protocol::UDP));
        let sum = checksum::add_number(sum, payload_len as u16);
        let sum = checksum::add(sum, &packet[ip_len..]);
        checksum::store_udp(&mut packet[ip_len..], UDP_CHECKSUM, sum);
    }
    Some(packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A HIP packet of this many octets, with the right length; its checksum is the caller's.
    fn hip(len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        data[..4].copy_from_slice(&[59, (len / 8 - 1) as u8, 1, 0x21]);
        data[8..40].copy_from_slice(&[7; 32]);
        data
    }

    fn ends(text: [&str; 2]) -> [SocketAddr; 2] {
        text.map(|end| end.parse().unwrap())
    }

    #[test]
    fn in_udp_round_trip() {
        for text in [
            ["192.0.2.1:10500", "192.0.2.2:10501"],
            ["[2001:db8::1]:10500", "[2001:db8::2]:10501"],
        ] {
            let [source, destination] = ends(text);
            let data = hip(48);
            let mut packet = wrap(&data, source, destination).unwrap();
            let read = Hip::parse(&packet).unwrap();
            assert_eq!(
                (read.data, read.source, read.destination),
                (&data[..], source, destination)
            );
            assert_eq!(read.receiver, [7; 16]);
            *packet.last_mut().unwrap() ^= 1;
            assert_eq!(Hip::parse(&packet), None, "the checksum is wrong");
        }
    }

    #[test]
    fn plain_round_trip() {
        for text in [
            ["192.0.2.1:0", "192.0.2.2:0"],
            ["[2001:db8::1]:0", "[2001:db8::2]:0"],
        ] {
            let [source, destination] = ends(text);
            let mut data = hip(40);
            let octets = |end: SocketAddr| match end.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let sum = checksum::pseudo_header(&octets(source), &octets(destination), HIP, 40);
            let sum = checksum::add(sum, &data);
            checksum::store(&mut data, 4, sum);
            let packet = wrap(&data, source, destination).unwrap();
            assert_eq!(Hip::parse(&packet).unwrap().data, data);
            data[4] ^= 1;
            let packet = wrap(&data, source, destination).unwrap();
            assert_eq!(Hip::parse(&packet), None);
        }
    }

    #[test]
    fn probes_are_known() {
        let mut data = hip(40);
        assert!(!is_probe(&data));
        // An odd length, padded to the next parameter.
        data.extend([0, 65, 0, 5, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
        data[1] = (data.len() / 8 - 1) as u8;
        assert!(!is_probe(&data));
        data.extend(33100u16.to_be_bytes());
        data.extend([0, 4, 9, 9, 9, 9]);
        assert!(!is_probe(&data), "behind the end");
        data[1] += 1;
        assert!(is_probe(&data));
        let [source, destination] = ends(["192.0.2.1:1", "192.0.2.2:1"]);
        let packet = wrap(&data, source, destination).unwrap();
        assert!(Header::parse(&packet).unwrap().dont_fragment);
    }

    #[test]
    fn octets_behind_go_along() {
        let [source, destination] = ends(["192.0.2.1:1", "192.0.2.2:1"]);
        for behind in 0..=MOST_BEHIND + 1 {
            let data = [hip(48), vec![1; behind]].concat();
            let packet = wrap(&data, source, destination).unwrap();
            let read = Hip::parse(&packet).map(|hip| hip.data);
            assert_eq!(read, (behind <= MOST_BEHIND).then_some(&data[..]));
        }
        // None is missing either.
        let packet = wrap(&hip(48)[..47], source, destination).unwrap();
        assert_eq!(Hip::parse(&packet), None);
    }

    #[test]
    fn what_does_not_go_together() {
        let data = hip(40);
        for text in [
            ["192.0.2.1:10500", "192.0.2.2:0"],
            ["192.0.2.1:10500", "[2001:db8::2]:10500"],
        ] {
            let [source, destination] = ends(text);
            assert_eq!(wrap(&data, source, destination), None);
        }
        let [source, destination] = ends(["192.0.2.1:1", "192.0.2.2:1"]);
        assert_eq!(
            wrap(&[0; MAX_LEN + MOST_BEHIND + 1], source, destination),
            None
        );
        assert_eq!(
            Hip::parse(&wrap(&data[..39], source, destination).unwrap()),
            None
        );
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Hip::parse(&bytes);
            let _ = is_probe(&bytes);
        }
    }
}
