//! Messages of a netfilter queue (linux/netfilter/nfnetlink_queue.h).

use std::ops::Range;

use crate::packet::be32;

/// `struct nlmsghdr` and `struct nfgenmsg`, which every message begins with.
const HEADER_LEN: usize = 16;
const GENERIC_LEN: usize = 4;
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// The queue's part of netfilter's messages, in the high octet of their type.
const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const VERDICT: u16 = SUBSYSTEM | 1;
const CONFIG: u16 = SUBSYSTEM | 2;
const VERDICT_BATCH: u16 = SUBSYSTEM | 3;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;
const ERROR: u16 = libc::NLMSG_ERROR as u16;

/// Attributes of packets and verdicts.
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const INTERFACE_IN: u16 = 5;
const PAYLOAD: u16 = 10;
const WHOLE_LENGTH: u16 = 13;
const TYPE_MASK: u16 = 0x3fff;

/// Attributes of the configuration.
const COMMAND: u16 = 1;
const PARAMETERS: u16 = 2;
const MOST_WAITING: u16 = 3;

const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const COPY_ALL: u32 = 0xffff;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// A packet that waits in the queue for its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Counts upwards through the queue.
    pub id: u32,
    /// Index of the interface that it came in by; 0 for none.
    pub interface: u32,
    /// Where it lies in the message. In front of it there are `SPINAT`'s octets of headroom.
    pub packet: Range<usize>,
    /// Its end is missing.
    pub cut: bool,
}

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Packet(Queued),
    /// A request was refused (errno), or done (0).
    Result(i32),
    /// Something else, or not whole.
    Other,
}

impl Message {
    /// Read the message that a datagram begins with; the queue sends one in each.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Self {
        if datagram.len() < HEADER_LEN + GENERIC_LEN {
            return Self::Other;
        }
        let len = native32(datagram, 0) as usize;
        if len < HEADER_LEN + GENERIC_LEN || len > datagram.len() {
            return Self::Other;
        }
        match u16::from_ne_bytes([datagram[4], datagram[5]]) {
            PACKET => packet(&datagram[..len]).map_or(Self::Other, Self::Packet),
            ERROR => Self::Result((native32(datagram, HEADER_LEN) as i32).wrapping_neg()),
            _ => Self::Other,
        }
    }
}

fn packet(message: &[u8]) -> Option<Queued> {
    let mut queued = Queued {
        id: 0,
        interface: 0,
        packet: 0..0,
        cut: false,
    };
    let (mut header, mut whole) = (false, None);
    let mut at = HEADER_LEN + GENERIC_LEN;
    while at + ATTRIBUTE_HEADER_LEN <= message.len() {
        let len = usize::from(u16::from_ne_bytes([message[at], message[at + 1]]));
        let kind = u16::from_ne_bytes([message[at + 2], message[at + 3]]) & TYPE_MASK;
        if len < ATTRIBUTE_HEADER_LEN || at + len > message.len() {
            return None;
        }
        let value = at + ATTRIBUTE_HEADER_LEN..at + len;
        match (kind, value.len()) {
            (PACKET_HEADER, 4..) => {
                queued.id = be32(message, value.start);
                header = true;
            }
            (INTERFACE_IN, 4..) => queued.interface = be32(message, value.start),
            (WHOLE_LENGTH, 4..) => whole = Some(be32(message, value.start) as usize),
            (PAYLOAD, _) => queued.packet = value,
            _ => {}
        }
        at += len.next_multiple_of(ATTRIBUTE_HEADER_LEN);
    }
    queued.cut = whole.is_some_and(|whole| whole != queued.packet.len());
    header.then_some(queued)
}

/// Messages that are to be sent together.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
}

impl Requests {
    /// Room for so many verdicts.
    #[must_use]
    pub fn with_room(verdicts: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(verdicts * 32),
        }
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Take a queue, with whole packets, of which this many may wait.
    pub fn bind(&mut self, queue: u16, most: u32) {
        let bind = [BIND, 0, 0, 0];
        self.push(CONFIG, ACKNOWLEDGE, queue, &[(COMMAND, &bind)]);
        let mut parameters = [0; 5];
        parameters[..4].copy_from_slice(&COPY_ALL.to_be_bytes());
        parameters[4] = COPY_PACKET;
        let most = most.to_be_bytes();
        let attributes: [(u16, &[u8]); 2] = [(PARAMETERS, &parameters), (MOST_WAITING, &most)];
        self.push(CONFIG, ACKNOWLEDGE, queue, &attributes);
    }

    /// Let a packet go on its way.
    pub fn accept(&mut self, queue: u16, id: u32) {
        self.verdict(VERDICT, queue, NF_ACCEPT, id);
    }

    /// Drop all packets up to this one that had no verdict yet.
    pub fn drop_up_to(&mut self, queue: u16, id: u32) {
        self.verdict(VERDICT_BATCH, queue, NF_DROP, id);
    }

    fn verdict(&mut self, kind: u16, queue: u16, verdict: u32, id: u32) {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&verdict.to_be_bytes());
        value[4..].copy_from_slice(&id.to_be_bytes());
        self.push(kind, 0, queue, &[(VERDICT_HEADER, &value)]);
    }

    fn push(&mut self, kind: u16, flags: u16, queue: u16, attributes: &[(u16, &[u8])]) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend([0; 8]);
        // Family: none in particular; version 0; the queue.
        self.bytes.extend([0, 0]);
        self.bytes.extend(queue.to_be_bytes());
        for (kind, value) in attributes {
            let len = ATTRIBUTE_HEADER_LEN + value.len();
            self.bytes.extend((len as u16).to_ne_bytes());
            self.bytes.extend(kind.to_ne_bytes());
            self.bytes.extend(*value);
            let end = self.bytes.len().next_multiple_of(ATTRIBUTE_HEADER_LEN);
            self.bytes.resize(end, 0);
        }
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }
}

fn native32(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut requests = Requests::default();
        requests.push(PACKET, 0, 7, attributes);
        requests.bytes
    }

    #[test]
    fn a_packet_is_found_behind_enough_room() {
        let header = [0, 0, 1, 2, 8, 0, 0];
        let attributes: [(u16, &[u8]); 3] = [
            (PACKET_HEADER, &header),
            (INTERFACE_IN, &[0, 0, 0, 9]),
            (PAYLOAD, &[0x45; 21]),
        ];
        let bytes = message(&attributes);
        let Message::Packet(queued) = Message::parse(&bytes) else {
            panic!("not a packet");
        };
        assert_eq!((queued.id, queued.interface, queued.cut), (0x102, 9, false));
        assert_eq!(&bytes[queued.packet.clone()], [0x45; 21]);
        assert!(queued.packet.start >= crate::spinat::HEADROOM);
    }

    #[test]
    fn a_packet_that_was_cut() {
        let attributes: [(u16, &[u8]); 3] = [
            (PACKET_HEADER, &[0; 7]),
            (WHOLE_LENGTH, &[0, 1, 0, 0]),
            (PAYLOAD, &[0x45; 20]),
        ];
        let parsed = Message::parse(&message(&attributes));
        assert!(matches!(parsed, Message::Packet(Queued { cut: true, .. })));
    }

    #[test]
    fn verdicts_as_the_kernel_reads_them() {
        let mut requests = Requests::with_room(2);
        requests.accept(7, 5);
        requests.drop_up_to(7, 6);
        let mut expected = Vec::new();
        for (kind, verdict, id) in [(VERDICT, 1u8, 5u8), (VERDICT_BATCH, 0, 6)] {
            expected.extend(32u32.to_ne_bytes());
            expected.extend(kind.to_ne_bytes());
            expected.extend(1u16.to_ne_bytes());
            expected.extend([0; 8]);
            expected.extend([0, 0, 0, 7]);
            expected.extend(12u16.to_ne_bytes());
            expected.extend(2u16.to_ne_bytes());
            expected.extend([0, 0, 0, verdict, 0, 0, 0, id]);
        }
        assert_eq!(requests.bytes(), expected);
    }

    #[test]
    fn a_refusal() {
        let mut bytes = message(&[]);
        bytes[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(Message::parse(&bytes), Message::Result(libc::EPERM));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), whole in any::<bool>()) {
            let mut bytes = bytes;
            if whole && bytes.len() >= 20 {
                let len = bytes.len() as u32;
                bytes[..4].copy_from_slice(&len.to_ne_bytes());
                bytes[4..6].copy_from_slice(&PACKET.to_ne_bytes());
            }
            if let Message::Packet(queued) = Message::parse(&bytes) {
                prop_assert!(queued.packet.end <= bytes.len());
            }
        }
    }
}
