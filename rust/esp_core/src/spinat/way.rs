//! A way as it is entered: what its packets become, and what it carried.

use std::net::{IpAddr, SocketAddr};

use super::{
    key::{Flow, Key},
    packet::Shape,
};
use crate::packet::{checksum, ip::Version};

/// What the packets of a way become. Ports are 0 for ESP that is not in UDP, on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub spi: u32,
}

/// What a way carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub packets: u64,
    /// Octets of ESP, without IP and UDP.
    pub octets: u64,
    /// Of the clock of `rewrite`: the last packet, or when it was entered.
    pub used_s: u32,
}

/// What the packets of a way are, and what they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    pub flow: Flow,
    pub target: Target,
    /// Source and destination port that the last packet came with, if it was in UDP.
    pub came_ports: Option<(u16, u16)>,
}

/// An entered way: two lines of the CPU's caches, which it fetches as a pair.
#[repr(C, align(128))]
pub(super) struct Way {
    pub(super) key: Key,
    pub(super) generation: u32,
    pub(super) used: bool,
    pub(super) v6: bool,
    /// In front of ESP there is a UDP header.
    pub(super) udp: bool,
    /// Addresses in network order; IPv4 ones in the first 4 octets.
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    pub(super) ports: [u8; 4],
    pub(super) spi: [u8; 4],
    /// The sum of both addresses, as checksums have it.
    pub(super) sum: u16,
    /// Whether the last packet came in UDP, and its ports then.
    came_udp: bool,
    came_ports: [u8; 4],
    pub(super) counts: Counts,
}

impl Way {
    pub(super) fn new(key: Key, generation: u32, now_s: u32) -> Self {
        Self {
            key,
            generation,
            used: true,
            v6: false,
            udp: false,
            source: [0; 16],
            destination: [0; 16],
            ports: [0; 4],
            spi: [0; 4],
            sum: 0,
            came_udp: false,
            came_ports: [0; 4],
            counts: Counts {
                used_s: now_s,
                ..Counts::default()
            },
        }
    }

    pub(super) fn aim(&mut self, target: &Target) {
        self.v6 = target.source.is_ipv6();
        self.udp = target.source.port() != 0;
        for (octets, end) in [
            (&mut self.source, target.source),
            (&mut self.destination, target.destination),
        ] {
            *octets = [0; 16];
            match end.ip() {
                IpAddr::V4(ip) => octets[..4].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => *octets = ip.octets(),
            }
        }
        self.ports[..2].copy_from_slice(&target.source.port().to_be_bytes());
        self.ports[2..].copy_from_slice(&target.destination.port().to_be_bytes());
        self.spi = target.spi.to_be_bytes();
        let sum = checksum::add(checksum::add(0, &self.source), &self.destination);
        self.sum = checksum::fold(sum);
    }

    pub(super) fn version(&self) -> Version {
        if self.v6 {
            Version::V6
        } else {
            Version::V4
        }
    }

    fn target(&self) -> Target {
        let [source, destination] =
            [(self.source, 0), (self.destination, 2)].map(|(octets, at)| {
                let [a, b, c, d, ..] = octets;
                let ip = if self.v6 {
                    IpAddr::from(octets)
                } else {
                    IpAddr::from([a, b, c, d])
                };
                let port = u16::from_be_bytes([self.ports[at], self.ports[at + 1]]);
                SocketAddr::new(ip, port)
            });
        Target {
            source,
            destination,
            spi: u32::from_be_bytes(self.spi),
        }
    }

    pub(super) fn passage(&self) -> Passage {
        let [a, b, c, d] = self.came_ports;
        let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Passage {
            flow: self.key.into(),
            target: self.target(),
            came_ports: self.came_udp.then_some(ports),
        }
    }

    /// Remember how a packet came, which `packet` still is.
    pub(super) fn came(&mut self, packet: &[u8], shape: &Shape) {
        self.came_udp = shape.udp;
        if shape.udp {
            self.came_ports
                .copy_from_slice(&packet[shape.ip_len..shape.ip_len + 4]);
        }
    }

    pub(super) fn count(&mut self, octets: usize, now_s: u32) {
        self.counts.packets += 1;
        self.counts.octets += octets as u64;
        self.counts.used_s = now_s;
    }
}
