//! Packets whose two sides have the same shape: addresses, ports and SPI are exchanged where they are.

use super::{
    builder::{Alu, Builder, Helper, Is, Size, FRAME, R0, R1, R2, R3, R4, R5, R6, R7, R8},
    maps::Value,
    program::{esp_at, field, fold16, Ip, Writer, ADDRESSES, CHECKSUM, REST, UNBALANCED},
};

// Flags of bpf_l4_csum_replace.
const MANGLED_0: i32 = 0x20;
const PSEUDO_HEADER: i32 = 0x10;

impl Writer<'_> {
    /// Write all that is other on the other side.
    pub(super) fn exchange(&mut self, ip: Ip, udp: bool) {
        self.differences(ip, udp);
        self.write(ip, udp);
        self.checksums(ip, udp);
    }

    /// What the sums of the parts of the packet will change by (RFC 1624).
    fn differences(&mut self, ip: Ip, udp: bool) {
        let to = &mut self.to;
        to.load(Size::B4, R3, R7, ip.source);
        for offset in (4..2 * ip.address).step_by(4) {
            to.load(Size::B4, R0, R7, ip.source + offset);
            to.alu(Alu::Add, R3, R0);
        }
        fold32(to);
        to.alu32_number(Alu::Xor, R3, -1);
        to.load(Size::B4, R0, R8, field!(sum));
        to.alu(Alu::Add, R3, R0);
        fold32(to);
        to.store(Size::B8, FRAME, ADDRESSES, R3);

        to.load(Size::B4, R3, R7, esp_at(ip, udp));
        to.alu32_number(Alu::Xor, R3, -1);
        to.load(Size::B4, R0, R8, field!(spi));
        to.alu(Alu::Add, R3, R0);
        if udp {
            to.load(Size::B4, R0, R7, ip.len);
            to.alu32_number(Alu::Xor, R0, -1);
            to.alu(Alu::Add, R3, R0);
            to.load(Size::B4, R0, R8, field!(ports));
            to.alu(Alu::Add, R3, R0);
        }
        fold32(to);
        to.store(Size::B8, FRAME, REST, R3);
    }

    fn write(&mut self, ip: Ip, udp: bool) {
        let to = &mut self.to;
        to.load(Size::B2, R4, R7, ip.limit_pair);
        to.alu_number(Alu::Xor, R4, 0xffff);
        to.load(Size::B1, R0, R7, ip.limit);
        to.alu_number(Alu::Add, R0, -1);
        to.store(Size::B1, R7, ip.limit, R0);
        to.load(Size::B2, R0, R7, ip.limit_pair);
        to.alu(Alu::Add, R4, R0);
        to.load(Size::B8, R3, FRAME, ADDRESSES);
        to.alu(Alu::Add, R3, R4);
        if ip.v6 {
            fold32(to);
            to.store(Size::B8, FRAME, UNBALANCED, R3);
            for offset in [0, 8, 16, 24] {
                to.load(Size::B8, R0, R8, field!(source) + offset);
                to.store(Size::B8, R7, ip.source + offset, R0);
            }
        } else {
            // The header's own checksum makes up for what changes in it.
            to.store_number(Size::B8, FRAME, UNBALANCED, 0);
            to.load(Size::B2, R0, R7, 10);
            to.alu_number(Alu::Xor, R0, 0xffff);
            to.alu(Alu::Add, R3, R0);
            fold16(to);
            to.alu_number(Alu::Xor, R3, 0xffff);
            to.store(Size::B2, R7, 10, R3);
            for (field, at) in [
                (field!(source), ip.source),
                (field!(destination), ip.destination()),
            ] {
                to.load(Size::B4, R0, R8, field);
                to.store(Size::B4, R7, at, R0);
            }
        }
        if udp {
            to.load(Size::B4, R0, R8, field!(ports));
            to.store(Size::B4, R7, ip.len, R0);
        }
        to.load(Size::B4, R0, R8, field!(spi));
        to.store(Size::B4, R7, esp_at(ip, udp), R0);
    }

    /// Bring the UDP checksum up to date, and what the kernel knows of the sum of the whole packet
    /// (CHECKSUM_COMPLETE). From here on 7 is not to be used.
    fn checksums(&mut self, ip: Ip, udp: bool) {
        let [without, done] = [(); 2].map(|()| self.to.label());
        let at = i32::from(self.ethernet + ip.len + 6);
        let to = &mut self.to;
        if udp {
            to.load(Size::B8, R0, FRAME, CHECKSUM);
            to.jump_if_number(R0, Is::Equal, 0, without);
            // The kernel tells one that the device is still to complete (CHECKSUM_PARTIAL): it has
            // the addresses in it, and nothing else.
            let same = to.label();
            for (difference, flags) in [(ADDRESSES, MANGLED_0 | PSEUDO_HEADER), (REST, MANGLED_0)] {
                if difference == REST {
                    // All bits are a difference of nothing: ports and SPI are what they were.
                    to.load(Size::B8, R0, FRAME, REST);
                    to.alu32_number(Alu::Add, R0, 1);
                    to.jump_if_number(R0, Is::Equal, 0, same);
                }
                to.set(R1, R6);
                to.set_number(R2, at);
                to.set_number(R3, 0);
                to.load(Size::B8, R4, FRAME, difference);
                to.set_number(R5, flags);
                to.call(Helper::L4CsumReplace);
            }
            to.place(same);
            if ip.v6 {
                // It has taken the addresses' part for made up for by a checksum of the header.
                to.load(Size::B8, R2, FRAME, UNBALANCED);
                to.set(R1, R6);
                to.call(Helper::CsumUpdate);
            }
            to.jump(done);
            to.place(without);
        }
        to.load(Size::B8, R3, FRAME, REST);
        to.load(Size::B8, R0, FRAME, UNBALANCED);
        to.alu(Alu::Add, R3, R0);
        fold32(to);
        to.set(R2, R3);
        to.set(R1, R6);
        to.call(Helper::CsumUpdate);
        to.place(done);
    }
}

/// Bring a sum of 32-bit numbers in 3 down to 32 bits.
fn fold32(to: &mut Builder) {
    for _ in 0..2 {
        to.set(R0, R3);
        to.alu_number(Alu::ShiftRight, R0, 32);
        to.alu32(Alu::Move, R3, R3);
        to.alu(Alu::Add, R3, R0);
    }
}
