//! What becomes of the packets of a batch.

use std::{
    net::IpAddr,
    ops::Range,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{
    admission::Admission,
    counters::{Counter, Counters},
    events::{Events, HipPacket, Sender},
    hip::{Hip, HIP},
    icmp::Report,
    outbox::{ends, Links, Outbox},
    places::Places,
    too_long::Workshop,
    ways::Ways,
};
use crate::{
    packet::{
        be16, checksum,
        ip::{Header, Version},
        protocol,
    },
    spinat::{Direction, Packet, Spinat, Verdict},
};

#[cfg(test)]
mod tests;

const ESP: u8 = 50;

/// Octets of a packet's beginning that are kept as they came: what an error quotes.
const FRONT_LEN: usize = 64;

/// What is looked at beside the packets.
pub struct Context<'a> {
    pub places: &'a Places,
    pub ways: &'a Mutex<Ways>,
    pub links: &'a Links,
    pub counters: &'a Counters,
    pub events: &'a Events,
    /// This host's port for HIP and ESP.
    pub udp_port: u16,
}

/// A packet's place in the queue, and how it came.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    id: u32,
    interface: u32,
    front: [u8; FRONT_LEN],
    front_len: usize,
}

impl Ticket {
    fn front(&self) -> &[u8] {
        &self.front[..self.front_len]
    }
}

/// Packets that go in one direction, if they go on.
struct Side {
    direction: Direction,
    packets: Vec<Packet>,
    tickets: Vec<Ticket>,
}

impl Side {
    fn new(direction: Direction, room: usize) -> Self {
        Self {
            direction,
            packets: Vec::with_capacity(room),
            tickets: Vec::with_capacity(room),
        }
    }
}

/// Packets that are dealt with together.
pub struct Batch {
    sides: [Side; 2],
    outbox: Outbox,
    workshop: Workshop,
    admission: Admission,
    /// Those that the kernel is to let pass.
    pub accepted: Vec<u32>,
}

impl Batch {
    /// For this many packets at most.
    #[must_use]
    pub fn new(room: usize) -> Self {
        let side = |direction| Side::new(direction, room);
        Self {
            sides: [side(Direction::Inward), side(Direction::Outward)],
            outbox: Outbox::new(room),
            workshop: Workshop::default(),
            admission: Admission::default(),
            accepted: Vec::with_capacity(room),
        }
    }

    /// Begin anew.
    pub fn clear(&mut self) {
        self.outbox.clear();
        self.workshop.clear();
        for side in &mut self.sides {
            side.packets.clear();
            side.tickets.clear();
        }
        self.accepted.clear();
    }

    /// Put in a packet that waits in the queue.
    pub fn put(
        &mut self,
        id: u32,
        interface: u32,
        data: &[u8],
        packet: Range<usize>,
        places: &Places,
    ) {
        let bytes = &data[packet.clone()];
        let mut ticket = Ticket {
            id,
            interface,
            front: [0; FRONT_LEN],
            front_len: bytes.len().min(FRONT_LEN),
        };
        ticket.front[..ticket.front_len].copy_from_slice(&bytes[..ticket.front_len]);
        let inside = !places.outside.contains(&interface);
        let side = &mut self.sides[usize::from(inside)];
        side.packets.push(Packet::new(packet.start, packet.end));
        side.tickets.push(ticket);
    }

    /// Rewrite what has a way.
    pub fn rewrite(&mut self, data: &mut [u8], table: &mut Spinat, now_s: u32) {
        for side in &mut self.sides {
            if !side.packets.is_empty() {
                table.rewrite(side.direction, data, &mut side.packets, now_s);
            }
        }
    }

    /// Decide about each packet.
    pub fn sort(&mut self, data: &mut [u8], context: &Context<'_>) {
        let Self {
            sides,
            outbox,
            workshop,
            admission,
            accepted,
        } = self;
        for side in sides {
            let outward = side.direction == Direction::Outward;
            for (place, (packet, ticket)) in side.packets.iter().zip(&side.tickets).enumerate() {
                let range = packet.start..packet.end;
                let bytes = &mut data[range.clone()];
                match decide(bytes, packet.verdict, outward, ticket, admission, context) {
                    Decision::Send => outbox.put(data, range, outward, tag(outward, place)),
                    Decision::Error if !outward && translate(bytes, workshop, context) => {}
                    Decision::Error => {
                        context.counters.one(Counter::Accepted);
                        accepted.push(ticket.id);
                    }
                    Decision::Accept => {
                        context.counters.one(Counter::Accepted);
                        accepted.push(ticket.id);
                    }
                    Decision::Drop(why) => context.counters.one(why),
                }
            }
        }
    }

    /// Send what is to be sent.
    pub fn send(&mut self, data: &[u8], context: &Context<'_>) {
        let Context {
            links, counters, ..
        } = context;
        let sent = self.outbox.flush(data, links, counters);
        counters.add(Counter::Rewritten, sent.packets);
        counters.add(Counter::RewrittenBytes, sent.octets);
        for too_long in &self.outbox.too_long {
            let (outward, place) = of_tag(too_long.tag);
            let ticket = &self.sides[usize::from(outward)].tickets[place];
            let packet = &data[too_long.packet.clone()];
            self.workshop
                .too_long(packet, ticket.front(), outward, links, counters);
        }
    }
}

/// A packet's place, for the outbox.
fn tag(outward: bool, place: usize) -> usize {
    place * 2 + usize::from(outward)
}

fn of_tag(tag: usize) -> (bool, usize) {
    (tag % 2 == 1, tag / 2)
}

/// Tell a client what a router outside told of its packet; false if it is about no client's.
fn translate(packet: &[u8], workshop: &mut Workshop, context: &Context<'_>) -> bool {
    let Some(report) = Report::parse(packet) else {
        return false;
    };
    let passage = {
        let ways = context.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.of_sent(report.source, report.destination, report.spi)
    };
    let Some(passage) = passage else {
        return false;
    };
    let Some(error) = report.translated(&passage) else {
        return false;
    };
    let Context {
        links, counters, ..
    } = context;
    let flow = (passage.flow, report.trouble.kind());
    if workshop.may_tell(flow, counters) && workshop.send(&error, false, links, counters) {
        counters.one(Counter::ErrorsTranslated);
    }
    true
}

enum Decision {
    Send,
    Accept,
    /// An error of ICMP: for a client, or for the kernel.
    Error,
    /// Counted as this.
    Drop(Counter),
}

fn decide(
    packet: &mut [u8],
    verdict: Verdict,
    outward: bool,
    ticket: &Ticket,
    admission: &mut Admission,
    context: &Context<'_>,
) -> Decision {
    match verdict {
        Verdict::Rewritten if age(packet) => Decision::Send,
        Verdict::Rewritten => Decision::Drop(Counter::Expired),
        Verdict::NoRoom => Decision::Drop(Counter::TooBig),
        Verdict::Control => control(packet, outward, ticket, admission, context),
        Verdict::Unknown => or_own(packet, Counter::Unknown, context),
        Verdict::Fragment => or_own(packet, Counter::Fragment, context),
        Verdict::Malformed => match Header::parse(packet) {
            Some(header) if [protocol::ICMP, protocol::ICMPV6].contains(&header.protocol) => {
                Decision::Error
            }
            Some(header) if ![ESP, HIP, protocol::UDP].contains(&header.protocol) => {
                Decision::Accept
            }
            Some(_) => or_own(packet, Counter::Malformed, context),
            None => Decision::Drop(Counter::Malformed),
        },
    }
}

/// What is for this host is its own affair, anything else is dropped.
fn or_own(packet: &[u8], counter: Counter, context: &Context<'_>) -> Decision {
    match ends(packet) {
        Some((_, _, destination)) if is_own(destination, context) => Decision::Accept,
        _ => Decision::Drop(counter),
    }
}

fn is_own(address: IpAddr, context: &Context<'_>) -> bool {
    context.places.addresses.contains(&address)
}

/// A HIP packet: for this host by its receiver's HIT, or by its address if it names none or comes to
/// another port than this host's for HIP.
fn control(
    packet: &[u8],
    inside: bool,
    ticket: &Ticket,
    admission: &mut Admission,
    context: &Context<'_>,
) -> Decision {
    let Some(hip) = Hip::parse(packet) else {
        return Decision::Drop(Counter::ControlMalformed);
    };
    let source = hip.source.ip();
    let other_port = hip.destination.port() != 0 && hip.destination.port() != context.udp_port;
    let by_address = hip.receiver == [0; 16] || other_port;
    let own = context.places.hits.contains(&hip.receiver);
    if own || (by_address && is_own(hip.destination.ip(), context)) {
        // What is for other ports does not get to the control plane.
        if inside || other_port || admission.own.admits(source, Instant::now()) {
            return Decision::Accept;
        }
        return Decision::Drop(Counter::ControlLimited);
    }
    let sender = if inside {
        Sender::Inside
    } else if leads_to(source, context) {
        Sender::Correspondent
    } else {
        Sender::Stranger
    };
    if sender == Sender::Stranger && !admission.transit.admits(source, Instant::now()) {
        return Decision::Drop(Counter::ControlLimited);
    }
    let full = Decision::Drop(Counter::ControlQueueFull);
    // The copy is made only if it will be taken.
    if !context.events.has_room(sender, source) {
        return full;
    }
    let event = HipPacket {
        data: hip.data.into(),
        source: hip.source,
        destination: hip.destination,
        sender,
        interface: ticket.interface,
    };
    if context.events.push(event) {
        Decision::Drop(Counter::Control)
    } else {
        full
    }
}

fn leads_to(address: IpAddr, context: &Context<'_>) -> bool {
    let ways = context.ways.lock().unwrap_or_else(PoisonError::into_inner);
    ways.leads_to(address)
}

/// One hop more; false at the end of a packet's lifetime.
fn age(packet: &mut [u8]) -> bool {
    let Some(header) = Header::parse(packet) else {
        return false;
    };
    if header.hop_limit <= 1 {
        return false;
    }
    match header.version {
        Version::V4 => {
            let old = be16(packet, 8);
            packet[8] -= 1;
            let new = be16(packet, 8);
            let sum = |word| checksum::add_number(0, word);
            checksum::exchange(packet, 10, sum(old), sum(new));
        }
        Version::V6 => packet[7] -= 1,
    }
    true
}
