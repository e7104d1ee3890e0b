//! How a thread stands among the others that want the CPU.

use std::{io, time::Duration};

/// Let the calling thread run before all ordinary threads whenever it has something to do
/// (SCHED_RR with the least of its priorities). Needs RLIMIT_RTPRIO of 1 or CAP_SYS_NICE.
pub fn go_first() -> io::Result<()> {
    set(libc::SCHED_RR, 1)
}

/// Let the calling thread take turns with all others again.
pub fn take_turns() -> io::Result<()> {
    set(libc::SCHED_OTHER, 0)
}

/// By way of pthread: the call of that name in musl does nothing.
fn set(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    // SAFETY: all zero is a valid value of this plain structure; musl has more fields in it.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: the thread named is the calling one, and the structure is borrowed for the call.
    let error = unsafe { libc::pthread_setschedparam(libc::pthread_self(), policy, &parameters) };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The time for which the calling thread has had a CPU so far.
#[must_use]
pub fn cpu_time() -> Duration {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the structure, which is borrowed for the call. The clock is there in
    // every Linux, so it cannot fail; if it did, zero would stand for no use.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy of the calling thread.
    fn policy() -> libc::c_int {
        // SAFETY: no memory is involved; 0 names the caller.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn first_if_allowed_and_back() {
        // A thread of its own, as the runner uses this one for other tests.
        std::thread::spawn(|| {
            match go_first() {
                Ok(()) => assert_eq!(policy(), libc::SCHED_RR),
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
            }
            take_turns().unwrap();
            assert_eq!(policy(), libc::SCHED_OTHER);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn time_passes_only_at_work() {
        let begin = cpu_time();
        std::thread::sleep(Duration::from_millis(50));
        let slept = cpu_time();
        let mut n = 0u64;
        while cpu_time() - slept < Duration::from_millis(5) {
            n = std::hint::black_box(n + 1);
        }
        assert!(slept - begin < Duration::from_millis(50));
    }
}
