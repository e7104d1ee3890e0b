//! ESP packets with known contents: from the drafts and RFCs, and from tests/vectors.

use std::{fs, path::Path};

use esp_core::{
    error::Error,
    esp::{Opener, Sealer},
    suite::Suite,
};
use serde_json::Value;

const FILES: [&str; 8] = [
    "esp_null_sha256.json",
    "esp_aes_128_cbc_sha256.json",
    "esp_aes_256_cbc_sha256.json",
    "esp_aes_128_ccm_8.json",
    "esp_aes_128_ccm_16.json",
    "esp_aes_128_gcm_8.json",
    "esp_aes_128_gcm_16.json",
    "esp_chacha20_poly1305.json",
];

fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(file);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn integer(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

struct Keys {
    suite: Suite,
    spi: u32,
    enc_key: Vec<u8>,
    auth_key: Vec<u8>,
}

impl Keys {
    fn opener(&self) -> Opener {
        Opener::new(self.suite, self.spi, &self.enc_key, &self.auth_key).unwrap()
    }

    fn sealer(&self) -> Sealer {
        Sealer::new(self.suite, self.spi, &self.enc_key, &self.auth_key).unwrap()
    }
}

fn error_name(error: Error) -> &'static str {
    match error {
        Error::Malformed => "Malformed",
        Error::HeaderMismatch => "HeaderMismatch",
        Error::Authentication => "Authentication",
        Error::Padding => "Padding",
        other => panic!("no packet causes {other:?}"),
    }
}

/// Call `test` for each test of each file with the keys of its group.
fn for_each_test(mut test: impl FnMut(&Keys, &Value, &str)) {
    for file in FILES {
        let vectors = read(file);
        let suite = Suite::from_id(integer(&vectors["suite"]) as u16).unwrap();
        let mut count = 0;
        for group in vectors["testGroups"].as_array().unwrap() {
            let keys = Keys {
                suite,
                spi: integer(&group["spi"]) as u32,
                enc_key: octets(&group["encKey"]),
                auth_key: octets(&group["authKey"]),
            };
            for vector in group["tests"].as_array().unwrap() {
                test(
                    &keys,
                    vector,
                    &format!("{file} {}: {}", vector["tcId"], vector["comment"]),
                );
                count += 1;
            }
        }
        assert_eq!(count, integer(&vectors["numberOfTests"]), "{file}");
    }
}

fn sequence(vector: &Value) -> u64 {
    u64::from_str_radix(vector["seq"].as_str().unwrap(), 16).unwrap()
}

#[test]
fn every_packet_is_opened_or_refused_as_the_vectors_say() {
    for_each_test(|keys, vector, name| {
        let mut packet = octets(&vector["packet"]);
        let opened = keys.opener().open(sequence(vector), &mut packet);
        if vector["result"] == "valid" {
            let (payload, next_header) = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(hex::encode(&packet[payload]), vector["payload"], "{name}");
            assert_eq!(
                u64::from(next_header),
                integer(&vector["nextHeader"]),
                "{name}"
            );
        } else {
            assert_eq!(
                opened.map_err(error_name),
                Err(vector["error"].as_str().unwrap()),
                "{name}"
            );
        }
    });
}

/// What hipgw sends is, octet for octet, what the other implementation sends. CBC's IV is random;
/// there the ICV covers another IV, and what is compared is everything that does not depend on it.
#[test]
fn every_normal_packet_is_sealed_as_the_vectors_say() {
    for_each_test(|keys, vector, name| {
        if vector["result"] != "valid" || vector["flags"][0] != "Normal" {
            return;
        }
        let (seq, expected) = (sequence(vector), octets(&vector["packet"]));
        let payload = octets(&vector["payload"]);
        let next_header = integer(&vector["nextHeader"]) as u8;

        let sealer = keys.sealer();
        let mut packet = vec![0xEE; expected.len() + 3];
        packet[sealer.header_len()..][..payload.len()].copy_from_slice(&payload);
        let len = sealer
            .seal(seq, next_header, &mut packet, payload.len())
            .unwrap();

        assert_eq!(len, expected.len(), "{name}");
        assert_eq!(packet.split_off(len), [0xEE; 3], "{name}");
        if matches!(keys.suite, Suite::Aes128CbcSha256 | Suite::Aes256CbcSha256) {
            assert_eq!(packet[..8], expected[..8], "{name}");
            assert_ne!(packet[8..24], expected[8..24], "{name}");
            let opened = keys.opener().open(seq, &mut packet);
            assert_eq!(opened, Ok((24..24 + payload.len(), next_header)), "{name}");
            assert_eq!(packet[24..24 + payload.len()], payload, "{name}");
        } else {
            assert_eq!(hex::encode(&packet), hex::encode(&expected), "{name}");
        }
    });
}

/// draft-mcgrew-gcm-test-01 §4, the first case: AES-128-GCM with extended sequence numbers.
#[test]
fn mcgrew_gcm_with_extended_sequence_number() {
    let packet = hex::decode(concat!(
        "00004321",
        "00000000",
        "4956ed7e3b244cfe",
        "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34",
        "cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce",
        "61bc17d768fd9732",
        "459018148f6cbe722fd04796562dfdb4",
    ))
    .unwrap();
    let payload = concat!(
        "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000",
        "00000000045f736970045f756470037369700963796265726369747902646b00",
        "00210001",
    );
    let key = hex::decode("4c80cdefbb5d10da906ac73c3613a6342e443b68").unwrap();
    let seq = 0x8765_4321_0000_0000;

    // Suite 12 has the same tag, cut to eight octets.
    for (suite, cut) in [(Suite::AesGcm16, 0), (Suite::AesGcm8, 8)] {
        let opener = Opener::new(suite, 0x4321, &key, &[]).unwrap();
        let mut packet = packet[..packet.len() - cut].to_vec();
        let (range, next_header) = opener.open(seq, &mut packet).unwrap();
        assert_eq!(hex::encode(&packet[range]), payload);
        assert_eq!(next_header, 1);
    }
}

/// RFC 5202 §5.1.2 and RFC 7402 §5.1.2, as the Python side has them too.
#[test]
fn suites_have_the_sizes_of_the_rfcs() {
    let sizes = Suite::ALL.map(|s| {
        (
            s.id(),
            s.encryption_key_len(),
            s.authentication_key_len(),
            s.iv_len(),
            s.icv_len(),
        )
    });
    assert_eq!(
        sizes,
        [
            (1, 16, 20, 16, 12),
            (2, 24, 20, 8, 12),
            (3, 24, 16, 8, 12),
            (4, 16, 20, 8, 12),
            (5, 0, 20, 0, 12),
            (6, 0, 16, 0, 12),
            (7, 0, 32, 0, 16),
            (8, 16, 32, 16, 16),
            (9, 32, 32, 16, 16),
            (10, 19, 0, 8, 8),
            (11, 19, 0, 8, 16),
            (12, 20, 0, 8, 8),
            (13, 20, 0, 8, 16),
            (0xFF01, 36, 0, 8, 16),
        ]
    );
    for id in 0..=u16::MAX {
        assert_eq!(
            Suite::from_id(id).map(Suite::id),
            sizes.iter().map(|s| s.0).find(|&i| i == id)
        );
    }
}
