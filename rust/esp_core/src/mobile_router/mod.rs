//! The packets of a mobile router: taken from the kernel, rewritten by `spinat`, sent on.

pub mod ebpf;
pub mod fast_path;
