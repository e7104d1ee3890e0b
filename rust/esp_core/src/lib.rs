//! ESP data plane of hipgw.

mod aead;
mod cbc_hmac;
pub mod error;
pub mod esp;
pub mod puzzle;
pub mod replay;
pub mod suite;

#[cfg(feature = "python")]
mod python;
