//! Waiting for a few descriptors.
//!
//! With poll(2) and not epoll: epoll is called back for every packet that comes in, also while its
//! thread is busy, which was measured to cost a tenth of the throughput. poll(2) is in the way only
//! while it waits.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::check;

/// A fixed set of descriptors to wait for input on.
#[derive(Default)]
pub struct Poll {
    fds: Vec<libc::pollfd>,
}

impl Poll {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A set with room for so many descriptors.
    #[must_use]
    pub fn with_room(count: usize) -> Self {
        Self {
            fds: Vec::with_capacity(count),
        }
    }

    /// Wait for none of them any more.
    pub fn clear(&mut self) {
        self.fds.clear();
    }

    /// Wait for input on this descriptor too; returns its key. Keys count from 0. A descriptor that
    /// is closed meanwhile is only reported as ready, so the set need not borrow it.
    pub fn add(&mut self, fd: BorrowedFd<'_>) -> usize {
        self.fds.push(libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        self.fds.len() - 1
    }

    /// Wait until one is ready, or this many milliseconds; `None` waits for ever.
    pub fn wait(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
        let timeout = timeout_ms.map_or(-1, |ms| ms.min(i32::MAX as u32) as i32);
        wait(&mut self.fds, timeout)
    }

    /// The keys of the descriptors that were ready when `wait` returned.
    pub fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        let fds = self.fds.iter().enumerate();
        fds.filter(|(_, fd)| fd.revents != 0).map(|(key, _)| key)
    }
}

/// Wait until a descriptor takes output; false if it does not within the time.
pub fn wait_writable(fd: BorrowedFd<'_>, timeout_ms: u16) -> io::Result<bool> {
    let mut fds = [libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    }];
    wait(&mut fds, timeout_ms.into())?;
    Ok(fds[0].revents != 0)
}

fn wait(fds: &mut [libc::pollfd], timeout_ms: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and length describe a slice that is borrowed for the call.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
            Ok(())
        }
        other => other.map(|_| ()),
    }
}
