//! CBC with ciphers of 64-bit blocks (RFC 2451): 3DES and Blowfish.
//!
//! Several packets are encrypted in turns, as `cbc_lanes` does it with AES, and several blocks of one
//! decrypted at once.

use aes::cipher::{array::Array, consts::U8, BlockCipherDecrypt, BlockCipherEncrypt};
use blowfish::Blowfish;

pub(crate) type Block = Array<u8, U8>;

/// Blocks worked on at once.
const LANES: usize = 4;

/// A cipher of 64-bit blocks, which are big-endian numbers here. It may work on several at a time.
pub(crate) trait Cipher64 {
    fn encrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N];
    fn decrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N];
}

impl Cipher64 for Blowfish {
    fn encrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N] {
        blocks.map(|number| {
            let mut block = number.to_be_bytes().into();
            self.encrypt_block(&mut block);
            u64::from_be_bytes(block.into())
        })
    }

    fn decrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N] {
        blocks.map(|number| {
            let mut block = number.to_be_bytes().into();
            self.decrypt_block(&mut block);
            u64::from_be_bytes(block.into())
        })
    }
}

/// The rest of a packet's body to be encrypted, and the cipher text block before it, or the IV.
#[derive(Default)]
pub(crate) struct Chain<'a> {
    pub(crate) previous: u64,
    pub(crate) body: &'a mut [Block],
}

/// Encrypt the chains, of any lengths, in place.
pub(crate) fn encrypt(cipher: &impl Cipher64, chains: &mut [Chain<'_>]) {
    for few in chains.chunks_mut(LANES) {
        // The longest come first, so that those with something left are always in front.
        few.sort_unstable_by_key(|chain| std::cmp::Reverse(chain.body.len()));
        for lanes in (1..=few.len()).rev() {
            let few = &mut few[..lanes];
            match few {
                [a, b, c, d] => together(cipher, [a, b, c, d]),
                [a, b, c] => together(cipher, [a, b, c]),
                [a, b] => together(cipher, [a, b]),
                [a] => together(cipher, [a]),
                _ => {}
            }
        }
    }
}

/// Encrypt as far as the last chain, the shortest, goes.
fn together<const N: usize>(cipher: &impl Cipher64, mut chains: [&mut Chain<'_>; N]) {
    let shortest = chains[N - 1].body.len();
    let mut parts = chains.each_mut().map(|chain| {
        let (part, rest) = std::mem::take(&mut chain.body).split_at_mut(shortest);
        chain.body = rest;
        part
    });
    let mut blocks = chains.each_ref().map(|chain| chain.previous);
    for index in 0..shortest {
        for (block, part) in blocks.iter_mut().zip(&parts) {
            *block ^= u64::from_be_bytes(part[index].0);
        }
        blocks = cipher.encrypt(blocks);
        for (block, part) in blocks.iter().zip(&mut parts) {
            part[index] = block.to_be_bytes().into();
        }
    }
    for (chain, block) in chains.iter_mut().zip(blocks) {
        chain.previous = block;
    }
}

/// Decrypt a body in place.
pub(crate) fn decrypt(cipher: &impl Cipher64, iv: u64, body: &mut [Block]) {
    let mut previous = iv;
    for few in body.chunks_mut(LANES) {
        if let Ok(four) = <&mut [Block; LANES]>::try_from(&mut *few) {
            previous = some(cipher, previous, four);
        } else {
            for block in few {
                previous = some(cipher, previous, std::array::from_mut(block));
            }
        }
    }
}

/// Decrypt blocks; returns the last one as it was.
#[inline(always)]
fn some<const N: usize>(cipher: &impl Cipher64, iv: u64, body: &mut [Block; N]) -> u64 {
    let text = body.map(|block| u64::from_be_bytes(block.0));
    let mut previous = iv;
    for ((block, plain), cipher_text) in body.iter_mut().zip(cipher.decrypt(text)).zip(text) {
        *block = (plain ^ previous).to_be_bytes().into();
        previous = cipher_text;
    }
    previous
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::triple_des::TripleDes;

    proptest! {
        #[test]
        fn chains_of_any_lengths(
            lens in prop::collection::vec(0usize..20, 0..9),
            key in any::<[u8; 24]>(),
        ) {
            let cipher = TripleDes::new(&key);
            let mut bodies: Vec<Vec<Block>> = lens
                .iter()
                .map(|len| (0..*len).map(|n| [n as u8; 8].into()).collect())
                .collect();
            let plain = bodies.clone();
            let mut chains: Vec<_> = bodies
                .iter_mut()
                .enumerate()
                .map(|(n, body)| Chain { previous: n as u64, body })
                .collect();
            encrypt(&cipher, &mut chains);
            for (n, (body, plain)) in bodies.iter_mut().zip(&plain).enumerate() {
                let mut previous = n as u64;
                for (block, octets) in body.iter().zip(plain) {
                    [previous] = cipher.encrypt([u64::from_be_bytes(octets.0) ^ previous]);
                    prop_assert_eq!(block.0, previous.to_be_bytes());
                }
                decrypt(&cipher, n as u64, body);
                prop_assert_eq!(&*body, plain);
            }
        }
    }
}
