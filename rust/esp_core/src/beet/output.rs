//! From the TUN into a security association (RFC 7402 appendix B.1.5).

use super::{is_hit, is_lsi, Hit, LocalHits, Lsi, Translation, PSEUDO_HEADER_LEN};
use crate::{
    drops::DropReason,
    packet::{
        ip::{Header, Version},
        protocol,
    },
};

/// Whom a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Hit(Hit),
    Lsi(Lsi),
}

/// Read the header of a packet from the TUN: it has to be between one of this host's names and one
/// of a peer's. An IPv4 fragment cannot be sent before the rest of it is there, as its transport
/// checksum counts other addresses on the wire.
pub fn classify(
    packet: &[u8],
    local_hits: &LocalHits,
    local_lsi: Lsi,
) -> Result<(Header, Destination), DropReason> {
    let header = Header::parse(packet).ok_or(DropReason::BadInnerPacket)?;
    let (source, destination) = header.addresses(packet);
    let (destination, right_source) = match header.version {
        Version::V6 if is_hit(destination) => {
            let mut hit = [0; 16];
            hit.copy_from_slice(destination);
            (Destination::Hit(hit), local_hits.contains(source))
        }
        Version::V4 if is_lsi(destination) => {
            let mut lsi = [0; 4];
            lsi.copy_from_slice(destination);
            (Destination::Lsi(lsi), source == local_lsi)
        }
        _ => return Err(DropReason::NotAPeerAddress),
    };
    if !right_source {
        return Err(DropReason::WrongSource);
    }
    check_protocol(&header, packet)?;
    Ok((header, destination))
}

/// Refuse what would mean something else inside ESP, and what BEET mode cannot carry.
fn check_protocol(header: &Header, packet: &[u8]) -> Result<(), DropReason> {
    let special = |number| {
        matches!(
            number,
            protocol::NONE | protocol::BEET_PSEUDO_HEADER | protocol::ETHERIP
        )
    };
    let refused = match (header.version, header.protocol) {
        (_, number) if special(number) => true,
        // Each belongs to the other family, which is how the receiver tells them apart.
        (Version::V6, protocol::ICMP) | (Version::V4, protocol::ICMPV6 | protocol::FRAGMENT) => {
            true
        }
        (Version::V6, protocol::HOP_BY_HOP) => true,
        (Version::V6, protocol::FRAGMENT) => {
            // What is in the fragments would be taken for ours.
            packet.get(header.len).is_none_or(|number| special(*number))
        }
        _ => false,
    };
    if refused {
        return Err(DropReason::InnerProtocol);
    }
    Ok(())
}

/// What ESP carries of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Where it begins in the packet.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    pub next_header: u8,
}

/// Octets that ESP carries in front of the transport header.
#[must_use]
pub fn front_len(header: &Header, translation: &Translation) -> usize {
    match (header.version, header.protocol) {
        (Version::V6, _) | (Version::V4, protocol::ICMP) => 0,
        (Version::V4, _) if translation.marked => PSEUDO_HEADER_LEN,
        (Version::V4, _) => 0,
    }
}

/// Octets that ESP carries of a packet with this header.
#[must_use]
pub fn payload_len(header: &Header, translation: &Translation) -> usize {
    header.total - header.len + front_len(header, translation)
}

/// Replace the IP header by what ESP carries instead, in place. IPv4 options are discarded, as
/// appendix B.1.5 recommends.
pub fn strip(
    packet: &mut [u8],
    header: &Header,
    translation: &Translation,
) -> Result<Payload, DropReason> {
    let transport = header.len;
    if header.version == Version::V4 {
        translation
            .to_hits(header.protocol, &mut packet[transport..header.total])
            .ok_or(DropReason::BadInnerPacket)?;
    }
    let start = transport - front_len(header, translation);
    let next_header = mark(header, &mut packet[start..transport]);
    Ok(Payload {
        start,
        end: header.total,
        next_header,
    })
}

/// Write what comes in front of the transport header (`front_len` octets); returns the Next Header
/// for ESP.
pub fn mark(header: &Header, front: &mut [u8]) -> u8 {
    if front.is_empty() {
        return header.protocol;
    }
    // Next header, no more than 8 octets, 4 octets of padding, reserved, NOP options as padding.
    front.copy_from_slice(&[header.protocol, 0, 4, 0, 1, 1, 1, 1]);
    protocol::BEET_PSEUDO_HEADER
}
