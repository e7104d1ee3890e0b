//! Inbound security associations.

use std::sync::Arc;

use super::{
    peer::{Peer, SaCounters},
    source::{Source, SourceWatch},
    SaParameters,
};
use crate::{
    beet::Hit,
    drops::DropReason,
    error::Error,
    esp::Opener,
    fragment::reassembly::Reassembler,
    l2::{framing::Framing, ownership::Standing},
    replay::ReplayWindow,
    spi_table::SpiTable,
};

/// One inbound security association. Belongs to the receiving thread.
pub(super) struct InboundSa {
    /// Boxed, so that moving this leaves no copy of the keys behind.
    opener: Box<Opener>,
    window: ReplayWindow,
    /// Whether sequence numbers have a high half.
    esn: bool,
    /// Several send with these keys, so numbers come more than once, from several places.
    shared: bool,
    /// How it carries frames.
    pub framing: Framing,
    /// As in `PacketForm`.
    pub begins_by_lsi: bool,
    pub peer: Arc<Peer>,
    pub local_hit: Hit,
    /// Index of the segment whose frames it carries.
    pub segment: Option<usize>,
    /// How its peer takes part in that segment.
    pub standing: Standing,
    counters: Arc<SaCounters>,
    /// Pieces of payloads that wait for the rest.
    pub reassembler: Reassembler,
    /// Among those that the receiving thread looks after, as pieces may wait for too long.
    pub looked_after: bool,
    /// Nothing authentic came in yet, or nobody could be told.
    pub first_data_due: bool,
    /// Where its packets come from.
    pub source: SourceWatch,
}

/// A packet that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// Where the payload lies in the packet.
    pub payload: std::ops::Range<usize>,
    pub next_header: u8,
    /// None with a higher sequence number came before. Never so where several send.
    pub newest: bool,
}

impl InboundSa {
    #[must_use]
    pub(super) fn new(
        opener: Opener,
        sa: &SaParameters<'_>,
        peer: Arc<Peer>,
        segment: Option<usize>,
        counters: Arc<SaCounters>,
    ) -> Self {
        Self {
            opener: Box::new(opener),
            window: ReplayWindow::new(sa.replay_window),
            esn: sa.form.format.esn,
            shared: !sa.form.replay,
            framing: sa.form.framing,
            begins_by_lsi: sa.form.begins_by_lsi,
            peer,
            local_hit: sa.local_hit,
            segment,
            standing: Standing::Learning,
            counters,
            reassembler: Reassembler::default(),
            looked_after: false,
            first_data_due: true,
            source: SourceWatch::new(Source::of(&sa.path)),
        }
    }

    #[must_use]
    pub(super) fn spi(&self) -> u32 {
        self.opener.spi()
    }

    /// Check, verify and decrypt a packet (SPI to ICV) in place. The window moves only once the
    /// integrity check holds (RFC 4303 §3.4.3).
    pub(super) fn open(
        &mut self,
        packet: &mut [u8],
        sequence_low: u32,
        now_ms: u64,
    ) -> Result<Opened, DropReason> {
        let sequence = if self.esn {
            self.window.infer(sequence_low)
        } else {
            u64::from(sequence_low)
        };
        let opened = self
            .check(sequence)
            .and_then(|()| self.opener.open(sequence, packet))
            .and_then(|opened| self.commit(sequence).map(|()| opened));
        match opened {
            Ok((payload, next_header)) => {
                self.counters
                    .packets(1, payload.len(), self.highest(sequence), now_ms);
                self.counters.lost(self.window.counts().lost);
                Ok(Opened {
                    payload,
                    next_header,
                    newest: !self.shared && sequence == self.window.highest(),
                })
            }
            Err(error) => {
                let reason = DropReason::of_opening(error);
                match reason {
                    DropReason::Replayed => self.counters.replayed(),
                    DropReason::AuthFailed => self.counters.auth_failed(),
                    _ => {}
                }
                Err(reason)
            }
        }
    }

    fn check(&mut self, sequence: u64) -> Result<(), Error> {
        if self.shared {
            return Ok(());
        }
        self.window.check(sequence)
    }

    fn commit(&mut self, sequence: u64) -> Result<(), Error> {
        if self.shared {
            return Ok(());
        }
        self.window.commit(sequence)
    }

    fn highest(&self, sequence: u64) -> u64 {
        if self.shared {
            sequence
        } else {
            self.window.highest()
        }
    }
}

/// All inbound security associations, found by SPI.
#[derive(Default)]
pub(super) struct InboundSas {
    table: SpiTable,
    places: Vec<Option<Box<InboundSa>>>,
    free: Vec<u32>,
}

impl InboundSas {
    /// Add or replace; returns the one replaced.
    pub(super) fn add(&mut self, sa: Box<InboundSa>) -> Option<Box<InboundSa>> {
        let spi = sa.spi();
        let old = self.remove(spi);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.places[place as usize] = Some(sa);
        self.table.insert(spi, place);
        old
    }

    pub(super) fn remove(&mut self, spi: u32) -> Option<Box<InboundSa>> {
        let place = self.table.remove(spi)?;
        self.free.push(place);
        self.places[place as usize].take()
    }

    pub(super) fn get(&mut self, spi: u32) -> Option<&mut InboundSa> {
        let place = self.table.get(spi)?;
        self.places[place as usize].as_deref_mut()
    }
}
