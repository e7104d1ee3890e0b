//! The data relay: ESP between its clients and their peers, unopened (RFC 9028 §4.12).
//!
//! A client has ports lent to it. What comes to one from a peer that the client permits goes to the
//! client, by the socket that the client knows this host by. What the client sends there comes in
//! with this host's own ESP (`ingress`), and leaves by the port. Both find the way in one table,
//! which the control plane changes; a thread of its own looks after the ports.

mod forward;
mod table;
mod thread;

use std::{
    net::SocketAddr,
    os::fd::RawFd,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
};

pub(super) use self::{forward::Outgoing, thread::RelayThread};

use self::table::{Port, Quota, Table, Way};
use super::{
    command::{queue, CommandReceiver, CommandSender},
    error::EngineError,
    socket::{Socket, SocketKind, UdpOffloads},
    Engine, Phase,
};
use crate::sys::send::Route;

/// Names a port that may be lent: IPv6 or not, and its number.
pub type PortKey = (bool, u16);

/// What may pass between the client of a port and one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    pub port: PortKey,
    /// Own address that the client knows, and where the client is.
    pub local: std::net::IpAddr,
    pub client: SocketAddr,
    pub peer: SocketAddr,
    /// In packets from the client.
    pub outbound_spi: u32,
    /// In packets from the peer.
    pub inbound_spi: u32,
}

/// For the relay's thread: the table has other ports than before.
pub(super) struct Rewire;

/// The control plane's end of the relay.
pub(super) struct Relay {
    shared: Arc<Shared>,
    commands: CommandSender<Rewire>,
    receiver: Mutex<Option<CommandReceiver<Rewire>>>,
}

/// What all threads look at: each keeps the table that it saw last, and asks for a newer one only
/// when there is one.
#[derive(Default)]
pub(super) struct Shared {
    version: AtomicU64,
    table: Mutex<Arc<Table>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Arc<Table>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Change the table for all threads.
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.lock();
        let result = change(Arc::make_mut(&mut table));
        self.version.fetch_add(1, Ordering::Release);
        result
    }
}

/// One thread's view of the table.
struct View {
    shared: Arc<Shared>,
    version: u64,
    table: Arc<Table>,
}

impl View {
    fn new(shared: Arc<Shared>) -> Self {
        let version = shared.version.load(Ordering::Acquire);
        let table = shared.lock().clone();
        Self {
            shared,
            version,
            table,
        }
    }

    /// The table as it is now.
    fn now(&mut self) -> &Table {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.table = self.shared.lock().clone();
        }
        &self.table
    }
}

impl Relay {
    pub(super) fn new() -> std::io::Result<Self> {
        let (commands, receiver) = queue()?;
        Ok(Self {
            shared: Arc::default(),
            commands,
            receiver: Mutex::new(Some(receiver)),
        })
    }

    /// Ask the thread to end.
    pub(super) fn stop(&self) {
        self.commands.stop();
    }

    /// What the receiving direction needs; none if no port can be lent.
    pub(super) fn outgoing(&self) -> Option<Outgoing> {
        let any = !self.shared.lock().ports.is_empty();
        any.then(|| Outgoing::new(self.shared.clone()))
    }

    /// The thread that looks after the ports; none if there are none.
    pub(super) fn thread(&self, engine: &Engine, sockets: Arc<[Socket]>) -> Option<RelayThread> {
        if self.shared.lock().ports.is_empty() {
            return None;
        }
        let mut slot = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let commands = slot.take()?;
        Some(RelayThread::new(
            self.shared.clone(),
            commands,
            sockets,
            engine.events.clone(),
            engine.relay_counters.clone(),
        ))
    }
}

impl Engine {
    /// Have a port that may be lent to a client of the data relay: a UDP socket bound to it.
    pub fn add_relay_socket(&self, fd: RawFd) -> Result<(), EngineError> {
        let inner = self.lock();
        if !matches!(inner.phase, Phase::Setup { .. }) {
            return Err(EngineError::State("the engine was started already"));
        }
        let socket = Socket::open(fd, SocketKind::Udp, UdpOffloads::default())?;
        let key = (socket.v6, socket.port);
        let port = Port::new(socket);
        self.relay
            .shared
            .change(|table| table.ports.insert(key, port));
        Ok(())
    }

    /// Lend a port: take in what comes to it. `octets_per_s` bounds each direction, 0 does not.
    pub fn open_relay_port(&self, port: PortKey, octets_per_s: u64) -> Result<(), EngineError> {
        self.relay.shared.change(|table| {
            let port = table.ports.get_mut(&port).ok_or_else(unknown_port)?;
            port.open = true;
            port.quota = Arc::new(Quota::new(octets_per_s));
            Ok::<_, EngineError>(())
        })?;
        self.relay.commands.send(Rewire);
        Ok(())
    }

    /// Take a port back, with everything that was permitted for it.
    pub fn close_relay_port(&self, port: PortKey) -> Result<(), EngineError> {
        self.relay.shared.change(|table| {
            table.ports.get_mut(&port).ok_or_else(unknown_port)?.open = false;
            table.from_peers.retain(|key, _| key.0 != port);
            table.from_clients.retain(|_, way| way.port != port);
            Ok::<_, EngineError>(())
        })?;
        self.relay.commands.send(Rewire);
        Ok(())
    }

    /// Let data pass between a client and a peer. Of several with one outbound SPI, the last one
    /// says where the client's packets go.
    pub fn permit_peer(&self, one: &Permission) -> Result<(), EngineError> {
        let (v6, _) = one.port;
        if [
            one.client.is_ipv6(),
            one.peer.is_ipv6(),
            one.local.is_ipv6(),
        ] != [v6; 3]
        {
            return Err(EngineError::Invalid(
                "a relayed port, its client and the peer are of one family".into(),
            ));
        }
        self.relay.shared.change(|table| table.permit(one))
    }

    /// Let nothing pass any more for a permission.
    pub fn revoke_peer(&self, one: &Permission) {
        self.relay.shared.change(|table| table.revoke(one));
    }
}

impl Table {
    fn permit(&mut self, one: &Permission) -> Result<(), EngineError> {
        let Some(port) = self.ports.get(&one.port).filter(|port| port.open) else {
            return Err(unknown_port());
        };
        let (socket, quota) = (port.socket.clone(), port.quota.clone());
        let way = |remote: SocketAddr, socket| Way {
            port: one.port,
            peer: one.peer,
            socket,
            quota: quota.clone(),
            route: Route {
                remote: remote.into(),
                v6: one.port.0,
                source: Some(one.local),
                interface: 0,
                traffic_class: None,
                hop_limit: None,
            },
        };
        let (inward, outward) = (way(one.client, None), way(one.peer, Some(socket)));
        let peer = (one.port, one.peer, one.inbound_spi);
        self.from_peers.insert(peer, inward);
        self.from_clients
            .insert((one.client, one.outbound_spi), outward);
        Ok(())
    }

    fn revoke(&mut self, one: &Permission) {
        self.from_peers
            .remove(&(one.port, one.peer, one.inbound_spi));
        // It may have been permitted with another inbound SPI as well: while keys are renewed.
        let still = self
            .from_peers
            .keys()
            .any(|key| key.0 == one.port && key.1 == one.peer);
        let key = (one.client, one.outbound_spi);
        let way = self.from_clients.get(&key);
        if !still && way.is_some_and(|way| way.port == one.port && way.peer == one.peer) {
            self.from_clients.remove(&key);
        }
    }
}

fn unknown_port() -> EngineError {
    EngineError::Invalid("no such port of the data relay".into())
}
