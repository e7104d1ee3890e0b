//! Sockets and devices, start and stop.

use std::{
    os::fd::RawFd,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    device::Device,
    egress::{Egress, EgressParts, EgressSegment, EgressTun},
    error::EngineError,
    ingress::{Ingress, IngressParts, IngressSegment, IngressTun},
    outbox::Outbox,
    socket::{Socket, SocketKind, UdpOffloads},
    threads::{self, ThreadOptions},
    Engine, Inner, Phase, Segment, TapParameters, Tun, TunParameters, MAX_SEGMENTS, MTU_RANGE,
};
use crate::{
    beet::{flows::FlowMemory, LocalHits},
    events::{Event, EventQueue},
    l2::mac_table::MacLearner,
};

/// How long `stop` waits for the threads.
const STOP_WAIT: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) fn check_setup(&self) -> Result<(), EngineError> {
        match self.phase {
            Phase::Setup { .. } => Ok(()),
            _ => Err(EngineError::State("the engine was started already")),
        }
    }
}

impl Engine {
    /// Receive HIP and ESP on a UDP socket bound to a port, and send ESP by it.
    pub fn add_udp_socket(&self, fd: RawFd) -> Result<(), EngineError> {
        self.add_udp_socket_with(fd, UdpOffloads::default())
    }

    /// The same, without some of the kernel's help.
    pub fn add_udp_socket_with(&self, fd: RawFd, offloads: UdpOffloads) -> Result<(), EngineError> {
        self.add_socket(fd, SocketKind::Udp, offloads)
    }

    /// Receive and send ESP on a raw socket of protocol 50.
    pub fn add_esp_socket(&self, fd: RawFd) -> Result<(), EngineError> {
        self.add_socket(fd, SocketKind::Esp, UdpOffloads::default())
    }

    fn add_socket(
        &self,
        fd: RawFd,
        kind: SocketKind,
        offloads: UdpOffloads,
    ) -> Result<(), EngineError> {
        let mut inner = self.lock();
        inner.check_setup()?;
        inner.sockets.push(Socket::open(fd, kind, offloads)?);
        Ok(())
    }

    /// Carry the TUN of the host role.
    pub fn set_tun(&self, tun: &TunParameters) -> Result<(), EngineError> {
        let mut inner = self.lock();
        inner.check_setup()?;
        if inner.tun.is_some() {
            return Err(EngineError::State("there is a TUN already"));
        }
        check_mtu(tun.mtu)?;
        inner.tun = Some(Tun {
            device: Arc::new(Device::open(tun.fd, tun.vnet_hdr)?),
            local_hits: LocalHits::new(tun.local_hit, tun.second_hit),
            local_lsi: tun.local_lsi,
            marks: tun.marks,
        });
        Ok(())
    }

    /// Carry the TAP of an Ethernet segment.
    pub fn add_tap(&self, tap: &TapParameters) -> Result<(), EngineError> {
        let mut inner = self.lock();
        inner.check_setup()?;
        if tap.segment == 0 || tap.segment > MAX_SEGMENTS {
            return Err(EngineError::Invalid(format!(
                "segments are numbered from 1 to {MAX_SEGMENTS}, not {}",
                tap.segment
            )));
        }
        if inner
            .segments
            .iter()
            .any(|other| other.number == tap.segment)
        {
            return Err(EngineError::Invalid(format!(
                "segment {} has a TAP already",
                tap.segment
            )));
        }
        check_mtu(tap.mtu)?;
        let learner = MacLearner::new(tap.mac_limit, tap.mac_age_s);
        inner.segments.push(Segment {
            number: tap.segment,
            device: Arc::new(Device::open(tap.fd, tap.vnet_hdr)?),
            mss_clamp: tap.mss_clamp,
            marks: tap.marks,
            macs: learner.table().clone(),
            learner: Some(learner),
            ownership: Arc::default(),
            election: None,
        });
        Ok(())
    }

    /// Start the data threads.
    pub fn start(&self, options: ThreadOptions) -> Result<(), EngineError> {
        let mut inner = self.lock();
        inner.check_setup()?;
        inner.shared_sockets = std::mem::take(&mut inner.sockets).into();
        let Phase::Setup { egress, ingress } =
            std::mem::replace(&mut inner.phase, Phase::Running(Vec::new()))
        else {
            return Err(EngineError::State("the engine was started already"));
        };
        let flows = Arc::new(FlowMemory::new());
        let sockets = inner.shared_sockets.clone();
        let outgoing = EgressParts {
            segments: inner.segments.iter().map(egress_segment).collect(),
            tun: inner.tun.as_ref().map(|tun| EgressTun {
                device: tun.device.clone(),
                local_hits: tun.local_hits,
                local_lsi: tun.local_lsi,
                marks: tun.marks,
                flows: flows.clone(),
            }),
            commands: egress,
            hold: self.hold.clone(),
            events: self.events.clone(),
            counters: self.egress_counters.clone(),
            clock: self.clock,
        };
        let incoming = IngressParts {
            segments: inner
                .segments
                .iter_mut()
                .filter_map(ingress_segment)
                .collect(),
            tun: inner.tun.as_ref().map(|tun| {
                let names = (tun.local_hits, tun.local_lsi);
                IngressTun::new(tun.device.clone(), names, tun.marks, flows)
            }),
            sockets: sockets.clone(),
            relay: self.relay.outgoing(),
            rendezvous: self.rendezvous.server(),
            commands: ingress,
            events: self.events.clone(),
            counters: self.ingress_counters.clone(),
            clock: self.clock,
        };
        let relay = self.relay.thread(self, sockets.clone());
        let outbox = Outbox::new(sockets, self.egress_counters.clone());
        let (lead, helper) = threads::prepare(
            Box::new(Egress::new(outgoing, outbox)),
            Box::new(Ingress::new(incoming)),
            self.egress.clone(),
            options,
        );
        let mut threads = vec![
            self.spawn("hipgw-data", move || lead.run()),
            self.spawn("hipgw-data-2", move || helper.run()),
        ];
        threads.extend(relay.map(|relay| self.spawn("hipgw-relay", move || relay.run())));
        let failed = threads.iter().any(Result::is_err);
        inner.phase = Phase::Running(threads.into_iter().flatten().collect());
        if failed {
            self.signal_stop();
            return Err(EngineError::State("the system gave no threads"));
        }
        Ok(())
    }

    /// Run a data thread; its end, unless asked for, is a fatal event and ends the other as well.
    fn spawn(
        &self,
        name: &str,
        run: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let events = self.events.clone();
        let (egress, ingress) = (self.egress.clone(), self.ingress.clone());
        thread::Builder::new().name(name.into()).spawn(move || {
            if guard(&events, run) {
                egress.stop();
                ingress.stop();
            }
        })
    }

    fn signal_stop(&self) {
        self.egress.stop();
        self.ingress.stop();
        self.relay.stop();
    }

    /// End all threads and wipe all keys. The engine cannot be started again.
    pub fn stop(&self) {
        self.signal_stop();
        let phase = {
            let mut inner = self.lock();
            inner.registry = super::Registry::default();
            std::mem::replace(&mut inner.phase, Phase::Stopped)
        };
        // Commands not carried out, with their keys, go with the receivers.
        let Phase::Running(threads) = phase else {
            return;
        };
        let deadline = Instant::now() + STOP_WAIT;
        for thread in threads {
            // A thread looks at the signal after each batch; one that is stuck in the kernel is
            // left to the end of the process.
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // Its panic, if any, was told by an event.
                let _ = thread.join();
            }
        }
    }
}

fn check_mtu(mtu: usize) -> Result<(), EngineError> {
    if MTU_RANGE.contains(&mtu) {
        return Ok(());
    }
    Err(EngineError::Invalid(format!(
        "the MTU of a device is from {} to {} octets, not {mtu}",
        MTU_RANGE.start(),
        MTU_RANGE.end()
    )))
}

/// Run a data thread's work; true if it ended by itself, which is told by an event.
fn guard(events: &EventQueue, run: impl FnOnce() -> Result<(), String>) -> bool {
    let message = match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return false,
        Ok(Err(message)) => message,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            format!(
                "a data thread panicked: {}",
                text.unwrap_or("no reason given")
            )
        }
    };
    events.push(Event::Fatal { message });
    true
}

fn egress_segment(segment: &Segment) -> EgressSegment {
    EgressSegment {
        device: segment.device.clone(),
        macs: segment.macs.clone(),
        mss_clamp: segment.mss_clamp,
        marks: segment.marks,
        ownership: segment.ownership.clone(),
        election: segment.election.clone(),
    }
}

fn ingress_segment(segment: &mut Segment) -> Option<IngressSegment> {
    let learner = segment.learner.take()?;
    Some(IngressSegment::new(
        segment.device.clone(),
        learner,
        segment.mss_clamp,
        segment.ownership.clone(),
        segment.election.clone(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_fatal_event() {
        let events = EventQueue::new().unwrap();
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let ended = guard(&events, || panic!("number {}", 7));
        panic::set_hook(hook);
        assert!(ended);
        assert!(guard(&events, || Err("the TAP is gone".into())));
        assert!(!guard(&events, || Ok(())));
        let messages: Vec<_> = events.drain().into_iter().collect();
        let fatal = |text: &str| Event::Fatal {
            message: text.into(),
        };
        assert_eq!(
            messages,
            [
                fatal("a data thread panicked: number 7"),
                fatal("the TAP is gone")
            ]
        );
    }
}
