//! Packets whose two sides differ in family or framing: they get new headers, as `Spinat::rewrite`
//! gives them.
//!
//! What a new header takes from the old one is noted down on the stack, since making room for it
//! moves everything.

use super::{
    builder::{
        Alu, Builder, Helper, Is, Label, Size, FRAME, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9,
    },
    maps::{shape, Global, Value},
    program::{
        esp_at, field, fold16, Ip, Writer, CHECKSUM, ESP, PACKETS, SKB_DATA, SKB_DATA_END,
        SKB_GSO_SIZE, SKB_PROTOCOL, UDP, V4, V6,
    },
    trains::BELOW_TRAINS,
};
use crate::packet::{ip::V4 as V4Header, protocol};

// The stack, below what `if_to_be_made` needs.
const TRAFFIC_CLASS: i16 = BELOW_TRAINS - 8;
/// TTL or hop limit, one less than it came with.
const LIMIT: i16 = BELOW_TRAINS - 16;
/// Identification and "don't fragment", as IPv4 has them.
const FRAGMENT: i16 = BELOW_TRAINS - 24;
/// Whether it came in UDP.
const WAS_UDP: i16 = BELOW_TRAINS - 32;
/// Where the packet ends.
const END: i16 = BELOW_TRAINS - 40;
/// Octets that are still to be summed up.
const LEFT: i16 = BELOW_TRAINS - 48;
const SUM: i16 = BELOW_TRAINS - 56;
/// Octets of each datagram of joined ones; 0 for one alone.
const EACH: i16 = BELOW_TRAINS - 64;
/// Whether the kernel is still to make the UDP checksum.
const TO_BE_MADE: i16 = BELOW_TRAINS - 72;
/// The new headers, and the SPI.
const HEADERS: i16 = BELOW_TRAINS - 128;

/// Octets that are summed up by one call: as many as kernels before 6.13 take.
const AT_ONCE: i32 = 512;
/// Longer packets are not summed up here: the verifier has to see that no sum of offsets overflows.
const MOST_SUMMED: i32 = 0x7fff;

const DONT_FRAGMENT: i32 = V4Header::DONT_FRAGMENT.to_be() as i32;
const V4_CHECKSUM: i16 = 10;
/// As the pseudo header has it.
const UDP_NUMBER: i32 = (protocol::UDP as u16).to_be() as i32;

/// Room in front of the IP header (BPF_ADJ_ROOM_MAC).
const IN_FRONT: i32 = 1;
/// BPF_F_RECOMPUTE_CSUM: what the kernel knows of the sum of the whole packet stays true.
const KEEP_SUM: i32 = 1;

impl Writer<'_> {
    /// Note down what is needed of a packet that gets other headers. 9 has the octets of ESP then.
    pub(super) fn note(&mut self, ip: Ip, udp: bool) {
        let [alone, one_way, apart] = [(); 3].map(|()| self.to.label());
        let to = &mut self.to;
        to.store_number(Size::B8, FRAME, TO_BE_MADE, 0);
        to.store_number(Size::B8, FRAME, PACKETS, 1);
        to.load(Size::B4, R2, R6, SKB_GSO_SIZE);
        to.store(Size::B8, FRAME, EACH, R2);
        to.jump_if_number(R2, Is::Equal, 0, alone);
        if udp {
            // A new SPI for each would have to be written before it is known that there is room.
            self.unless_new_spi(one_way);
        }
        self.to.place(apart);
        self.leave(Global::Joined);
        if udp {
            self.to.place(one_way);
            self.of_one_way(ip, apart);
        }
        let to = &mut self.to;
        to.place(alone);
        if ip.v6 {
            to.load(Size::B2, R0, R7, 0);
            to.network16(R0);
            to.alu_number(Alu::ShiftRight, R0, 4);
            to.alu_number(Alu::And, R0, 0xff);
            to.store_number(Size::B8, FRAME, FRAGMENT, 0);
            to.store_number(Size::B2, FRAME, FRAGMENT + 2, DONT_FRAGMENT);
        } else {
            to.load(Size::B2, R0, R7, 4);
            to.store(Size::B2, FRAME, FRAGMENT, R0);
            to.load(Size::B2, R0, R7, 6);
            to.alu_number(Alu::And, R0, DONT_FRAGMENT);
            to.store(Size::B2, FRAME, FRAGMENT + 2, R0);
            to.load(Size::B1, R0, R7, 1);
        }
        to.store(Size::B8, FRAME, TRAFFIC_CLASS, R0);
        to.load(Size::B1, R0, R7, ip.limit);
        to.alu_number(Alu::Add, R0, -1);
        to.store(Size::B8, FRAME, LIMIT, R0);
        to.store_number(Size::B8, FRAME, WAS_UDP, udp.into());
        to.set(R0, R9);
        to.alu_number(Alu::Add, R0, self.ethernet.into());
        to.store(Size::B8, FRAME, END, R0);
        to.alu_number(Alu::Add, R9, -i32::from(esp_at(ip, udp)));
        let reshape = self.reshape;
        if udp {
            let [made, to_be_made] = [(); 2].map(|()| self.to.label());
            self.to.load(Size::B8, R0, FRAME, CHECKSUM);
            self.to.jump_if_number(R0, Is::Equal, 0, made);
            self.if_to_be_made(ip, to_be_made);
            let to = &mut self.to;
            to.place(made);
            to.load(Size::B8, R0, FRAME, EACH);
            to.jump_if_number(R0, Is::Equal, 0, reshape);
            // Each has a checksum of its own (fraglist GRO).
            to.jump(apart);
            to.place(to_be_made);
            to.store_number(Size::B8, FRAME, TO_BE_MADE, 1);
        }
        self.to.jump(reshape);
    }

    /// Give packets that have been noted down the headers of their way.
    pub(super) fn reshape(&mut self) {
        let forms = [(V4, false), (V4, true), (V6, false), (V6, true)];
        let forms = forms.map(|(ip, udp)| (ip, udp, self.to.label()));
        let reshape = self.reshape;
        self.to.place(reshape);
        self.to.load(Size::B4, R7, R8, field!(shape));
        for (ip, udp, label) in forms {
            let number = shape(ip.v6, udp) as i32;
            self.to.jump_if_number(R7, Is::Equal, number, label);
        }
        self.pass();
        for (ip, udp, label) in forms {
            self.to.place(label);
            self.becomes(ip, udp);
        }
    }

    fn becomes(&mut self, ip: Ip, udp: bool) {
        self.has_grown(ip, udp);
        self.checksum(ip, udp);
        self.room(ip, udp);
        self.count(0);
        self.ip_header(ip, udp);
        let to = &mut self.to;
        let at = HEADERS + ip.len;
        if udp {
            to.load(Size::B4, R0, R8, field!(ports));
            to.store(Size::B4, FRAME, at, R0);
            udp_length(to);
            to.store(Size::B2, FRAME, at + 4, R0);
            to.load(Size::B8, R0, FRAME, CHECKSUM);
            to.store(Size::B2, FRAME, at + 6, R0);
        }
        to.load(Size::B4, R0, R8, field!(spi));
        to.store(Size::B4, FRAME, HEADERS + esp_at(ip, udp), R0);
        to.set(R1, R6);
        to.set_number(R2, self.ethernet.into());
        to.set(R3, FRAME);
        to.alu_number(Alu::Add, R3, HEADERS.into());
        to.set_number(R4, i32::from(esp_at(ip, udp)) + 4);
        to.set_number(R5, KEEP_SUM);
        to.call(Helper::SkbStoreBytes);
        self.or_drop();
        self.send();
    }

    /// Leave what would be too long with its new headers.
    fn has_grown(&mut self, ip: Ip, udp: bool) {
        let [alone, too_long, fits] = [(); 3].map(|()| self.to.label());
        self.mtu(too_long);
        let to = &mut self.to;
        to.set(R2, R9);
        to.alu_number(Alu::Add, R2, esp_at(ip, udp).into());
        to.jump_if_number(R2, Is::Greater, u16::MAX.into(), too_long);
        to.load(Size::B8, R0, FRAME, EACH);
        to.jump_if_number(R0, Is::Equal, 0, alone);
        to.set(R2, R0);
        to.alu_number(Alu::Add, R2, esp_at(ip, udp).into());
        to.place(alone);
        to.jump_if(R2, Is::AtMost, R1, fits);
        to.place(too_long);
        self.leave(Global::TooLong);
        self.to.place(fits);
    }

    /// The UDP checksum to the stack, in 16 bits, if there is to be one.
    fn checksum(&mut self, ip: Ip, udp: bool) {
        let [made, done] = [(); 2].map(|()| self.to.label());
        let to = &mut self.to;
        to.load(Size::B8, R0, FRAME, TO_BE_MADE);
        to.jump_if_number(R0, Is::Equal, 0, made);
        if udp {
            // The kernel needs the sum of the pseudo header there.
            to.load(Size::B4, R3, R8, field!(sum));
            udp_length(to);
            to.alu(Alu::Add, R3, R0);
            to.alu_number(Alu::Add, R3, UDP_NUMBER);
            fold16(to);
            to.store(Size::B8, FRAME, CHECKSUM, R3);
            to.jump(done);
        } else {
            // It would make it where there is no UDP header any more.
            let alone = to.label();
            to.load(Size::B8, R0, FRAME, EACH);
            to.jump_if_number(R0, Is::Equal, 0, alone);
            self.leave(Global::Joined);
            self.to.place(alone);
            self.leave(Global::OtherShape);
        }
        self.to.place(made);
        if udp {
            self.to.store_number(Size::B8, FRAME, CHECKSUM, 0);
        }
        // IPv4 needs none for ESP (RFC 3948 §2.1), IPv6 does (RFC 8200 §8.1).
        if udp && ip.v6 {
            self.udp_checksum();
        }
        self.to.place(done);
    }

    /// The checksum of UDP over IPv6 to the stack, in 16 bits.
    fn udp_checksum(&mut self) {
        let [failed, done] = [(); 2].map(|()| self.to.label());
        let to = &mut self.to;
        to.load(Size::B8, R2, FRAME, END);
        to.jump_if_number(R2, Is::Greater, MOST_SUMMED, failed);
        to.set(R1, R6);
        to.call(Helper::SkbPullData);
        to.jump_if_number(R0, Is::NotEqual, 0, failed);
        to.set(R0, R9);
        to.alu_number(Alu::Add, R0, -4);
        to.store(Size::B8, FRAME, LEFT, R0);
        to.store_number(Size::B8, FRAME, SUM, 0);
        let mut size = AT_ONCE;
        while size > 0 {
            self.sum(size, failed);
            size /= 2;
        }
        let to = &mut self.to;
        udp_length(to);
        to.load(Size::B8, R3, FRAME, SUM);
        // Once in its own header, once in the pseudo header.
        to.alu(Alu::Add, R3, R0);
        to.alu(Alu::Add, R3, R0);
        to.alu_number(Alu::Add, R3, UDP_NUMBER);
        for field in [field!(spi), field!(ports), field!(sum)] {
            to.load(Size::B4, R0, R8, field);
            to.alu(Alu::Add, R3, R0);
        }
        fold16(to);
        to.alu_number(Alu::Xor, R3, 0xffff);
        to.store(Size::B8, FRAME, CHECKSUM, R3);
        to.jump_if_number(R3, Is::NotEqual, 0, done);
        to.store_number(Size::B8, FRAME, CHECKSUM, 0xffff);
        to.jump(done);
        to.place(failed);
        self.leave(Global::OtherShape);
        self.to.place(done);
    }

    /// Add so many octets to the sum if that many are left; of the greatest number as often as there
    /// are.
    fn sum(&mut self, size: i32, failed: Label) {
        let [again, next] = [(); 2].map(|()| self.to.label());
        let to = &mut self.to;
        to.place(again);
        to.load(Size::B8, R2, FRAME, LEFT);
        to.jump_if_number(R2, Is::AtMost, size - 1, next);
        to.load(Size::B8, R1, FRAME, END);
        to.alu(Alu::Subtract, R1, R2);
        // It changes nothing, but the verifier does not see that.
        to.alu_number(Alu::And, R1, MOST_SUMMED);
        to.alu_number(Alu::Add, R2, -size);
        to.store(Size::B8, FRAME, LEFT, R2);
        to.load(Size::B4, R3, R6, SKB_DATA);
        to.alu(Alu::Add, R3, R1);
        to.set(R0, R3);
        to.alu_number(Alu::Add, R0, size);
        to.load(Size::B4, R1, R6, SKB_DATA_END);
        to.jump_if(R0, Is::Greater, R1, failed);
        to.load(Size::B8, R5, FRAME, SUM);
        match size {
            // The last octet is the first half of a number.
            1 => {
                to.load(Size::B1, R0, R3, 0);
                if cfg!(target_endian = "big") {
                    to.alu_number(Alu::ShiftLeft, R0, 8);
                }
                to.alu(Alu::Add, R0, R5);
            }
            2 => {
                to.load(Size::B2, R0, R3, 0);
                to.alu(Alu::Add, R0, R5);
            }
            _ => {
                to.set_number(R1, 0);
                to.set_number(R2, 0);
                to.set_number(R4, size);
                to.call(Helper::CsumDiff);
                to.alu32(Alu::Move, R0, R0);
            }
        }
        to.store(Size::B8, FRAME, SUM, R0);
        if size == AT_ONCE {
            to.jump(again);
        }
        to.place(next);
    }

    /// Have the packet begin so that it ends where it did with its new headers. From here on it cannot
    /// go on as it was any more.
    fn room(&mut self, ip: Ip, udp: bool) {
        let [family, framing] = [(); 2].map(|()| self.to.label());
        let protocol = i32::from(ip.ethertype.to_be());
        let to = &mut self.to;
        to.load(Size::B4, R0, R6, SKB_PROTOCOL);
        to.jump_if_number(R0, Is::Equal, protocol, family);
        to.set(R1, R6);
        to.set_number(R2, protocol);
        to.set_number(R3, 0);
        to.call(Helper::SkbChangeProto);
        to.jump_if_number(R0, Is::Equal, 0, family);
        self.leave(Global::OtherShape);
        let to = &mut self.to;
        to.place(family);
        to.load(Size::B8, R0, FRAME, WAS_UDP);
        to.jump_if_number(R0, Is::Equal, udp.into(), framing);
        to.set(R1, R6);
        to.set_number(R2, if udp { UDP } else { -UDP }.into());
        to.set_number(R3, IN_FRONT);
        to.set_number(R4, 0);
        to.call(Helper::SkbAdjustRoom);
        self.or_drop();
        self.to.place(framing);
    }

    /// The new IP header to the stack.
    fn ip_header(&mut self, ip: Ip, udp: bool) {
        let number = if udp { protocol::UDP } else { ESP };
        let in_front = if udp { UDP } else { 0 };
        let to = &mut self.to;
        to.load(Size::B8, R1, FRAME, TRAFFIC_CLASS);
        to.load(Size::B8, R2, FRAME, LIMIT);
        to.store(Size::B1, FRAME, HEADERS + ip.limit, R2);
        to.store_number(Size::B1, FRAME, HEADERS + ip.protocol, number.into());
        to.set(R0, R9);
        if ip.v6 {
            to.alu_number(Alu::Add, R0, in_front.into());
            to.network16(R0);
            to.store(Size::B2, FRAME, HEADERS + ip.length, R0);
            to.alu_number(Alu::ShiftLeft, R1, 4);
            to.alu_number(Alu::Add, R1, 0x6000);
            to.network16(R1);
            to.store(Size::B2, FRAME, HEADERS, R1);
            to.store_number(Size::B2, FRAME, HEADERS + 2, 0);
            for offset in [0, 8, 16, 24] {
                to.load(Size::B8, R0, R8, field!(source) + offset);
                to.store(Size::B8, FRAME, HEADERS + ip.source + offset, R0);
            }
            return;
        }
        to.alu_number(Alu::Add, R0, (ip.len + in_front).into());
        to.network16(R0);
        to.store(Size::B2, FRAME, HEADERS + ip.length, R0);
        to.store_number(Size::B1, FRAME, HEADERS, 0x45);
        to.store(Size::B1, FRAME, HEADERS + 1, R1);
        to.load(Size::B4, R0, FRAME, FRAGMENT);
        to.store(Size::B4, FRAME, HEADERS + 4, R0);
        for (field, at) in [
            (field!(source), ip.source),
            (field!(destination), ip.destination()),
        ] {
            to.load(Size::B4, R0, R8, field);
            to.store(Size::B4, FRAME, HEADERS + at, R0);
        }
        to.load(Size::B4, R3, R8, field!(sum));
        for (size, at) in [(Size::B4, 0), (Size::B4, 4), (Size::B2, 8)] {
            to.load(size, R0, FRAME, HEADERS + at);
            to.alu(Alu::Add, R3, R0);
        }
        fold16(to);
        to.alu_number(Alu::Xor, R3, 0xffff);
        to.store(Size::B2, FRAME, HEADERS + V4_CHECKSUM, R3);
    }
}

/// The length of UDP to 0, in the order of the network.
fn udp_length(to: &mut Builder) {
    to.set(R0, R9);
    to.alu_number(Alu::Add, R0, UDP.into());
    to.network16(R0);
}
