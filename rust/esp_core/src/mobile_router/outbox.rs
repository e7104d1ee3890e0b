//! Sending whole IP packets, many at a time.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    counters::{Counter, Counters},
    hip::address,
};
use crate::{
    packet::ip::{Header, Version},
    sys::{
        send::{Route, Sender, Train, MAX_TRAINS},
        socket::raw_sender,
    },
};

/// The sockets, of both families. A system may have no IPv6, and a test neither: nothing is sent
/// then.
#[derive(Debug, Default)]
pub struct Links {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl Links {
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            v4: Some(raw_sender(false)?),
            v6: raw_sender(true).ok(),
        })
    }

    fn of(&self, version: Version) -> Option<BorrowedFd<'_>> {
        let link = match version {
            Version::V4 => &self.v4,
            Version::V6 => &self.v6,
        };
        link.as_ref().map(AsFd::as_fd)
    }
}

/// Packets of one family.
struct Lane {
    version: Version,
    trains: Vec<Train>,
    routes: Vec<Route>,
    pieces: Vec<Range<usize>>,
    tags: Vec<usize>,
}

impl Lane {
    fn new(version: Version, room: usize) -> Self {
        Self {
            version,
            trains: Vec::with_capacity(room),
            routes: Vec::with_capacity(room),
            pieces: Vec::with_capacity(room),
            tags: Vec::with_capacity(room),
        }
    }

    fn clear(&mut self) {
        self.trains.clear();
        self.routes.clear();
        self.pieces.clear();
        self.tags.clear();
    }
}

/// A packet that no link takes as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What it was put in with.
    pub tag: usize,
    /// Where it lies.
    pub packet: Range<usize>,
}

/// Packets that are to be sent together. Belongs to one thread.
pub struct Outbox {
    lanes: [Lane; 2],
    sender: Sender,
    /// Of the last `flush`.
    pub too_long: Vec<TooLong>,
}

impl Outbox {
    /// For this many packets at a time.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            lanes: [Version::V4, Version::V6].map(|version| Lane::new(version, room)),
            sender: Sender::new(),
            too_long: Vec::with_capacity(room),
        }
    }

    /// Forget what was put in.
    pub fn clear(&mut self) {
        self.lanes.iter_mut().for_each(Lane::clear);
        self.too_long.clear();
    }

    /// Put in a packet of `data`. The route to its destination is chosen for its own source, if the
    /// source is this host's.
    pub fn put(&mut self, data: &[u8], packet: Range<usize>, own_source: bool, tag: usize) {
        let bytes = &data[packet.clone()];
        let Some((version, source, destination)) = ends(bytes) else {
            return;
        };
        let lane = &mut self.lanes[usize::from(version == Version::V6)];
        let place = lane.trains.len();
        lane.trains.push(Train {
            route: place,
            pieces: place..place + 1,
            segment_size: None,
        });
        lane.routes.push(Route {
            remote: SocketAddr::new(destination, 0).into(),
            v6: version == Version::V6,
            source: own_source.then_some(source),
            interface: 0,
            traffic_class: None,
            hop_limit: None,
        });
        lane.pieces.push(packet);
        lane.tags.push(tag);
    }

    /// Whether there is anything to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.trains.is_empty())
    }

    /// Send what was put in, and begin anew.
    pub fn flush(&mut self, data: &[u8], links: &Links, counters: &Counters) -> Sent {
        self.too_long.clear();
        let mut sent = Sent::default();
        for lane in &mut self.lanes {
            let mut next = 0;
            while next < lane.trains.len() {
                let Some(link) = links.of(lane.version) else {
                    counters.add(Counter::SendFailed, lane.trains.len());
                    break;
                };
                let end = lane.trains.len().min(next + MAX_TRAINS);
                let trains = &lane.trains[next..end];
                let result = self
                    .sender
                    .send(link, trains, &lane.routes, &lane.pieces, data);
                counters.one(Counter::SendCalls);
                match result {
                    Ok(count) => {
                        let octets = lane.pieces[next..next + count].iter();
                        sent.packets += count;
                        sent.octets += octets.map(ExactSizeIterator::len).sum::<usize>();
                        next += count;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        match error.raw_os_error() {
                            Some(libc::EMSGSIZE) => self.too_long.push(TooLong {
                                tag: lane.tags[next],
                                packet: lane.pieces[next].clone(),
                            }),
                            Some(libc::EAGAIN | libc::ENOBUFS) => {
                                counters.one(Counter::SendQueueFull);
                            }
                            _ => {
                                counters.one(Counter::SendFailed);
                                sent.error = Some(error);
                            }
                        }
                        next += 1;
                    }
                }
            }
            lane.clear();
        }
        sent
    }
}

/// What went out.
#[derive(Debug, Default)]
pub struct Sent {
    pub packets: usize,
    pub octets: usize,
    /// What the system said last of a packet that it did not send.
    pub error: Option<io::Error>,
}

/// Version, source and destination of an IP packet.
#[must_use]
pub fn ends(packet: &[u8]) -> Option<(Version, IpAddr, IpAddr)> {
    let header = Header::parse(packet)?;
    let (source, destination) = header.addresses(packet);
    Some((header.version, address(source)?, address(destination)?))
}
