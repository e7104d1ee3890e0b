//! HIP packets on their way to the control plane: a bounded queue beside an eventfd.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::sys::fd::Signal;

/// Packets of each side that are kept: a flood from outside leaves room for the clients'.
const ROOM: usize = 512;

/// A HIP packet for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HipPacket {
    pub data: Box<[u8]>,
    /// Ports are 0 without UDP.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub inside: bool,
    /// Index of the interface that it came in by.
    pub interface: u32,
}

#[derive(Debug, Default)]
struct Queue {
    packets: VecDeque<HipPacket>,
    inside: usize,
    /// Why the thread has ended, if it has by itself.
    fatal: Option<String>,
}

/// The queue.
#[derive(Debug)]
pub struct Events {
    queue: Mutex<Queue>,
    signal: Signal,
}

impl Events {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            signal: Signal::new()?,
        })
    }

    /// Whether a packet of that side would find room.
    #[must_use]
    pub fn has_room(&self, inside: bool) -> bool {
        self.lock().has_room(inside)
    }

    /// Add a packet; false if there was no room and it is lost.
    pub fn push(&self, packet: HipPacket) -> bool {
        let mut queue = self.lock();
        if !queue.has_room(packet.inside) {
            return false;
        }
        queue.inside += usize::from(packet.inside);
        queue.packets.push_back(packet);
        if queue.packets.len() == 1 {
            self.signal.raise();
        }
        true
    }

    /// The thread has ended by itself.
    pub fn fatal(&self, message: String) {
        self.lock().fatal = Some(message);
        self.signal.raise();
    }

    /// All packets, oldest first; the error says why no more will come.
    pub fn drain(&self) -> Result<VecDeque<HipPacket>, String> {
        let mut queue = self.lock();
        self.signal.clear();
        queue.inside = 0;
        match queue.fatal.take() {
            Some(message) => Err(message),
            None => Ok(std::mem::take(&mut queue.packets)),
        }
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

impl Queue {
    fn has_room(&self, inside: bool) -> bool {
        let waiting = if inside {
            self.inside
        } else {
            self.packets.len() - self.inside
        };
        waiting < ROOM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(inside: bool) -> HipPacket {
        HipPacket {
            data: Box::new([1]),
            source: "192.0.2.1:0".parse().unwrap(),
            destination: "192.0.2.2:0".parse().unwrap(),
            inside,
            interface: 3,
        }
    }

    #[test]
    fn a_flood_of_one_side_leaves_room_for_the_other() {
        let events = Events::new().unwrap();
        while events.push(packet(false)) {}
        assert!(!events.has_room(false));
        assert!(events.push(packet(true)));
        let drained = events.drain().unwrap();
        assert_eq!(drained.len(), ROOM + 1);
        assert!(events.has_room(false));
    }

    #[test]
    fn the_end_is_told_once() {
        let events = Events::new().unwrap();
        events.fatal("why".into());
        assert_eq!(events.drain(), Err("why".into()));
        assert_eq!(events.drain().unwrap().len(), 0);
    }
}
