//! Packets from the TUN to the peers they name.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{lock, seal_fragments, Egress, EgressTun};
use crate::{
    beet::{
        flows::Flow,
        output::{classify, front_len, mark, payload_len, strip, Destination},
        too_big::{self, MAX_ANSWER, V6_MIN_MTU},
        Translation, PSEUDO_HEADER_LEN,
    },
    drops::DropReason,
    engine::{
        clock::seconds,
        outbox::{Marks, Run},
    },
    events::Event,
    fragment::FragmentHeader,
    offload::{split::SuperPacket, GsoKind, VnetHeader},
    packet::{
        be16,
        ip::{Header, Version, FRAGMENT_HEADER_LEN},
        protocol,
    },
    stats::Counter,
};

impl Egress {
    /// A packet was read to `range` of the outbox's buffer.
    pub(super) fn packet(&mut self, range: Range<usize>, vnet: VnetHeader) {
        if let Err(reason) = self.try_packet(range, vnet) {
            self.counters.dropped(reason);
        }
    }

    fn try_packet(&mut self, range: Range<usize>, mut vnet: VnetHeader) -> Result<(), DropReason> {
        let Some(tun) = &self.tun else {
            return Err(DropReason::NoTun);
        };
        let (local_hits, local_lsi) = (tun.local_hits, tun.local_lsi);
        let packet = &mut self.outbox.data_mut()[range.clone()];
        let (header, destination) = classify(packet, &local_hits, local_lsi)?;
        if header.fragment {
            self.inner_fragment(range, &header);
            return Ok(());
        }
        if vnet.kind == GsoKind::None {
            vnet.complete_checksum(packet)?;
            vnet = VnetHeader::default();
        }
        let (place, lsi) = match destination {
            Destination::Hit(hit) => (self.peers.find_hit(&hit), None),
            Destination::Lsi(lsi) => {
                let peer = self.lsis.get(&lsi);
                (
                    peer.and_then(|peer| self.peers.find_hit(&peer.hit)),
                    Some(lsi),
                )
            }
        };
        let Some(place) = place else {
            return self.hold(destination, range, vnet);
        };
        let sa = self.peers.current(place).ok_or(DropReason::NoPeer)?;
        // The peer knows this host by one of its HITs, which the transport checksum counts.
        let (source, _) = header.addresses(&self.outbox.data()[range.clone()]);
        let right_name = match lsi {
            None => source == sa.local_hit,
            Some(_) => local_hits.contains(&sa.local_hit),
        };
        if !right_name {
            return Err(DropReason::NoPeer);
        }
        let translation = Translation::new(
            (&sa.local_hit, &sa.peer.hit),
            (local_lsi, lsi.unwrap_or_default()),
        );
        if lsi.is_some() || sa.begins_by_lsi {
            let peer = sa.peer.id;
            self.remember(peer, range.clone(), &header, lsi.is_some());
        }
        if vnet.kind == GsoKind::None {
            self.send_packet(place, range, &header, &translation)
        } else {
            self.send_super_packet(place, range, &header, &translation, &vnet)
        }
    }

    /// Keep a packet until its destination has a security association.
    fn hold(
        &mut self,
        destination: Destination,
        range: Range<usize>,
        vnet: VnetHeader,
    ) -> Result<(), DropReason> {
        let destination: IpAddr = match destination {
            Destination::Hit(hit) => Ipv6Addr::from(hit).into(),
            Destination::Lsi(lsi) => Ipv4Addr::from(lsi).into(),
        };
        let packet = &self.outbox.data()[range];
        let holding = lock(&self.hold).hold(destination, packet, vnet, self.now_ms);
        self.holding = true;
        if holding.remind && !self.events.push(Event::Acquire { destination }) {
            self.counters.add(Counter::EventsLost, 1);
        }
        if holding.held {
            Ok(())
        } else {
            Err(DropReason::HeldOverflow)
        }
    }

    /// Note that this host speaks IPv4 in a flow, or IPv6 to a peer that is expected not to.
    fn remember(&self, peer: u32, range: Range<usize>, header: &Header, lsi: bool) {
        let (Some(tun), protocol::TCP | protocol::UDP) = (&self.tun, header.protocol) else {
            return;
        };
        let packet = &self.outbox.data()[range];
        if header.total < header.len + 4 {
            return;
        }
        let flow = Flow {
            peer,
            protocol: header.protocol,
            local_port: be16(packet, header.len),
            remote_port: be16(packet, header.len + 2),
        };
        let flow = if lsi { flow } else { flow.by_hit() };
        tun.flows.remember(flow, seconds(self.now_ms));
    }

    fn send_packet(
        &mut self,
        place: usize,
        range: Range<usize>,
        header: &Header,
        translation: &Translation,
    ) -> Result<(), DropReason> {
        let sa = self.peers.current(place).ok_or(DropReason::NoPeer)?;
        let max_payload = sa.max_payload();
        let front = front_len(header, translation);
        let fits = payload_len(header, translation) <= max_payload;
        let must_pass = match header.version {
            Version::V4 => !header.dont_fragment,
            Version::V6 => header.total <= V6_MIN_MTU,
        };
        if !fits && !must_pass {
            return self.refuse(range, header, front, max_payload);
        }
        let marks = marks(self.tun.as_ref(), header);
        let start = range.start;
        let packet = &mut self.outbox.data_mut()[range];
        let payload = strip(packet, header, translation)?;
        // What only hipgw knows how to put together again is not for peers of HIPv1.
        if fits || !sa.framing.cuts() || !translation.marked {
            let range = start + payload.start..start + payload.end;
            self.outbox
                .seal_in_place(sa, payload.next_header, range, marks);
            return Ok(());
        }
        // IPv6 packets of up to 1280 octets and IPv4 packets without "don't fragment" have to
        // pass any path. If it is a fragment already, its header is continued.
        self.scratch.clear();
        let payload_bytes = &packet[payload.start..payload.end];
        let inner = FragmentHeader::parse(payload_bytes)
            .filter(|_| payload.next_header == protocol::FRAGMENT);
        let (fragment, skip) = match inner {
            Some(fragment) => (fragment, FRAGMENT_HEADER_LEN),
            None => {
                let fragment = FragmentHeader {
                    next_header: payload.next_header,
                    offset: 0,
                    more: false,
                    identification: sa.fragment_identification(),
                };
                (fragment, 0)
            }
        };
        self.scratch.extend_from_slice(&payload_bytes[skip..]);
        seal_fragments(
            &mut self.outbox,
            &self.counters,
            sa,
            fragment,
            &self.scratch,
            marks,
        );
        Ok(())
    }

    fn send_super_packet(
        &mut self,
        place: usize,
        range: Range<usize>,
        header: &Header,
        translation: &Translation,
        vnet: &VnetHeader,
    ) -> Result<(), DropReason> {
        let sa = self.peers.current(place).ok_or(DropReason::NoPeer)?;
        let packet = &self.outbox.data()[range.clone()];
        let mut whole = SuperPacket::parse(packet, 0, vnet)?;
        // On the wire the checksum counts HITs (RFC 7401 §4.5.1).
        whole.set_addresses(translation.hits);
        // What is in front of the transport header changes its length.
        let skip = header.len;
        let front = front_len(header, translation);
        let max_payload = sa.max_payload();
        if !whole.limit((max_payload + skip).saturating_sub(front)) {
            return self.refuse(range, header, front, max_payload);
        }
        self.counters.add(Counter::SplitPackets, 1);
        let mut unused = [0; PSEUDO_HEADER_LEN];
        let next_header = mark(header, &mut unused[..front]);
        let run = Run {
            next_header,
            marks: marks(self.tun.as_ref(), header),
            payload_len: |n| front + whole.packet_len(n) - skip,
            build: |n, read: &[u8], out: &mut [u8]| {
                let (before, rest) = out.split_at_mut(front);
                mark(header, before);
                whole.emit(&read[range.clone()], n, skip, rest);
            },
        };
        self.outbox.seal_run(sa, whole.count(), &run);
        Ok(())
    }

    /// Tell this host's kernel that a packet is larger than the path. `front`: octets that come in
    /// front of its transport header.
    fn refuse(
        &self,
        range: Range<usize>,
        header: &Header,
        front: usize,
        max_payload: usize,
    ) -> Result<(), DropReason> {
        let mtu = (max_payload + header.len).saturating_sub(front);
        let mut message = [0; MAX_ANSWER];
        let packet = &self.outbox.data()[range];
        let len = too_big::answer(packet, header, mtu, &mut message);
        if let Some(tun) = &self.tun {
            let pieces = std::iter::once(&message[..len]);
            if tun.device.write(&VnetHeader::default(), pieces).is_ok() {
                self.counters.add(Counter::TooBigSent, 1);
            }
        }
        Err(DropReason::PacketTooBig)
    }
}

/// The outer header gets what the inner one says (RFC 7402 appendix B.1.5; the ECN field too, in
/// RFC 6040's normal mode), as there is no inner header that could carry it.
fn marks(tun: Option<&EgressTun>, header: &Header) -> Marks {
    let policy = tun.map(|tun| tun.marks).unwrap_or_default();
    Marks {
        traffic_class: Some(policy.outer(header.traffic_class)),
        hop_limit: Some(header.hop_limit),
    }
}
