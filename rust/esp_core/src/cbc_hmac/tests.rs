//! Vectors that do not have the form of a whole ESP packet of these suites.

use super::*;

/// Octets of the ICV of HMAC-SHA-256-128 (RFC 4868 §2.6).
const ICV: usize = 16;

fn octets(hexadecimal: &str) -> Vec<u8> {
    let digits: String = hexadecimal.split_whitespace().collect();
    hex::decode(digits).unwrap()
}

/// RFC 3602 §4, cases 1 to 8: (key, IV, plain text with trailer, cipher text).
const AES_128_CBC: [(&str, &str, &str, &str); 8] = [
    (
        "06a9214036b8a15b512e03d534120006",
        "3dafba429d9eb430b422da802c9fac41",
        "53696e676c6520626c6f636b206d7367",
        "e353779c1079aeb82708942dbe77181a",
    ),
    (
        "c286696d887c9aa0611bbb3e2025a45a",
        "562e17996d093d28ddb3ba695a2e6f58",
        "000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f",
        "d296cd94c2cccf8a3a863028b5e1dc0a 7586602d253cfff91b8266bea6d61ab1",
    ),
    (
        "6c3ea0477630ce21a2ce334aa746c2cd",
        "c782dc4c098c66cbd9cd27d825682c81",
        "5468697320697320612034382d627974 65206d65737361676520286578616374
         6c7920332041455320626c6f636b7329",
        "d0a02b3836451753d493665d33f0e886 2dea54cdb293abc7506939276772f8d5
         021c19216bad525c8579695d83ba2684",
    ),
    (
        "56e47a38c5598974bc46903dba290349",
        "8ce82eefbea0da3c44699ed7db51b7d9",
        "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf b0b1b2b3b4b5b6b7b8b9babbbcbdbebf
         c0c1c2c3c4c5c6c7c8c9cacbcccdcecf d0d1d2d3d4d5d6d7d8d9dadbdcdddedf",
        "c30e32ffedc0774e6aff6af0869f71aa 0f3af07a9a31a9c684db207eb0ef8e4e
         35907aa632c3ffdf868bb7b29d3d46ad 83ce9f9a102ee99d49a53e87f4c3da55",
    ),
    (
        "90d382b4 10eeba7a d938c46c ec1a82bf",
        "e96e8c08 ab465763 fd098d45 dd3ff893",
        "08000ebd a70a0000 8e9c083d b95b0700 08090a0b 0c0d0e0f 10111213 14151617
         18191a1b 1c1d1e1f 20212223 24252627 28292a2b 2c2d2e2f 30313233 34353637
         01020304 05060708 090a0b0c 0d0e0e01",
        "f663c25d 325c18c6 a9453e19 4e120849 a4870b66 cc6b9965 330013b4 898dc856
         a4699e52 3a55db08 0b59ec3a 8e4b7e52 775b07d1 db34ed9c 538ab50c 551b874a
         a269add0 47ad2d59 13ac19b7 cfbad4a6",
    ),
    (
        "90d382b4 10eeba7a d938c46c ec1a82bf",
        "69d08df7 d203329d b093fc49 24e5bd80",
        "0800b5e8 a80a0500 a69c083d 0b660e00 77777777 77777777 77777777 01020201",
        "f5199588 1ec4e0c4 488987ce 742e8109 689bb379 d2d750c0 d915dca3 46a89f75",
    ),
    (
        "01234567 89abcdef 01234567 89abcdef",
        "f4e76524 4f6407ad f13dc138 0f673f37",
        "45000054 09040000 4001f988 c0a87b03 c0a87bc8 08009f76 a90a0100 b49c083d
         02a20400 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f 20212223
         24252627 28292a2b 2c2d2e2f 30313233 34353637 01020304 05060708 090a0a04",
        "773b5241 a4c44922 5e4f3ce5 ed611b0c 237ca96c f74a9301 3c1b0ea1 a0cf70f8
         e4ecaec7 8ac53aad 7a0f022b 859243c6 47752e94 a859352b 8a4d4d2d ecd136e5
         c177f132 ad3fbfb2 201ac990 4c74ee0a 109e0ca1 e4dfe9d5 a100b842 f1c22f0d",
    ),
    (
        "01234567 89abcdef 01234567 89abcdef",
        "85d47224 b5f3dd5d 2101d4ea 8dffab22",
        "45000044 090c0000 4001f990 c0a87b03 c0a87bc8 0800d63c aa0a0200 c69c083d
         a3de0300 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff
         ffffffff 01020304 05060708 090a0a04",
        "15b92683 819596a8 047232cc 00f7048f e45318e1 1f8a0f62 ede3c3fc 61203bb5
         0f980a08 c9843fd3 a1b06d5c 07ff9639 b7eb7dfb 3512e5de 435e7207 ed971ef3
         d2726d9b 5ef6affc 6d17a0de cbb13892",
    ),
];

/// RFC 4868 §2.7.2.1, AUTH256-1 to 4: (key, data, HMAC-SHA-256-128).
const HMAC_SHA_256_128: [(&str, &str, &str); 4] = [
    (
        "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b 0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        "4869205468657265",
        "198a607eb44bfbc69903a0f1cf2bbdc5",
    ),
    (
        "4a6566654a6566654a6566654a656665 4a6566654a6566654a6566654a656665",
        "7768617420646f2079612077616e7420 666f72206e6f7468696e673f",
        "167f928588c5cc2eef8e3093caa0e87c",
    ),
    (
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "dddddddddddddddddddddddddddddddd dddddddddddddddddddddddddddddddd
         dddddddddddddddddddddddddddddddd dddd",
        "cdcb1220d1ecccea91e53aba3092f962",
    ),
    (
        "0102030405060708090a0b0c0d0e0f10 1112131415161718191a1b1c1d1e1f20",
        "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
         cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd cdcd",
        "372efcf9b40b35c2115b1346903d2ef4",
    ),
];

#[test]
fn rfc_3602_section_4() {
    for (key, iv, plain, cipher) in AES_128_CBC {
        let cbc = CbcHmac::new(Suite::Aes128CbcSha256, &octets(key), &[1; 32], ICV, true).unwrap();
        let (iv, plain, cipher) = (octets(iv), octets(plain), octets(cipher));
        let mut packet = [vec![0; 8], iv, plain.clone(), vec![0; ICV]].concat();
        let body = 24..24 + plain.len();

        cbc.seal(&mut [(1, &mut packet)], 24).unwrap();
        assert_eq!(hex::encode(&packet[body.clone()]), hex::encode(&cipher));
        cbc.open(1, &mut packet, 24).unwrap();
        assert_eq!(hex::encode(&packet[body]), hex::encode(&plain));
    }
}

/// The high half of the sequence number is the end of what is authenticated, so the last four
/// octets of the data stand in for it.
#[test]
fn rfc_4868_section_2_7_2_1() {
    for (key, data, icv) in HMAC_SHA_256_128 {
        let (data, icv) = (octets(data), octets(icv));
        let (covered, high) = data.split_last_chunk::<4>().unwrap();
        let seq = u64::from(u32::from_be_bytes(*high)) << 32 | 7;
        let mac = CbcHmac::new(Suite::NullSha256, &[], &octets(key), ICV, true).unwrap();
        let mut packet = [covered, &[0; ICV]].concat();

        mac.seal(&mut [(seq, &mut packet)], 0).unwrap();
        assert_eq!(hex::encode(&packet[covered.len()..]), hex::encode(&icv));
        mac.open(seq, &mut packet, 0).unwrap();
        assert_eq!(
            mac.open(seq + (1 << 32), &mut packet, 0),
            Err(Error::Authentication)
        );
    }
}

/// RFC 2202 §2, §3: (HMAC-MD5, HMAC-SHA-1) over "what do ya want for nothing?" under "Jefe", and over
/// 50 octets of 0xdd under 0xaa in the length of the suite's key.
#[test]
fn macs_of_rfc_2202() {
    const ICV_LEN: usize = 12;
    for (suite, key, data, icv) in [
        (
            Suite::NullMd5,
            &b"Jefe"[..],
            &b"what do ya want for nothing?"[..],
            "750c783e6ab0b503eaa86e31",
        ),
        (
            Suite::NullSha1,
            b"Jefe",
            b"what do ya want for nothing?",
            "effcdf6ae5eb2fa2d27416d5",
        ),
        (
            Suite::NullMd5,
            &[0xaa; 16],
            &[0xdd; 50],
            "56be34521d144c88dbb8c733",
        ),
        (
            Suite::NullSha1,
            &[0xaa; 20],
            &[0xdd; 50],
            "125d7342b9ac11cd91a39af4",
        ),
    ] {
        let mac = CbcHmac::new(suite, &[], key, ICV_LEN, false).unwrap();
        let mut packet = [data, &[0; ICV_LEN]].concat();
        mac.seal(&mut [(7, &mut packet)], 0).unwrap();
        assert_eq!(hex::encode(&packet[data.len()..]), icv);
        mac.open(7, &mut packet, 0).unwrap();
        packet[3] ^= 1;
        assert_eq!(mac.open(7, &mut packet, 0), Err(Error::Authentication));
    }
}

#[test]
fn initialisation_vectors_are_neither_repeated_nor_foretold() {
    let (one, other) = (IvGenerator::new().unwrap(), IvGenerator::new().unwrap());
    let ivs: std::collections::HashSet<_> = (1..=1000)
        .flat_map(|seq| [one.generate(seq), other.generate(seq)])
        .collect();
    assert_eq!(ivs.len(), 2000);
    assert_eq!(one.generate(5), one.generate(5));
}
