//! STUN messages among what comes in over UDP: answers that tell how NATs map the own port.

use super::{Ingress, Outer};
use crate::{drops::DropReason, events::Event, packet::be32, stats::Counter};

const HEADER_LEN: usize = 20;
/// Octets of the longest message over UDP: what fits the least MTU of IPv6 (RFC 8489 §6.1).
const MAX_LEN: usize = 1280 - 40 - 8;
const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Whether a datagram is one STUN message (RFC 8489 §5, §6.3): two zero bits, the cookie, and its
/// own length. ESP of a small SPI may begin so as well; whoever asks looks for that one first.
pub(super) fn is_message(datagram: &[u8]) -> bool {
    (HEADER_LEN..=MAX_LEN).contains(&datagram.len())
        && datagram[0] & 0xC0 == 0
        && be32(datagram, 4) == MAGIC_COOKIE
        && usize::from(u16::from_be_bytes([datagram[2], datagram[3]])) + HEADER_LEN
            == datagram.len()
}

impl Ingress {
    /// Hand a STUN message to the control plane.
    pub(super) fn stun(&mut self, message: &[u8], outer: &Outer) {
        let event = Event::Stun {
            data: message.into(),
            local: outer.local(),
            remote: outer.remote.ip(),
            local_port: outer.local_port,
            remote_port: outer.remote.port(),
        };
        if self.events.push(event) {
            self.counters.add(Counter::StunMessages, 1);
        } else {
            self.counters.dropped(DropReason::ControlQueueFull);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: usize) -> Vec<u8> {
        let mut message = vec![0; HEADER_LEN + body];
        message[..2].copy_from_slice(&kind.to_be_bytes());
        message[2..4].copy_from_slice(&(body as u16).to_be_bytes());
        message[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        message
    }

    #[test]
    fn messages_are_told_from_anything_else() {
        assert!(is_message(&message(0x0101, 0)));
        assert!(is_message(&message(0x0101, 12)));
        assert!(is_message(&message(0x0101, MAX_LEN - HEADER_LEN)));
        assert!(!is_message(&message(0x0101, MAX_LEN - HEADER_LEN + 1)));
        assert!(!is_message(&message(0x4101, 12)), "not two zero bits");
        assert!(!is_message(&message(0x0101, 12)[..31]), "cut");
        assert!(!is_message(&[message(0x0101, 12), vec![0]].concat()));
        let mut other = message(0x0101, 12);
        other[4] ^= 1;
        assert!(!is_message(&other), "another cookie");
        assert!(!is_message(&[]));
        assert!(!is_message(&message(0x0101, 0)[..19]));
    }
}
