//! Ethernet frames from a TAP to the peers of its segment.

use std::ops::Range;

use super::{seal_fragments, Egress};
use crate::{
    drops::DropReason,
    engine::outbox::{Marks, Run},
    etherip,
    fragment::FragmentHeader,
    l2::mss,
    offload::{split::SuperPacket, GsoKind, VnetHeader},
    packet::{
        ethernet::{self, Header},
        protocol,
    },
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
        let payload = range.start - etherip::HEADER_LEN..range.end;
        let data = self.outbox.data_mut();
        data[payload.start..range.start].copy_from_slice(&etherip::HEADER);
        if self.segments[segment].mss_clamp {
            let mtu = sa.frame_room().saturating_sub(header.len);
            if mss::clamp(&mut data[range.start + header.len..range.end], mtu) {
                self.counters.add(Counter::MssClamped, 1);
            }
        }
        if payload.len() > sa.max_payload() {
            self.scratch.clear();
            self.scratch.extend_from_slice(&data[payload.clone()]);
            let header = FragmentHeader {
                next_header: protocol::ETHERIP,
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
            self.outbox
                .seal_in_place(sa, protocol::ETHERIP, payload, marks);
        } else {
            let len = payload.len();
            self.outbox
                .seal_built(sa, protocol::ETHERIP, len, marks, |read, out| {
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
        if whole.limit(sa.frame_room()) {
            let run = Run {
                next_header: protocol::ETHERIP,
                marks,
                payload_len: |n| etherip::HEADER_LEN + whole.packet_len(n),
                build: |n, read: &[u8], out: &mut [u8]| {
                    emit_frame(&whole, &read[range.clone()], n, out);
                },
            };
            self.outbox.seal_run(sa, whole.count(), &run);
            return;
        }
        // Datagrams cannot be cut smaller, so each is fragmented.
        for n in 0..whole.count() {
            self.scratch.clear();
            self.scratch
                .resize(etherip::HEADER_LEN + whole.packet_len(n), 0);
            let frame = &self.outbox.data()[range.clone()];
            emit_frame(&whole, frame, n, &mut self.scratch);
            let header = FragmentHeader {
                next_header: protocol::ETHERIP,
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

/// Write the n-th frame of a super-packet, behind an EtherIP header.
fn emit_frame(whole: &SuperPacket, packet: &[u8], n: usize, out: &mut [u8]) {
    let (front, frame) = out.split_at_mut(etherip::HEADER_LEN);
    front.copy_from_slice(&etherip::HEADER);
    whole.emit(packet, n, 0, frame);
}
