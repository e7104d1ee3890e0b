//! Super-packets: the kernel hands over up to 64 KiB of one flow at once, and takes them.
//!
//! A device opened with IFF_VNET_HDR puts a `VnetHeader` in front of each packet. `split` makes of
//! such a packet the ones that travel; `coalesce` joins packets of a flow before they are written.
//! Both work on bytes alone.

pub mod coalesce;
pub mod split;

use crate::{drops::DropReason, packet::checksum};

/// Octets of the header on TUN and TAP.
pub const VNET_HEADER_LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const ECN: u8 = 0x80;

/// What kind of packets a super-packet stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoKind {
    /// A single packet.
    #[default]
    None,
    TcpV4,
    TcpV6,
    /// UDP datagrams, over IPv4 or IPv6.
    Udp,
}

impl GsoKind {
    fn from_wire(value: u8) -> Option<Self> {
        match value & !ECN {
            0 => Some(Self::None),
            1 => Some(Self::TcpV4),
            4 => Some(Self::TcpV6),
            5 => Some(Self::Udp),
            _ => None,
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::None => 0,
            Self::TcpV4 => 1,
            Self::TcpV6 => 4,
            Self::Udp => 5,
        }
    }
}

/// `struct virtio_net_hdr` (linux/virtio_net.h), in the machine's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// The field at `checksum_start + checksum_offset` holds the sum of the pseudo header, and the
    /// sum of everything from `checksum_start` on is to be added.
    pub needs_checksum: bool,
    pub kind: GsoKind,
    pub header_len: u16,
    /// Octets of payload in each packet but the last.
    pub segment_size: u16,
    pub checksum_start: u16,
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Read the header; a kind of super-packet that was not asked for is refused.
    pub fn parse(bytes: &[u8; VNET_HEADER_LEN]) -> Result<Self, DropReason> {
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Ok(Self {
            needs_checksum: bytes[0] & NEEDS_CHECKSUM != 0,
            kind: GsoKind::from_wire(bytes[1]).ok_or(DropReason::BadOffload)?,
            header_len: field(2),
            segment_size: field(4),
            checksum_start: field(6),
            checksum_offset: field(8),
        })
    }

    #[must_use]
    pub fn emit(&self) -> [u8; VNET_HEADER_LEN] {
        let mut bytes = [0; VNET_HEADER_LEN];
        bytes[0] = if self.needs_checksum {
            NEEDS_CHECKSUM
        } else {
            0
        };
        bytes[1] = self.kind.to_wire();
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        bytes
    }

    /// Finish the checksum of a single packet, if that was left to us.
    pub fn complete_checksum(&self, packet: &mut [u8]) -> Result<(), DropReason> {
        if !self.needs_checksum {
            return Ok(());
        }
        let covered = packet
            .get_mut(usize::from(self.checksum_start)..)
            .ok_or(DropReason::BadOffload)?;
        let offset = usize::from(self.checksum_offset);
        if offset + 2 > covered.len() {
            return Err(DropReason::BadOffload);
        }
        let sum = checksum::add(0, covered);
        // 0xFFFF for 0, as UDP wants it; to every other protocol they are the same.
        checksum::store_udp(covered, offset, sum);
        Ok(())
    }
}

#[cfg(test)]
mod round_trip;
#[cfg(test)]
pub(crate) mod testing;
