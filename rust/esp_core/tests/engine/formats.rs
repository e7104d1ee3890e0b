//! Peers whose packets look otherwise than the RFCs say.

use std::time::Duration;

use esp_core::{
    drops::DropReason,
    engine::{Direction, PacketForm},
    events::Event,
    l2::framing::Framing,
    layout::Format,
    packet::checksum,
    stats::Counter,
    suite::Suite,
};

use crate::{
    hosts::{datagram_between, transport_sum},
    node::{connect, hit, hit_v1, lsi, receive, silent, Node, Options, Sa},
};

const V1_SUITES: [Suite; 6] = [
    Suite::Aes128CbcSha1,
    Suite::TripleDesSha1,
    Suite::TripleDesMd5,
    Suite::BlowfishSha1,
    Suite::NullSha1,
    Suite::NullMd5,
];

/// As OpenHIP counts.
const NO_ESN: Format = Format {
    esn: false,
    icv_len: None,
    null_iv: false,
    alignment: None,
};

fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend((0..len).map(|n| n as u8));
    frame
}

fn sa(spi: u32, suite: Suite, form: PacketForm) -> Sa {
    Sa {
        suite,
        form,
        ..Sa::new(spi)
    }
}

#[test]
fn every_framing_with_the_suites_of_hipv1() {
    for framing in [
        Framing::EtherIpFragments,
        Framing::EtherIp,
        Framing::Ethernet,
    ] {
        for suite in V1_SUITES {
            let form = PacketForm {
                format: NO_ESN,
                framing,
                ..PacketForm::default()
            };
            let (a, b) = (Node::new(1), Node::new(2));
            connect(&a, &b, &sa(300, suite, form), &sa(301, suite, form));
            for len in [0, 46, 1000, 1500] {
                a.tap.send(&frame(len)).unwrap();
                assert_eq!(receive(&b.tap), frame(len), "{framing:?} {}", suite.name());
            }
            // The last one did not fit, and only one framing cuts it before it is sealed.
            let pieces = if framing == Framing::EtherIpFragments {
                2
            } else {
                0
            };
            assert_eq!(a.engine.counter(Counter::FragmentsSent), pieces);
            let last = [4, 5][usize::from(pieces > 0)];
            assert_eq!(b.inbound(300).sequence, last);
        }
    }
}

/// As cutehip and hip-vpls seal.
#[test]
fn whole_macs_and_octets_in_front_of_no_cipher_text() {
    let format = Format {
        icv_len: Some(32),
        null_iv: true,
        alignment: Some(16),
        ..NO_ESN
    };
    for suite in [
        Suite::NullSha256,
        Suite::Aes128CbcSha256,
        Suite::Aes256CbcSha256,
    ] {
        let form = PacketForm {
            format,
            framing: Framing::EtherIp,
            ..PacketForm::default()
        };
        let (a, b) = (Node::new(1), Node::new(2));
        connect(&a, &b, &sa(300, suite, form), &sa(301, suite, form));
        b.tap.send(&frame(77)).unwrap();
        assert_eq!(receive(&a.tap), frame(77));
    }
    let (a, b) = (Node::new(1), Node::new(2));
    let form = PacketForm {
        format,
        ..PacketForm::default()
    };
    for direction in [Direction::In, Direction::Out] {
        let refused = a.try_add_sa(direction, &sa(300, Suite::AesGcm16, form), b.identity());
        assert!(refused.unwrap_err().to_string().contains("ICV"));
    }
}

#[test]
fn a_frame_in_another_form_is_none() {
    for (sent, expected, reason) in [
        (Framing::Ethernet, Framing::EtherIp, DropReason::BadBeet),
        (Framing::EtherIp, Framing::Ethernet, DropReason::BadBeet),
    ] {
        let (a, b) = (Node::new(1), Node::new(2));
        let form = |framing| PacketForm {
            framing,
            ..PacketForm::default()
        };
        let suite = Suite::AesGcm16;
        b.add_sa(Direction::In, &sa(300, suite, form(expected)), a.identity());
        a.add_sa(Direction::Out, &sa(300, suite, form(sent)), b.identity());
        a.tap.send(&frame(100)).unwrap();
        b.wait_drops(reason, 1);
        silent(&b.tap);
    }
}

/// What a static multicast security association is: one SPI and one key for all who send.
#[test]
fn several_senders_with_one_key() {
    let form = PacketForm {
        format: NO_ESN,
        framing: Framing::Ethernet,
        replay: false,
        ..PacketForm::default()
    };
    let (a, b, mut c) = (Node::new(1), Node::new(2), Node::new(3));
    let group = sa(300, Suite::TripleDesSha1, form);
    c.add_sa(Direction::In, &group, (hit(9), a.address));
    for node in [&a, &b] {
        node.add_sa(Direction::Out, &group, (hit(9), c.address));
    }
    for len in [50, 60] {
        // The sequence numbers of both are the same.
        for node in [&a, &b] {
            node.tap.send(&frame(len)).unwrap();
            assert_eq!(receive(&c.tap), frame(len));
        }
    }
    assert_eq!((c.inbound(300).packets, c.inbound(300).replayed), (4, 0));
    std::thread::sleep(Duration::from_millis(300));
    a.tap.send(&frame(50)).unwrap();
    receive(&c.tap);
    let moved = c
        .events()
        .into_iter()
        .find(|event| matches!(event, Event::SourceChanged { .. }));
    assert_eq!(moved, None, "they are in several places at once");
    // Without a window nobody can tell the high half of a number.
    let form = PacketForm {
        format: Format::default(),
        ..form
    };
    let refused = c.try_add_sa(Direction::In, &sa(301, Suite::NullSha1, form), a.identity());
    assert!(refused.unwrap_err().to_string().contains("window"));
}

#[test]
fn without_esn_each_number_is_taken_once() {
    let form = PacketForm {
        format: NO_ESN,
        ..PacketForm::default()
    };
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    let one = sa(300, Suite::Aes128CbcSha1, form);
    c.add_sa(Direction::In, &one, a.identity());
    for node in [&a, &b] {
        node.add_sa(Direction::Out, &one, c.identity());
    }
    a.tap.send(&frame(50)).unwrap();
    assert_eq!(receive(&c.tap), frame(50));
    b.tap.send(&frame(51)).unwrap();
    c.wait_drops(DropReason::Replayed, 1);
    silent(&c.tap);
}

/// A host with a HIT of each version: packets leave by the one that the peer knows.
#[test]
fn hosts_of_both_versions() {
    let options = Options {
        both_versions: true,
        ..Options::default()
    };
    let (mut a, mut b) = (Node::with(1, options), Node::with(2, options));
    let form = PacketForm {
        format: NO_ESN,
        framing: Framing::Ethernet,
        ..PacketForm::default()
    };
    let of_v1 = |spi| sa(spi, Suite::Aes128CbcSha1, form);
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    for v6 in [true, false] {
        let sent = datagram_between(v6, hit(1), hit(2), b"by version 2");
        a.tun.send(&sent).unwrap();
        assert_eq!(receive(&b.tun), sent);
    }
    (a.hit, b.hit) = (hit_v1(1), hit_v1(2));
    connect(&a, &b, &of_v1(302), &of_v1(303));
    let sent = datagram_between(true, hit_v1(1), hit_v1(2), b"by version 1");
    a.tun.send(&sent).unwrap();
    assert_eq!(receive(&b.tun), sent);
    // From the other name of this host, the peer could not check it.
    let wrong = datagram_between(true, hit(1), hit_v1(2), b"by neither");
    a.tun.send(&wrong).unwrap();
    a.wait_drops(DropReason::NoPeer, 1);

    // Now the LSI is that of version 1. The first packet has no mark: with no memory it is IPv6.
    let by_lsi = datagram_between(false, hit(1), hit(2), b"hello");
    a.tun.send(&by_lsi).unwrap();
    let got = receive(&b.tun);
    assert_eq!(
        (got[0] >> 4, &got[8..24], &got[24..40]),
        (6, &hit_v1(1)[..], &hit_v1(2)[..])
    );
    assert_eq!(checksum::fold(transport_sum(&got)), 0xffff);
    // The answer to what went out by LSI comes in by LSI.
    let mut answer = datagram_between(true, hit_v1(2), hit_v1(1), b"hello");
    for (at, port) in [(40, &by_lsi[22..24]), (42, &by_lsi[20..22])] {
        answer[at..at + 2].copy_from_slice(port);
    }
    b.tun.send(&answer).unwrap();
    let got = receive(&a.tun);
    assert_eq!(
        (got[0] >> 4, &got[12..16], &got[16..20]),
        (4, &lsi(2)[..], &lsi(1)[..])
    );
    assert_eq!(checksum::fold(transport_sum(&got)), 0xffff);
}
