//! The fast path as a program of the kernel's, at each device of the router.
//!
//! Nothing of it outlives the process: maps, program and links go with their descriptors.

mod builder;
mod devices;
mod exchange;
mod maps;
mod mtus;
mod program;
mod reshape;
mod trains;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};

use self::{
    devices::{reason, Devices},
    maps::{Global, Key, Maps, Value, SLOT, SLOTS},
    mtus::Mtus,
};
use super::fast_path::{Exit, FastPath};
use crate::spinat::{Counts, Flow, Target, WayId};

/// More ways than this the program cannot count.
pub const MOST_WAYS: u32 = 1 << 23;

/// A way as it was entered.
#[derive(Debug)]
struct Entered {
    key: Key,
    /// Where it leaves, if that is inside.
    inside: Option<u32>,
    /// It is in the map.
    mapped: bool,
}

/// The fast path of one router.
#[derive(Debug)]
pub struct Ebpf {
    maps: Maps,
    devices: Devices,
    mtus: Mtus,
    ways: HashMap<WayId, Entered>,
    /// Of ways that are no more.
    gone: u64,
    /// Ways that the map did not take.
    refused: u64,
}

impl Ebpf {
    /// Load everything; needs CAP_BPF and CAP_NET_ADMIN, which nothing later does. The error is why
    /// there is no fast path here, in one sentence.
    pub fn open(capacity: u32) -> Result<Self, String> {
        if capacity == 0 || capacity > MOST_WAYS {
            return Err(format!("eBPF has 1 to {MOST_WAYS} ways, not {capacity}"));
        }
        let maps = Maps::new(capacity).map_err(|error| reason("make maps for", &error))?;
        let devices = Devices::new(&maps)?;
        let mtus =
            Mtus::new(maps.words.clone()).map_err(|error| reason("watch links for", &error))?;
        Ok(Self {
            maps,
            devices,
            mtus,
            ways: HashMap::new(),
            gone: 0,
            refused: 0,
        })
    }

    fn map(&mut self, id: WayId, entered: &mut Entered, target: &Target, exit: Exit) {
        let wanted = exit.ifindex != 0 && id.place < self.maps.capacity;
        let mapped = wanted && {
            let device = self.mtus.place(exit.ifindex);
            let value = device.map(|device| Value::new(target, exit, id.place, device));
            let set = value.is_some_and(|value| self.maps.ways.set(&entered.key, &value).is_ok());
            self.refused += u64::from(!set);
            set
        };
        if entered.mapped && !mapped {
            // The old value is wrong now; if there is none to be removed, all the better.
            let _ = self.maps.ways.remove(&entered.key);
        }
        entered.mapped = mapped;
        let inside = (wanted && entered.key.kind != Key::CLIENT).then_some(exit.ifindex);
        if inside != entered.inside {
            if let Some(new) = inside {
                self.devices.enter(new);
            }
            if let Some(old) = entered.inside {
                self.devices.leave(old);
            }
            entered.inside = inside;
        }
    }

    fn slot(&self, place: u32) -> &[std::sync::atomic::AtomicU64] {
        let begin = SLOTS + SLOT * place as usize;
        &self.maps.words.words()[begin..begin + SLOT]
    }

    fn global(&self, which: Global) -> &std::sync::atomic::AtomicU64 {
        &self.maps.words.words()[which as usize]
    }
}

impl FastPath for Ebpf {
    fn insert(&mut self, id: WayId, flow: Flow, target: &Target, exit: Exit) {
        if id.place >= self.maps.capacity {
            return;
        }
        for word in self.slot(id.place) {
            word.store(0, Relaxed);
        }
        let mut entered = Entered {
            key: flow.into(),
            inside: None,
            mapped: false,
        };
        if entered.key.kind == Key::PLAIN {
            self.global(Global::Plain).fetch_add(1, Relaxed);
        }
        self.map(id, &mut entered, target, exit);
        self.ways.insert(id, entered);
    }

    fn aim(&mut self, id: WayId, target: &Target, exit: Exit) {
        if let Some(mut entered) = self.ways.remove(&id) {
            self.map(id, &mut entered, target, exit);
            self.ways.insert(id, entered);
        }
    }

    fn remove(&mut self, id: WayId) -> Counts {
        let Some(entered) = self.ways.remove(&id) else {
            return Counts::default();
        };
        if entered.mapped {
            // It fails only if it is not there.
            let _ = self.maps.ways.remove(&entered.key);
        }
        if entered.key.kind == Key::PLAIN {
            self.global(Global::Plain).fetch_sub(1, Relaxed);
        }
        if let Some(inside) = entered.inside {
            self.devices.leave(inside);
        }
        let counts = counts(self.slot(id.place));
        self.gone += counts.packets;
        counts
    }

    fn counts(&self, id: WayId) -> Counts {
        if self.ways.contains_key(&id) {
            counts(self.slot(id.place))
        } else {
            Counts::default()
        }
    }

    fn outside(&mut self, ifindexes: &[u32]) {
        self.devices.set_outside(ifindexes);
    }

    fn trouble(&self) -> Option<String> {
        self.devices.trouble().map(str::to_owned)
    }

    fn statistics(&self) -> Vec<(&'static str, u64)> {
        let now = self
            .ways
            .keys()
            .map(|id| self.slot(id.place)[0].load(Relaxed));
        let packets = now.fold(self.gone, u64::wrapping_add);
        let mut all = vec![
            ("ebpf_rewritten", packets),
            ("ebpf_devices", self.devices.attached() as u64),
            ("ebpf_refused", self.refused),
        ];
        all.extend(Global::COUNTED.map(|(name, which)| (name, self.global(which).load(Relaxed))));
        all
    }
}

fn counts(slot: &[std::sync::atomic::AtomicU64]) -> Counts {
    Counts {
        packets: slot[0].load(Relaxed),
        octets: slot[1].load(Relaxed),
        used_s: (slot[2].load(Relaxed) / 1_000_000_000) as u32,
    }
}
