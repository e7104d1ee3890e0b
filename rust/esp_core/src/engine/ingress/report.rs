//! What this thread tells the control plane about strangers' packets.

use std::{collections::hash_map::RandomState, hash::BuildHasher, net::SocketAddr};

use super::{Ingress, Outer, Socket};
use crate::{
    drops::DropReason,
    engine::socket::SocketKind,
    events::{Event, EventQueue},
    stats::{Counter, Counters},
};

/// Octets of the fixed HIP header (RFC 7401 §5.1).
const HIP_HEADER_LEN: usize = 40;
/// Octets of the longest HIP packet: its length field counts up to 255 units beyond the first.
const MAX_HIP_LEN: usize = 256 * 8;

/// Sources whose reports are told apart.
const SOURCES: usize = 256;
const REPORT_MS: u64 = 1_000;

/// When sources of unknown SPIs were last reported.
pub(super) struct UnknownSpis {
    hasher: RandomState,
    /// When the next report may be made, by hash of the source.
    next_ms: Box<[u64]>,
}

impl UnknownSpis {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            next_ms: vec![0; SOURCES].into_boxed_slice(),
        }
    }

    /// Whether to report this source now: once a second for each. Sources that share a place also
    /// share its rate, which bounds the reports of all.
    fn is_due(&mut self, remote: SocketAddr, now_ms: u64) -> bool {
        let hash = self.hasher.hash_one(remote);
        let next_ms = &mut self.next_ms[hash as usize % SOURCES];
        let due = now_ms >= *next_ms;
        if due {
            *next_ms = now_ms + REPORT_MS;
        }
        due
    }
}

/// Packets of a security association come from elsewhere now; false if nobody could be told.
pub(super) fn source_changed(
    events: &EventQueue,
    counters: &Counters,
    spi: u32,
    outer: &Outer,
) -> bool {
    let told = events.push(Event::SourceChanged {
        spi,
        local: outer.local(),
        local_port: outer.local_port,
        remote: outer.remote.ip(),
        remote_port: outer.remote.port(),
        udp: outer.udp,
    });
    counters.add(Counter::EventsLost, usize::from(!told));
    told
}

impl Ingress {
    /// ESP for an SPI that is not installed came in.
    pub(super) fn report_unknown(&mut self, spi: u32, outer: &Outer) {
        if !self.unknown.is_due(outer.remote, self.now_ms) {
            return;
        }
        let lost = !self.events.push(Event::UnknownSpi {
            spi,
            remote: outer.remote.ip(),
            remote_port: outer.remote.port(),
        });
        self.counters.add(Counter::EventsLost, usize::from(lost));
    }

    /// A HIP packet came in over UDP.
    pub(super) fn control(&mut self, socket: &Socket, packet: &[u8], outer: &Outer) {
        debug_assert_eq!(socket.kind, SocketKind::Udp);
        if packet.len() < HIP_HEADER_LEN {
            self.counters.dropped(DropReason::Runt);
            return;
        }
        if packet.len() > MAX_HIP_LEN {
            self.counters.dropped(DropReason::ControlTooLong);
            return;
        }
        let Self {
            rendezvous,
            sockets,
            counters,
            now_ms,
            ..
        } = self;
        if let Some(server) = rendezvous {
            if server.take(packet, outer.remote, sockets, counters, *now_ms) {
                return;
            }
        }
        let event = Event::Control {
            data: packet.into(),
            local: outer.local(),
            remote: outer.remote.ip(),
            local_port: socket.port,
            remote_port: outer.remote.port(),
        };
        if self.events.push(event) {
            self.counters.add(Counter::ControlPackets, 1);
        } else {
            self.counters.dropped(DropReason::ControlQueueFull);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_second_for_each_source() {
        let mut unknown = UnknownSpis::new();
        let source = |port| SocketAddr::from(([192, 0, 2, 1], port));
        assert!(unknown.is_due(source(1), 0));
        assert!(!unknown.is_due(source(1), 999));
        assert!(unknown.is_due(source(1), 1000));
        let due = (0..10_000)
            .filter(|port| unknown.is_due(source(*port), 5000))
            .count();
        assert!((200..=SOURCES).contains(&due), "{due}");
    }
}
