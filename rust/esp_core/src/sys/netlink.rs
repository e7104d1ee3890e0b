//! Netlink sockets, to and from the kernel alone.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::check;

/// A socket of one protocol (NETLINK_NETFILTER, ...). Nothing but the kernel can send to it.
pub fn open(protocol: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero is a valid value of this plain structure: port 0, which is the kernel.
    let mut kernel: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    kernel.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    // SAFETY: pointer and length describe the structure, which lives through the call.
    check(unsafe {
        libc::connect(
            fd.as_raw_fd(),
            (&raw const kernel).cast(),
            size_of::<libc::sockaddr_nl>() as libc::socklen_t,
        )
    })?;
    Ok(fd)
}

/// Have the kernel tell of what a group is about (RTNLGRP_LINK, ...).
pub fn join(fd: BorrowedFd<'_>, group: libc::c_int) -> io::Result<()> {
    // SAFETY: pointer and length describe one int that lives through the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            (&raw const group).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Do not have `receive` fail when messages were lost for want of room (NETLINK_NO_ENOBUFS).
pub fn tell_no_loss(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length describe one int that lives through the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_NO_ENOBUFS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Send whole messages; the kernel has acted on them when this returns.
pub fn send(fd: BorrowedFd<'_>, messages: &[u8]) -> io::Result<()> {
    loop {
        // SAFETY: pointer and length describe a slice that is borrowed for the call.
        let sent =
            unsafe { libc::send(fd.as_raw_fd(), messages.as_ptr().cast(), messages.len(), 0) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
