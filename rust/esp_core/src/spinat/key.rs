//! How packets of a way are told.

use std::net::{IpAddr, Ipv6Addr};

use super::packet::Shape;
use crate::packet::ip::Version;

/// From which side to which a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a correspondent to a client.
    Inward,
    /// From a client to a correspondent.
    Outward,
}

/// What tells the packets of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// From a correspondent that uses the public SPI, wherever it is now.
    Public { spi: u32 },
    /// From a correspondent that knows no public SPI, and uses the client's own.
    Plain { spi: u32, correspondent: IpAddr },
    /// From a client at its registered address, to where it takes the correspondent to be.
    Client {
        spi: u32,
        client: IpAddr,
        correspondent: IpAddr,
    },
}

/// How packets of a way are told, with addresses as IPv6 has them (IPv4 mapped).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    source: u128,
    destination: u128,
    spi: u32,
    kind: u32,
}

impl Key {
    pub(super) const NONE: Self = Self {
        source: 0,
        destination: 0,
        spi: 0,
        kind: 0,
    };
    const PUBLIC: u32 = 1;
    const PLAIN: u32 = 2;
    const CLIENT: u32 = 3;

    pub(super) fn public(spi: u32) -> Self {
        Self {
            source: 0,
            destination: 0,
            spi,
            kind: Self::PUBLIC,
        }
    }
    /// How a packet is told; *plain*: whether any way is of a correspondent without a public SPI.
    pub(super) fn of(direction: Direction, packet: &[u8], shape: &Shape, plain: bool) -> Self {
        let addresses = || addresses(packet, shape.version);
        match direction {
            Direction::Outward => {
                let (source, destination) = addresses();
                Self {
                    source,
                    destination,
                    spi: shape.spi,
                    kind: Self::CLIENT,
                }
            }
            Direction::Inward if plain => Self {
                source: addresses().0,
                destination: 0,
                spi: shape.spi,
                kind: Self::PLAIN,
            },
            Direction::Inward => Self::public(shape.spi),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.kind == Self::PLAIN
    }

    pub(super) fn spi(&self) -> u32 {
        self.spi
    }

    /// Products of the parts with secret ones, folded, as wyhash makes them.
    pub(super) fn hash(&self, secret: &[u64; 3]) -> u32 {
        let [a, b, c] = *secret;
        let low = u64::from(self.spi) | u64::from(self.kind) << 32;
        let mut hash = fold(low ^ a, b);
        if self.kind != Self::PUBLIC {
            hash = fold(hash ^ self.source as u64, c ^ (self.source >> 64) as u64);
        }
        if self.kind == Self::CLIENT {
            hash = fold(
                hash ^ self.destination as u64,
                b ^ (self.destination >> 64) as u64,
            );
        }
        (hash ^ hash >> 32) as u32
    }
}

impl From<Flow> for Key {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Public { spi } => Self::public(spi),
            Flow::Plain { spi, correspondent } => Self {
                source: wide(correspondent),
                destination: 0,
                spi,
                kind: Self::PLAIN,
            },
            Flow::Client {
                spi,
                client,
                correspondent,
            } => Self {
                source: wide(client),
                destination: wide(correspondent),
                spi,
                kind: Self::CLIENT,
            },
        }
    }
}

impl From<Key> for Flow {
    fn from(key: Key) -> Self {
        let spi = key.spi;
        match key.kind {
            Key::PUBLIC => Self::Public { spi },
            Key::PLAIN => Self::Plain {
                spi,
                correspondent: narrow(key.source),
            },
            _ => Self::Client {
                spi,
                client: narrow(key.source),
                correspondent: narrow(key.destination),
            },
        }
    }
}

fn narrow(address: u128) -> IpAddr {
    Ipv6Addr::from(address).to_canonical()
}

fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => mapped(u32::from(ip)),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// The IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
fn mapped(address: u32) -> u128 {
    0xffff_0000_0000 | u128::from(address)
}

fn addresses(packet: &[u8], version: Version) -> (u128, u128) {
    match version {
        Version::V4 => (be32_mapped(packet, 12), be32_mapped(packet, 16)),
        Version::V6 => (be128(packet, 8), be128(packet, 24)),
    }
}

fn be32_mapped(packet: &[u8], at: usize) -> u128 {
    mapped(crate::packet::be32(packet, at))
}

fn be128(packet: &[u8], at: usize) -> u128 {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    u128::from_be_bytes(octets)
}

/// Both halves of a product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
