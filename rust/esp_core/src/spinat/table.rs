//! The ways of SPINAT, found by SPI and addresses at a cost that does not grow.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::Range,
};

use super::packet::Shape;
use crate::{
    packet::{checksum, ip::Version},
    sys::memory::{prefer_huge_pages, prefetch},
};

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

/// What the packets of a way become. Ports are 0 for ESP that is not in UDP, on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub spi: u32,
}

/// Names a way that was entered; never another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WayId {
    pub place: u32,
    pub generation: u32,
}

/// What the packets of a way are, and what they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    pub flow: Flow,
    pub target: Target,
    /// Source and destination port that the last packet came with, if it was in UDP.
    pub came_ports: Option<(u16, u16)>,
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

/// Why a way was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as there may be.
    Full,
    /// Packets of this kind have a way already.
    Taken,
    /// SPI 0, addresses of two families on one side, or UDP on one end alone.
    Invalid,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "there are as many ways as there may be",
            Self::Taken => "packets of this kind have a way already",
            Self::Invalid => {
                "an SPI is not 0, the ends of a side have one family, and both are in UDP or neither"
            }
        })
    }
}

impl std::error::Error for Refused {}

/// How packets of a way are told, with addresses as IPv6 has them (IPv4 mapped).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: u128,
    destination: u128,
    spi: u32,
    kind: u32,
}

impl Key {
    const PUBLIC: u32 = 1;
    const PLAIN: u32 = 2;
    const CLIENT: u32 = 3;

    fn public(spi: u32) -> Self {
        Self {
            source: 0,
            destination: 0,
            spi,
            kind: Self::PUBLIC,
        }
    }
}

/// What a packet is looked up by.
#[derive(Clone, Copy)]
pub(super) struct Sought {
    key: Key,
    hash: u32,
}

impl Sought {
    pub(super) const NONE: Self = Self {
        key: Key {
            source: 0,
            destination: 0,
            spi: 0,
            kind: 0,
        },
        hash: 0,
    };
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

/// An entered way: two lines of the CPU's caches, which it fetches as a pair.
#[repr(C, align(128))]
pub(super) struct Way {
    key: Key,
    generation: u32,
    used: bool,
    pub v6: bool,
    /// In front of ESP there is a UDP header.
    pub udp: bool,
    /// Addresses in network order; IPv4 ones in the first 4 octets.
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub ports: [u8; 4],
    pub spi: [u8; 4],
    /// The sum of both addresses, as checksums have it.
    pub sum: u16,
    /// Whether the last packet came in UDP, and its ports then.
    came_udp: bool,
    came_ports: [u8; 4],
    counts: Counts,
}

impl Way {
    fn new(key: Key, generation: u32, now_s: u32) -> Self {
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

    fn aim(&mut self, target: &Target) {
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

/// More ways than this no table has.
pub const MOST_WAYS: usize = 1 << 24;

/// Where a way is: its place, plus 1, below a part of its hash; 0 is free.
type Entry = u64;

/// All ways of a router, for one thread.
///
/// Clients and correspondents choose most of what is hashed, so that the hash is a secret one: else
/// they could choose what falls into one place.
pub struct Spinat {
    secret: [u64; 3],
    /// A power of two, at most five eighths in use; linear probing.
    entries: Vec<Entry>,
    ways: Vec<Way>,
    free: Vec<u32>,
    capacity: usize,
    /// Ways of correspondents that know no public SPI; without any none has to be looked for.
    plain: usize,
}

impl Spinat {
    /// A table for this many ways: two for each association, and two more while it is rekeyed.
    /// Memory that is not used yet is only set aside.
    ///
    /// # Panics
    ///
    /// If it is to have more than `MOST_WAYS`.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity <= MOST_WAYS, "too many ways");
        let random = RandomState::new();
        let places = (capacity * 8 / 5 + 1).next_power_of_two().max(8);
        let (mut entries, mut ways) = (vec![0; places], Vec::with_capacity(capacity));
        prefer_huge_pages(&mut entries);
        prefer_huge_pages(&mut ways);
        Self {
            secret: [0, 1, 2].map(|n: u64| random.hash_one(n) | 1),
            entries,
            ways,
            free: Vec::with_capacity(capacity),
            capacity,
            plain: 0,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ways.len() - self.free.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enter a way.
    pub fn insert(&mut self, flow: Flow, target: &Target, now_s: u32) -> Result<WayId, Refused> {
        let key = Key::from(flow);
        check(&key, target)?;
        let hash = self.hash(&key);
        if self.find_key(&key, hash).is_some() {
            return Err(Refused::Taken);
        }
        if self.len() >= self.capacity {
            return Err(Refused::Full);
        }
        let place = match self.free.pop() {
            Some(place) => {
                let way = &mut self.ways[place as usize];
                *way = Way::new(key, way.generation.wrapping_add(1), now_s);
                place
            }
            None => {
                self.ways.push(Way::new(key, 0, now_s));
                self.ways.len() as u32 - 1
            }
        };
        let way = &mut self.ways[place as usize];
        way.aim(target);
        let id = WayId {
            place,
            generation: way.generation,
        };
        self.plain += usize::from(key.kind == Key::PLAIN);
        let mut at = self.home(hash);
        while self.entries[at] != 0 {
            at = self.next(at);
        }
        self.entries[at] = entry(hash, place);
        Ok(id)
    }

    /// Change what the packets of a way become, as when the router or a correspondent has moved;
    /// false if there is no such way.
    pub fn aim(&mut self, id: WayId, target: &Target) -> Result<bool, Refused> {
        let Some(way) = self.entered(id) else {
            return Ok(false);
        };
        check(&way.key, target)?;
        way.aim(target);
        Ok(true)
    }

    /// Forget a way; what it carried, if there was one.
    pub fn remove(&mut self, id: WayId) -> Option<Counts> {
        let way = self.entered(id)?;
        let (key, counts) = (way.key, way.counts);
        way.used = false;
        self.plain -= usize::from(key.kind == Key::PLAIN);
        let wanted = entry(self.hash(&key), id.place);
        let mut gap = self.home(self.hash(&key));
        while self.entries[gap] != wanted {
            gap = self.next(gap);
        }
        let mut at = gap;
        loop {
            at = self.next(at);
            let moved = self.entries[at];
            if moved == 0 {
                break;
            }
            // Move back what stands behind its home, unless its home lies behind the gap.
            let home = self.home(hash_of(moved));
            let mask = self.entries.len() - 1;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.entries[gap] = moved;
                gap = at;
            }
        }
        self.entries[gap] = 0;
        self.free.push(id.place);
        Some(counts)
    }

    /// What a way has carried.
    #[must_use]
    pub fn counts(&self, id: WayId) -> Option<Counts> {
        let way = self.ways.get(id.place as usize)?;
        (way.used && way.generation == id.generation).then_some(way.counts)
    }

    /// What a way does.
    #[must_use]
    pub fn passage(&self, id: WayId) -> Option<Passage> {
        let way = self.ways.get(id.place as usize)?;
        if !way.used || way.generation != id.generation {
            return None;
        }
        let [a, b, c, d] = way.came_ports;
        let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(Passage {
            flow: way.key.into(),
            target: way.target(),
            came_ports: way.came_udp.then_some(ports),
        })
    }

    /// The ways that nothing has passed for so many seconds.
    pub fn idle(&self, now_s: u32, idle_s: u32) -> impl Iterator<Item = WayId> + '_ {
        let ways = self.ways.iter().zip(0..);
        ways.filter(move |(way, _)| way.used && now_s.wrapping_sub(way.counts.used_s) >= idle_s)
            .map(|(way, place)| WayId {
                place,
                generation: way.generation,
            })
    }

    /// How many places of ways have been in use; a way's is below.
    #[must_use]
    pub fn places(&self) -> usize {
        self.ways.len()
    }

    /// The ways in some of the places, with what they carried.
    pub fn ways(&self, places: Range<usize>) -> impl Iterator<Item = (WayId, Counts)> + '_ {
        let ways = self.ways[places.clone()].iter().zip(places);
        ways.filter(|(way, _)| way.used).map(|(way, place)| {
            let id = WayId {
                place: place as u32,
                generation: way.generation,
            };
            (id, way.counts)
        })
    }

    /// The way of a flow.
    #[must_use]
    pub fn named(&self, flow: Flow) -> Option<WayId> {
        let key = Key::from(flow);
        let place = self.find_key(&key, self.hash(&key))?;
        Some(WayId {
            place,
            generation: self.ways[place as usize].generation,
        })
    }

    /// Octets set aside for ways, used or not: the same as long as the table lives.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.ways.capacity() * size_of::<Way>()
            + self.free.capacity() * size_of::<u32>()
    }

    fn entered(&mut self, id: WayId) -> Option<&mut Way> {
        let way = self.ways.get_mut(id.place as usize)?;
        (way.used && way.generation == id.generation).then_some(way)
    }

    pub(super) fn way(&mut self, place: u32) -> &mut Way {
        &mut self.ways[place as usize]
    }

    /// How a packet is told, and the hash of that; fetches the entry ahead.
    pub(super) fn sought(&self, direction: Direction, packet: &[u8], shape: &Shape) -> Sought {
        let addresses = || addresses(packet, shape.version);
        let key = match direction {
            Direction::Outward => {
                let (source, destination) = addresses();
                Key {
                    source,
                    destination,
                    spi: shape.spi,
                    kind: Key::CLIENT,
                }
            }
            Direction::Inward if self.plain != 0 => Key {
                source: addresses().0,
                destination: 0,
                spi: shape.spi,
                kind: Key::PLAIN,
            },
            Direction::Inward => Key::public(shape.spi),
        };
        let hash = self.hash(&key);
        prefetch(&self.entries[self.home(hash)]);
        Sought { key, hash }
    }

    /// Fetch ahead the way that it will probably be.
    pub(super) fn fetch(&self, sought: &Sought) {
        let entry = self.entries[self.home(sought.hash)];
        if entry != 0 {
            if let Some(way) = self.ways.get((entry as u32 - 1) as usize) {
                prefetch(way);
            }
        }
    }

    /// The place of the way of a packet.
    pub(super) fn find(&self, sought: &Sought) -> Option<u32> {
        let found = self.find_key(&sought.key, sought.hash);
        if found.is_none() && sought.key.kind == Key::PLAIN {
            let key = Key::public(sought.key.spi);
            return self.find_key(&key, self.hash(&key));
        }
        found
    }

    fn find_key(&self, key: &Key, hash: u32) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            if hash_of(entry) == hash {
                let place = entry as u32 - 1;
                if self.ways[place as usize].key == *key {
                    return Some(place);
                }
            }
            at = self.next(at);
        }
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.entries.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    /// Products of the key's parts with secret ones, folded, as wyhash makes them.
    fn hash(&self, key: &Key) -> u32 {
        let [a, b, c] = self.secret;
        let low = u64::from(key.spi) | u64::from(key.kind) << 32;
        let mut hash = fold(low ^ a, b);
        if key.kind != Key::PUBLIC {
            hash = fold(hash ^ key.source as u64, c ^ (key.source >> 64) as u64);
        }
        if key.kind == Key::CLIENT {
            hash = fold(
                hash ^ key.destination as u64,
                b ^ (key.destination >> 64) as u64,
            );
        }
        (hash ^ hash >> 32) as u32
    }
}

/// Both halves of a product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn entry(hash: u32, place: u32) -> Entry {
    Entry::from(hash) << 32 | Entry::from(place + 1)
}

fn hash_of(entry: Entry) -> u32 {
    (entry >> 32) as u32
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

fn check(key: &Key, target: &Target) -> Result<(), Refused> {
    let Target {
        source,
        destination,
        spi,
    } = target;
    let fits = source.is_ipv6() == destination.is_ipv6()
        && (source.port() == 0) == (destination.port() == 0)
        && key.spi != 0
        && *spi != 0;
    if fits {
        Ok(())
    } else {
        Err(Refused::Invalid)
    }
}
