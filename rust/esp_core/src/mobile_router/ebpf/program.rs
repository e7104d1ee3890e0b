//! The program that rewrites packets where they come in.
//!
//! It does what `Spinat::rewrite` does (`reshape`, where both sides differ in shape), and takes one
//! from the TTL or hop limit, as a router does. Whatever else comes along goes on as if it was not
//! there, unchanged: every test comes before the first octet that is written.

use super::{
    builder::{Alu, Builder, Helper, Is, Label, Size, FRAME, R0, R1, R2, R3, R4, R6, R7, R8, R9},
    maps::{shape, Global, Key, Maps, Value, DEVICES, MAPPED, MOST_DEVICES, SLOT, SLOTS},
};
use crate::{
    packet::{ip::UDP_HEADER_LEN, protocol},
    spinat::Direction,
    sys::{bpf::Instruction, device::Framing},
};

/// What lets the next program, and then the kernel, have a packet (TCX_NEXT).
pub(super) const GO_ON: i32 = -1;

// struct __sk_buff of linux/bpf.h.
const SKB_LEN: i16 = 0;
const SKB_PKT_TYPE: i16 = 4;
pub(super) const SKB_PROTOCOL: i16 = 16;
const SKB_VLAN_PRESENT: i16 = 20;
pub(super) const SKB_DATA: i16 = 76;
pub(super) const SKB_DATA_END: i16 = 80;
pub(super) const SKB_GSO_SEGS: i16 = 164;
pub(super) const SKB_GSO_SIZE: i16 = 176;

const ETHERNET: i16 = 14;
pub(super) const ESP: u8 = 50;
/// SPI and sequence number (RFC 4303 §2).
const ESP_MIN: i32 = 8;
pub(super) const UDP: i16 = UDP_HEADER_LEN as i16;

// The stack.
pub(super) const KEY: i16 = -(size_of::<Key>() as i16);
pub(super) const KEY_SPI: i16 = KEY + std::mem::offset_of!(Key, spi) as i16;
/// What the sum of the addresses changes by.
pub(super) const ADDRESSES: i16 = KEY - 8;
/// What the sum of ports and SPI changes by.
pub(super) const REST: i16 = KEY - 16;
/// What the sum of all that no checksum within the packet makes up for changes by.
pub(super) const UNBALANCED: i16 = KEY - 24;
/// The UDP checksum before; where it is to be a new one, that.
pub(super) const CHECKSUM: i16 = KEY - 32;
/// Packets that this one is.
pub(super) const PACKETS: i16 = KEY - 40;
/// Below this, what `joined` needs.
pub(super) const REST_OF_STACK: i16 = KEY - 40;

macro_rules! field {
    ($name:ident) => {
        std::mem::offset_of!(Value, $name) as i16
    };
}

pub(super) use field;

/// How an IP header is laid out, in octets.
#[derive(Clone, Copy)]
pub(super) struct Ip {
    pub(super) v6: bool,
    pub(super) ethertype: u16,
    pub(super) len: i16,
    /// Of the length field.
    pub(super) length: i16,
    pub(super) protocol: i16,
    /// Of the TTL or hop limit.
    pub(super) limit: i16,
    /// Of the two octets on even ground that it is one of.
    pub(super) limit_pair: i16,
    pub(super) source: i16,
    pub(super) address: i16,
}

pub(super) const V4: Ip = Ip {
    v6: false,
    ethertype: 0x0800,
    len: 20,
    length: 2,
    protocol: 9,
    limit: 8,
    limit_pair: 8,
    source: 12,
    address: 4,
};
pub(super) const V6: Ip = Ip {
    v6: true,
    ethertype: 0x86dd,
    len: 40,
    length: 4,
    protocol: 6,
    limit: 7,
    limit_pair: 6,
    source: 8,
    address: 16,
};

impl Ip {
    pub(super) fn destination(&self) -> i16 {
        self.source + self.address
    }
}

/// The program for what comes in from one side at a device.
///
/// 6 has the context, 7 the IP header, 8 the value of the way, 9 the length of the packet.
pub(super) fn program(maps: &Maps, direction: Direction, framing: Framing) -> Vec<Instruction> {
    let mut writer = Writer {
        pass: Label::default(),
        reshape: Label::default(),
        to: Builder::default(),
        maps,
        direction,
        ethernet: if framing == Framing::Ethernet {
            ETHERNET
        } else {
            0
        },
    };
    writer.all();
    writer.to.finish()
}

pub(super) struct Writer<'maps> {
    pub(super) to: Builder,
    /// Where packets go on.
    pass: Label,
    /// Where those get new headers that have been noted down.
    pub(super) reshape: Label,
    maps: &'maps Maps,
    direction: Direction,
    /// Octets in front of the IP header.
    pub(super) ethernet: i16,
}

impl Writer<'_> {
    fn all(&mut self) {
        let [pass, reshape, v4, v6] = [(); 4].map(|()| self.to.label());
        self.pass = pass;
        self.reshape = reshape;
        let to = &mut self.to;
        to.set(R6, R1);
        // Not what is for others, or for many; not what is for a VLAN's own device.
        for field in [SKB_PKT_TYPE, SKB_VLAN_PRESENT] {
            to.load(Size::B4, R0, R6, field);
            to.jump_if_number(R0, Is::NotEqual, 0, pass);
        }
        to.load(Size::B4, R0, R6, SKB_PROTOCOL);
        for (ip, label) in [(V4, v4), (V6, v6)] {
            to.jump_if_number(R0, Is::Equal, ip.ethertype.to_be().into(), label);
        }
        self.pass();
        self.to.place(v4);
        self.family(V4);
        self.to.place(v6);
        self.family(V6);
        self.reshape();
        self.to.place(pass);
        self.pass();
    }

    pub(super) fn pass(&mut self) {
        self.to.set_number(R0, GO_ON);
        self.to.exit();
    }

    fn family(&mut self, ip: Ip) {
        let pass = self.pass;
        self.headers(ip);
        let to = &mut self.to;
        to.load(Size::B1, R0, R7, 0);
        if ip.v6 {
            to.alu_number(Alu::And, R0, 0xf0);
            to.jump_if_number(R0, Is::NotEqual, 0x60, pass);
        } else {
            to.jump_if_number(R0, Is::NotEqual, 0x45, pass);
            // More fragments, or an offset.
            to.load(Size::B2, R0, R7, 6);
            to.alu_number(Alu::And, R0, 0x3fff_u16.to_be().into());
            to.jump_if_number(R0, Is::NotEqual, 0, pass);
        }
        to.load(Size::B1, R0, R7, ip.limit);
        to.jump_if_number(R0, Is::AtMost, 1, pass);
        let udp = to.label();
        to.load(Size::B1, R0, R7, ip.protocol);
        to.jump_if_number(R0, Is::Equal, protocol::UDP.into(), udp);
        to.jump_if_number(R0, Is::NotEqual, ESP.into(), pass);
        self.framed(ip, false);
        self.to.place(udp);
        self.framed(ip, true);
    }

    /// Have 7 point to all headers and the SPI behind them.
    pub(super) fn headers(&mut self, ip: Ip) {
        let there = self.to.label();
        let needed = i32::from(self.ethernet + ip.len + UDP) + 4;
        let pass = self.pass;
        let to = &mut self.to;
        let reload = |to: &mut Builder| {
            to.load(Size::B4, R7, R6, SKB_DATA);
            to.load(Size::B4, R1, R6, SKB_DATA_END);
            to.set(R0, R7);
            to.alu_number(Alu::Add, R0, needed);
        };
        reload(to);
        to.jump_if(R0, Is::AtMost, R1, there);
        to.set(R1, R6);
        to.set_number(R2, needed);
        to.call(Helper::SkbPullData);
        to.jump_if_number(R0, Is::NotEqual, 0, pass);
        reload(to);
        to.jump_if(R0, Is::Greater, R1, pass);
        to.place(there);
        to.alu_number(Alu::Add, R7, self.ethernet.into());
    }

    fn framed(&mut self, ip: Ip, udp: bool) {
        self.lengths(ip, udp);
        self.find(ip, udp);
        self.fits(ip, udp);
        self.count(esp_at(ip, udp));
        self.exchange(ip, udp);
        self.send();
    }

    /// The packet's length to 9, if its headers agree on it, and the SPI into the key.
    fn lengths(&mut self, ip: Ip, udp: bool) {
        let pass = self.pass;
        let esp_at = esp_at(ip, udp);
        let to = &mut self.to;
        to.load(Size::B2, R9, R7, ip.length);
        to.network16(R9);
        if ip.v6 {
            to.alu_number(Alu::Add, R9, ip.len.into());
        }
        to.jump_if_number(R9, Is::AtMost, i32::from(esp_at) + ESP_MIN - 1, pass);
        to.load(Size::B4, R0, R6, SKB_LEN);
        to.set(R1, R9);
        to.alu_number(Alu::Add, R1, self.ethernet.into());
        to.jump_if(R1, Is::Greater, R0, pass);
        if udp {
            to.load(Size::B2, R0, R7, ip.len + 4);
            to.network16(R0);
            to.alu_number(Alu::Add, R0, ip.len.into());
            to.jump_if(R0, Is::NotEqual, R9, pass);
            to.load(Size::B2, R0, R7, ip.len + 6);
            to.store(Size::B8, FRAME, CHECKSUM, R0);
        }
        // SPI 0 is none, and in UDP marks HIP (RFC 9028 §5.1).
        to.load(Size::B4, R0, R7, esp_at);
        to.jump_if_number(R0, Is::Equal, 0, pass);
        to.store(Size::B4, FRAME, KEY_SPI, R0);
    }

    /// The value of the packet's way to 8.
    fn find(&mut self, ip: Ip, udp: bool) {
        let pass = self.pass;
        let found = self.to.label();
        match self.direction {
            Direction::Outward => {
                self.address_of_key(ip, ip.source, KEY);
                self.address_of_key(ip, ip.destination(), KEY + 16);
                self.look_up(Key::CLIENT);
            }
            Direction::Inward => {
                let public = self.to.label();
                self.zero_of_key(KEY + 16);
                let words = std::os::fd::AsFd::as_fd(&*self.maps.words);
                self.to.map_value(R1, words, Global::Plain.at());
                self.to.load(Size::B8, R1, R1, 0);
                self.to.jump_if_number(R1, Is::Equal, 0, public);
                self.address_of_key(ip, ip.source, KEY);
                self.look_up(Key::PLAIN);
                self.to.jump_if_number(R0, Is::NotEqual, 0, found);
                self.to.place(public);
                self.zero_of_key(KEY);
                self.look_up(Key::PUBLIC);
            }
        }
        self.to.jump_if_number(R0, Is::Equal, 0, pass);
        self.to.place(found);
        let to = &mut self.to;
        let same = to.label();
        to.set(R8, R0);
        to.load(Size::B4, R0, R8, field!(shape));
        to.jump_if_number(R0, Is::Equal, shape(ip.v6, udp) as i32, same);
        self.note(ip, udp);
        self.to.place(same);
    }

    fn address_of_key(&mut self, ip: Ip, from: i16, to: i16) {
        if ip.v6 {
            for offset in [0, 8] {
                self.to.load(Size::B8, R0, R7, from + offset);
                self.to.store(Size::B8, FRAME, to + offset, R0);
            }
        } else {
            for (word, offset) in MAPPED.chunks_exact(4).zip([0, 4, 8]) {
                let number = i32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
                self.to.store_number(Size::B4, FRAME, to + offset, number);
            }
            self.to.load(Size::B4, R0, R7, from);
            self.to.store(Size::B4, FRAME, to + 12, R0);
        }
    }

    fn zero_of_key(&mut self, at: i16) {
        for offset in [0, 8] {
            self.to.store_number(Size::B8, FRAME, at + offset, 0);
        }
    }

    fn look_up(&mut self, kind: u32) {
        let to = &mut self.to;
        let at = KEY + std::mem::offset_of!(Key, kind) as i16;
        to.store_number(Size::B4, FRAME, at, kind as i32);
        to.map(R1, std::os::fd::AsFd::as_fd(&self.maps.ways));
        to.set(R2, FRAME);
        to.alu_number(Alu::Add, R2, KEY.into());
        to.call(Helper::MapLookup);
    }

    /// Whether the packet, or each of those that it was joined from, may be sent as long as it is:
    /// by the device's MTU as it is now, and by the way's if that has one.
    fn fits(&mut self, ip: Ip, udp: bool) {
        let [alone, joined, too_long, apart, fits] = [(); 5].map(|()| self.to.label());
        self.mtu(too_long);
        let to = &mut self.to;
        to.load(Size::B4, R2, R6, SKB_GSO_SIZE);
        to.jump_if_number(R2, Is::Equal, 0, alone);
        if udp {
            to.set(R0, R2);
            to.alu_number(Alu::Add, R0, esp_at(ip, udp).into());
            to.jump_if(R0, Is::AtMost, R1, joined);
            to.jump(too_long);
        } else {
            to.jump(apart);
        }
        to.place(alone);
        to.store_number(Size::B8, FRAME, PACKETS, 1);
        to.jump_if(R9, Is::AtMost, R1, fits);
        to.place(too_long);
        self.leave(Global::TooLong);
        self.to.place(joined);
        if udp {
            self.joined(ip, apart);
            self.to.jump(fits);
        }
        self.to.place(apart);
        self.leave(Global::Joined);
        self.to.place(fits);
    }

    /// How long a packet may be to 1; if nothing is known of the device, it is too long.
    pub(super) fn mtu(&mut self, too_long: Label) {
        let least = self.to.label();
        let words = std::os::fd::AsFd::as_fd(&*self.maps.words);
        let to = &mut self.to;
        to.load(Size::B4, R2, R8, field!(device));
        to.jump_if_number(R2, Is::Greater, MOST_DEVICES as i32 - 1, too_long);
        to.alu_number(Alu::ShiftLeft, R2, 3);
        to.map_value(R1, words, (DEVICES * 8) as i32);
        to.alu(Alu::Add, R1, R2);
        to.load(Size::B8, R1, R1, 0);
        to.load(Size::B4, R0, R8, field!(mtu));
        to.jump_if_number(R0, Is::Equal, 0, least);
        to.jump_if(R1, Is::AtMost, R0, least);
        to.set(R1, R0);
        to.place(least);
    }

    /// Count in the way's slot; so much of 9 is not ESP.
    pub(super) fn count(&mut self, headers: i16) {
        let pass = self.pass;
        let words = std::os::fd::AsFd::as_fd(&*self.maps.words);
        let to = &mut self.to;
        to.call(Helper::KtimeGetCoarseNs);
        to.load(Size::B4, R2, R8, field!(slot));
        to.jump_if_number(R2, Is::Greater, self.maps.capacity as i32 - 1, pass);
        to.alu_number(Alu::ShiftLeft, R2, (SLOT * 8).trailing_zeros() as i32);
        to.map_value(R1, words, (SLOTS * 8) as i32);
        to.alu(Alu::Add, R1, R2);
        to.store(Size::B8, R1, 16, R0);
        to.load(Size::B8, R2, FRAME, PACKETS);
        to.atomic_add(R1, 0, R2);
        to.set(R2, R9);
        to.alu_number(Alu::Add, R2, -i32::from(headers));
        to.atomic_add(R1, 8, R2);
    }

    /// Send the packet: the kernel finds route and neighbour by what the packet is now.
    pub(super) fn send(&mut self) {
        let to = &mut self.to;
        if self.ethernet == 0 {
            // What is sent has to have had a link header when it came.
            to.set(R1, R6);
            to.set_number(R2, ETHERNET.into());
            to.set_number(R3, 0);
            to.call(Helper::SkbChangeHead);
            self.or_drop();
        }
        let to = &mut self.to;
        to.load(Size::B4, R1, R8, field!(ifindex));
        to.set_number(R2, 0);
        to.set_number(R3, 0);
        to.set_number(R4, 0);
        to.call(Helper::RedirectNeigh);
        to.exit();
    }

    /// Drop the packet unless the call has succeeded: it has been changed, and cannot go on.
    pub(super) fn or_drop(&mut self) {
        let done = self.to.label();
        let to = &mut self.to;
        to.jump_if_number(R0, Is::Equal, 0, done);
        to.set_number(R0, SHOT);
        to.exit();
        to.place(done);
    }

    /// Count a packet that goes on for this reason, and let it.
    pub(super) fn leave(&mut self, why: Global) {
        let words = std::os::fd::AsFd::as_fd(&*self.maps.words);
        self.to.map_value(R1, words, why.at());
        self.to.set_number(R2, 1);
        self.to.atomic_add(R1, 0, R2);
        self.pass();
    }
}

/// What drops a packet (TCX_DROP).
pub(super) const SHOT: i32 = 2;

pub(super) fn esp_at(ip: Ip, udp: bool) -> i16 {
    ip.len + if udp { UDP } else { 0 }
}

/// Bring a sum in 3, of not too many numbers of 32 bits, down to 16 bits.
pub(super) fn fold16(to: &mut Builder) {
    for _ in 0..3 {
        to.set(R0, R3);
        to.alu_number(Alu::ShiftRight, R0, 16);
        to.alu_number(Alu::And, R3, 0xffff);
        to.alu(Alu::Add, R3, R0);
    }
}
