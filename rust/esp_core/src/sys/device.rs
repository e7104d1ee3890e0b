//! What network devices are, by their index.

use std::{io, os::fd::AsRawFd};

use super::{check, socket::probe};

/// How packets lie on a device (linux/if_arp.h), and how long they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    pub framing: Framing,
    /// Octets of an IP packet.
    pub mtu: u32,
}

/// Of linux/if_arp.h.
const ARPHRD_RAWIP: u16 = 519;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Behind an Ethernet header.
    Ethernet,
    /// Without any header in front: TUN, PPP, modems that carry IP.
    Bare,
    Other,
}

/// Ask for a device of this network namespace.
pub fn device(ifindex: u32) -> io::Result<Device> {
    let socket = probe()?;
    // SAFETY: all octets 0 are a request: a union of numbers and octets.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = ifindex as libc::c_int;
    let mut ask = |number: libc::Ioctl| {
        // SAFETY: each of these requests reads and writes one ifreq, which lives through the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), number, &raw mut request) })?;
        io::Result::Ok(request)
    };
    ask(libc::SIOCGIFNAME)?;
    // SAFETY: the kernel has just written this member.
    let mtu = unsafe { ask(libc::SIOCGIFMTU)?.ifr_ifru.ifru_mtu } as u32;
    // SAFETY: as above.
    let kind = unsafe { ask(libc::SIOCGIFHWADDR)?.ifr_ifru.ifru_hwaddr.sa_family };
    let framing = match kind {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Framing::Ethernet,
        libc::ARPHRD_NONE | ARPHRD_RAWIP | libc::ARPHRD_PPP => Framing::Bare,
        _ => Framing::Other,
    };
    Ok(Device { framing, mtu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device() {
        let found = device(1).unwrap();
        assert_eq!(found.framing, Framing::Ethernet);
        assert!(found.mtu >= 1280);
    }

    #[test]
    fn no_device() {
        let error = device(1_000_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
