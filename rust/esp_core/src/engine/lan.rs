//! What a segment knows beyond MAC addresses: configured owners of addresses, and the election among
//! the endboxes of one LAN.

use std::sync::Arc;

use super::{clock::seconds, error::EngineError, Engine, Inner, Phase, Segment};
use crate::{
    beet::Hit,
    l2::{
        hello::{Election, Extent, HELLO_LEN},
        ownership::{Ownership, OwnershipParameters, Standing},
    },
    offload::VnetHeader,
    packet::ethernet::Mac,
};

/// MAC addresses announced at once; a LAN with more of them learns the rest as they send.
const ANNOUNCED_MAX: usize = 4096;
const REVERSE_ARP_LEN: usize = 60;

/// A reverse ARP request of a host about itself (RFC 903): what switches learn by and hosts ignore.
fn reverse_arp(mac: &Mac) -> [u8; REVERSE_ARP_LEN] {
    let mut frame = [0; REVERSE_ARP_LEN];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(mac);
    frame[12..22].copy_from_slice(&[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
    frame[22..28].copy_from_slice(mac);
    frame[32..38].copy_from_slice(mac);
    frame
}

/// How a segment takes part in the election on its LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionParameters {
    /// The HIT to stand with.
    pub hit: Hit,
    /// Seconds between own hellos.
    pub interval_s: u32,
    /// The MAC address of the TAP.
    pub mac: Mac,
    pub extent: Extent,
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionLine {
    /// Another endbox delivers, or this one is still listening.
    pub passive: bool,
    /// Who won over this endbox last.
    pub winner: Option<Hit>,
    /// Hellos heard so far.
    pub heard: u64,
}

impl Engine {
    /// Tell a segment whom addresses belong to, and whether there is an election; before the start.
    pub fn set_lan(
        &self,
        segment: u32,
        ownership: OwnershipParameters,
        election: Option<ElectionParameters>,
    ) -> Result<(), EngineError> {
        let now_ms = self.clock.now_ms();
        let mut inner = self.lock();
        if !matches!(inner.phase, Phase::Setup { .. }) {
            return Err(EngineError::State("the engine was started already"));
        }
        let ownership = Arc::new(Ownership::new(ownership).map_err(EngineError::Invalid)?);
        let index = inner.index_of(segment)?;
        let segment = &mut inner.segments[index];
        segment.ownership = ownership;
        segment.election = election.map(|election| {
            let ElectionParameters {
                hit,
                interval_s,
                mac,
                extent,
            } = election;
            Arc::new(Election::new(hit, interval_s, mac, extent, now_ms))
        });
        Ok(())
    }

    /// Say hello on the LAN of a segment that takes part in an election.
    pub fn say_hello(&self, segment: u32) -> Result<(), EngineError> {
        let (device, hello) = {
            let inner = self.lock();
            let segment = &inner.segments[inner.index_of(segment)?];
            let election = segment.election()?;
            (segment.device.clone(), election.hello())
        };
        let hello: &[u8; HELLO_LEN] = &hello;
        device
            .write(&VnetHeader::default(), std::iter::once(&hello[..]))
            .map_err(|error| EngineError::System("say hello on the LAN", error))
    }

    /// Tell the switches of a segment's LAN that what was learned from peers is behind this host
    /// now, where another one delivered before: a frame from each MAC address. Returns how many.
    pub fn announce_macs(&self, segment: u32) -> Result<usize, EngineError> {
        let (device, entries) = {
            let inner = self.lock();
            let segment = &inner.segments[inner.index_of(segment)?];
            let entries = segment.macs.entries(seconds(self.clock.now_ms()));
            (segment.device.clone(), entries)
        };
        let mut count = 0;
        for entry in entries.iter().filter(|entry| entry.vlan == 0) {
            let frame = reverse_arp(&entry.mac);
            device
                .write(&VnetHeader::default(), std::iter::once(&frame[..]))
                .map_err(|error| EngineError::System("announce MAC addresses", error))?;
            count += 1;
            if count == ANNOUNCED_MAX {
                break;
            }
        }
        Ok(count)
    }

    /// How the election of a segment stands.
    pub fn election(&self, segment: u32) -> Result<ElectionLine, EngineError> {
        let now_ms = self.clock.now_ms();
        let inner = self.lock();
        let election = inner.segments[inner.index_of(segment)?].election()?;
        Ok(ElectionLine {
            passive: election.is_passive(now_ms),
            winner: election.winner(),
            heard: election.heard(),
        })
    }

    /// Have both directions of the data path take a turn; returns whether the sending and the
    /// receiving one have done so since the last call. What has not is stuck, or ended.
    #[must_use]
    pub fn pulse(&self) -> (bool, bool) {
        (self.egress.pulse(), self.ingress.pulse())
    }
}

impl Inner {
    /// How a peer takes part in a segment.
    pub(super) fn standing(&self, segment: Option<usize>, peer: &Hit) -> Standing {
        segment.map_or(Standing::Learning, |index| {
            self.segments[index].ownership.standing(peer)
        })
    }

    /// The index of a numbered segment.
    pub(super) fn index_of(&self, number: u32) -> Result<usize, EngineError> {
        self.segment(number)?
            .ok_or_else(|| EngineError::Invalid("segments are numbered from 1".into()))
    }
}

impl Segment {
    fn election(&self) -> Result<&Arc<Election>, EngineError> {
        self.election
            .as_ref()
            .ok_or(EngineError::State("there is no election on this segment"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_asks_for_its_own_address() {
        let frame = reverse_arp(&[2, 0, 0, 0, 0, 7]);
        assert_eq!(frame[6..14], [2, 0, 0, 0, 0, 7, 0x80, 0x35]);
        assert_eq!(frame[22..28], frame[32..38]);
        assert_eq!(frame[28..32], [0; 4]);
    }
}
