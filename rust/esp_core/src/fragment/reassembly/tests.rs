use proptest::prelude::*;

use super::*;
use crate::fragment::piece_len;

#[derive(Default)]
struct Bench {
    reassembler: Reassembler,
    pool: Pool,
    counters: Counters,
}

impl Bench {
    fn insert(&mut self, packet: &[u8], now_ms: u64) -> Option<Whole> {
        self.reassembler
            .insert(packet, now_ms, &mut self.pool, &self.counters)
    }

    fn assert_empty(&self) {
        assert!(self.reassembler.is_empty());
        assert_eq!((self.reassembler.bytes, self.pool.bytes), (0, 0));
    }
}

fn packet(identification: u32, offset: usize, more: bool, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_LEN];
    FragmentHeader {
        next_header: 97,
        offset,
        more,
        identification,
    }
    .emit(&mut packet);
    packet.extend_from_slice(data);
    packet
}

/// A payload as the pieces that travel.
fn cut(identification: u32, payload: &[u8], room: usize) -> Vec<Vec<u8>> {
    let piece = piece_len(payload.len(), room).unwrap();
    let count = payload.len().div_ceil(piece);
    payload
        .chunks(piece)
        .enumerate()
        .map(|(n, data)| packet(identification, n * piece, n + 1 < count, data))
        .collect()
}

#[test]
fn a_mark_on_any_piece_is_on_the_whole() {
    let pieces = cut(1, &[7; 40], 32);
    for marked in 0..pieces.len() {
        let mut bench = Bench::default();
        let mut whole = None;
        for (n, piece) in pieces.iter().enumerate() {
            let class = if n == marked { 0xbb } else { 0xba };
            let (pool, counters) = (&mut bench.pool, &bench.counters);
            whole = bench
                .reassembler
                .insert_marked(piece, class, 0, pool, counters);
        }
        assert_eq!(whole.unwrap().traffic_class, 0xbb);
    }
}

#[test]
fn overlap_discards_the_payload() {
    let mut bench = Bench::default();
    assert_eq!(bench.insert(&packet(1, 0, true, &[1; 16]), 0), None);
    assert_eq!(bench.insert(&packet(1, 8, false, &[2; 16]), 0), None);
    assert_eq!(bench.counters.drop_count(DropReason::FragmentOverlap), 2);
    bench.assert_empty();
}

#[test]
fn data_behind_the_last_piece_discards_the_payload() {
    let mut bench = Bench::default();
    bench.insert(&packet(1, 64, true, &[1; 16]), 0);
    bench.insert(&packet(1, 32, false, &[2; 8]), 0);
    assert_eq!(bench.counters.drop_count(DropReason::FragmentMalformed), 2);
    bench.assert_empty();
}

#[test]
fn malformed_pieces_begin_nothing() {
    let mut bench = Bench::default();
    for bad in [
        packet(1, 0, true, &[]),
        packet(1, 0, true, &[1; 9]),
        packet(1, 65528, false, &[1; 8]),
        vec![97; 7],
    ] {
        assert_eq!(bench.insert(&bad, 0), None);
    }
    assert_eq!(bench.counters.drop_count(DropReason::FragmentMalformed), 4);
    bench.assert_empty();
}

#[test]
fn pieces_wait_two_seconds() {
    let mut bench = Bench::default();
    bench.insert(&packet(1, 0, true, &[1; 8]), 1000);
    bench.insert(&packet(2, 0, true, &[1; 8]), 1500);
    let Bench {
        reassembler,
        pool,
        counters,
    } = &mut bench;
    reassembler.expire(2999, pool, counters);
    assert_eq!(counters.drop_count(DropReason::FragmentTimeout), 0);
    reassembler.expire(3000, pool, counters);
    assert_eq!(counters.drop_count(DropReason::FragmentTimeout), 1);
    reassembler.expire(3500, pool, counters);
    bench.assert_empty();
}

#[test]
fn the_number_that_waits_is_bounded() {
    let mut bench = Bench::default();
    for identification in 0..1000 {
        bench.insert(&packet(identification, 0, true, &[1; 8]), 0);
    }
    assert_eq!(bench.reassembler.waiting.len(), MAX_WAITING);
    assert_eq!(bench.counters.drop_count(DropReason::FragmentLimit), 936);
}

#[test]
fn the_memory_that_waits_is_bounded() {
    let mut bench = Bench::default();
    for identification in 0..64 {
        bench.insert(&packet(identification, 65520, true, &[1; 8]), 0);
    }
    assert!(bench.reassembler.bytes <= MAX_WAITING_BYTES);
    assert_eq!(bench.reassembler.bytes, bench.pool.bytes);
    let Bench {
        reassembler,
        pool,
        counters,
    } = &mut bench;
    reassembler.clear(pool, counters);
    bench.assert_empty();
    assert_eq!(bench.counters.drop_count(DropReason::FragmentTimeout), 16);
}

proptest! {
    #[test]
    fn any_order_and_any_mixture(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4000), 1..6),
        room in 64usize..1500,
        seed in any::<u64>(),
    ) {
        let mut bench = Bench::default();
        let mut pieces: Vec<_> = payloads
            .iter()
            .enumerate()
            .flat_map(|(n, payload)| cut(n as u32, payload, room))
            .collect();
        let mut state = seed | 1;
        for n in (1..pieces.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            pieces.swap(n, (state >> 33) as usize % (n + 1));
        }
        let count = pieces.len();
        let mut whole: Vec<_> = pieces.iter().filter_map(|piece| bench.insert(piece, 0)).collect();
        whole.sort_by(|a, b| a.payload.cmp(&b.payload));
        let mut expected = payloads.clone();
        expected.sort();
        prop_assert!(count >= payloads.len());
        prop_assert!(whole.iter().all(|whole| whole.next_header == 97));
        let whole: Vec<_> = whole.into_iter().map(|whole| whole.payload).collect();
        // More gaps than are kept track of lose a payload; nothing else does.
        if bench.counters.drop_count(DropReason::FragmentLimit) == 0 {
            prop_assert_eq!(whole, expected);
            bench.assert_empty();
        }
    }

    #[test]
    fn any_bytes(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..64)) {
        let mut bench = Bench::default();
        for packet in packets {
            bench.insert(&packet, 0);
            let waiting: usize =
                bench.reassembler.waiting.iter().map(|waiting| waiting.payload.len()).sum();
            prop_assert_eq!(waiting, bench.pool.bytes);
        }
    }
}
