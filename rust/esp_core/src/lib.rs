//! ESP data plane of hipgw.

mod aead;
pub mod beet;
mod cbc64;
mod cbc_hmac;
mod cbc_lanes;
pub mod drops;
pub mod ecn;
pub mod engine;
pub mod error;
pub mod esp;
pub mod etherip;
pub mod events;
pub mod fragment;
pub mod l2;
pub mod layout;
pub mod mobile_router;
pub mod offload;
pub mod packet;
pub mod puzzle;
pub mod replay;
pub mod spi_table;
pub mod spinat;
pub mod stages;
pub mod stats;
pub mod suite;
pub mod sys;
mod triple_des;

#[cfg(feature = "python")]
mod python;
