//! Security associations, LSIs, tables and statistics: what is done while packets flow.

use std::{net::IpAddr, sync::Arc};

use super::{
    clock::seconds,
    command::{EgressCommand, IngressCommand},
    error::EngineError,
    inbound::InboundSa,
    outbound::{OutboundPath, OutboundSa},
    peer::SaNumbers,
    registry::{Direction, SaKey},
    socket::SocketKind,
    Engine, Inner, PacketForm, Phase, SaParameters, SaPath,
};
use crate::{
    beet::{Hit, Lsi},
    drops::DropReason,
    error::Error,
    esp::{Opener, Sealer},
    packet::{
        ethernet::Mac,
        ip::{UDP_HEADER_LEN, V4_HEADER_LEN, V6_HEADER_LEN},
    },
    stats::Counter,
    suite::Suite,
    sys::send::Route,
};

/// The smallest path that makes sense: what every IPv4 host takes (RFC 791).
const MIN_PATH_MTU: usize = 576;
const MAX_PATH_MTU: usize = 65_535;

/// A security association and what it has carried.
#[derive(Clone, Debug)]
pub struct SaLine {
    pub direction: Direction,
    pub spi: u32,
    pub suite: u16,
    pub local_hit: Hit,
    pub peer_hit: Hit,
    pub path: SaPath,
    pub numbers: SaNumbers,
    pub last_used_s: Option<f64>,
}

/// A MAC address and where it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacLine {
    pub mac: Mac,
    pub vlan: u16,
    pub peer_hit: Hit,
    pub age_s: u32,
}

impl Inner {
    fn check_not_stopped(&self) -> Result<(), EngineError> {
        match self.phase {
            Phase::Stopped => Err(EngineError::State("the engine is stopped")),
            _ => Ok(()),
        }
    }

    /// The engine's socket for a path, and everything else that sending needs.
    fn outbound_path(&self, path: &SaPath) -> Result<OutboundPath, EngineError> {
        let v6 = path.remote.is_ipv6();
        if path.local.is_some_and(|local| local.is_ipv6() != v6) {
            return Err(EngineError::Invalid(
                "local and remote address are of different families".into(),
            ));
        }
        if !(MIN_PATH_MTU..=MAX_PATH_MTU).contains(&path.mtu) {
            return Err(EngineError::Invalid(format!(
                "a path MTU is from {MIN_PATH_MTU} to {MAX_PATH_MTU} octets, not {}",
                path.mtu
            )));
        }
        let kind = if path.udp {
            SocketKind::Udp
        } else {
            SocketKind::Esp
        };
        let suitable = |socket: &&super::Socket| socket.kind == kind && socket.v6 == v6;
        let socket = self
            .sockets()
            .iter()
            .position(|socket| suitable(&socket) && socket.port == path.local_port)
            .or_else(|| self.sockets().iter().position(|socket| suitable(&socket)))
            .ok_or_else(|| {
                let (kind, family) = (
                    if path.udp { "UDP" } else { "raw ESP" },
                    if v6 { "IPv6" } else { "IPv4" },
                );
                EngineError::Invalid(format!("the engine has no {kind} socket for {family}"))
            })?;
        // A raw IPv6 socket refuses a port.
        let port = if path.udp { path.remote_port } else { 0 };
        let ip = if v6 { V6_HEADER_LEN } else { V4_HEADER_LEN };
        let udp = if path.udp { UDP_HEADER_LEN } else { 0 };
        Ok(OutboundPath {
            socket,
            route: Route {
                remote: (path.remote, port).into(),
                v6,
                source: path.local,
                interface: path.interface,
                traffic_class: None,
                hop_limit: None,
            },
            room: path.mtu - ip - udp,
            overhead: ip + udp,
            verified: path.verified,
            wire_spi: path.wire_spi,
        })
    }

    /// The index of a numbered segment; 0 is none.
    pub(super) fn segment(&self, number: u32) -> Result<Option<usize>, EngineError> {
        if number == 0 {
            return Ok(None);
        }
        let index = self
            .segments
            .iter()
            .position(|segment| segment.number == number);
        index
            .map(Some)
            .ok_or_else(|| EngineError::Invalid(format!("there is no segment {number}")))
    }
}

impl Engine {
    /// Install or replace a security association.
    ///
    /// Installing one that is there already, with the same keys, only gives it the new path: its
    /// sequence numbers and window go on. Keys that another one has or had are refused.
    pub fn add_sa(&self, sa: &SaParameters<'_>) -> Result<(), EngineError> {
        let suite = Suite::from_id(sa.suite).ok_or(Error::UnknownSuite(sa.suite))?;
        let mut inner = self.lock();
        inner.check_not_stopped()?;
        let segment = inner.segment(sa.segment)?;
        if inner.registry.is_installed(sa) {
            return self.repeat_sa(&mut inner, sa);
        }
        let PacketForm { format, .. } = &sa.form;
        if !sa.form.replay && format.esn {
            return Err(EngineError::Invalid(
                "extended sequence numbers need a replay window".into(),
            ));
        }
        let keys = (sa.encryption_key, sa.authentication_key);
        match sa.direction {
            Direction::Out => {
                let path = inner.outbound_path(&sa.path)?;
                let sealer = Sealer::with_format(suite, format, sa.spi, keys.0, keys.1)?;
                let (peer, counters) = inner.registry.add_sa(sa)?;
                let standing = inner.standing(segment, &sa.peer_hit);
                let mut sa = OutboundSa::new(sealer, sa, peer, segment, path, counters);
                sa.standing = standing;
                self.egress.send(EgressCommand::AddSa(Box::new(sa)));
            }
            Direction::In => {
                let opener = Opener::with_format(suite, format, sa.spi, keys.0, keys.1)?;
                let (peer, counters) = inner.registry.add_sa(sa)?;
                let standing = inner.standing(segment, &sa.peer_hit);
                let mut sa = InboundSa::new(opener, sa, peer, segment, counters);
                sa.standing = standing;
                self.ingress.send(IngressCommand::AddSa(Box::new(sa)));
            }
        }
        Ok(())
    }

    fn repeat_sa(&self, inner: &mut Inner, sa: &SaParameters<'_>) -> Result<(), EngineError> {
        match sa.direction {
            Direction::Out => self.move_in(inner, sa.spi, sa.peer_hit, &sa.path),
            Direction::In => {
                let key = SaKey::In(sa.spi);
                if let Some(entry) = inner.registry.sa(key) {
                    entry.path = sa.path.clone();
                }
                Ok(())
            }
        }
    }

    /// Send the packets of an outbound security association along another path.
    pub fn move_sa(&self, spi: u32, peer_hit: Hit, path: &SaPath) -> Result<(), EngineError> {
        self.move_in(&mut self.lock(), spi, peer_hit, path)
    }

    fn move_in(
        &self,
        inner: &mut Inner,
        spi: u32,
        peer_hit: Hit,
        path: &SaPath,
    ) -> Result<(), EngineError> {
        let outbound = inner.outbound_path(path)?;
        let entry = inner
            .registry
            .sa(SaKey::Out(peer_hit, spi))
            .ok_or_else(|| {
                EngineError::Invalid(format!(
                    "no outbound security association has SPI {spi:#010x}"
                ))
            })?;
        entry.path = path.clone();
        self.egress.send(EgressCommand::MoveSa {
            peer: peer_hit,
            spi,
            path: outbound,
        });
        Ok(())
    }

    /// Remove a security association, if it is there.
    pub fn remove_sa(&self, direction: Direction, spi: u32, peer_hit: Hit) {
        let mut inner = self.lock();
        if !inner
            .registry
            .remove_sa(SaKey::new(direction, spi, peer_hit))
        {
            return;
        }
        match direction {
            Direction::Out => self.egress.send(EgressCommand::RemoveSa {
                peer: peer_hit,
                spi,
            }),
            Direction::In => self.ingress.send(IngressCommand::RemoveSa { spi }),
        }
    }

    /// Name a peer by an LSI.
    pub fn set_lsi(&self, lsi: Lsi, peer_hit: Hit) -> Result<(), EngineError> {
        if !crate::beet::is_lsi(&lsi) {
            return Err(EngineError::Invalid("an LSI is in 1.0.0.0/8".into()));
        }
        let mut inner = self.lock();
        inner.check_not_stopped()?;
        let before = inner.registry.peer(&peer_hit).and_then(|peer| peer.lsi());
        let peer = inner.registry.set_lsi(lsi, peer_hit)?;
        if let Some(before) = before.filter(|before| *before != lsi) {
            self.egress.send(EgressCommand::RemoveLsi(before));
        }
        self.egress.send(EgressCommand::SetLsi { lsi, peer });
        Ok(())
    }

    /// Forget an LSI.
    pub fn remove_lsi(&self, lsi: Lsi) {
        let mut inner = self.lock();
        inner.registry.remove_lsi(lsi);
        self.egress.send(EgressCommand::RemoveLsi(lsi));
    }

    /// Discard the packets held for a HIT or LSI; returns how many.
    pub fn drop_held(&self, destination: IpAddr) -> usize {
        let _writer = self.lock();
        let mut hold = self
            .hold
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = hold.take(destination).len();
        self.control_counters
            .dropped_many(DropReason::HeldDiscarded, count);
        count
    }

    /// All security associations, in no order.
    #[must_use]
    pub fn security_associations(&self) -> Vec<SaLine> {
        let now_ms = self.clock.now_ms();
        let inner = self.lock();
        let lines = inner.registry.sas().map(|entry| {
            let numbers = entry.counters.read();
            SaLine {
                direction: entry.direction,
                spi: entry.spi,
                suite: entry.suite,
                local_hit: entry.local_hit,
                peer_hit: entry.peer_hit,
                path: entry.path.clone(),
                numbers,
                last_used_s: numbers
                    .last_used_ms
                    .map(|used| now_ms.saturating_sub(used) as f64 / 1000.0),
            }
        });
        lines.collect()
    }

    /// What a segment has learned, in no order. Addresses of peers that are gone are left out.
    pub fn mac_table(&self, segment: u32) -> Result<Vec<MacLine>, EngineError> {
        let inner = self.lock();
        let macs = inner.macs(segment)?;
        let hits = inner.registry.hits_by_id();
        let entries = macs.entries(seconds(self.clock.now_ms())).into_iter();
        let lines = entries.filter_map(|entry| {
            Some(MacLine {
                mac: entry.mac,
                vlan: entry.vlan,
                peer_hit: *hits.get(&entry.peer)?,
                age_s: entry.age_s,
            })
        });
        Ok(lines.collect())
    }

    /// Forget what a segment has learned (from one peer); returns how many addresses.
    pub fn flush_macs(&self, segment: u32, peer_hit: Option<Hit>) -> Result<usize, EngineError> {
        let inner = self.lock();
        let macs = inner.macs(segment)?;
        Ok(match peer_hit {
            None => macs.flush(None),
            Some(hit) => inner
                .registry
                .peer(&hit)
                .map_or(0, |peer| macs.flush(Some(peer.id))),
        })
    }

    /// How many packets were dropped for a reason.
    #[must_use]
    pub fn drop_count(&self, reason: DropReason) -> u64 {
        self.egress_counters.drop_count(reason)
            + self.ingress_counters.drop_count(reason)
            + self.relay_counters.drop_count(reason)
            + self.control_counters.drop_count(reason)
    }

    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.egress_counters.counter(counter)
            + self.ingress_counters.counter(counter)
            + self.relay_counters.counter(counter)
            + self.control_counters.counter(counter)
    }

    /// Nanoseconds that a stage of the packet path took so far, of both directions.
    #[cfg(feature = "stage-cycles")]
    #[must_use]
    pub fn stage_ns(&self, stage: crate::stages::Stage) -> u64 {
        let ticks = self.egress_counters.ticks(stage) + self.ingress_counters.ticks(stage);
        crate::stages::nanoseconds(ticks)
    }
}

impl Inner {
    fn macs(&self, number: u32) -> Result<&Arc<crate::l2::mac_table::MacTable>, EngineError> {
        Ok(&self.segments[self.index_of(number)?].macs)
    }
}
