//! The thread: takes packets from the queue, has them dealt with, and gives verdicts.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use super::{
    batch::{Batch, Context},
    counters::Counter,
    outbox::Links,
    places::View,
    queue::{Message, Requests},
    Shared,
};
use crate::sys::{clock::monotonic_s, netlink, poll::Poll, receive::ReceiveBatch, socket};

/// Octets of the longest packet, and of what the kernel tells about it.
const SLOT_LEN: usize = 65_536 + 512;
/// Packets that may wait in the queue.
const MOST_WAITING: u32 = 8192;
/// Batches that are taken before the signal is looked at again.
const TURN: usize = 16;

/// The queue, taken from the kernel.
pub(super) struct Queue {
    number: u16,
    socket: OwnedFd,
}

impl Queue {
    pub(super) fn open(number: u16) -> io::Result<Self> {
        let socket = netlink::open(libc::NETLINK_NETFILTER)?;
        socket::enlarge_buffers(socket.as_fd());
        netlink::tell_no_loss(socket.as_fd())?;
        let mut requests = Requests::with_room(4);
        requests.bind(number, MOST_WAITING);
        netlink::send(socket.as_fd(), requests.bytes())?;
        // The answers are there: the kernel has made them before `send` returned.
        let mut batch = ReceiveBatch::new(2, 256);
        let mut answers = 0;
        while answers < 2 {
            for slot in 0..batch.receive(socket.as_fd(), 2)? {
                let range = batch.datagram(slot).range;
                match Message::parse(&batch.data()[range]) {
                    Message::Result(0) => answers += 1,
                    Message::Result(error) => return Err(io::Error::from_raw_os_error(error)),
                    // Packets may come in as soon as the queue is bound. They have not to be lost,
                    // but what comes before the ways are there has none.
                    _ => {}
                }
            }
        }
        Ok(Self { number, socket })
    }
}

pub(super) struct Thread {
    queue: Queue,
    links: Arc<Links>,
    shared: Arc<Shared>,
    view: View,
    received: ReceiveBatch,
    batch: Batch,
    requests: Requests,
    /// The last packet of those that have no verdict yet.
    waiting: Option<u32>,
}

impl Thread {
    pub(super) fn new(queue: Queue, links: Arc<Links>, shared: Arc<Shared>, batch: usize) -> Self {
        Self {
            queue,
            links,
            view: View::new(shared.places.clone()),
            shared,
            received: ReceiveBatch::new(batch, SLOT_LEN),
            batch: Batch::new(batch),
            requests: Requests::with_room(batch + 1),
            waiting: None,
        }
    }

    /// Work until asked to stop; the error says why it cannot go on.
    pub(super) fn run(mut self) -> Result<(), String> {
        let mut poll = Poll::new();
        let signal = poll.add(self.shared.signal.as_fd());
        poll.add(self.queue.socket.as_fd());
        while !self.shared.stopped() {
            let waited = poll.wait(None);
            waited
                .map_err(|error| format!("the mobile router cannot wait for packets: {error}"))?;
            if poll.ready().any(|ready| ready == signal) {
                self.shared.signal.clear();
            }
            for _ in 0..TURN {
                if !self.guarded_turn()? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A turn whose panic costs one batch: packets come from anybody, and a router that ends for one
    /// of them takes all clients with it.
    fn guarded_turn(&mut self) -> Result<bool, String> {
        match panic::catch_unwind(AssertUnwindSafe(|| self.turn())) {
            Ok(result) => result,
            Err(_) => {
                self.shared.counters.one(Counter::Defects);
                self.batch.clear();
                if let Some(last) = self.waiting {
                    self.give_verdicts(last)?;
                }
                Ok(true)
            }
        }
    }

    /// Deal with what waits; whether there may be more.
    fn turn(&mut self) -> Result<bool, String> {
        let slots = self.received.slots();
        let count = match self.received.receive(self.queue.socket.as_fd(), slots) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(format!("the netfilter queue gives no packets: {error}")),
        };
        let shared = &*self.shared;
        let counters = &shared.counters;
        counters.one(Counter::ReceiveCalls);
        let places = self.view.now();
        self.batch.clear();
        let (mut packets, mut last) = (0, 0);
        for slot in 0..count {
            let range = self.received.datagram(slot).range;
            match Message::parse(&self.received.data()[range.clone()]) {
                Message::Packet(queued) => {
                    packets += 1;
                    last = queued.id;
                    if queued.cut || queued.packet.is_empty() {
                        counters.one(Counter::Malformed);
                        continue;
                    }
                    let packet = range.start + queued.packet.start..range.start + queued.packet.end;
                    let data = self.received.data();
                    self.batch
                        .put(queued.id, queued.interface, data, packet, places);
                }
                Message::Result(libc::EPERM) => {
                    return Err(
                        "the netfilter queue takes no verdicts: CAP_NET_ADMIN is missing".into(),
                    );
                }
                // A verdict about what is not there any more, as when the device it came in by went.
                Message::Result(_) | Message::Other => {}
            }
        }
        counters.add(Counter::Received, packets);
        self.waiting = (packets > 0).then_some(last);
        let data = self.received.data_mut();
        self.batch
            .rewrite(data, &mut shared.ways().spinat, monotonic_s());
        let context = Context {
            places,
            ways: &shared.ways,
            links: &self.links,
            counters,
            events: &shared.events,
            udp_port: shared.udp_port,
        };
        self.batch.sort(data, &context);
        self.batch.send(data, &context);
        if let Some(last) = self.waiting {
            self.give_verdicts(last)?;
        }
        Ok(count == slots)
    }

    fn give_verdicts(&mut self, last: u32) -> Result<(), String> {
        self.waiting = None;
        let number = self.queue.number;
        self.requests.clear();
        for id in &self.batch.accepted {
            self.requests.accept(number, *id);
        }
        // All of them have one if the last one was accepted alone; an error then tells nothing.
        self.requests.drop_up_to(number, last);
        netlink::send(self.queue.socket.as_fd(), self.requests.bytes())
            .map_err(|error| format!("the netfilter queue takes no verdicts: {error}"))
    }
}
