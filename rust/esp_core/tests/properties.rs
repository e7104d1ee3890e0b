//! What holds for all payloads, keys and octets.

use esp_core::{
    error::Error,
    esp::{Opener, Sealer, Unsealed},
    layout::{Format, Layout},
    suite::Suite,
};
use proptest::prelude::*;

fn suites() -> impl Strategy<Value = Suite> {
    prop::sample::select(Suite::ALL.to_vec())
}

fn pair(suite: Suite, spi: u32, seed: u8) -> (Sealer, Opener) {
    let enc_key = vec![seed; suite.encryption_key_len()];
    let auth_key = vec![seed ^ 0x5A; suite.authentication_key_len()];
    (
        Sealer::new(suite, spi, &enc_key, &auth_key).unwrap(),
        Opener::new(suite, spi, &enc_key, &auth_key).unwrap(),
    )
}

fn seal(sealer: &Sealer, seq: u64, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut buf = vec![0; sealer.sealed_len(payload.len())];
    buf[sealer.header_len()..][..payload.len()].copy_from_slice(payload);
    let len = sealer
        .seal(seq, next_header, &mut buf, payload.len())
        .unwrap();
    assert_eq!(len, buf.len());
    buf
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(
        suite in suites(),
        spi in 256u32..,
        seed: u8,
        seq in 1u64..,
        next_header: u8,
        payload in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let (sealer, opener) = pair(suite, spi, seed);
        let mut packet = seal(&sealer, seq, next_header, &payload);
        prop_assert_eq!(packet.len() % 4, 0);
        let (range, opened_next_header) = opener.open(seq, &mut packet).unwrap();
        prop_assert_eq!(&packet[range], &payload[..]);
        prop_assert_eq!(opened_next_header, next_header);
    }

    #[test]
    fn a_batch_is_sealed_as_its_packets_are(
        suite in suites(),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..30),
    ) {
        let (sealer, _) = pair(suite, 1000, 1);
        let expected: Vec<_> =
            (1..).zip(&payloads).map(|(seq, payload)| seal(&sealer, seq, 4, payload)).collect();

        let mut bufs: Vec<_> = payloads
            .iter()
            .map(|payload| {
                let mut buf = vec![0xEE; sealer.sealed_len(payload.len()) + 5];
                buf[sealer.header_len()..][..payload.len()].copy_from_slice(payload);
                buf
            })
            .collect();
        let mut batch: Vec<_> = (1..)
            .zip(bufs.iter_mut().zip(&payloads))
            .map(|(seq, (buf, payload))| {
                Unsealed { seq, next_header: 4, buf, payload_len: payload.len() }
            })
            .collect();
        prop_assert_eq!(sealer.seal_batch(&mut batch), Ok(()));
        for (buf, expected) in bufs.iter().zip(&expected) {
            prop_assert_eq!(&buf[..expected.len()], &expected[..]);
            prop_assert_eq!(&buf[expected.len()..], &[0xEE; 5]);
        }
    }

    #[test]
    fn a_changed_octet_is_noticed(
        suite in suites(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        place: prop::sample::Index,
        change in 1u8..,
    ) {
        let (sealer, opener) = pair(suite, 1000, 1);
        let mut packet = seal(&sealer, 1 << 40, 4, &payload);
        let place = place.index(packet.len());
        packet[place] ^= change;
        let expected = if place < 8 { Error::HeaderMismatch } else { Error::Authentication };
        prop_assert_eq!(opener.open(1 << 40, &mut packet), Err(expected));
    }

    #[test]
    fn another_lap_of_the_sequence_number_is_noticed(
        suite in suites(),
        low in 1u32..,
        (sent, inferred) in (any::<u32>(), any::<u32>()).prop_filter("same", |(a, b)| a != b),
    ) {
        let (sealer, opener) = pair(suite, 1000, 1);
        let mut packet = seal(&sealer, u64::from(sent) << 32 | u64::from(low), 4, b"payload");
        let seq = u64::from(inferred) << 32 | u64::from(low);
        prop_assert_eq!(opener.open(seq, &mut packet), Err(Error::Authentication));
    }

    #[test]
    fn random_octets_never_panic(
        suite in suites(),
        seq: u64,
        mut packet in prop::collection::vec(any::<u8>(), 0..120),
        header_fits: bool,
    ) {
        let (_, opener) = pair(suite, 1000, 1);
        if header_fits && packet.len() >= 8 {
            packet[..4].copy_from_slice(&1000u32.to_be_bytes());
            packet[4..8].copy_from_slice(&(seq as u32).to_be_bytes());
        }
        prop_assert!(opener.open(seq, &mut packet).is_err());
    }

    /// The peer has the keys: padding and trailer may be anything.
    #[test]
    fn authentic_nonsense_never_panics(
        auth_key: [u8; 32],
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        use hmac::{Hmac, KeyInit, Mac};
        let opener = Opener::new(Suite::NullSha256, 1000, &[], &auth_key).unwrap();
        let mut packet = [&1000u32.to_be_bytes()[..], &7u32.to_be_bytes(), &body].concat();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&auth_key).unwrap();
        mac.update(&packet);
        mac.update(&[0; 4]);
        packet.extend_from_slice(&mac.finalize().into_bytes()[..16]);

        let expected = match body[..] {
            [] | [_] => Err(Error::Malformed),
            [ref front @ .., padding_len, next_header] => {
                let padding_len = usize::from(padding_len);
                match front.len().checked_sub(padding_len) {
                    Some(payload_len)
                        if front[payload_len..].iter().copied().eq(1..=padding_len as u8)
                            || padding_len == 0 =>
                    {
                        Ok((8..8 + payload_len, next_header))
                    }
                    _ => Err(Error::Padding),
                }
            }
        };
        prop_assert_eq!(opener.open(7, &mut packet), expected);
    }

    #[test]
    fn a_buffer_too_small_is_refused(
        suite in suites(),
        buf_len in 0usize..200,
        payload_len in prop_oneof![0usize..200, Just(usize::MAX), Just(usize::MAX / 2)],
    ) {
        let (sealer, _) = pair(suite, 1000, 1);
        let mut buf = vec![0; buf_len];
        let fits = payload_len < 200 && sealer.sealed_len(payload_len) <= buf_len;
        let expected = if fits { Ok(sealer.sealed_len(payload_len)) } else { Err(Error::BufferTooSmall) };
        prop_assert_eq!(sealer.seal(1, 4, &mut buf, payload_len), expected);
    }

    #[test]
    fn max_payload_is_the_inverse_of_sealed_len(suite in suites(), budget in 0usize..3000) {
        let most = suite.max_payload(budget);
        if budget >= suite.sealed_len(0) {
            prop_assert!(suite.sealed_len(most) <= budget);
        } else {
            prop_assert_eq!(most, 0);
        }
        prop_assert!(suite.sealed_len(most + 1) > budget);
    }
}

/// Every form that packets of suites with a MAC of their own may have.
fn formats() -> impl Strategy<Value = (Suite, Format)> {
    let suites = Suite::ALL.into_iter().filter(|suite| suite.mac_len() > 0);
    let suite = prop::sample::select(suites.collect::<Vec<_>>());
    suite.prop_flat_map(|suite| {
        let icv_len = prop::option::of(12..=suite.mac_len());
        (
            Just(suite),
            any::<bool>(),
            icv_len,
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(suite, esn, icv_len, null_iv, padded)| {
                let format = Format {
                    esn,
                    icv_len,
                    null_iv,
                    alignment: padded.then_some(16),
                };
                (suite, format)
            })
    })
}

proptest! {
    #[test]
    fn every_form_is_opened_as_it_was_sealed(
        (suite, format) in formats(),
        seq in 1u32..,
        high in 1u32..,
        payload in prop::collection::vec(any::<u8>(), 0..300),
        flipped in any::<prop::sample::Index>(),
    ) {
        let (enc, auth) = (vec![1; suite.encryption_key_len()], vec![2; suite.mac_len()]);
        let sealer = Sealer::with_format(suite, &format, 1000, &enc, &auth).unwrap();
        let opener = Opener::with_format(suite, &format, 1000, &enc, &auth).unwrap();
        let packet = seal(&sealer, seq.into(), 4, &payload);
        let layout = Layout::new(suite, &format).unwrap();
        prop_assert_eq!(packet.len(), layout.sealed_len(payload.len()));
        prop_assert_eq!(layout.max_payload(packet.len()) >= payload.len(), true);

        let mut good = packet.clone();
        let (range, next_header) = opener.open(seq.into(), &mut good).unwrap();
        prop_assert_eq!((&good[range], next_header), (&payload[..], 4));
        let mut bad = packet.clone();
        bad[flipped.index(packet.len())] ^= 1;
        prop_assert!(opener.open(seq.into(), &mut bad).is_err());

        // The high half counts with ESN, and is never there without.
        let far = u64::from(high) << 32 | u64::from(seq);
        let mut buf = packet.clone();
        if format.esn {
            prop_assert!(opener.open(far, &mut buf).is_err());
            sealer.seal(far, 4, &mut buf, payload.len()).unwrap();
            prop_assert!(opener.open(far, &mut buf).is_ok());
        } else {
            let refused = sealer.seal(far, 4, &mut buf, payload.len());
            prop_assert_eq!(refused, Err(Error::SequenceTooHigh));
        }
    }
}

#[test]
fn combined_algorithms_without_esn_authenticate_what_travels() {
    let format = Format {
        esn: false,
        ..Format::default()
    };
    let sealer = Sealer::with_format(Suite::AesGcm16, &format, 1000, &[1; 20], &[]).unwrap();
    let opener = Opener::with_format(Suite::AesGcm16, &format, 1000, &[1; 20], &[]).unwrap();
    let packet = seal(&sealer, 7, 4, b"hello");
    assert!(opener.open(7, &mut packet.clone()).is_ok());
    let (_, with_esn) = pair(Suite::AesGcm16, 1000, 1);
    assert_eq!(
        with_esn.open(7, &mut packet.clone()),
        Err(Error::Authentication)
    );
}

#[test]
fn bad_parameters_are_refused() {
    for suite in Suite::ALL {
        let (enc, auth) = (suite.encryption_key_len(), suite.authentication_key_len());
        let make = |spi, enc, auth| {
            let sealer = Sealer::new(suite, spi, &vec![1; enc], &vec![1; auth]).map(|_| ());
            let opener = Opener::new(suite, spi, &vec![1; enc], &vec![1; auth]).map(|_| ());
            assert_eq!(sealer, opener);
            sealer
        };
        assert_eq!(make(256, enc, auth), Ok(()));
        for spi in [0, 1, 255] {
            assert_eq!(make(spi, enc, auth), Err(Error::ReservedSpi(spi)));
        }
        for (wrong_enc, wrong_auth, expected, actual) in [
            (enc + 1, auth, enc, enc + 1),
            (enc, auth + 1, auth, auth + 1),
            (0, 0, if enc == 0 { auth } else { enc }, 0),
        ] {
            assert_eq!(
                make(256, wrong_enc, wrong_auth),
                Err(Error::KeyLength {
                    suite,
                    expected,
                    actual
                })
            );
        }
    }
}

#[test]
fn sequence_number_zero_is_never_sent() {
    let (sealer, _) = pair(Suite::AesGcm16, 1000, 1);
    assert_eq!(
        sealer.seal(0, 4, &mut [0; 100], 10),
        Err(Error::SequenceZero)
    );
}

#[test]
fn a_batch_with_a_bad_packet_is_not_sealed() {
    for suite in Suite::ALL {
        let (sealer, _) = pair(suite, 1000, 1);
        let (mut good, mut small) = ([7; 200], [7; 20]);
        let mut batch = [
            Unsealed {
                seq: 1,
                next_header: 4,
                buf: &mut good,
                payload_len: 100,
            },
            Unsealed {
                seq: 2,
                next_header: 4,
                buf: &mut small,
                payload_len: 20,
            },
        ];
        assert_eq!(sealer.seal_batch(&mut batch), Err(Error::BufferTooSmall));
        assert_eq!(good[sealer.header_len()..][..100], [7; 100], "{suite:?}");
    }
}

/// Two packets of one plain text share neither IV nor cipher text.
#[test]
fn equal_payloads_are_sealed_differently() {
    for suite in Suite::ALL.into_iter().filter(|suite| suite.iv_len() > 0) {
        let (sealer, _) = pair(suite, 1000, 1);
        let (one, other) = (seal(&sealer, 1, 4, &[0; 64]), seal(&sealer, 2, 4, &[0; 64]));
        let header_len = sealer.header_len();
        assert_ne!(one[8..header_len], other[8..header_len], "{suite:?}");
        assert_ne!(one[header_len..], other[header_len..], "{suite:?}");
    }
}
