//! How a thread stands among the others that want the CPU.

use std::io;

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
}
