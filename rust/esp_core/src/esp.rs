//! ESP packets sealed and opened in place (RFC 4303, RFC 7402 §3).

use std::ops::Range;

use crate::{error::Error, suite::Suite};

/// Seals the packets of one outbound security association.
pub struct Sealer {
    suite: Suite,
    spi: u32,
}

impl Sealer {
    /// Keys as drawn from KEYMAT: the encryption key ends with the salt, if the suite has one.
    pub fn new(suite: Suite, spi: u32, _enc_key: &[u8], _auth_key: &[u8]) -> Result<Self, Error> {
        Ok(Self { suite, spi })
    }

    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    #[must_use]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Octets before the payload.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.suite.header_len()
    }

    /// Octets of the whole packet for a payload of this length.
    #[must_use]
    pub fn sealed_len(&self, payload_len: usize) -> usize {
        self.suite.sealed_len(payload_len)
    }

    /// The longest payload whose packet fits into `budget` octets.
    #[must_use]
    pub fn max_payload(&self, budget: usize) -> usize {
        self.suite.max_payload(budget)
    }

    /// Seal the payload at `buf[header_len()..][..payload_len]`; returns the packet's length.
    pub fn seal(
        &self,
        _seq: u64,
        _next_header: u8,
        _buf: &mut [u8],
        _payload_len: usize,
    ) -> Result<usize, Error> {
        Err(Error::BufferTooSmall)
    }
}

/// Opens the packets of one inbound security association.
pub struct Opener {
    suite: Suite,
    spi: u32,
}

impl Opener {
    pub fn new(suite: Suite, spi: u32, _enc_key: &[u8], _auth_key: &[u8]) -> Result<Self, Error> {
        Ok(Self { suite, spi })
    }

    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    #[must_use]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Verify and decrypt the packet that `buf` is (from the SPI to the end of the ICV); returns
    /// where the payload lies in `buf` and the Next Header.
    pub fn open(&self, _seq: u64, _buf: &mut [u8]) -> Result<(Range<usize>, u8), Error> {
        Err(Error::Malformed)
    }
}
