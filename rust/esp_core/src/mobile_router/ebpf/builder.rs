//! Writes instructions of the kernel's virtual machine (RFC 9669).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys::bpf::Instruction;

/// A register. Calls take their arguments in 1 to 5, and leave 6 to 9 as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(u8);

/// What a call gives back, and a program.
pub(super) const R0: Reg = Reg(0);
pub(super) const R1: Reg = Reg(1);
pub(super) const R2: Reg = Reg(2);
pub(super) const R3: Reg = Reg(3);
pub(super) const R4: Reg = Reg(4);
pub(super) const R5: Reg = Reg(5);
pub(super) const R6: Reg = Reg(6);
pub(super) const R7: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
/// The end of the stack, which lies below it.
pub(super) const FRAME: Reg = Reg(10);

/// Octets of a load or store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    B1 = 0x10,
    B2 = 0x08,
    B4 = 0x00,
    B8 = 0x18,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Alu {
    Add = 0x00,
    Subtract = 0x10,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Xor = 0xa0,
    Move = 0xb0,
}

/// Comparisons of unsigned numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Is {
    Equal = 0x10,
    Greater = 0x20,
    NotEqual = 0x50,
    AtMost = 0xb0,
}

/// Functions of the kernel (linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub(super) enum Helper {
    MapLookup = 1,
    SkbStoreBytes = 9,
    L4CsumReplace = 11,
    SkbLoadBytes = 26,
    CsumDiff = 28,
    SkbChangeProto = 31,
    SkbPullData = 39,
    CsumUpdate = 40,
    SkbChangeHead = 43,
    SkbAdjustRoom = 50,
    RedirectNeigh = 152,
    KtimeGetCoarseNs = 160,
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Label(usize);

// Classes and sources of instruction codes.
const LOAD_IMMEDIATE: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE_IMMEDIATE: u8 = 0x62;
const STORE: u8 = 0x63;
const ATOMIC_ADD: u8 = 0xdb;
const ALU32: u8 = 0x04;
const JUMP: u8 = 0x05;
const ALU64: u8 = 0x07;
const TO_BIG_ENDIAN: u8 = 0xdc;
const REGISTER: u8 = 0x08;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const PSEUDO_MAP_FD: Reg = Reg(1);
const PSEUDO_MAP_VALUE: Reg = Reg(2);

/// A program being written.
#[derive(Debug, Default)]
pub(super) struct Builder {
    program: Vec<Instruction>,
    /// Where labels are, as far as they have been placed.
    labels: Vec<Option<usize>>,
    /// Instructions whose jump is still to be entered.
    jumps: Vec<(usize, Label)>,
}

impl Builder {
    /// The program. Panics on a label without a place, which is a mistake in the program.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (at, Label(label)) in self.jumps {
            let place = self.labels[label].expect("a label without a place");
            let distance = place as isize - at as isize - 1;
            self.program[at].offset = i16::try_from(distance).expect("a jump that is too long");
        }
        self.program
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// What is written next is what the label means.
    pub(super) fn place(&mut self, Label(label): Label) {
        self.labels[label] = Some(self.program.len());
    }

    pub(super) fn load(&mut self, size: Size, to: Reg, from: Reg, offset: i16) {
        self.push(LOAD | size as u8, to, from, offset, 0);
    }

    pub(super) fn store(&mut self, size: Size, to: Reg, offset: i16, from: Reg) {
        self.push(STORE | size as u8, to, from, offset, 0);
    }

    pub(super) fn store_number(&mut self, size: Size, to: Reg, offset: i16, number: i32) {
        self.push(STORE_IMMEDIATE | size as u8, to, R0, offset, number);
    }

    /// Add to a word in memory, whoever else does so at the same time.
    pub(super) fn atomic_add(&mut self, to: Reg, offset: i16, from: Reg) {
        self.push(ATOMIC_ADD, to, from, offset, 0);
    }

    pub(super) fn alu(&mut self, operation: Alu, to: Reg, from: Reg) {
        self.push(ALU64 | REGISTER | operation as u8, to, from, 0, 0);
    }

    pub(super) fn alu_number(&mut self, operation: Alu, to: Reg, number: i32) {
        self.push(ALU64 | operation as u8, to, R0, 0, number);
    }

    /// In 32 bits; the upper half becomes 0.
    pub(super) fn alu32(&mut self, operation: Alu, to: Reg, from: Reg) {
        self.push(ALU32 | REGISTER | operation as u8, to, from, 0, 0);
    }

    pub(super) fn alu32_number(&mut self, operation: Alu, to: Reg, number: i32) {
        self.push(ALU32 | operation as u8, to, R0, 0, number);
    }

    pub(super) fn set(&mut self, to: Reg, from: Reg) {
        self.alu(Alu::Move, to, from);
    }

    pub(super) fn set_number(&mut self, to: Reg, number: i32) {
        self.alu_number(Alu::Move, to, number);
    }

    /// A number of 16 bits from the order of the network to that of the machine.
    pub(super) fn network16(&mut self, register: Reg) {
        self.push(TO_BIG_ENDIAN, register, R0, 0, 16);
    }

    pub(super) fn map(&mut self, to: Reg, map: BorrowedFd<'_>) {
        self.push(LOAD_IMMEDIATE, to, PSEUDO_MAP_FD, 0, map.as_raw_fd());
        self.push(0, R0, R0, 0, 0);
    }

    /// The address of an octet of the only value of an array map.
    pub(super) fn map_value(&mut self, to: Reg, map: BorrowedFd<'_>, offset: i32) {
        self.push(LOAD_IMMEDIATE, to, PSEUDO_MAP_VALUE, 0, map.as_raw_fd());
        self.push(0, R0, R0, 0, offset);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.program.len(), to));
        self.push(JUMP, R0, R0, 0, 0);
    }

    pub(super) fn jump_if(&mut self, left: Reg, is: Is, right: Reg, to: Label) {
        self.jumps.push((self.program.len(), to));
        self.push(JUMP | REGISTER | is as u8, left, right, 0, 0);
    }

    /// The number is taken for one of 64 bits with a sign.
    pub(super) fn jump_if_number(&mut self, left: Reg, is: Is, right: i32, to: Label) {
        self.jumps.push((self.program.len(), to));
        self.push(JUMP | is as u8, left, R0, 0, right);
    }

    pub(super) fn call(&mut self, helper: Helper) {
        self.push(CALL, R0, R0, 0, helper as i32);
    }

    pub(super) fn exit(&mut self) {
        self.push(EXIT, R0, R0, 0, 0);
    }

    fn push(&mut self, code: u8, to: Reg, from: Reg, offset: i16, immediate: i32) {
        let registers = if cfg!(target_endian = "little") {
            from.0 << 4 | to.0
        } else {
            to.0 << 4 | from.0
        };
        self.program.push(Instruction {
            code,
            registers,
            offset,
            immediate,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_their_labels() {
        let mut builder = Builder::default();
        let (end, next) = (builder.label(), builder.label());
        builder.jump_if_number(R1, Is::Equal, 7, end);
        builder.jump(next);
        builder.place(next);
        builder.set_number(R0, 1);
        builder.place(end);
        builder.exit();
        let offsets: Vec<i16> = builder.finish().iter().map(|one| one.offset).collect();
        assert_eq!(offsets, [2, 0, 0, 0]);
    }

    #[test]
    fn instructions_are_those_of_the_standard() {
        let mut builder = Builder::default();
        builder.load(Size::B2, R3, R6, 16); // r3 = *(u16 *)(r6 + 16)
        builder.store_number(Size::B8, FRAME, -8, 5); // *(u64 *)(r10 - 8) = 5
        builder.alu32_number(Alu::Xor, R4, -1); // w4 ^= -1
        builder.call(Helper::MapLookup);
        let expected = [
            (0x69, 3, 6, 16, 0),
            (0x7a, 10, 0, -8, 5),
            (0xa4, 4, 0, 0, -1),
            (0x85, 0, 0, 0, 1),
        ];
        for (one, (code, to, from, offset, immediate)) in builder.finish().iter().zip(expected) {
            let mut wanted = Builder::default();
            wanted.push(code, Reg(to), Reg(from), offset, immediate);
            assert_eq!(*one, wanted.program[0]);
        }
    }
}
