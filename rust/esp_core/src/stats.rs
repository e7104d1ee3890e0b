//! Counters that each data thread keeps for itself, and that readers add up.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::drops::{named, DropReason};
#[cfg(feature = "stage-cycles")]
use crate::stages::Stage;

named! {
    /// What is counted besides drops.
    Counter {
        TunRxPackets = "tun_rx_packets",
        TunRxBytes = "tun_rx_bytes",
        TunTxPackets = "tun_tx_packets",
        TunTxBytes = "tun_tx_bytes",
        TapRxFrames = "tap_rx_frames",
        TapRxBytes = "tap_rx_bytes",
        TapTxFrames = "tap_tx_frames",
        TapTxBytes = "tap_tx_bytes",
        /// ESP packets received, authentic or not.
        NetRxPackets = "net_rx_packets",
        NetRxBytes = "net_rx_bytes",
        NetTxPackets = "net_tx_packets",
        NetTxBytes = "net_tx_bytes",
        /// HIP packets over UDP handed to the control plane.
        ControlPackets = "control_packets",
        /// STUN messages handed to the control plane.
        StunMessages = "stun_messages",
        Keepalives = "keepalives",
        DummyPackets = "dummy_packets",
        /// Copies made of broadcast, multicast and unknown unicast frames.
        FloodedFrames = "flooded_frames",
        FragmentsSent = "fragments_sent",
        /// Pieces from peers, and IPv4 fragments from the TUN.
        FragmentsReceived = "fragments_received",
        Reassembled = "reassembled",
        /// Super-packets read from a device and split.
        SplitPackets = "split_packets",
        /// Packets that were written to a device as part of a larger one.
        CoalescedPackets = "coalesced_packets",
        MssClamped = "mss_clamped",
        MacsLearned = "macs_learned",
        MacsMoved = "macs_moved",
        /// Sources not learned, as the table of the segment is full.
        MacTableFull = "mac_table_full",
        /// Frames that a router marked with congestion on the way, handed on with the mark inside.
        EcnMarked = "ecn_marked",
        /// Hellos of other endboxes on the LAN here.
        HellosHeard = "hellos_heard",
        TooBigSent = "too_big_sent",
        EventsLost = "events_lost",
        /// ESP packets between clients of the data relay and their peers.
        RelayedPackets = "relayed_packets",
        RelayedBytes = "relayed_bytes",
        /// HIP packets passed on to clients of the rendezvous server by the engine.
        RendezvousPackets = "rendezvous_packets",
        /// Trains of equal-sized datagrams that went out in one piece (UDP_SEGMENT).
        GsoTrains = "gso_trains",
        /// Trains that the kernel refused and that went out one by one.
        GsoFallbacks = "gso_fallbacks",
        /// Datagrams that came in as part of a train (UDP_GRO).
        GroSegments = "gro_segments",
        ReadCalls = "read_calls",
        WriteCalls = "write_calls",
        SendCalls = "send_calls",
        ReceiveCalls = "receive_calls",
        PollCalls = "poll_calls",
        /// Times that a data thread that ran before others let them have their turns again.
        PrecedenceGivenUp = "precedence_given_up",
        /// Data threads that the system did not let run before others.
        PrecedenceRefused = "precedence_refused",
    }
}

/// The counters of one thread.
///
/// INVARIANT: one thread writes, any may read. So an increment is a load and a store without a
/// locked instruction, and no count is lost.
#[derive(Debug)]
#[repr(align(64))]
pub struct Counters {
    counters: [AtomicU64; Counter::ALL.len()],
    drops: [AtomicU64; DropReason::ALL.len()],
    #[cfg(feature = "stage-cycles")]
    ticks: [AtomicU64; Stage::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counters: std::array::from_fn(|_| AtomicU64::new(0)),
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
            #[cfg(feature = "stage-cycles")]
            ticks: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Counters {
    /// Count `n` more. Only the owning thread may call it.
    pub fn add(&self, counter: Counter, n: usize) {
        bump(&self.counters[counter as usize], n as u64);
    }

    /// Count one dropped packet. Only the owning thread may call it.
    pub fn dropped(&self, reason: DropReason) {
        self.dropped_many(reason, 1);
    }

    /// Count dropped packets. Only the owning thread may call it.
    pub fn dropped_many(&self, reason: DropReason, n: usize) {
        bump(&self.drops[reason as usize], n as u64);
    }

    /// Count what a stage took. Only the owning thread may call it.
    #[cfg(feature = "stage-cycles")]
    pub(crate) fn add_ticks(&self, stage: Stage, ticks: u64) {
        bump(&self.ticks[stage as usize], ticks);
    }

    /// Ticks that a stage took so far.
    #[cfg(feature = "stage-cycles")]
    #[must_use]
    pub fn ticks(&self, stage: Stage) -> u64 {
        self.ticks[stage as usize].load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn drop_count(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }
}

/// Increment a number that only this thread writes.
pub(crate) fn bump(number: &AtomicU64, n: u64) {
    number.store(
        number.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}
