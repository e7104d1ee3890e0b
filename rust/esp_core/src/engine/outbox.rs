//! Where packets are sealed, and from where they leave in trains.
//!
//! One buffer holds a batch. Packets are read to its first part, and those that are sealed as they
//! are stay there. What is cut from larger ones is built in the second part, each right behind the
//! other, so that a train of them is a single piece for the kernel; the place where the larger one was
//! read is free again, and still in the CPU's cache for the next.

use std::{io, ops::Range, os::fd::AsFd, sync::Arc};

use super::{
    device::READ_ROOM,
    outbound::OutboundSa,
    socket::{Socket, MAX_SEGMENTS},
};
use crate::{
    drops::DropReason,
    stages::{Lap, Stage},
    stats::{Counter, Counters},
    sys::{
        poll::wait_writable,
        send::{Route, Sender, Train, MAX_PIECES, MAX_TRAINS},
    },
};

/// In front of what is read: room for the ESP header (24 octets at most), a fragment or BEET pseudo
/// header and the EtherIP header.
pub(super) const HEADROOM: usize = 64;
/// Behind what is read: padding, trailer and ICV (17 + 32 octets at most).
const TAILROOM: usize = 64;
/// Octets of the part for reading.
const READ_PART: usize = 256 << 10;
/// Octets of the part for building: a train that is not complete yet, and what a super-packet makes.
const BUILT_PART: usize = 256 << 10;

/// Octets in one train. With all headers it has to stay below 65,536 (GSO_LEGACY_MAX_SIZE), or the
/// kernel cuts it in software before the device.
const MAX_TRAIN_BYTES: usize = 65_000;
/// How long to wait for a full socket before packets are dropped.
const SEND_WAIT_MS: u16 = 20;

/// TOS or Traffic Class, and TTL or Hop Limit, of the outer header, if not the socket's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub traffic_class: Option<u8>,
    pub hop_limit: Option<u8>,
}

/// Payloads to be sealed one after the other.
pub(super) struct Run<Len, Build> {
    pub(super) next_header: u8,
    pub(super) marks: Marks,
    /// Octets of the n-th payload; none is longer than the one before it.
    pub(super) payload_len: Len,
    /// Writes the n-th payload, seeing what was read.
    pub(super) build: Build,
}

#[derive(Clone, Copy)]
struct Packet {
    start: usize,
    len: usize,
    /// Index in `routes`.
    route: usize,
    /// Longer than its path: IP cuts it, which it does with none of a train.
    alone: bool,
}

impl Packet {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// A batch on its way out. Belongs to the sending thread.
pub(super) struct Outbox {
    data: Box<[u8]>,
    /// Where the next packet may be read to.
    read_at: usize,
    /// Where the next packet is built.
    built_at: usize,
    packets: Vec<Packet>,
    routes: Vec<Route>,
    route_sockets: Vec<usize>,
    trains: Vec<Train>,
    train_packets: Vec<Range<usize>>,
    pieces: Vec<Range<usize>>,
    sender: Sender,
    sockets: Arc<[Socket]>,
    counters: Arc<Counters>,
    now_ms: u64,
}

impl Outbox {
    #[must_use]
    pub(super) fn new(sockets: Arc<[Socket]>, counters: Arc<Counters>) -> Self {
        Self {
            data: vec![0; READ_PART + BUILT_PART].into_boxed_slice(),
            read_at: 0,
            built_at: READ_PART,
            packets: Vec::with_capacity(1024),
            routes: Vec::with_capacity(64),
            route_sockets: Vec::with_capacity(64),
            trains: Vec::with_capacity(MAX_TRAINS),
            train_packets: Vec::with_capacity(MAX_TRAINS),
            pieces: Vec::with_capacity(MAX_PIECES),
            sender: Sender::new(),
            sockets,
            counters,
            now_ms: 0,
        }
    }

    /// Set the time that packets sealed from now on are noted with.
    pub(super) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Room for reading one packet, and where it lies in `data`.
    pub(super) fn read_area(&mut self) -> (usize, &mut [u8]) {
        if self.read_at + HEADROOM + READ_ROOM + TAILROOM > READ_PART {
            self.flush();
        }
        let start = self.read_at + HEADROOM;
        (start, &mut self.data[start..start + READ_ROOM])
    }

    #[must_use]
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// What was read last is not needed any more. Trains that are complete leave, and so does the first
    /// small packet after a pause, as nothing says that more will come.
    /// True if it did: time has passed since the control plane was last listened to.
    pub(super) fn release(&mut self, first: bool) -> bool {
        let alone = first && self.built_at == READ_PART;
        if alone {
            self.flush();
        } else if self.built_at - READ_PART >= MAX_TRAIN_BYTES || self.packets.len() >= MAX_SEGMENTS
        {
            self.flush_complete();
        }
        alone
    }

    /// Seal a payload where it lies; what is in front of it is overwritten.
    pub(super) fn seal_in_place(
        &mut self,
        sa: &mut OutboundSa,
        next_header: u8,
        payload: Range<usize>,
        marks: Marks,
    ) {
        let start = payload.start - sa.header_len();
        let len = sa.sealed_len(payload.len());
        let buf = &mut self.data[start..start + len];
        let lap = Lap::begin();
        let sealed = sa.seal(next_header, [(buf, payload.len())], self.now_ms);
        lap.end(&self.counters, Stage::Seal);
        match sealed {
            Ok(()) => {
                self.push(sa, start, len, marks);
                self.read_at = start + len;
            }
            Err(reason) => self.counters.dropped(reason),
        }
    }

    /// Seal a payload that `build` writes, seeing what was read.
    pub(super) fn seal_built(
        &mut self,
        sa: &mut OutboundSa,
        next_header: u8,
        payload_len: usize,
        marks: Marks,
        build: impl Fn(&[u8], &mut [u8]),
    ) {
        let run = Run {
            next_header,
            marks,
            payload_len: |_| payload_len,
            build: |_, read: &[u8], out: &mut [u8]| build(read, out),
        };
        self.seal_lanes::<1>(sa, 0, &run);
    }

    /// Seal `count` payloads, several at a time: with AES-CBC that is much faster, and no cipher has
    /// to read what was written just before.
    pub(super) fn seal_run(
        &mut self,
        sa: &mut OutboundSa,
        count: usize,
        run: &Run<impl Fn(usize) -> usize, impl Fn(usize, &[u8], &mut [u8])>,
    ) {
        let mut n = 0;
        while n < count {
            // Jumbo packets are too large for many of them to lie here.
            let longest = sa.sealed_len((run.payload_len)(n));
            let room = BUILT_PART / longest;
            n += match room.min(count - n) {
                8.. => self.seal_lanes::<8>(sa, n, run),
                4.. => self.seal_lanes::<4>(sa, n, run),
                2.. => self.seal_lanes::<2>(sa, n, run),
                _ => self.seal_lanes::<1>(sa, n, run),
            };
        }
    }

    /// Seal N payloads from the n-th on; returns N.
    fn seal_lanes<const N: usize>(
        &mut self,
        sa: &mut OutboundSa,
        n: usize,
        run: &Run<impl Fn(usize) -> usize, impl Fn(usize, &[u8], &mut [u8])>,
    ) -> usize {
        let payload_lens: [usize; N] = std::array::from_fn(|lane| (run.payload_len)(n + lane));
        let lens = payload_lens.map(|len| sa.sealed_len(len));
        let total: usize = lens.iter().sum();
        if self.built_at + total > self.data.len() {
            self.send_all();
            if self.built_at + total > self.data.len() {
                self.counters.dropped_many(DropReason::FrameTooLong, N);
                return N;
            }
        }
        let lap = Lap::begin();
        let mut start = self.built_at;
        let (read, mut rest) = self.data.split_at_mut(start);
        let header_len = sa.header_len();
        let packets = std::array::from_fn(|lane| {
            let (packet, behind) = std::mem::take(&mut rest).split_at_mut(lens[lane]);
            rest = behind;
            let payload = &mut packet[header_len..header_len + payload_lens[lane]];
            (run.build)(n + lane, read, payload);
            (packet, payload_lens[lane])
        });
        lap.end(&self.counters, Stage::Build);
        let lap = Lap::begin();
        let sealed = sa.seal::<N>(run.next_header, packets, self.now_ms);
        lap.end(&self.counters, Stage::Seal);
        match sealed {
            Ok(()) => {
                for len in lens {
                    self.push(sa, start, len, run.marks);
                    start += len;
                }
                self.built_at = start;
            }
            Err(reason) => self.counters.dropped_many(reason, N),
        }
        N
    }

    fn push(&mut self, sa: &OutboundSa, start: usize, len: usize, marks: Marks) {
        let route = self.route(sa, marks);
        self.packets.push(Packet {
            start,
            len,
            route,
            alone: len > sa.path().room,
        });
    }

    /// The index of a route, a new one unless it is the last one used.
    fn route(&mut self, sa: &OutboundSa, marks: Marks) -> usize {
        let path = sa.path();
        let route = Route {
            traffic_class: marks.traffic_class,
            hop_limit: marks.hop_limit,
            ..path.route
        };
        let same =
            self.routes.last() == Some(&route) && self.route_sockets.last() == Some(&path.socket);
        if !same {
            self.routes.push(route);
            self.route_sockets.push(path.socket);
        }
        self.routes.len() - 1
    }

    /// Send everything sealed, and begin anew.
    pub(super) fn flush(&mut self) {
        self.send_all();
        self.read_at = 0;
    }

    /// Send everything sealed; what was read last stays.
    fn send_all(&mut self) {
        self.send_to(self.packets.len());
        self.packets.clear();
        self.routes.clear();
        self.route_sockets.clear();
        self.built_at = READ_PART;
    }

    /// Send everything sealed but a last train that has room for more of its kind: they may come next,
    /// and the kernel's work for a train hardly depends on its length.
    fn flush_complete(&mut self) {
        let open = self.open_train();
        let Some(first) = self.packets.get(open).copied() else {
            self.flush();
            return;
        };
        self.send_to(open);
        self.data.copy_within(first.start..self.built_at, READ_PART);
        self.packets.drain(..open);
        let moved = first.start - READ_PART;
        for packet in &mut self.packets {
            packet.start -= moved;
            packet.route = 0;
        }
        self.routes.swap(0, first.route);
        self.routes.truncate(1);
        self.route_sockets.swap(0, first.route);
        self.route_sockets.truncate(1);
        self.built_at -= moved;
        self.read_at = 0;
    }

    /// Where the last train begins, if it was built and may be continued; else the end.
    fn open_train(&self) -> usize {
        let end = self.packets.len();
        let mut begin = 0;
        let mut next = 0;
        while next < end {
            begin = next;
            next = self.train_end(begin);
        }
        let train = &self.packets[begin..];
        let open = train.first().is_some_and(|first| {
            train.len() < self.train_limit(first)
                && (train.len() + 1) * first.len <= MAX_TRAIN_BYTES
                && train
                    .iter()
                    .all(|packet| packet.len == first.len && packet.start >= READ_PART)
        });
        if open {
            begin
        } else {
            end
        }
    }

    /// Packets in the longest train that the socket of this packet takes.
    fn train_limit(&self, packet: &Packet) -> usize {
        if packet.alone {
            return 1;
        }
        self.sockets[self.route_sockets[packet.route]].train_limit()
    }

    /// Send the packets in front of this one.
    fn send_to(&mut self, end: usize) {
        let mut next = 0;
        while next < end {
            let first = self.packets[next];
            let socket = self.route_sockets[first.route];
            next = self.assemble(next, end, socket);
            if first.alone {
                let sockets = self.sockets.clone();
                let _cutting = sockets[socket].cutting();
                self.send(socket);
            } else {
                self.send(socket);
            }
        }
    }

    /// Make trains of packets for one socket, as many as one call takes, all or none of them longer
    /// than their paths; returns what comes next.
    fn assemble(&mut self, mut next: usize, last: usize, socket: usize) -> usize {
        self.trains.clear();
        self.train_packets.clear();
        self.pieces.clear();
        let alone = self.packets[next].alone;
        while next < last
            && self.packets[next].alone == alone
            && self.trains.len() < MAX_TRAINS
            && self.pieces.len() + MAX_SEGMENTS <= MAX_PIECES
            && self.route_sockets[self.packets[next].route] == socket
        {
            let end = self.train_end(next);
            let first_piece = self.pieces.len();
            for packet in &self.packets[next..end] {
                match self.pieces[first_piece..].last_mut() {
                    Some(piece) if piece.end == packet.start => piece.end += packet.len,
                    _ => self.pieces.push(packet.range()),
                }
            }
            let first = self.packets[next];
            self.trains.push(Train {
                route: first.route,
                pieces: first_piece..self.pieces.len(),
                segment_size: (end - next > 1).then_some(first.len as u16),
            });
            self.train_packets.push(next..end);
            next = end;
        }
        next
    }

    /// Where the run of equal packets ends that begins here; a shorter one may be the last.
    fn train_end(&self, begin: usize) -> usize {
        let first = self.packets[begin];
        let limit = self.train_limit(&first);
        let mut bytes = first.len;
        let mut end = begin + 1;
        for packet in &self.packets[begin + 1..] {
            bytes += packet.len;
            if packet.route != first.route
                || packet.len > first.len
                || bytes > MAX_TRAIN_BYTES
                || end - begin >= limit
            {
                break;
            }
            end += 1;
            if packet.len < first.len {
                break;
            }
        }
        end
    }

    /// Send the trains that were made, all of them for one socket.
    fn send(&mut self, socket: usize) {
        let mut done = 0;
        let mut waited = false;
        while done < self.trains.len() {
            self.counters.add(Counter::SendCalls, 1);
            let lap = Lap::begin();
            let result = self.sender.send(
                self.sockets[socket].as_fd(),
                &self.trains[done..],
                &self.routes,
                &self.pieces,
                &self.data,
            );
            lap.end(&self.counters, Stage::Send);
            match result {
                Ok(count) => {
                    self.note_sent(done..done + count);
                    done += count;
                    waited = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !waited => {
                    waited = true;
                    // An error shows again when sending.
                    let _ = wait_writable(self.sockets[socket].as_fd(), SEND_WAIT_MS);
                }
                Err(error) => {
                    self.refused(socket, done, &error);
                    done += 1;
                }
            }
        }
    }

    fn note_sent(&self, trains: Range<usize>) {
        let packets: usize = self.train_packets[trains.clone()]
            .iter()
            .map(ExactSizeIterator::len)
            .sum();
        let pieces = trains.clone().flat_map(|n| self.trains[n].pieces.clone());
        let bytes: usize = pieces.map(|piece| self.pieces[piece].len()).sum();
        self.counters.add(Counter::NetTxPackets, packets);
        self.counters.add(Counter::NetTxBytes, bytes);
        let trains = trains.filter(|n| self.trains[*n].segment_size.is_some());
        self.counters.add(Counter::GsoTrains, trains.count());
    }

    /// The system refused a train: send its packets one by one, as a device, a route or an IPsec
    /// policy may be what cannot take trains. A single packet is dropped.
    fn refused(&mut self, socket: usize, train: usize, error: &io::Error) {
        let packets = self.train_packets[train].clone();
        let reason = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::SendQueueFull,
            _ => DropReason::SendFailed,
        };
        if packets.len() == 1 || reason == DropReason::SendQueueFull {
            self.counters.dropped_many(reason, packets.len());
            return;
        }
        self.counters.add(Counter::GsoFallbacks, 1);
        self.sockets[socket].train_refused(packets.len(), error);
        for packet in &self.packets[packets] {
            self.counters.add(Counter::SendCalls, 1);
            let single = Train {
                route: packet.route,
                pieces: 0..1,
                segment_size: None,
            };
            let result = self.sender.send(
                self.sockets[socket].as_fd(),
                &[single],
                &self.routes,
                std::slice::from_ref(&packet.range()),
                &self.data,
            );
            if result.is_ok() {
                self.counters.add(Counter::NetTxPackets, 1);
                self.counters.add(Counter::NetTxBytes, packet.len);
            } else {
                self.counters.dropped(DropReason::SendFailed);
            }
        }
    }
}
