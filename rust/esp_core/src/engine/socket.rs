//! The sockets that ESP leaves and comes in by.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
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
    gso: AtomicBool,
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
        Ok(Self {
            gso: AtomicBool::new(udp && offloads.gso && socket::has_udp_gso(borrowed)),
            fd,
            kind,
            v6,
            port: if udp { port } else { 0 },
        })
    }

    /// Whether trains may be sent.
    #[must_use]
    pub(super) fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    /// The system took trains, but the device or route cannot: send no more.
    pub(super) fn disable_gso(&self) {
        self.gso.store(false, Ordering::Relaxed);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
