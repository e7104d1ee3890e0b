//! How long packets may be that leave by a device, as it is now.
//!
//! The program may not ask the kernel for this (`bpf_check_mtu` is for programs under the GPL), so a
//! thread waits for changes of links and keeps what the program sees up to date.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    sync::{atomic::Ordering::Relaxed, Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use super::maps::{DEVICES, MOST_DEVICES};
use crate::sys::{
    bpf::Words,
    device::mtu,
    fd::Signal,
    netlink::{join, open},
    poll::Poll,
};

/// RTNLGRP_LINK of linux/rtnetlink.h.
const LINKS: libc::c_int = 1;

/// The devices that ways leave by.
#[derive(Debug)]
pub(super) struct Mtus {
    shared: Arc<Shared>,
    /// Where changes are told of, until the thread has it.
    changes: Option<File>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    words: Arc<Words>,
    devices: Mutex<Vec<u32>>,
    stop: Signal,
}

impl Mtus {
    pub(super) fn new(words: Arc<Words>) -> io::Result<Self> {
        let changes = open(libc::NETLINK_ROUTE)?;
        join(changes.as_fd(), LINKS)?;
        Ok(Self {
            shared: Arc::new(Shared {
                words,
                devices: Mutex::default(),
                stop: Signal::new()?,
            }),
            changes: Some(changes.into()),
            thread: None,
        })
    }

    /// Where the program finds the MTU of a device; `None` if there are too many. The first call
    /// begins the thread: privileges may be dropped before, while there is but one.
    pub(super) fn place(&mut self, ifindex: u32) -> Option<u32> {
        if let Some(changes) = self.changes.take() {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("hipgw-links".into());
            self.thread = thread.spawn(move || shared.watch(changes)).ok();
        }
        // Without it nothing would be told of changes.
        self.thread.as_ref()?;
        let mut devices = self.shared.devices();
        if let Some(place) = devices.iter().position(|one| *one == ifindex) {
            return Some(place as u32);
        }
        let place = if devices.len() < MOST_DEVICES {
            devices.push(ifindex);
            devices.len() - 1
        } else {
            // What is gone does not come back: another one has another index.
            let place = devices.iter().position(|one| mtu(*one).is_err())?;
            devices[place] = ifindex;
            place
        };
        self.shared.read(place, ifindex);
        Some(place as u32)
    }
}

impl Drop for Mtus {
    fn drop(&mut self) {
        self.shared.stop.raise();
        if let Some(thread) = self.thread.take() {
            // It has ended by itself if it is not there any more.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn devices(&self) -> MutexGuard<'_, Vec<u32>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tell the program: nothing fits through a device that there is not.
    fn read(&self, place: usize, ifindex: u32) {
        let octets = mtu(ifindex).unwrap_or(0);
        self.words.words()[DEVICES + place].store(octets.into(), Relaxed);
    }

    fn watch(&self, mut changes: File) {
        let mut buffer = vec![0; 1 << 16];
        let mut poll = Poll::new();
        let stop = poll.add(self.stop.as_fd());
        poll.add(changes.as_fd());
        loop {
            if poll.wait(None).is_err() || poll.ready().any(|ready| ready == stop) {
                return;
            }
            // What it says does not matter, nor whether some of it was lost.
            let _ = changes.read(&mut buffer);
            for (place, ifindex) in self.devices().iter().enumerate() {
                self.read(place, *ifindex);
            }
        }
    }
}
