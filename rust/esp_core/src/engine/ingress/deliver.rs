//! From an opened packet to the device it is for.

use std::sync::Arc;

use crate::{
    beet::{
        flows::{Flow, FlowMemory},
        input::{ambiguous_ports, rebuild, Endpoints},
        LocalHits, Lsi,
    },
    drops::DropReason,
    ecn::{self, MarkPolicy},
    engine::{clock::seconds, device::Device, inbound::InboundSa},
    l2::{
        forwarding::Kind,
        hello::{Election, Extent},
        mac_table::{Learned, MacLearner},
        mss,
        ownership::{Ownership, Standing},
    },
    offload::coalesce::{Coalescer, Link, Place},
    packet::ethernet::{self, Header, TYPE_EXPERIMENTAL},
    stages::{Lap, Stage},
    stats::{Counter, Counters},
    sys::control_message::Received,
};

/// For inner headers, should the kernel not tell that of the outer one.
const DEFAULT_HOP_LIMIT: u8 = 64;

/// One Ethernet segment as the receiving thread sees it.
pub(crate) struct IngressSegment {
    device: Arc<Device>,
    macs: MacLearner,
    mss_clamp: bool,
    ownership: Arc<Ownership>,
    election: Option<Arc<Election>>,
    queue: Coalescer,
    written: bool,
}

impl IngressSegment {
    #[must_use]
    pub(crate) fn new(
        device: Arc<Device>,
        macs: MacLearner,
        mss_clamp: bool,
        ownership: Arc<Ownership>,
        election: Option<Arc<Election>>,
    ) -> Self {
        let queue = Coalescer::new(Link::Ethernet, device.offload(), device.udp_offload);
        Self {
            device,
            macs,
            mss_clamp,
            ownership,
            election,
            queue,
            written: false,
        }
    }

    /// Whether there are MAC addresses to forget in time.
    pub(super) fn is_ageing(&self) -> bool {
        !self.macs.table().is_empty()
    }

    pub(super) fn sweep(&mut self, now_s: u32) {
        self.macs.sweep(now_s);
    }

    pub(super) fn flush(&mut self, data: &[u8], whole: &[Vec<u8>], counters: &Counters) {
        let counted = (Counter::TapTxFrames, Counter::TapTxBytes);
        self.written |= write_all(
            &mut self.queue,
            &self.device,
            data,
            whole,
            counters,
            counted,
        );
    }

    /// Whether the device was written to since the last call.
    pub(super) fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.written)
    }

    /// Queue a frame that came from a peer.
    fn deliver(
        &mut self,
        sa: &InboundSa,
        buffer: &mut [u8],
        mut place: Place,
        outer: &Received,
        now_ms: u64,
        counters: &Counters,
    ) -> Result<(), DropReason> {
        place.range.start += sa.framing.frame_start(&buffer[place.range.clone()])?;
        let frame = &mut buffer[place.range.clone()];
        let header = Header::parse(frame).ok_or(DropReason::FrameTooShort)?;
        if ethernet::is_link_local(&header.destination) {
            return Err(DropReason::LinkLocalFrame);
        }
        if ethernet::is_group(&header.source) {
            return Err(DropReason::GroupSource);
        }
        let kind = if self.ownership.is_idle() {
            None
        } else {
            self.ownership.admit(sa.standing, frame, &header)?
        };
        let elected = match &self.election {
            Some(election) => elected(election, sa, &header, kind, now_ms),
            None => Ok(()),
        };
        // Who stands by learns as well, for when it delivers.
        if !matches!(elected, Ok(()) | Err(DropReason::ElectionLost)) {
            return elected;
        }
        let learned = self
            .macs
            .learn(&header.source, header.vlan, sa.peer.id, seconds(now_ms));
        match learned {
            Learned::Known => {}
            Learned::New => counters.add(Counter::MacsLearned, 1),
            Learned::Moved => counters.add(Counter::MacsMoved, 1),
            Learned::TableFull => counters.add(Counter::MacTableFull, 1),
        }
        elected?;
        if self.mss_clamp {
            let room = sa.peer.frame_room();
            let clamped =
                room > header.len && mss::clamp(&mut frame[header.len..], room - header.len);
            counters.add(Counter::MssClamped, usize::from(clamped));
        }
        if ecn::matters(outer.traffic_class) {
            ecn::into_frame(frame, &header, outer.traffic_class, counters)?;
        }
        match &self.election {
            // Bridges on a LAN with several endboxes would see the sender move between them.
            Some(election)
                if kind == Some(Kind::Multicast) && sa.standing != Standing::Learning =>
            {
                frame[6..12].copy_from_slice(election.own_mac());
            }
            _ => {}
        }
        self.queue.push(&[], frame, place);
        Ok(())
    }
}

/// Whether the election leaves a frame to this endbox.
fn elected(
    election: &Election,
    sa: &InboundSa,
    header: &Header,
    kind: Option<Kind>,
    now_ms: u64,
) -> Result<(), DropReason> {
    if header.ethertype == TYPE_EXPERIMENTAL {
        return Err(DropReason::BadHello);
    }
    if sa.peer.is_on_lan(now_ms) {
        return Err(DropReason::SameLan);
    }
    if !election.is_passive(now_ms) {
        return Ok(());
    }
    let lost = match (sa.standing, election.extent()) {
        (Standing::Learning, Extent::Everything) => true,
        (Standing::Learning, Extent::Multicast) => ethernet::is_group(&header.destination),
        // ARP comes by one endbox only, whoever was elected.
        _ => matches!(kind, Some(Kind::Multicast | Kind::Broadcast)),
    };
    if lost {
        Err(DropReason::ElectionLost)
    } else {
        Ok(())
    }
}

/// The host's TUN as the receiving thread sees it.
pub(crate) struct IngressTun {
    device: Arc<Device>,
    local_lsi: Lsi,
    local_hits: LocalHits,
    marks: MarkPolicy,
    flows: Arc<FlowMemory>,
    queue: Coalescer,
    written: bool,
}

impl IngressTun {
    #[must_use]
    pub(crate) fn new(
        device: Arc<Device>,
        (local_hits, local_lsi): (LocalHits, Lsi),
        marks: MarkPolicy,
        flows: Arc<FlowMemory>,
    ) -> Self {
        let queue = Coalescer::new(Link::Ip, device.offload(), device.udp_offload);
        Self {
            device,
            local_lsi,
            local_hits,
            marks,
            flows,
            queue,
            written: false,
        }
    }

    pub(super) fn flush(&mut self, data: &[u8], whole: &[Vec<u8>], counters: &Counters) {
        let counted = (Counter::TunTxPackets, Counter::TunTxBytes);
        self.written |= write_all(
            &mut self.queue,
            &self.device,
            data,
            whole,
            counters,
            counted,
        );
    }

    /// Whether the device was written to since the last call.
    pub(super) fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.written)
    }

    /// Queue a packet that came from a peer.
    fn deliver(
        &mut self,
        sa: &InboundSa,
        next_header: u8,
        buffer: &mut [u8],
        mut place: Place,
        received: &Received,
        now_s: u32,
    ) -> Result<(), DropReason> {
        if !self.local_hits.contains(&sa.local_hit) {
            return Err(DropReason::NoTun);
        }
        let endpoints = Endpoints {
            local_hit: sa.local_hit,
            peer_hit: sa.peer.hit,
            local_lsi: self.local_lsi,
            peer_lsi: sa.peer.lsi(),
            traffic_class: self.marks.inner(received.traffic_class),
            hop_limit: if received.hop_limit == 0 {
                DEFAULT_HOP_LIMIT
            } else {
                received.hop_limit
            },
        };
        let payload = &mut buffer[place.range.clone()];
        let lsi = ambiguous_ports(next_header, payload).is_some_and(|ports| {
            let flow = Flow {
                peer: sa.peer.id,
                protocol: next_header,
                local_port: ports.0,
                remote_port: ports.1,
            };
            let by_lsi = if sa.begins_by_lsi {
                !self.flows.knows(flow.by_hit(), now_s)
            } else {
                self.flows.knows(flow, now_s)
            };
            endpoints.peer_lsi.is_some() && by_lsi
        });
        let rebuilt = rebuild(next_header, payload, &endpoints, lsi)?;
        place.range.start += rebuilt.rest;
        self.queue
            .push(rebuilt.header(), &payload[rebuilt.rest..], place);
        Ok(())
    }
}

/// Everything that an opened packet may be delivered to.
pub(super) struct Delivery<'a> {
    pub(super) segments: &'a mut [IngressSegment],
    pub(super) tun: Option<&'a mut IngressTun>,
    pub(super) counters: &'a Counters,
    pub(super) now_ms: u64,
}

impl Delivery<'_> {
    /// Queue the payload at `place` in `buffer` for its device.
    pub(super) fn deliver(
        &mut self,
        sa: &InboundSa,
        next_header: u8,
        buffer: &mut [u8],
        place: Place,
        received: &Received,
    ) -> Result<(), DropReason> {
        if next_header == sa.framing.next_header() {
            let segment = sa.segment.and_then(|index| self.segments.get_mut(index));
            let segment = segment.ok_or(DropReason::NoSegment)?;
            return segment.deliver(sa, buffer, place, received, self.now_ms, self.counters);
        }
        let tun = self.tun.as_deref_mut().ok_or(DropReason::NoTun)?;
        let now_s = seconds(self.now_ms);
        tun.deliver(sa, next_header, buffer, place, received, now_s)
    }
}

/// Write what is queued for a device, and begin anew; true if there was something.
fn write_all(
    queue: &mut Coalescer,
    device: &Device,
    data: &[u8],
    whole: &[Vec<u8>],
    counters: &Counters,
    (packets, bytes): (Counter, Counter),
) -> bool {
    if queue.is_empty() {
        return false;
    }
    for output in queue.outputs() {
        let (vnet, headers, count) = (output.vnet, output.headers, output.packets);
        let mut len = headers.len();
        let payloads = output.map(|place| {
            let buffer = match place.buffer as usize {
                0 => data,
                n => &whole[n - 1][..],
            };
            len += place.range.len();
            &buffer[place.range.clone()]
        });
        counters.add(Counter::WriteCalls, 1);
        let lap = Lap::begin();
        let written = device.write(&vnet, std::iter::once(headers).chain(payloads));
        lap.end(counters, Stage::Write);
        match written {
            Ok(()) => {
                counters.add(packets, count);
                counters.add(bytes, len);
            }
            Err(_) => counters.dropped_many(DropReason::DeviceRefused, count),
        }
    }
    counters.add(Counter::CoalescedPackets, queue.take_joined());
    queue.clear();
    true
}
