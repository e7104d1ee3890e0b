//! ESP transform suites (RFC 7402 §5.1.2) and the sizes that follow from them.

/// A pair of encryption and integrity algorithm, as ESP_TRANSFORM numbers them.
///
/// RFC 7402 names no AES key size for CCM and GCM; 128 bits are used. ChaCha20-Poly1305
/// (RFC 7634) has no number there and is carried under a private one between hipgw peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Suite {
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
    pub const ALL: [Self; 8] = [
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
            Self::NullSha256 => 0,
            Self::Aes128CbcSha256 => 16,
            Self::Aes256CbcSha256 => 32,
            Self::AesCcm8 | Self::AesCcm16 => 16 + 3,
            Self::AesGcm8 | Self::AesGcm16 => 16 + 4,
            Self::ChaCha20Poly1305 => 32 + 4,
        }
    }

    /// Octets of authentication key; 0 for the combined algorithms.
    #[must_use]
    pub const fn authentication_key_len(self) -> usize {
        match self {
            Self::NullSha256 | Self::Aes128CbcSha256 | Self::Aes256CbcSha256 => 32,
            _ => 0,
        }
    }

    /// Octets of initialisation vector in each packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::NullSha256 => 0,
            Self::Aes128CbcSha256 | Self::Aes256CbcSha256 => 16,
            _ => 8,
        }
    }

    /// Octets of integrity check value at the end of each packet.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::AesCcm8 | Self::AesGcm8 => 8,
            _ => 16,
        }
    }

    /// Payload, padding and the two trailer octets together are a multiple of this (RFC 4303 §2.4).
    #[must_use]
    pub const fn alignment(self) -> usize {
        match self {
            Self::Aes128CbcSha256 | Self::Aes256CbcSha256 => 16,
            _ => 4,
        }
    }

    /// Octets in front of the payload: SPI, sequence number, initialisation vector.
    #[must_use]
    pub const fn header_len(self) -> usize {
        8 + self.iv_len()
    }

    /// Octets of the whole ESP packet for a payload of this length.
    #[must_use]
    pub const fn sealed_len(self, payload_len: usize) -> usize {
        let body = (payload_len + 2).next_multiple_of(self.alignment());
        self.header_len() + body + self.icv_len()
    }

    /// The longest payload whose packet fits into `budget` octets (0 if none does).
    #[must_use]
    pub const fn max_payload(self, budget: usize) -> usize {
        let room = budget.saturating_sub(self.header_len() + self.icv_len());
        (room - room % self.alignment()).saturating_sub(2)
    }
}
