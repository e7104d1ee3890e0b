//! Which peers a frame of the LAN goes to.

use super::Egress;
use crate::{
    drops::DropReason,
    engine::clock::seconds,
    l2::{
        forwarding::{Outbound, Static},
        hello::{Extent, Hello},
        ownership::OwnerId,
    },
    packet::ethernet::{self, Header, TYPE_EXPERIMENTAL},
    stats::Counter,
};

impl Egress {
    /// Fill `targets` with the places of the peers that get the frame; the error says why it is none.
    pub(super) fn choose_targets(
        &mut self,
        segment: usize,
        frame: std::ops::Range<usize>,
        header: &Header,
        targets: &mut Vec<usize>,
    ) -> Result<(), DropReason> {
        let frame = &self.outbox.data()[frame];
        let seg = &self.segments[segment];
        let mut learning = true;
        if let Some(election) = &seg.election {
            if header.ethertype == TYPE_EXPERIMENTAL {
                return self.hello(segment, frame, header);
            }
            learning = election.extent() == Extent::Multicast || !election.is_passive(self.now_ms);
        }
        let mut reason = DropReason::NoPeer;
        let mut also = Static::None(reason);
        if !seg.ownership.is_idle() {
            match seg.ownership.outbound(frame, header)? {
                Outbound::Owner(id) => {
                    if learning {
                        seg.macs.forget(&header.source, header.vlan);
                    }
                    targets.extend(self.owner(segment, id));
                    return self.check(segment, targets, reason);
                }
                Outbound::Learned(and) => also = and,
            }
        }
        if !learning {
            reason = DropReason::ElectionLost;
        }
        let learned = self.learned(segment, header, learning);
        match learned {
            Some(place) if !self.peers.is_static(place) => {
                if learning {
                    targets.push(place);
                }
                return self.check(segment, targets, reason);
            }
            // It is behind a static peer, so no learning one has it.
            Some(_) => {}
            None if learning => targets.extend_from_slice(self.peers.members(segment)),
            None => {}
        }
        let ownership = &self.segments[segment].ownership;
        match also {
            Static::None(why) if learning => reason = why,
            Static::None(_) => {}
            Static::All => targets.extend_from_slice(self.peers.static_members(segment)),
            Static::Default(id) => targets.extend(self.owner(segment, id)),
            Static::Group => {
                let group = ownership.group().and_then(|hit| self.peers.find_hit(hit));
                targets.extend(group);
            }
        }
        self.check(segment, targets, reason)
    }

    /// Where a static peer is, if there is a security association with it.
    fn owner(&self, segment: usize, id: OwnerId) -> Option<usize> {
        let mut hits = self.segments[segment].ownership.hits(id).iter();
        hits.find_map(|hit| self.peers.find_hit(hit))
    }

    /// The peer behind which the destination was heard. `local`: what comes from the LAN is of the
    /// LAN, and was not delivered there by another endbox.
    fn learned(&self, segment: usize, header: &Header, local: bool) -> Option<usize> {
        let macs = &self.segments[segment].macs;
        if macs.is_empty() {
            return None;
        }
        if local {
            // What sends here is here, whatever was heard before.
            macs.forget(&header.source, header.vlan);
        }
        if ethernet::is_group(&header.destination) {
            return None;
        }
        let id = macs.lookup(&header.destination, header.vlan, seconds(self.now_ms))?;
        self.peers.find_id(id)
    }

    /// Take away the peers that are on this LAN themselves.
    fn check(
        &self,
        segment: usize,
        targets: &mut Vec<usize>,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        if targets.is_empty() {
            return Err(reason);
        }
        if self.segments[segment].election.is_some() {
            targets.retain(|place| !self.peers.is_on_lan(*place, self.now_ms));
            if targets.is_empty() {
                return Err(DropReason::SameLan);
            }
        }
        Ok(())
    }

    /// What another endbox of the LAN says. It goes no further, as none is believed from a tunnel.
    fn hello(&self, segment: usize, frame: &[u8], header: &Header) -> Result<(), DropReason> {
        let election = self.segments[segment].election.as_ref();
        let (Some(election), Some(hello)) = (election, Hello::parse(frame, header)) else {
            return Err(DropReason::BadHello);
        };
        if !election.hear(&hello, self.now_ms) {
            return Err(DropReason::BadHello);
        }
        self.counters.add(Counter::HellosHeard, 1);
        self.peers.heard_on_lan(&hello, self.now_ms);
        Ok(())
    }
}
