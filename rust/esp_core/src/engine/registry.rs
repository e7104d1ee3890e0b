//! What is installed, as the control plane knows it.

use std::{
    collections::{hash_map::RandomState, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

use super::{
    error::EngineError,
    peer::{self, Peer, SaCounters, MAX_PEERS},
    used_keys::UsedKeys,
    PacketForm, SaParameters, SaPath,
};
use crate::beet::{Hit, Lsi};

/// Which way packets of a security association travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    In,
    Out,
}

/// Names a security association. The SPI of an outbound one is the peer's choice, so two peers
/// may choose the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SaKey {
    In(u32),
    Out(Hit, u32),
}

impl SaKey {
    #[must_use]
    pub(super) fn new(direction: Direction, spi: u32, peer_hit: Hit) -> Self {
        match direction {
            Direction::In => Self::In(spi),
            Direction::Out => Self::Out(peer_hit, spi),
        }
    }
}

/// An installed security association.
#[derive(Debug)]
pub(super) struct SaEntry {
    pub direction: Direction,
    pub spi: u32,
    pub suite: u16,
    pub local_hit: Hit,
    pub peer_hit: Hit,
    pub path: SaPath,
    pub counters: Arc<SaCounters>,
    form: PacketForm,
    fingerprint: u64,
}

struct PeerEntry {
    peer: Arc<Peer>,
    sas: usize,
}

/// Peers, security associations and LSIs.
#[derive(Default)]
pub(super) struct Registry {
    peers: HashMap<Hit, PeerEntry>,
    /// For each place how many tenants it has had.
    tenants: Vec<u32>,
    free: Vec<usize>,
    sas: HashMap<SaKey, SaEntry>,
    lsis: HashMap<Lsi, Hit>,
    used_keys: UsedKeys,
    hasher: RandomState,
}

impl Registry {
    /// The peer with a HIT, as long as it has a security association or an LSI.
    #[must_use]
    pub(super) fn peer(&self, hit: &Hit) -> Option<&Arc<Peer>> {
        self.peers.get(hit).map(|entry| &entry.peer)
    }

    /// All peers by their ids.
    #[must_use]
    pub(super) fn hits_by_id(&self) -> HashMap<u32, Hit> {
        let peers = self.peers.iter();
        peers.map(|(hit, entry)| (entry.peer.id, *hit)).collect()
    }

    pub(super) fn sas(&self) -> impl Iterator<Item = &SaEntry> {
        self.sas.values()
    }

    #[must_use]
    pub(super) fn sa(&mut self, key: SaKey) -> Option<&mut SaEntry> {
        self.sas.get_mut(&key)
    }

    /// Whether this very security association is installed, with the same keys. Installing it
    /// again would begin anew with sequence number 1, which must not happen (RFC 4303 §3.3.3).
    #[must_use]
    pub(super) fn is_installed(&self, sa: &SaParameters<'_>) -> bool {
        let key = SaKey::new(sa.direction, sa.spi, sa.peer_hit);
        let fingerprint = self.fingerprint(sa);
        self.sas.get(&key).is_some_and(|entry| {
            (entry.fingerprint, entry.suite, entry.form) == (fingerprint, sa.suite, sa.form)
        })
    }

    /// Enter a security association, in place of one of the same name; returns its peer and
    /// counters. Keys that were in use before are refused.
    pub(super) fn add_sa(
        &mut self,
        sa: &SaParameters<'_>,
    ) -> Result<(Arc<Peer>, Arc<SaCounters>), EngineError> {
        let fingerprint = self.fingerprint(sa);
        if !self.used_keys.take(fingerprint) {
            return Err(EngineError::Invalid(
                "the keys were in use before, and may not begin anew".into(),
            ));
        }
        let peer = match self.get_or_add_peer(sa.peer_hit) {
            Ok(peer) => peer,
            Err(error) => {
                self.used_keys.retire(fingerprint);
                return Err(error);
            }
        };
        let key = SaKey::new(sa.direction, sa.spi, sa.peer_hit);
        if let Some(entry) = self.peers.get_mut(&sa.peer_hit) {
            entry.sas += 1;
        }
        let counters = Arc::new(SaCounters::default());
        let entry = SaEntry {
            direction: sa.direction,
            spi: sa.spi,
            suite: sa.suite,
            local_hit: sa.local_hit,
            peer_hit: sa.peer_hit,
            path: sa.path.clone(),
            counters: counters.clone(),
            form: sa.form,
            fingerprint,
        };
        if let Some(old) = self.sas.insert(key, entry) {
            self.used_keys.retire(old.fingerprint);
            self.release(&old.peer_hit);
        }
        Ok((peer, counters))
    }

    /// Forget a security association; false if there is none of this name.
    pub(super) fn remove_sa(&mut self, key: SaKey) -> bool {
        match self.sas.remove(&key) {
            Some(entry) => {
                self.used_keys.retire(entry.fingerprint);
                self.release(&entry.peer_hit);
                true
            }
            None => false,
        }
    }

    /// Name a peer by an LSI, which no other peer has from now on.
    pub(super) fn set_lsi(&mut self, lsi: Lsi, hit: Hit) -> Result<Arc<Peer>, EngineError> {
        let peer = self.get_or_add_peer(hit)?;
        if let Some(old) = peer.lsi().filter(|old| *old != lsi) {
            self.lsis.remove(&old);
        }
        let before = self.lsis.insert(lsi, hit);
        peer.set_lsi(Some(lsi));
        if let Some(other) = before.filter(|other| *other != hit) {
            self.unname(&other);
        }
        Ok(peer)
    }

    pub(super) fn remove_lsi(&mut self, lsi: Lsi) {
        if let Some(hit) = self.lsis.remove(&lsi) {
            self.unname(&hit);
        }
    }

    fn unname(&mut self, hit: &Hit) {
        if let Some(entry) = self.peers.get(hit) {
            entry.peer.set_lsi(None);
        }
        self.vacate(hit);
    }

    fn get_or_add_peer(&mut self, hit: Hit) -> Result<Arc<Peer>, EngineError> {
        if let Some(entry) = self.peers.get(&hit) {
            return Ok(entry.peer.clone());
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.tenants.len() < MAX_PEERS => {
                self.tenants.push(0);
                self.tenants.len() - 1
            }
            None => return Err(EngineError::Invalid("there are too many peers".into())),
        };
        self.tenants[place] = self.tenants[place].wrapping_add(1).max(1);
        let peer = Arc::new(Peer::new(peer::id(place, self.tenants[place]), hit));
        let entry = PeerEntry {
            peer: peer.clone(),
            sas: 0,
        };
        self.peers.insert(hit, entry);
        Ok(peer)
    }

    /// A security association of a peer is gone.
    fn release(&mut self, hit: &Hit) {
        if let Some(entry) = self.peers.get_mut(hit) {
            entry.sas -= 1;
        }
        self.vacate(hit);
    }

    /// Forget a peer that has neither a security association nor an LSI.
    fn vacate(&mut self, hit: &Hit) {
        let unused = self
            .peers
            .get(hit)
            .is_some_and(|entry| entry.sas == 0 && entry.peer.lsi().is_none());
        if unused {
            if let Some(entry) = self.peers.remove(hit) {
                self.free.push(peer::place(entry.peer.id));
            }
        }
    }

    /// What tells keys apart without being them. Outbound ones are the same whatever the SPI is, as
    /// it is no part of a nonce; inbound packets of another SPI are not authentic.
    fn fingerprint(&self, sa: &SaParameters<'_>) -> u64 {
        let name = match sa.direction {
            Direction::In => Some(sa.spi),
            Direction::Out => None,
        };
        self.hasher
            .hash_one((name, sa.encryption_key, sa.authentication_key))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn parameters(direction: Direction, spi: u32, peer: u8, key: &[u8]) -> SaParameters<'_> {
        SaParameters {
            direction,
            spi,
            suite: 13,
            encryption_key: key,
            authentication_key: &[],
            local_hit: [1; 16],
            peer_hit: [peer; 16],
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
            form: PacketForm::default(),
        }
    }

    #[test]
    fn a_peer_lives_as_long_as_anything_names_it() {
        let mut registry = Registry::default();
        let sa = parameters(Direction::Out, 300, 7, b"k");
        let (peer, _) = registry.add_sa(&sa).unwrap();
        registry.set_lsi([1, 0, 0, 7], [7; 16]).unwrap();
        assert!(registry.remove_sa(SaKey::Out([7; 16], 300)));
        assert!(!registry.remove_sa(SaKey::Out([7; 16], 300)));
        assert_eq!(registry.peer(&[7; 16]).unwrap().id, peer.id);
        registry.remove_lsi([1, 0, 0, 7]);
        assert!(registry.peer(&[7; 16]).is_none());
        let (next, _) = registry
            .add_sa(&parameters(Direction::Out, 300, 8, b"l"))
            .unwrap();
        assert_eq!(peer::place(next.id), peer::place(peer.id));
        assert_ne!(
            next.id, peer.id,
            "MAC addresses of the old one are not the new one's"
        );
    }

    #[test]
    fn an_lsi_has_one_peer_and_a_peer_one_lsi() {
        let mut registry = Registry::default();
        let first = registry.set_lsi([1, 0, 0, 1], [1; 16]).unwrap();
        let second = registry.set_lsi([1, 0, 0, 1], [2; 16]).unwrap();
        assert_eq!((first.lsi(), second.lsi()), (None, Some([1, 0, 0, 1])));
        assert!(registry.peer(&[1; 16]).is_none());
        registry.set_lsi([1, 0, 0, 9], [2; 16]).unwrap();
        assert_eq!(second.lsi(), Some([1, 0, 0, 9]));
        registry.remove_lsi([1, 0, 0, 1]);
        assert_eq!(second.lsi(), Some([1, 0, 0, 9]));
    }

    #[test]
    fn the_same_keys_are_recognised() {
        let mut registry = Registry::default();
        let sa = parameters(Direction::In, 300, 7, b"k");
        assert!(!registry.is_installed(&sa));
        registry.add_sa(&sa).unwrap();
        assert!(registry.is_installed(&sa));
        assert!(!registry.is_installed(&parameters(Direction::In, 300, 7, b"other")));
        assert!(!registry.is_installed(&parameters(Direction::Out, 300, 7, b"k")));
        let other = SaParameters {
            form: PacketForm {
                framing: crate::l2::framing::Framing::Ethernet,
                ..PacketForm::default()
            },
            ..sa
        };
        assert!(!registry.is_installed(&other));
    }

    #[test]
    fn no_keys_begin_anew() {
        let mut registry = Registry::default();
        let add = |registry: &mut Registry, direction, spi, suite| {
            let sa = SaParameters {
                suite,
                ..parameters(direction, spi, 7, b"k")
            };
            registry.add_sa(&sa).is_ok()
        };
        assert!(add(&mut registry, Direction::Out, 300, 13));
        assert!(add(&mut registry, Direction::In, 300, 13));
        for _ in 0..2 {
            // Neither under another SPI, nor with a longer ICV, nor after they were removed.
            assert!(!add(&mut registry, Direction::Out, 301, 13));
            assert!(!add(&mut registry, Direction::Out, 300, 12));
            assert!(!add(&mut registry, Direction::Out, 300, 13));
            assert!(!add(&mut registry, Direction::In, 300, 13));
            registry.remove_sa(SaKey::Out([7; 16], 300));
            registry.remove_sa(SaKey::In(300));
        }
        assert!(
            registry.peer(&[7; 16]).is_none(),
            "what is refused leaves nothing"
        );
    }

    #[test]
    fn an_inbound_spi_that_passes_to_another_peer() {
        let mut registry = Registry::default();
        registry
            .add_sa(&parameters(Direction::In, 300, 7, b"a"))
            .unwrap();
        registry
            .add_sa(&parameters(Direction::In, 300, 8, b"b"))
            .unwrap();
        assert_eq!(registry.sas().count(), 1);
        assert!(registry.peer(&[7; 16]).is_none());
        assert!(registry.peer(&[8; 16]).is_some());
    }
}
