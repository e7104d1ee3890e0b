//! Socket options and names.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::{
    address::{RawAddress, MAX_LEN},
    check,
};

/// Octets asked for in each direction; the kernel doubles it for its own bookkeeping.
const BUFFER_LEN: libc::c_int = 16 << 20;

/// The address and port that a socket is bound to.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut raw = RawAddress::EMPTY;
    raw.len = MAX_LEN as u32;
    // SAFETY: the kernel writes at most `len` octets, which is the size of the array.
    check(unsafe {
        libc::getsockname(
            fd.as_raw_fd(),
            raw.bytes.as_mut_ptr().cast(),
            &raw mut raw.len,
        )
    })?;
    raw.parse()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an IP socket"))
}

/// Type (SOCK_DGRAM, SOCK_RAW) and protocol of a socket.
pub fn kind(fd: BorrowedFd<'_>) -> io::Result<(libc::c_int, libc::c_int)> {
    Ok((
        get_option(fd, libc::SOL_SOCKET, libc::SO_TYPE)?,
        get_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)?,
    ))
}

/// Have the kernel tell the destination address of each datagram, and TOS and TTL if asked.
pub fn report_headers(fd: BorrowedFd<'_>, v6: bool, class_and_limit: bool) -> io::Result<()> {
    let class_and_limit = libc::c_int::from(class_and_limit);
    if v6 {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set_option(
            fd,
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVTCLASS,
            class_and_limit,
        )?;
        set_option(
            fd,
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVHOPLIMIT,
            class_and_limit,
        )
    } else {
        set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, class_and_limit)?;
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVTTL, class_and_limit)
    }
}

/// Make the socket's buffers as large as may be: beyond the system's limit with CAP_NET_ADMIN.
pub fn enlarge_buffers(fd: BorrowedFd<'_>) {
    for (forced, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        if set_option(fd, libc::SOL_SOCKET, forced, BUFFER_LEN).is_err() {
            // Not being allowed to is no error: the socket works with what it gets.
            let _ = set_option(fd, libc::SOL_SOCKET, plain, BUFFER_LEN);
        }
    }
}

/// Take in trains of datagrams joined by the kernel (UDP_GRO, Linux 5.0); false if it cannot.
pub fn enable_udp_gro(fd: BorrowedFd<'_>) -> bool {
    set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
}

/// Whether the kernel cuts trains into datagrams (UDP_SEGMENT, Linux 4.18).
pub fn has_udp_gso(fd: BorrowedFd<'_>) -> bool {
    get_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()
}

/// A UDP socket for asking the kernel what it can do.
pub fn probe() -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Octets of the longest packet that the route to an address takes, as far as the kernel knows.
pub fn route_mtu(to: IpAddr) -> io::Result<usize> {
    let v6 = to.is_ipv6();
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Any port: nothing is sent.
    let remote = RawAddress::from((to, 9));
    // SAFETY: pointer and length describe the address, which lives through the call.
    check(unsafe { libc::connect(fd.as_raw_fd(), remote.bytes.as_ptr().cast(), remote.len) })?;
    let mtu = if v6 {
        get_option(fd.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU)?
    } else {
        get_option(fd.as_fd(), libc::IPPROTO_IP, libc::IP_MTU)?
    };
    Ok(usize::try_from(mtu).unwrap_or(0))
}

/// Marks what is sent for others: the rules take it out of connection tracking by this
/// (platform/diversion.py). Its low bits say "best effort" to queueing disciplines.
const UNTRACKED_PRIORITY: libc::c_int = 0x6869_0000;

/// A socket that sends IP packets with whatever header they have, from any address, and takes in
/// nothing (IPPROTO_RAW). Needs CAP_NET_RAW.
pub fn raw_sender(v6: bool) -> io::Result<OwnedFd> {
    let (family, level, name) = if v6 {
        (libc::AF_INET6, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)
    } else {
        (libc::AF_INET, libc::IPPROTO_IP, libc::IP_FREEBIND)
    };
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(family, kind, libc::IPPROTO_RAW) })?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // The source of a control message, by which the route is chosen, may be gone at any time.
    set_option(fd.as_fd(), level, name, 1)?;
    set_option(
        fd.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_PRIORITY,
        UNTRACKED_PRIORITY,
    )?;
    enlarge_buffers(fd.as_fd());
    Ok(fd)
}

/// What the kernel does with what is longer than the path (IP_MTU_DISCOVER): cut it, or refuse it
/// and set "don't fragment" on the rest.
pub fn mtu_discovery(fd: BorrowedFd<'_>, v6: bool) -> io::Result<libc::c_int> {
    let (level, name) = mtu_discovery_option(v6);
    get_option(fd, level, name)
}

/// Have the kernel do so from now on.
pub fn set_mtu_discovery(fd: BorrowedFd<'_>, v6: bool, value: libc::c_int) -> io::Result<()> {
    let (level, name) = mtu_discovery_option(v6);
    set_option(fd, level, name, value)
}

/// The value for cutting, of both families.
pub const MTU_DISCOVERY_OFF: libc::c_int = libc::IP_PMTUDISC_DONT;

fn mtu_discovery_option(v6: bool) -> (libc::c_int, libc::c_int) {
    if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    }
}

fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: pointer and length describe one int that lives through the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn get_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets into one int that lives through the call.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}
