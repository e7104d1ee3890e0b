//! System calls and instructions that the standard library does not offer, behind safe functions.
//!
//! This is the one module with unsafe code. What it hands out borrows or owns whatever a pointer
//! given to the kernel refers to, and no pointer outlives the call it was made for.
#![allow(unsafe_code)]

pub mod address;
pub mod bpf;
pub mod clock;
pub mod control_message;
pub mod device;
pub mod fd;
pub mod memory;
pub mod netlink;
pub mod poll;
pub mod receive;
pub mod schedule;
pub mod send;
pub mod socket;
pub mod sum;
#[cfg(feature = "stage-cycles")]
pub mod ticks;
pub mod tun;

use std::io;

/// The result of a system call that returns -1 for an error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
