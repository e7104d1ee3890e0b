//! The sockets that ESP leaves and comes in by.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::error::EngineError;
use crate::sys::{fd, socket};

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketKind {
    /// HIP and ESP in UDP.
    Udp,
    /// Protocol 50.
    Esp,
}

/// Datagrams in the longest train that a kernel takes (UDP_MAX_SEGMENTS), and before Linux 6.9.
pub(super) const MAX_SEGMENTS: usize = 128;
const OLD_MAX_SEGMENTS: usize = 64;

/// Which of the kernel's help a UDP socket makes use of, where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOffloads {
    /// Datagrams leave in trains (UDP_SEGMENT).
    pub gso: bool,
    /// They come in in trains (UDP_GRO).
    pub gro: bool,
}

impl Default for UdpOffloads {
    fn default() -> Self {
        Self {
            gso: true,
            gro: true,
        }
    }
}

/// A socket; any thread may send or receive.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    pub kind: SocketKind,
    pub v6: bool,
    /// 0 for `Esp`.
    pub port: u16,
    train_limit: AtomicUsize,
    /// What it does with what is longer than the path.
    mtu_discovery: libc::c_int,
}

impl Socket {
    /// Duplicate a descriptor and set it up.
    pub(super) fn open(
        raw: RawFd,
        kind: SocketKind,
        offloads: UdpOffloads,
    ) -> Result<Self, EngineError> {
        let failed = |error| EngineError::System("use the socket", error);
        let fd = fd::duplicate(raw).map_err(failed)?;
        let borrowed = fd.as_fd();
        let expected = match kind {
            SocketKind::Udp => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            SocketKind::Esp => (libc::SOCK_RAW, libc::IPPROTO_ESP),
        };
        if socket::kind(borrowed).map_err(failed)? != expected {
            let what = match kind {
                SocketKind::Udp => "not a UDP socket",
                SocketKind::Esp => "not a raw socket of protocol 50",
            };
            return Err(EngineError::Invalid(what.into()));
        }
        let local = socket::local_address(borrowed).map_err(failed)?;
        let (v6, port) = (local.is_ipv6(), local.port());
        if kind == SocketKind::Udp && port == 0 {
            return Err(EngineError::Invalid(
                "the UDP socket is not bound to a port".into(),
            ));
        }
        // For BEET mode, TOS and TTL of the outer header are those of the inner one.
        socket::report_headers(borrowed, v6, true).map_err(failed)?;
        socket::enlarge_buffers(borrowed);
        let udp = kind == SocketKind::Udp;
        if udp && offloads.gro {
            // Without it trains come in one by one, which works as well.
            socket::enable_udp_gro(borrowed);
        }
        let mtu_discovery = socket::mtu_discovery(borrowed, v6).map_err(failed)?;
        let gso = udp && offloads.gso && socket::has_udp_gso(borrowed);
        Ok(Self {
            train_limit: AtomicUsize::new(if gso { MAX_SEGMENTS } else { 1 }),
            fd,
            kind,
            v6,
            port: if udp { port } else { 0 },
            mtu_discovery,
        })
    }

    /// Have IP cut what is sent until the result is dropped. What others send by this socket
    /// meanwhile is treated likewise; a probe of the path's MTU would be lucky to get in between,
    /// and a size that does not pass after all is given up soon.
    pub(super) fn cutting(&self) -> Cutting<'_> {
        if self.mtu_discovery != socket::MTU_DISCOVERY_OFF {
            // Should it not be possible, packets will be refused, and counted.
            let _ = socket::set_mtu_discovery(self.as_fd(), self.v6, socket::MTU_DISCOVERY_OFF);
        }
        Cutting(self)
    }

    /// Datagrams in the longest train that may be sent; 1 for none.
    #[must_use]
    pub(super) fn train_limit(&self) -> usize {
        self.train_limit.load(Ordering::Relaxed)
    }

    /// The system refused a train of this length: send none that it would refuse again.
    pub(super) fn train_refused(&self, len: usize, error: &io::Error) {
        let limit = match error.raw_os_error() {
            // No checksum offload on the way out: no train will ever pass.
            Some(libc::EIO) => 1,
            Some(libc::EINVAL) if len > OLD_MAX_SEGMENTS => OLD_MAX_SEGMENTS,
            _ => return,
        };
        self.train_limit.fetch_min(limit, Ordering::Relaxed);
    }
}

/// While it is there, IP cuts what a socket sends.
pub(super) struct Cutting<'a>(&'a Socket);

impl Drop for Cutting<'_> {
    fn drop(&mut self) {
        let Self(one) = self;
        if one.mtu_discovery != socket::MTU_DISCOVERY_OFF {
            let _ = socket::set_mtu_discovery(one.as_fd(), one.v6, one.mtu_discovery);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
