//! How Ethernet frames lie in ESP.

use crate::{drops::DropReason, etherip, packet::protocol};

/// What is in front of a frame, what announces it, and who cuts it if it is longer than the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// EtherIP (RFC 3378); what is too long is cut inside ESP, see `fragment`.
    #[default]
    EtherIpFragments,
    /// EtherIP, always whole: outer IP fragments carry what is too long. As hip-vpls does it.
    EtherIp,
    /// The frame alone, next header 0, always whole. As OpenHIP does it.
    Ethernet,
}

impl Framing {
    /// The framing with this name: "etherip-fragments", "etherip" or "ethernet".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "etherip-fragments" => Some(Self::EtherIpFragments),
            "etherip" => Some(Self::EtherIp),
            "ethernet" => Some(Self::Ethernet),
            _ => None,
        }
    }

    /// What is in front of the frame.
    #[must_use]
    pub const fn header(self) -> &'static [u8] {
        match self {
            Self::EtherIpFragments | Self::EtherIp => &etherip::HEADER,
            Self::Ethernet => &[],
        }
    }

    /// The Next Header of ESP that says that a frame follows.
    #[must_use]
    pub const fn next_header(self) -> u8 {
        match self {
            Self::EtherIpFragments | Self::EtherIp => protocol::ETHERIP,
            // In a packet between hosts it would be Hop-by-Hop options.
            Self::Ethernet => protocol::HOP_BY_HOP,
        }
    }

    /// Whether what is longer than the path is cut before it is sealed.
    #[must_use]
    pub const fn cuts(self) -> bool {
        matches!(self, Self::EtherIpFragments)
    }

    /// Where the frame begins in what ESP carried.
    pub fn frame_start(self, payload: &[u8]) -> Result<usize, DropReason> {
        let frame = match self {
            Self::EtherIpFragments | Self::EtherIp => etherip::decapsulate(payload)?,
            Self::Ethernet => payload,
        };
        Ok(payload.len() - frame.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_front() {
        for framing in [Framing::EtherIpFragments, Framing::EtherIp] {
            assert_eq!(
                (framing.next_header(), framing.header()),
                (97, &[0x30, 0][..])
            );
            assert_eq!(framing.frame_start(&[0x30, 0, 1, 2]), Ok(2));
            assert_eq!(framing.frame_start(&[1, 2]), Err(DropReason::BadEtherIp));
        }
        assert_eq!(Framing::Ethernet.next_header(), 0);
        assert_eq!(Framing::Ethernet.frame_start(&[0x30, 0, 1, 2]), Ok(0));
        let cutting = ["etherip-fragments", "etherip", "ethernet"]
            .map(|name| Framing::from_name(name).unwrap().cuts());
        assert_eq!(cutting, [true, false, false]);
        assert_eq!(Framing::from_name("vxlan"), None);
    }
}
