//! The one error type of the crate's cryptographic core.

use std::fmt;

use crate::suite::Suite;

/// Why a packet was refused or an object could not be made.
///
/// Everything that a peer's packet can cause is a unit-like variant without data, so that a data
/// thread can count it by `match` and go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The suite number is not one that this crate carries out (RFC 7402 §5.1.2).
    UnknownSuite(u16),
    /// A key has the wrong length for its suite.
    KeyLength {
        suite: Suite,
        /// Octets the suite asks for.
        expected: usize,
        /// Octets that were given.
        actual: usize,
    },
    /// A suite cannot have the format that was asked for.
    Format(&'static str),
    /// The SPI is 0 or in the reserved range 1 to 255 (RFC 4303 §2.1).
    ReservedSpi(u32),
    /// The operating system gave no random octets.
    NoRandomness,
    /// A parameter of a puzzle is out of range.
    Puzzle(&'static str),
    /// The caller's buffer does not hold header, payload, padding and ICV.
    BufferTooSmall,
    /// Sequence number 0, which is never sent (RFC 4303 §3.3.3).
    SequenceZero,
    /// Without ESN, a number of more than 32 bits.
    SequenceTooHigh,
    /// The packet is too short, or its cipher text has an impossible length.
    Malformed,
    /// The SPI or the low half of the sequence number is not the one being opened.
    HeaderMismatch,
    /// The integrity check value does not hold.
    Authentication,
    /// Authentic, but the padding is not 1, 2, 3, … or is longer than the packet.
    Padding,
    /// Left of the replay window.
    TooOld,
    /// Seen before.
    Duplicate,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSuite(id) => write!(f, "ESP suite {id} is not supported"),
            Self::KeyLength {
                suite,
                expected,
                actual,
            } => {
                write!(
                    f,
                    "{} needs a key of {expected} octets, not {actual}",
                    suite.name()
                )
            }
            Self::Format(what) => f.write_str(what),
            Self::ReservedSpi(spi) => write!(f, "SPI {spi} is reserved"),
            Self::NoRandomness => f.write_str("the operating system gave no random octets"),
            Self::Puzzle(what) => write!(f, "puzzle: {what}"),
            Self::BufferTooSmall => f.write_str("the buffer is too small for the packet"),
            Self::SequenceZero => f.write_str("sequence number 0 is never used"),
            Self::SequenceTooHigh => f.write_str("sequence numbers have 32 bits here"),
            Self::Malformed => f.write_str("malformed ESP packet"),
            Self::HeaderMismatch => f.write_str("SPI or sequence number does not match"),
            Self::Authentication => f.write_str("ESP integrity check failed"),
            Self::Padding => f.write_str("malformed ESP padding"),
            Self::TooOld => f.write_str("sequence number is left of the replay window"),
            Self::Duplicate => f.write_str("sequence number was seen before"),
        }
    }
}

impl std::error::Error for Error {}
