//! Where a frame of a LAN with static peers goes, and what may come from whom. Pure: frames and
//! tables in, a decision out.

use super::ownership::{Address, Owner, OwnerId, Ownership, Standing};
use crate::{
    drops::DropReason,
    packet::{
        be16,
        ethernet::{self, Header, Mac, HEADER_LEN, TYPE_ARP, TYPE_IPV4},
        ip::V4_HEADER_LEN,
    },
};

const UNSPECIFIED: Address = [0; 4];
/// Hardware and protocol type, their lengths: Ethernet and IPv4 (RFC 826).
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_LEN: usize = 28;

/// What of a frame ownership looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub source: Address,
    pub target: Address,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Arp,
    Unicast,
    /// Broadcast, as far as can be told. OpenHIP takes every address that ends in 255 for one.
    Broadcast,
    /// In 224.0.0.0/4.
    Multicast,
}

impl Addresses {
    /// Those of an untagged IPv4 or ARP frame; `None` for every other.
    #[must_use]
    pub fn of(frame: &[u8], header: &Header) -> Option<Self> {
        // Ownership says nothing about VLANs.
        if header.len != HEADER_LEN {
            return None;
        }
        let packet = &frame[HEADER_LEN..];
        match header.ethertype {
            TYPE_IPV4 => Self::of_ipv4(packet, &header.destination),
            TYPE_ARP => Self::of_arp(packet),
            _ => None,
        }
    }

    fn of_ipv4(packet: &[u8], destination: &Mac) -> Option<Self> {
        if packet.len() < V4_HEADER_LEN || packet[0] >> 4 != 4 {
            return None;
        }
        let target = address(packet, 16);
        let kind = if target[0] & 0xf0 == 0xe0 {
            Kind::Multicast
        } else if ethernet::is_group(destination) || target[3] == 255 {
            Kind::Broadcast
        } else {
            Kind::Unicast
        };
        Some(Self {
            source: address(packet, 12),
            target,
            kind,
        })
    }

    fn of_arp(packet: &[u8]) -> Option<Self> {
        if packet.len() < ARP_LEN || packet[..6] != ARP_ETHERNET_IPV4 || be16(packet, 6) > 2 {
            return None;
        }
        Some(Self {
            source: address(packet, 14),
            target: address(packet, 24),
            kind: Kind::Arp,
        })
    }

    /// A probe for a duplicate of an own address claims nothing (RFC 5227 §1.1).
    fn is_probe(&self) -> bool {
        self.kind == Kind::Arp && self.source == UNSPECIFIED
    }
}

/// Where a frame from the LAN goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// To the static peer that owns the target, and to nobody else.
    Owner(OwnerId),
    /// As learned, to learning peers; and to static ones as well:
    Learned(Static),
}

/// Which static peers get a frame besides learning ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Static {
    None(DropReason),
    /// The default endbox, unless it was learned where the destination is.
    Default(OwnerId),
    All,
    /// All, by one packet to the group that they have joined.
    Group,
}

impl Ownership {
    /// Decide about a frame from the LAN.
    pub fn outbound(&self, frame: &[u8], header: &Header) -> Result<Outbound, DropReason> {
        let Some(addresses) = Addresses::of(frame, header) else {
            return Ok(Outbound::Learned(Static::None(DropReason::NotIpv4OrArp)));
        };
        let allowed = addresses.is_probe() || self.may_send(Owner::Local, addresses.source);
        let none = |reason| Ok(Outbound::Learned(Static::None(reason)));
        if addresses.kind == Kind::Multicast {
            return match allowed {
                false => none(DropReason::SourceNotOwned),
                true if self.group().is_some() => Ok(Outbound::Learned(Static::Group)),
                true => Ok(Outbound::Learned(Static::All)),
            };
        }
        match self.owner(addresses.target) {
            // Not even to learning peers: who asks for what is owned is to find the owner only.
            Some(Owner::Peer(_)) if !allowed => Err(DropReason::SourceNotOwned),
            Some(Owner::Peer(id)) => Ok(Outbound::Owner(id)),
            Some(Owner::Local) => none(DropReason::TargetNotOwned),
            None if !allowed => none(DropReason::SourceNotOwned),
            None if addresses.kind == Kind::Broadcast => Ok(Outbound::Learned(Static::All)),
            None => match self.default_owner() {
                Some(Owner::Peer(id)) => Ok(Outbound::Learned(Static::Default(id))),
                _ => none(DropReason::TargetNotOwned),
            },
        }
    }

    /// Decide about a frame that came from a peer; returns what it is, if it is IPv4 or ARP.
    pub fn admit(
        &self,
        from: Standing,
        frame: &[u8],
        header: &Header,
    ) -> Result<Option<Kind>, DropReason> {
        let Some(addresses) = Addresses::of(frame, header) else {
            return match from {
                Standing::Learning => Ok(None),
                _ => Err(DropReason::NotIpv4OrArp),
            };
        };
        let source = addresses.source;
        let allowed = match from {
            // Whoever has joined the group has its key; more than that the sender is a static peer
            // cannot be known.
            Standing::Group if addresses.kind != Kind::Multicast || frame[HEADER_LEN] != 0x45 => {
                return Err(DropReason::NotIpv4OrArp)
            }
            Standing::Group => matches!(self.owner(source), Some(Owner::Peer(_))),
            Standing::Static(id) => self.may_send(Owner::Peer(id), source),
            Standing::Learning => self.owner(source).is_none(),
        };
        if allowed || addresses.is_probe() || !self.filters() {
            Ok(Some(addresses.kind))
        } else {
            Err(DropReason::SourceNotOwned)
        }
    }
}

fn address(packet: &[u8], at: usize) -> Address {
    let mut address = UNSPECIFIED;
    address.copy_from_slice(&packet[at..at + 4]);
    address
}

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
