//! ESP transform suites (RFC 5202 §5.1.2, RFC 7402 §5.1.2) and the sizes that follow from them.

use crate::layout::Layout;

/// A pair of encryption and integrity algorithm, as ESP_TRANSFORM numbers them.
///
/// 1 to 6 are those of HIPv1, of which only the first has a place in HIPv2.
/// RFC 7402 names no AES key size for CCM and GCM; 128 bits are used. ChaCha20-Poly1305
/// (RFC 7634) has no number there and is carried under a private one between hipgw peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Suite {
    Aes128CbcSha1 = 1,
    TripleDesSha1 = 2,
    TripleDesMd5 = 3,
    BlowfishSha1 = 4,
    NullSha1 = 5,
    NullMd5 = 6,
    NullSha256 = 7,
    Aes128CbcSha256 = 8,
    Aes256CbcSha256 = 9,
    AesCcm8 = 10,
    AesCcm16 = 11,
    AesGcm8 = 12,
    AesGcm16 = 13,
    ChaCha20Poly1305 = 0xFF01,
}

impl Suite {
    /// Every suite, by ascending number.
    pub const ALL: [Self; 14] = [
        Self::Aes128CbcSha1,
        Self::TripleDesSha1,
        Self::TripleDesMd5,
        Self::BlowfishSha1,
        Self::NullSha1,
        Self::NullMd5,
        Self::NullSha256,
        Self::Aes128CbcSha256,
        Self::Aes256CbcSha256,
        Self::AesCcm8,
        Self::AesCcm16,
        Self::AesGcm8,
        Self::AesGcm16,
        Self::ChaCha20Poly1305,
    ];

    /// The suite with this ESP_TRANSFORM number, if it is supported.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// The ESP_TRANSFORM number.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The name that configuration files and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128CbcSha1 => "AES-128-CBC-SHA1",
            Self::TripleDesSha1 => "3DES-SHA1",
            Self::TripleDesMd5 => "3DES-MD5",
            Self::BlowfishSha1 => "BLOWFISH-SHA1",
            Self::NullSha1 => "NULL-SHA1",
            Self::NullMd5 => "NULL-MD5",
            Self::NullSha256 => "NULL-SHA256",
            Self::Aes128CbcSha256 => "AES-128-CBC-SHA256",
            Self::Aes256CbcSha256 => "AES-256-CBC-SHA256",
            Self::AesCcm8 => "AES-128-CCM-8",
            Self::AesCcm16 => "AES-128-CCM-16",
            Self::AesGcm8 => "AES-128-GCM-8",
            Self::AesGcm16 => "AES-128-GCM-16",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }

    /// Octets of encryption key, the salt at its end included (RFC 4106 §8.1, 4309 §7.1, 7634 §2).
    #[must_use]
    pub const fn encryption_key_len(self) -> usize {
        match self {
            Self::NullSha1 | Self::NullMd5 | Self::NullSha256 => 0,
            Self::Aes128CbcSha1 | Self::BlowfishSha1 | Self::Aes128CbcSha256 => 16,
            Self::TripleDesSha1 | Self::TripleDesMd5 => 24,
            Self::Aes256CbcSha256 => 32,
            Self::AesCcm8 | Self::AesCcm16 => 16 + 3,
            Self::AesGcm8 | Self::AesGcm16 => 16 + 4,
            Self::ChaCha20Poly1305 => 32 + 4,
        }
    }

    /// Octets of authentication key; 0 for the combined algorithms.
    #[must_use]
    pub const fn authentication_key_len(self) -> usize {
        self.mac_len()
    }

    /// Octets of the whole MAC, of which the ICV is the front; 0 for the combined algorithms.
    #[must_use]
    pub const fn mac_len(self) -> usize {
        match self {
            Self::TripleDesMd5 | Self::NullMd5 => 16,
            Self::Aes128CbcSha1 | Self::TripleDesSha1 | Self::BlowfishSha1 | Self::NullSha1 => 20,
            Self::NullSha256 | Self::Aes128CbcSha256 | Self::Aes256CbcSha256 => 32,
            _ => 0,
        }
    }

    /// Octets of initialisation vector in each packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self.block_len() {
            0 if self.mac_len() == 0 => 8,
            len => len,
        }
    }

    /// Octets of a block of the CBC cipher, 0 if there is none.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::TripleDesSha1 | Self::TripleDesMd5 | Self::BlowfishSha1 => 8,
            Self::Aes128CbcSha1 | Self::Aes128CbcSha256 | Self::Aes256CbcSha256 => 16,
            _ => 0,
        }
    }

    /// Octets of integrity check value at the end of each packet (RFC 2403, RFC 2404 and RFC 4868
    /// for the MACs).
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::AesCcm8 | Self::AesGcm8 => 8,
            _ if self.mac_len() == 16 || self.mac_len() == 20 => 12,
            _ => 16,
        }
    }

    /// Payload, padding and the two trailer octets together are a multiple of this (RFC 4303 §2.4).
    #[must_use]
    pub const fn alignment(self) -> usize {
        match self.block_len() {
            0 => 4,
            len => len,
        }
    }

    /// Octets in front of the payload: SPI, sequence number, initialisation vector.
    #[must_use]
    pub const fn header_len(self) -> usize {
        Layout::of(self).header_len()
    }

    /// Octets of the whole ESP packet for a payload of this length.
    #[must_use]
    pub const fn sealed_len(self, payload_len: usize) -> usize {
        Layout::of(self).sealed_len(payload_len)
    }

    /// The longest payload whose packet fits into `budget` octets (0 if none does).
    #[must_use]
    pub const fn max_payload(self, budget: usize) -> usize {
        Layout::of(self).max_payload(budget)
    }
}
