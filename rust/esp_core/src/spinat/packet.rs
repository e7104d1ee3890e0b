//! What a packet is, and where its SPI lies.

use super::Verdict;
use crate::packet::{
    be16, be32,
    ip::{Header, Version, UDP_HEADER_LEN},
    protocol,
};

const ESP: u8 = 50;
const HIP: u8 = 139;
/// SPI and sequence number (RFC 4303 §2): less is no ESP.
const ESP_MIN: usize = 8;
/// In front of HIP in UDP, in the place of an SPI (RFC 9028 §5.1).
const MARKER: u32 = 0;

/// The headers in front of an ESP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub version: Version,
    /// Octets of the IP header, with IPv4 options.
    pub ip_len: usize,
    pub udp: bool,
    /// Octets of the packet; behind it there may be padding.
    pub total: usize,
    pub spi: u32,
}

impl Shape {
    pub(super) const EMPTY: Self = Self {
        version: Version::V4,
        ip_len: 0,
        udp: false,
        total: 0,
        spi: 0,
    };

    /// Read the headers of an ESP packet; for anything else, what it is.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, Verdict> {
        let header = Header::parse(packet).ok_or(Verdict::Malformed)?;
        if header.fragment || header.protocol == protocol::FRAGMENT {
            return Err(Verdict::Fragment);
        }
        let udp = match header.protocol {
            ESP => false,
            protocol::UDP => true,
            HIP => return Err(Verdict::Control),
            _ => return Err(Verdict::Malformed),
        };
        let mut shape = Self {
            version: header.version,
            ip_len: header.len,
            udp,
            total: header.total,
            spi: 0,
        };
        let esp_at = shape.esp_at();
        if shape.total < esp_at + ESP_MIN {
            return Err(Verdict::Malformed);
        }
        if udp {
            let length = usize::from(be16(packet, header.len + 4));
            if length < UDP_HEADER_LEN + ESP_MIN || header.len + length != shape.total {
                return Err(Verdict::Malformed);
            }
        }
        shape.spi = be32(packet, esp_at);
        match shape.spi {
            MARKER if udp => Err(Verdict::Control),
            0 => Err(Verdict::Malformed),
            _ => Ok(shape),
        }
    }

    /// Where ESP begins.
    pub(super) fn esp_at(&self) -> usize {
        self.ip_len + if self.udp { UDP_HEADER_LEN } else { 0 }
    }

    pub(super) fn esp_len(&self) -> usize {
        self.total - self.esp_at()
    }
}
