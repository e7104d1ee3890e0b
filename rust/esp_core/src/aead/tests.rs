//! Vectors that do not have the form of an ESP packet with 64-bit sequence numbers.

use super::*;

fn octets(hexadecimal: &str) -> Vec<u8> {
    let digits: String = hexadecimal.split_whitespace().collect();
    hex::decode(digits).unwrap()
}

/// One vector: the nonce is the salt at the end of the key and the IV.
struct Vector {
    suite: Suite,
    key_and_salt: &'static str,
    iv: &'static str,
    aad: &'static str,
    plain: &'static str,
    cipher: &'static str,
    tag: &'static str,
}

impl Vector {
    fn check(&self) {
        let aead = Aead::new(self.suite, &octets(self.key_and_salt)).unwrap();
        let iv = octets(self.iv).try_into().unwrap();
        let (aad, plain, tag) = (octets(self.aad), octets(self.plain), octets(self.tag));
        let sealed = [octets(self.cipher), tag.clone()].concat();

        let mut body = [plain.clone(), vec![0xEE; tag.len()]].concat();
        aead.seal(iv, &aad, &mut body, tag.len()).unwrap();
        assert_eq!(hex::encode(&body), hex::encode(&sealed));

        aead.open(iv, &aad, &mut body, tag.len()).unwrap();
        assert_eq!(hex::encode(&body[..plain.len()]), hex::encode(&plain));

        for index in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[index] ^= 1;
            assert_eq!(
                aead.open(iv, &aad, &mut forged, tag.len()),
                Err(Error::Authentication),
                "octet {index}"
            );
        }
    }
}

/// RFC 7634 appendix A: with a 32-bit sequence number, which the packet format does not do.
#[test]
fn rfc_7634_appendix_a() {
    Vector {
        suite: Suite::ChaCha20Poly1305,
        key_and_salt: "80 81 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f
            90 91 92 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2 a3",
        iv: "10 11 12 13 14 15 16 17",
        aad: "01 02 03 04 00 00 00 05",
        plain: "45 00 00 54 a6 f2 00 00 40 01 e7 78 c6 33 64 05
            c0 00 02 05 08 00 5b 7a 3a 08 00 00 55 3b ec 10
            00 07 36 27 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13
            14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23
            24 25 26 27 28 29 2a 2b 2c 2d 2e 2f 30 31 32 33
            34 35 36 37 01 02 02 04",
        cipher: "24 03 94 28 b9 7f 41 7e 3c 13 75 3a 4f 05 08 7b
            67 c3 52 e6 a7 fa b1 b9 82 d4 66 ef 40 7a e5 c6
            14 ee 80 99 d5 28 44 eb 61 aa 95 df ab 4c 02 f7
            2a a7 1e 7c 4c 4f 64 c9 be fe 2f ac c6 38 e8 f3
            cb ec 16 3f ac 46 9b 50 27 73 f6 fb 94 e6 64 da
            91 65 b8 28 29 f6 41 e0",
        tag: "76 aa a8 26 6b 7f b0 f7 b1 1b 36 99 07 e1 ad 43",
    }
    .check();
}

/// RFC 8439 §2.8.2.
#[test]
fn rfc_8439_section_2_8_2() {
    Vector {
        suite: Suite::ChaCha20Poly1305,
        key_and_salt: "80 81 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f
            90 91 92 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f 07 00 00 00",
        iv: "40 41 42 43 44 45 46 47",
        aad: "50 51 52 53 c0 c1 c2 c3 c4 c5 c6 c7",
        plain: "4c 61 64 69 65 73 20 61 6e 64 20 47 65 6e 74 6c
            65 6d 65 6e 20 6f 66 20 74 68 65 20 63 6c 61 73
            73 20 6f 66 20 27 39 39 3a 20 49 66 20 49 20 63
            6f 75 6c 64 20 6f 66 66 65 72 20 79 6f 75 20 6f
            6e 6c 79 20 6f 6e 65 20 74 69 70 20 66 6f 72 20
            74 68 65 20 66 75 74 75 72 65 2c 20 73 75 6e 73
            63 72 65 65 6e 20 77 6f 75 6c 64 20 62 65 20 69
            74 2e",
        cipher: "d3 1a 8d 34 64 8e 60 db 7b 86 af bc 53 ef 7e c2
            a4 ad ed 51 29 6e 08 fe a9 e2 b5 a7 36 ee 62 d6
            3d be a4 5e 8c a9 67 12 82 fa fb 69 da 92 72 8b
            1a 71 de 0a 9e 06 0b 29 05 d6 a5 b6 7e cd 3b 36
            92 dd bd 7f 2d 77 8b 8c 98 03 ae e3 28 09 1b 58
            fa b3 24 e4 fa d6 75 94 55 85 80 8b 48 31 d7 bc
            3f f4 de f0 8e 4b 7a 9d e5 76 d2 65 86 ce c6 4b
            61 16",
        tag: "1a e1 0b 59 4f 09 e2 6a 7e 90 2e cb d0 60 06 91",
    }
    .check();
}

/// The GCM specification, appendix B, cases 2 to 4 (RFC 4106 §9 points there), with whole tags and
/// with their first eight octets.
#[test]
fn gcm_specification() {
    let cases = [
        (
            "00000000000000000000000000000000 00000000",
            "0000000000000000",
            "",
            "00000000000000000000000000000000",
            "0388dace60b6a392f328c2b971b2fe78",
            "ab6e47d42cec13bdf53a67b21257bddf",
            "ab6e47d42cec13bd",
        ),
        (
            "feffe9928665731c6d6a8f9467308308 cafebabe",
            "facedbaddecaf888",
            "",
            "d9313225f88406e5a55909c5aff5269a 86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525 b16aedf5aa0de657ba637b391aafd255",
            "42831ec2217774244b7221b784d0d49c e3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa05 1ba30b396a0aac973d58e091473f5985",
            "4d5c2af327cd64a62cf35abd2ba6fab4",
            "4d5c2af327cd64a6",
        ),
        (
            "feffe9928665731c6d6a8f9467308308 cafebabe",
            "facedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a 86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525 b16aedf5aa0de657ba637b39",
            "42831ec2217774244b7221b784d0d49c e3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa05 1ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
            "5bc94fbc3221a5db",
        ),
    ];
    for (key_and_salt, iv, aad, plain, cipher, tag, short_tag) in cases {
        for (suite, tag) in [(Suite::AesGcm16, tag), (Suite::AesGcm8, short_tag)] {
            Vector {
                suite,
                key_and_salt,
                iv,
                aad,
                plain,
                cipher,
                tag,
            }
            .check();
        }
    }
}

#[test]
fn keys_of_a_wrong_length_are_refused() {
    for suite in Suite::ALL
        .into_iter()
        .filter(|&suite| Aead::carries_out(suite))
    {
        let right = suite.encryption_key_len();
        for len in (0..64).filter(|&len| len != right) {
            assert!(Aead::new(suite, &vec![1; len]).is_err(), "{suite:?} {len}");
        }
    }
}
