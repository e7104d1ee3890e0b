//! ICMP errors about packets that were rewritten: read, translated (RFC 7915 §4.2, §5.2), made.

use std::net::{IpAddr, SocketAddr};

use super::hip::address;
use crate::{
    packet::{
        be16, be32, checksum,
        ip::{Header, Version, UDP_HEADER_LEN, V4, V4_HEADER_LEN, V6, V6_HEADER_LEN},
        protocol, put16, put32,
    },
    spinat::{Flow, Passage},
};

const ESP: u8 = 50;
/// Type, code, checksum, and four octets of a meaning of the type's own.
const HEADER_LEN: usize = 8;
/// SPI and sequence number.
const ESP_FRONT: usize = 8;
const HOP_LIMIT: u8 = 64;
/// The least that links of a family take, which no message goes below (RFC 791, RFC 8200 §5).
const V4_LEAST: u32 = 68;
const V6_LEAST: u32 = 1280;
/// What is told instead of nothing by a router older than RFC 1191.
const OLD_ROUTER: u32 = 576;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Longer than this many octets of IP packet.
    TooBig(u32),
    /// No way there; type and code of ICMPv6 (RFC 4443 §3.1, §3.4).
    Unreachable(u8, u8),
    /// The lifetime ended (0), or that of fragments (1).
    Exceeded(u8),
}

impl Trouble {
    /// Names what went wrong, without how far.
    #[must_use]
    pub fn kind(self) -> u8 {
        match self {
            Self::TooBig(_) => 0,
            Self::Unreachable(..) => 1,
            Self::Exceeded(_) => 2,
        }
    }

    fn read(version: Version, message: &[u8]) -> Option<Self> {
        match (version, message[0], message[1]) {
            (Version::V4, 3, 4) => Some(Self::TooBig(match u32::from(be16(message, 6)) {
                0 => OLD_ROUTER,
                mtu => mtu,
            })),
            (Version::V4, 3, 2) => Some(Self::Unreachable(4, 1)),
            (Version::V4, 3, 3) => Some(Self::Unreachable(1, 4)),
            (Version::V4, 3, 9 | 10 | 13 | 15) => Some(Self::Unreachable(1, 1)),
            (Version::V4, 3, _) => Some(Self::Unreachable(1, 0)),
            (Version::V4, 11, code) => Some(Self::Exceeded(code)),
            (Version::V6, 2, _) => Some(Self::TooBig(be32(message, 4))),
            (Version::V6, 1, code) => Some(Self::Unreachable(1, code)),
            (Version::V6, 4, 1) => Some(Self::Unreachable(4, 1)),
            (Version::V6, 3, code) => Some(Self::Exceeded(code)),
            _ => None,
        }
    }

    /// Type, code and the four octets behind the checksum.
    fn written(self, version: Version) -> (u8, u8, u32) {
        match (version, self) {
            (Version::V4, Self::TooBig(mtu)) => (3, 4, mtu.clamp(V4_LEAST, 0xffff)),
            (Version::V4, Self::Unreachable(4, _)) => (3, 2, 0),
            (Version::V4, Self::Unreachable(_, 4)) => (3, 3, 0),
            (Version::V4, Self::Unreachable(_, 1)) => (3, 10, 0),
            (Version::V4, Self::Unreachable(..)) => (3, 1, 0),
            (Version::V4, Self::Exceeded(code)) => (11, code, 0),
            (Version::V6, Self::TooBig(mtu)) => (2, 0, mtu.max(V6_LEAST)),
            // The pointer leads to the next header's number.
            (Version::V6, Self::Unreachable(4, code)) => (4, code, 6),
            (Version::V6, Self::Unreachable(kind, code)) => (kind, code, 0),
            (Version::V6, Self::Exceeded(code)) => (3, code, 0),
        }
    }
}

/// An error about an ESP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub trouble: Trouble,
    /// Who tells it.
    pub from: IpAddr,
    /// Of the packet that it is about; ports are 0 if that was not in UDP.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub spi: u32,
    /// Of that packet, 0 if not told.
    pub sequence: u32,
}

impl Report {
    /// Read an IP packet that holds an error about ESP; `None` if it is anything else, or its
    /// checksum is wrong.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let header = Header::parse(packet)?;
        let (source, destination) = header.addresses(packet);
        let message = &packet[header.len..header.total];
        let sum = match (header.version, header.protocol) {
            (Version::V4, protocol::ICMP) => 0,
            (Version::V6, protocol::ICMPV6) => {
                checksum::pseudo_header(source, destination, protocol::ICMPV6, message.len())
            }
            _ => return None,
        };
        if message.len() < HEADER_LEN || checksum::fold(checksum::add(sum, message)) != 0xffff {
            return None;
        }
        let trouble = Trouble::read(header.version, message)?;
        let quoted = Quoted::parse(&message[HEADER_LEN..])?;
        Some(Self {
            trouble,
            from: address(source)?,
            source: quoted.source,
            destination: quoted.destination,
            spi: quoted.spi,
            sequence: quoted.sequence,
        })
    }

    /// The same for the client whose packet it was about, which came as `passage` says.
    #[must_use]
    pub fn translated(&self, passage: &Passage) -> Option<Vec<u8>> {
        let Flow::Client {
            spi,
            client,
            correspondent,
        } = passage.flow
        else {
            return None;
        };
        let (source_port, destination_port) = passage.came_ports.unwrap_or_default();
        let quote = Quoted {
            source: (client, source_port).into(),
            destination: (correspondent, destination_port).into(),
            spi,
            sequence: self.sequence,
        };
        let trouble = match self.trouble {
            Trouble::TooBig(mtu) => {
                let target = &passage.target;
                let before = overhead(client, source_port);
                let after = overhead(target.source.ip(), target.source.port());
                Trouble::TooBig(mtu.saturating_add(before).saturating_sub(after))
            }
            other => other,
        };
        // A router of the other family has no address that could be told: it is as if the
        // correspondent had said it.
        let from = if self.from.is_ipv4() == client.is_ipv4() {
            self.from
        } else {
            correspondent
        };
        message(trouble, from, client, &quote.emit())
    }
}

/// Octets in front of ESP.
#[must_use]
pub fn overhead(ip: IpAddr, port: u16) -> u32 {
    let udp = if port == 0 { 0 } else { UDP_HEADER_LEN };
    let ip_len = if ip.is_ipv4() {
        V4_HEADER_LEN
    } else {
        V6_HEADER_LEN
    };
    (ip_len + udp) as u32
}

/// The beginning of an ESP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quoted {
    source: SocketAddr,
    destination: SocketAddr,
    spi: u32,
    sequence: u32,
}

impl Quoted {
    /// Lengths and checksums are not looked at: they are of the whole packet, or changed on the way.
    fn parse(packet: &[u8]) -> Option<Self> {
        let (ip_len, next, addresses) = match packet.first()? >> 4 {
            4 if packet.len() >= V4_HEADER_LEN => {
                let len = usize::from(packet[0] & 0x0f) * 4;
                // Later fragments have no SPI.
                if be16(packet, 6) & 0x1fff != 0 || len < V4_HEADER_LEN {
                    return None;
                }
                (len, packet[9], 12..20)
            }
            6 if packet.len() >= V6_HEADER_LEN => (V6_HEADER_LEN, packet[6], 8..40),
            _ => return None,
        };
        let (source, destination) = packet[addresses.clone()].split_at(addresses.len() / 2);
        let rest = packet.get(ip_len..)?;
        let (ports, esp) = match next {
            ESP => ((0, 0), rest),
            protocol::UDP if rest.len() >= UDP_HEADER_LEN => {
                ((be16(rest, 0), be16(rest, 2)), &rest[UDP_HEADER_LEN..])
            }
            _ => return None,
        };
        if esp.len() < 4 {
            return None;
        }
        Some(Self {
            source: (address(source)?, ports.0).into(),
            destination: (address(destination)?, ports.1).into(),
            spi: be32(esp, 0),
            sequence: if esp.len() >= ESP_FRONT {
                be32(esp, 4)
            } else {
                0
            },
        })
    }

    fn emit(&self) -> Vec<u8> {
        let udp = self.source.port() != 0;
        let front = if udp { UDP_HEADER_LEN } else { 0 };
        let mut payload = vec![0; front + ESP_FRONT];
        let payload_len = payload.len();
        if udp {
            put16(&mut payload, 0, self.source.port());
            put16(&mut payload, 2, self.destination.port());
            put16(&mut payload, 4, payload_len as u16);
        }
        put32(&mut payload, front, self.spi);
        put32(&mut payload, front + 4, self.sequence);
        let next = if udp { protocol::UDP } else { ESP };
        ip_packet(self.source.ip(), self.destination.ip(), next, &payload).unwrap_or_default()
    }
}

/// Tell the sender of a packet, of which `quote` is the beginning; `None` if it has no sender that
/// could be told.
#[must_use]
pub fn answer(trouble: Trouble, quote: &[u8]) -> Option<Vec<u8>> {
    let quoted = Quoted::parse(quote)?;
    message(trouble, quoted.destination.ip(), quoted.source.ip(), quote)
}

fn message(trouble: Trouble, from: IpAddr, to: IpAddr, quote: &[u8]) -> Option<Vec<u8>> {
    let (version, protocol) = match to {
        IpAddr::V4(_) => (Version::V4, protocol::ICMP),
        IpAddr::V6(_) => (Version::V6, protocol::ICMPV6),
    };
    let (kind, code, rest) = trouble.written(version);
    let mut message = vec![0; HEADER_LEN];
    message[0] = kind;
    message[1] = code;
    put32(&mut message, 4, rest);
    message.extend_from_slice(quote);
    let mut packet = ip_packet(from, to, protocol, &message)?;
    let at = packet.len() - message.len();
    let sum = match version {
        Version::V4 => 0,
        Version::V6 => {
            let (source, destination) = packet[8..V6_HEADER_LEN].split_at(16);
            checksum::pseudo_header(source, destination, protocol, message.len())
        }
    };
    let sum = checksum::add(sum, &packet[at..]);
    checksum::store(&mut packet[at..], 2, sum);
    Some(packet)
}

/// `None` if the ends are not of one family.
fn ip_packet(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let mut packet;
    match (from, to) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet = vec![0; V4_HEADER_LEN];
            let header = V4 {
                traffic_class: 0,
                identification: 0,
                fragment: V4::DONT_FRAGMENT,
                hop_limit: HOP_LIMIT,
                protocol,
                source: source.octets(),
                destination: destination.octets(),
                payload_len: payload.len(),
            };
            header.emit(&mut packet, &[]);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet = vec![0; V6_HEADER_LEN];
            let header = V6 {
                traffic_class: 0,
                next_header: protocol,
                hop_limit: HOP_LIMIT,
                source: source.octets(),
                destination: destination.octets(),
                payload_len: payload.len(),
            };
            header.emit(&mut packet);
        }
        _ => return None,
    }
    packet.extend_from_slice(payload);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spinat::Target;

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn quoted(source: &str, destination: &str) -> Quoted {
        Quoted {
            source: end(source),
            destination: end(destination),
            spi: 0x4545,
            sequence: 9,
        }
    }

    fn told(trouble: Trouble, from: &str, about: &Quoted) -> Vec<u8> {
        message(
            trouble,
            from.parse().unwrap(),
            about.source.ip(),
            &about.emit(),
        )
        .unwrap()
    }

    fn passage(
        client: &str,
        correspondent: &str,
        out: &Quoted,
        ports: Option<(u16, u16)>,
    ) -> Passage {
        Passage {
            flow: Flow::Client {
                spi: out.spi,
                client: client.parse().unwrap(),
                correspondent: correspondent.parse().unwrap(),
            },
            target: Target {
                source: out.source,
                destination: out.destination,
                spi: out.spi,
            },
            came_ports: ports,
        }
    }

    #[test]
    fn within_a_family_the_router_is_named() {
        let out = quoted("192.0.2.1:10500", "198.51.100.7:10500");
        let report = Report::parse(&told(Trouble::TooBig(1400), "203.0.113.1", &out)).unwrap();
        assert_eq!(
            (
                report.source,
                report.destination,
                report.spi,
                report.sequence
            ),
            (out.source, out.destination, out.spi, 9)
        );
        let way = passage("10.0.0.10", "198.51.100.7", &out, Some((10501, 10502)));
        let seen = Report::parse(&report.translated(&way).unwrap()).unwrap();
        let expected = Report {
            source: end("10.0.0.10:10501"),
            destination: end("198.51.100.7:10502"),
            ..report
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn lengths_are_told_as_they_are_inside() {
        let out = quoted("[2001:db8::1]:10500", "[2001:db8::7]:10500");
        let report = Report::parse(&told(Trouble::TooBig(1400), "2001:db8:f::1", &out)).unwrap();
        let way = passage("10.0.0.10", "198.51.100.7", &out, None);
        let seen = Report::parse(&report.translated(&way).unwrap()).unwrap();
        assert_eq!(seen.trouble, Trouble::TooBig(1400 - 48 + 20));
        assert_eq!(seen.from, "198.51.100.7".parse::<IpAddr>().unwrap());
        assert_eq!((seen.source, seen.spi), (end("10.0.0.10:0"), out.spi));

        let out = quoted("192.0.2.1:0", "198.51.100.7:0");
        let report = Report::parse(&told(Trouble::TooBig(1000), "203.0.113.1", &out)).unwrap();
        let way = passage("fd00::10", "2001:db8::7", &out, None);
        let seen = Report::parse(&report.translated(&way).unwrap()).unwrap();
        assert_eq!(seen.trouble, Trouble::TooBig(V6_LEAST), "IPv6 has no less");
    }

    #[test]
    fn troubles_of_one_family_in_the_other() {
        let v4 = quoted("192.0.2.1:0", "198.51.100.7:0");
        let v6 = quoted("[2001:db8::1]:0", "[2001:db8::7]:0");
        for trouble in [
            Trouble::TooBig(1400),
            Trouble::Unreachable(1, 0),
            Trouble::Unreachable(1, 1),
            Trouble::Unreachable(1, 4),
            Trouble::Unreachable(4, 1),
            Trouble::Exceeded(0),
        ] {
            for (from, about) in [("203.0.113.1", &v4), ("2001:db8:f::1", &v6)] {
                let read = Report::parse(&told(trouble, from, about)).unwrap();
                assert_eq!(read.trouble, trouble);
            }
        }
    }

    #[test]
    fn what_is_no_report() {
        let out = quoted("192.0.2.1:0", "198.51.100.7:0");
        let right = told(Trouble::TooBig(1400), "203.0.113.1", &out);
        let mut wrong = right.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(Report::parse(&wrong), None, "the checksum");
        let echo = ip_packet(
            out.source.ip(),
            out.destination.ip(),
            1,
            &[8, 0, 0xf7, 0xff, 0, 0, 0, 0],
        );
        assert_eq!(Report::parse(&echo.unwrap()), None);
        for version in ["10.0.0.10", "fd00::1"] {
            let inward = Passage {
                flow: Flow::Public { spi: 7 },
                ..passage(version, version, &out, None)
            };
            assert_eq!(Report::parse(&right).unwrap().translated(&inward), None);
        }
    }

    #[test]
    fn the_sender_is_told() {
        let packet = quoted("10.0.0.10:10500", "198.51.100.7:10500").emit();
        let report = Report::parse(&answer(Trouble::TooBig(1400), &packet).unwrap()).unwrap();
        assert_eq!(report.trouble, Trouble::TooBig(1400));
        assert_eq!(report.from, report.destination.ip());
        assert_eq!(report.source, end("10.0.0.10:10500"));
    }

    proptest! {
        #[test]
        fn any_length_is_told(
            mtu in prop_oneof![any::<u32>(), Just(u32::MAX), 0u32..2000],
            v6_inside in any::<bool>(),
            v6_outside in any::<bool>(),
        ) {
            let out = if v6_outside {
                quoted("[2001:db8::1]:10500", "[2001:db8::7]:10500")
            } else {
                quoted("192.0.2.1:10500", "198.51.100.7:10500")
            };
            let (client, correspondent) = if v6_inside {
                ("fd00::10", "2001:db8::7")
            } else {
                ("10.0.0.10", "198.51.100.7")
            };
            let from = if v6_outside { "2001:db8:f::1" } else { "203.0.113.1" };
            let report = Report::parse(&told(Trouble::TooBig(mtu), from, &out)).unwrap();
            let way = passage(client, correspondent, &out, None);
            let seen = Report::parse(&report.translated(&way).unwrap()).unwrap();
            let least = if v6_inside { V6_LEAST } else { V4_LEAST };
            prop_assert!(matches!(seen.trouble, Trouble::TooBig(mtu) if mtu >= least));
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Report::parse(&bytes);
            let _ = Quoted::parse(&bytes);
            let _ = answer(Trouble::TooBig(1400), &bytes);
        }
    }
}
