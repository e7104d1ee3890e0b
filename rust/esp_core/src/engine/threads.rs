//! Who does the work: one thread while it can, two when it is too much for one.
//!
//! The leading thread runs both directions at first. What a delivered packet provokes (an
//! acknowledgement, an echo) is then read by the thread that has just delivered it, without waking
//! another: a round trip takes two thirds of the time. When the thread is busy nearly all the time,
//! it gives the receiving direction to the helping thread, which gives it back when there is little
//! to do. A direction is always run by one thread as a whole, so nothing needs a lock.

use std::{
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, SyncSender},
        Arc,
    },
    time::Duration,
};

use super::{
    command::{CommandSender, EgressCommand},
    fair_share::FairShare,
    precedence::Precedence,
    worker::{Loop, Worker, WINDOW},
};

/// Load in percent at which one thread is not enough, unless it is mostly waiting for a CPU then: an
/// idle link is no better for a second thread.
const SPLIT_LOAD: u32 = 70;
const SPLIT_USE: u32 = 5;
/// Load in percent, of both threads together, at which one is enough again.
const JOIN_LOAD: u32 = 40;
/// For how many windows.
const JOIN_WINDOWS: u32 = 10;

type Direction = Box<dyn Worker>;

/// How the data threads wait, and how they stand among other threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadOptions {
    /// How long they look for more packets before they sleep, which keeps the time of waking up out
    /// of the latency, and a CPU busy.
    pub busy_poll: Duration,
    /// Run before ordinary threads if the system allows it. Not together with `busy_poll`: nobody
    /// else would get the CPU meanwhile.
    pub realtime: bool,
}

impl ThreadOptions {
    fn precedence(self, share: &Arc<FairShare>) -> Precedence {
        let wanted = self.realtime && self.busy_poll.is_zero();
        Precedence::new(wanted, share.clone())
    }
}

/// The thread that always runs.
pub(super) struct Lead {
    workers: Loop,
    precedence: Precedence,
    to_helper: Option<SyncSender<Direction>>,
    from_helper: Receiver<Direction>,
    load: Arc<AtomicU32>,
}

/// The thread that runs when there is much to do.
pub(super) struct Helper {
    workers: Loop,
    precedence: Precedence,
    from_lead: Receiver<Direction>,
    to_lead: SyncSender<Direction>,
    lead_load: Arc<AtomicU32>,
    /// Wakes the leading thread.
    wake_lead: Arc<CommandSender<EgressCommand>>,
}

/// Prepare both threads; both directions are with the leading one. With one CPU a second thread
/// would only be in the way.
pub(super) fn prepare(
    egress: Direction,
    ingress: Direction,
    wake_lead: Arc<CommandSender<EgressCommand>>,
    options: ThreadOptions,
) -> (Lead, Helper) {
    let several = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
    // Of one place, as one direction moves: sending neither waits nor allocates.
    let (to_helper, from_lead) = mpsc::sync_channel(1);
    let (to_lead, from_helper) = mpsc::sync_channel(1);
    let load = Arc::new(AtomicU32::new(0));
    let share = Arc::new(FairShare::new());
    let workers = Loop::new(vec![egress, ingress], options.busy_poll);
    let spare = workers.spare();
    let lead = Lead {
        workers,
        precedence: options.precedence(&share),
        to_helper: several.then_some(to_helper),
        from_helper,
        load: load.clone(),
    };
    let helper = Helper {
        workers: spare,
        precedence: options.precedence(&share),
        from_lead,
        to_lead,
        lead_load: load,
        wake_lead,
    };
    (lead, helper)
}

impl Lead {
    /// Carry packets until asked to stop; the error says why it cannot go on. The helper ends with
    /// this thread, as nothing more can come to it.
    pub(super) fn run(mut self) -> Result<(), String> {
        let mut helped = false;
        self.workers.count_precedence(self.precedence.begin());
        while !self.workers.stopped() {
            // The load of both is looked at only while there are two.
            let longest = helped.then_some(WINDOW.as_millis() as u32);
            self.workers.turn(longest)?;
            let change = self.precedence.singles_so_far(self.workers.singles());
            self.workers.count_precedence(change);
            if let Some(load) = self.workers.load() {
                self.load.store(load.percent, Ordering::Relaxed);
                let change = self.precedence.window_passed(load);
                self.workers.count_precedence(change);
                if !helped && load.percent >= SPLIT_LOAD && load.used_percent >= SPLIT_USE {
                    helped = self.split();
                }
            }
            if helped {
                if let Ok(direction) = self.from_helper.try_recv() {
                    self.workers.push(direction);
                    helped = false;
                }
            }
        }
        Ok(())
    }

    /// Give a direction to the helper, if there is one.
    fn split(&mut self) -> bool {
        let Some(to_helper) = &self.to_helper else {
            return false;
        };
        let Some(direction) = self.workers.pop() else {
            return false;
        };
        match to_helper.send(direction) {
            Ok(()) => true,
            Err(mpsc::SendError(direction)) => {
                // The helper has ended, which it tells by itself.
                self.workers.push(direction);
                false
            }
        }
    }
}

impl Helper {
    /// Wait for a direction, carry its packets until there are few, and begin again; the error says
    /// why it cannot go on.
    pub(super) fn run(self) -> Result<(), String> {
        let (mut workers, mut precedence) = (self.workers, self.precedence);
        while let Ok(direction) = self.from_lead.recv() {
            workers.push(direction);
            workers.count_precedence(precedence.begin());
            let mut quiet = 0;
            while quiet < JOIN_WINDOWS {
                if workers.stopped() {
                    return Ok(());
                }
                workers.turn(Some(WINDOW.as_millis() as u32))?;
                workers.count_precedence(precedence.singles_so_far(workers.singles()));
                if let Some(load) = workers.load() {
                    workers.count_precedence(precedence.window_passed(load));
                    let both = load.percent + self.lead_load.load(Ordering::Relaxed);
                    quiet = if both < JOIN_LOAD { quiet + 1 } else { 0 };
                }
            }
            if let Some(direction) = workers.pop() {
                // An error says that the leading thread has ended, and so will this one.
                let _ = self.to_lead.send(direction);
            }
            self.wake_lead.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::{AsFd, BorrowedFd},
        sync::Mutex,
        thread::{self, ThreadId},
        time::Instant,
    };

    use super::*;
    use crate::{
        engine::command::{queue, CommandReceiver, IngressCommand, Signalled},
        stats::Counters,
        sys::fd::Signal,
    };

    /// What the test sees of a direction: where it runs, and what keeps it busy.
    struct View {
        source: Signal,
        thread: Mutex<Option<ThreadId>>,
    }

    struct Pretended<C> {
        commands: CommandReceiver<C>,
        view: Arc<View>,
        counters: Counters,
    }

    impl<C: Send> Worker for Pretended<C> {
        fn commands(&self) -> &dyn Signalled {
            &self.commands
        }

        fn sources<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
            add(self.view.source.as_fd());
        }

        fn begin(&mut self) {
            *self.view.thread.lock().unwrap() = Some(thread::current().id());
        }

        fn drain(&mut self, _: usize) -> Result<bool, String> {
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(300) {}
            Ok(true)
        }

        fn provoked(&mut self, _: &mut dyn FnMut(usize)) {}

        fn awaits_time(&self) -> bool {
            false
        }

        fn take_singles(&mut self) -> u32 {
            0
        }

        fn counters(&self) -> &Counters {
            &self.counters
        }
    }

    fn pretended<C>(commands: CommandReceiver<C>) -> (Box<Pretended<C>>, Arc<View>) {
        let view = Arc::new(View {
            source: Signal::new().unwrap(),
            thread: Mutex::default(),
        });
        let worker = Pretended {
            commands,
            view: view.clone(),
            counters: Counters::default(),
        };
        (Box::new(worker), view)
    }

    #[test]
    fn two_threads_while_there_is_much_to_do() {
        if thread::available_parallelism().map_or(1, usize::from) < 2 {
            return;
        }
        let (to_egress, egress_commands) = queue::<EgressCommand>().unwrap();
        let (to_ingress, ingress_commands) = queue::<IngressCommand>().unwrap();
        let to_egress = Arc::new(to_egress);
        let (egress, one) = pretended(egress_commands);
        let (ingress, other) = pretended(ingress_commands);
        let (lead, helper) = prepare(egress, ingress, to_egress.clone(), ThreadOptions::default());
        let threads = [
            thread::spawn(move || lead.run()),
            thread::spawn(move || helper.run()),
        ];
        let threads_of = || (*one.thread.lock().unwrap(), *other.thread.lock().unwrap());
        let wait_until = |what: &str, condition: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !condition() {
                assert!(Instant::now() < deadline, "{what}");
                thread::sleep(Duration::from_millis(1));
            }
        };
        for _ in 0..2 {
            for view in [&one, &other] {
                view.source.raise();
            }
            wait_until(
                "one thread does it all",
                &|| matches!(threads_of(), (Some(one), Some(other)) if one != other),
            );
            for view in [&one, &other] {
                view.source.clear();
            }
            wait_until(
                "two threads for nothing",
                &|| matches!(threads_of(), (Some(one), Some(other)) if one == other),
            );
        }
        to_egress.stop();
        to_ingress.stop();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    }
}
