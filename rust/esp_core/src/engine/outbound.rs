//! Outbound security associations, and the peers that they lead to.

use std::{collections::HashMap, sync::Arc};

use super::{
    peer::{self, Peer, SaCounters},
    SaParameters,
};
use crate::{
    beet::Hit,
    drops::DropReason,
    esp::{Sealer, Unsealed},
    l2::{framing::Framing, hello::Hello, mac_table::PeerId, ownership::Standing},
    sys::send::Route,
};

/// Where the packets of a security association go.
#[derive(Clone, Debug)]
pub(super) struct OutboundPath {
    /// The engine's socket.
    pub socket: usize,
    pub route: Route,
    /// Octets of the largest ESP packet that fits.
    pub room: usize,
    /// Octets of the headers in front of it.
    pub overhead: usize,
    /// The peer has been proven to be there; else it needs credit (RFC 8046 §5.6).
    pub verified: bool,
    /// As in `SaPath`.
    pub wire_spi: u32,
}

/// One outbound security association. Belongs to the sending thread.
pub(super) struct OutboundSa {
    /// Boxed, so that moving this leaves no copy of the keys behind.
    sealer: Box<Sealer>,
    next_sequence: u64,
    last_sequence: u64,
    next_fragment: u32,
    max_payload: usize,
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
    path: OutboundPath,
    counters: Arc<SaCounters>,
}

impl OutboundSa {
    #[must_use]
    pub(super) fn new(
        sealer: Sealer,
        sa: &SaParameters<'_>,
        peer: Arc<Peer>,
        segment: Option<usize>,
        path: OutboundPath,
        counters: Arc<SaCounters>,
    ) -> Self {
        Self {
            max_payload: sealer.max_payload(path.room),
            sealer: Box::new(sealer),
            next_sequence: 1,
            last_sequence: sa.form.format.last_sequence(),
            next_fragment: 1,
            framing: sa.form.framing,
            begins_by_lsi: sa.form.begins_by_lsi,
            peer,
            local_hit: sa.local_hit,
            segment,
            standing: Standing::Learning,
            path,
            counters,
        }
    }

    #[must_use]
    pub(super) fn spi(&self) -> u32 {
        self.sealer.spi()
    }

    #[must_use]
    pub(super) fn path(&self) -> &OutboundPath {
        &self.path
    }

    pub(super) fn set_path(&mut self, path: OutboundPath) {
        self.max_payload = self.sealer.max_payload(path.room);
        self.path = path;
    }

    /// Octets in front of the payload.
    #[must_use]
    pub(super) fn header_len(&self) -> usize {
        self.sealer.header_len()
    }

    /// Octets of the packet that carries a payload.
    #[must_use]
    pub(super) fn sealed_len(&self, payload_len: usize) -> usize {
        self.sealer.sealed_len(payload_len)
    }

    /// Octets of the largest payload that fits the path.
    #[must_use]
    pub(super) fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Octets of the largest Ethernet frame that fits the path in one piece.
    #[must_use]
    pub(super) fn frame_room(&self) -> usize {
        self.max_payload.saturating_sub(self.framing.header().len())
    }

    /// A number for the pieces of one payload.
    pub(super) fn fragment_identification(&mut self) -> u32 {
        let number = self.next_fragment;
        self.next_fragment = number.wrapping_add(1);
        number
    }

    /// Seal the payloads that lie behind `header_len()` octets in their buffers and have the lengths
    /// beside them; all or none. Each packet is `sealed_len` octets long then.
    pub(crate) fn seal<const N: usize>(
        &mut self,
        next_header: u8,
        payloads: [(&mut [u8], usize); N],
        now_ms: u64,
    ) -> Result<(), DropReason> {
        if !self.path.verified {
            let lens = payloads.iter().map(|(_, len)| self.sealed_len(*len));
            let octets = lens.map(|len| self.path.overhead + len).sum();
            if !self.peer.credit.spend(octets, now_ms) {
                return Err(DropReason::NoCredit);
            }
        }
        let first = self.next_sequence;
        // The numbers are used up whatever happens: none may ever come twice.
        self.next_sequence = first
            .checked_add(N as u64)
            .filter(|next| *next - 1 <= self.last_sequence)
            .ok_or(DropReason::SequenceExhausted)?;
        let mut sequence = first;
        let mut octets = 0;
        let mut packets = payloads.map(|(buf, payload_len)| {
            let packet = Unsealed {
                seq: sequence,
                next_header,
                buf,
                payload_len,
            };
            sequence += 1;
            octets += payload_len;
            packet
        });
        self.sealer
            .seal_batch(&mut packets)
            .map_err(|_| DropReason::SealFailed)?;
        if self.path.wire_spi != 0 {
            for packet in &mut packets {
                packet.buf[..4].copy_from_slice(&self.path.wire_spi.to_be_bytes());
            }
        }
        self.counters.packets(N, octets, sequence - 1, now_ms);
        Ok(())
    }
}

/// The security associations of one peer; the newest carries its traffic.
pub(super) struct OutboundPeer {
    pub id: PeerId,
    hit: Hit,
    sas: Vec<OutboundSa>,
    /// The list of those that take a segment's frames, and its index there.
    member: Option<(usize, usize)>,
}

impl OutboundPeer {
    /// The one in use.
    pub(super) fn current(&mut self) -> Option<&mut OutboundSa> {
        self.sas.last_mut()
    }
}

/// All peers that can be sent to. Belongs to the sending thread.
#[derive(Default)]
pub(super) struct OutboundPeers {
    places: Vec<Option<OutboundPeer>>,
    by_hit: HashMap<Hit, usize>,
    /// For each segment the places of the learning peers that take its frames, then of the static
    /// ones.
    members: Vec<Vec<usize>>,
}

impl OutboundPeers {
    #[must_use]
    pub(super) fn new(segments: usize) -> Self {
        Self {
            members: vec![Vec::new(); segments * 2],
            ..Self::default()
        }
    }

    /// Add a security association: it takes over its peer's traffic.
    pub(super) fn add(&mut self, sa: OutboundSa) -> usize {
        let place = peer::place(sa.peer.id);
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        if self.places[place]
            .as_ref()
            .is_some_and(|peer| peer.id != sa.peer.id)
        {
            self.clear(place);
        }
        self.by_hit.insert(sa.peer.hit, place);
        let peer = self.places[place].get_or_insert_with(|| OutboundPeer {
            id: sa.peer.id,
            hit: sa.peer.hit,
            sas: Vec::with_capacity(2),
            member: None,
        });
        peer.sas.retain(|old| old.spi() != sa.spi());
        peer.sas.push(sa);
        self.renew(place);
        place
    }

    pub(super) fn set_path(&mut self, hit: &Hit, spi: u32, path: OutboundPath) {
        let Some(place) = self.find_hit(hit) else {
            return;
        };
        let sas = self.places[place].iter_mut().flat_map(|peer| &mut peer.sas);
        for sa in sas.filter(|sa| sa.spi() == spi) {
            sa.set_path(path.clone());
        }
        self.renew(place);
    }

    pub(super) fn remove(&mut self, hit: &Hit, spi: u32) {
        let Some(place) = self.find_hit(hit) else {
            return;
        };
        if let Some(peer) = &mut self.places[place] {
            peer.sas.retain(|sa| sa.spi() != spi);
            if peer.sas.is_empty() {
                self.clear(place);
            }
        }
        self.renew(place);
    }

    #[must_use]
    pub(super) fn find_hit(&self, hit: &Hit) -> Option<usize> {
        self.by_hit.get(hit).copied()
    }

    /// The place of a peer, unless another has it by now.
    #[must_use]
    pub(super) fn find_id(&self, id: PeerId) -> Option<usize> {
        let place = peer::place(id);
        let peer = self.places.get(place)?.as_ref()?;
        (peer.id == id).then_some(place)
    }

    /// The learning peers that take the frames of a segment.
    #[must_use]
    pub(super) fn members(&self, segment: usize) -> &[usize] {
        &self.members[segment * 2]
    }

    /// The static peers that take the frames of a segment.
    #[must_use]
    pub(super) fn static_members(&self, segment: usize) -> &[usize] {
        &self.members[segment * 2 + 1]
    }

    /// Whether the peer at a place is none that learns.
    #[must_use]
    pub(super) fn is_static(&self, place: usize) -> bool {
        self.newest(place)
            .is_some_and(|sa| sa.standing != Standing::Learning)
    }

    /// Whether the peer at a place was heard on this host's own LAN.
    #[must_use]
    pub(super) fn is_on_lan(&self, place: usize, now_ms: u64) -> bool {
        self.newest(place)
            .is_some_and(|sa| sa.peer.is_on_lan(now_ms))
    }

    /// A peer says that it is on this host's own LAN.
    pub(super) fn heard_on_lan(&self, hello: &Hello, now_ms: u64) {
        let place = self.find_hit(&hello.hit);
        if let Some(sa) = place.and_then(|place| self.newest(place)) {
            sa.peer.heard_on_lan(hello, now_ms);
        }
    }

    fn newest(&self, place: usize) -> Option<&OutboundSa> {
        self.places.get(place)?.as_ref()?.sas.last()
    }

    /// The security association that carries the traffic of the peer at a place.
    pub(super) fn current(&mut self, place: usize) -> Option<&mut OutboundSa> {
        self.places.get_mut(place)?.as_mut()?.current()
    }

    fn clear(&mut self, place: usize) {
        self.leave(place);
        if let Some(peer) = self.places[place].take() {
            self.by_hit.remove(&peer.hit);
        }
    }

    /// A peer's current security association has changed: adjust what follows from it.
    fn renew(&mut self, place: usize) {
        let Some(peer) = self.places.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        let member = peer.member.map(|(list, _)| list);
        let Some(current) = peer.current() else {
            return;
        };
        current.peer.set_frame_room(current.frame_room());
        let list = current.segment.and_then(|segment| match current.standing {
            Standing::Learning => Some(segment * 2),
            Standing::Static(_) => Some(segment * 2 + 1),
            // Nothing is flooded to it.
            Standing::Group => None,
        });
        if member == list {
            return;
        }
        self.leave(place);
        if let (Some(list), Some(peer)) = (list, &mut self.places[place]) {
            let members = &mut self.members[list];
            peer.member = Some((list, members.len()));
            members.push(place);
        }
    }

    /// Have a peer take no segment's frames, at a cost that does not grow with their number.
    fn leave(&mut self, place: usize) {
        let peer = self.places[place].as_mut();
        let Some((list, index)) = peer.and_then(|peer| peer.member.take()) else {
            return;
        };
        let members = &mut self.members[list];
        members.swap_remove(index);
        let moved = members
            .get(index)
            .and_then(|moved| self.places[*moved].as_mut());
        if let Some(moved) = moved {
            moved.member = Some((list, index));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        engine::{Direction, PacketForm, SaPath},
        layout::Format,
        suite::Suite,
    };

    fn sa_of(
        peer: &Arc<Peer>,
        spi: u32,
        segment: Option<usize>,
        suite: Suite,
        form: PacketForm,
    ) -> OutboundSa {
        let (enc_key, auth_key) = (
            vec![7; suite.encryption_key_len()],
            vec![8; suite.authentication_key_len()],
        );
        let sealer = Sealer::with_format(suite, &form.format, spi, &enc_key, &auth_key).unwrap();
        let path = OutboundPath {
            socket: 0,
            route: Route {
                remote: (Ipv4Addr::LOCALHOST.into(), 10500).into(),
                v6: false,
                source: None,
                interface: 0,
                traffic_class: None,
                hop_limit: None,
            },
            room: 1472,
            overhead: 28,
            verified: true,
            wire_spi: 0,
        };
        let parameters = SaParameters {
            direction: Direction::Out,
            spi,
            suite: suite.id(),
            encryption_key: &enc_key,
            authentication_key: &auth_key,
            local_hit: [1; 16],
            peer_hit: peer.hit,
            path: SaPath {
                local: None,
                remote: Ipv4Addr::LOCALHOST.into(),
                udp: true,
                local_port: 10500,
                remote_port: 10500,
                mtu: 1500,
                interface: 0,
                verified: true,
                wire_spi: 0,
            },
            segment: 0,
            replay_window: 64,
            form,
        };
        let peer = peer.clone();
        OutboundSa::new(sealer, &parameters, peer, segment, path, Arc::default())
    }

    fn sa(peer: &Arc<Peer>, spi: u32, segment: Option<usize>) -> OutboundSa {
        sa_of(peer, spi, segment, Suite::AesGcm16, PacketForm::default())
    }

    fn peer(place: usize, tenant: u32) -> Arc<Peer> {
        Arc::new(Peer::new(peer::id(place, tenant), [place as u8 + 1; 16]))
    }

    #[test]
    fn the_first_number_is_1_and_none_comes_twice() {
        let mut sa = sa(&peer(0, 1), 300, None);
        let (mut a, mut b) = ([0; 200], [0; 200]);
        sa.seal(97, [(&mut a, 100)], 0).unwrap();
        assert_eq!(a[4..8], 1u32.to_be_bytes());
        sa.seal(97, [(&mut a, 100), (&mut b, 7)], 0).unwrap();
        assert_eq!((a[7], b[7]), (2, 3));
        assert!(sa.seal(97, [(&mut a[..50], 100)], 0).is_err());
        sa.seal(97, [(&mut a, 100)], 0).unwrap();
        assert_eq!(a[7], 5, "a failure uses its number up");
        let numbers = sa.counters.read();
        assert_eq!(
            (numbers.packets, numbers.bytes, numbers.sequence),
            (4, 307, 5)
        );
    }

    #[test]
    fn it_stops_before_its_numbers_end() {
        let mut sa = sa(&peer(0, 1), 300, None);
        sa.next_sequence = u64::MAX - 1;
        let mut buf = [0; 200];
        sa.seal(97, [(&mut buf, 100)], 0).unwrap();
        for _ in 0..3 {
            assert_eq!(
                sa.seal(97, [(&mut buf, 100)], 0),
                Err(DropReason::SequenceExhausted)
            );
        }
    }

    #[test]
    fn without_esn_it_stops_before_its_32_bits_wrap() {
        let form = PacketForm {
            format: Format {
                esn: false,
                ..Format::default()
            },
            ..PacketForm::default()
        };
        let mut sa = sa_of(&peer(0, 1), 300, None, Suite::Aes128CbcSha1, form);
        sa.next_sequence = u64::from(u32::MAX) - 1;
        let (mut a, mut b) = ([0; 200], [0; 200]);
        sa.seal(97, [(&mut a, 100), (&mut b, 100)], 0).unwrap();
        assert_eq!(b[4..8], [0xff; 4]);
        for _ in 0..3 {
            let refused = sa.seal(97, [(&mut a, 100)], 0);
            assert_eq!(refused, Err(DropReason::SequenceExhausted));
        }
        assert_eq!(sa.counters.read().sequence, u64::from(u32::MAX));
    }

    #[test]
    fn an_unverified_path_needs_credit_for_whole_packets() {
        let peer = peer(0, 1);
        let mut sa = sa(&peer, 300, None);
        let unverified = OutboundPath {
            verified: false,
            ..sa.path().clone()
        };
        let size = sa.sealed_len(100) + 28;
        sa.set_path(unverified.clone());
        let (mut a, mut b) = ([0; 200], [0; 200]);
        assert_eq!(sa.seal(97, [(&mut a, 100)], 0), Err(DropReason::NoCredit));
        peer.credit.earn(3 * size - 1, 0);
        sa.seal(97, [(&mut a, 100), (&mut b, 100)], 0).unwrap();
        assert_eq!((a[7], b[7]), (1, 2), "what was refused has no number");
        assert_eq!(sa.seal(97, [(&mut a, 100)], 0), Err(DropReason::NoCredit));
        // Each security association of the peer counts, and what goes to a verified path does not.
        let mut other = self::sa(&peer, 301, None);
        other.seal(97, [(&mut a, 100)], 0).unwrap();
        other.set_path(unverified);
        peer.credit.earn(1, 0);
        other.seal(97, [(&mut a, 100)], 0).unwrap();
        assert_eq!(other.seal(97, [(&mut a, 0)], 0), Err(DropReason::NoCredit));
    }

    #[test]
    fn the_icv_is_over_the_spi_of_its_own() {
        for suite in [Suite::AesGcm16, Suite::Aes128CbcSha256, Suite::NullSha256] {
            let peer = peer(0, 1);
            let seal = |wire_spi| {
                let mut sa = sa_of(&peer, 300, None, suite, PacketForm::default());
                let path = OutboundPath {
                    wire_spi,
                    ..sa.path().clone()
                };
                sa.set_path(path);
                let (mut a, mut b) = ([0; 200], [0; 200]);
                sa.seal(97, [(&mut a, 100), (&mut b, 100)], 0).unwrap();
                let len = sa.sealed_len(100);
                [a, b].map(|packet| packet[..len].to_vec())
            };
            let (own, put) = (seal(0), seal(0x1234_5678));
            for (own, mut put) in own.into_iter().zip(put) {
                assert_eq!(own[..4], 300u32.to_be_bytes());
                assert_eq!(put[..4], [0x12, 0x34, 0x56, 0x78]);
                put[..4].copy_from_slice(&own[..4]);
                if suite != Suite::Aes128CbcSha256 {
                    assert_eq!(put, own, "the router puts the SPI back");
                }
            }
        }
    }

    #[test]
    fn members_come_and_go_in_any_order() {
        let mut peers = OutboundPeers::new(2);
        let all: Vec<_> = (0..20).map(|n| peer(n, 1)).collect();
        for (n, peer) in all.iter().enumerate() {
            peers.add(sa(peer, 300, Some(n % 2)));
        }
        // Some go, some change the segment, some are rekeyed.
        for (n, peer) in all.iter().enumerate() {
            match n % 3 {
                0 => peers.remove(&peer.hit, 300),
                1 => _ = peers.add(sa(peer, 301, Some(0))),
                _ => _ = peers.add(sa(peer, 301, Some(n % 2))),
            }
        }
        for segment in 0..2 {
            let mut members = peers.members(segment).to_vec();
            members.sort_unstable();
            let expected = (0..20).filter(|n| match n % 3 {
                0 => false,
                1 => segment == 0,
                _ => n % 2 == segment,
            });
            assert_eq!(members, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_newest_takes_over_until_it_goes() {
        let mut peers = OutboundPeers::new(2);
        let peer = peer(3, 1);
        let place = peers.add(sa(&peer, 300, Some(0)));
        assert_eq!(peers.members(0), [place]);
        peers.add(sa(&peer, 301, Some(1)));
        assert_eq!(peers.current(place).unwrap().spi(), 301);
        assert_eq!(
            (peers.members(0), peers.members(1)),
            (&[][..], &[place][..])
        );
        peers.remove(&peer.hit, 301);
        assert_eq!(peers.current(place).unwrap().spi(), 300);
        assert_eq!(peers.members(0), [place]);
        peers.remove(&peer.hit, 300);
        assert_eq!(peers.find_hit(&peer.hit), None);
        assert_eq!(peers.find_id(peer.id), None);
        assert!(peers.members(0).is_empty());
    }

    #[test]
    fn the_next_tenant_of_a_place_is_somebody_else() {
        let mut peers = OutboundPeers::new(1);
        let (first, second) = (peer(3, 1), peer(3, 2));
        peers.add(sa(&first, 300, Some(0)));
        peers.add(sa(&second, 301, Some(0)));
        assert_eq!(peers.find_id(first.id), None);
        assert_eq!(peers.find_id(second.id), Some(3));
        assert_eq!(peers.members(0), [3]);
    }
}
