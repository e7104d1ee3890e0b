//! Many datagrams, or trains of them (UDP_GRO), with one `recvmmsg`.

use std::{
    io,
    net::SocketAddr,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{
    address::{RawAddress, MAX_LEN},
    check,
    control_message::{ControlBuffer, Received, CAPACITY},
};

/// Added to each slot so that the beginnings of slots fall into different sets of the CPU's caches.
const SKEW: usize = 1088;

/// What came into one slot.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Where in `ReceiveBatch::data` it lies.
    pub range: Range<usize>,
    pub remote: Option<SocketAddr>,
    pub received: Received,
    /// It was longer than a slot, and its end is lost.
    pub truncated: bool,
}

/// Slots for datagrams. Belongs to one thread.
pub struct ReceiveBatch {
    data: Box<[u8]>,
    slot_len: usize,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<RawAddress>,
    controls: Vec<ControlBuffer>,
}

// SAFETY: the pointers in it lead to memory that self owns and that does not move with it; they are
// made anew in each call, and only the kernel follows them, during the call.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// A batch of `slots` datagrams of at most `slot_len` octets.
    #[must_use]
    pub fn new(slots: usize, slot_len: usize) -> Self {
        Self {
            data: vec![0; slots * (slot_len + SKEW)].into_boxed_slice(),
            slot_len,
            headers: Vec::with_capacity(slots),
            vectors: Vec::with_capacity(slots),
            names: vec![RawAddress::EMPTY; slots],
            controls: vec![ControlBuffer::default(); slots],
        }
    }

    #[must_use]
    pub fn slots(&self) -> usize {
        self.names.len()
    }

    /// Replace the content by what waits in the socket, without waiting, using this many slots at
    /// most; returns how many are filled. Nothing there is `WouldBlock`.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, slots: usize) -> io::Result<usize> {
        self.headers.clear();
        self.vectors.clear();
        for slot in self.data.chunks_exact_mut(self.slot_len + SKEW).take(slots) {
            self.vectors.push(libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: self.slot_len,
            });
        }
        let places = self.names.iter_mut().zip(&mut self.controls);
        for ((name, control), vector) in places.zip(&mut self.vectors) {
            self.headers.push(libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: name.bytes.as_mut_ptr().cast(),
                    msg_namelen: MAX_LEN as u32,
                    msg_iov: vector,
                    msg_iovlen: 1,
                    msg_control: control.bytes.as_mut_ptr().cast(),
                    msg_controllen: CAPACITY as _,
                    msg_flags: 0,
                },
                msg_len: 0,
            });
        }
        // SAFETY: each header points to a name, a vector and a control buffer of its own, and each
        // vector to a slot of its own; self owns them all exclusively through the call, and the
        // lengths given are theirs.
        let received = check(unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        })?;
        Ok(received as usize)
    }

    /// What the last `receive` put into a slot it counted.
    #[must_use]
    pub fn datagram(&self, slot: usize) -> Datagram {
        let header = &self.headers[slot];
        let start = slot * (self.slot_len + SKEW);
        let name = RawAddress {
            len: header.msg_hdr.msg_namelen,
            ..self.names[slot]
        };
        let control_len = header.msg_hdr.msg_controllen.min(CAPACITY);
        Datagram {
            range: start..start + (header.msg_len as usize).min(self.slot_len),
            remote: name.parse(),
            received: Received::parse(&self.controls[slot].bytes[..control_len]),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, UdpSocket},
        os::fd::AsFd,
    };

    use super::*;
    use crate::sys::{
        send::{Route, Sender, Train},
        socket,
    };

    fn route(to: &UdpSocket, source: Option<IpAddr>) -> Route {
        let remote = to.local_addr().unwrap();
        Route {
            remote: remote.into(),
            v6: remote.is_ipv6(),
            source,
            interface: 0,
            traffic_class: Some(0x08),
            hop_limit: Some(33),
        }
    }

    fn receive_all(socket: &UdpSocket, expected: usize) -> Vec<(Vec<u8>, Datagram)> {
        let mut batch = ReceiveBatch::new(8, 65536);
        let mut datagrams = Vec::new();
        for _ in 0..1000 {
            if let Ok(count) = batch.receive(socket.as_fd(), 8) {
                for slot in 0..count {
                    let datagram = batch.datagram(slot);
                    datagrams.push((batch.data()[datagram.range.clone()].to_vec(), datagram));
                }
            }
            if datagrams.iter().map(|(data, _)| data.len()).sum::<usize>() >= expected {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        datagrams
    }

    fn over(any: &str, source: &str) {
        let receiver = UdpSocket::bind(format!("{source}:0")).unwrap();
        let sender = UdpSocket::bind(format!("{any}:0")).unwrap();
        let source: IpAddr = source.trim_matches(['[', ']']).parse().unwrap();
        socket::report_headers(receiver.as_fd(), source.is_ipv6(), true).unwrap();
        let route = route(&receiver, Some(source));
        let data = b"onetwothree!!";
        let pieces = [0..3, 3..6, 6..13];
        let train = |pieces, segment_size| Train {
            route: 0,
            pieces,
            segment_size,
        };
        let trains = [train(0..2, None), train(2..3, None)];
        let sent = Sender::new().send(sender.as_fd(), &trains, &[route], &pieces, data);
        assert_eq!(sent.unwrap(), 2);
        let datagrams = receive_all(&receiver, data.len());
        assert_eq!(datagrams[0].0, b"onetwo");
        assert_eq!(datagrams[1].0, b"three!!");
        let first = &datagrams[0].1;
        let port = sender.local_addr().unwrap().port();
        assert_eq!(first.remote, Some((source, port).into()));
        assert_eq!(first.received.local, Some(source));
        assert_eq!(first.received.traffic_class, 0x08);
        assert_eq!(first.received.hop_limit, 33);
        assert!(!first.truncated);
    }

    #[test]
    fn ipv4() {
        over("0.0.0.0", "127.0.0.1");
    }

    #[test]
    fn ipv6() {
        over("[::]", "[::1]");
    }

    #[test]
    fn a_train_arrives_whole() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        if !socket::has_udp_gso(sender.as_fd()) || !socket::enable_udp_gro(receiver.as_fd()) {
            eprintln!("this kernel has no UDP_SEGMENT or UDP_GRO");
            return;
        }
        let route = route(&receiver, None);
        let data: Vec<u8> = (0..1050u32).map(|n| n as u8).collect();
        let train = Train {
            route: 0,
            pieces: 0..2,
            segment_size: Some(100),
        };
        // Where the pieces meet does not matter to the kernel.
        let pieces = [0..250, 250..data.len()];
        Sender::new()
            .send(sender.as_fd(), &[train], &[route], &pieces, &data)
            .unwrap();
        let datagrams = receive_all(&receiver, data.len());
        let joined: Vec<u8> = datagrams
            .iter()
            .flat_map(|(data, _)| data.clone())
            .collect();
        assert_eq!(joined, data);
        assert_eq!(datagrams[0].1.received.segment_size, 100);
    }

    #[test]
    fn nothing_there() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = ReceiveBatch::new(2, 64)
            .receive(socket.as_fd(), 2)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn longer_than_a_slot() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver
            .send_to(&[1; 100], receiver.local_addr().unwrap())
            .unwrap();
        let mut batch = ReceiveBatch::new(2, 64);
        assert_eq!(batch.receive(receiver.as_fd(), 2).unwrap(), 1);
        let datagram = batch.datagram(0);
        assert!(datagram.truncated);
        assert_eq!(datagram.range.len(), 64);
    }
}
