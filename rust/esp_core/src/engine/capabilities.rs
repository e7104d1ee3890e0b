//! What the kernel and the CPU offer.

use std::{fs::File, os::fd::AsFd};

use crate::sys::{socket, tun};

/// What makes the engine fast where it is there, by name. Nothing of it is needed.
#[must_use]
pub fn capabilities() -> Vec<(&'static str, bool)> {
    let udp = socket::probe().ok();
    let udp = udp.as_ref().map(AsFd::as_fd);
    let vnet_hdr = File::open("/dev/net/tun")
        .and_then(|device| tun::has_vnet_hdr(device.as_fd()))
        .unwrap_or(false);
    let mut list = vec![
        ("udp_gso", udp.is_some_and(socket::has_udp_gso)),
        ("udp_gro", udp.is_some_and(socket::enable_udp_gro)),
        ("tun_vnet_hdr", vnet_hdr),
    ];
    list.extend(cpu());
    list
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> [(&'static str, bool); 6] {
    use std::arch::is_x86_feature_detected;
    [
        ("aes", is_x86_feature_detected!("aes")),
        ("vaes", is_x86_feature_detected!("vaes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("vpclmulqdq", is_x86_feature_detected!("vpclmulqdq")),
        ("avx512", is_x86_feature_detected!("avx512f")),
        ("sha", is_x86_feature_detected!("sha")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> [(&'static str, bool); 6] {
    [
        ("aes", false),
        ("vaes", false),
        ("pclmulqdq", false),
        ("vpclmulqdq", false),
        ("avx512", false),
        ("sha", false),
    ]
}
