//! Many datagrams with one `sendmmsg`, runs of equal size as one train (UDP_SEGMENT).

use std::{
    io,
    net::IpAddr,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use super::{address::RawAddress, check, control_message::ControlBuffer};

/// Most trains in one call.
pub const MAX_TRAINS: usize = 64;
/// Most pieces in one call.
pub const MAX_PIECES: usize = 512;

/// Where a datagram goes, and what its outer header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub remote: RawAddress,
    pub v6: bool,
    /// The address to send from; the system chooses it if there is none.
    pub source: Option<IpAddr>,
    /// Index of the interface to send by; the routing table chooses it if it is 0.
    pub interface: u32,
    /// TOS or Traffic Class, if not the socket's own.
    pub traffic_class: Option<u8>,
    /// TTL or Hop Limit, if not the socket's own.
    pub hop_limit: Option<u8>,
}

/// One message: a datagram, or several of one size (the last may be shorter) to one destination.
#[derive(Clone, Debug)]
pub struct Train {
    /// Its place among the routes of the call.
    pub route: usize,
    /// Its pieces among those of the call, in order.
    pub pieces: Range<usize>,
    /// Size of each datagram, for more than one.
    pub segment_size: Option<u16>,
}

/// The structures of a call, kept for the next one. Belongs to one thread.
pub struct Sender {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    controls: Vec<ControlBuffer>,
}

// SAFETY: the pointers in it are made anew in each call from what is borrowed or owned then, and are
// not looked at between calls; all else may be moved to another thread.
unsafe impl Send for Sender {}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

impl Sender {
    #[must_use]
    pub fn new() -> Self {
        Self {
            headers: Vec::with_capacity(MAX_TRAINS),
            vectors: Vec::with_capacity(MAX_PIECES),
            controls: vec![ControlBuffer::default(); MAX_TRAINS],
        }
    }

    /// Send trains whose pieces are ranges of `data`; returns how many went out. An error is about
    /// the first train, and none went out then. At most `MAX_TRAINS` are looked at.
    pub fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        trains: &[Train],
        routes: &[Route],
        pieces: &[Range<usize>],
        data: &[u8],
    ) -> io::Result<usize> {
        self.headers.clear();
        self.vectors.clear();
        self.vectors.extend(pieces.iter().map(|piece| {
            let bytes = &data[piece.clone()];
            libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            }
        }));
        for (train, control) in trains.iter().zip(&mut self.controls) {
            let route = &routes[train.route];
            control.clear();
            if route.source.is_some() || route.interface != 0 {
                control.push_source(route.v6, route.source, route.interface);
            }
            if let Some(value) = route.traffic_class {
                control.push_traffic_class(route.v6, value);
            }
            if let Some(value) = route.hop_limit {
                control.push_hop_limit(route.v6, value);
            }
            if let Some(size) = train.segment_size {
                control.push_segment_size(size);
            }
            let vectors = &mut self.vectors[train.pieces.clone()];
            self.headers.push(libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: route.remote.bytes.as_ptr().cast_mut().cast(),
                    msg_namelen: route.remote.len,
                    msg_iov: vectors.as_mut_ptr(),
                    msg_iovlen: vectors.len() as _,
                    msg_control: if control.len == 0 {
                        ptr::null_mut()
                    } else {
                        control.bytes.as_mut_ptr().cast()
                    },
                    msg_controllen: control.len as _,
                    msg_flags: 0,
                },
                msg_len: 0,
            });
        }
        // SAFETY: the headers point to routes and data borrowed by the arguments and to vectors
        // and control messages that self owns; all live through the call, none is changed while
        // it runs, and the kernel only reads them.
        let sent = check(unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        })?;
        Ok(sent as usize)
    }
}
