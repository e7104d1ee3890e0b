//! HIP packets on their way to the control plane: a bounded queue beside an eventfd.

use std::{
    collections::{hash_map::RandomState, VecDeque},
    hash::BuildHasher,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::sys::fd::Signal;

/// Who has sent a HIP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client, or one that is to be.
    Inside,
    /// Somebody outside at an address that clients' packets go to.
    Correspondent,
    Stranger,
}

/// Packets of each kind of sender that are kept: a flood of strangers' leaves room for the others.
const ROOM: [usize; 3] = [512, 512, 256];
/// Of a stranger's, those of one source: a flood of one sender leaves room for others'.
const SHARE: u16 = 64;
/// Sources are counted in so many places; which one a source has nobody can foresee.
const PLACES: usize = 1024;

/// A HIP packet for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HipPacket {
    pub data: Box<[u8]>,
    /// Ports are 0 without UDP.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub sender: Sender,
    /// Index of the interface that it came in by.
    pub interface: u32,
}

#[derive(Debug)]
struct Queue {
    packets: VecDeque<HipPacket>,
    waiting: [usize; 3],
    shares: Box<[u16]>,
    secret: RandomState,
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
            queue: Mutex::new(Queue {
                packets: VecDeque::new(),
                waiting: [0; 3],
                shares: vec![0; PLACES].into_boxed_slice(),
                secret: RandomState::new(),
                fatal: None,
            }),
            signal: Signal::new()?,
        })
    }

    /// Whether a packet of such a sender would find room.
    #[must_use]
    pub fn has_room(&self, sender: Sender, source: IpAddr) -> bool {
        self.lock().place_for(sender, source).is_some()
    }

    /// Add a packet; false if there was no room and it is lost.
    pub fn push(&self, packet: HipPacket) -> bool {
        let mut queue = self.lock();
        let Some(place) = queue.place_for(packet.sender, packet.source.ip()) else {
            return false;
        };
        queue.shares[place] += 1;
        queue.waiting[packet.sender as usize] += 1;
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
        queue.waiting = [0; 3];
        queue.shares.fill(0);
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
    /// Where a packet is counted, if there is room for it.
    fn place_for(&self, sender: Sender, source: IpAddr) -> Option<usize> {
        let place = self.secret.hash_one(source) as usize % PLACES;
        let share = sender != Sender::Stranger || self.shares[place] < SHARE;
        let room = self.waiting[sender as usize] < ROOM[sender as usize];
        (share && room).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sender: Sender, source: u32) -> HipPacket {
        HipPacket {
            data: Box::new([1]),
            source: (IpAddr::V4(source.into()), 0).into(),
            destination: "192.0.2.2:0".parse().unwrap(),
            sender,
            interface: 3,
        }
    }

    #[test]
    fn a_flood_of_strangers_leaves_room_for_others() {
        let events = Events::new().unwrap();
        let kept = (0..10_000).filter(|source| events.push(packet(Sender::Stranger, *source)));
        assert_eq!(kept.count(), ROOM[2]);
        assert!(!events.has_room(Sender::Stranger, "192.0.2.1".parse().unwrap()));
        for sender in [Sender::Inside, Sender::Correspondent] {
            assert!(events.push(packet(sender, 1)));
        }
        let drained = events.drain().unwrap();
        assert_eq!(drained.len(), ROOM[2] + 2);
        assert!(events.push(packet(Sender::Stranger, 1)));
    }

    #[test]
    fn a_flood_of_one_source_leaves_room_for_others() {
        let events = Events::new().unwrap();
        let kept = (0..1000).filter(|_| events.push(packet(Sender::Stranger, 7)));
        assert_eq!(kept.count(), usize::from(SHARE));
        let others = (100..150).filter(|source| events.push(packet(Sender::Stranger, *source)));
        // One or two may share its place.
        assert!(others.count() > 40);
        events.drain().unwrap();
        assert!(events.push(packet(Sender::Stranger, 7)));
    }

    #[test]
    fn the_end_is_told_once() {
        let events = Events::new().unwrap();
        events.fatal("why".into());
        assert_eq!(events.drain(), Err("why".into()));
        assert_eq!(events.drain().unwrap().len(), 0);
    }
}
