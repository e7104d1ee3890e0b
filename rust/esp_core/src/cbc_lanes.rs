//! AES-CBC encryption of several packets at once (RFC 3602).
//!
//! Within a packet a block waits for the one before it, so a core that could work on eight blocks
//! works on one. Blocks of different packets do not wait for each other: taken in turns, eight
//! packets of 1400 octets cost hardly more than one.

use aes::cipher::{
    array::Array, consts::U16, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt,
    BlockSizeUser,
};

/// Packets encrypted at once, at most.
pub(crate) const LANES: usize = 8;

pub(crate) type Block = Array<u8, U16>;

/// The rest of a packet's body to be encrypted, and the cipher text block before it, or the IV.
#[derive(Default)]
pub(crate) struct Chain<'a> {
    pub(crate) previous: Block,
    pub(crate) body: &'a mut [Block],
}

/// Encrypt the chains, of any lengths, in place.
pub(crate) fn encrypt(
    cipher: &impl BlockCipherEncrypt<BlockSize = U16>,
    mut chains: &mut [Chain<'_>],
) {
    loop {
        // As many at a time as there are left, up to the end of the shortest.
        chains = match chains {
            [] => return,
            [a, b, c, d, e, f, g, h, ..] => {
                cipher.encrypt_with_backend(Lanes([a, b, c, d, e, f, g, h]));
                without_finished(chains)
            }
            [a, b, c, d, ..] => {
                cipher.encrypt_with_backend(Lanes([a, b, c, d]));
                without_finished(chains)
            }
            [a, b, ..] => {
                cipher.encrypt_with_backend(Lanes([a, b]));
                without_finished(chains)
            }
            [a] => {
                cipher.encrypt_with_backend(Lanes([a]));
                without_finished(chains)
            }
        };
    }
}

/// The chains that have something left, moved to the front.
fn without_finished<'s, 'a>(chains: &'s mut [Chain<'a>]) -> &'s mut [Chain<'a>] {
    let mut left = 0;
    for index in 0..chains.len() {
        if !chains[index].body.is_empty() {
            chains.swap(left, index);
            left += 1;
        }
    }
    &mut chains[..left]
}

/// Chains encrypted in turns, block by block, as far as the shortest goes.
struct Lanes<'s, 'a, const N: usize>([&'s mut Chain<'a>; N]);

impl<const N: usize> BlockSizeUser for Lanes<'_, '_, N> {
    type BlockSize = U16;
}

impl<const N: usize> BlockCipherEncClosure for Lanes<'_, '_, N> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let shortest = self.0.iter().map(|chain| chain.body.len()).min();
        let shortest = shortest.unwrap_or_default();
        // Local copies, which the compiler can keep in registers.
        let mut previous: [Block; N] = std::array::from_fn(|lane| self.0[lane].previous);
        let mut parts = self.0.map(|chain| {
            let (part, rest) = std::mem::take(&mut chain.body).split_at_mut(shortest);
            chain.body = rest;
            (part, &mut chain.previous)
        });
        for index in 0..shortest {
            for (block, (part, _)) in previous.iter_mut().zip(&parts) {
                let mixed = number(block) ^ number(&part[index]);
                *block = mixed.to_ne_bytes().into();
            }
            for block in &mut previous {
                backend.encrypt_block_inplace(block);
            }
            for (block, (part, _)) in previous.iter().zip(&mut parts) {
                part[index] = *block;
            }
        }
        for (block, (_, last)) in previous.iter().zip(parts) {
            *last = *block;
        }
    }
}

/// All octets of a block in one register.
#[inline(always)]
fn number(block: &Block) -> u128 {
    u128::from_ne_bytes(block.0)
}
