//! From a security association to the TUN (RFC 7402 appendix B.1.6).

use super::{Hit, Lsi, Translation, MAX_OPTIONS};
use crate::{
    drops::DropReason,
    packet::{
        be16, checksum,
        ip::{V4, V4_HEADER_LEN, V6, V6_HEADER_LEN},
        protocol,
    },
};

/// Octets of the longest header that is built.
pub const MAX_HEADER: usize = 60;

/// Between whom the packets of a security association are, and what the outer header said.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    pub local_hit: Hit,
    pub peer_hit: Hit,
    pub local_lsi: Lsi,
    /// None if the peer has no LSI here.
    pub peer_lsi: Option<Lsi>,
    pub traffic_class: u8,
    pub hop_limit: u8,
}

/// A header that was built, and what of the payload comes behind it.
#[derive(Debug)]
pub struct Rebuilt {
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// Where the rest begins in the payload.
    pub rest: usize,
}

impl Rebuilt {
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header[..self.header_len]
    }
}

/// The ports of an unmarked TCP or UDP packet (ours, the peer's): its family is a matter of memory.
#[must_use]
pub fn ambiguous_ports(next_header: u8, payload: &[u8]) -> Option<(u16, u16)> {
    match next_header {
        protocol::TCP | protocol::UDP if payload.len() >= 4 => {
            Some((be16(payload, 2), be16(payload, 0)))
        }
        _ => None,
    }
}

/// Build the inner header of what ESP carried. `lsi` tells that an unmarked packet is IPv4.
pub fn rebuild(
    next_header: u8,
    payload: &mut [u8],
    endpoints: &Endpoints,
    lsi: bool,
) -> Result<Rebuilt, DropReason> {
    match next_header {
        protocol::BEET_PSEUDO_HEADER => marked(payload, endpoints),
        protocol::ICMP => {
            let lsis = lsis(endpoints)?;
            rename_in_error(payload, lsis);
            v4(next_header, payload.len(), &[], endpoints, lsis, 0)
        }
        protocol::HOP_BY_HOP | protocol::NONE | protocol::ETHERIP => Err(DropReason::BadBeet),
        _ if lsi => {
            let lsis = lsis(endpoints)?;
            translation(endpoints, lsis)
                .to_lsis(next_header, payload)
                .ok_or(DropReason::BadBeet)?;
            v4(next_header, payload.len(), &[], endpoints, lsis, 0)
        }
        _ => Ok(v6(next_header, payload.len(), endpoints)),
    }
}

fn v6(next_header: u8, payload_len: usize, endpoints: &Endpoints) -> Rebuilt {
    let mut header = [0; MAX_HEADER];
    let header_len = V6 {
        traffic_class: endpoints.traffic_class,
        next_header,
        hop_limit: endpoints.hop_limit,
        source: endpoints.peer_hit,
        destination: endpoints.local_hit,
        payload_len,
    }
    .emit(&mut header);
    debug_assert_eq!(header_len, V6_HEADER_LEN);
    Rebuilt {
        header,
        header_len,
        rest: 0,
    }
}

/// A packet behind a pseudo header (appendix B.1.7).
fn marked(payload: &mut [u8], endpoints: &Endpoints) -> Result<Rebuilt, DropReason> {
    let [next_header, units, padding, _, ..] = *payload else {
        return Err(DropReason::BadBeet);
    };
    let len = 8 + 8 * usize::from(units);
    let padding = usize::from(padding);
    if len > payload.len() || !matches!(padding, 0 | 4) || len - 4 - padding > MAX_OPTIONS {
        return Err(DropReason::BadBeet);
    }
    if matches!(
        next_header,
        protocol::BEET_PSEUDO_HEADER | protocol::FRAGMENT | protocol::ICMPV6 | protocol::NONE
    ) {
        return Err(DropReason::BadBeet);
    }
    let lsis = lsis(endpoints)?;
    let (front, segment) = payload.split_at_mut(len);
    translation(endpoints, lsis)
        .to_lsis(next_header, segment)
        .ok_or(DropReason::BadBeet)?;
    let options = &front[4 + padding..];
    v4(next_header, segment.len(), options, endpoints, lsis, len)
}

/// Source and destination of a packet from the peer, by LSI.
fn lsis(endpoints: &Endpoints) -> Result<(Lsi, Lsi), DropReason> {
    let peer = endpoints.peer_lsi.ok_or(DropReason::NoLsi)?;
    Ok((peer, endpoints.local_lsi))
}

fn translation(endpoints: &Endpoints, lsis: (Lsi, Lsi)) -> Translation {
    Translation::new((&endpoints.peer_hit, &endpoints.local_hit), lsis)
}

fn v4(
    protocol: u8,
    payload_len: usize,
    options: &[u8],
    endpoints: &Endpoints,
    lsis: (Lsi, Lsi),
    rest: usize,
) -> Result<Rebuilt, DropReason> {
    if V4_HEADER_LEN + options.len() + payload_len > usize::from(u16::MAX) {
        return Err(DropReason::BadBeet);
    }
    let mut header = [0; MAX_HEADER];
    let header_len = V4 {
        traffic_class: endpoints.traffic_class,
        // Never fragmented, so it needs no number (RFC 6864 §4.1).
        identification: 0,
        fragment: V4::DONT_FRAGMENT,
        hop_limit: endpoints.hop_limit,
        protocol,
        source: lsis.0,
        destination: lsis.1,
        payload_len,
    }
    .emit(&mut header, options);
    Ok(Rebuilt {
        header,
        header_len,
        rest,
    })
}

/// An ICMP error quotes a packet of ours with the LSIs that the peer knows us by; they become those
/// that this host uses. The quoted header's own checksum takes the difference, so that of the
/// ICMP message stays right.
fn rename_in_error(message: &mut [u8], (peer, local): (Lsi, Lsi)) {
    const DESTINATION_UNREACHABLE: u8 = 3;
    const TIME_EXCEEDED: u8 = 11;
    const PARAMETER_PROBLEM: u8 = 12;
    const QUOTE: usize = 8;
    const CHECKSUM: usize = 10;
    let is_error = matches!(
        message.first(),
        Some(&DESTINATION_UNREACHABLE | &TIME_EXCEEDED | &PARAMETER_PROBLEM)
    );
    if !is_error || message.len() < QUOTE + V4_HEADER_LEN || message[QUOTE] >> 4 != 4 {
        return;
    }
    let quoted = &mut message[QUOTE..QUOTE + V4_HEADER_LEN];
    let old = checksum::add(0, &quoted[12..20]);
    quoted[12..16].copy_from_slice(&local);
    quoted[16..20].copy_from_slice(&peer);
    let new = checksum::add(0, &quoted[12..20]);
    checksum::exchange(quoted, CHECKSUM, old, new);
}
