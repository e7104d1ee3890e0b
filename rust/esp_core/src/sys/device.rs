//! What network devices are, by their index.

use std::{io, os::fd::AsRawFd};

use super::{check, socket::probe};

/// Of linux/if_arp.h.
const ARPHRD_RAWIP: u16 = 519;

/// How packets lie on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Behind an Ethernet header.
    Ethernet,
    /// Without any header in front: TUN, PPP, modems that carry IP.
    Bare,
    Other,
}

/// That of a device of this network namespace.
pub fn framing(ifindex: u32) -> io::Result<Framing> {
    let answer = ask(ifindex, libc::SIOCGIFHWADDR)?;
    // SAFETY: the kernel has just written this member.
    Ok(match unsafe { answer.ifr_ifru.ifru_hwaddr.sa_family } {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Framing::Ethernet,
        libc::ARPHRD_NONE | ARPHRD_RAWIP | libc::ARPHRD_PPP => Framing::Bare,
        _ => Framing::Other,
    })
}

/// Octets of the longest IP packet that a device of this network namespace takes.
pub fn mtu(ifindex: u32) -> io::Result<u32> {
    let answer = ask(ifindex, libc::SIOCGIFMTU)?;
    // SAFETY: the kernel has just written this member.
    Ok(unsafe { answer.ifr_ifru.ifru_mtu } as u32)
}

/// The answer to one of the requests that name a device, and whose answers are in the same place.
fn ask(ifindex: u32, number: libc::Ioctl) -> io::Result<libc::ifreq> {
    let socket = probe()?;
    // SAFETY: all octets 0 are a request: a union of numbers and octets.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = ifindex as libc::c_int;
    for number in [libc::SIOCGIFNAME, number] {
        // SAFETY: each of these requests reads and writes one ifreq, which lives through the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), number, &raw mut request) })?;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device() {
        assert_eq!(framing(1).unwrap(), Framing::Ethernet);
        assert!(mtu(1).unwrap() >= 1280);
    }

    #[test]
    fn no_device() {
        let error = framing(1_000_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
