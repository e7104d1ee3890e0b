//! The suites of two algorithms: NULL or a cipher in CBC mode (RFC 2451, RFC 3602) with an HMAC
//! (RFC 2403, RFC 2404, RFC 4868).

use aes::{
    cipher::{Array, BlockCipherEncrypt, BlockModeDecrypt, InnerIvInit, KeyInit},
    Aes128, Aes128Enc, Aes256,
};
use blowfish::Blowfish;
use hmac::{Hmac, Mac};
use md5::Md5;
use ring::rand::{SecureRandom, SystemRandom};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    cbc64::{self, Cipher64},
    cbc_lanes::{self, Block, Chain, LANES},
    error::Error,
    suite::Suite,
    triple_des::TripleDes,
};

const BLOCK: usize = 16;

/// An encryption and an integrity algorithm with their keys.
pub(crate) struct CbcHmac {
    encryption: Encryption,
    mac: Authentication,
    icv_len: usize,
    /// Whether the ICV covers the high half of the sequence number.
    esn: bool,
}

enum Encryption {
    Null,
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
    TripleDes(Box<TripleDes>),
    Blowfish(Box<Blowfish>),
}

/// Keyed and past its first block on both sides: a packet starts from a copy of this.
enum Authentication {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

impl CbcHmac {
    pub(crate) fn new(
        suite: Suite,
        enc_key: &[u8],
        auth_key: &[u8],
        icv_len: usize,
        esn: bool,
    ) -> Result<Self, Error> {
        Ok(Self {
            encryption: Encryption::new(suite, enc_key).ok_or(Error::KeyLength {
                suite,
                expected: suite.encryption_key_len(),
                actual: enc_key.len(),
            })?,
            mac: Authentication::new(suite, auth_key).ok_or(Error::KeyLength {
                suite,
                expected: suite.authentication_key_len(),
                actual: auth_key.len(),
            })?,
            icv_len,
            esn,
        })
    }

    /// Encrypt the bodies of up to `LANES` packets and write their ICVs.
    ///
    /// Each comes with its sequence number and is the whole packet; the body, a multiple of the
    /// cipher's block if there is one, begins at `body_start`, behind the IV, and ends where the ICV
    /// begins.
    pub(crate) fn seal(
        &self,
        packets: &mut [(u64, &mut [u8])],
        body_start: usize,
    ) -> Result<(), Error> {
        match &self.encryption {
            Encryption::Null => {}
            Encryption::Aes128(cipher) => self.encrypt(&**cipher, packets, body_start)?,
            Encryption::Aes256(cipher) => self.encrypt(&**cipher, packets, body_start)?,
            Encryption::TripleDes(cipher) => self.encrypt64(&**cipher, packets, body_start)?,
            Encryption::Blowfish(cipher) => self.encrypt64(&**cipher, packets, body_start)?,
        }
        for (seq, packet) in packets {
            let (covered, icv) = split_icv(packet, self.icv_len)?;
            match &self.mac {
                Authentication::Md5(mac) => self.authenticate(mac, *seq, covered, icv),
                Authentication::Sha1(mac) => self.authenticate(mac, *seq, covered, icv),
                Authentication::Sha256(mac) => self.authenticate(mac, *seq, covered, icv),
            }
        }
        Ok(())
    }

    /// Verify the ICV in constant time, then decrypt the body; see `seal` for the arguments.
    pub(crate) fn open(&self, seq: u64, packet: &mut [u8], body_start: usize) -> Result<(), Error> {
        let (covered, icv) = split_icv(packet, self.icv_len)?;
        // Before any cost: the cipher text has to be whole blocks.
        let body_len = covered.len().checked_sub(body_start);
        if body_len.ok_or(Error::Malformed)? % self.encryption.block_len() != 0 {
            return Err(Error::Malformed);
        }
        match &self.mac {
            Authentication::Md5(mac) => self.verify(mac, seq, covered, icv)?,
            Authentication::Sha1(mac) => self.verify(mac, seq, covered, icv)?,
            Authentication::Sha256(mac) => self.verify(mac, seq, covered, icv)?,
        }
        match &self.encryption {
            Encryption::Null => {}
            Encryption::Aes128(cipher) => {
                let (iv, body) = split_iv(covered, body_start)?;
                cbc::Decryptor::inner_iv_init(&**cipher, &iv.into()).decrypt_blocks(blocks(body)?);
            }
            Encryption::Aes256(cipher) => {
                let (iv, body) = split_iv(covered, body_start)?;
                cbc::Decryptor::inner_iv_init(&**cipher, &iv.into()).decrypt_blocks(blocks(body)?);
            }
            Encryption::TripleDes(cipher) => {
                let (iv, body) = split_iv(covered, body_start)?;
                cbc64::decrypt(&**cipher, u64::from_be_bytes(iv), blocks64(body)?);
            }
            Encryption::Blowfish(cipher) => {
                let (iv, body) = split_iv(covered, body_start)?;
                cbc64::decrypt(&**cipher, u64::from_be_bytes(iv), blocks64(body)?);
            }
        }
        Ok(())
    }

    fn encrypt(
        &self,
        cipher: &impl BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
        packets: &mut [(u64, &mut [u8])],
        body_start: usize,
    ) -> Result<(), Error> {
        let mut chains: [Chain<'_>; LANES] = Default::default();
        let chains = chains
            .get_mut(..packets.len())
            .ok_or(Error::BufferTooSmall)?;
        for (chain, (_, packet)) in chains.iter_mut().zip(packets) {
            let (covered, _) = split_icv(packet, self.icv_len)?;
            let (iv, body) = split_iv::<BLOCK>(covered, body_start)?;
            *chain = Chain {
                previous: iv.into(),
                body: blocks(body)?,
            };
        }
        cbc_lanes::encrypt(cipher, chains);
        Ok(())
    }

    fn encrypt64(
        &self,
        cipher: &impl Cipher64,
        packets: &mut [(u64, &mut [u8])],
        body_start: usize,
    ) -> Result<(), Error> {
        let mut chains: [cbc64::Chain<'_>; LANES] = Default::default();
        let chains = chains
            .get_mut(..packets.len())
            .ok_or(Error::BufferTooSmall)?;
        for (chain, (_, packet)) in chains.iter_mut().zip(packets) {
            let (covered, _) = split_icv(packet, self.icv_len)?;
            let (iv, body) = split_iv(covered, body_start)?;
            *chain = cbc64::Chain {
                previous: u64::from_be_bytes(iv),
                body: blocks64(body)?,
            };
        }
        cbc64::encrypt(cipher, chains);
        Ok(())
    }

    fn authenticate(&self, mac: &(impl Mac + Clone), seq: u64, covered: &[u8], icv: &mut [u8]) {
        let full = self.computed(mac, seq, covered).finalize().into_bytes();
        // INVARIANT: the layout has no ICV that is longer than the MAC.
        icv.copy_from_slice(&full[..icv.len()]);
    }

    fn verify(
        &self,
        mac: &(impl Mac + Clone),
        seq: u64,
        covered: &[u8],
        icv: &[u8],
    ) -> Result<(), Error> {
        self.computed(mac, seq, covered)
            .verify_truncated_left(icv)
            .map_err(|_| Error::Authentication)
    }

    /// The MAC over everything from the SPI to the trailer, then, with ESN, the high half of the
    /// sequence number, which does not travel (RFC 4303 §2.2.1, §2.8).
    fn computed<M: Mac + Clone>(&self, mac: &M, seq: u64, covered: &[u8]) -> M {
        let mut mac = mac.clone();
        mac.update(covered);
        if self.esn {
            mac.update(&((seq >> 32) as u32).to_be_bytes());
        }
        mac
    }
}

impl Encryption {
    /// None for a key of the wrong length.
    fn new(suite: Suite, key: &[u8]) -> Option<Self> {
        Some(match suite {
            Suite::Aes128CbcSha1 | Suite::Aes128CbcSha256 => {
                Self::Aes128(Box::new(Aes128::new_from_slice(key).ok()?))
            }
            Suite::Aes256CbcSha256 => Self::Aes256(Box::new(Aes256::new_from_slice(key).ok()?)),
            Suite::TripleDesSha1 | Suite::TripleDesMd5 => {
                Self::TripleDes(Box::new(TripleDes::new(key.try_into().ok()?)))
            }
            // It takes keys of many lengths, a suite has one.
            Suite::BlowfishSha1 if key.len() == suite.encryption_key_len() => {
                Self::Blowfish(Box::new(Blowfish::new_from_slice(key).ok()?))
            }
            Suite::BlowfishSha1 => return None,
            _ => Self::Null,
        })
    }

    /// What a body is a multiple of.
    fn block_len(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::TripleDes(_) | Self::Blowfish(_) => 8,
            Self::Aes128(_) | Self::Aes256(_) => BLOCK,
        }
    }
}

impl Authentication {
    fn new(suite: Suite, key: &[u8]) -> Option<Self> {
        match suite.mac_len() {
            16 => Hmac::new_from_slice(key).map(Self::Md5).ok(),
            20 => Hmac::new_from_slice(key).map(Self::Sha1).ok(),
            _ => Hmac::new_from_slice(key).map(Self::Sha256).ok(),
        }
    }
}

/// What the ICV covers of what travels, and the ICV.
fn split_icv(packet: &mut [u8], icv_len: usize) -> Result<(&mut [u8], &mut [u8]), Error> {
    let icv_start = packet.len().checked_sub(icv_len).ok_or(Error::Malformed)?;
    Ok(packet.split_at_mut(icv_start))
}

/// The IV in front of the body, and the body.
fn split_iv<const N: usize>(
    covered: &mut [u8],
    body_start: usize,
) -> Result<([u8; N], &mut [u8]), Error> {
    let (header, body) = covered
        .split_at_mut_checked(body_start)
        .ok_or(Error::Malformed)?;
    let iv = header.last_chunk().copied().ok_or(Error::Malformed)?;
    Ok((iv, body))
}

fn blocks(body: &mut [u8]) -> Result<&mut [Block], Error> {
    match Array::slice_as_chunks_mut(body) {
        (blocks, []) => Ok(blocks),
        _ => Err(Error::Malformed),
    }
}

fn blocks64(body: &mut [u8]) -> Result<&mut [cbc64::Block], Error> {
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
