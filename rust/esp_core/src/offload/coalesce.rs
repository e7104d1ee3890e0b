//! Packets of one flow that follow each other into one super-packet for the kernel.
//!
//! The bytes of the payloads stay where they are: a queue keeps places, and a copy of each item's
//! headers, which it changes. Only what a receiver could not tell from what was sent is joined:
//! same headers, next in sequence, equal size (the last may be shorter), right checksum.

use std::ops::Range;

use super::{GsoKind, VnetHeader};
use crate::packet::{
    be16, be32, checksum, ethernet,
    ip::{self, Version, TCP_ACK, TCP_CHECKSUM, TCP_PSH, UDP_CHECKSUM, UDP_HEADER_LEN, V4},
    protocol, put16,
};

/// Octets of the longest headers: Ethernet with two tags, IPv6, TCP with all options.
pub const MAX_HEADERS: usize = 14 + 2 * 4 + 40 + 60;
/// Longest super-packet, counted from the IP header.
const MAX_PACKET: usize = 65_535;
/// Most packets in one: each takes a piece of one `writev`.
pub const MAX_PACKETS: usize = 64;
const FLOWS: usize = 64;
const NONE: u32 = u32::MAX;

/// Bytes in one of the caller's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub buffer: u32,
    pub range: Range<usize>,
}

/// What packets on this device begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header (TAP).
    Ethernet,
    /// An IP header (TUN).
    Ip,
}

/// Packets on their way to one device.
pub struct Coalescer {
    link: Link,
    tcp: bool,
    udp: bool,
    items: Vec<Item>,
    pieces: Vec<Piece>,
    /// For each hash of a flow the item that may be continued, or NONE.
    flows: [u32; FLOWS],
    joined: usize,
}

struct Item {
    headers: [u8; MAX_HEADERS],
    headers_len: usize,
    first_piece: u32,
    last_piece: u32,
    /// What a continuation is compared with; none for what cannot be continued.
    flow: Option<Flow>,
    packets: usize,
    payload_len: usize,
    closed: bool,
}

struct Piece {
    place: Place,
    next: u32,
}

/// How the headers of a packet that may be joined are laid out.
#[derive(Clone, Copy)]
struct Flow {
    tcp: bool,
    version: Version,
    ip: usize,
    transport: usize,
    payload: usize,
    /// Octets of payload in the first packet.
    segment: usize,
}

/// One thing to write.
pub struct Output<'a> {
    pub vnet: VnetHeader,
    pub headers: &'a [u8],
    /// Packets that it stands for.
    pub packets: usize,
    pieces: &'a [Piece],
    next: u32,
}

impl<'a> Iterator for Output<'a> {
    type Item = &'a Place;

    /// The places of what follows the headers, in order.
    fn next(&mut self) -> Option<&'a Place> {
        let piece = self.pieces.get(self.next as usize)?;
        self.next = piece.next;
        Some(&piece.place)
    }
}

impl Coalescer {
    /// A queue for a device; `tcp` and `udp` tell what it takes super-packets of.
    #[must_use]
    pub fn new(link: Link, tcp: bool, udp: bool) -> Self {
        Self {
            link,
            tcp,
            udp,
            items: Vec::with_capacity(1024),
            pieces: Vec::with_capacity(1024),
            flows: [NONE; FLOWS],
            joined: 0,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Packets that became part of another one since the last call.
    pub fn take_joined(&mut self) -> usize {
        std::mem::take(&mut self.joined)
    }

    /// Everything queued, oldest first. To be called once before `clear`.
    pub fn outputs(&mut self) -> impl Iterator<Item = Output<'_>> {
        self.items.iter_mut().for_each(Item::finish);
        self.items.iter().map(|item| Output {
            vnet: item.vnet(),
            headers: &item.headers[..item.headers_len],
            packets: item.packets,
            pieces: &self.pieces,
            next: item.first_piece,
        })
    }

    /// Forget everything queued, once it is written.
    pub fn clear(&mut self) {
        self.items.clear();
        self.pieces.clear();
        self.flows = [NONE; FLOWS];
    }

    /// Queue a packet: `front` (at most `MAX_HEADERS` octets) and behind it `data`, which lies at
    /// `place`. If `front` is not empty it is the IP header.
    pub fn push(&mut self, front: &[u8], data: &[u8], place: Place) {
        let Some((flow, hash, headers)) = self.look(front, data) else {
            self.close_hidden(front, data);
            self.push_single(front, place);
            return;
        };
        let index = self.flows[hash];
        if let Some(flow) = flow {
            let behind = flow.payload - front.len();
            let range = place.range.start + behind..place.range.end;
            let payload = Place { range, ..place };
            let joined = self
                .items
                .get_mut(index as usize)
                .is_some_and(|item| item.join(&flow, &headers));
            if joined {
                self.append(index as usize, payload);
                self.joined += 1;
            } else {
                self.flows[hash] = self.items.len() as u32;
                self.push_item(&headers[..flow.payload], payload, Some(flow));
            }
        } else {
            // Part of a flow, but not to be joined: nothing later may overtake it either.
            if let Some(item) = self.items.get_mut(index as usize) {
                item.closed = true;
            }
            self.push_single(front, place);
        }
    }

    /// Of a fragment, and of a packet with options or extension headers, it is not known what flow it
    /// is part of: nothing later between the same addresses may overtake it.
    fn close_hidden(&mut self, front: &[u8], data: &[u8]) {
        if !self.tcp && !self.udp {
            return;
        }
        let mut headers = [0; MAX_HEADERS];
        let seen = head(front, data, &mut headers);
        let addresses = self
            .ip_start(seen)
            .and_then(|ip| hidden_addresses(&seen[ip..]));
        let Some(addresses) = addresses else {
            return;
        };
        for index in self.flows {
            let Some(item) = self.items.get_mut(index as usize) else {
                continue;
            };
            let same = |flow: &Flow| flow.addresses(&item.headers) == addresses;
            item.closed |= item.flow.as_ref().is_some_and(same);
        }
    }

    /// Where the IP header begins, if there is one.
    fn ip_start(&self, seen: &[u8]) -> Option<usize> {
        match self.link {
            Link::Ip => Some(0),
            Link::Ethernet => {
                let link = ethernet::Header::parse(seen)?;
                match link.ethertype {
                    ethernet::TYPE_IPV4 | ethernet::TYPE_IPV6 => Some(link.len),
                    _ => None,
                }
            }
        }
    }

    fn push_single(&mut self, front: &[u8], place: Place) {
        self.push_item(front, place, None);
    }

    fn push_item(&mut self, headers: &[u8], place: Place, flow: Option<Flow>) {
        let mut item = Item {
            headers: [0; MAX_HEADERS],
            headers_len: headers.len(),
            first_piece: self.pieces.len() as u32,
            last_piece: self.pieces.len() as u32,
            packets: 1,
            payload_len: place.range.len(),
            closed: flow
                .is_some_and(|flow| flow.tcp && headers[flow.transport + 13] & TCP_PSH != 0),
            flow,
        };
        item.headers[..headers.len()].copy_from_slice(headers);
        self.items.push(item);
        self.pieces.push(Piece { place, next: NONE });
    }

    fn append(&mut self, index: usize, place: Place) {
        let next = self.pieces.len() as u32;
        let item = &mut self.items[index];
        self.pieces[item.last_piece as usize].next = next;
        item.last_piece = next;
        self.pieces.push(Piece { place, next: NONE });
    }

    /// What flow a packet belongs to (by hash), and how to join it if it may be: `None` for packets
    /// that are not looked into.
    fn look(&self, front: &[u8], data: &[u8]) -> Option<(Option<Flow>, usize, [u8; MAX_HEADERS])> {
        let mut headers = [0; MAX_HEADERS];
        let seen = head(front, data, &mut headers);
        let len = front.len() + data.len();
        let ip = self.ip_start(seen)?;
        let (version, protocol, total) = glance(&seen[ip..])?;
        let transport = ip + version.header_len();
        let tcp = match protocol {
            protocol::TCP if self.tcp => true,
            protocol::UDP if self.udp => false,
            _ => return None,
        };
        if transport + 4 > seen.len() || front.len() > transport {
            return None;
        }
        let hash = hash(&seen[ip + 12..transport + 4]);
        let flow = Flow {
            tcp,
            version,
            ip,
            transport,
            payload: 0,
            segment: 0,
        };
        let flow = flow.complete(seen, len, total).filter(|flow| {
            let data_transport = transport - front.len();
            flow.checksum_holds(seen, &data[data_transport..])
        });
        Some((flow, hash, headers))
    }
}

impl Flow {
    /// Fill in the rest, if packets like this may be joined. `len` is that of the whole packet.
    fn complete(mut self, seen: &[u8], len: usize, total: usize) -> Option<Self> {
        // Padding behind the packet would be lost, or become payload.
        if self.ip + total != len {
            return None;
        }
        let transport = &seen[self.transport..];
        let header_len = if self.tcp {
            let header_len = ip::tcp_header_len(transport)?;
            if transport[13] & !TCP_PSH != TCP_ACK {
                return None;
            }
            header_len
        } else {
            if transport.len() < UDP_HEADER_LEN
                || usize::from(be16(transport, 4)) != len - self.transport
                || be16(transport, UDP_CHECKSUM) == 0
            {
                return None;
            }
            UDP_HEADER_LEN
        };
        self.payload = self.transport + header_len;
        self.segment = len.checked_sub(self.payload)?;
        (self.segment > 0).then_some(self)
    }

    fn checksum_holds(&self, headers: &[u8], transport: &[u8]) -> bool {
        let protocol = if self.tcp {
            protocol::TCP
        } else {
            protocol::UDP
        };
        let addresses = checksum::add(0, self.addresses(headers));
        let sum = checksum::add_number(addresses, u16::from(protocol));
        let sum = checksum::add_number(sum, transport.len() as u16);
        checksum::fold(checksum::add(sum, transport)) == 0xffff
    }

    /// Both addresses.
    fn addresses<'a>(&self, headers: &'a [u8]) -> &'a [u8] {
        let at = self.ip + if self.version == Version::V4 { 12 } else { 8 };
        &headers[at..self.transport]
    }
}

impl Item {
    /// Count a packet as part of this item, if it continues it.
    fn join(&mut self, next: &Flow, headers: &[u8; MAX_HEADERS]) -> bool {
        if !self.continues(next, headers) {
            return false;
        }
        let flow = self.flow.as_ref().unwrap_or(next);
        let flags = next.transport + 13;
        if next.tcp {
            self.headers[flags] |= headers[flags] & TCP_PSH;
        }
        self.closed = next.segment < flow.segment || (next.tcp && headers[flags] & TCP_PSH != 0);
        self.packets += 1;
        self.payload_len += next.segment;
        true
    }

    fn continues(&self, next: &Flow, headers: &[u8; MAX_HEADERS]) -> bool {
        let Some(flow) = &self.flow else {
            return false;
        };
        if self.closed
            || (flow.tcp, flow.version) != (next.tcp, next.version)
            || (flow.ip, flow.payload) != (next.ip, next.payload)
            || next.segment > flow.segment
            || self.packets >= MAX_PACKETS
            || self.headers_len - flow.ip + self.payload_len + next.segment > MAX_PACKET
        {
            return false;
        }
        let (mine, theirs) = (&self.headers, headers);
        let same = |range: Range<usize>| mine[range.clone()] == theirs[range];
        let (ip, transport) = (flow.ip, flow.transport);
        let ip_same = match flow.version {
            // All but length, identification and checksum.
            Version::V4 => {
                same(0..ip + 2)
                    && same(ip + 6..ip + 10)
                    && same(ip + 12..transport)
                    && self.next_identification(&theirs[ip..])
            }
            // All but the length.
            Version::V6 => same(0..ip + 4) && same(ip + 6..transport),
        };
        if !ip_same || !same(transport..transport + 4) {
            return false;
        }
        if !flow.tcp {
            return true;
        }
        let sequence = be32(mine, transport + 4).wrapping_add(self.payload_len as u32);
        // All but the sequence number, the flags (looked at before) and the checksum.
        sequence == be32(theirs, transport + 4)
            && same(transport + 8..transport + 13)
            && same(transport + 14..transport + 16)
            && same(transport + 18..flow.payload)
    }

    /// The kernel will number the packets on; where that could be noticed, they have to be
    /// numbered so already (RFC 6864 §4: it means nothing with "don't fragment").
    fn next_identification(&self, theirs: &[u8]) -> bool {
        let Some(flow) = &self.flow else {
            return false;
        };
        let expected = be16(&self.headers, flow.ip + 4).wrapping_add(self.packets as u16);
        be16(theirs, 6) & V4::DONT_FRAGMENT != 0 || be16(theirs, 4) == expected
    }

    /// Give joined packets the lengths and the unfinished checksum of a super-packet.
    fn finish(&mut self) {
        let Some(flow) = self.flow.filter(|_| self.packets > 1) else {
            return;
        };
        let total = self.headers_len - flow.ip + self.payload_len;
        let transport_len = self.headers_len - flow.transport + self.payload_len;
        let headers = &mut self.headers[..self.headers_len];
        match flow.version {
            Version::V4 => {
                put16(headers, flow.ip + 2, total as u16);
                ip::store_v4_checksum(&mut headers[flow.ip..flow.transport]);
            }
            Version::V6 => put16(headers, flow.ip + 4, (total - ip::V6_HEADER_LEN) as u16),
        }
        let (protocol, offset) = if flow.tcp {
            (protocol::TCP, TCP_CHECKSUM)
        } else {
            put16(headers, flow.transport + 4, transport_len as u16);
            (protocol::UDP, UDP_CHECKSUM)
        };
        let sum = checksum::add(0, flow.addresses(headers));
        let sum = checksum::add_number(sum, u16::from(protocol));
        let sum = checksum::add_number(sum, transport_len as u16);
        checksum::store_partial(headers, flow.transport + offset, sum);
    }

    /// The offload header of what `finish` has made of it.
    fn vnet(&self) -> VnetHeader {
        let Some(flow) = self.flow.as_ref().filter(|_| self.packets > 1) else {
            return VnetHeader::default();
        };
        let (kind, checksum_offset) = match (flow.tcp, flow.version) {
            (true, Version::V4) => (GsoKind::TcpV4, TCP_CHECKSUM),
            (true, Version::V6) => (GsoKind::TcpV6, TCP_CHECKSUM),
            (false, _) => (GsoKind::Udp, UDP_CHECKSUM),
        };
        VnetHeader {
            needs_checksum: true,
            kind,
            header_len: self.headers_len as u16,
            segment_size: flow.segment as u16,
            checksum_start: flow.transport as u16,
            checksum_offset: checksum_offset as u16,
        }
    }
}

/// The beginning of a packet that lies in two places, as far as there is room for it.
fn head<'a>(front: &[u8], data: &[u8], out: &'a mut [u8; MAX_HEADERS]) -> &'a [u8] {
    out[..front.len()].copy_from_slice(front);
    let copied = data.len().min(MAX_HEADERS - front.len());
    out[front.len()..][..copied].copy_from_slice(&data[..copied]);
    &out[..front.len() + copied]
}

/// The addresses of a packet whose ports are not where `glance` looks for them.
fn hidden_addresses(header: &[u8]) -> Option<&[u8]> {
    match header.first()? >> 4 {
        4 if header.len() >= ip::V4_HEADER_LEN => {
            let plain = header[0] == 0x45 && be16(header, 6) & 0x3fff == 0;
            (!plain).then_some(&header[12..20])
        }
        6 if header.len() >= ip::V6_HEADER_LEN => {
            protocol::is_v6_extension(header[6]).then_some(&header[8..40])
        }
        _ => None,
    }
}

/// Version, protocol and total length of an IP header of which more than the fixed part need not be
/// there; `None` for options and fragments.
fn glance(header: &[u8]) -> Option<(Version, u8, usize)> {
    match header.first()? >> 4 {
        4 if header.len() >= ip::V4_HEADER_LEN
            && header[0] == 0x45
            && be16(header, 6) & 0x3fff == 0 =>
        {
            let total = usize::from(be16(header, 2));
            Some((Version::V4, header[9], total))
        }
        6 if header.len() >= ip::V6_HEADER_LEN => {
            let total = ip::V6_HEADER_LEN + usize::from(be16(header, 4));
            Some((Version::V6, header[6], total))
        }
        _ => None,
    }
}

/// A small hash of (a part of) the addresses and the ports. Flows that meet merely join less.
fn hash(bytes: &[u8]) -> usize {
    let mut hash = 0u64;
    for word in bytes.chunks(4) {
        let mut padded = [0; 4];
        padded[..word.len()].copy_from_slice(word);
        hash = (hash ^ u64::from(u32::from_ne_bytes(padded))).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    hash as usize % FLOWS
}

#[cfg(test)]
mod tests;
