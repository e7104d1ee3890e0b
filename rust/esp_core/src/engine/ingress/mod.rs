//! The thread that receives, opens, and writes to the TUN and the TAPs.

mod deliver;
mod report;
mod stun;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

pub(super) use deliver::{IngressSegment, IngressTun};
use report::UnknownSpis;

use super::{
    clock::{seconds, Clock},
    command::{CommandReceiver, IngressCommand, Signalled},
    inbound::InboundSas,
    relay::Outgoing,
    rendezvous::Server,
    socket::{Socket, SocketKind},
    source::Source,
    worker::{Worker, TICK_MS},
};
use crate::{
    drops::DropReason,
    events::{Event, EventQueue},
    fragment::reassembly::Pool,
    offload::coalesce::Place,
    packet::{be32, ip, protocol},
    stages::{Lap, Stage},
    stats::{Counter, Counters},
    sys::{
        control_message::Received,
        receive::{Datagram, ReceiveBatch},
    },
};

/// Trains, or single datagrams where the kernel joins none, received at once over UDP.
const UDP_SLOTS: usize = 64;
const UDP_SLOT_LEN: usize = 65_536;
/// Datagrams that may come at once however few have come before.
const FEW_SLOTS: usize = 4;
/// Packets received at once over IP, where the kernel never joins them.
const ESP_SLOTS: usize = 64;
const ESP_SLOT_LEN: usize = 16_384;
/// Octets to receive at once: what is opened and written should still be in the CPU's cache.
const BATCH_BYTES: usize = 256 << 10;
/// Octets received from one socket before the next one has its turn.
const TURN_BYTES: usize = 1 << 20;
/// Batches, likewise.
const TURN: usize = 16;
/// Packets opened before the first of them is looked into. What the cipher has just written is
/// still on its way to the cache, and reading it across its stores would stall the CPU.
const LAG: usize = 8;
/// Payloads reassembled before all that is queued is written, and their buffers can be used again.
const MAX_WHOLE: usize = 32;
/// Octets of a frame as long as those of usual LANs get.
const JUMBO: usize = 9216;
/// Octets of SPI and sequence number.
const ESP_FRONT: usize = 8;

/// The buffer number of the batch itself; reassembled payloads have numbers from 1.
const BATCH: u32 = 0;

/// What the thread is started with.
pub(super) struct IngressParts {
    pub sockets: Arc<[Socket]>,
    pub segments: Vec<IngressSegment>,
    pub tun: Option<IngressTun>,
    pub relay: Option<Outgoing>,
    pub rendezvous: Option<Server>,
    pub commands: CommandReceiver<IngressCommand>,
    pub events: Arc<EventQueue>,
    pub counters: Arc<Counters>,
    pub clock: Clock,
}

/// The thread's state.
pub(super) struct Ingress {
    sockets: Arc<[Socket]>,
    segments: Vec<IngressSegment>,
    tun: Option<IngressTun>,
    sas: InboundSas,
    /// Where this host is a data relay: what clients send for their peers.
    relay: Option<Outgoing>,
    /// Where this host is a rendezvous server: calls for its clients.
    rendezvous: Option<Server>,
    commands: CommandReceiver<IngressCommand>,
    events: Arc<EventQueue>,
    counters: Arc<Counters>,
    clock: Clock,
    now_ms: u64,
    last_tick_ms: u64,
    unknown: UnknownSpis,
    /// The SPI for which the source of this datagram or train was looked at, or 0.
    source_seen: u32,
    /// Lent to `receive`, so never there while it runs.
    udp: Option<ReceiveBatch>,
    esp: Option<ReceiveBatch>,
    /// Octets of a datagram or train that came in last, on average.
    mean_bytes: usize,
    /// How many of them there were.
    last_count: usize,
    /// Datagrams received since last asked that were not part of a train.
    singles: u32,
    pool: Pool,
    /// Security associations with pieces that wait for the rest.
    reassembling: Vec<u32>,
    /// Packets that were opened and are still to be delivered.
    opened: Vec<Payload>,
    /// Payloads reassembled in this batch; buffer n + 1 of what is queued for the devices.
    whole: Vec<Vec<u8>>,
}

/// What an opened packet carries.
struct Payload {
    spi: u32,
    next_header: u8,
    /// Where it lies in the batch.
    range: Range<usize>,
}

/// What came with a packet from outside.
#[derive(Clone, Copy)]
struct Outer {
    remote: SocketAddr,
    received: Received,
    /// The socket's; 0 without UDP.
    local_port: u16,
    udp: bool,
    /// Octets of the headers in front of ESP.
    overhead: usize,
}

impl Outer {
    fn new(socket: &Socket, remote: SocketAddr, received: Received) -> Self {
        let udp = socket.kind == SocketKind::Udp;
        let ip = if remote.is_ipv6() {
            ip::V6_HEADER_LEN
        } else {
            ip::V4_HEADER_LEN
        };
        Self {
            remote,
            received,
            local_port: socket.port,
            udp,
            overhead: if udp { ip + ip::UDP_HEADER_LEN } else { ip },
        }
    }

    /// The own address it came to, or none of the family.
    fn local(&self) -> IpAddr {
        self.received.local.unwrap_or(match self.remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
    }

    fn source(&self) -> Source {
        Source {
            remote: self.remote,
            local: self.received.local,
            udp: self.udp,
        }
    }
}

impl Ingress {
    #[must_use]
    pub(super) fn new(parts: IngressParts) -> Self {
        Self {
            sockets: parts.sockets,
            segments: parts.segments,
            tun: parts.tun,
            sas: InboundSas::default(),
            relay: parts.relay,
            rendezvous: parts.rendezvous,
            commands: parts.commands,
            events: parts.events,
            counters: parts.counters,
            clock: parts.clock,
            now_ms: 0,
            last_tick_ms: 0,
            unknown: UnknownSpis::new(),
            source_seen: 0,
            udp: Some(ReceiveBatch::new(UDP_SLOTS, UDP_SLOT_LEN)),
            esp: Some(ReceiveBatch::new(ESP_SLOTS, ESP_SLOT_LEN)),
            mean_bytes: 0,
            last_count: 0,
            singles: 0,
            pool: Pool::filled(JUMBO),
            reassembling: Vec::new(),
            opened: Vec::with_capacity(LAG),
            whole: Vec::with_capacity(MAX_WHOLE),
        }
    }

    /// Carry out what the control plane asks for.
    fn obey(&mut self) {
        while let Some(command) = self.commands.next() {
            let gone = match command {
                IngressCommand::AddSa(sa) => self.sas.add(sa),
                IngressCommand::RemoveSa { spi } => self.sas.remove(spi),
            };
            if let Some(mut sa) = gone {
                sa.reassembler.clear(&mut self.pool, &self.counters);
            }
        }
    }

    /// Forget what is too old, twice a second at most.
    fn tick(&mut self) {
        if self.now_ms < self.last_tick_ms + u64::from(TICK_MS) {
            return;
        }
        self.last_tick_ms = self.now_ms;
        for segment in &mut self.segments {
            segment.sweep(seconds(self.now_ms));
        }
        let Self {
            sas,
            pool,
            counters,
            now_ms,
            ..
        } = self;
        self.reassembling.retain(|spi| {
            let Some(sa) = sas.get(*spi) else {
                return false;
            };
            sa.reassembler.expire(*now_ms, pool, counters);
            sa.looked_after = !sa.reassembler.is_empty();
            sa.looked_after
        });
    }

    /// Receive from a socket; true if there is no more for now.
    fn receive(&mut self, socket: &Socket, batch: &mut ReceiveBatch) -> bool {
        let mut turn_bytes = 0;
        for _ in 0..TURN {
            // A slot costs a few cache lines, which are cold when a packet comes alone after a pause.
            let expected = FEW_SLOTS.max(2 * self.last_count).min(batch.slots());
            let slots = (BATCH_BYTES / self.mean_bytes.max(1)).clamp(1, expected);
            self.counters.add(Counter::ReceiveCalls, 1);
            let lap = Lap::begin();
            let received = batch.receive(socket.as_fd(), slots);
            lap.end(&self.counters, Stage::Receive);
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Other errors are about packets sent before; the socket lives on.
                Err(_) => return true,
            };
            // What was asked for before these were sent holds for them.
            if self.commands.waiting() {
                self.obey();
            }
            let mut bytes = 0;
            for slot in 0..count {
                let datagram = batch.datagram(slot);
                bytes += datagram.range.len();
                self.singles += u32::from(datagram.received.segment_size == 0);
                self.datagram(socket, batch.data_mut(), datagram);
            }
            self.flush(batch.data());
            self.mean_bytes = bytes / count.max(1);
            self.last_count = count;
            turn_bytes += bytes;
            if count < slots {
                return true;
            }
            if turn_bytes >= TURN_BYTES {
                break;
            }
        }
        false
    }

    /// Take a datagram or train apart.
    fn datagram(&mut self, socket: &Socket, data: &mut [u8], datagram: Datagram) {
        let (Some(remote), false) = (datagram.remote, datagram.truncated) else {
            self.counters.dropped(DropReason::Truncated);
            return;
        };
        let mut outer = Outer::new(socket, remote, datagram.received);
        self.source_seen = 0;
        match socket.kind {
            SocketKind::Udp => {
                if self.is_relayed(&data[datagram.range.clone()], &outer) {
                    return;
                }
                let size = match outer.received.segment_size {
                    0 => datagram.range.len().max(1),
                    size => {
                        let segments = datagram.range.len().div_ceil(size);
                        self.counters.add(Counter::GroSegments, segments);
                        size
                    }
                };
                let mut start = datagram.range.start;
                while start < datagram.range.end {
                    let end = (start + size).min(datagram.range.end);
                    self.udp(socket, data, start..end, &outer);
                    start = end;
                }
            }
            SocketKind::Esp if socket.v6 => self.esp(data, datagram.range, &outer),
            SocketKind::Esp => {
                // IPv4 raw sockets give the header as well.
                let Some(header) = ip::Header::parse(&data[datagram.range.clone()]) else {
                    self.counters.dropped(DropReason::Runt);
                    return;
                };
                outer.received.traffic_class = header.traffic_class;
                outer.received.hop_limit = header.hop_limit;
                let start = datagram.range.start;
                self.esp(data, start + header.len..start + header.total, &outer);
            }
        }
        self.deliver(data, &outer);
    }

    /// Whether all of a datagram or train is a relay client's data, which is then sent on.
    fn is_relayed(&mut self, data: &[u8], outer: &Outer) -> bool {
        self.relay
            .as_mut()
            .is_some_and(|relay| relay.take(data, outer.remote, &outer.received, &self.counters))
    }

    /// Tell HIP, keepalives and ESP apart (RFC 9028 §5.1, RFC 3948 §2).
    fn udp(&mut self, socket: &Socket, data: &mut [u8], range: Range<usize>, outer: &Outer) {
        match &data[range.clone()] {
            [0xff] => self.counters.add(Counter::Keepalives, 1),
            [0, 0, 0, 0, packet @ ..] => self.control(socket, packet, outer),
            _ => self.esp(data, range, outer),
        }
    }

    fn esp(&mut self, data: &mut [u8], range: Range<usize>, outer: &Outer) {
        self.counters.add(Counter::NetRxPackets, 1);
        self.counters.add(Counter::NetRxBytes, range.len());
        if let Err(reason) = self.try_esp(data, range, outer) {
            self.counters.dropped(reason);
        }
    }

    fn try_esp(
        &mut self,
        data: &mut [u8],
        range: Range<usize>,
        outer: &Outer,
    ) -> Result<(), DropReason> {
        if range.len() < ESP_FRONT {
            return Err(DropReason::Runt);
        }
        let packet = &mut data[range.clone()];
        let (spi, sequence_low) = (be32(packet, 0), be32(packet, 4));
        if self.sas.get(spi).is_none() {
            // It may have been installed since the batch came in.
            self.obey();
        }
        let Some(sa) = self.sas.get(spi) else {
            let alone = Outer {
                received: Received {
                    segment_size: 0,
                    ..outer.received
                },
                ..*outer
            };
            if self.is_relayed(&data[range.clone()], &alone) {
                return Ok(());
            }
            if outer.udp && stun::is_message(&data[range.clone()]) {
                self.stun(&data[range], outer);
                return Ok(());
            }
            self.report_unknown(spi, outer);
            return Err(DropReason::UnknownSpi);
        };
        let lap = Lap::begin();
        let opened = sa.open(packet, sequence_low, self.now_ms);
        lap.end(&self.counters, Stage::Open);
        let opened = opened?;
        if sa.first_data_due {
            sa.first_data_due = !self.events.push(Event::FirstData { spi });
        }
        sa.peer
            .credit
            .earn(outer.overhead + range.len(), self.now_ms);
        // A late packet from the old path says nothing about the new one.
        if opened.newest && self.source_seen != spi {
            self.source_seen = spi;
            let tell = || report::source_changed(&self.events, &self.counters, spi, outer);
            sa.source.came_from(outer.source(), self.now_ms, tell);
        }
        self.opened.push(Payload {
            spi,
            next_header: opened.next_header,
            range: range.start + opened.payload.start..range.start + opened.payload.end,
        });
        if self.opened.len() == LAG {
            self.deliver(data, outer);
        }
        Ok(())
    }

    /// Deliver what was opened, in order.
    fn deliver(&mut self, data: &mut [u8], outer: &Outer) {
        let mut opened = std::mem::take(&mut self.opened);
        for payload in opened.drain(..) {
            let lap = Lap::begin();
            let delivered = self.deliver_one(data, payload, outer);
            lap.end(&self.counters, Stage::Deliver);
            if let Err(reason) = delivered {
                self.counters.dropped(reason);
            }
        }
        self.opened = opened;
    }

    fn deliver_one(
        &mut self,
        data: &mut [u8],
        payload: Payload,
        outer: &Outer,
    ) -> Result<(), DropReason> {
        match payload.next_header {
            protocol::NONE => {
                self.counters.add(Counter::DummyPackets, 1);
                return Ok(());
            }
            protocol::FRAGMENT if is_ours(&data[payload.range.clone()]) => {
                let result = self.reassemble(payload.spi, &data[payload.range], outer);
                if self.whole.len() >= MAX_WHOLE {
                    self.flush(data);
                }
                return result;
            }
            _ => {}
        }
        let Self {
            sas,
            segments,
            tun,
            counters,
            now_ms,
            ..
        } = self;
        // It may have been removed just now, while one behind it was looked up.
        let sa = sas.get(payload.spi).ok_or(DropReason::UnknownSpi)?;
        let place = Place {
            buffer: BATCH,
            range: payload.range,
        };
        let mut delivery = deliver::Delivery {
            segments,
            tun: tun.as_mut(),
            counters,
            now_ms: *now_ms,
        };
        delivery.deliver(sa, payload.next_header, data, place, &outer.received)
    }

    /// Add a piece of a payload, and deliver the payload that it completes.
    fn reassemble(&mut self, spi: u32, piece: &[u8], outer: &Outer) -> Result<(), DropReason> {
        let Self {
            sas,
            segments,
            tun,
            counters,
            now_ms,
            pool,
            ..
        } = self;
        let sa = sas.get(spi).ok_or(DropReason::UnknownSpi)?;
        let class = outer.received.traffic_class;
        let whole = sa
            .reassembler
            .insert_marked(piece, class, *now_ms, pool, counters);
        if !sa.looked_after && !sa.reassembler.is_empty() {
            sa.looked_after = true;
            self.reassembling.push(spi);
        }
        let Some(whole) = whole else {
            return Ok(());
        };
        self.whole.push(whole.payload);
        let buffer = self.whole.len();
        let payload = &mut self.whole[buffer - 1];
        let place = Place {
            buffer: buffer as u32,
            range: 0..payload.len(),
        };
        let mut delivery = deliver::Delivery {
            segments,
            tun: tun.as_mut(),
            counters,
            now_ms: *now_ms,
        };
        let received = Received {
            traffic_class: whole.traffic_class,
            ..outer.received
        };
        delivery.deliver(sa, whole.next_header, payload, place, &received)
    }

    /// Write everything queued to the devices.
    fn flush(&mut self, data: &[u8]) {
        let Self {
            segments,
            tun,
            counters,
            whole,
            ..
        } = self;
        for segment in segments {
            segment.flush(data, whole, counters);
        }
        if let Some(tun) = tun {
            tun.flush(data, whole, counters);
        }
        for buffer in self.whole.drain(..) {
            self.pool.give_back(buffer);
        }
    }
}

impl Worker for Ingress {
    fn commands(&self) -> &dyn Signalled {
        &self.commands
    }

    fn sources<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        for socket in &*self.sockets {
            add(socket.as_fd());
        }
    }

    fn begin(&mut self) {
        self.now_ms = self.clock.now_ms();
        self.obey();
        self.tick();
    }

    fn drain(&mut self, source: usize) -> Result<bool, String> {
        let sockets = self.sockets.clone();
        let socket = &sockets[source];
        let mut lent = match socket.kind {
            SocketKind::Udp => self.udp.take(),
            SocketKind::Esp => self.esp.take(),
        };
        let drained = lent
            .as_mut()
            .is_none_or(|batch| self.receive(socket, batch));
        match socket.kind {
            SocketKind::Udp => self.udp = lent,
            SocketKind::Esp => self.esp = lent,
        }
        Ok(drained)
    }

    fn provoked(&mut self, look: &mut dyn FnMut(usize)) {
        let segments = self.segments.iter_mut().map(IngressSegment::take_written);
        let tun = self.tun.iter_mut().map(IngressTun::take_written);
        for (device, _) in segments
            .chain(tun)
            .enumerate()
            .filter(|(_, written)| *written)
        {
            look(device);
        }
    }

    fn awaits_time(&self) -> bool {
        !self.reassembling.is_empty() || self.segments.iter().any(IngressSegment::is_ageing)
    }

    fn take_singles(&mut self) -> u32 {
        std::mem::take(&mut self.singles)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Whether a fragment is to be reassembled here: of Ethernet, or of IPv4 traffic. Those of IPv6
/// traffic are for the host's own kernel.
fn is_ours(payload: &[u8]) -> bool {
    matches!(
        payload.first(),
        Some(&protocol::ETHERIP | &protocol::BEET_PSEUDO_HEADER | &protocol::ICMP)
    )
}
