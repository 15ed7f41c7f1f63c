use super::super::budget::Role::{Fresh, Leaving, Publisher, Viewer};
use super::*;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

/// One connection at once, one a second: what came once owes a second.
const SLOW: Pace = Pace::new(1, 1);
const MANY: u32 = 1000;
const FAST: Pace = Pace::new(1_000_000, 1_000_000);

fn block(n: u32) -> Block {
    Block::of(std::net::Ipv4Addr::from_bits(n).into(), 64)
}

fn seconds(s: u64) -> Mono {
    Mono::from_micros(s * 1_000_000)
}

fn place(entered: Entered) -> Place {
    match entered {
        Entered::At(place) => place,
        other => panic!("{other:?}"),
    }
}

/// A table of one entry a part, and two blocks that meet in one part.
fn crowded() -> (Table, Block, Block) {
    let table = Table::with_part_entries(1);
    let part = |n: u32| (table.hasher.hash_one(block(n)) >> 32) as usize % PARTS;
    let other = (1..).find(|n| part(*n) == part(0)).unwrap();
    (table, block(0), block(other))
}

/// Addresses that all meet in one part of a table whose hash has no seed.
#[test]
fn x3_chosen_addresses_meet_nowhere() {
    let unseeded = BuildHasherDefault::<DefaultHasher>::default();
    let chosen =
        (0..).filter(|n| ((unseeded.hash_one(block(*n)) >> 32) as usize).is_multiple_of(PARTS)).take(1000);
    let table = Table::default();
    let mut parts = [0; PARTS];
    chosen.for_each(|n| parts[(table.hasher.hash_one(block(n)) >> 32) as usize % PARTS] += 1);
    // 16 are the mean; one in a million times a part has 40.
    assert!(parts.iter().all(|count| *count < 60), "{parts:?}");
}

#[test]
fn counts_hold_per_address() {
    let table = Table::default();
    let [a, again, b] = [1, 1, 2].map(|n| place(table.enter(seconds(1), block(n), FAST, MANY)));
    assert_eq!(a, again);
    let turn = |place, old, new, max| table.turn(place, old, new, max);
    assert!(turn(a, Fresh, Viewer, 2) && turn(again, Fresh, Viewer, 2) && !turn(a, Fresh, Viewer, 2));
    assert!(turn(b, Fresh, Viewer, 2));
    assert!(turn(a, Viewer, Publisher, 1) && !turn(again, Viewer, Publisher, 1));
    assert!(turn(a, Publisher, Leaving, 1) && turn(again, Viewer, Publisher, 1));
    assert_eq!(table.connections(), 3);
    table.leave(a, Leaving);
    table.leave(again, Publisher);
    table.leave(b, Viewer);
    assert_eq!(table.connections(), 0);
}

#[test]
fn an_address_has_so_many_that_say_nothing() {
    let table = Table::default();
    let enter = |n: u32| table.enter(seconds(1), block(n), FAST, 2);
    let first = place(enter(1));
    let second = place(enter(1));
    assert_eq!(enter(1), Entered::TooMany);
    assert!(matches!(enter(2), Entered::At(_)), "another address");
    assert!(table.turn(first, Fresh, Viewer, 9));
    assert!(matches!(enter(1), Entered::At(_)), "who plays does not count");
    assert_eq!(enter(1), Entered::TooMany);
    table.leave(second, Fresh);
    assert!(matches!(enter(1), Entered::At(_)));
}

#[test]
fn the_pace_outlives_a_connection() {
    let table = Table::default();
    let first = place(table.enter(seconds(1), block(1), SLOW, MANY));
    table.leave(first, Fresh);
    assert_eq!(table.enter(seconds(1), block(1), SLOW, MANY), Entered::TooFast);
    assert!(matches!(table.enter(seconds(1), block(2), SLOW, MANY), Entered::At(_)));
    assert!(matches!(table.enter(seconds(2), block(1), SLOW, MANY), Entered::At(_)));
}

#[test]
fn who_owes_nothing_is_forgotten() {
    let table = Table::default();
    for n in 0..10_000 {
        table.leave(place(table.enter(seconds(1), block(n), SLOW, MANY)), Fresh);
    }
    assert_eq!(table.stats().entries, 10_000);
    // Each of these forgets two of those.
    for n in 0..10_000 {
        table.leave(place(table.enter(seconds(3), block(n + 20_000), SLOW, MANY)), Fresh);
    }
    let stats = table.stats();
    assert_eq!((stats.evicted, stats.untracked), (0, 0));
    assert!(stats.entries < 10_700, "{stats:?}");
}

#[test]
fn the_live_stay_and_the_idle_make_room() {
    let (table, one, other) = crowded();
    let live = place(table.enter(seconds(1), one, SLOW, MANY));
    assert_eq!(table.enter(seconds(1), other, SLOW, MANY), Entered::Untracked);
    assert_eq!(table.stats().untracked, 1);
    table.leave(live, Fresh);
    assert!(matches!(table.enter(seconds(1), other, SLOW, MANY), Entered::At(_)));
    assert_eq!((table.stats().evicted, table.stats().entries), (1, 1));
}

#[test]
fn memory_has_an_end() {
    let table = Table::with_part_entries(256);
    for n in 0..100_000 {
        table.leave(place(table.enter(seconds(1), block(n), SLOW, MANY)), Fresh);
    }
    let stats = table.stats();
    assert_eq!(stats.entries, 256 * PARTS as u64);
    assert_eq!(stats.evicted, 100_000 - stats.entries);
    assert_eq!(stats.bytes as usize, 256 * PARTS * (size_of::<Entry>() + size_of::<u32>()));
}

/// Random comings and goings against a plain map.
#[test]
fn does_what_a_plain_map_does() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let table = Table::default();
    let pace = Pace::new(2, 3);
    let mut paid: HashMap<u32, Mono> = HashMap::new();
    let mut viewers: HashMap<u32, u32> = HashMap::new();
    let mut open: Vec<(u32, Place, bool)> = Vec::new();
    let mut now = seconds(100);
    for _ in 0..200_000 {
        now = now + Duration::from_millis(random(20));
        if random(2) == 0 || open.is_empty() {
            let n = random(300) as u32;
            let admitted = pace.admits(paid.entry(n).or_default(), now);
            match table.enter(now, block(n), pace, MANY) {
                Entered::At(place) => {
                    assert!(admitted, "{n} at {now:?}");
                    let count = viewers.entry(n).or_default();
                    let viewer = table.turn(place, Fresh, Viewer, 4);
                    assert_eq!(viewer, *count < 4, "{n}: {count}");
                    *count += u32::from(viewer);
                    open.push((n, place, viewer));
                }
                Entered::TooFast => assert!(!admitted, "{n} at {now:?}"),
                Entered::Untracked | Entered::TooMany => panic!("there is room"),
            }
        } else {
            let (n, place, viewer) = open.swap_remove(random(open.len() as u64) as usize);
            if viewer {
                *viewers.get_mut(&n).unwrap() -= 1;
            }
            table.leave(place, if viewer { Viewer } else { Fresh });
        }
    }
    let live: std::collections::HashSet<u32> = open.iter().map(|(n, ..)| *n).collect();
    let entries = table.stats().entries;
    assert!(entries >= live.len() as u64 && entries <= 300, "{entries} for {}", live.len());
}

/// Counts hold when all cores ask at once.
#[test]
fn many_threads_share_a_limit() {
    let table = Table::default();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let places = (0..100).map(|_| place(table.enter(seconds(1), block(7), FAST, MANY)));
                    places.filter(|place| table.turn(*place, Fresh, Viewer, 64)).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 64);
}
