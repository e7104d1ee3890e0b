//! Puzzles with known first solutions, and searches that are ended.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use esp_core::{
    error::Error,
    puzzle::{HashName, PuzzleBits, Solver},
};
use serde_json::Value;

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn finds_the_first_solution_of_every_vector() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/puzzle.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let tests = vectors["tests"].as_array().unwrap();
    assert_eq!(
        tests.len() as u64,
        vectors["numberOfTests"].as_u64().unwrap()
    );
    for test in tests {
        let octets = |key: &str| hex::decode(test[key].as_str().unwrap()).unwrap();
        let hash = HashName::from_name(test["hash"].as_str().unwrap()).unwrap();
        let difficulty = test["difficulty"].as_u64().unwrap() as u32;
        let (prefix, start) = (octets("prefix"), octets("start"));
        let solver = Solver::new(hash, &prefix, start.len(), difficulty, &start).unwrap();
        assert_eq!(solver.run(far()), Some(octets("j")), "{test}");
    }
}

/// As hard as a digest is long: no search ends by itself.
fn endless() -> Solver {
    Solver::new(HashName::Sha256, &[7; 64], 32, 256, &[0; 32]).unwrap()
}

#[test]
fn ends_at_the_deadline() {
    let begin = Instant::now();
    assert_eq!(endless().run(begin + Duration::from_millis(50)), None);
    assert!(begin.elapsed() >= Duration::from_millis(50));
}

#[test]
fn ends_when_cancelled_from_another_thread() {
    let solver = endless();
    thread::scope(|scope| {
        let search = scope.spawn(|| solver.run(far()));
        thread::sleep(Duration::from_millis(20));
        assert!(!search.is_finished());
        solver.cancel();
        assert_eq!(search.join().unwrap(), None);
    });
    assert_eq!(solver.run(far()), None);
}

#[test]
fn ends_when_every_j_was_tried() {
    let solver = Solver::new(HashName::Sha1, b"none", 2, 160, &[0x12, 0x34]).unwrap();
    assert_eq!(solver.run(far()), None);
}

/// From a base exchange of OpenHIP's with itself: I | HIT-I | HIT-R, and the J that it found for K = 10.
const OPENHIP_SOLUTION: (&str, &str) = (
    "d3b3f810de9c7bfb2001001b7840c2e52a8a27e6d563fa5b2001001c35a7113a6f814aee9a45ff5e",
    "39e19bccad9700fb",
);

#[test]
fn what_openhip_solves_is_solved_by_its_rule_only() {
    let (prefix, j) = OPENHIP_SOLUTION;
    let (prefix, j) = (hex::decode(prefix).unwrap(), hex::decode(j).unwrap());
    let first = |bits| {
        let solver = Solver::new(HashName::Sha1, &prefix, 8, 10, &j).unwrap();
        solver.with_bits(bits).unwrap().run(far()).unwrap()
    };
    assert_eq!(first(PuzzleBits::OpenHip), j);
    let lowest = first(PuzzleBits::Lowest);
    assert_ne!(lowest, j);
    for bits in [PuzzleBits::Lowest, PuzzleBits::OpenHip] {
        let name = format!("{bits:?}").to_lowercase();
        assert_eq!(PuzzleBits::from_name(&name), Some(bits));
    }
    assert_eq!(PuzzleBits::from_name("either"), None);
}

#[test]
fn openhip_looks_at_64_bits() {
    let make = |difficulty| Solver::new(HashName::Sha1, b"", 8, difficulty, &[0; 8]).unwrap();
    assert!(make(64).with_bits(PuzzleBits::OpenHip).is_ok());
    assert!(make(65).with_bits(PuzzleBits::OpenHip).is_err());
    assert!(make(65).with_bits(PuzzleBits::Lowest).is_ok());
}

#[test]
fn bad_parameters_are_refused() {
    let make = |prefix: usize, length, difficulty, start: usize| {
        let solver = Solver::new(
            HashName::Sha384,
            &vec![0; prefix],
            length,
            difficulty,
            &vec![0; start],
        );
        solver.map(|_| ())
    };
    assert_eq!(make(0, 48, 384, 48), Ok(()));
    assert_eq!(make(1024, 64, 384, 64), Ok(()));
    for (prefix, length, difficulty, start) in [
        (0, 0, 1, 0),
        (0, 65, 1, 65),
        (0, 48, 1, 47),
        (1025, 48, 1, 48),
        (0, 48, 385, 48),
    ] {
        assert!(matches!(
            make(prefix, length, difficulty, start),
            Err(Error::Puzzle(_))
        ));
    }
    assert_eq!(HashName::from_name("md5"), None);
}
