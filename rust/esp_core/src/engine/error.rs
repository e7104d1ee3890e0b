//! What the engine refuses, and why.

use std::{fmt, io};

use crate::error::Error;

/// A request that the engine cannot carry out.
#[derive(Debug)]
pub enum EngineError {
    /// A suite, key or SPI that cannot be used.
    Crypto(Error),
    /// An argument that makes no sense.
    Invalid(String),
    /// The wrong moment: before `start` or after it.
    State(&'static str),
    /// What was tried, and what the system said.
    System(&'static str, io::Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crypto(error) => error.fmt(f),
            Self::Invalid(what) => f.write_str(what),
            Self::State(what) => f.write_str(what),
            Self::System(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        Self::Crypto(error)
    }
}
