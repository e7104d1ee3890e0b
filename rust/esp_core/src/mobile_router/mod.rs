//! The packets of a mobile router: taken from the kernel, rewritten by `spinat`, sent on.
//!
//! The general path is a netfilter queue: rules divert what may be a client's in PREROUTING, before
//! the kernel has looked whether it is for itself. A thread takes it in batches, has the ESP among
//! it rewritten and sends it by raw sockets, hands HIP packets for others to the control plane, and
//! gives back what is for this host. It can do everything; `fast_path` is for what can be done
//! sooner.

pub mod admission;
pub mod batch;
pub mod counters;
pub mod ebpf;
pub mod events;
pub mod fast_path;
pub mod fragments;
pub mod hip;
pub mod icmp;
pub mod outbox;
pub mod places;
pub mod queue;
mod thread;
pub mod too_long;
pub mod ways;

use std::{
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::RawFd,
    panic::{self, AssertUnwindSafe},
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    thread::JoinHandle,
};

pub use self::{
    counters::Counter,
    events::HipPacket,
    fast_path::{Exit, FastPath},
};

use self::{
    counters::Counters,
    events::Events,
    outbox::Links,
    places::SharedPlaces,
    thread::{Queue, Thread},
    too_long::Workshop,
    ways::Ways,
};
use crate::{
    beet::Hit,
    spinat::{Counts, Flow, Refused, Target, WayId, MOST_WAYS},
    sys::{clock::monotonic_s, fd::Signal},
};

/// Packets that are taken at a time, at most.
pub const MOST_BATCH: usize = 512;
/// Ways that are looked at while the thread waits for the table.
const STRIDE: usize = 4096;

/// How a mobile router's path is to be.
#[derive(Clone, Copy, Debug)]
pub struct PathOptions {
    /// Number of the netfilter queue.
    pub queue: u16,
    /// Most ways.
    pub capacity: usize,
    /// Packets that are taken at a time.
    pub batch: usize,
    /// This host's port for HIP and ESP.
    pub udp_port: u16,
}

/// Why something cannot be done.
#[derive(Debug)]
pub enum PathError {
    Invalid(String),
    State(&'static str),
    Refused(Refused),
    System(String),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what) | Self::System(what) => f.write_str(what),
            Self::State(what) => f.write_str(what),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for PathError {}

impl From<Refused> for PathError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What the thread and the control plane have in common.
struct Shared {
    ways: Mutex<Ways>,
    places: Arc<SharedPlaces>,
    counters: Counters,
    events: Events,
    signal: Signal,
    stop: AtomicBool,
    udp_port: u16,
}

impl Shared {
    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

enum Phase {
    Ready(Box<Thread>),
    Running(JoinHandle<()>),
    Stopped,
}

struct Control {
    phase: Phase,
    fast: Option<Box<dyn FastPath>>,
    workshop: Workshop,
}

/// The path. All methods may be called from any thread.
pub struct MobileRouter {
    shared: Arc<Shared>,
    links: Arc<Links>,
    control: Mutex<Control>,
}

impl MobileRouter {
    /// Take the queue and open all sockets. Packets wait until `start`.
    pub fn new(options: &PathOptions, fast: Option<Box<dyn FastPath>>) -> Result<Self, PathError> {
        if options.capacity == 0 || options.capacity > MOST_WAYS {
            return Err(PathError::Invalid(format!("from 1 to {MOST_WAYS} ways")));
        }
        if options.batch == 0 || options.batch > MOST_BATCH {
            return Err(PathError::Invalid(format!(
                "from 1 to {MOST_BATCH} packets are taken at a time"
            )));
        }
        let system = |error: io::Error| PathError::System(format!("cannot open sockets: {error}"));
        let links = Arc::new(Links::open().map_err(system)?);
        let queue =
            Queue::open(options.queue).map_err(|error| queue_error(options.queue, &error))?;
        let shared = Arc::new(Shared {
            ways: Mutex::new(Ways::new(options.capacity)),
            places: Arc::default(),
            counters: Counters::default(),
            events: Events::new().map_err(system)?,
            signal: Signal::new().map_err(system)?,
            stop: AtomicBool::new(false),
            udp_port: options.udp_port,
        });
        let thread = Thread::new(queue, links.clone(), shared.clone(), options.batch);
        Ok(Self {
            shared,
            links,
            control: Mutex::new(Control {
                phase: Phase::Ready(Box::new(thread)),
                fast,
                workshop: Workshop::default(),
            }),
        })
    }

    /// Begin to take packets.
    pub fn start(&self) -> Result<(), PathError> {
        let mut control = self.control();
        let phase = std::mem::replace(&mut control.phase, Phase::Stopped);
        let Phase::Ready(thread) = phase else {
            control.phase = phase;
            return Err(PathError::State("the path was started already"));
        };
        let shared = self.shared.clone();
        let handle = std::thread::Builder::new()
            .name("hipgw-spinat".into())
            .spawn(move || {
                let result = panic::catch_unwind(AssertUnwindSafe(|| thread.run()));
                match result {
                    Ok(Ok(())) => {}
                    Ok(Err(message)) => shared.events.fatal(message),
                    Err(_) => shared
                        .events
                        .fatal("the mobile router's thread panicked".into()),
                }
            })
            .map_err(|error| PathError::System(format!("cannot make a thread: {error}")))?;
        control.phase = Phase::Running(handle);
        Ok(())
    }

    /// End; what is diverted with a bypass passes by the kernel's own rules then.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.signal.raise();
        let (phase, fast) = {
            let mut control = self.control();
            let phase = std::mem::replace(&mut control.phase, Phase::Stopped);
            (phase, control.fast.take())
        };
        drop(fast);
        if let Phase::Running(handle) = phase {
            // Its panic, if any, was told by an event.
            let _ = handle.join();
        }
    }

    /// Readable while events wait.
    #[must_use]
    pub fn fileno(&self) -> RawFd {
        self.shared.events.fileno()
    }

    /// The HIP packets that came in; the error says why the thread has ended by itself.
    pub fn events(&self) -> Result<VecDeque<HipPacket>, PathError> {
        self.shared.events.drain().map_err(PathError::System)
    }

    /// This host's HITs and addresses from now on.
    pub fn own(&self, hits: Vec<Hit>, addresses: Vec<IpAddr>) {
        self.shared.places.change(|places| {
            places.hits = hits.into_iter().collect();
            places.addresses = addresses.into_iter().collect();
        });
    }

    /// The interfaces that lead outside from now on.
    pub fn outside(&self, interfaces: &[u32]) {
        self.shared
            .places
            .change(|places| places.outside = interfaces.to_vec());
        if let Some(fast) = &mut self.control().fast {
            fast.outside(interfaces);
        }
    }

    /// The ways there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.ways().spinat.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enter a way.
    pub fn insert(&self, flow: Flow, target: &Target, exit: Exit) -> Result<WayId, PathError> {
        let mut control = self.control();
        let id = self.shared.ways().insert(flow, target, monotonic_s())?;
        if let Some(fast) = &mut control.fast {
            fast.insert(id, flow, target, exit);
        }
        Ok(id)
    }

    /// Change what packets become; false if there is no such way.
    pub fn aim(&self, id: WayId, target: &Target, exit: Exit) -> Result<bool, PathError> {
        let mut control = self.control();
        let there = self.shared.ways().aim(id, target)?;
        if let (true, Some(fast)) = (there, &mut control.fast) {
            fast.aim(id, target, exit);
        }
        Ok(there)
    }

    /// Forget a way; what it carried.
    pub fn remove(&self, id: WayId) -> Option<Usage> {
        let mut control = self.control();
        let counts = self.shared.ways().remove(id)?;
        let fast = control.fast.as_mut().map(|fast| fast.remove(id));
        Some(Usage::new(counts, fast, monotonic_s()))
    }

    /// What a way has carried.
    #[must_use]
    pub fn counts(&self, id: WayId) -> Option<Usage> {
        let control = self.control();
        let counts = self.shared.ways().spinat.counts(id)?;
        let fast = control.fast.as_ref().map(|fast| fast.counts(id));
        Some(Usage::new(counts, fast, monotonic_s()))
    }

    /// The ways that packets have passed within so many seconds.
    #[must_use]
    pub fn used(&self, since_s: u32) -> Vec<WayId> {
        let control = self.control();
        let now_s = monotonic_s();
        let mut used = Vec::new();
        let mut from = 0;
        loop {
            // The thread may go on between two parts of the table.
            let ways = self.shared.ways();
            let places = from..(from + STRIDE).min(ways.spinat.places());
            if places.is_empty() {
                return used;
            }
            from = places.end;
            for (id, counts) in ways.spinat.ways(places) {
                let fast = control.fast.as_ref().map(|fast| fast.counts(id));
                let usage = Usage::new(counts, fast, now_s);
                if usage.packets > 0 && usage.idle_s <= since_s {
                    used.push(id);
                }
            }
        }
    }

    /// Send a HIP packet from any address, in UDP behind a marker unless ports are 0.
    pub fn send_hip(
        &self,
        data: &[u8],
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<(), PathError> {
        let packet = hip::wrap(data, source, destination).ok_or_else(|| {
            PathError::Invalid(
                "both ends are of one family and in UDP or neither, and HIP has 2048 octets at most"
                    .into(),
            )
        })?;
        let shared = &self.shared;
        let own = shared.places.now().addresses.contains(&source.ip());
        let may_cut = !hip::is_probe(data);
        let sent =
            self.control()
                .workshop
                .send_made(&packet, may_cut, own, &self.links, &shared.counters);
        sent.map_err(|error| {
            PathError::System(format!(
                "cannot send from {} to {}: {error}",
                source.ip(),
                destination.ip()
            ))
        })?;
        shared.counters.one(Counter::ControlSent);
        Ok(())
    }

    /// Name and count of everything that is counted.
    #[must_use]
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let counters = Counter::ALL.iter();
        let mut all: Vec<_> = counters
            .map(|counter| (counter.name(), self.shared.counters.read(*counter)))
            .collect();
        if let Some(fast) = &self.control().fast {
            all.extend(fast.statistics());
        }
        all
    }

    /// Why the fast path does not do all that it could; `None` if there is none.
    #[must_use]
    pub fn fast_trouble(&self) -> Option<Option<String>> {
        self.control().fast.as_ref().map(|fast| fast.trouble())
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MobileRouter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a way has carried on all paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub packets: u64,
    /// Octets of ESP.
    pub octets: u64,
    /// Seconds since the last packet, or since the way was entered.
    pub idle_s: u32,
}

impl Usage {
    fn new(general: Counts, fast: Option<Counts>, now_s: u32) -> Self {
        let fast = fast.unwrap_or_default();
        Self {
            packets: general.packets + fast.packets,
            octets: general.octets + fast.octets,
            idle_s: now_s.saturating_sub(general.used_s.max(fast.used_s)),
        }
    }
}

fn queue_error(queue: u16, error: &io::Error) -> PathError {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => ": CAP_NET_ADMIN is needed, or another program has this queue",
        Some(libc::EBUSY) => ": another program has this queue",
        Some(libc::EPROTONOSUPPORT) => ": the kernel has no nfnetlink (module nfnetlink_queue)",
        Some(libc::EINVAL) => ": the kernel has no netfilter queues (module nfnetlink_queue)",
        _ => "",
    };
    PathError::System(format!(
        "cannot take netfilter queue {queue}: {error}{hint}"
    ))
}
