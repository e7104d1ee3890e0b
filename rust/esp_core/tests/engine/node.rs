//! An engine with the other ends of its devices.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    time::{Duration, Instant},
};

use esp_core::{
    beet::{Hit, Lsi},
    drops::DropReason,
    ecn::MarkPolicy,
    engine::{
        Direction, Engine, EngineError, PacketForm, SaNumbers, SaParameters, SaPath, TapParameters,
        ThreadOptions, TunParameters, UdpOffloads,
    },
    events::Event,
    stats::Counter,
    suite::Suite,
};

pub(crate) const SEGMENT: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub engine: Engine,
    pub hit: Hit,
    pub lsi: Lsi,
    pub tap: UnixDatagram,
    pub tun: UnixDatagram,
    pub address: SocketAddr,
    events: VecDeque<Event>,
}

/// What may differ between nodes.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub v6: bool,
    pub mss_clamp: bool,
    pub vnet_hdr: bool,
    /// Packets may leave in trains (UDP_SEGMENT).
    pub trains: bool,
    pub devices: bool,
    pub marks: MarkPolicy,
    /// The node has a HIT of HIPv1 beside that of HIPv2.
    pub both_versions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            v6: false,
            mss_clamp: false,
            vnet_hdr: false,
            trains: true,
            devices: true,
            marks: MarkPolicy::default(),
            both_versions: false,
        }
    }
}

pub(crate) fn hit(number: u8) -> Hit {
    let mut hit = [number; 16];
    hit[..4].copy_from_slice(&[0x20, 0x01, 0x00, 0x21]);
    hit
}

/// A node's HIT of HIPv1.
pub(crate) fn hit_v1(number: u8) -> Hit {
    let mut hit = hit(number);
    hit[3] = 0x12;
    hit
}

pub(crate) fn lsi(number: u8) -> Lsi {
    [1, 0, 0, number]
}

/// Try again until there is a result.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl Node {
    pub(crate) fn new(number: u8) -> Self {
        Self::with(number, Options::default())
    }

    pub(crate) fn with(number: u8, options: Options) -> Self {
        let engine = Engine::new().unwrap();
        let socket = UdpSocket::bind(if options.v6 { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
        let offloads = UdpOffloads {
            gso: options.trains,
            ..UdpOffloads::default()
        };
        engine
            .add_udp_socket_with(socket.as_raw_fd(), offloads)
            .unwrap();
        let (tap, inner_tap) = UnixDatagram::pair().unwrap();
        let (tun, inner_tun) = UnixDatagram::pair().unwrap();
        for device in [&tap, &tun] {
            device.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        if options.devices {
            engine
                .add_tap(&TapParameters {
                    fd: inner_tap.as_raw_fd(),
                    segment: SEGMENT,
                    mtu: 1500,
                    mss_clamp: options.mss_clamp,
                    vnet_hdr: options.vnet_hdr,
                    mac_limit: 1000,
                    mac_age_s: 300,
                    marks: options.marks,
                })
                .unwrap();
            engine
                .set_tun(&TunParameters {
                    fd: inner_tun.as_raw_fd(),
                    mtu: 1400,
                    local_hit: hit(number),
                    second_hit: options.both_versions.then_some(hit_v1(number)),
                    local_lsi: lsi(number),
                    vnet_hdr: options.vnet_hdr,
                    marks: options.marks,
                })
                .unwrap();
        }
        engine.start(ThreadOptions::default()).unwrap();
        Self {
            engine,
            hit: hit(number),
            lsi: lsi(number),
            tap,
            tun,
            address: socket.local_addr().unwrap(),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn path_to(&self, remote: SocketAddr, mtu: usize) -> SaPath {
        SaPath {
            local: None,
            remote: remote.ip(),
            udp: true,
            local_port: self.address.port(),
            remote_port: remote.port(),
            mtu,
            interface: 0,
            verified: true,
            wire_spi: 0,
        }
    }

    /// Install one direction of a pair.
    pub(crate) fn add_sa(&self, direction: Direction, sa: &Sa, peer: (Hit, SocketAddr)) {
        self.try_add_sa(direction, sa, peer).unwrap();
    }

    pub(crate) fn try_add_sa(
        &self,
        direction: Direction,
        sa: &Sa,
        peer: (Hit, SocketAddr),
    ) -> Result<(), EngineError> {
        self.engine.add_sa(&SaParameters {
            direction,
            spi: sa.spi,
            suite: sa.suite.id(),
            encryption_key: &sa.encryption_key(),
            authentication_key: &sa.authentication_key(),
            local_hit: self.hit,
            peer_hit: peer.0,
            path: self.path_to(peer.1, sa.mtu),
            segment: sa.segment,
            replay_window: 1024,
            form: sa.form,
        })
    }

    /// What an inbound security association has carried.
    pub(crate) fn inbound(&self, spi: u32) -> SaNumbers {
        let lines = self.engine.security_associations();
        let mut lines = lines.iter().filter(|line| line.direction == Direction::In);
        lines.find(|line| line.spi == spi).unwrap().numbers
    }

    pub(crate) fn identity(&self) -> (Hit, SocketAddr) {
        (self.hit, self.address)
    }

    /// The next event that `wanted` takes; others are kept.
    pub(crate) fn event<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        eventually(what, || {
            self.events.extend(self.engine.events().drain());
            let found = self.events.iter().enumerate();
            let (index, result) = found.filter_map(|(n, e)| Some((n, wanted(e)?))).next()?;
            self.events.remove(index);
            Some(result)
        })
    }

    /// All events so far.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.events.extend(self.engine.events().drain());
        self.events.drain(..).collect()
    }

    pub(crate) fn wait_drops(&self, reason: DropReason, count: u64) {
        eventually(reason.name(), || {
            (self.engine.drop_count(reason) >= count).then_some(())
        });
        assert_eq!(self.engine.drop_count(reason), count, "{}", reason.name());
    }

    pub(crate) fn wait_counter(&self, counter: Counter, count: u64) {
        eventually(counter.name(), || {
            (self.engine.counter(counter) >= count).then_some(())
        });
    }
}

/// Keys and numbers of one direction.
#[derive(Clone)]
pub(crate) struct Sa {
    pub spi: u32,
    pub suite: Suite,
    pub key: u8,
    pub mtu: usize,
    pub segment: u32,
    pub form: PacketForm,
}

impl Sa {
    pub(crate) fn new(spi: u32) -> Self {
        Self {
            spi,
            suite: Suite::AesGcm16,
            key: spi as u8,
            mtu: 1500,
            segment: SEGMENT,
            form: PacketForm::default(),
        }
    }

    pub(crate) fn encryption_key(&self) -> Vec<u8> {
        vec![self.key; self.suite.encryption_key_len()]
    }

    pub(crate) fn authentication_key(&self) -> Vec<u8> {
        vec![self.key ^ 0x55; self.suite.authentication_key_len()]
    }
}

/// Install both directions between two nodes, as two base exchanges would.
pub(crate) fn connect(a: &Node, b: &Node, forth: &Sa, back: &Sa) {
    b.add_sa(Direction::In, forth, a.identity());
    a.add_sa(Direction::In, back, b.identity());
    a.add_sa(Direction::Out, forth, b.identity());
    b.add_sa(Direction::Out, back, a.identity());
    // b first: what a holds for b's LSI leaves at once.
    for (one, other) in [(b, a), (a, b)] {
        one.engine.set_lsi(other.lsi, other.hit).unwrap();
    }
}

pub(crate) fn receive(device: &UnixDatagram) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let len = device.recv(&mut buffer).expect("nothing came");
    buffer.truncate(len);
    buffer
}

/// Nothing comes for a moment.
pub(crate) fn silent(device: &UnixDatagram) {
    device
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let result = device.recv(&mut [0; 2000]);
    device.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(result.is_err(), "something came");
}

pub(crate) fn ip_of(address: SocketAddr) -> IpAddr {
    address.ip()
}
