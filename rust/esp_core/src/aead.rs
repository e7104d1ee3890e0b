//! The combined algorithms: AES-GCM (RFC 4106), AES-CCM (RFC 4309), ChaCha20-Poly1305 (RFC 7634).
//!
//! ring carries out AES-GCM with the full tag and ChaCha20-Poly1305: it has a VAES path that needs
//! no AVX-512, and seals a packet of 1400 octets in about half the time that aws-lc-rs takes
//! (AMD Zen 3), while ChaCha20 is equal in both. ring neither truncates tags nor knows CCM; those
//! suites are RustCrypto's.

use aes_gcm::{
    aead::{consts, AeadInOut, KeyInit},
    aes::Aes128,
    AesGcm,
};
use ccm::Ccm;
use ring::aead::{Aad, Algorithm, LessSafeKey, Nonce, UnboundKey, AES_128_GCM, CHACHA20_POLY1305};
use zeroize::Zeroizing;

use crate::{error::Error, suite::Suite};

type Gcm8 = AesGcm<Aes128, consts::U12, consts::U8>;
type Ccm8 = Ccm<Aes128, consts::U8, consts::U11>;
type Ccm16 = Ccm<Aes128, consts::U16, consts::U11>;

/// A combined algorithm with its key and salt.
pub(crate) struct Aead {
    cipher: Cipher,
    /// The first octets of every nonce: four, of which CCM uses the last three.
    salt: Zeroizing<[u8; 4]>,
}

enum Cipher {
    Ring(RingKey),
    Gcm8(Box<Gcm8>),
    Ccm8(Box<Ccm8>),
    Ccm16(Box<Ccm16>),
}

impl Aead {
    /// Whether the suite is one of the combined algorithms.
    pub(crate) fn carries_out(suite: Suite) -> bool {
        suite.authentication_key_len() == 0
    }

    /// `key` has the length that the suite asks for and ends with the salt.
    pub(crate) fn new(suite: Suite, key: &[u8]) -> Result<Self, Error> {
        let wrong_length = Error::KeyLength {
            suite,
            expected: suite.encryption_key_len(),
            actual: key.len(),
        };
        let salt_len = match suite {
            Suite::AesCcm8 | Suite::AesCcm16 => 3,
            _ => 4,
        };
        let key_len = key.len().checked_sub(salt_len).ok_or(wrong_length)?;
        let (key, salt_octets) = key.split_at(key_len);
        let mut salt = Zeroizing::new([0; 4]);
        salt[4 - salt_len..].copy_from_slice(salt_octets);

        let cipher = match suite {
            Suite::AesGcm16 => RingKey::new(&AES_128_GCM, key).map(Cipher::Ring),
            Suite::ChaCha20Poly1305 => RingKey::new(&CHACHA20_POLY1305, key).map(Cipher::Ring),
            Suite::AesGcm8 => Gcm8::new_from_slice(key)
                .ok()
                .map(|c| Cipher::Gcm8(Box::new(c))),
            Suite::AesCcm8 => Ccm8::new_from_slice(key)
                .ok()
                .map(|c| Cipher::Ccm8(Box::new(c))),
            Suite::AesCcm16 => Ccm16::new_from_slice(key)
                .ok()
                .map(|c| Cipher::Ccm16(Box::new(c))),
            _ => None,
        };
        Ok(Self {
            cipher: cipher.ok_or(wrong_length)?,
            salt,
        })
    }

    /// Encrypt `body` but for its last octets, as many as the tag has, where the tag is written.
    pub(crate) fn seal(
        &self,
        iv: [u8; 8],
        aad: &[u8],
        body: &mut [u8],
        tag_len: usize,
    ) -> Result<(), Error> {
        let (text, tag) = split_tag(body, tag_len)?;
        let nonce = self.nonce(iv);
        // INVARIANT: the algorithms fail for nothing but a text of 64 GiB and more.
        let too_long = Error::BufferTooSmall;
        match &self.cipher {
            Cipher::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let computed = key
                    .0
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), text);
                tag.copy_from_slice(computed.map_err(|_| too_long)?.as_ref());
            }
            Cipher::Gcm8(cipher) => {
                let computed = cipher.encrypt_inout_detached(&nonce.into(), aad, text.into());
                tag.copy_from_slice(&computed.map_err(|_| too_long)?);
            }
            Cipher::Ccm8(cipher) => {
                let nonce = ccm_nonce(&nonce);
                let computed = cipher.encrypt_inout_detached(&nonce.into(), aad, text.into());
                tag.copy_from_slice(&computed.map_err(|_| too_long)?);
            }
            Cipher::Ccm16(cipher) => {
                let nonce = ccm_nonce(&nonce);
                let computed = cipher.encrypt_inout_detached(&nonce.into(), aad, text.into());
                tag.copy_from_slice(&computed.map_err(|_| too_long)?);
            }
        }
        Ok(())
    }

    /// Verify `body`, cipher text with the tag behind it, and decrypt it in place. The tags are
    /// compared in constant time.
    pub(crate) fn open(
        &self,
        iv: [u8; 8],
        aad: &[u8],
        body: &mut [u8],
        tag_len: usize,
    ) -> Result<(), Error> {
        let nonce = self.nonce(iv);
        let opened = match &self.cipher {
            Cipher::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.0.open_in_place(nonce, Aad::from(aad), body).is_ok()
            }
            Cipher::Gcm8(cipher) => {
                let (text, tag) = split_tag(body, tag_len)?;
                let tag = (&*tag).try_into().map_err(|_| Error::Malformed)?;
                cipher
                    .decrypt_inout_detached(&nonce.into(), aad, text.into(), tag)
                    .is_ok()
            }
            Cipher::Ccm8(cipher) => {
                let (text, tag) = split_tag(body, tag_len)?;
                let tag = (&*tag).try_into().map_err(|_| Error::Malformed)?;
                let nonce = ccm_nonce(&nonce);
                cipher
                    .decrypt_inout_detached(&nonce.into(), aad, text.into(), tag)
                    .is_ok()
            }
            Cipher::Ccm16(cipher) => {
                let (text, tag) = split_tag(body, tag_len)?;
                let tag = (&*tag).try_into().map_err(|_| Error::Malformed)?;
                let nonce = ccm_nonce(&nonce);
                cipher
                    .decrypt_inout_detached(&nonce.into(), aad, text.into(), tag)
                    .is_ok()
            }
        };
        opened.then_some(()).ok_or(Error::Authentication)
    }

    /// Salt, then IV (RFC 4106 §4, RFC 7634 §2; RFC 4309 §4 without the first octet).
    fn nonce(&self, iv: [u8; 8]) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&*self.salt);
        nonce[4..].copy_from_slice(&iv);
        nonce
    }
}

fn ccm_nonce(nonce: &[u8; 12]) -> [u8; 11] {
    let [_, short @ ..] = *nonce;
    short
}

fn split_tag(body: &mut [u8], tag_len: usize) -> Result<(&mut [u8], &mut [u8]), Error> {
    let text_len = body.len().checked_sub(tag_len).ok_or(Error::Malformed)?;
    Ok(body.split_at_mut(text_len))
}

/// A key of ring's, which does not wipe them itself.
struct RingKey(Box<LessSafeKey>);

impl RingKey {
    fn new(algorithm: &'static Algorithm, key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(Self(Box::new(LessSafeKey::new(key))))
    }
}

impl Drop for RingKey {
    /// Overwrite the key schedule with that of the zero key, in place. `black_box` keeps the
    /// compiler from leaving out stores to memory that is about to be freed.
    fn drop(&mut self) {
        let algorithm = self.0.algorithm();
        if let Ok(zero) = UnboundKey::new(algorithm, &[0; 32][..algorithm.key_len()]) {
            *self.0 = LessSafeKey::new(zero);
            std::hint::black_box(&mut *self.0);
        }
    }
}

#[cfg(test)]
mod tests;
