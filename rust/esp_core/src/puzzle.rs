//! The puzzle of the base exchange (RFC 7401 §4.1.2, §6.3; RFC 5201 §4.1.2, §6.3).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use crate::error::Error;

/// Attempts between two looks at the clock and at `cancel`: about a third of a millisecond.
const ATTEMPTS_BETWEEN_CHECKS: u32 = 4096;

const MAX_PREFIX_LEN: usize = 1024;
const MAX_LENGTH: usize = 64;
/// The octets and bits at the end of a digest that OpenHIP looks at.
const OPENHIP_LEN: usize = 8;
const OPENHIP_BITS: u32 = 64;

/// The RHASH of the Responder's HIT suite (RFC 7401 §5.2.10, RFC 9374 §3.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashName {
    Sha256,
    Sha384,
    Sha1,
    /// 256 bits of cSHAKE128 with empty name and customization, which is SHAKE128.
    CShake128,
}

impl HashName {
    /// The hash with this name: "sha256", "sha384", "sha1" or "cshake128".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha1" => Some(Self::Sha1),
            "cshake128" => Some(Self::CShake128),
            _ => None,
        }
    }

    /// Octets of a digest.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 | Self::CShake128 => 32,
            Self::Sha384 => 48,
            Self::Sha1 => 20,
        }
    }
}

/// Which bits of the digest have to be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PuzzleBits {
    /// The lowest ones, from the last octet on, as the RFCs have it.
    Lowest,
    /// The lowest ones of the last 64 read as a little-endian number, as OpenHIP does on x86.
    OpenHip,
}

impl PuzzleBits {
    /// The rule with this name: "lowest" or "openhip".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "lowest" => Some(Self::Lowest),
            "openhip" => Some(Self::OpenHip),
            _ => None,
        }
    }
}

/// A search for J such that `difficulty` bits of RHASH(prefix | J) are zero.
pub struct Solver {
    bits: PuzzleBits,
    hash: HashName,
    prefix: Vec<u8>,
    start: Vec<u8>,
    difficulty: u32,
    cancelled: AtomicBool,
}

impl Solver {
    /// `prefix` is I | HIT-I | HIT-R; `length` the octets of J, 1 to 64; `start` the first J to
    /// try, of that length. A `difficulty` (K) above the bits of the digest is refused.
    pub fn new(
        hash: HashName,
        prefix: &[u8],
        length: usize,
        difficulty: u32,
        start: &[u8],
    ) -> Result<Self, Error> {
        if !(1..=MAX_LENGTH).contains(&length) {
            return Err(Error::Puzzle("J has to have 1 to 64 octets"));
        }
        if start.len() != length {
            return Err(Error::Puzzle(
                "the first J to try is not as long as J has to be",
            ));
        }
        if prefix.len() > MAX_PREFIX_LEN {
            return Err(Error::Puzzle("the prefix is longer than 1024 octets"));
        }
        if difficulty as usize > 8 * hash.digest_len() {
            return Err(Error::Puzzle(
                "the difficulty exceeds the bits of the digest",
            ));
        }
        Ok(Self {
            bits: PuzzleBits::Lowest,
            hash,
            prefix: prefix.to_vec(),
            start: start.to_vec(),
            difficulty,
            cancelled: AtomicBool::new(false),
        })
    }

    /// The same search by another rule; a `difficulty` above the 64 bits that OpenHIP looks at is
    /// refused.
    pub fn with_bits(mut self, bits: PuzzleBits) -> Result<Self, Error> {
        if self.difficulty > OPENHIP_BITS && bits != PuzzleBits::Lowest {
            return Err(Error::Puzzle("OpenHIP looks at 64 bits only"));
        }
        self.bits = bits;
        Ok(self)
    }

    /// Try J = start, start + 1, … (a big-endian number, wrapping) until one solves the puzzle,
    /// the deadline is past, `cancel` is called, or all were tried.
    #[must_use]
    pub fn run(&self, deadline: Instant) -> Option<Vec<u8>> {
        match self.hash {
            HashName::Sha256 => self.search::<Sha256>(deadline),
            HashName::Sha384 => self.search::<Sha384>(deadline),
            HashName::Sha1 => self.search::<Sha1>(deadline),
            HashName::CShake128 => self.search::<CShake128>(deadline),
        }
    }

    /// End the search, from any thread; a later `run` ends at once.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn search<H: BlockHash>(&self, deadline: Instant) -> Option<Vec<u8>> {
        let mut message = self.prefix.clone();
        message.extend_from_slice(&self.start);
        let j = self.prefix.len()..message.len();
        H::pad(&mut message);

        // What stands in front of the block with the last eight octets of J changes once in 2^64
        // attempts, so it is hashed once: an attempt costs one compression, or two if the padding
        // spills into a further block.
        let counter_len = (j.len()).min(8);
        let counter = j.end - counter_len..j.end;
        let fixed = counter.start / H::BLOCK * H::BLOCK;
        let mut midstate = H::compress_all(H::START, &message[..fixed]);

        let mut attempts_to_check = ATTEMPTS_BETWEEN_CHECKS;
        loop {
            let state = H::compress_all(midstate, &message[fixed..]);
            if self.is_solution(H::digest(&state).as_ref()) {
                return Some(message[j].to_vec());
            }
            if increment(&mut message[counter.clone()]) {
                increment(&mut message[j.start..counter.start]);
                midstate = H::compress_all(H::START, &message[..fixed]);
            }
            if message[counter.clone()] == self.start[self.start.len() - counter_len..]
                && message[j.clone()] == self.start
            {
                return None; // all tried
            }
            attempts_to_check -= 1;
            if attempts_to_check == 0 {
                if self.cancelled.load(Ordering::Relaxed) || Instant::now() >= deadline {
                    return None;
                }
                attempts_to_check = ATTEMPTS_BETWEEN_CHECKS;
            }
        }
    }

    fn is_solution(&self, digest: &[u8]) -> bool {
        match self.bits {
            PuzzleBits::Lowest => self.has_low_zeros(digest),
            PuzzleBits::OpenHip => self.openhip_takes(digest),
        }
    }

    fn openhip_takes(&self, digest: &[u8]) -> bool {
        let Some(last) = digest.last_chunk::<OPENHIP_LEN>() else {
            return false;
        };
        u64::from_le_bytes(*last).trailing_zeros() >= self.difficulty
    }

    /// Ltrunc(digest, K) == 0: the digest read as a big-endian number (RFC 7401 §2.2).
    fn has_low_zeros(&self, digest: &[u8]) -> bool {
        let whole = self.difficulty as usize / 8;
        let (front, low) = digest.split_at(digest.len() - whole);
        let mask = (1u8 << (self.difficulty % 8)) - 1;
        low.iter().all(|&octet| octet == 0) && front.last().is_none_or(|&octet| octet & mask == 0)
    }
}

/// Add one to a big-endian number; tells whether it wrapped.
fn increment(number: &mut [u8]) -> bool {
    for octet in number.iter_mut().rev() {
        *octet = octet.wrapping_add(1);
        if *octet != 0 {
            return false;
        }
    }
    true
}

/// A hash as a chain of compressions, so that the search can go on from a state in the middle.
trait BlockHash {
    /// Octets of a block.
    const BLOCK: usize;
    const START: Self::State;
    type State: Copy;
    type Digest: AsRef<[u8]>;

    /// Append the padding: the length becomes a multiple of `BLOCK`.
    fn pad(message: &mut Vec<u8>);

    fn compress_all(state: Self::State, blocks: &[u8]) -> Self::State;

    fn digest(state: &Self::State) -> Self::Digest;
}

/// The padding of SHA-1 and SHA-2 (FIPS 180-4 §5.1): a one, zeros, the length in bits.
fn pad_with_length(message: &mut Vec<u8>, block: usize, length_len: usize) {
    let bits = 8 * message.len() as u64;
    message.push(0x80);
    let padded = (message.len() + length_len).next_multiple_of(block);
    message.resize(padded, 0);
    message[padded - 8..].copy_from_slice(&bits.to_be_bytes());
}

/// The digest of a state of big-endian words.
macro_rules! words_to_octets {
    ($state:expr, $word:expr, $len:expr) => {{
        let mut digest = [0; $len];
        for (octets, word) in digest.chunks_exact_mut($word).zip($state) {
            octets.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }};
}

struct Sha256;

impl BlockHash for Sha256 {
    const BLOCK: usize = 64;
    /// FIPS 180-4 §5.3.3.
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    type State = [u32; 8];
    type Digest = [u8; 32];

    fn pad(message: &mut Vec<u8>) {
        pad_with_length(message, Self::BLOCK, 8);
    }

    fn compress_all(mut state: [u32; 8], blocks: &[u8]) -> [u32; 8] {
        for block in each_block(blocks) {
            sha2::block_api::compress256(&mut state, std::slice::from_ref(block));
        }
        state
    }

    fn digest(state: &[u32; 8]) -> [u8; 32] {
        words_to_octets!(state, 4, 32)
    }
}

struct Sha384;

impl BlockHash for Sha384 {
    const BLOCK: usize = 128;
    /// FIPS 180-4 §5.3.4.
    const START: [u64; 8] = [
        0xcbbb_9d5d_c105_9ed8,
        0x629a_292a_367c_d507,
        0x9159_015a_3070_dd17,
        0x152f_ecd8_f70e_5939,
        0x6733_2667_ffc0_0b31,
        0x8eb4_4a87_6858_1511,
        0xdb0c_2e0d_64f9_8fa7,
        0x47b5_481d_befa_4fa4,
    ];
    type State = [u64; 8];
    type Digest = [u8; 48];

    fn pad(message: &mut Vec<u8>) {
        pad_with_length(message, Self::BLOCK, 16);
    }

    fn compress_all(mut state: [u64; 8], blocks: &[u8]) -> [u64; 8] {
        for block in each_block(blocks) {
            sha2::block_api::compress512(&mut state, std::slice::from_ref(block));
        }
        state
    }

    fn digest(state: &[u64; 8]) -> [u8; 48] {
        words_to_octets!(state, 8, 48)
    }
}

struct Sha1;

impl BlockHash for Sha1 {
    const BLOCK: usize = 64;
    /// FIPS 180-4 §5.3.1.
    const START: [u32; 5] = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    type State = [u32; 5];
    type Digest = [u8; 20];

    fn pad(message: &mut Vec<u8>) {
        pad_with_length(message, Self::BLOCK, 8);
    }

    fn compress_all(mut state: [u32; 5], blocks: &[u8]) -> [u32; 5] {
        for block in each_block(blocks) {
            sha1::block_api::compress(&mut state, std::slice::from_ref(block));
        }
        state
    }

    fn digest(state: &[u32; 5]) -> [u8; 20] {
        words_to_octets!(state, 4, 20)
    }
}

/// cSHAKE128 without name and customization (NIST SP 800-185 §3.3: then it is SHAKE128).
struct CShake128;

impl BlockHash for CShake128 {
    /// The rate of Keccak\[256\] (FIPS 202 §6.2).
    const BLOCK: usize = 168;
    const START: [u64; 25] = [0; 25];
    type State = [u64; 25];
    type Digest = [u8; 32];

    fn pad(message: &mut Vec<u8>) {
        // Domain bits 1111, then pad10*1 (FIPS 202 §6.2, §5.1).
        message.push(0x1F);
        message.resize(message.len().next_multiple_of(Self::BLOCK), 0);
        if let Some(last) = message.last_mut() {
            *last |= 0x80;
        }
    }

    fn compress_all(mut state: [u64; 25], blocks: &[u8]) -> [u64; 25] {
        keccak::Keccak::new().with_f1600(|permute| {
            for block in each_block::<{ Self::BLOCK }>(blocks) {
                for (lane, octets) in state.iter_mut().zip(each_block::<8>(block)) {
                    *lane ^= u64::from_le_bytes(*octets);
                }
                permute(&mut state);
            }
        });
        state
    }

    fn digest(state: &[u64; 25]) -> [u8; 32] {
        let mut digest = [0; 32];
        for (octets, lane) in digest.chunks_exact_mut(8).zip(state) {
            octets.copy_from_slice(&lane.to_le_bytes());
        }
        digest
    }
}

/// INVARIANT: `octets` is padded, so nothing is left over.
fn each_block<const N: usize>(octets: &[u8]) -> impl Iterator<Item = &[u8; N]> {
    octets
        .chunks_exact(N)
        .filter_map(|block| block.first_chunk())
}
