//! What the path counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::drops::named;

named! {
    /// Packets, unless something else is told.
    Counter {
        /// That the kernel handed over.
        Received = "received",
        /// Sent on, rewritten.
        Rewritten = "rewritten",
        /// Octets of those, with IP headers.
        RewrittenBytes = "rewritten_bytes",
        /// Handed back to the kernel: for this host, or of no concern to a mobile router.
        Accepted = "accepted",
        /// HIP packets handed to the control plane.
        Control = "control",
        /// HIP packets sent for the control plane.
        ControlSent = "control_sent",
        /// Dropped: HIP packets that the control plane had no time for.
        ControlQueueFull = "control_queue_full",
        /// Dropped: HIP packets of strangers outside, beyond what they may send in a second.
        ControlLimited = "control_limited",
        /// Dropped: HIP packets that are not whole, or whose checksum is wrong.
        ControlMalformed = "control_malformed",
        /// Dropped: ESP that there is no way for.
        Unknown = "unknown_spi",
        /// Dropped: neither ESP nor HIP, or not whole.
        Malformed = "malformed",
        /// Dropped: parts of packets.
        Fragment = "fragments_dropped",
        /// Dropped: at the end of their lifetime (TTL, hop limit).
        Expired = "expired",
        /// Dropped: too long for the link; the sender was told, if there was not too much to tell.
        TooBig = "too_big",
        /// Dropped: the system did not send them.
        SendFailed = "send_failed",
        /// Dropped: the network devices had no time for them.
        SendQueueFull = "send_queue_full",
        /// Sent in pieces: too long for the link, and to be cut.
        Fragmented = "fragmented",
        /// Errors from routers outside, translated for the client.
        ErrorsTranslated = "icmp_translated",
        /// Senders told of what was too long.
        ErrorsSent = "icmp_sent",
        /// Not told, as it would have been too often.
        ErrorsLimited = "icmp_limited",
        /// Batches that were dropped for a defect of this program, which the log tells of.
        Defects = "defects",
        /// Calls to the system, for batches.
        ReceiveCalls = "receive_calls",
        SendCalls = "send_calls",
    }
}

/// One for each. Any thread counts.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Counter::ALL.len()]);

impl Counters {
    pub fn add(&self, counter: Counter, count: usize) {
        self.0[counter as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn one(&self, counter: Counter) {
        self.add(counter, 1);
    }

    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_documented() {
        let page = include_str!("../../../../docs/mobile-router.md");
        for counter in Counter::ALL {
            let name = counter.name();
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn each_counts_for_itself() {
        let counters = Counters::default();
        for (count, counter) in Counter::ALL.iter().enumerate() {
            counters.add(*counter, count);
        }
        for (count, counter) in (0..).zip(Counter::ALL) {
            assert_eq!(counters.read(*counter), count);
        }
    }
}
