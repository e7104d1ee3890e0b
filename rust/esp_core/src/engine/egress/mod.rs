//! The thread that reads the TUN and the TAPs, seals, and sends.

mod frames;
mod inner_fragments;
mod packets;
mod targets;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use inner_fragments::InnerFragments;

use super::{
    clock::Clock,
    command::{CommandReceiver, EgressCommand, Signalled},
    device::{Device, ReadResult},
    hold::HoldTable,
    outbound::{OutboundPeers, OutboundSa},
    outbox::{Marks, Outbox},
    peer::Peer,
    worker::Worker,
};
use crate::{
    beet::{flows::FlowMemory, LocalHits, Lsi},
    drops::DropReason,
    ecn::MarkPolicy,
    events::EventQueue,
    fragment::{piece_len, FragmentHeader, MAX_PAYLOAD},
    l2::{hello::Election, mac_table::MacTable, ownership::Ownership},
    offload::GsoKind,
    packet::{ip::FRAGMENT_HEADER_LEN, protocol},
    stages::{Lap, Stage},
    stats::{Counter, Counters},
};

/// Packets read from one device before the next one has its turn.
const TURN: usize = 64;

/// One Ethernet segment as this thread sees it.
pub(super) struct EgressSegment {
    pub device: Arc<Device>,
    pub macs: Arc<MacTable>,
    pub mss_clamp: bool,
    pub marks: MarkPolicy,
    /// Which addresses are behind whom, where that is configured.
    pub ownership: Arc<Ownership>,
    pub election: Option<Arc<Election>>,
}

/// The host's TUN as this thread sees it.
pub(super) struct EgressTun {
    pub device: Arc<Device>,
    pub local_hits: LocalHits,
    pub local_lsi: Lsi,
    pub marks: MarkPolicy,
    pub flows: Arc<FlowMemory>,
}

/// What the thread is started with.
pub(super) struct EgressParts {
    pub segments: Vec<EgressSegment>,
    pub tun: Option<EgressTun>,
    pub commands: CommandReceiver<EgressCommand>,
    pub hold: Arc<Mutex<HoldTable>>,
    pub events: Arc<EventQueue>,
    pub counters: Arc<Counters>,
    pub clock: Clock,
}

/// The thread's state.
pub(super) struct Egress {
    segments: Vec<EgressSegment>,
    tun: Option<EgressTun>,
    outbox: Outbox,
    peers: OutboundPeers,
    lsis: HashMap<Lsi, Arc<Peer>>,
    commands: CommandReceiver<EgressCommand>,
    hold: Arc<Mutex<HoldTable>>,
    /// Something may be in `hold`.
    holding: bool,
    /// Packets read since last asked that were no super-packets.
    singles: u32,
    events: Arc<EventQueue>,
    counters: Arc<Counters>,
    clock: Clock,
    now_ms: u64,
    inner_fragments: InnerFragments,
    /// Peers that a frame goes to.
    targets: Vec<usize>,
    /// A payload on its way to being fragmented.
    scratch: Vec<u8>,
}

impl Egress {
    #[must_use]
    pub(super) fn new(parts: EgressParts, outbox: Outbox) -> Self {
        Self {
            peers: OutboundPeers::new(parts.segments.len()),
            segments: parts.segments,
            tun: parts.tun,
            outbox,
            lsis: HashMap::new(),
            commands: parts.commands,
            hold: parts.hold,
            holding: false,
            singles: 0,
            events: parts.events,
            counters: parts.counters,
            clock: parts.clock,
            now_ms: 0,
            inner_fragments: InnerFragments::default(),
            targets: Vec::with_capacity(64),
            scratch: Vec::with_capacity(MAX_PAYLOAD),
        }
    }

    /// Read frames; true if there are no more for now.
    fn drain_tap(&mut self, index: usize) -> Result<bool, String> {
        for n in 0..TURN {
            let (start, area) = self.outbox.read_area();
            self.counters.add(Counter::ReadCalls, 1);
            let lap = Lap::begin();
            let result = self.segments[index].device.read(area);
            lap.end(&self.counters, Stage::Read);
            match result.map_err(|error| format!("cannot read from the TAP: {error}"))? {
                ReadResult::Nothing => return Ok(true),
                ReadResult::Bad(reason) => self.counters.dropped(reason),
                ReadResult::Packet { len, vnet } => {
                    self.singles += u32::from(vnet.kind == GsoKind::None);
                    self.counters.add(Counter::TapRxFrames, 1);
                    self.counters.add(Counter::TapRxBytes, len);
                    let read = self.obey_first(start..start + len);
                    self.frame(index, read, vnet);
                    if self.outbox.release(n == 0) {
                        self.obey();
                    }
                }
            }
        }
        Ok(false)
    }

    /// Read packets; true if there are no more for now.
    fn drain_tun(&mut self) -> Result<bool, String> {
        for n in 0..TURN {
            let Some(tun) = &self.tun else {
                return Ok(true);
            };
            let (start, area) = self.outbox.read_area();
            self.counters.add(Counter::ReadCalls, 1);
            let lap = Lap::begin();
            let result = tun.device.read(area);
            lap.end(&self.counters, Stage::Read);
            match result.map_err(|error| format!("cannot read from the TUN: {error}"))? {
                ReadResult::Nothing => return Ok(true),
                ReadResult::Bad(reason) => self.counters.dropped(reason),
                ReadResult::Packet { len, vnet } => {
                    self.singles += u32::from(vnet.kind == GsoKind::None);
                    self.counters.add(Counter::TunRxPackets, 1);
                    self.counters.add(Counter::TunRxBytes, len);
                    let read = self.obey_first(start..start + len);
                    self.packet(read, vnet);
                    if self.outbox.release(n == 0) {
                        self.obey();
                    }
                }
            }
        }
        Ok(false)
    }

    /// Carry out what was asked for before a packet was written that has just been read: it may be
    /// for a peer that was not there in the turn's beginning. Returns where the packet lies then.
    fn obey_first(&mut self, read: Range<usize>) -> Range<usize> {
        if !self.commands.waiting() {
            return read;
        }
        let packet = self.outbox.data()[read].to_vec();
        self.obey();
        let (start, area) = self.outbox.read_area();
        area[..packet.len()].copy_from_slice(&packet);
        start..start + packet.len()
    }

    /// Carry out what the control plane asks for.
    fn obey(&mut self) {
        while let Some(command) = self.commands.next() {
            match command {
                EgressCommand::AddSa(sa) => {
                    let peer = sa.peer.clone();
                    self.peers.add(*sa);
                    self.send_held(Ipv6Addr::from(peer.hit).into());
                    if let Some(lsi) = peer.lsi() {
                        self.send_held(Ipv4Addr::from(lsi).into());
                    }
                }
                EgressCommand::MoveSa { peer, spi, path } => self.peers.set_path(&peer, spi, path),
                EgressCommand::RemoveSa { peer, spi } => self.peers.remove(&peer, spi),
                EgressCommand::SetLsi { lsi, peer } => {
                    let reachable = self.peers.find_hit(&peer.hit).is_some();
                    self.lsis.insert(lsi, peer);
                    if reachable {
                        self.send_held(Ipv4Addr::from(lsi).into());
                    }
                }
                EgressCommand::RemoveLsi(lsi) => {
                    self.lsis.remove(&lsi);
                }
            }
        }
    }

    /// Send what is held for a destination, in order.
    fn send_held(&mut self, destination: IpAddr) {
        if !self.holding {
            return;
        }
        let packets = lock(&self.hold).take(destination);
        for held in packets {
            let (start, area) = self.outbox.read_area();
            area[..held.packet.len()].copy_from_slice(&held.packet);
            self.packet(start..start + held.packet.len(), held.vnet);
            self.outbox.release(false);
        }
    }

    fn expire(&mut self) {
        self.inner_fragments.expire(self.now_ms, &self.counters);
        if !self.holding {
            return;
        }
        let mut hold = lock(&self.hold);
        let expired = hold.expire(self.now_ms);
        self.holding = !hold.is_empty();
        self.counters.dropped_many(DropReason::HeldExpired, expired);
    }
}

/// Seal a payload in pieces. `header` is that of the first, but for `more`, which is that of the
/// last.
fn seal_fragments(
    outbox: &mut Outbox,
    counters: &Counters,
    sa: &mut OutboundSa,
    header: FragmentHeader,
    payload: &[u8],
    marks: Marks,
) {
    let piece = piece_len(payload.len(), sa.max_payload());
    let reach = header.offset + payload.len();
    let Some(piece) = piece.filter(|_| reach <= MAX_PAYLOAD) else {
        counters.dropped(DropReason::FrameTooLong);
        return;
    };
    let count = payload.len().div_ceil(piece);
    for (n, data) in payload.chunks(piece).enumerate() {
        let header = FragmentHeader {
            offset: header.offset + n * piece,
            more: header.more || n + 1 < count,
            ..header
        };
        let len = FRAGMENT_HEADER_LEN + data.len();
        outbox.seal_built(sa, protocol::FRAGMENT, len, marks, |_, out| {
            header.emit(out);
            out[FRAGMENT_HEADER_LEN..].copy_from_slice(data);
        });
    }
    counters.add(Counter::FragmentsSent, count);
}

impl Worker for Egress {
    fn commands(&self) -> &dyn Signalled {
        &self.commands
    }

    fn sources<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        for segment in &self.segments {
            add(segment.device.as_fd());
        }
        if let Some(tun) = &self.tun {
            add(tun.device.as_fd());
        }
    }

    fn begin(&mut self) {
        self.now_ms = self.clock.now_ms();
        self.outbox.set_time(self.now_ms);
        self.obey();
        self.outbox.flush();
        self.expire();
    }

    fn drain(&mut self, source: usize) -> Result<bool, String> {
        let drained = if source < self.segments.len() {
            self.drain_tap(source)
        } else {
            self.drain_tun()
        };
        self.outbox.flush();
        drained
    }

    fn provoked(&mut self, _: &mut dyn FnMut(usize)) {}

    fn awaits_time(&self) -> bool {
        self.holding || !self.inner_fragments.is_empty()
    }

    fn take_singles(&mut self) -> u32 {
        std::mem::take(&mut self.singles)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn lock(hold: &Mutex<HoldTable>) -> MutexGuard<'_, HoldTable> {
    hold.lock().unwrap_or_else(PoisonError::into_inner)
}
