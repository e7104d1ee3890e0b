//! From the control plane to a data thread, without either waiting for the other.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc, Arc,
    },
};

use super::{inbound::InboundSa, outbound::OutboundPath, outbound::OutboundSa, peer::Peer};
use crate::{
    beet::{Hit, Lsi},
    sys::fd::Signal,
};

/// For the thread that sends.
pub(super) enum EgressCommand {
    AddSa(Box<OutboundSa>),
    MoveSa {
        peer: Hit,
        spi: u32,
        path: OutboundPath,
    },
    RemoveSa {
        peer: Hit,
        spi: u32,
    },
    SetLsi {
        lsi: Lsi,
        peer: Arc<Peer>,
    },
    RemoveLsi(Lsi),
}

/// For the thread that receives.
pub(super) enum IngressCommand {
    AddSa(Box<InboundSa>),
    RemoveSa { spi: u32 },
}

/// The control plane's end of a thread's queue.
pub(super) struct CommandSender<C> {
    sender: mpsc::Sender<C>,
    shared: Arc<Shared>,
}

/// The thread's end.
pub(super) struct CommandReceiver<C> {
    receiver: mpsc::Receiver<C>,
    shared: Arc<Shared>,
}

struct Shared {
    signal: Signal,
    stop: AtomicBool,
    /// Commands were handed over since the thread looked for them last.
    waiting: AtomicBool,
    /// A sign of life is waited for.
    asked: AtomicBool,
}

/// Make a queue.
pub(super) fn queue<C>() -> io::Result<(CommandSender<C>, CommandReceiver<C>)> {
    let (sender, receiver) = mpsc::channel();
    let shared = Arc::new(Shared {
        signal: Signal::new()?,
        stop: AtomicBool::new(false),
        waiting: AtomicBool::new(false),
        asked: AtomicBool::new(false),
    });
    let near = CommandSender {
        sender,
        shared: shared.clone(),
    };
    Ok((near, CommandReceiver { receiver, shared }))
}

impl<C> CommandSender<C> {
    /// Hand over a command. A thread that has ended gets no more, which it tells by an event.
    pub(super) fn send(&self, command: C) {
        if self.sender.send(command).is_ok() {
            self.shared.waiting.store(true, Ordering::Release);
            self.shared.signal.raise();
        }
    }

    /// Have the thread look for what is new.
    pub(super) fn wake(&self) {
        self.shared.signal.raise();
    }

    /// Whether the thread has looked for commands since this was called last; and wake it anew.
    pub(super) fn pulse(&self) -> bool {
        let alive = !self.shared.asked.swap(true, Ordering::AcqRel);
        self.shared.signal.raise();
        alive
    }

    /// Ask the thread to end.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.signal.raise();
    }
}

impl<C> CommandReceiver<C> {
    /// Whether there may be commands that were not there when this was asked last. A packet that is
    /// read after this said no may have come after a command.
    pub(super) fn waiting(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed)
            && self.shared.waiting.swap(false, Ordering::AcqRel)
    }

    /// The next command, if there is one.
    pub(super) fn next(&self) -> Option<C> {
        self.receiver.try_recv().ok()
    }
}

/// What a thread has to look at, whatever its commands are.
pub(super) trait Signalled {
    /// Whether the thread is asked to end.
    fn stopped(&self) -> bool;

    /// The signal was seen; call it before looking for commands.
    fn clear_signal(&self);

    /// Readable while there may be commands.
    fn signal(&self) -> BorrowedFd<'_>;
}

impl<C> Signalled for CommandReceiver<C> {
    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    fn clear_signal(&self) {
        self.shared.signal.clear();
        self.shared.asked.store(false, Ordering::Release);
    }

    fn signal(&self) -> BorrowedFd<'_> {
        self.shared.signal.as_fd()
    }
}
