//! File descriptors: taken over from Python, made non-blocking, used as signals.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use super::check;

/// A duplicate of a descriptor that somebody else owns. A number that is not open is an error.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes any number; one that is not open gives EBADF.
    let new = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Reads and writes on this open file (and its duplicates) never wait from now on.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed; no memory is involved.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// An eventfd: raised by any thread, waited for by one.
#[derive(Debug)]
pub struct Signal(File);

impl Signal {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
        Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Make the descriptor readable.
    pub fn raise(&self) {
        // It fails only when the counter is full, and then it is readable already.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Make the descriptor not readable.
    pub fn clear(&self) {
        // It fails only when it was not readable.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::Poll;

    #[test]
    fn a_number_that_is_not_open() {
        let error = duplicate(1_000_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn raised_is_readable_until_cleared() {
        let signal = Signal::new().unwrap();
        let mut poll = Poll::new();
        let key = poll.add(signal.as_fd());
        let mut is_ready = || {
            poll.wait(Some(0)).unwrap();
            poll.ready().any(|ready| ready == key)
        };
        assert!(!is_ready());
        signal.raise();
        signal.raise();
        assert!(is_ready());
        signal.clear();
        assert!(!is_ready());
    }
}
