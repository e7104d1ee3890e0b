//! The engine: two directions, the threads that run them, and what the control plane does to them.
//!
//! One direction (`egress`) reads the TUN and the TAPs, seals and sends; the other (`ingress`)
//! receives, opens and writes. Each takes a packet from one end to the other by itself (no hand-off,
//! so no reordering), owns the security associations of its direction, and learns of changes by a
//! queue. What both look at (MAC tables, LSIs, flows) is read without a lock. So nothing on the
//! packet path waits for the control plane, nor the other way round. One thread runs both while it
//! can, two when it is too much for one (`threads`).

mod capabilities;
mod clock;
mod command;
mod control;
mod credit;
mod device;
mod egress;
mod error;
mod fair_share;
mod hold;
mod inbound;
mod ingress;
mod lan;
mod outbound;
mod outbox;
mod peer;
mod precedence;
mod registry;
mod relay;
mod rendezvous;
mod setup;
mod socket;
mod source;
mod threads;
mod used_keys;
mod worker;

use std::{
    net::IpAddr,
    os::fd::RawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

pub use self::{
    capabilities::capabilities,
    control::{MacLine, SaLine},
    error::EngineError,
    lan::{ElectionLine, ElectionParameters},
    peer::SaNumbers,
    registry::Direction,
    relay::{Permission, PortKey},
    rendezvous::{RendezvousClient, RendezvousLimits, RendezvousMac},
    socket::UdpOffloads,
    threads::ThreadOptions,
};

use self::{
    clock::Clock,
    command::{CommandReceiver, CommandSender, EgressCommand, IngressCommand},
    device::Device,
    hold::HoldTable,
    registry::Registry,
    socket::Socket,
};
use crate::{
    beet::{Hit, LocalHits, Lsi},
    ecn::MarkPolicy,
    events::EventQueue,
    l2::{
        framing::Framing,
        hello::Election,
        mac_table::{MacLearner, MacTable},
        ownership::Ownership,
    },
    layout::Format,
    stats::Counters,
};

/// Octets that the largest packet of a device may have.
const MTU_RANGE: std::ops::RangeInclusive<usize> = 576..=65_535;

/// The segment numbers that may be used.
pub const MAX_SEGMENTS: u32 = 4096;

/// Where the packets of a security association come from or go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaPath {
    /// Own address; the system chooses it if there is none.
    pub local: Option<IpAddr>,
    pub remote: IpAddr,
    pub udp: bool,
    pub local_port: u16,
    pub remote_port: u16,
    /// Octets of the largest packet, counted from the outer IP header; for sending.
    pub mtu: usize,
    /// Index of the interface to send by; the routing table chooses it if it is 0.
    pub interface: u32,
    /// Whether the peer has been proven to be there. If not, no more is sent there than the peer has
    /// credit for (RFC 8046 §5.6).
    pub verified: bool,
    /// What the peer's mobile router knows its packets by; written in the place of the SPI when the
    /// ICV has been computed (draft-melen-spinat-01 §4.2). 0 where there is none. For sending.
    pub wire_spi: u32,
}

/// How the packets of a security association look, beside what its suite says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketForm {
    pub format: Format,
    pub framing: Framing,
    /// Each sequence number is taken once only. Not where several senders have one key, whose
    /// numbers are their own; without ESN only, as nothing tells the high half then.
    pub replay: bool,
    /// TCP and UDP of a flow that the peer began is IPv4 (by LSI) unless it says otherwise.
    pub begins_by_lsi: bool,
}

impl Default for PacketForm {
    fn default() -> Self {
        Self {
            format: Format::default(),
            framing: Framing::default(),
            replay: true,
            begins_by_lsi: false,
        }
    }
}

/// A security association to install.
pub struct SaParameters<'a> {
    pub direction: Direction,
    pub spi: u32,
    pub suite: u16,
    pub encryption_key: &'a [u8],
    pub authentication_key: &'a [u8],
    pub local_hit: Hit,
    pub peer_hit: Hit,
    pub path: SaPath,
    /// The segment whose frames it carries, 0 for none.
    pub segment: u32,
    pub replay_window: u32,
    pub form: PacketForm,
}

/// A TAP to carry.
#[derive(Clone, Copy, Debug)]
pub struct TapParameters {
    pub fd: RawFd,
    /// From 1.
    pub segment: u32,
    /// Octets of the largest IP packet in a frame, which has to reach the peers.
    pub mtu: usize,
    pub mss_clamp: bool,
    pub vnet_hdr: bool,
    pub mac_limit: usize,
    pub mac_age_s: u32,
    pub marks: MarkPolicy,
}

/// The TUN to carry.
#[derive(Clone, Copy, Debug)]
pub struct TunParameters {
    pub fd: RawFd,
    /// Octets of the largest packet.
    pub mtu: usize,
    pub local_hit: Hit,
    /// This host's HIT of the other version of HIP, if it has both.
    pub second_hit: Option<Hit>,
    pub local_lsi: Lsi,
    pub vnet_hdr: bool,
    pub marks: MarkPolicy,
}

struct Segment {
    number: u32,
    device: Arc<Device>,
    mss_clamp: bool,
    marks: MarkPolicy,
    macs: Arc<MacTable>,
    /// Handed to the receiving thread at the start.
    learner: Option<MacLearner>,
    ownership: Arc<Ownership>,
    election: Option<Arc<Election>>,
}

struct Tun {
    device: Arc<Device>,
    local_hits: LocalHits,
    local_lsi: Lsi,
    marks: MarkPolicy,
}

enum Phase {
    /// Sockets and devices may be added.
    Setup {
        egress: CommandReceiver<EgressCommand>,
        ingress: CommandReceiver<IngressCommand>,
    },
    Running(Vec<JoinHandle<()>>),
    Stopped,
}

struct Inner {
    phase: Phase,
    sockets: Vec<Socket>,
    /// Those sockets, once the threads run.
    shared_sockets: Arc<[Socket]>,
    segments: Vec<Segment>,
    tun: Option<Tun>,
    registry: Registry,
}

impl Inner {
    fn sockets(&self) -> &[Socket] {
        match self.phase {
            Phase::Setup { .. } => &self.sockets,
            _ => &self.shared_sockets,
        }
    }
}

/// The data plane. All methods may be called from any thread.
pub struct Engine {
    inner: Mutex<Inner>,
    egress: Arc<CommandSender<EgressCommand>>,
    ingress: Arc<CommandSender<IngressCommand>>,
    events: Arc<EventQueue>,
    hold: Arc<Mutex<HoldTable>>,
    clock: Clock,
    egress_counters: Arc<Counters>,
    ingress_counters: Arc<Counters>,
    relay: relay::Relay,
    relay_counters: Arc<Counters>,
    rendezvous: Arc<rendezvous::Shared>,
    /// Written by whoever has locked `inner`.
    control_counters: Counters,
}

impl Engine {
    /// An engine without sockets and devices.
    pub fn new() -> Result<Self, EngineError> {
        // What a tick is gets known better the earlier this is looked at first.
        #[cfg(feature = "stage-cycles")]
        let _ = crate::stages::nanoseconds(0);
        let failed = |error| EngineError::System("make an eventfd", error);
        let (egress, egress_receiver) = command::queue().map_err(failed)?;
        let (ingress, ingress_receiver) = command::queue().map_err(failed)?;
        Ok(Self {
            inner: Mutex::new(Inner {
                phase: Phase::Setup {
                    egress: egress_receiver,
                    ingress: ingress_receiver,
                },
                sockets: Vec::new(),
                shared_sockets: Arc::new([]),
                segments: Vec::new(),
                tun: None,
                registry: Registry::default(),
            }),
            egress: Arc::new(egress),
            ingress: Arc::new(ingress),
            events: Arc::new(EventQueue::new().map_err(failed)?),
            hold: Arc::default(),
            clock: Clock::default(),
            egress_counters: Arc::default(),
            ingress_counters: Arc::default(),
            relay: relay::Relay::new().map_err(failed)?,
            relay_counters: Arc::default(),
            rendezvous: Arc::default(),
            control_counters: Counters::default(),
        })
    }

    /// The queue of what the control plane is to know.
    #[must_use]
    pub fn events(&self) -> &EventQueue {
        &self.events
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
