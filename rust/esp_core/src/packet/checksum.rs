//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A *sum* here is a one's complement sum in the byte order of the machine (RFC 1071 §2 B): it
//! has to be written with `to_ne_bytes`, which `store` does. Sums of pieces add up as long as
//! every piece but the last has an even length.

use crate::sys::sum::{wide_sum, STEP};

/// Add bytes to a sum. An odd last byte is padded with zero.
#[must_use]
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    let (wide, rest) = bytes.split_at(bytes.len() & !(STEP - 1));
    let mut total = sum;
    if !wide.is_empty() {
        let wide_sum = wide_sum(wide).unwrap_or_else(|| sum_of_words(wide));
        total = join(total, wide_sum);
    }
    let mut words = rest.chunks_exact(8);
    for word in &mut words {
        let mut octets = [0; 8];
        octets.copy_from_slice(word);
        total = join(total, u64::from_ne_bytes(octets));
    }
    let last = words.remainder();
    let mut octets = [0; 8];
    octets[..last.len()].copy_from_slice(last);
    join(total, u64::from_ne_bytes(octets))
}

/// The sum of 32-bit words in lanes of 64 bits: no carry can be lost below 16 GiB, and the compiler
/// turns the loop into vector instructions, which a chain of add-with-carry does not allow.
fn sum_of_words(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 8];
    for chunk in bytes.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(4)) {
            let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
            *lane = lane.wrapping_add(u64::from(word));
        }
    }
    lanes.into_iter().fold(0, join)
}

/// Add a 16-bit number in host order, such as a length or a protocol number.
#[must_use]
pub fn add_number(sum: u64, number: u16) -> u64 {
    join(sum, u64::from(number.to_be()))
}

/// The sum of two sums.
#[must_use]
pub fn join(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(u64::from(carry))
}

/// A sum in 16 bits, not complemented; congruent to it modulo 2^16 - 1.
#[must_use]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The sum of the pseudo header of TCP, UDP and ICMPv6 without the addresses' length limit:
/// works for IPv4 (RFC 793) and IPv6 (RFC 8200 §8.1) alike, as leading zeros add nothing.
#[must_use]
pub fn pseudo_header(source: &[u8], destination: &[u8], protocol: u8, length: usize) -> u64 {
    let sum = add(add(0, source), destination);
    let sum = add_number(sum, u16::from(protocol));
    let sum = add_number(sum, (length >> 16) as u16);
    add_number(sum, length as u16)
}

/// Write the complement of a sum as the checksum field at `offset`.
pub fn store(bytes: &mut [u8], offset: usize, sum: u64) {
    bytes[offset..offset + 2].copy_from_slice(&(!fold(sum)).to_ne_bytes());
}

/// Like `store`, for UDP, where zero says "no checksum" and is sent as 0xFFFF (RFC 768).
pub fn store_udp(bytes: &mut [u8], offset: usize, sum: u64) {
    let value = match !fold(sum) {
        0 => 0xffff,
        value => value,
    };
    bytes[offset..offset + 2].copy_from_slice(&value.to_ne_bytes());
}

/// Write a sum that is not complemented, as the kernel wants the field of a packet whose
/// checksum it is to complete.
pub fn store_partial(bytes: &mut [u8], offset: usize, sum: u64) {
    bytes[offset..offset + 2].copy_from_slice(&fold(sum).to_ne_bytes());
}

/// Exchange summands of the checksum field at `offset`: `old` leaves and `new` comes
/// (RFC 1624 equation 3).
pub fn exchange(bytes: &mut [u8], offset: usize, old: u64, new: u64) {
    let field = u16::from_ne_bytes([bytes[offset], bytes[offset + 1]]);
    let sum = u64::from(!field) + u64::from(!fold(old)) + u64::from(fold(new));
    store(bytes, offset, sum);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §1 spelled out, in network byte order.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(add(0, &bytes)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let sum = u16::from_be_bytes(fold(add(0, &bytes)).to_ne_bytes());
            prop_assert_eq!(sum % 0xffff, reference(&bytes) % 0xffff);
            let words = &bytes[..bytes.len() & !(STEP - 1)];
            prop_assert_eq!(
                fold(sum_of_words(words)) % 0xffff,
                fold(add(0, words)) % 0xffff,
                "with and without wide registers"
            );
        }

        #[test]
        fn pieces_add_up(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..150) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let (a, b) = bytes.split_at(cut);
            prop_assert_eq!(fold(add(add(0, a), b)) % 0xffff, fold(add(0, &bytes)) % 0xffff);
        }

        #[test]
        fn exchange_is_a_recomputation(
            mut bytes in prop::collection::vec(any::<u8>(), 20..100),
            new in any::<[u8; 4]>(),
        ) {
            bytes[10] = 0;
            bytes[11] = 0;
            let sum = add(0, &bytes);
            store(&mut bytes, 10, sum);
            let old = add(0, &bytes[12..16]);
            bytes[12..16].copy_from_slice(&new);
            exchange(&mut bytes, 10, old, add(0, &new));
            // A right checksum makes the whole sum to all ones; it must not matter which zero.
            prop_assert_eq!(fold(add(0, &bytes)) % 0xffff, 0);
        }
    }
}
