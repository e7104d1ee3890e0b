//! What data threads tell the control plane: a bounded queue beside an eventfd.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::sys::fd::Signal;

/// Most events kept until they are drained.
pub const ENGINE_EVENTS: usize = 4096;

/// Of these, the share that HIP packets and STUN messages may take, so that a flood of them,
/// which anybody can send, leaves room for what the engine itself has to say.
const CONTROL_EVENTS: usize = ENGINE_EVENTS * 3 / 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A HIP packet came in over UDP, here without the zero marker (RFC 9028 §5.1).
    Control {
        data: Box<[u8]>,
        local: IpAddr,
        remote: IpAddr,
        local_port: u16,
        remote_port: u16,
    },
    /// A STUN message came in over UDP (RFC 8489 §5).
    Stun {
        data: Box<[u8]>,
        local: IpAddr,
        remote: IpAddr,
        local_port: u16,
        remote_port: u16,
    },
    /// A packet for a HIT or LSI without a security association is held.
    Acquire { destination: IpAddr },
    /// The first authentic packet of an inbound security association came in.
    FirstData { spi: u32 },
    /// ESP for a security association that is not installed.
    UnknownSpi {
        spi: u32,
        remote: IpAddr,
        remote_port: u16,
    },
    /// The newest packet of an inbound security association came from elsewhere than the last one,
    /// or to another own address.
    SourceChanged {
        spi: u32,
        local: IpAddr,
        /// 0 without UDP, as is `remote_port`.
        local_port: u16,
        remote: IpAddr,
        remote_port: u16,
        udp: bool,
    },
    /// A data thread ended by itself.
    Fatal { message: String },
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    control: usize,
}

/// Takes events from any thread; the control plane drains them when `fileno` is readable.
#[derive(Debug)]
pub struct EventQueue {
    queue: Mutex<Queue>,
    signal: Signal,
}

impl EventQueue {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            signal: Signal::new()?,
        })
    }

    /// Add an event; false if there was no room and it is lost. A fatal one always finds room.
    pub fn push(&self, event: Event) -> bool {
        let mut queue = self.lock();
        let control = matches!(event, Event::Control { .. } | Event::Stun { .. });
        let room = match event {
            Event::Fatal { .. } => true,
            Event::Control { .. } | Event::Stun { .. } => queue.control < CONTROL_EVENTS,
            _ => queue.events.len() < ENGINE_EVENTS,
        };
        if !room || (control && queue.events.len() >= ENGINE_EVENTS) {
            return false;
        }
        queue.control += usize::from(control);
        queue.events.push_back(event);
        if queue.events.len() == 1 {
            self.signal.raise();
        }
        true
    }

    /// Take all events, oldest first.
    pub fn drain(&self) -> VecDeque<Event> {
        let mut queue = self.lock();
        self.signal.clear();
        queue.control = 0;
        std::mem::take(&mut queue.events)
    }

    /// Readable while events wait.
    #[must_use]
    pub fn fileno(&self) -> RawFd {
        self.signal.as_fd().as_raw_fd()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn control() -> Event {
        Event::Control {
            data: Box::new([1]),
            local: Ipv4Addr::LOCALHOST.into(),
            remote: Ipv4Addr::LOCALHOST.into(),
            local_port: 1,
            remote_port: 2,
        }
    }

    #[test]
    fn a_flood_of_control_packets_leaves_room_for_others() {
        let queue = EventQueue::new().unwrap();
        while queue.push(control()) {}
        assert!(queue.push(Event::FirstData { spi: 256 }));
        let events = queue.drain();
        assert_eq!(events.len(), CONTROL_EVENTS + 1);
        assert!(queue.push(control()), "drained, so there is room again");
    }

    #[test]
    fn a_full_queue_takes_the_fatal_event() {
        let queue = EventQueue::new().unwrap();
        while queue.push(Event::FirstData { spi: 256 }) {}
        assert!(queue.push(Event::Fatal {
            message: "why".into()
        }));
        assert_eq!(queue.drain().len(), ENGINE_EVENTS + 1);
    }
}
