//! The data relay between plain sockets that play clients and peers.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use esp_core::{
    drops::DropReason,
    engine::{Engine, Permission, PortKey, ThreadOptions},
    events::Event,
    stats::Counter,
};

use crate::node::eventually;

const OUT: u32 = 0x1111_0000;
const IN: u32 = 0x2222_0000;

struct Relay {
    engine: Engine,
    own: SocketAddr,
    ports: Vec<SocketAddr>,
    client: UdpSocket,
    peer: UdpSocket,
}

fn bind(v6: bool) -> UdpSocket {
    let socket = UdpSocket::bind(if v6 { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    socket
}

impl Relay {
    fn new(v6: bool) -> Self {
        let engine = Engine::new().unwrap();
        let own = bind(v6);
        engine.add_udp_socket(own.as_raw_fd()).unwrap();
        let sockets = [bind(v6), bind(v6)];
        for socket in &sockets {
            engine.add_relay_socket(socket.as_raw_fd()).unwrap();
        }
        engine.start(ThreadOptions::default()).unwrap();
        Self {
            engine,
            own: own.local_addr().unwrap(),
            ports: sockets.iter().map(|s| s.local_addr().unwrap()).collect(),
            client: bind(v6),
            peer: bind(v6),
        }
    }

    fn key(&self, index: usize) -> PortKey {
        (self.ports[index].is_ipv6(), self.ports[index].port())
    }

    fn permission(&self, index: usize) -> Permission {
        Permission {
            port: self.key(index),
            local: self.own.ip(),
            client: self.client.local_addr().unwrap(),
            peer: self.peer.local_addr().unwrap(),
            outbound_spi: OUT,
            inbound_spi: IN,
        }
    }

    fn permitted(v6: bool, octets_per_s: u64) -> Self {
        let relay = Self::new(v6);
        relay
            .engine
            .open_relay_port(relay.key(0), octets_per_s)
            .unwrap();
        relay.engine.permit_peer(&relay.permission(0)).unwrap();
        relay
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.engine.drop_count(reason)
    }
}

fn esp(spi: u32, number: u32, len: usize) -> Vec<u8> {
    let mut packet = spi.to_be_bytes().to_vec();
    packet.extend(number.to_be_bytes());
    packet.resize(len, number as u8);
    packet
}

fn received(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..len].to_vec(), from))
}

/// Send until it arrives: the threads look at what is permitted in their own time.
fn passes(from: &UdpSocket, to: SocketAddr, packet: &[u8], end: &UdpSocket) -> SocketAddr {
    eventually("the packet's passing", || {
        from.send_to(packet, to).unwrap();
        received(end).map(|(data, source)| {
            assert_eq!(data, packet);
            source
        })
    })
}

fn both_ways(v6: bool) {
    let relay = Relay::permitted(v6, 0);
    let inward = passes(&relay.peer, relay.ports[0], &esp(IN, 1, 100), &relay.client);
    assert_eq!(inward, relay.own, "the client knows this host by that");
    let outward = passes(&relay.client, relay.own, &esp(OUT, 1, 100), &relay.peer);
    assert_eq!(outward, relay.ports[0], "the peer knows the client by that");
    eventually("counting", || {
        (relay.engine.counter(Counter::RelayedPackets) >= 2).then_some(())
    });
}

#[test]
fn both_ways_v4() {
    both_ways(false);
}

#[test]
fn both_ways_v6() {
    both_ways(true);
}

#[test]
fn nothing_passes_without_a_permission() {
    let relay = Relay::permitted(false, 0);
    passes(&relay.peer, relay.ports[0], &esp(IN, 1, 100), &relay.client);
    let stranger = bind(false);
    stranger.send_to(&esp(IN, 2, 100), relay.ports[0]).unwrap();
    relay
        .peer
        .send_to(&esp(IN + 1, 2, 100), relay.ports[0])
        .unwrap();
    relay.peer.send_to(&[1, 2, 3], relay.ports[0]).unwrap();
    eventually("three drops", || {
        (relay.dropped(DropReason::NotPermitted) == 3).then_some(())
    });
    stranger.send_to(&esp(OUT, 2, 100), relay.own).unwrap();
    relay
        .client
        .send_to(&esp(OUT + 1, 2, 100), relay.own)
        .unwrap();
    eventually("two drops", || {
        (relay.dropped(DropReason::UnknownSpi) == 2).then_some(())
    });
    assert_eq!(received(&relay.client), None);
    assert_eq!(received(&relay.peer), None);
}

#[test]
fn many_packets_in_order() {
    let relay = Relay::permitted(false, 0);
    passes(&relay.peer, relay.ports[0], &esp(IN, 0, 100), &relay.client);
    passes(&relay.client, relay.own, &esp(OUT, 0, 100), &relay.peer);
    while received(&relay.client).is_some() || received(&relay.peer).is_some() {}
    for (from, to, end, spi) in [
        (&relay.peer, relay.ports[0], &relay.client, IN),
        (&relay.client, relay.own, &relay.peer, OUT),
    ] {
        for burst in 0..20 {
            for number in burst * 10..burst * 10 + 10 {
                // Another packet of its own SPI in between: not to be joined, not to be passed.
                from.send_to(&esp(spi, number, 1000 + number as usize % 3), to)
                    .unwrap();
                from.send_to(&esp(spi ^ 0x100, number, 1000), to).unwrap();
            }
            for number in burst * 10..burst * 10 + 10 {
                let (data, _) = received(end).unwrap();
                assert_eq!(data, esp(spi, number, 1000 + number as usize % 3));
            }
        }
    }
}

#[test]
fn hip_packets_go_to_the_control_plane() {
    let relay = Relay::permitted(false, 0);
    let mut packet = vec![0; 4];
    packet.extend([7; 48]);
    let event = eventually("the packet's arrival", || {
        relay.peer.send_to(&packet, relay.ports[0]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        relay.engine.events().drain().pop_front()
    });
    let peer = relay.peer.local_addr().unwrap();
    assert_eq!(
        event,
        Event::Control {
            data: packet[4..].into(),
            local: relay.own.ip(),
            remote: peer.ip(),
            local_port: relay.ports[0].port(),
            remote_port: peer.port(),
        }
    );
}

#[test]
fn what_is_taken_back_is_closed() {
    let relay = Relay::permitted(false, 0);
    let permission = relay.permission(0);
    passes(&relay.peer, relay.ports[0], &esp(IN, 1, 100), &relay.client);
    relay.engine.revoke_peer(&permission);
    while received(&relay.client).is_some() {}
    relay
        .peer
        .send_to(&esp(IN, 2, 100), relay.ports[0])
        .unwrap();
    relay.client.send_to(&esp(OUT, 2, 100), relay.own).unwrap();
    eventually("two drops", || {
        let inward = relay.dropped(DropReason::NotPermitted);
        let outward = relay.dropped(DropReason::UnknownSpi);
        (inward == 1 && outward == 1).then_some(())
    });
    relay.engine.permit_peer(&permission).unwrap();
    passes(&relay.client, relay.own, &esp(OUT, 3, 100), &relay.peer);
    relay.engine.close_relay_port(relay.key(0)).unwrap();
    assert!(relay.engine.permit_peer(&permission).is_err());
    // Lent again: what came meanwhile is nobody's.
    relay
        .peer
        .send_to(&esp(IN, 4, 100), relay.ports[0])
        .unwrap();
    relay.engine.open_relay_port(relay.key(0), 0).unwrap();
    relay.engine.permit_peer(&permission).unwrap();
    while received(&relay.client).is_some() {}
    passes(&relay.peer, relay.ports[0], &esp(IN, 5, 100), &relay.client);
}

#[test]
fn the_last_permission_says_where_a_clients_packets_go() {
    let relay = Relay::permitted(false, 0);
    let other = bind(false);
    let second = Permission {
        peer: other.local_addr().unwrap(),
        ..relay.permission(0)
    };
    passes(&relay.client, relay.own, &esp(OUT, 1, 100), &relay.peer);
    relay.engine.permit_peer(&second).unwrap();
    passes(&relay.client, relay.own, &esp(OUT, 2, 100), &other);
    passes(&relay.peer, relay.ports[0], &esp(IN, 1, 100), &relay.client);
    relay.engine.revoke_peer(&relay.permission(0));
    passes(&relay.client, relay.own, &esp(OUT, 3, 100), &other);
}

#[test]
fn a_quota_is_kept() {
    let relay = Relay::permitted(false, 1000);
    let mut arrived = 0;
    for number in 0..200 {
        relay
            .peer
            .send_to(&esp(IN, number, 1000), relay.ports[0])
            .unwrap();
        arrived += u64::from(received(&relay.client).is_some());
        if relay.dropped(DropReason::RelayQuota) > 0 {
            break;
        }
    }
    assert!((50..=70).contains(&arrived), "{arrived}");
}

#[test]
fn ports_and_families_are_checked() {
    let relay = Relay::permitted(false, 0);
    assert!(relay.engine.open_relay_port((true, 1), 0).is_err());
    assert!(relay.engine.close_relay_port((false, 1)).is_err());
    assert!(relay.engine.permit_peer(&relay.permission(1)).is_err());
    let mixed = Permission {
        peer: "[::1]:1".parse().unwrap(),
        ..relay.permission(0)
    };
    assert!(relay.engine.permit_peer(&mixed).is_err());
    let socket = bind(false);
    assert!(relay.engine.add_relay_socket(socket.as_raw_fd()).is_err());
}
