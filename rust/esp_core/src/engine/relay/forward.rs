//! Sending on, train by train.

use std::{io, net::SocketAddr, ops::Range, os::fd::AsFd, sync::Arc};

use super::{
    table::{Table, Way},
    Shared, View,
};
use crate::{
    drops::DropReason,
    engine::socket::Socket,
    packet::be32,
    stats::{Counter, Counters},
    sys::{
        control_message::Received,
        send::{Sender, Train, MAX_PIECES},
    },
};

/// Octets of SPI and sequence number: less is no ESP.
const ESP_FRONT: usize = 8;

/// Sends what was found to be permitted. Belongs to one thread.
pub(super) struct Forwarder {
    sender: Sender,
    trains: Vec<Train>,
    pieces: Vec<Range<usize>>,
}

impl Forwarder {
    pub(super) fn new() -> Self {
        Self {
            sender: Sender::new(),
            trains: Vec::with_capacity(MAX_PIECES),
            pieces: Vec::with_capacity(MAX_PIECES),
        }
    }

    /// Send on a part of what came in: datagrams of `size` octets, the last may be shorter. The mark
    /// of congestion and the class of the outer header go along, as through any router.
    pub(super) fn send(
        &mut self,
        way: &Way,
        socket: &Socket,
        data: &[u8],
        size: usize,
        received: &Received,
        counters: &Counters,
    ) {
        let count = data.len().div_ceil(size);
        if !way.quota.take(way.socket.is_some(), data.len()) {
            counters.dropped_many(DropReason::RelayQuota, count);
            return;
        }
        let mut route = way.route;
        route.traffic_class = Some(received.traffic_class);
        let mut start = 0;
        while start < data.len() {
            let limit = socket.train_limit();
            let end = (start + size * limit.min(MAX_PIECES)).min(data.len());
            self.trains.clear();
            self.pieces.clear();
            self.pieces.push(start..end);
            self.trains.push(Train {
                route: 0,
                pieces: 0..1,
                segment_size: (end - start > size).then_some(size as u16),
            });
            let sent = self
                .sender
                .send(socket.as_fd(), &self.trains, &[route], &self.pieces, data);
            let datagrams = (end - start).div_ceil(size);
            match sent {
                Ok(_) => {
                    counters.add(Counter::RelayedPackets, datagrams);
                    counters.add(Counter::RelayedBytes, end - start);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    socket.train_refused(datagrams, &error);
                    if socket.train_limit() < datagrams {
                        continue; // in shorter ones
                    }
                    let reason = if error.kind() == io::ErrorKind::WouldBlock {
                        DropReason::SendQueueFull
                    } else {
                        DropReason::SendFailed
                    };
                    counters.dropped_many(reason, datagrams);
                }
            }
            start = end;
        }
    }
}

/// Split what came in into runs of one way each: `each` gets the way, if there is one, and the run.
pub(super) fn runs<'a>(
    data: &[u8],
    size: usize,
    way_of: impl Fn(u32) -> Option<&'a Way>,
    mut each: impl FnMut(Option<&'a Way>, &[u8]),
) {
    let mut start = 0;
    while start < data.len() {
        let Some(spi) = spi_at(data, start, size) else {
            let end = (start + size).min(data.len());
            each(None, &data[start..end]);
            start = end;
            continue;
        };
        let mut end = start;
        while end < data.len() && spi_at(data, end, size) == Some(spi) {
            end = (end + size).min(data.len());
        }
        each(way_of(spi), &data[start..end]);
        start = end;
    }
}

/// The SPI of the datagram at an offset; none for HIP, keepalives and what is too short.
fn spi_at(data: &[u8], start: usize, size: usize) -> Option<u32> {
    let end = (start + size).min(data.len());
    let datagram = &data[start..end];
    if datagram.len() < ESP_FRONT {
        return None;
    }
    match be32(datagram, 0) {
        0 => None,
        spi => Some(spi),
    }
}

/// What clients send to this host for their peers. Belongs to the receiving direction.
pub(in crate::engine) struct Outgoing {
    view: View,
    forwarder: Forwarder,
}

impl Outgoing {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            view: View::new(shared),
            forwarder: Forwarder::new(),
        }
    }

    /// Send on a datagram or train that came in on the own port, if all of it is a client's data for
    /// peers; false if it is not, and nothing was done.
    pub(in crate::engine) fn take(
        &mut self,
        data: &[u8],
        remote: SocketAddr,
        received: &Received,
        counters: &Counters,
    ) -> bool {
        let size = match received.segment_size {
            0 => data.len().max(1),
            size => size,
        };
        let Self { view, forwarder } = self;
        let table = view.now();
        if !is_relayed(table, data, size, remote) {
            return false;
        }
        let way_of = |spi| table.from_clients.get(&(remote, spi));
        runs(data, size, way_of, |way, run| {
            if let Some((way, socket)) = way.and_then(|way| Some((way, way.socket.as_ref()?))) {
                forwarder.send(way, socket, run, size, received, counters);
            }
        });
        true
    }
}

fn is_relayed(table: &Table, data: &[u8], size: usize, remote: SocketAddr) -> bool {
    if table.from_clients.is_empty() || data.is_empty() {
        return false;
    }
    let mut known = None;
    (0..data.len()).step_by(size).all(|start| {
        spi_at(data, start, size).is_some_and(|spi| {
            known == Some(spi) || {
                known = Some(spi);
                table.from_clients.contains_key(&(remote, spi))
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(spis: &[u32]) -> Vec<u8> {
        let packet = |spi: &u32| [&spi.to_be_bytes()[..], &[1; 8]].concat();
        spis.iter().flat_map(packet).collect()
    }

    #[test]
    fn runs_are_of_one_spi_each() {
        let mut data = packets(&[7, 7, 0, 9, 9, 9]);
        data.extend([1, 2]);
        let mut seen = Vec::new();
        runs(&data, 12, |_| None, |_, run| seen.push(run.len()));
        assert_eq!(seen, [24, 12, 36, 2]);
    }
}
