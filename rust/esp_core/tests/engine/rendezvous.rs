//! The rendezvous server between plain sockets that play an initiator and a client.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use esp_core::{
    drops::DropReason,
    engine::{Engine, RendezvousClient, RendezvousLimits, RendezvousMac, ThreadOptions},
    events::Event,
    stats::Counter,
};

use crate::node::eventually;

const CLIENT: [u8; 16] = [0x20, 1, 0, 0x2a, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2];
const CALLER: [u8; 16] = [0x20, 1, 0, 0x2a, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];

struct Rendezvous {
    engine: Engine,
    own: SocketAddr,
    client: UdpSocket,
    caller: UdpSocket,
}

fn bind(v6: bool) -> UdpSocket {
    let socket = UdpSocket::bind(if v6 { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    socket
}

fn packet(kind: u8, sender: [u8; 16], receiver: [u8; 16]) -> Vec<u8> {
    let head = [0, 0, 0, 0, 59, 4, kind, 0x21, 0, 0, 0, 0];
    [&head[..], &sender, &receiver].concat()
}

fn i1() -> Vec<u8> {
    packet(1, CALLER, CLIENT)
}

impl Rendezvous {
    fn new(v6: bool, per_source: u32, per_client: u32) -> Self {
        let engine = Engine::new().unwrap();
        let own = bind(v6);
        engine.add_udp_socket(own.as_raw_fd()).unwrap();
        let limits = RendezvousLimits {
            per_source,
            per_client,
        };
        engine.set_rendezvous(limits).unwrap();
        engine.start(ThreadOptions::default()).unwrap();
        Self {
            engine,
            own: own.local_addr().unwrap(),
            client: bind(v6),
            caller: bind(v6),
        }
    }

    fn add(&self, remaining_ms: u64) {
        let client = RendezvousClient {
            hit: CLIENT,
            local: self.own,
            remote: self.client.local_addr().unwrap(),
            mac: RendezvousMac::Sha384,
            key: &[7; 48],
            tells_ports: true,
            remaining_ms,
        };
        self.engine.add_rendezvous_client(&client).unwrap();
    }

    fn call(&self, datagram: &[u8]) {
        self.caller.send_to(datagram, self.own).unwrap();
    }

    /// What the client gets, and whence.
    fn arrives(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 4096];
        let (length, from) = self.client.recv_from(&mut buffer).ok()?;
        Some((buffer[..length].to_vec(), from))
    }

    /// HIP packets that the control plane got.
    fn control(&self) -> Vec<Box<[u8]>> {
        let mut found = Vec::new();
        for event in self.engine.events().drain() {
            if let Event::Control { data, .. } = event {
                found.push(data);
            }
        }
        found
    }

    fn controlled(&self, what: &[u8]) {
        eventually("the control plane's turn", || {
            let any = self.control().iter().any(|data| data[..] == what[4..]);
            any.then_some(())
        });
    }
}

#[test]
fn a_call_goes_to_the_client_from_the_own_port() {
    for v6 in [false, true] {
        let server = Rendezvous::new(v6, 1000, 1000);
        server.add(60_000);
        for kind in [1, 16] {
            server.call(&packet(kind, CALLER, CLIENT));
            let (got, from) = server.arrives().expect("it was passed on");
            assert_eq!(from, server.own);
            // RELAY_FROM with the caller's port, FROM, and an HMAC-SHA-384.
            assert_eq!(got.len(), 44 + 24 + 24 + 56);
            let port = server.caller.local_addr().unwrap().port();
            assert_eq!(got[48..50], port.to_be_bytes());
            assert_eq!(got[12..44], i1()[12..]);
        }
        assert!(server.control().is_empty());
        eventually("counting", || {
            (server.engine.counter(Counter::RendezvousPackets) == 2).then_some(())
        });
    }
}

#[test]
fn everything_else_is_left_to_the_control_plane() {
    let server = Rendezvous::new(false, 1000, 1000);
    server.call(&i1());
    server.controlled(&i1());
    server.add(60_000);
    let mut others = vec![packet(1, CALLER, CALLER)];
    others.extend([2, 3, 4, 17, 18, 19].map(|kind| packet(kind, CALLER, CLIENT)));
    let mut from = i1();
    from.extend([0xff, 0xda, 0, 16]);
    from.extend([0; 20]);
    from[5] = 7;
    others.push(from);
    for other in &others {
        server.call(other);
        server.controlled(other);
    }
    server.engine.remove_rendezvous_client(&CLIENT);
    server.call(&i1());
    server.controlled(&i1());
    server.add(0);
    server.call(&i1());
    server.controlled(&i1());
    assert!(server.arrives().is_none());
}

#[test]
fn a_client_that_keeps_its_nat_in_mind_disturbs_nobody() {
    let server = Rendezvous::new(false, 1000, 1000);
    server.add(60_000);
    let keepalive = packet(17, CLIENT, CALLER);
    server.client.send_to(&keepalive, server.own).unwrap();
    eventually("counting", || {
        (server.engine.counter(Counter::Keepalives) == 1).then_some(())
    });
    assert!(server.control().is_empty());
    // From elsewhere it may be that the NAT has forgotten.
    server.call(&keepalive);
    server.controlled(&keepalive);
}

#[test]
fn limits_hold_for_a_source_and_for_a_client() {
    for (per_source, per_client) in [(5, 1000), (1000, 5)] {
        let server = Rendezvous::new(false, per_source, per_client);
        server.add(60_000);
        for _ in 0..100 {
            server.call(&i1());
        }
        let limit = DropReason::RendezvousLimit;
        let passed = || server.engine.counter(Counter::RendezvousPackets);
        eventually("counting", || {
            (server.engine.drop_count(limit) + passed() == 100).then_some(())
        });
        // The second may have ended once meanwhile.
        assert!((5..=10).contains(&passed()), "{}", passed());
        assert!(server.control().is_empty());
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let server = Rendezvous::new(false, 1, 1);
    let mut client = RendezvousClient {
        hit: CLIENT,
        local: "[::1]:10500".parse().unwrap(),
        remote: "127.0.0.1:10500".parse().unwrap(),
        mac: RendezvousMac::Sha1,
        key: &[0; 20],
        tells_ports: false,
        remaining_ms: 0,
    };
    assert!(server.engine.add_rendezvous_client(&client).is_err());
    client.remote = "[::1]:10500".parse().unwrap();
    assert!(server.engine.add_rendezvous_client(&client).is_ok());
    client.key = &[0; 49];
    assert!(server.engine.add_rendezvous_client(&client).is_err());
    let limits = RendezvousLimits {
        per_source: 1,
        per_client: 1,
    };
    assert!(
        server.engine.set_rendezvous(limits).is_err(),
        "it runs already"
    );
}
