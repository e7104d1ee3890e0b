use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    [2, 0, a, b, c, d]
}

#[test]
fn learned_by_address_and_vlan() {
    let mut learner = MacLearner::new(16, 300);
    assert_eq!(learner.learn(&mac(1), 0, 7, 10), Learned::New);
    assert_eq!(learner.learn(&mac(1), 0, 7, 11), Learned::Known);
    assert_eq!(learner.table().lookup(&mac(1), 0, 12), Some(7));
    assert_eq!(learner.table().lookup(&mac(1), 5, 12), None);
    assert_eq!(learner.table().lookup(&mac(2), 0, 12), None);
    assert_eq!(learner.learn(&mac(1), 5, 8, 12), Learned::New);
    assert_eq!(learner.table().lookup(&mac(1), 5, 12), Some(8));
}

#[test]
fn the_zero_address_is_an_address() {
    let mut learner = MacLearner::new(16, 300);
    assert_eq!(learner.table().lookup(&[0; 6], 0, 0), None);
    assert_eq!(learner.learn(&[0; 6], 0, 7, 0), Learned::New);
    assert_eq!(learner.table().lookup(&[0; 6], 0, 0), Some(7));
}

#[test]
fn a_move_to_another_peer_and_home() {
    let mut learner = MacLearner::new(16, 300);
    learner.learn(&mac(1), 0, 7, 10);
    assert_eq!(learner.learn(&mac(1), 0, 9, 10), Learned::Moved);
    assert_eq!(learner.table().lookup(&mac(1), 0, 10), Some(9));
    assert!(learner.table().forget(&mac(1), 0));
    assert!(!learner.table().forget(&mac(1), 0));
    assert_eq!(learner.table().lookup(&mac(1), 0, 10), None);
    assert!(learner.table().is_empty());
    assert_eq!(learner.learn(&mac(1), 0, 9, 10), Learned::New);
    assert_eq!(learner.table().len(), 1);
}

#[test]
fn age_ends_an_entry() {
    let mut learner = MacLearner::new(16, 300);
    learner.learn(&mac(1), 0, 7, 10);
    assert_eq!(learner.table().lookup(&mac(1), 0, 310), Some(7));
    assert_eq!(learner.table().lookup(&mac(1), 0, 311), None);
    assert!(learner.table().entries(311).is_empty());
    for _ in 0..16 {
        learner.sweep(311);
    }
    assert!(learner.table().is_empty());
}

#[test]
fn the_limit_holds_and_age_makes_room() {
    let mut learner = MacLearner::new(100, 300);
    let results: Vec<_> = (0..1000)
        .map(|n| learner.learn(&mac(n), 0, 7, 10))
        .collect();
    assert_eq!(results.iter().filter(|r| **r == Learned::New).count(), 100);
    assert_eq!(learner.table().len(), 100);
    assert_eq!(learner.learn(&mac(5000), 0, 7, 10), Learned::TableFull);
    for _ in 0..16 {
        learner.sweep(400);
    }
    assert_eq!(learner.learn(&mac(5000), 0, 7, 400), Learned::New);
}

#[test]
fn sweeping_frees_the_places_too() {
    let mut learner = MacLearner::new(1000, 10);
    for round in 0..50u32 {
        for n in 0..1000 {
            assert_eq!(
                learner.learn(&mac(round * 1000 + n), 0, 7, round * 20),
                Learned::New
            );
        }
        for _ in 0..17 {
            learner.sweep(round * 20 + 11);
        }
        assert!(learner.table().is_empty());
    }
    let used = learner.table().places.iter();
    let used = used.filter(|place| place.key.load(Ordering::Relaxed) != 0);
    assert_eq!(used.count(), 0);
}

#[test]
fn flush_one_peer_or_all() {
    let mut learner = MacLearner::new(100, 300);
    for n in 0..10 {
        learner.learn(&mac(n), 0, 1 + n % 2, 0);
    }
    assert_eq!(learner.table().flush(Some(1)), 5);
    assert_eq!(learner.table().lookup(&mac(1), 0, 0), Some(2));
    assert_eq!(learner.table().flush(None), 5);
    assert!(learner.table().is_empty());
}

#[test]
fn readers_beside_the_writer_never_see_a_mixture() {
    // Each address is only ever heard behind the peer with its own number, while places are taken
    // over by other addresses all the time.
    let mut learner = MacLearner::new(32, 1);
    let table = learner.table().clone();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reader = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for n in 1..200 {
                    if let Some(peer) = table.lookup(&mac(n), 0, 0) {
                        assert_eq!(peer, n);
                    }
                    if n % 7 == 0 {
                        table.forget(&mac(n), 0);
                    }
                }
            }
        })
    };
    for round in 0..2000u32 {
        for n in 1..200 {
            learner.learn(&mac(n), 0, n, round * 3);
        }
        learner.sweep(round * 3 + 2);
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    learner.table().flush(None);
    assert_eq!(learner.table().len(), 0);
}

proptest! {
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec((0u32..40, 1u32..4, any::<bool>()), 0..300)) {
        let mut learner = MacLearner::new(1000, 300);
        let mut model = HashMap::new();
        for (n, peer, forget) in steps {
            if forget {
                prop_assert_eq!(learner.table().forget(&mac(n), 3), model.remove(&n).is_some());
            } else {
                learner.learn(&mac(n), 3, peer, 1);
                model.insert(n, peer);
            }
            prop_assert_eq!(learner.table().len(), model.len());
        }
        for n in 0..40 {
            prop_assert_eq!(learner.table().lookup(&mac(n), 3, 1), model.get(&n).copied());
        }
    }
}
