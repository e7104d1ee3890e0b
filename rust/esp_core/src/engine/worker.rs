//! The loop of a data thread.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use super::{command::Signalled, precedence::Change};
use crate::{
    stages::{Lap, Stage},
    stats::{Counter, Counters},
    sys::{poll::Poll, schedule},
};

/// How often time is looked at while something waits for it.
pub(super) const TICK_MS: u32 = 500;
/// How long a thread's load is measured for.
pub(super) const WINDOW: Duration = Duration::from_millis(20);

/// One direction of the data path. Its sources (devices, sockets) are numbered from 0.
pub(super) trait Worker: Send {
    /// Where commands come from.
    fn commands(&self) -> &dyn Signalled;

    /// Call `add` with every source.
    fn sources<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>));

    /// Look at the time and carry out what the control plane asks for.
    fn begin(&mut self);

    /// Carry packets from a source for a while; true if it has no more for now. The error says why
    /// it cannot go on.
    fn drain(&mut self, source: usize) -> Result<bool, String>;

    /// Call `look` with the number of each device that was written to since the last call. What that
    /// provoked (an acknowledgement, an echo) may be there already; both directions number the
    /// devices alike.
    fn provoked(&mut self, look: &mut dyn FnMut(usize));

    /// Whether something waits for the time to pass.
    fn awaits_time(&self) -> bool;

    /// How many packets were read singly since the last call, and not as part of a super-packet or
    /// train.
    fn take_singles(&mut self) -> u32;

    /// What this direction counts.
    fn counters(&self) -> &Counters;
}

/// What a thread had to do in a window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// The share of the time that was not spent waiting.
    pub percent: u32,
    /// The time for which the thread had a CPU, and its share.
    pub used: Duration,
    pub used_percent: u32,
    /// Packets that came singly, in as much time as a window should last.
    pub singles: u32,
}

/// What a source is to the loop.
struct Source {
    worker: usize,
    /// Its number to the worker, or none for the signal.
    number: Option<usize>,
    /// It may have something.
    ready: bool,
}

/// A thread's workers, one or both, and what they wait for.
///
/// A source is read until it has no more, and then left alone until the kernel says that it has:
/// while packets flow the thread does not sleep, and it asks no idle source.
pub(super) struct Loop {
    workers: Vec<Box<dyn Worker>>,
    poll: Poll,
    sources: Vec<Source>,
    /// How long to look for more before sleeping.
    busy_poll: Duration,
    turn_began: Instant,
    window_began: Instant,
    busy: Duration,
    /// The thread's CPU time when the window began; none if another thread's window did.
    used_before: Option<Duration>,
    /// Packets that came singly in this window so far.
    singles: u32,
}

impl Loop {
    pub(super) fn new(workers: Vec<Box<dyn Worker>>, busy_poll: Duration) -> Self {
        let mut new = Self::with_room(0, busy_poll);
        new.workers = workers;
        new.wire();
        new
    }

    /// Without a worker yet, and with room for one with so many sources.
    fn with_room(sources: usize, busy_poll: Duration) -> Self {
        let now = Instant::now();
        Self {
            workers: Vec::with_capacity(1),
            poll: Poll::with_room(sources),
            sources: Vec::with_capacity(sources),
            busy_poll,
            turn_began: now,
            window_began: now,
            busy: Duration::ZERO,
            used_before: None,
            singles: 0,
        }
    }

    /// One for a worker of this one, which it takes over later without allocating.
    pub(super) fn spare(&self) -> Self {
        Self::with_room(self.sources.len(), self.busy_poll)
    }

    /// Take over another worker, and measure the load from now on.
    pub(super) fn push(&mut self, worker: Box<dyn Worker>) {
        self.workers.push(worker);
        self.wire();
        self.turn_began = Instant::now();
        self.window_began = self.turn_began;
        self.busy = Duration::ZERO;
        self.used_before = None;
        self.singles = 0;
    }

    /// Give away the last worker.
    pub(super) fn pop(&mut self) -> Option<Box<dyn Worker>> {
        let worker = self.workers.pop();
        self.wire();
        worker
    }

    /// Whether a worker is asked to end.
    pub(super) fn stopped(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.commands().stopped())
    }

    /// Find out anew what there is to wait for.
    fn wire(&mut self) {
        let Self {
            workers,
            poll,
            sources,
            ..
        } = self;
        poll.clear();
        sources.clear();
        for (index, worker) in workers.iter().enumerate() {
            let mut number = None;
            let mut add = |fd: BorrowedFd<'_>| {
                poll.add(fd);
                sources.push(Source {
                    worker: index,
                    number,
                    // It is asked first, and then when the kernel says so.
                    ready: true,
                });
                number = Some(number.map_or(0, |last| last + 1));
            };
            add(worker.commands().signal());
            worker.sources(&mut add);
        }
    }

    /// Carry packets, and wait if there are none, `longest_ms` at most. The error says why this
    /// cannot go on.
    pub(super) fn turn(&mut self, longest_ms: Option<u32>) -> Result<(), String> {
        for worker in &mut self.workers {
            worker.begin();
        }
        let mut idle = self.drain()?;
        if self.look_at_provoked() {
            for worker in &mut self.workers {
                worker.begin();
            }
            idle &= self.drain()?;
        }
        let timeout = if !idle {
            Some(0)
        } else if self.workers.iter().any(|worker| worker.awaits_time()) {
            Some(longest_ms.map_or(TICK_MS, |longest| longest.min(TICK_MS)))
        } else {
            longest_ms
        };
        self.busy += self.turn_began.elapsed();
        let lap = Lap::begin();
        let waited = self.wait(timeout);
        if let Some(worker) = self.workers.first() {
            lap.end(worker.counters(), Stage::Wait);
        }
        self.turn_began = Instant::now();
        waited.map_err(|error| format!("cannot wait for packets: {error}"))?;
        for key in self.poll.ready() {
            self.sources[key].ready = true;
        }
        for worker in &mut self.workers {
            worker.counters().add(Counter::PollCalls, 1);
            self.singles += worker.take_singles();
        }
        Ok(())
    }

    /// Read all sources that may have something; true if none has more.
    fn drain(&mut self) -> Result<bool, String> {
        let mut idle = true;
        for source in self.sources.iter_mut().filter(|source| source.ready) {
            let worker = &mut self.workers[source.worker];
            source.ready = match source.number {
                Some(number) => !worker.drain(number)?,
                None => {
                    worker.commands().clear_signal();
                    // What was asked for just before is carried out in the next turn.
                    idle = false;
                    false
                }
            };
            idle &= !source.ready;
        }
        Ok(idle)
    }

    /// Mark the devices that one direction has written to as ready for the other, if it is run here
    /// as well; true if there are any. So the kernel need not be asked about them first.
    fn look_at_provoked(&mut self) -> bool {
        let mut any = false;
        let Self {
            workers, sources, ..
        } = self;
        let several = workers.len() > 1;
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.provoked(&mut |device| {
                let others = sources
                    .iter_mut()
                    .filter(|source| source.worker != index && source.number == Some(device));
                for source in others.filter(|_| several) {
                    source.ready = true;
                    any = true;
                }
            });
        }
        any
    }

    /// Ask the kernel which sources have something, and sleep until one has: after having looked for
    /// a while, if asked to.
    fn wait(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
        // No longer than it may sleep: something else waits for the time, or for the load.
        let longest = timeout_ms.map_or(Duration::MAX, |ms| Duration::from_millis(ms.into()));
        let busy_poll = self.busy_poll.min(longest);
        if !busy_poll.is_zero() {
            let began = Instant::now();
            while began.elapsed() < busy_poll {
                self.poll.wait(Some(0))?;
                if self.poll.ready().next().is_some() {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
        }
        self.poll.wait(timeout_ms)
    }

    /// Count a change of how this thread stands among others.
    pub(super) fn count_precedence(&self, change: Option<Change>) {
        let counter = match change {
            Some(Change::GivenUp) => Counter::PrecedenceGivenUp,
            Some(Change::Refused) => Counter::PrecedenceRefused,
            Some(Change::First | Change::NotNeeded) | None => return,
        };
        if let Some(worker) = self.workers.first() {
            worker.counters().add(counter, 1);
        }
    }

    /// Packets that came singly in the window that has not passed yet.
    pub(super) fn singles(&self) -> u32 {
        self.singles
    }

    /// What a window's load was, once it has passed.
    pub(super) fn load(&mut self) -> Option<Load> {
        let passed = self.turn_began - self.window_began;
        if passed < WINDOW {
            return None;
        }
        let percent_of = |time: Duration| {
            let percent = time.as_micros() * 100 / passed.as_micros().max(1);
            percent.min(100) as u32
        };
        let now = schedule::cpu_time();
        let used = self
            .used_before
            .map_or(Duration::ZERO, |before| now - before);
        let percent = percent_of(self.busy);
        self.used_before = Some(now);
        self.window_began = self.turn_began;
        self.busy = Duration::ZERO;
        let singles = u128::from(std::mem::take(&mut self.singles));
        Some(Load {
            percent,
            used,
            used_percent: percent_of(used),
            singles: (singles * WINDOW.as_micros() / passed.as_micros().max(1)) as u32,
        })
    }
}
