//! Packets that other implementations were recorded sending (tests/vectors): each is opened with the
//! keys that its sender printed, found in the clear where that was recorded as well, and sealed again
//! with its own IV, which has to give the same octets.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::PathBuf,
};

use esp_core::{
    esp::{Opener, Sealer},
    l2::framing::Framing,
    layout::{Format, Layout},
    suite::Suite,
};
use serde_json::Value;

/// OpenHIP counts 32 bits.
const OPENHIP: Format = Format {
    esn: false,
    icv_len: None,
    null_iv: false,
    alignment: None,
};
const HIP_VPLS: Format = Format {
    icv_len: Some(32),
    alignment: Some(16),
    ..OPENHIP
};
const CUTEHIP: Format = Format {
    null_iv: true,
    ..HIP_VPLS
};

fn vectors(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors")
        .join(name)
}

fn sessions(stack: &str) -> Value {
    let text = fs::read_to_string(vectors(stack).join("sessions.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// The frames of a little-endian pcap file, and the octets in front of their IP packets.
fn frames(file: &str) -> (Vec<Vec<u8>>, usize) {
    let data = fs::read(vectors(file)).unwrap();
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    // Ethernet, Linux cooked mode (version 2), or nothing.
    let front = match word(20) {
        1 => 14,
        276 => 20,
        _ => 0,
    };
    let mut frames = Vec::new();
    let mut at = 24;
    while at < data.len() {
        let len = word(at + 8) as usize;
        assert_eq!(len, word(at + 12) as usize, "cut off");
        frames.push(data[at + 16..at + 16 + len].to_vec());
        at += 16 + len;
    }
    (frames, front)
}

/// The ESP packets of a capture, those of IPv4 fragments and those in UDP as well.
fn esp_packets(file: &str) -> Vec<Vec<u8>> {
    let (frames, front) = frames(file);
    let mut pending: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut found = Vec::new();
    for frame in frames {
        let ip = &frame[front..];
        let be16 = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        let (protocol, payload) = match ip[0] >> 4 {
            4 => {
                let body = &ip[usize::from(ip[0] & 15) * 4..usize::from(be16(2))];
                let name = [&ip[4..6], &ip[9..10], &ip[12..20]].concat();
                let mut whole = pending.remove(&name).unwrap_or_default();
                assert_eq!(whole.len(), usize::from(be16(6) & 0x1fff) * 8);
                whole.extend(body);
                if be16(6) & 0x2000 != 0 {
                    pending.insert(name, whole);
                    continue;
                }
                (ip[9], whole)
            }
            6 => (ip[6], ip[40..40 + usize::from(be16(4))].to_vec()),
            _ => continue,
        };
        match protocol {
            50 => found.push(payload),
            // What begins with zeros is a HIP packet (RFC 9028 §5.1).
            17 if payload[..4]
                .windows(2)
                .any(|port| port == 10500u16.to_be_bytes())
                && payload[8..12] != [0; 4] =>
            {
                found.push(payload[8..].to_vec());
            }
            _ => {}
        }
    }
    found
}

struct Keys {
    suite: Suite,
    encryption: Vec<u8>,
    authentication: Vec<u8>,
}

impl Keys {
    /// Open a packet and seal it again; (next header, payload), or None if the keys are not its.
    fn try_packet(&self, format: &Format, packet: &[u8]) -> Option<(u8, Vec<u8>)> {
        let spi = u32::from_be_bytes(packet[..4].try_into().unwrap());
        let seq = u64::from(u32::from_be_bytes(packet[4..8].try_into().unwrap()));
        let keys = (&self.encryption[..], &self.authentication[..]);
        let opener = Opener::with_format(self.suite, format, spi, keys.0, keys.1).unwrap();
        let mut opened = packet.to_vec();
        let (payload, next_header) = opener.open(seq, &mut opened).ok()?;
        let payload = opened[payload].to_vec();

        let sealer = Sealer::with_format(self.suite, format, spi, keys.0, keys.1).unwrap();
        let mut again = vec![0; sealer.sealed_len(payload.len())];
        again[sealer.header_len()..][..payload.len()].copy_from_slice(&payload);
        let iv = &packet[8..8 + Layout::new(self.suite, format).unwrap().iv_len()];
        sealer
            .seal_with_iv(seq, next_header, &mut again, payload.len(), iv)
            .unwrap();
        assert_eq!(hex::encode(again), hex::encode(packet));
        Some((next_header, payload))
    }
}

/// What the packets of a capture carry; all of them have to be of these keys.
fn opened(file: &str, format: &Format, keys: &[Keys]) -> Vec<(u8, Vec<u8>)> {
    let packets = esp_packets(file);
    assert!(!packets.is_empty(), "{file}");
    packets
        .iter()
        .map(|packet| {
            let found = keys.iter().find_map(|keys| keys.try_packet(format, packet));
            found.unwrap_or_else(|| panic!("{file}: no key for {}", hex::encode(packet)))
        })
        .collect()
}

/// All keys that the nodes of a case of OpenHIP's printed.
fn openhip_keys(case: &str) -> Vec<Keys> {
    let nodes = &sessions("openhip")[case]["nodes"];
    let mut found = Vec::new();
    for node in nodes.as_object().unwrap().values() {
        for entry in node["log"].as_array().unwrap() {
            let Some(keys) = entry["esp_keys"].as_array() else {
                continue;
            };
            let suite = Suite::from_id(entry["suite"].as_u64().unwrap() as u16).unwrap();
            let keys: Vec<_> = keys.iter().map(octets).collect();
            for pair in keys.chunks_exact(2) {
                found.push(Keys {
                    suite,
                    encryption: pair[0].clone(),
                    authentication: pair[1].clone(),
                });
            }
        }
    }
    found
}

#[test]
fn openhip_between_hosts() {
    for (case, suite, packets) in [
        ("v4-raw", 1, 18),
        ("v4-udp", 1, 18),
        ("v6-raw", 1, 18),
        ("suite2-raw", 2, 18),
        ("suite3-raw", 3, 18),
        ("suite4-raw", 4, 18),
        ("suite5-raw", 5, 18),
        ("suite6-raw", 6, 18),
        ("rekey-raw", 1, 200),
        ("rekey-dh-udp", 1, 680),
        ("mob-v4v6-raw", 1, 123),
    ] {
        let keys = openhip_keys(case);
        assert!(keys.iter().all(|keys| keys.suite.id() == suite));
        let payloads = opened(&format!("openhip/{case}.pcap"), &OPENHIP, &keys);
        assert_eq!(payloads.len(), packets, "{case}");
        // Pings, to LSIs and to HITs, without any mark of which it is but ICMP's own.
        for (next_header, payload) in payloads {
            let kind = payload[0];
            match next_header {
                1 => assert!(matches!(kind, 0 | 8), "{case}"),
                58 => assert!(matches!(kind, 128 | 129), "{case}"),
                other => panic!("{case}: next header {other}"),
            }
        }
    }
}

#[test]
fn openhip_between_endboxes() {
    for case in ["vpls-raw", "vpls-udp", "vpls-bcast", "vpls-static-mcast"] {
        let mut keys = openhip_keys(case);
        if case == "vpls-static-mcast" {
            let key: Vec<u8> = (0..24).collect();
            keys.push(Keys {
                suite: Suite::TripleDesSha1,
                authentication: key[..20].to_vec(),
                encryption: key,
            });
        }
        let lans: HashSet<_> = ["l1", "l2"]
            .into_iter()
            .flat_map(|lan| frames(&format!("openhip/{case}-{lan}.pcap")).0)
            .collect();
        for (next_header, payload) in opened(&format!("openhip/{case}.pcap"), &OPENHIP, &keys) {
            assert_eq!(next_header, Framing::Ethernet.next_header());
            let start = Framing::Ethernet.frame_start(&payload).unwrap();
            let frame = &payload[start..];
            assert!(lans.contains(frame), "{case}: {}", hex::encode(frame));
        }
    }
}

/// The associations of a case of cutehip's or hip-vpls'.
fn v2_keys(stack: &str, case: &str) -> Vec<Keys> {
    let mut found = Vec::new();
    for session in sessions(stack)[case].as_array().unwrap() {
        for association in session["associations"].as_array().unwrap() {
            let encryption = octets(&association["encryption_key"]);
            found.push(Keys {
                suite: match encryption.len() {
                    0 => Suite::NullSha256,
                    16 => Suite::Aes128CbcSha256,
                    _ => Suite::Aes256CbcSha256,
                },
                encryption,
                authentication: octets(&association["authentication_key"]),
            });
        }
    }
    found
}

#[test]
fn cutehip() {
    for case in ["c1", "c2", "c3", "c4"] {
        // (next header, payload) of the packets between HITs, which have no extension headers.
        let clear: HashSet<_> = frames(&format!("cutehip/{case}-inner.pcap"))
            .0
            .into_iter()
            .map(|packet| (packet[6], packet[40..].to_vec()))
            .collect();
        let keys = v2_keys("cutehip", case);
        for payload in opened(&format!("cutehip/{case}-outer.pcap"), &CUTEHIP, &keys) {
            assert!(clear.contains(&payload), "{case}: {payload:?}");
        }
    }
}

#[test]
fn hip_vpls() {
    const FIRST_HOST: [u8; 6] = [2, 0, 0, 0, 0, 2];
    for case in ["v1", "v2", "v3", "v4"] {
        let lan: HashSet<_> = frames(&format!("hip-vpls/{case}-h1-lan.pcap"))
            .0
            .into_iter()
            .collect();
        let keys = v2_keys("hip-vpls", case);
        for (next_header, payload) in
            opened(&format!("hip-vpls/{case}-core.pcap"), &HIP_VPLS, &keys)
        {
            assert_eq!(next_header, Framing::EtherIp.next_header());
            let frame = &payload[Framing::EtherIp.frame_start(&payload).unwrap()..];
            // What the others say to each other is not on the LAN of the first.
            let of_others = frame[..6] != FIRST_HOST && frame[6..12] != FIRST_HOST;
            let expected = lan.contains(frame) || case == "v3" && of_others;
            assert!(expected, "{case}: {}", hex::encode(frame));
        }
    }
}
