//! At which devices the programs are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::{maps::Maps, program::program};
use crate::{
    spinat::Direction,
    sys::{
        bpf::{self, Link},
        device::{framing, Framing},
    },
};

/// No program of ours calls what only those under the GPL may.
const LICENCE: &std::ffi::CStr = c"Apache-2.0";

/// A program for each side and framing.
#[derive(Debug)]
struct Programs {
    inward: [OwnedFd; 2],
    outward: [OwnedFd; 2],
}

impl Programs {
    fn load(maps: &Maps) -> io::Result<Self> {
        let load = |direction, framing| {
            bpf::load(c"hipgw_spinat", LICENCE, &program(maps, direction, framing))
        };
        let both = |direction| {
            let ethernet = load(direction, Framing::Ethernet)?;
            io::Result::Ok([ethernet, load(direction, Framing::Bare)?])
        };
        Ok(Self {
            inward: both(Direction::Inward)?,
            outward: both(Direction::Outward)?,
        })
    }

    fn program(&self, direction: Direction, framing: Framing) -> Option<&OwnedFd> {
        let [ethernet, bare] = match direction {
            Direction::Inward => &self.inward,
            Direction::Outward => &self.outward,
        };
        match framing {
            Framing::Ethernet => Some(ethernet),
            Framing::Bare => Some(bare),
            Framing::Other => None,
        }
    }
}

/// The devices of a router. Inside ones are those where inward ways leave.
#[derive(Debug)]
pub(super) struct Devices {
    programs: Programs,
    outside: BTreeSet<u32>,
    /// Ways that leave at an inside device.
    inside: HashMap<u32, usize>,
    links: BTreeMap<u32, (Direction, Result<Link, String>)>,
}

impl Devices {
    /// Load the programs, and try whether they can be attached to a device at all.
    pub(super) fn new(maps: &Maps) -> Result<Self, String> {
        let programs = Programs::load(maps).map_err(|error| reason("load", &error))?;
        bpf::attach_ingress(programs.outward[0].as_fd(), LOOPBACK)
            .map_err(|error| reason("attach", &error))?;
        Ok(Self {
            programs,
            outside: BTreeSet::new(),
            inside: HashMap::new(),
            links: BTreeMap::new(),
        })
    }

    /// These lead outside from now on. What could not be done before is tried again.
    pub(super) fn set_outside(&mut self, ifindexes: &[u32]) {
        self.outside = ifindexes.iter().copied().collect();
        let wanted: BTreeSet<u32> = self
            .outside
            .iter()
            .chain(self.inside.keys())
            .copied()
            .collect();
        let outside = &self.outside;
        self.links.retain(|ifindex, (direction, link)| {
            let side = side(outside, *ifindex);
            link.is_ok() && wanted.contains(ifindex) && *direction == side
        });
        for ifindex in wanted {
            self.attach(ifindex);
        }
    }

    /// A way leaves at this device, which so leads inside.
    pub(super) fn enter(&mut self, ifindex: u32) {
        *self.inside.entry(ifindex).or_default() += 1;
        self.attach(ifindex);
    }

    /// A way that left at this device is no more. The program stays until the next change of what is
    /// outside: to take it away the kernel waits for all CPUs, and the next client may come at once.
    pub(super) fn leave(&mut self, ifindex: u32) {
        if let Some(ways) = self.inside.get_mut(&ifindex) {
            *ways -= 1;
            if *ways == 0 {
                self.inside.remove(&ifindex);
            }
        }
    }

    /// Why a program is not where it should be, of the first such device.
    pub(super) fn trouble(&self) -> Option<&str> {
        let mut links = self.links.values();
        links.find_map(|(_, link)| link.as_ref().err().map(String::as_str))
    }

    /// At how many devices there is a program.
    pub(super) fn attached(&self) -> usize {
        self.links.values().filter(|(_, link)| link.is_ok()).count()
    }

    #[cfg(test)]
    pub(super) fn for_test(&self, direction: Direction) -> std::os::fd::BorrowedFd<'_> {
        self.programs
            .program(direction, Framing::Ethernet)
            .unwrap()
            .as_fd()
    }

    fn attach(&mut self, ifindex: u32) {
        if self.links.contains_key(&ifindex) {
            return;
        }
        let side = side(&self.outside, ifindex);
        let link = self.try_to_attach(ifindex, side);
        self.links.insert(ifindex, (side, link));
    }

    fn try_to_attach(&self, ifindex: u32, side: Direction) -> Result<Link, String> {
        let on = |error: io::Error| format!("device {ifindex}: {}", reason("attach", &error));
        let framing = framing(ifindex).map_err(on)?;
        let Some(program) = self.programs.program(side, framing) else {
            return Err(format!(
                "device {ifindex} has neither Ethernet nor bare IP packets"
            ));
        };
        bpf::attach_ingress(program.as_fd(), ifindex).map_err(on)
    }
}

/// The device that every network namespace has.
const LOOPBACK: u32 = 1;

fn side(outside: &BTreeSet<u32>, ifindex: u32) -> Direction {
    if outside.contains(&ifindex) {
        Direction::Inward
    } else {
        Direction::Outward
    }
}

/// What went wrong, in a sentence that says what can be done about it.
pub(super) fn reason(what: &str, error: &io::Error) -> String {
    match (what, error.raw_os_error()) {
        (_, Some(libc::EPERM)) => {
            "eBPF is not permitted here: it needs CAP_BPF and CAP_NET_ADMIN, and a kernel that is not locked down"
                .to_owned()
        }
        (_, Some(libc::ENOSYS)) => "this kernel has no eBPF (CONFIG_BPF_SYSCALL)".to_owned(),
        ("attach", Some(libc::EINVAL)) => {
            "this kernel has no tcx links, which came with Linux 6.6 (CONFIG_NET_XGRESS)".to_owned()
        }
        _ => format!("cannot {what} eBPF: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_in_a_sentence() {
        for (what, code, said) in [
            ("load", libc::EPERM, "CAP_BPF"),
            ("make maps for", libc::ENOSYS, "CONFIG_BPF_SYSCALL"),
            ("attach", libc::EINVAL, "Linux 6.6"),
            ("make maps for", libc::ENOMEM, "cannot make maps for eBPF"),
        ] {
            let text = reason(what, &io::Error::from_raw_os_error(code));
            assert!(text.contains(said), "{text}");
            assert!(!text.contains('\n'));
        }
    }
}
