//! Ethernet frames from a TAP to the peers of its segment.

use std::ops::Range;

use super::{seal_fragments, Egress};
use crate::{
    drops::DropReason,
    engine::outbox::{Marks, Run},
    fragment::FragmentHeader,
    l2::mss,
    offload::{split::SuperPacket, GsoKind, VnetHeader},
    packet::ethernet::{self, Header},
    stats::Counter,
};

impl Egress {
    /// A frame was read to `range` of the outbox's buffer.
    pub(super) fn frame(&mut self, segment: usize, range: Range<usize>, vnet: VnetHeader) {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        if let Err(reason) = self.try_frame(segment, range, &vnet, &mut targets) {
            self.counters.dropped(reason);
        }
        self.targets = targets;
    }

    fn try_frame(
        &mut self,
        segment: usize,
        range: Range<usize>,
        vnet: &VnetHeader,
        targets: &mut Vec<usize>,
    ) -> Result<(), DropReason> {
        let frame = &mut self.outbox.data_mut()[range.clone()];
        let header = Header::parse(frame).ok_or(DropReason::FrameTooShort)?;
        if ethernet::is_link_local(&header.destination) {
            return Err(DropReason::LinkLocalFrame);
        }
        if ethernet::is_group(&header.source) {
            return Err(DropReason::GroupSource);
        }
        if vnet.kind == GsoKind::None {
            vnet.complete_checksum(frame)?;
        }
        self.choose_targets(segment, range.clone(), &header, targets)?;
        match targets[..] {
            // It was for this endbox itself.
            [] => return Ok(()),
            [_] => {}
            // Replicated at this end, as nothing between the peers could.
            _ => self.counters.add(Counter::FloodedFrames, targets.len()),
        }
        let frame = &self.outbox.data()[range.clone()];
        let marks = Marks {
            traffic_class: self.segments[segment].marks.around_frame(frame, &header),
            hop_limit: None,
        };
        if vnet.kind == GsoKind::None {
            for place in &*targets {
                let only = targets.len() == 1;
                self.send_frame(*place, range.clone(), &header, marks, only);
            }
            return Ok(());
        }
        let whole = SuperPacket::parse(frame, header.len, vnet)?;
        self.counters.add(Counter::SplitPackets, 1);
        for place in &*targets {
            self.send_super_frame(*place, range.clone(), whole, marks);
        }
        Ok(())
    }

    fn send_frame(
        &mut self,
        place: usize,
        range: Range<usize>,
        header: &Header,
        marks: Marks,
        only: bool,
    ) {
        let Some(sa) = self.peers.current(place) else {
            self.counters.dropped(DropReason::NoPeer);
            return;
        };
        let Some(segment) = sa.segment else {
            self.counters.dropped(DropReason::NoPeer);
            return;
        };
        let framing = sa.framing;
        let payload = range.start - framing.header().len()..range.end;
        let data = self.outbox.data_mut();
        data[payload.start..range.start].copy_from_slice(framing.header());
        if self.segments[segment].mss_clamp {
            let mtu = sa.frame_room().saturating_sub(header.len);
            if mss::clamp(&mut data[range.start + header.len..range.end], mtu) {
                self.counters.add(Counter::MssClamped, 1);
            }
        }
        let next_header = framing.next_header();
        if payload.len() > sa.max_payload() && framing.cuts() {
            self.scratch.clear();
            self.scratch.extend_from_slice(&data[payload.clone()]);
            let header = FragmentHeader {
                next_header,
                offset: 0,
                more: false,
                identification: sa.fragment_identification(),
            };
            seal_fragments(
                &mut self.outbox,
                &self.counters,
                sa,
                header,
                &self.scratch,
                marks,
            );
        } else if only {
            self.outbox.seal_in_place(sa, next_header, payload, marks);
        } else {
            let len = payload.len();
            self.outbox
                .seal_built(sa, next_header, len, marks, |read, out| {
                    out.copy_from_slice(&read[payload.clone()]);
                });
        }
    }

    fn send_super_frame(
        &mut self,
        place: usize,
        range: Range<usize>,
        mut whole: SuperPacket,
        marks: Marks,
    ) {
        let Some(sa) = self.peers.current(place) else {
            self.counters.dropped(DropReason::NoPeer);
            return;
        };
        let framing = sa.framing;
        let next_header = framing.next_header();
        let front = framing.header();
        if whole.limit(sa.frame_room()) || !framing.cuts() {
            let run = Run {
                next_header,
                marks,
                payload_len: |n| front.len() + whole.packet_len(n),
                build: |n, read: &[u8], out: &mut [u8]| {
                    emit_frame(&whole, front, &read[range.clone()], n, out);
                },
            };
            self.outbox.seal_run(sa, whole.count(), &run);
            return;
        }
        // Datagrams cannot be cut smaller, so each is fragmented.
        for n in 0..whole.count() {
            self.scratch.clear();
            self.scratch.resize(front.len() + whole.packet_len(n), 0);
            let frame = &self.outbox.data()[range.clone()];
            emit_frame(&whole, front, frame, n, &mut self.scratch);
            let header = FragmentHeader {
                next_header,
                offset: 0,
                more: false,
                identification: sa.fragment_identification(),
            };
            seal_fragments(
                &mut self.outbox,
                &self.counters,
                sa,
                header,
                &self.scratch,
                marks,
            );
        }
    }
}

/// Write the n-th frame of a super-packet, behind what comes in front of it.
fn emit_frame(whole: &SuperPacket, front: &[u8], packet: &[u8], n: usize, out: &mut [u8]) {
    let (before, frame) = out.split_at_mut(front.len());
    before.copy_from_slice(front);
    whole.emit(packet, n, 0, frame);
}
