//! What of an ESP packet may differ beside its suite, and the sizes that follow from both.

use crate::{error::Error, suite::Suite};

/// SPI and sequence number.
const FRONT_LEN: usize = 8;
/// Pad length and next header.
pub(crate) const TRAILER_LEN: usize = 2;
/// The shortest ICV that a MAC may be cut to: those of RFC 2403 and RFC 2404.
const MIN_ICV_LEN: usize = 12;
/// The most that payload and padding may be a multiple of.
const MAX_ALIGNMENT: usize = 16;
/// Octets without meaning in front of the payload, for peers that put them there without cipher.
const NULL_IV_LEN: usize = 16;

/// How packets look apart from their suite. The default is what RFC 4303 and RFC 7402 say; anything
/// else is for peers that do it otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 64-bit sequence numbers (RFC 7402 §3.3.6). Without, they end at 2^32 - 1, and the ICV covers
    /// no more than what travels.
    pub esn: bool,
    /// Octets of the ICV, if not the suite's own; only the older kind of MAC leaves a choice.
    pub icv_len: Option<usize>,
    /// Sixteen octets in front of the payload where there is no cipher.
    pub null_iv: bool,
    /// What payload, padding and trailer together are a multiple of, if not what the suite asks for.
    pub alignment: Option<usize>,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            esn: true,
            icv_len: None,
            null_iv: false,
            alignment: None,
        }
    }
}

impl Format {
    /// The highest sequence number.
    #[must_use]
    pub const fn last_sequence(&self) -> u64 {
        if self.esn {
            u64::MAX
        } else {
            u32::MAX as u64
        }
    }
}

/// The sizes of a security association's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    iv_len: usize,
    icv_len: usize,
    alignment: usize,
}

impl Layout {
    /// Of a suite in the form that the RFCs give it.
    #[must_use]
    pub const fn of(suite: Suite) -> Self {
        Self {
            iv_len: suite.iv_len(),
            icv_len: suite.icv_len(),
            alignment: suite.alignment(),
        }
    }

    /// Of a suite in another form; `Error::Format` if it cannot have it.
    pub fn new(suite: Suite, format: &Format) -> Result<Self, Error> {
        let mut layout = Self::of(suite);
        if let Some(len) = format.icv_len {
            if len != layout.icv_len && !(MIN_ICV_LEN..=suite.mac_len()).contains(&len) {
                return Err(Error::Format("the suite has no ICV of this length"));
            }
            layout.icv_len = len;
        }
        if let Some(alignment) = format.alignment {
            if !alignment.is_power_of_two()
                || !(suite.alignment()..=MAX_ALIGNMENT).contains(&alignment)
            {
                return Err(Error::Format("payloads cannot be aligned like this"));
            }
            layout.alignment = alignment;
        }
        if format.null_iv && layout.iv_len == 0 {
            layout.iv_len = NULL_IV_LEN;
        }
        Ok(layout)
    }

    /// Octets of initialisation vector.
    #[must_use]
    pub const fn iv_len(&self) -> usize {
        self.iv_len
    }

    /// Octets of the ICV.
    #[must_use]
    pub const fn icv_len(&self) -> usize {
        self.icv_len
    }

    /// Octets in front of the payload: SPI, sequence number, initialisation vector.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        FRONT_LEN + self.iv_len
    }

    /// Octets of the whole ESP packet for a payload of this length.
    #[must_use]
    pub const fn sealed_len(&self, payload_len: usize) -> usize {
        let body = (payload_len + TRAILER_LEN).next_multiple_of(self.alignment);
        self.header_len() + body + self.icv_len
    }

    /// The longest payload whose packet fits into `budget` octets (0 if none does).
    #[must_use]
    pub const fn max_payload(&self, budget: usize) -> usize {
        let room = budget.saturating_sub(self.header_len() + self.icv_len);
        (room - room % self.alignment).saturating_sub(TRAILER_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(suite: Suite, format: Format) -> Result<(usize, usize, usize), Error> {
        let layout = Layout::new(suite, &format)?;
        Ok((layout.iv_len, layout.icv_len, layout.alignment))
    }

    #[test]
    fn every_suite_as_the_rfcs_have_it() {
        for suite in Suite::ALL {
            assert_eq!(
                Layout::new(suite, &Format::default()),
                Ok(Layout::of(suite))
            );
        }
        assert_eq!(
            Layout::of(Suite::TripleDesMd5).sealed_len(6),
            8 + 8 + 8 + 12
        );
        assert_eq!(
            Layout::of(Suite::TripleDesMd5).sealed_len(7),
            8 + 8 + 16 + 12
        );
    }

    #[test]
    fn other_forms() {
        let whole = Format {
            icv_len: Some(32),
            ..Format::default()
        };
        let padded = Format {
            null_iv: true,
            alignment: Some(16),
            ..whole
        };
        assert_eq!(layout(Suite::Aes256CbcSha256, whole), Ok((16, 32, 16)));
        assert_eq!(layout(Suite::NullSha256, padded), Ok((16, 32, 16)));
        assert_eq!(layout(Suite::Aes256CbcSha256, padded), Ok((16, 32, 16)));
        for suite in [Suite::NullSha1, Suite::NullMd5, Suite::AesGcm16] {
            assert!(layout(suite, whole).is_err());
        }
        for alignment in [0, 2, 12, 32] {
            let format = Format {
                alignment: Some(alignment),
                ..Format::default()
            };
            assert!(layout(Suite::NullSha256, format).is_err(), "{alignment}");
        }
        let eight = Format {
            alignment: Some(8),
            ..Format::default()
        };
        assert!(layout(Suite::Aes128CbcSha1, eight).is_err());
        assert_eq!(layout(Suite::AesGcm8, eight), Ok((8, 8, 8)));
    }

    #[test]
    fn where_numbers_end() {
        let short = Format {
            esn: false,
            ..Format::default()
        };
        assert_eq!(short.last_sequence(), 0xffff_ffff);
        assert_eq!(Format::default().last_sequence(), u64::MAX);
    }
}
