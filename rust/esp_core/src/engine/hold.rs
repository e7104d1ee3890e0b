//! Packets that wait for a security association: bounded in every direction.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use crate::offload::VnetHeader;

/// Packets held for one destination.
const MAX_PACKETS: usize = 64;
/// Octets held for one destination.
const MAX_BYTES: usize = 256 << 10;
/// Destinations that packets are held for.
const MAX_DESTINATIONS: usize = 256;
/// How long a packet is held.
const TIMEOUT_MS: u64 = 10_000;
/// How often the control plane is reminded of a destination.
const REMIND_MS: u64 = 1_000;

/// A packet as it came from the TUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub packet: Box<[u8]>,
    pub vnet: VnetHeader,
    since_ms: u64,
}

#[derive(Default)]
struct Queue {
    packets: VecDeque<Held>,
    bytes: usize,
    reminded_ms: Option<u64>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub held: bool,
    /// The control plane is to be told.
    pub remind: bool,
}

/// Packets by the HIT or LSI they are for.
#[derive(Default)]
pub(super) struct HoldTable {
    queues: HashMap<IpAddr, Queue>,
}

impl HoldTable {
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Keep a packet, if there is room for it.
    pub(super) fn hold(
        &mut self,
        destination: IpAddr,
        packet: &[u8],
        vnet: VnetHeader,
        now_ms: u64,
    ) -> Holding {
        if self.queues.len() >= MAX_DESTINATIONS && !self.queues.contains_key(&destination) {
            return Holding {
                held: false,
                remind: false,
            };
        }
        let queue = self.queues.entry(destination).or_default();
        let remind = queue
            .reminded_ms
            .is_none_or(|last| now_ms >= last + REMIND_MS);
        if remind {
            queue.reminded_ms = Some(now_ms);
        }
        let held = queue.packets.len() < MAX_PACKETS && queue.bytes + packet.len() <= MAX_BYTES;
        if held {
            queue.bytes += packet.len();
            queue.packets.push_back(Held {
                packet: packet.into(),
                vnet,
                since_ms: now_ms,
            });
        }
        Holding { held, remind }
    }

    /// Take everything held for a destination, oldest first.
    pub(super) fn take(&mut self, destination: IpAddr) -> VecDeque<Held> {
        self.queues
            .remove(&destination)
            .map(|queue| queue.packets)
            .unwrap_or_default()
    }

    /// Discard what has waited too long; returns how many packets.
    pub(super) fn expire(&mut self, now_ms: u64) -> usize {
        let mut count = 0;
        self.queues.retain(|_, queue| {
            while queue
                .packets
                .front()
                .is_some_and(|held| held.since_ms + TIMEOUT_MS <= now_ms)
            {
                queue.bytes -= queue
                    .packets
                    .pop_front()
                    .map_or(0, |held| held.packet.len());
                count += 1;
            }
            // A queue that only remembers the last reminder goes too, once that has no effect.
            !queue.packets.is_empty()
                || queue
                    .reminded_ms
                    .is_some_and(|last| now_ms < last + REMIND_MS)
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn destination(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0100_0000 + n).into()
    }

    fn hold(table: &mut HoldTable, n: u32, packet: &[u8], now_ms: u64) -> Holding {
        table.hold(destination(n), packet, VnetHeader::default(), now_ms)
    }

    #[test]
    fn in_order_with_one_reminder_a_second() {
        let mut table = HoldTable::default();
        assert_eq!(
            hold(&mut table, 1, &[1], 0),
            Holding {
                held: true,
                remind: true
            }
        );
        assert!(!hold(&mut table, 1, &[2], 999).remind);
        assert!(hold(&mut table, 1, &[3], 1000).remind);
        let packets: Vec<u8> = table
            .take(destination(1))
            .iter()
            .map(|held| held.packet[0])
            .collect();
        assert_eq!(packets, [1, 2, 3]);
        assert!(table.take(destination(1)).is_empty());
    }

    #[test]
    fn bounded_in_packets_octets_and_destinations() {
        let mut table = HoldTable::default();
        let held = (0..100)
            .filter(|_| hold(&mut table, 1, &[1], 0).held)
            .count();
        assert_eq!(held, MAX_PACKETS);
        let large = vec![0; 65_536];
        let held = (0..100)
            .filter(|_| hold(&mut table, 2, &large, 0).held)
            .count();
        assert_eq!(held, 4);
        let held = (3..1000)
            .filter(|n| hold(&mut table, *n, &[1], 0).held)
            .count();
        assert_eq!(held, MAX_DESTINATIONS - 2);
    }

    #[test]
    fn ten_seconds() {
        let mut table = HoldTable::default();
        hold(&mut table, 1, &[1], 0);
        hold(&mut table, 1, &[2], 5_000);
        assert_eq!(table.expire(9_999), 0);
        assert_eq!(table.expire(10_000), 1);
        assert_eq!(table.expire(15_000), 1);
        assert!(table.is_empty());
    }
}
