//! The thread that takes in what comes to the ports that are lent.

use std::{io, os::fd::AsFd, sync::Arc};

use super::{
    forward::{runs, Forwarder},
    PortKey, Rewire, Shared, View,
};
use crate::{
    drops::DropReason,
    engine::{
        command::{CommandReceiver, Signalled},
        socket::{Socket, SocketKind},
    },
    events::{Event, EventQueue},
    stats::{Counter, Counters},
    sys::{
        poll::Poll,
        receive::{Datagram, ReceiveBatch},
    },
};

const SLOTS: usize = 32;
const SLOT_LEN: usize = 65_536;
/// Batches received from one port before the next one has its turn.
const TURN: usize = 4;
/// Octets of the fixed HIP header, and of the longest packet (RFC 7401 §5.1).
const HIP_HEADER_LEN: usize = 40;
const MAX_HIP_LEN: usize = 256 * 8;

pub(in crate::engine) struct RelayThread {
    view: View,
    commands: CommandReceiver<Rewire>,
    /// Those of the engine: clients know this host by them.
    sockets: Arc<[Socket]>,
    events: Arc<EventQueue>,
    counters: Arc<Counters>,
    ports: Vec<(PortKey, Arc<Socket>)>,
    poll: Poll,
    /// Keys of what is ready.
    ready: Vec<usize>,
    forwarder: Forwarder,
}

impl RelayThread {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: CommandReceiver<Rewire>,
        sockets: Arc<[Socket]>,
        events: Arc<EventQueue>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            view: View::new(shared),
            commands,
            sockets,
            events,
            counters,
            ports: Vec::new(),
            poll: Poll::new(),
            ready: Vec::new(),
            forwarder: Forwarder::new(),
        }
    }

    /// Relay until asked to stop; the error says why it cannot go on.
    pub(in crate::engine) fn run(mut self) -> Result<(), String> {
        let mut batch = ReceiveBatch::new(SLOTS, SLOT_LEN);
        self.rewire(&mut batch);
        while !self.commands.stopped() {
            let waited = self.poll.wait(None);
            waited.map_err(|error| format!("the relay cannot wait for packets: {error}"))?;
            self.ready.clear();
            self.ready.extend(self.poll.ready());
            for place in 0..self.ready.len() {
                let key = self.ready[place];
                match key.checked_sub(1) {
                    None => {
                        self.commands.clear_signal();
                        while self.commands.next().is_some() {}
                        self.rewire(&mut batch);
                        // The keys mean something else now.
                        break;
                    }
                    Some(index) => self.receive(index, &mut batch),
                }
            }
        }
        Ok(())
    }

    /// Find out anew which ports are lent. What came to one before that is nobody's.
    fn rewire(&mut self, batch: &mut ReceiveBatch) {
        let open: Vec<_> = {
            let table = self.view.now();
            let open = table.ports.iter().filter(|(_, port)| port.open);
            open.map(|(key, port)| (*key, port.socket.clone()))
                .collect()
        };
        for (key, socket) in &open {
            if !self.ports.iter().any(|(known, _)| known == key) {
                while matches!(batch.receive(socket.as_fd(), SLOTS), Ok(count) if count > 0) {}
            }
        }
        self.ports = open;
        self.poll.clear();
        self.poll.add(self.commands.signal());
        for (_, socket) in &self.ports {
            self.poll.add(socket.as_fd());
        }
    }

    fn receive(&mut self, index: usize, batch: &mut ReceiveBatch) {
        let (key, socket) = self.ports[index].clone();
        for _ in 0..TURN {
            let count = match batch.receive(socket.as_fd(), SLOTS) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Other errors are about packets sent before.
                Err(_) => return,
            };
            self.counters.add(Counter::ReceiveCalls, 1);
            for slot in 0..count {
                let datagram = batch.datagram(slot);
                self.datagram(key, batch.data(), datagram);
            }
            if count < SLOTS {
                return;
            }
        }
    }

    fn datagram(&mut self, port: PortKey, data: &[u8], datagram: Datagram) {
        let (Some(remote), false) = (datagram.remote, datagram.truncated) else {
            self.counters.dropped(DropReason::Truncated);
            return;
        };
        let data = &data[datagram.range.clone()];
        let size = match datagram.received.segment_size {
            0 => data.len().max(1),
            size => size,
        };
        let Self {
            view,
            sockets,
            events,
            counters,
            forwarder,
            ..
        } = self;
        let own = sockets
            .iter()
            .find(|socket| socket.kind == SocketKind::Udp && socket.v6 == port.0);
        let table = view.now();
        let way_of = |spi| table.from_peers.get(&(port, remote, spi));
        runs(data, size, way_of, |way, run| match (way, own, run) {
            (Some(way), Some(own), _) => {
                forwarder.send(way, own, run, size, &datagram.received, counters);
            }
            (None, _, [0, 0, 0, 0, packet @ ..]) => {
                control(packet, port, remote, &datagram, events, counters);
            }
            (None, _, [0xff]) => counters.add(Counter::Keepalives, 1),
            _ => counters.dropped_many(DropReason::NotPermitted, run.len().div_ceil(size)),
        });
    }
}

/// A HIP packet came to a relayed port: the control plane passes it on (RFC 9028 §4.12.2).
fn control(
    packet: &[u8],
    port: PortKey,
    remote: std::net::SocketAddr,
    datagram: &Datagram,
    events: &EventQueue,
    counters: &Counters,
) {
    if packet.len() < HIP_HEADER_LEN {
        counters.dropped(DropReason::Runt);
        return;
    }
    let Some(local) = datagram
        .received
        .local
        .filter(|_| packet.len() <= MAX_HIP_LEN)
    else {
        counters.dropped(DropReason::ControlTooLong);
        return;
    };
    let event = Event::Control {
        data: packet.into(),
        local,
        remote: remote.ip(),
        local_port: port.1,
        remote_port: remote.port(),
    };
    if events.push(event) {
        counters.add(Counter::ControlPackets, 1);
    } else {
        counters.dropped(DropReason::ControlQueueFull);
    }
}
