//! The suites of two algorithms: NULL or AES-CBC (RFC 3602) with HMAC-SHA-256-128 (RFC 4868).

use aes::{
    cipher::{Array, BlockCipherEncrypt, BlockModeDecrypt, InnerIvInit, KeyInit},
    Aes128, Aes128Enc, Aes256,
};
use hmac::{Hmac, Mac};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    cbc_lanes::{self, Block, Chain, LANES},
    error::Error,
    suite::Suite,
};

const BLOCK: usize = 16;

/// Octets of HMAC-SHA-256 that are sent (RFC 4868 §2.6).
const ICV: usize = 16;

/// An encryption and an integrity algorithm with their keys.
pub(crate) struct CbcHmac {
    encryption: Encryption,
    /// Keyed and past its first block on both sides: a packet starts from a copy of this.
    mac: Hmac<Sha256>,
}

enum Encryption {
    Null,
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
}

impl CbcHmac {
    pub(crate) fn new(suite: Suite, enc_key: &[u8], auth_key: &[u8]) -> Result<Self, Error> {
        let wrong_length = |expected, key: &[u8]| Error::KeyLength {
            suite,
            expected,
            actual: key.len(),
        };
        let bad_key = wrong_length(suite.encryption_key_len(), enc_key);
        let encryption = match suite {
            Suite::Aes128CbcSha256 => {
                let cipher = Aes128::new_from_slice(enc_key).map_err(|_| bad_key)?;
                Encryption::Aes128(Box::new(cipher))
            }
            Suite::Aes256CbcSha256 => {
                let cipher = Aes256::new_from_slice(enc_key).map_err(|_| bad_key)?;
                Encryption::Aes256(Box::new(cipher))
            }
            _ => Encryption::Null,
        };
        let mac = Hmac::new_from_slice(auth_key)
            .map_err(|_| wrong_length(suite.authentication_key_len(), auth_key))?;
        Ok(Self { encryption, mac })
    }

    /// Encrypt the bodies of up to `LANES` packets and write their ICVs.
    ///
    /// Each comes with its sequence number and is the whole packet; the body, a multiple of 16
    /// octets if there is encryption, begins at `body_start`, behind the IV, and ends where the ICV
    /// begins.
    pub(crate) fn seal(
        &self,
        packets: &mut [(u64, &mut [u8])],
        body_start: usize,
    ) -> Result<(), Error> {
        match &self.encryption {
            Encryption::Null => {}
            Encryption::Aes128(cipher) => encrypt_bodies(&**cipher, packets, body_start)?,
            Encryption::Aes256(cipher) => encrypt_bodies(&**cipher, packets, body_start)?,
        }
        for (seq, packet) in packets {
            let (covered, icv) = split_icv(packet)?;
            let full = self.authenticate(*seq, covered).finalize().into_bytes();
            icv.copy_from_slice(&full[..ICV]);
        }
        Ok(())
    }

    /// Verify the ICV in constant time, then decrypt the body; see `seal` for the arguments.
    pub(crate) fn open(&self, seq: u64, packet: &mut [u8], body_start: usize) -> Result<(), Error> {
        let (covered, icv) = split_icv(packet)?;
        // Before any cost: the cipher text has to be whole blocks.
        let (iv, body) = split_iv(covered, body_start)?;
        if !matches!(self.encryption, Encryption::Null) && body.len() % BLOCK != 0 {
            return Err(Error::Malformed);
        }
        self.authenticate(seq, covered)
            .verify_truncated_left(icv)
            .map_err(|_| Error::Authentication)?;

        let body = &mut covered[body_start..];
        match &self.encryption {
            Encryption::Null => {}
            Encryption::Aes128(cipher) => {
                cbc::Decryptor::inner_iv_init(&**cipher, &iv.into()).decrypt_blocks(blocks(body)?);
            }
            Encryption::Aes256(cipher) => {
                cbc::Decryptor::inner_iv_init(&**cipher, &iv.into()).decrypt_blocks(blocks(body)?);
            }
        }
        Ok(())
    }

    /// The MAC over everything from the SPI to the trailer, then the high half of the sequence
    /// number, which does not travel (RFC 4303 §2.2.1, §2.8).
    fn authenticate(&self, seq: u64, covered: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(covered);
        mac.update(&((seq >> 32) as u32).to_be_bytes());
        mac
    }
}

fn encrypt_bodies(
    cipher: &impl BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
    packets: &mut [(u64, &mut [u8])],
    body_start: usize,
) -> Result<(), Error> {
    let mut chains: [Chain<'_>; LANES] = Default::default();
    let chains = chains
        .get_mut(..packets.len())
        .ok_or(Error::BufferTooSmall)?;
    for (chain, (_, packet)) in chains.iter_mut().zip(packets) {
        let (covered, _) = split_icv(packet)?;
        let (iv, body) = split_iv(covered, body_start)?;
        *chain = Chain {
            previous: iv.into(),
            body: blocks(body)?,
        };
    }
    cbc_lanes::encrypt(cipher, chains);
    Ok(())
}

/// What the ICV covers of what travels, and the ICV.
fn split_icv(packet: &mut [u8]) -> Result<(&mut [u8], &mut [u8]), Error> {
    let icv_start = packet.len().checked_sub(ICV).ok_or(Error::Malformed)?;
    Ok(packet.split_at_mut(icv_start))
}

/// The IV in front of the body (all zero and unused where there is none), and the body.
fn split_iv(covered: &mut [u8], body_start: usize) -> Result<([u8; BLOCK], &mut [u8]), Error> {
    let (header, body) = covered
        .split_at_mut_checked(body_start)
        .ok_or(Error::Malformed)?;
    let iv = header.last_chunk::<BLOCK>().copied().unwrap_or_default();
    Ok((iv, body))
}

fn blocks(body: &mut [u8]) -> Result<&mut [Block], Error> {
    match Array::slice_as_chunks_mut(body) {
        (blocks, []) => Ok(blocks),
        _ => Err(Error::Malformed),
    }
}

/// Unpredictable initialisation vectors (RFC 3602 §3, RFC 4303 §3.3.2.1).
///
/// An IV is the sequence number encrypted under a random key that serves nothing else: to who does
/// not know that key it is as good as random, two packets never share one, and it costs a block of
/// AES and no state, so that sealing stays `&self`. A counter, the last block of the packet before,
/// or anything else an observer can foretell would let who may choose plain text test guesses.
pub(crate) struct IvGenerator(Aes128Enc);

impl IvGenerator {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; 16]);
        SystemRandom::new()
            .fill(&mut *key)
            .map_err(|_| Error::NoRandomness)?;
        Ok(Self(Aes128Enc::new((&*key).into())))
    }

    pub(crate) fn generate(&self, seq: u64) -> [u8; BLOCK] {
        let mut iv = [0; BLOCK];
        iv[..8].copy_from_slice(&seq.to_be_bytes());
        self.0.encrypt_block((&mut iv).into());
        iv
    }
}

#[cfg(test)]
mod tests;
