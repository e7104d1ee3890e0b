//! The puzzle of the base exchange (RFC 7401 §4.1.2, §6.3).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use crate::error::Error;

/// The RHASH of the Responder's HIT suite (RFC 7401 §3.2, RFC 9374).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashName {
    Sha256,
    Sha384,
    Sha1,
    CShake128,
}

impl HashName {
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha1" => Some(Self::Sha1),
            "cshake128" => Some(Self::CShake128),
            _ => None,
        }
    }
}

/// A search for J such that the lowest `difficulty` bits of RHASH(prefix | J) are zero.
pub struct Solver {
    cancelled: AtomicBool,
}

impl Solver {
    /// `prefix` is I | HIT-I | HIT-R, `length` the octets of J, `start` the first J to try.
    pub fn new(
        _hash: HashName,
        _prefix: &[u8],
        _length: usize,
        _difficulty: u32,
        _start: &[u8],
    ) -> Result<Self, Error> {
        Ok(Self {
            cancelled: AtomicBool::new(false),
        })
    }

    /// Search until a J is found, the deadline is past, or `cancel` is called.
    #[must_use]
    pub fn run(&self, _deadline: Instant) -> Option<Vec<u8>> {
        None
    }

    /// End the search, from any thread; a later `run` ends at once.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}
