use proptest::prelude::*;

use super::{
    input::{ambiguous_ports, rebuild, Endpoints},
    output::{classify, payload_len, strip, Destination},
    too_big, *,
};
use crate::{
    drops::DropReason,
    packet::{
        be16, be32,
        ip::{Header, Version, V4, V6},
        put16,
    },
};

const HIT_A: Hit = [0x20, 1, 0, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const HIT_B: Hit = [0x20, 1, 0, 0x25, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2];
// Each host has names of its own for both.
const LSIS_AT_A: (Lsi, Lsi) = ([1, 0, 0, 1], [1, 0, 0, 2]);
const LSIS_AT_B: (Lsi, Lsi) = ([1, 7, 7, 7], [1, 8, 8, 8]);

fn hits(first: Hit) -> LocalHits {
    LocalHits::new(first, None)
}

fn at_a() -> Translation {
    Translation::new((&HIT_A, &HIT_B), LSIS_AT_A)
}

fn at_b() -> Endpoints {
    Endpoints {
        local_hit: HIT_B,
        peer_hit: HIT_A,
        local_lsi: LSIS_AT_B.1,
        peer_lsi: Some(LSIS_AT_B.0),
        traffic_class: 0xb9,
        hop_limit: 63,
    }
}

/// A packet from A to B as A's kernel makes it.
fn packet(v6: bool, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 60];
    let len = if v6 {
        V6 {
            traffic_class: 0xb9,
            next_header: protocol,
            hop_limit: 64,
            source: HIT_A,
            destination: HIT_B,
            payload_len: body.len(),
        }
        .emit(&mut packet)
    } else {
        V4 {
            traffic_class: 0xb9,
            identification: 5,
            fragment: V4::DONT_FRAGMENT,
            hop_limit: 64,
            protocol,
            source: LSIS_AT_A.0,
            destination: LSIS_AT_A.1,
            payload_len: body.len(),
        }
        .emit(&mut packet, &[])
    };
    packet.truncate(len);
    packet.extend_from_slice(body);
    if let Some(offset) = checksum_offset(protocol) {
        put16(&mut packet[len..], offset, 0);
        let sum = transport_sum(&packet);
        checksum::store_udp(&mut packet[len..], offset, sum);
    }
    packet
}

fn transport_sum(packet: &[u8]) -> u64 {
    let header = Header::parse(packet).unwrap();
    let (source, destination) = header.addresses(packet);
    let segment = &packet[header.len..header.total];
    checksum::add(
        checksum::pseudo_header(source, destination, header.protocol, segment.len()),
        segment,
    )
}

/// Strip at A; returns what ESP carries.
fn carried(packet: &[u8]) -> Result<(u8, Vec<u8>), DropReason> {
    let mut packet = packet.to_vec();
    let (header, _) = classify(&packet, &hits(HIT_A), LSIS_AT_A.0)?;
    let payload = strip(&mut packet, &header, &at_a())?;
    assert_eq!(payload.end - payload.start, payload_len(&header, &at_a()));
    Ok((
        payload.next_header,
        packet[payload.start..payload.end].to_vec(),
    ))
}

/// Rebuild at B.
fn delivered(next_header: u8, payload: &[u8], lsi: bool) -> Result<Vec<u8>, DropReason> {
    let mut payload = payload.to_vec();
    let rebuilt = rebuild(next_header, &mut payload, &at_b(), lsi)?;
    Ok([rebuilt.header(), &payload[rebuilt.rest..]].concat())
}

#[test]
fn names() {
    assert!(is_hit(&HIT_A) && is_lsi(&LSIS_AT_A.0));
    let of_hipv1 = [0x20, 1, 0, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert!(is_hit(&of_hipv1) && is_hit_v1(&of_hipv1) && !is_hit_v1(&HIT_A));
    assert!(!is_hit(&[
        0x20, 1, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
    ]));
    assert!(!is_hit(&[
        0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
    ]));
    assert!(!is_lsi(&[10, 0, 0, 1]));
}

#[test]
fn who_may_send_to_whom() {
    let right = packet(true, 6, &[0; 20]);
    assert_eq!(
        classify(&right, &hits(HIT_A), LSIS_AT_A.0).unwrap().1,
        Destination::Hit(HIT_B)
    );
    assert_eq!(
        classify(&right, &hits(HIT_B), LSIS_AT_A.0),
        Err(DropReason::WrongSource)
    );
    let both = LocalHits::new(HIT_B, Some(HIT_A));
    assert!(classify(&right, &both, LSIS_AT_A.0).is_ok());
    let mut elsewhere = right.clone();
    elsewhere[24..28].copy_from_slice(&[0xff, 2, 0, 0]);
    assert_eq!(
        classify(&elsewhere, &hits(HIT_A), LSIS_AT_A.0),
        Err(DropReason::NotAPeerAddress)
    );
    let by_lsi = packet(false, 17, &[0; 8]);
    assert_eq!(
        classify(&by_lsi, &hits(HIT_A), LSIS_AT_A.0).unwrap().1,
        Destination::Lsi(LSIS_AT_A.1)
    );
    let mut fragment = by_lsi;
    put16(&mut fragment, 6, 0x2000);
    assert!(
        classify(&fragment, &hits(HIT_A), LSIS_AT_A.0)
            .unwrap()
            .0
            .fragment
    );
    assert_eq!(
        classify(&[0x60; 30], &hits(HIT_A), LSIS_AT_A.0),
        Err(DropReason::BadInnerPacket)
    );
}

#[test]
fn protocols_with_another_meaning_inside_esp_are_refused() {
    for (v6, protocol) in [
        (true, 59),
        (true, 97),
        (true, 94),
        (true, 1),
        (true, 0),
        (false, 58),
        (false, 44),
        (false, 97),
    ] {
        assert_eq!(
            carried(&packet(v6, protocol, &[0; 40])),
            Err(DropReason::InnerProtocol),
            "{protocol}"
        );
    }
    assert_eq!(
        carried(&packet(true, 44, &[97, 0, 0, 1, 0, 0, 0, 1, 2])),
        Err(DropReason::InnerProtocol)
    );
}

#[test]
fn by_hit_only_the_header_goes() {
    let sent = packet(true, 6, &[7; 40]);
    let (next_header, payload) = carried(&sent).unwrap();
    assert_eq!((next_header, &payload[..]), (6, &sent[40..]));
    let mut got = delivered(6, &payload, false).unwrap();
    got[7] = 64;
    assert_eq!(got, sent);
}

#[test]
fn an_ipv6_fragment_is_carried() {
    let sent = packet(true, 44, &[17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
    let (next_header, payload) = carried(&sent).unwrap();
    assert_eq!(next_header, 44);
    assert_eq!(delivered(44, &payload, false).unwrap()[40..], sent[40..]);
}

#[test]
fn udp_without_checksum_gets_one() {
    let mut sent = packet(false, 17, &[0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4]);
    put16(&mut sent, 26, 0);
    let (next_header, payload) = carried(&sent).unwrap();
    assert_eq!(next_header, 94);
    let mut by_hit = packet(true, 17, &payload[8..]);
    by_hit[46..48].copy_from_slice(&payload[14..16]);
    assert_eq!(checksum::fold(transport_sum(&by_hit)), 0xffff);
    let got = delivered(next_header, &payload, false).unwrap();
    assert_eq!(checksum::fold(transport_sum(&got)), 0xffff);
}

#[test]
fn ipv4_options_travel_and_are_restored() {
    // As another implementation would send it: 4 octets of options, so no padding.
    let body = packet(true, 6, &[3; 20])[40..].to_vec();
    let payload = [&[6, 0, 0, 0, 7, 4, 4, 0][..], &body].concat();
    let got = delivered(94, &payload, false).unwrap();
    let header = Header::parse(&got).unwrap();
    assert_eq!((header.version, header.len), (Version::V4, 24));
    assert_eq!(got[20..24], [7, 4, 4, 0]);
    assert_eq!(checksum::fold(transport_sum(&got)), 0xffff);
}

#[test]
fn bad_pseudo_headers() {
    for bad in [
        &[6, 0, 4][..],
        &[6, 1, 4, 0, 1, 1, 1, 1],
        &[6, 0, 3, 0, 1, 1, 1, 1],
        &[94, 0, 4, 0, 1, 1, 1, 1],
        &[6, 0, 4, 0, 1, 1, 1, 1, 0, 0],
        &[6; 400],
    ] {
        assert_eq!(
            delivered(94, bad, false),
            Err(DropReason::BadBeet),
            "{bad:?}"
        );
    }
    assert_eq!(delivered(59, &[], false), Err(DropReason::BadBeet));
    // Reassembled, they could be longer than IPv4 packets are.
    for next_header in [1, 17] {
        let long = vec![0xff; 65_535];
        assert_eq!(
            delivered(next_header, &long, true),
            Err(DropReason::BadBeet)
        );
    }
}

#[test]
fn ipv4_for_a_peer_without_lsi() {
    let endpoints = Endpoints {
        peer_lsi: None,
        ..at_b()
    };
    let error = rebuild(1, &mut [0; 8], &endpoints, false).unwrap_err();
    assert_eq!(error, DropReason::NoLsi);
}

#[test]
fn a_quoted_packet_gets_the_names_used_here() {
    // B's kernel refuses a packet of A, which it knows by other LSIs than A does.
    let mut quoted = packet(false, 17, &[0, 1, 0, 2, 0, 8, 0, 0]);
    quoted[12..16].copy_from_slice(&LSIS_AT_B.0);
    quoted[16..20].copy_from_slice(&LSIS_AT_B.1);
    crate::packet::ip::store_v4_checksum(&mut quoted[..20]);
    let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
    let sum = checksum::add(0, &message);
    checksum::store(&mut message, 2, sum);
    let at_a = Endpoints {
        local_hit: HIT_A,
        peer_hit: HIT_B,
        local_lsi: LSIS_AT_A.0,
        peer_lsi: Some(LSIS_AT_A.1),
        traffic_class: 0,
        hop_limit: 64,
    };
    rebuild(1, &mut message, &at_a, false).unwrap();
    assert_eq!(message[20..24], LSIS_AT_A.0);
    assert_eq!(message[24..28], LSIS_AT_A.1);
    assert_eq!(checksum::fold(checksum::add(0, &message)), 0xffff);
    assert_eq!(checksum::fold(checksum::add(0, &message[8..28])), 0xffff);
}

#[test]
fn too_big_is_answered_in_both_families() {
    let mut out = [0; too_big::MAX_ANSWER];
    for (v6, kind, len) in [(true, 2, 1280), (false, 3, 576)] {
        let sent = packet(v6, 17, &[7; 3000]);
        let header = Header::parse(&sent).unwrap();
        let got = too_big::answer(&sent, &header, 1400, &mut out);
        assert_eq!(got, len);
        let answer = Header::parse(&out[..len]).unwrap();
        assert_eq!(answer.total, len);
        assert_eq!(answer.addresses(&out).1, header.addresses(&sent).0);
        let message = &out[answer.len..len];
        assert_eq!(message[0], kind);
        if v6 {
            assert_eq!(be32(message, 4), 1400);
            assert_eq!(checksum::fold(transport_sum(&out[..len])), 0xffff);
        } else {
            assert_eq!(be16(message, 6), 1400);
            assert_eq!(checksum::fold(checksum::add(0, message)), 0xffff);
        }
        assert_eq!(message[8..28], sent[..20]);
    }
}

proptest! {
    #[test]
    fn lsi_traffic_arrives_with_right_checksums(
        protocol in prop::sample::select(vec![6u8, 17, 33, 136, 132]),
        body in prop::collection::vec(any::<u8>(), 20..200),
        marked in any::<bool>(),
    ) {
        let sent = packet(false, protocol, &body);
        let (next_header, payload) = carried(&sent).unwrap();
        prop_assert_eq!(next_header, 94);
        // On the wire the checksum counts HITs.
        if let Some(offset) = checksum_offset(protocol) {
            let mut by_hit = packet(true, protocol, &payload[8..]);
            by_hit[40 + offset..42 + offset]
                .copy_from_slice(&payload[8 + offset..10 + offset]);
            prop_assert_eq!(checksum::fold(transport_sum(&by_hit)), 0xffff);
        }
        let got = if marked {
            delivered(94, &payload, false).unwrap()
        } else {
            delivered(protocol, &payload[8..], true).unwrap()
        };
        let header = Header::parse(&got).unwrap();
        prop_assert_eq!(header.total, got.len());
        prop_assert_eq!((header.traffic_class, header.hop_limit), (0xb9, 63));
        let expected = (&LSIS_AT_B.0[..], &LSIS_AT_B.1[..]);
        prop_assert_eq!(header.addresses(&got), expected);
        if checksum_offset(protocol).is_some() {
            prop_assert_eq!(checksum::fold(transport_sum(&got)), 0xffff);
        } else {
            prop_assert_eq!(&got[20..], &sent[20..]);
        }
    }

    #[test]
    fn any_payload(
        next_header in any::<u8>(),
        mut payload in prop::collection::vec(any::<u8>(), 0..100),
        lsi in any::<bool>(),
    ) {
        let _ = ambiguous_ports(next_header, &payload);
        if let Ok(rebuilt) = rebuild(next_header, &mut payload, &at_b(), lsi) {
            let packet = [rebuilt.header(), &payload[rebuilt.rest..]].concat();
            prop_assert_eq!(Header::parse(&packet).unwrap().total, packet.len());
        }
    }

    #[test]
    fn any_packet(
        mut packet in prop::collection::vec(any::<u8>(), 0..100),
        v6 in any::<bool>(),
    ) {
        if packet.len() > 40 {
            // Otherwise hardly any would get beyond its addresses.
            if v6 {
                packet[0] = 0x60;
                packet[4] = 0;
                packet[8..24].copy_from_slice(&HIT_A);
                packet[24..40].copy_from_slice(&HIT_B);
            } else {
                packet[0] = 0x40 | packet[0] & 0x0f;
                packet[2] = 0;
                packet[12..16].copy_from_slice(&LSIS_AT_A.0);
                packet[16..20].copy_from_slice(&LSIS_AT_A.1);
            }
        }
        let _ = carried(&packet);
    }
}

/// Peers of HIPv1 do not know the pseudo header: IPv4 is carried as IPv6 is, checksums over HITs.
#[test]
fn hosts_of_hipv1_get_ipv4_unmarked() {
    let (ours, theirs) = ([0x20, 1, 0, 0x1b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], {
        let mut hit = HIT_B;
        hit[3] = 0x1c;
        hit
    });
    let translation = Translation::new((&ours, &theirs), LSIS_AT_A);
    for (protocol, body) in [(6, &[9; 30][..]), (17, &[9; 31]), (1, &[8; 20])] {
        let mut sent = packet(false, protocol, body);
        let (header, _) = classify(&sent, &hits(ours), LSIS_AT_A.0).unwrap();
        let payload = strip(&mut sent, &header, &translation).unwrap();
        assert_eq!(payload.next_header, protocol);
        assert_eq!(payload.end - payload.start, body.len());
        assert_eq!(payload_len(&header, &translation), body.len());
        let mut segment = sent[payload.start..payload.end].to_vec();
        if checksum_offset(protocol).is_some() {
            let sum = checksum::pseudo_header(&ours, &theirs, protocol, segment.len());
            assert_eq!(checksum::fold(checksum::add(sum, &segment)), 0xffff);
        }
        let endpoints = Endpoints {
            local_hit: theirs,
            peer_hit: ours,
            ..at_b()
        };
        let rebuilt = rebuild(protocol, &mut segment, &endpoints, protocol != 1).unwrap();
        let delivered = [rebuilt.header(), &segment[rebuilt.rest..]].concat();
        assert_eq!(delivered[0], 0x45);
        if checksum_offset(protocol).is_some() {
            assert_eq!(checksum::fold(transport_sum(&delivered)), 0xffff);
        }
    }
}
