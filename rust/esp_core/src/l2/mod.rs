//! Ethernet segments: where MAC and IPv4 addresses are, who delivers, and how large a TCP segment
//! may be.

pub mod forwarding;
pub mod framing;
pub mod hello;
pub mod mac_table;
pub mod mss;
pub mod ownership;
