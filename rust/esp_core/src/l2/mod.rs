//! Ethernet segments: where MAC addresses are, and how large a TCP segment may be.

pub mod framing;
pub mod mac_table;
pub mod mss;
