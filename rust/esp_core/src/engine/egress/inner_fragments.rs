//! IPv4 fragments from the TUN: joined before they are sealed, as the transport checksum can only be
//! translated with the whole packet at hand. It is fragmented again inside ESP if need be.

use std::{collections::HashMap, ops::Range};

use super::Egress;
use crate::{
    beet::Lsi,
    drops::DropReason,
    engine::device::READ_ROOM,
    fragment::{
        reassembly::{Pool, Reassembler, Whole},
        FragmentHeader,
    },
    offload::VnetHeader,
    packet::{
        be16,
        ip::{Header, FRAGMENT_HEADER_LEN, V4, V4_HEADER_LEN},
    },
    stats::Counters,
};

/// Pairs of destination and protocol whose fragments wait for their rest.
const MAX_FLOWS: usize = 64;

/// Fragments that wait, by destination and protocol; the source is always this host.
#[derive(Default)]
pub(super) struct InnerFragments {
    flows: HashMap<(Lsi, u8), Reassembler>,
    /// Empty ones for later flows.
    spare: Vec<Reassembler>,
    pool: Pool,
}

impl InnerFragments {
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub(super) fn expire(&mut self, now_ms: u64, counters: &Counters) {
        let Self { flows, spare, pool } = self;
        flows.retain(|_, reassembler| {
            reassembler.expire(now_ms, pool, counters);
            let keep = !reassembler.is_empty();
            if !keep {
                spare.push(std::mem::take(reassembler));
            }
            keep
        });
    }

    /// Add a fragment; returns the payload that it completes.
    fn insert(
        &mut self,
        destination: Lsi,
        piece: &[u8],
        now_ms: u64,
        counters: &Counters,
    ) -> Option<Whole> {
        let flow = (destination, piece[0]);
        if self.flows.len() >= MAX_FLOWS && !self.flows.contains_key(&flow) {
            counters.dropped(DropReason::InnerFragment);
            return None;
        }
        let Self { flows, spare, pool } = self;
        let reassembler = flows
            .entry(flow)
            .or_insert_with(|| spare.pop().unwrap_or_default());
        let whole = reassembler.insert(piece, now_ms, pool, counters);
        if reassembler.is_empty() {
            spare.extend(flows.remove(&flow));
        }
        whole
    }
}

impl Egress {
    /// An IPv4 fragment lies at `range` of the outbox's buffer; the packet that it completes is
    /// carried like any other.
    pub(super) fn inner_fragment(&mut self, range: Range<usize>, header: &Header) {
        let packet = &mut self.outbox.data_mut()[range];
        let identification = be16(packet, 4);
        let field = be16(packet, 6);
        let (mut source, mut destination) = ([0; 4], [0; 4]);
        source.copy_from_slice(&packet[12..16]);
        destination.copy_from_slice(&packet[16..20]);
        // As a piece in IPv6's form, whose header takes the place of the end of IPv4's.
        let piece = &mut packet[header.len - FRAGMENT_HEADER_LEN..header.total];
        FragmentHeader {
            next_header: header.protocol,
            offset: usize::from(field & 0x1fff) * 8,
            more: field & 0x2000 != 0,
            identification: identification.into(),
        }
        .emit(piece);
        let whole = self
            .inner_fragments
            .insert(destination, piece, self.now_ms, &self.counters);
        let Some(whole) = whole else {
            return;
        };
        let len = V4_HEADER_LEN + whole.payload.len();
        let (start, area) = self.outbox.read_area();
        if len > READ_ROOM.min(usize::from(u16::MAX)) {
            self.counters.dropped(DropReason::FrameTooLong);
            return;
        }
        V4 {
            traffic_class: header.traffic_class,
            identification,
            fragment: 0,
            hop_limit: header.hop_limit,
            protocol: header.protocol,
            source,
            destination,
            payload_len: whole.payload.len(),
        }
        .emit(area, &[]);
        area[V4_HEADER_LEN..len].copy_from_slice(&whole.payload);
        self.inner_fragments.pool.give_back(whole.payload);
        self.packet(start..start + len, VnetHeader::default());
    }
}
