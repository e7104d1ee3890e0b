//! ioctls of TUN and TAP devices.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::check;

// linux/if_tun.h; ioctl numbers are _IOR/_IOW('T', n, int).
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUNGETFEATURES: libc::c_ulong = 0x8004_54cf;
const TUN_F_CSUM: libc::c_uint = 0x01;
const TUN_F_TSO4: libc::c_uint = 0x02;
const TUN_F_TSO6: libc::c_uint = 0x04;
const TUN_F_TSO_ECN: libc::c_uint = 0x08;
const TUN_F_USO4: libc::c_uint = 0x20;
const TUN_F_USO6: libc::c_uint = 0x40;
const IFF_VNET_HDR: libc::c_uint = 0x4000;

/// Ask the kernel for super-packets and unfinished checksums on a device opened with IFF_VNET_HDR,
/// with the 10-octet offload header; true if that goes for UDP as well (Linux 6.2). A socket in
/// place of a device has nothing to be asked: who holds its other end takes everything.
pub fn enable_offload(fd: BorrowedFd<'_>, header_len: usize) -> io::Result<bool> {
    let size = header_len as libc::c_int;
    // SAFETY: the request reads one int, which lives through the call.
    let sized =
        check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ as _, &raw const size) });
    if sized
        .as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(libc::ENOTTY))
    {
        return Ok(true);
    }
    sized?;
    let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if set_offload(fd, tcp | TUN_F_USO4 | TUN_F_USO6).is_ok() {
        return Ok(true);
    }
    set_offload(fd, tcp).map(|()| false)
}

fn set_offload(fd: BorrowedFd<'_>, flags: libc::c_uint) -> io::Result<()> {
    let flags = libc::c_ulong::from(flags);
    // SAFETY: the request takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD as _, flags) })?;
    Ok(())
}

/// Whether the kernel's TUN driver has IFF_VNET_HDR. `fd` is an open /dev/net/tun.
pub fn has_vnet_hdr(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut features: libc::c_uint = 0;
    // SAFETY: the request writes one unsigned int, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETFEATURES as _, &raw mut features) })?;
    Ok(features & IFF_VNET_HDR != 0)
}
