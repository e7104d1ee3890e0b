//! UDP datagrams that the kernel has joined to one packet (GRO), or not yet cut (GSO).
//!
//! Only the first has its headers in that packet; the SPI of each other one lies in what is its
//! payload, where the next one of `SKB_GSO_SIZE` octets begins.

use super::{
    builder::{Alu, Builder, Helper, Is, Label, Size, FRAME, R0, R1, R2, R3, R4, R5, R6, R8, R9},
    maps::Value,
    program::{
        esp_at, field, Ip, Writer, KEY_SPI, PACKETS, REST, REST_OF_STACK, SHOT, SKB_GSO_SEGS,
    },
};

/// Datagrams of one packet, at most (UDP_MAX_SEGMENTS).
const SEGMENTS: i32 = 128;

// The stack.
const SEGMENT: i16 = REST_OF_STACK - 8;
const AT: i16 = REST_OF_STACK - 16;
const LAST: i16 = REST_OF_STACK - 24;
const COUNT: i16 = REST_OF_STACK - 32;
const OCTETS: i16 = REST;
/// Below this, what those with new headers need.
pub(super) const BELOW_TRAINS: i16 = COUNT;

impl Writer<'_> {
    /// Give all datagrams but the first the SPI that they get, if all are of one way; else nothing is
    /// changed, and they are `apart`. 2 has the octets of each.
    pub(super) fn joined(&mut self, ip: Ip, apart: Label) {
        let fits = self.to.label();
        self.of_one_way(ip, apart);
        self.unless_new_spi(fits);
        self.linear(ip, apart);
        let failed = self.to.label();
        self.each(ip, failed, |writer, next| {
            let to = &mut writer.to;
            to.load(Size::B4, R0, R8, field!(spi));
            to.store(Size::B4, FRAME, OCTETS, R0);
            to.set_number(R5, 0);
            to.call(Helper::SkbStoreBytes);
            to.jump_if_number(R0, Is::Equal, 0, next);
            // Some have been changed already. It does not happen: all lies in one piece.
            to.place(failed);
            to.set_number(R0, SHOT);
            to.exit();
        });
        self.to.place(fits);
        self.headers(ip);
    }

    /// Count the datagrams, and see whether all have the same SPI; else they are `apart`. 2 has the
    /// octets of each.
    pub(super) fn of_one_way(&mut self, ip: Ip, apart: Label) {
        let to = &mut self.to;
        to.store(Size::B8, FRAME, SEGMENT, R2);
        to.load(Size::B4, R0, R6, SKB_GSO_SEGS);
        let counted = to.label();
        to.jump_if_number(R0, Is::NotEqual, 0, counted);
        to.set_number(R0, 1);
        to.place(counted);
        to.store(Size::B8, FRAME, PACKETS, R0);
        to.set(R0, R9);
        to.alu_number(Alu::Add, R0, (self.ethernet - 4).into());
        to.store(Size::B8, FRAME, LAST, R0);
        self.each(ip, apart, |writer, next| {
            let to = &mut writer.to;
            to.call(Helper::SkbLoadBytes);
            to.jump_if_number(R0, Is::NotEqual, 0, apart);
            to.load(Size::B4, R0, FRAME, OCTETS);
            to.load(Size::B4, R1, FRAME, KEY_SPI);
            to.jump_if(R0, Is::Equal, R1, next);
            to.jump(apart);
        });
    }

    pub(super) fn unless_new_spi(&mut self, then: Label) {
        self.to.load(Size::B4, R0, FRAME, KEY_SPI);
        self.to.load(Size::B4, R1, R8, field!(spi));
        self.to.jump_if(R0, Is::Equal, R1, then);
    }

    /// Do something with each datagram but the first: 1 to 4 have what a load or store takes, of the
    /// four octets at its SPI and on the stack. What is written jumps to the label for the next one.
    fn each(&mut self, ip: Ip, too_many: Label, step: impl Fn(&mut Self, Label)) {
        let [next, done] = [(); 2].map(|()| self.to.label());
        let to = &mut self.to;
        to.set_number(R0, i32::from(self.ethernet + esp_at(ip, true)));
        to.store(Size::B8, FRAME, AT, R0);
        // Counted for the verifier, which wants to see an end.
        to.store_number(Size::B8, FRAME, COUNT, 0);
        to.place(next);
        to.load(Size::B8, R0, FRAME, COUNT);
        to.jump_if_number(R0, Is::Greater, SEGMENTS, too_many);
        to.alu_number(Alu::Add, R0, 1);
        to.store(Size::B8, FRAME, COUNT, R0);
        to.load(Size::B8, R2, FRAME, AT);
        to.load(Size::B8, R0, FRAME, SEGMENT);
        to.alu(Alu::Add, R2, R0);
        to.load(Size::B8, R0, FRAME, LAST);
        to.jump_if(R2, Is::Greater, R0, done);
        to.store(Size::B8, FRAME, AT, R2);
        to.set(R1, R6);
        to.set(R3, FRAME);
        to.alu_number(Alu::Add, R3, OCTETS.into());
        to.set_number(R4, 4);
        step(self, next);
        self.to.place(done);
    }

    /// Have all of it in one piece, and only if the kernel is to make the checksums of all: where
    /// each datagram has one of its own (fraglist GRO), the payload cannot be changed here.
    fn linear(&mut self, ip: Ip, apart: Label) {
        let to = &mut self.to;
        to.set(R1, R6);
        to.set(R2, R9);
        to.alu_number(Alu::Add, R2, self.ethernet.into());
        to.call(Helper::SkbPullData);
        to.jump_if_number(R0, Is::NotEqual, 0, apart);
        let to_be_made = self.to.label();
        self.if_to_be_made(ip, to_be_made);
        self.to.jump(apart);
        self.to.place(to_be_made);
    }

    /// Jump if the kernel is still to make the UDP checksum (CHECKSUM_PARTIAL), which no field tells:
    /// it leaves such a one as it is where it would bring any other up to date. That is undone.
    /// From here on 7 is not to be used.
    pub(super) fn if_to_be_made(&mut self, ip: Ip, to_be_made: Label) {
        let at = i32::from(self.ethernet + ip.len + 6);
        let to = &mut self.to;
        let checksum = |to: &mut Builder, helper, place: i16| {
            to.set(R1, R6);
            to.set_number(R2, at);
            to.set(R3, FRAME);
            to.alu_number(Alu::Add, R3, place.into());
            to.set_number(R4, 2);
            to.set_number(R5, 0);
            to.call(helper);
        };
        to.store_number(Size::B8, FRAME, AT, 0);
        to.store_number(Size::B8, FRAME, OCTETS, 0);
        checksum(to, Helper::SkbLoadBytes, AT);
        to.set(R1, R6);
        to.set_number(R2, at);
        to.set_number(R3, 0);
        to.set_number(R4, 1);
        to.set_number(R5, 0);
        to.call(Helper::L4CsumReplace);
        checksum(to, Helper::SkbLoadBytes, OCTETS);
        to.load(Size::B2, R0, FRAME, AT);
        to.load(Size::B2, R1, FRAME, OCTETS);
        to.jump_if(R0, Is::Equal, R1, to_be_made);
        checksum(to, Helper::SkbStoreBytes, AT);
    }
}
