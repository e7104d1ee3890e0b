//! One's complement sums with the CPU's wide registers.

/// The sum of a multiple of `STEP` octets as 32-bit words of the machine's byte order, if the CPU
/// has instructions for it that are faster than what the compiler makes; `None` if not.
#[must_use]
pub fn wide_sum(bytes: &[u8]) -> Option<u64> {
    debug_assert_eq!(bytes.len() % STEP, 0);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return Some(unsafe { avx2(bytes) });
    }
    None
}

/// Octets that `wide_sum` takes at a time.
pub const STEP: usize = 64;

/// Sums of up to 2^32 words are exact, as each is of 32 bits and added in 64.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(bytes: &[u8]) -> u64 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_set1_epi64x,
        _mm256_setzero_si256, _mm256_srli_epi64, _mm256_storeu_si256,
    };
    let mask = _mm256_set1_epi64x(0xffff_ffff);
    let mut sums = [_mm256_setzero_si256(); 4];
    for step in bytes.chunks_exact(STEP) {
        for (half, pair) in step.chunks_exact(32).zip(sums.chunks_exact_mut(2)) {
            // SAFETY: the slice has 32 octets, and no alignment is asked for.
            let words = unsafe { _mm256_loadu_si256(half.as_ptr().cast::<__m256i>()) };
            pair[0] = _mm256_add_epi64(pair[0], _mm256_and_si256(words, mask));
            pair[1] = _mm256_add_epi64(pair[1], _mm256_srli_epi64::<32>(words));
        }
    }
    let all = _mm256_add_epi64(
        _mm256_add_epi64(sums[0], sums[1]),
        _mm256_add_epi64(sums[2], sums[3]),
    );
    let mut lanes = [0u64; 4];
    // SAFETY: the array has 32 octets, and no alignment is asked for.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast::<__m256i>(), all) };
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_definition(steps in 0usize..40, seed in any::<u64>()) {
            let bytes: Vec<u8> = (0..steps * STEP)
                .map(|n| (seed.rotate_left(n as u32) >> 3) as u8 ^ n as u8)
                .collect();
            let expected = bytes
                .chunks_exact(4)
                .map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
                .sum();
            prop_assert!(wide_sum(&bytes).is_none_or(|sum| sum == expected));
        }
    }
}
