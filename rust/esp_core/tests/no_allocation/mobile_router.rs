//! Batches of a mobile router's packets, without the queue that they come by.

use std::{io::ErrorKind, sync::Mutex};

use esp_core::{
    mobile_router::{
        batch::{Batch, Context},
        counters::Counters,
        events::Events,
        outbox::Links,
        places::Places,
        queue::Requests,
        ways::Ways,
        Counter,
    },
    packet::ip::{V4, V4_HEADER_LEN, V6, V6_HEADER_LEN},
    spinat::{Flow, Target},
};

const ROOM: usize = 64;
const SLOT: usize = 2048;
/// Octets in front of a packet, as in the kernel's messages.
const FRONT: usize = 44;
const OUTSIDE: u32 = 3;
const SPI: u32 = 0x4545;
const UDP: u8 = 17;
const ESP: u8 = 50;

/// Octets of a packet with an SPI; ESP has no ports.
fn packet(v6: bool, spi: u32, udp: bool) -> Vec<u8> {
    let mut esp = spi.to_be_bytes().to_vec();
    esp.resize(100, 9);
    if udp {
        let mut header = vec![0x29, 4, 0x29, 4, 0, 0, 0, 0];
        header[4..6].copy_from_slice(&(8 + esp.len() as u16).to_be_bytes());
        esp.splice(0..0, header);
    }
    let protocol = if udp { UDP } else { ESP };
    let mut packet = vec![0; if v6 { V6_HEADER_LEN } else { V4_HEADER_LEN }];
    if v6 {
        let header = V6 {
            traffic_class: 0,
            next_header: protocol,
            hop_limit: 64,
            source: [1; 16],
            destination: [2; 16],
            payload_len: esp.len(),
        };
        header.emit(&mut packet);
    } else {
        let header = V4 {
            traffic_class: 0,
            identification: 1,
            fragment: 0,
            hop_limit: 64,
            protocol,
            source: [10, 0, 0, 10],
            destination: [10, 0, 0, 20],
            payload_len: esp.len(),
        };
        header.emit(&mut packet, &[]);
    }
    packet.extend(esp);
    packet
}

/// The clients' ways of both families, all to this host itself.
fn ways() -> Ways {
    let mut ways = Ways::new(100);
    let local = Target {
        source: "127.0.0.1:0".parse().unwrap(),
        destination: "127.0.0.1:0".parse().unwrap(),
        spi: SPI,
    };
    for (client, correspondent) in [
        ([10, 0, 0, 10].into(), [10, 0, 0, 20].into()),
        ([1; 16].into(), [2; 16].into()),
    ] {
        let flow = Flow::Client {
            spi: SPI,
            client,
            correspondent,
        };
        ways.insert(flow, &local, 1).unwrap();
    }
    ways.insert(Flow::Public { spi: SPI }, &local, 1).unwrap();
    ways
}

/// Pass batches of every kind; `counted` is run when all has been passed once.
pub(crate) fn pass_batches(mut counted: impl FnMut(bool)) {
    let links = match Links::open() {
        Ok(links) => links,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("raw sockets are for root alone: no batches are sent");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let (ways, counters, events) = (
        Mutex::new(ways()),
        Counters::default(),
        Events::new().unwrap(),
    );
    let places = Places {
        addresses: [[10, 0, 0, 20].into()].into(),
        outside: vec![OUTSIDE],
        ..Places::default()
    };
    let context = Context {
        places: &places,
        ways: &ways,
        links: &links,
        counters: &counters,
        events: &events,
        udp_port: 10500,
    };
    let kinds = [
        packet(false, SPI, false),
        packet(false, SPI, true),
        packet(true, SPI, false),
        packet(true, SPI, true),
        packet(false, 0x9999, false),
        packet(true, 0x9999, false),
    ];
    let mut data = vec![0; ROOM * SLOT];
    let mut batch = Batch::new(ROOM);
    let mut requests = Requests::with_room(ROOM + 1);
    for round in 0..200u32 {
        if round == 10 {
            counted(true);
        }
        batch.clear();
        for slot in 0..ROOM {
            let packet = &kinds[slot % kinds.len()];
            let start = slot * SLOT + FRONT;
            let range = start..start + packet.len();
            data[range.clone()].copy_from_slice(packet);
            let interface = if slot % 2 == 0 { OUTSIDE } else { 4 };
            batch.put(slot as u32, interface, &data, range, &places);
        }
        batch.rewrite(&mut data, &mut ways.lock().unwrap().spinat, round);
        batch.sort(&mut data, &context);
        batch.send(&data, &context);
        requests.clear();
        for id in &batch.accepted {
            requests.accept(7, *id);
        }
        requests.drop_up_to(7, ROOM as u32);
    }
    counted(false);
    assert!(counters.read(Counter::Accepted) > 1000);
    assert!(counters.read(Counter::Unknown) > 1000);
    let sent = counters.read(Counter::Rewritten) + counters.read(Counter::SendQueueFull);
    assert!(sent > 5000, "{sent}");
}
