//! Triple DES in EDE form with three keys (FIPS 46-3, RFC 2451), for peers of HIPv1.
//!
//! The `des` crate, which the tests compare with, works bit by bit and seals 2 MB/s. Here a round is
//! eight lookups in tables that hold S-boxes and P together, and several blocks are worked on at
//! once, as each waits for its tables most of the time. Like every DES by tables it leaves traces in
//! the cache; who shares a core with an attacker should choose AES.

use zeroize::Zeroizing;

use crate::cbc64::Cipher64;

/// Octets of the three keys, parity bits included.
pub(crate) const KEY_LEN: usize = 24;

/// A round key in the two halves that a round looks up with.
type RoundKey = [u32; 2];
/// The rounds of three DES operations.
type Rounds = [RoundKey; 48];

/// The cipher with its three keys.
pub(crate) struct TripleDes {
    encrypt: Zeroizing<Rounds>,
    decrypt: Zeroizing<Rounds>,
}

impl TripleDes {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut encrypt = Zeroizing::new([[0; 2]; 48]);
        for (stage, octets) in key.chunks_exact(8).enumerate() {
            let mut one = Zeroizing::new([0; 8]);
            one.copy_from_slice(octets);
            let rounds = &mut encrypt[16 * stage..][..16];
            schedule(u64::from_be_bytes(*one), rounds);
            if stage == 1 {
                rounds.reverse();
            }
        }
        let mut decrypt = encrypt.clone();
        decrypt.reverse();
        Self { encrypt, decrypt }
    }
}

impl Cipher64 for TripleDes {
    fn encrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N] {
        crypt(&self.encrypt, blocks)
    }

    fn decrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N] {
        crypt(&self.decrypt, blocks)
    }
}

#[inline]
fn crypt<const N: usize>(rounds: &Rounds, blocks: [u64; N]) -> [u64; N] {
    let mut halves = blocks.map(initial_permutation);
    // The final permutation of one operation and the initial one of the next cancel out.
    for stage in rounds.chunks_exact(16) {
        for pair in stage.chunks_exact(2) {
            for (left, right) in &mut halves {
                *left ^= feistel(*right, pair[0]);
            }
            for (left, right) in &mut halves {
                *right ^= feistel(*left, pair[1]);
            }
        }
        halves = halves.map(|(left, right)| (right, left));
    }
    halves.map(final_permutation)
}

/// The cipher function on a half that is rotated left by one, as its result is: then the six bits
/// that E gives each S-box lie side by side, those of every second box at octet boundaries.
#[inline(always)]
fn feistel(half: u32, key: RoundKey) -> u32 {
    let look = |box_number: usize, bits: u32| SP[box_number][bits as usize & 63];
    let odd = half.rotate_right(4) ^ key[0];
    let even = half ^ key[1];
    look(0, odd >> 24)
        ^ look(2, odd >> 16)
        ^ look(4, odd >> 8)
        ^ look(6, odd)
        ^ look(1, even >> 24)
        ^ look(3, even >> 16)
        ^ look(5, even >> 8)
        ^ look(7, even)
}

/// Exchange the bits of `b` in the mask with those of `a` that lie `shift` above them.
#[inline(always)]
fn swap(a: &mut u32, b: &mut u32, shift: u32, mask: u32) {
    let changed = (*a >> shift ^ *b) & mask;
    *b ^= changed;
    *a ^= changed << shift;
}

/// IP, and both halves rotated left by one.
#[inline(always)]
fn initial_permutation(block: u64) -> (u32, u32) {
    let (mut left, mut right) = ((block >> 32) as u32, block as u32);
    swap(&mut left, &mut right, 4, 0x0f0f_0f0f);
    swap(&mut left, &mut right, 16, 0x0000_ffff);
    swap(&mut right, &mut left, 2, 0x3333_3333);
    swap(&mut right, &mut left, 8, 0x00ff_00ff);
    right = right.rotate_left(1);
    swap(&mut left, &mut right, 0, 0xaaaa_aaaa);
    (left.rotate_left(1), right)
}

/// The inverse of that.
#[inline(always)]
fn final_permutation((left, mut right): (u32, u32)) -> u64 {
    let mut left = left.rotate_right(1);
    swap(&mut left, &mut right, 0, 0xaaaa_aaaa);
    right = right.rotate_right(1);
    swap(&mut right, &mut left, 8, 0x00ff_00ff);
    swap(&mut right, &mut left, 2, 0x3333_3333);
    swap(&mut left, &mut right, 16, 0x0000_ffff);
    swap(&mut left, &mut right, 4, 0x0f0f_0f0f);
    u64::from(left) << 32 | u64::from(right)
}

/// The sixteen round keys of one DES key.
fn schedule(key: u64, rounds: &mut [RoundKey]) {
    const HALF: u32 = (1 << 28) - 1;
    let chosen = permute(key, 64, &PC1);
    let (mut c, mut d) = ((chosen >> 28) as u32 & HALF, chosen as u32 & HALF);
    for (round, key) in rounds.iter_mut().enumerate() {
        let by = if matches!(round, 0 | 1 | 8 | 15) {
            1
        } else {
            2
        };
        c = (c << by | c >> (28 - by)) & HALF;
        d = (d << by | d >> (28 - by)) & HALF;
        let bits = permute(u64::from(c) << 28 | u64::from(d), 56, &PC2);
        let of_box = |number: u32| (bits >> (42 - 6 * number)) as u32 & 63;
        let four = |first: u32| {
            of_box(first) << 24
                | of_box(first + 2) << 16
                | of_box(first + 4) << 8
                | of_box(first + 6)
        };
        *key = [four(0), four(1)];
    }
}

/// The bits of a `width`-bit number that a table names, counted from 1 at its left.
const fn permute(number: u64, width: u32, table: &[u8]) -> u64 {
    let mut result = 0;
    let mut index = 0;
    while index < table.len() {
        result = result << 1 | number >> (width - table[index] as u32) & 1;
        index += 1;
    }
    result
}

/// For each S-box and its six bits the result behind P, rotated left by one.
static SP: [[u32; 64]; 8] = combine();

const fn combine() -> [[u32; 64]; 8] {
    let mut tables = [[0; 64]; 8];
    let mut number = 0;
    while number < 8 {
        let mut bits = 0;
        while bits < 64 {
            let row = bits >> 4 & 2 | bits & 1;
            let column = bits >> 1 & 15;
            let value = (S[number][16 * row + column] as u64) << (28 - 4 * number);
            tables[number][bits] = (permute(value, 32, &P) as u32).rotate_left(1);
            bits += 1;
        }
        number += 1;
    }
    tables
}

/// Permuted choice 1: C, then D.
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60,
    52, 44, 36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29,
    21, 13, 5, 28, 20, 12, 4,
];

/// Permuted choice 2.
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52,
    31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];

const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19,
    13, 30, 6, 22, 11, 4, 25,
];

/// S1 to S8, four rows of sixteen each.
const S: [[u8; 64]; 8] = [
    [
        14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12,
        11, 9, 5, 3, 8, 4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9,
        1, 7, 5, 11, 3, 14, 10, 0, 6, 13,
    ],
    [
        15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1,
        10, 6, 9, 11, 5, 0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15,
        4, 2, 11, 6, 7, 12, 0, 5, 14, 9,
    ],
    [
        10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5,
        14, 12, 11, 15, 1, 13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6,
        9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12,
    ],
    [
        7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2,
        12, 1, 10, 14, 9, 10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1,
        13, 8, 9, 4, 5, 11, 12, 7, 2, 14,
    ],
    [
        2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15,
        10, 3, 9, 8, 6, 4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14,
        2, 13, 6, 15, 0, 9, 10, 4, 5, 3,
    ],
    [
        12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13,
        14, 0, 11, 3, 8, 9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5,
        15, 10, 11, 14, 1, 7, 6, 0, 8, 13,
    ],
    [
        4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5,
        12, 2, 15, 8, 6, 1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4,
        10, 7, 9, 5, 0, 15, 14, 2, 3, 12,
    ],
    [
        13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6,
        11, 0, 14, 9, 2, 7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10,
        8, 13, 15, 12, 9, 0, 3, 5, 6, 11,
    ],
];

#[cfg(test)]
mod tests {
    use des::{
        cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
        TdesEde3,
    };
    use proptest::prelude::*;

    use super::*;

    /// SP 800-20's first known answers, with one key in all three places, where 3DES is DES.
    #[test]
    fn known_answers_of_des() {
        for (key, plain, cipher) in [
            (
                0x0101_0101_0101_0101,
                0x8000_0000_0000_0000,
                0x95f8_a5e5_dd31_d900,
            ),
            (
                0x0101_0101_0101_0101,
                0x0000_0000_0000_0001,
                0x166b_40b4_4aba_4bd6,
            ),
            (0x8001_0101_0101_0101, 0, 0x95a8_d728_13da_a94d),
            (
                0x7ca1_1045_4a1a_6e57,
                0x01a1_d6d0_3977_6742,
                0x690f_5b0d_9a26_939b_u64,
            ),
        ] {
            let key: u64 = key;
            let key: [u8; KEY_LEN] = [key.to_be_bytes(); 3].concat().try_into().unwrap();
            let des = TripleDes::new(&key);
            assert_eq!(des.encrypt([plain]), [cipher]);
            assert_eq!(des.decrypt([cipher]), [plain]);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_des_crate(key in any::<[u8; KEY_LEN]>(), blocks in any::<[u64; 4]>()) {
            let (ours, theirs) = (TripleDes::new(&key), TdesEde3::new(&key.into()));
            let sealed = ours.encrypt(blocks);
            for (plain, cipher) in blocks.iter().zip(sealed) {
                let mut block = plain.to_be_bytes().into();
                theirs.encrypt_block(&mut block);
                prop_assert_eq!(cipher, u64::from_be_bytes(block.into()));
                theirs.decrypt_block(&mut block);
                prop_assert_eq!(*plain, u64::from_be_bytes(block.into()));
            }
            prop_assert_eq!(ours.decrypt(sealed), blocks);
        }
    }
}
