//! The clock that kernel and processes have in common.

/// Nanoseconds of CLOCK_MONOTONIC.
#[must_use]
pub fn monotonic_ns() -> u64 {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the structure, which is borrowed for the call. The clock is there in
    // every Linux, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Whole seconds of it.
#[must_use]
pub fn monotonic_s() -> u32 {
    (monotonic_ns() / 1_000_000_000) as u32
}
