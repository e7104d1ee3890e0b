//! What the program and this process share.

use std::{io, net::IpAddr, sync::Arc};

use crate::{
    packet::checksum,
    spinat::{Flow, Target},
    sys::bpf::{Hash, Words},
};

use super::super::fast_path::Exit;

/// How the packets of a way are told: as `Flow`, with addresses as IPv6 has them (IPv4 mapped).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    /// In the order of the network.
    pub spi: [u8; 4],
    pub kind: u32,
}

impl Key {
    pub(super) const PUBLIC: u32 = 1;
    pub(super) const PLAIN: u32 = 2;
    pub(super) const CLIENT: u32 = 3;
}

impl From<Flow> for Key {
    fn from(flow: Flow) -> Self {
        let (kind, spi, source, destination) = match flow {
            Flow::Public { spi } => (Self::PUBLIC, spi, [0; 16], [0; 16]),
            Flow::Plain { spi, correspondent } => (Self::PLAIN, spi, wide(correspondent), [0; 16]),
            Flow::Client {
                spi,
                client,
                correspondent,
            } => (Self::CLIENT, spi, wide(client), wide(correspondent)),
        };
        Self {
            source,
            destination,
            spi: spi.to_be_bytes(),
            kind,
        }
    }
}

/// The IPv4-mapped address in front of its last four octets (RFC 4291 §2.5.5.2).
pub(super) const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// What the packets of a way become.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// In the order of the network; IPv4 addresses in the first 4 octets.
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub ports: [u8; 4],
    pub spi: [u8; 4],
    /// Of both addresses, as checksums have it.
    pub sum: u32,
    /// What packets look like then: see `shape`.
    pub shape: u32,
    pub ifindex: u32,
    /// Where their counts are.
    pub slot: u32,
    /// Octets of the longest packet; 0 for what the device takes.
    pub mtu: u32,
    /// Where the MTU of the device is.
    pub device: u32,
}

/// Family and framing in one number.
pub(super) const fn shape(v6: bool, udp: bool) -> u32 {
    v6 as u32 | (udp as u32) << 1
}

impl Value {
    pub(super) fn new(target: &Target, exit: Exit, slot: u32, device: u32) -> Self {
        let (source, destination) = (bare(target.source.ip()), bare(target.destination.ip()));
        let sum = checksum::add(checksum::add(0, &source), &destination);
        let mut ports = [0; 4];
        ports[..2].copy_from_slice(&target.source.port().to_be_bytes());
        ports[2..].copy_from_slice(&target.destination.port().to_be_bytes());
        Self {
            source,
            destination,
            ports,
            spi: target.spi.to_be_bytes(),
            sum: checksum::fold(sum).into(),
            shape: shape(target.source.is_ipv6(), target.source.port() != 0),
            ifindex: exit.ifindex,
            slot,
            mtu: exit.mtu,
            device,
        }
    }
}

fn bare(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            octets
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Words that belong to no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// Ways of correspondents that know no public SPI; without any none has to be looked for.
    Plain,
    /// Packets of ways whose two sides differ, and whose checksum cannot be seen to here.
    OtherShape,
    /// Longer than the way takes.
    TooLong,
    /// Joined packets (GSO) that cannot be treated as one.
    Joined,
}

impl Global {
    /// Where it is among the words, in octets.
    pub(super) const fn at(self) -> i32 {
        self as i32 * 8
    }

    pub(super) const COUNTED: [(&'static str, Self); 3] = [
        ("ebpf_left_other_shape", Self::OtherShape),
        ("ebpf_left_too_long", Self::TooLong),
        ("ebpf_left_joined", Self::Joined),
    ];
}

/// Words that belong to no way, nor to a device.
pub(super) const GLOBALS: usize = 8;
/// Where words begin with the MTUs of devices, and how many there are.
pub(super) const DEVICES: usize = GLOBALS;
pub(super) const MOST_DEVICES: usize = 256;
/// Where those of the slots begin.
pub(super) const SLOTS: usize = DEVICES + MOST_DEVICES;
/// Words of a slot: packets, octets of ESP, nanoseconds of the last one, one unused.
pub(super) const SLOT: usize = 4;

/// The maps of one router.
#[derive(Debug)]
pub(super) struct Maps {
    pub ways: Hash<Key, Value>,
    pub words: Arc<Words>,
    pub capacity: u32,
}

impl Maps {
    pub(super) fn new(capacity: u32) -> io::Result<Self> {
        Ok(Self {
            ways: Hash::new(c"hipgw_ways", capacity)?,
            words: Arc::new(Words::new(
                c"hipgw_counts",
                SLOTS + SLOT * capacity as usize,
            )?),
            capacity,
        })
    }
}
