//! Clients of the rendezvous server that are silent (RFC 8004): calls for them are passed on here.
//!
//! Anybody can send an I1, and very many may. What is for a client whose state does not change is
//! answered from a table, which the control plane fills and takes back: so long as a client has
//! anything under way, or whenever a packet is out of the ordinary, the control plane does it all.

mod limits;
mod packet;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::AsFd,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
};

use ring::hmac;
use zeroize::Zeroizing;

use self::{
    limits::{Count, Sources},
    packet::Packet,
};
use super::{
    clock::seconds,
    error::EngineError,
    socket::{Socket, SocketKind},
    Engine,
};
use crate::{
    beet::Hit,
    drops::DropReason,
    stats::{Counter, Counters},
    sys::send::{Route, Sender, Train},
};

/// Octets of the longest key: those of HMAC-SHA-384 (RFC 7401 §6.5).
const KEY_MAX: usize = 48;
/// Octets of the longest datagram: HIP's longest packet behind its marker.
const DATAGRAM_MAX: usize = 4 + 256 * 8;

/// Octets of a datagram that every path takes (RFC 8200 §5, less IPv6 and UDP header).
const NEVER_CUT: usize = 1280 - 40 - 8;

/// The MACs of HIP that this thread makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RendezvousMac {
    Sha1,
    Sha256,
    Sha384,
}

/// A client, and where it is.
#[derive(Clone, Copy)]
pub struct RendezvousClient<'a> {
    pub hit: Hit,
    /// Own address and port that the client knows.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub mac: RendezvousMac,
    /// Of the MACs that go to the client.
    pub key: &'a [u8],
    /// Whether it knows RELAY_FROM, not FROM alone.
    pub tells_ports: bool,
    /// Milliseconds until its registration is over.
    pub remaining_ms: u64,
}

/// How many packets a second are passed on.
#[derive(Clone, Copy, Debug)]
pub struct RendezvousLimits {
    pub per_source: u32,
    pub per_client: u32,
}

struct Client {
    local: IpAddr,
    local_port: u16,
    remote: SocketAddr,
    mac: RendezvousMac,
    key_len: u8,
    tells_ports: bool,
    key: Zeroizing<[u8; KEY_MAX]>,
    until_ms: u64,
    passed: Count,
}

impl Client {
    fn key(&self) -> hmac::Key {
        let algorithm = match self.mac {
            RendezvousMac::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            RendezvousMac::Sha256 => hmac::HMAC_SHA256,
            RendezvousMac::Sha384 => hmac::HMAC_SHA384,
        };
        hmac::Key::new(algorithm, &self.key[..usize::from(self.key_len)])
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<Client at {}>", self.remote)
    }
}

/// What the control plane and the receiving thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How many clients there are: most hosts have none, and need not lock anything to know it.
    count: AtomicUsize,
    clients: Mutex<HashMap<Hit, Client>>,
    limits: Mutex<Option<RendezvousLimits>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Hit, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<Hit, Client>)) {
        let mut clients = self.lock();
        change(&mut clients);
        self.count.store(clients.len(), Ordering::Release);
    }

    /// What the receiving direction needs; none if this host is no rendezvous server.
    pub(super) fn server(self: &Arc<Self>) -> Option<Server> {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.map(|limits| Server::new(self.clone(), limits))
    }
}

/// Passes calls on. Belongs to the receiving direction.
pub(super) struct Server {
    shared: Arc<Shared>,
    limits: RendezvousLimits,
    sources: Sources,
    sender: Sender,
    datagram: Vec<u8>,
    pieces: Vec<Range<usize>>,
    trains: Vec<Train>,
}

impl Server {
    fn new(shared: Arc<Shared>, limits: RendezvousLimits) -> Self {
        Self {
            shared,
            limits,
            sources: Sources::new(),
            sender: Sender::new(),
            datagram: Vec::with_capacity(DATAGRAM_MAX),
            pieces: Vec::with_capacity(1),
            trains: Vec::with_capacity(1),
        }
    }

    /// Pass a HIP packet on that came in over UDP, or drop it for its number; false if it is to be
    /// looked at by the control plane.
    pub(super) fn take(
        &mut self,
        data: &[u8],
        remote: SocketAddr,
        sockets: &[Socket],
        counters: &Counters,
        now_ms: u64,
    ) -> bool {
        if self.shared.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let Some(packet) = Packet::new(data) else {
            return false;
        };
        let Self {
            shared,
            limits,
            sources,
            sender,
            datagram,
            pieces,
            trains,
        } = self;
        let mut clients = shared.lock();
        if packet.is_notify() {
            // From where the client is known to be it can only be a keepalive.
            let client = clients.get(packet.sender());
            let idle = client.is_some_and(|client| client.remote == remote);
            counters.add(Counter::Keepalives, usize::from(idle));
            return idle;
        }
        let Some(client) = clients.get_mut(packet.receiver()) else {
            return false;
        };
        if !packet.is_ordinary() || client.until_ms <= now_ms {
            return false;
        }
        let second = seconds(now_ms);
        if !sources.allow(remote.ip(), second, limits.per_source)
            || !client.passed.allow(second, limits.per_client)
        {
            counters.dropped(DropReason::RendezvousLimit);
            return true;
        }
        let v6 = client.remote.is_ipv6();
        let suitable = |socket: &&Socket| {
            socket.kind == SocketKind::Udp && socket.v6 == v6 && socket.port == client.local_port
        };
        let Some(socket) = sockets.iter().find(suitable) else {
            return false;
        };
        let key = client.key();
        if !packet::relayed(&packet, remote, client.tells_ports, &key, datagram) {
            return false;
        }
        let route = Route {
            remote: client.remote.into(),
            v6,
            source: Some(client.local),
            interface: 0,
            traffic_class: None,
            hop_limit: None,
        };
        drop(clients);
        pieces.clear();
        pieces.push(0..datagram.len());
        trains.clear();
        trains.push(Train {
            route: 0,
            pieces: 0..1,
            segment_size: None,
        });
        // Should it be longer than the path takes, it is cut: HIP cannot make it shorter.
        let _cutting = (datagram.len() > NEVER_CUT).then(|| socket.cutting());
        match sender.send(socket.as_fd(), trains, &[route], pieces, datagram) {
            Ok(_) => counters.add(Counter::RendezvousPackets, 1),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                counters.dropped(DropReason::SendQueueFull);
            }
            Err(_) => counters.dropped(DropReason::SendFailed),
        }
        true
    }
}

impl Engine {
    /// Be a rendezvous server, within limits.
    pub fn set_rendezvous(&self, limits: RendezvousLimits) -> Result<(), EngineError> {
        self.lock().check_setup()?;
        let mut known = self.rendezvous.limits.lock();
        *known
            .as_deref_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut()) = Some(limits);
        Ok(())
    }

    /// Pass on what comes for a client, until `remove_rendezvous_client`.
    pub fn add_rendezvous_client(&self, one: &RendezvousClient<'_>) -> Result<(), EngineError> {
        if one.local.is_ipv6() != one.remote.is_ipv6() || one.key.len() > KEY_MAX {
            return Err(EngineError::Invalid(
                "a client has addresses of one family, and a key of its MAC's length".into(),
            ));
        }
        let mut key = Zeroizing::new([0; KEY_MAX]);
        key[..one.key.len()].copy_from_slice(one.key);
        let client = Client {
            local: one.local.ip(),
            local_port: one.local.port(),
            remote: one.remote,
            mac: one.mac,
            key_len: one.key.len() as u8,
            tells_ports: one.tells_ports,
            key,
            until_ms: self.clock.now_ms().saturating_add(one.remaining_ms),
            passed: Count::default(),
        };
        self.rendezvous.change(|clients| {
            clients.insert(one.hit, client);
        });
        Ok(())
    }

    /// Leave what comes for a client to the control plane.
    pub fn remove_rendezvous_client(&self, hit: &Hit) {
        self.rendezvous.change(|clients| {
            clients.remove(hit);
        });
    }
}
