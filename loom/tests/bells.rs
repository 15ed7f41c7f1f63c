//! Wake-up: no mark is lost, and nobody sleeps beside one.

use headgate_loom::shard::marks::{Marks, Sleeping};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// An eventfd: counts rings, and a read of it waits until there is one.
#[derive(Default)]
struct EventFd {
    rings: Mutex<u32>,
    rung: Condvar,
}

impl EventFd {
    fn write(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_one();
    }

    fn read(&self) {
        let mut rings = self.rings.lock().unwrap();
        while *rings == 0 {
            rings = self.rung.wait(rings).unwrap();
        }
        *rings = 0;
    }
}

/// One core's bell with two ringers' marks, and the word that the marks stand for (`flushed` of a log).
struct Bell {
    marks: Vec<Marks>,
    sleeping: Sleeping,
    eventfd: EventFd,
    word: AtomicU32,
}

impl Bell {
    fn new(ringers: usize, ids: u32) -> Bell {
        Bell {
            marks: (0..ringers).map(|_| Marks::new(ids)).collect(),
            sleeping: Sleeping::default(),
            eventfd: EventFd::default(),
            word: AtomicU32::new(0),
        }
    }

    /// A turn of a core that flushed log `id`. Returns whether it rang.
    fn flush(&self, ringer: usize, id: u32) -> bool {
        self.marks[ringer].set(id);
        let rung = self.sleeping.rouse();
        if rung {
            self.eventfd.write();
        }
        rung
    }

    /// Turns of the core until it was told of `ids` flushes (each of an id of its own). Returns how often it was
    /// about to sleep.
    fn run(&self, mut ids: u32) -> usize {
        let mut begun = 0;
        while ids > 0 {
            self.marks.iter().for_each(|marks| marks.take(|_| ids -= 1));
            if ids > 0 {
                begun += 1;
                if self.sleeping.begin(|| self.marks.iter().any(Marks::any)) {
                    self.eventfd.read();
                    self.sleeping.end();
                }
            }
        }
        begun
    }
}

/// Runs `model` in every order with at most `preemptions` switches away from a thread that could go on; all orders
/// would take minutes.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A core flushes twice while the other goes to sleep: it is told of both. A lost wake-up is a deadlock.
///
/// Fails without the fence in `rouse`, and without the one in `begin`; also when `begin` looks before it stores the
/// flag.
#[test]
fn no_wake_up_is_lost() {
    bounded(3, || {
        let bell = Arc::new(Bell::new(1, 64));
        let ringer = thread::spawn({
            let bell = bell.clone();
            move || {
                bell.flush(0, 0);
                bell.flush(0, 1);
            }
        });
        bell.run(2);
        ringer.join().unwrap();
    });
}

/// Two cores ring at once: the sleeper is told of both, and one of them at most pays for waking it.
///
/// Fails without the fences, when `rouse` looks before it fences, when it clears the flag with a load and a store in
/// place of a swap, and when it does not clear it.
#[test]
fn two_ringers_wake_one_sleeper() {
    bounded(2, || {
        let bell = Arc::new(Bell::new(2, 64));
        let ringers = [0, 1].map(|ringer| {
            let bell = bell.clone();
            thread::spawn(move || bell.flush(ringer, 0))
        });
        let begun = bell.run(2);
        let rung = ringers.map(|ringer| ringer.join().unwrap()).into_iter().filter(|rung| *rung).count();
        assert!(rung <= begun, "rung {rung} times for {begun} sleeps");
    });
}

/// Marks that are set while others are taken are taken now or later, each once: of one word, and of two.
///
/// Fails when `set` marks the summary before the word, when `take` clears the summary behind the words, and when it
/// clears either with a load and a store in place of a swap.
#[test]
fn no_mark_is_lost_between_word_and_summary() {
    loom::model(|| {
        let marks = Arc::new(Marks::new(128));
        let setter = thread::spawn({
            let marks = marks.clone();
            move || [0, 1, 64].map(|id| marks.set(id))
        });
        let mut taken = Vec::new();
        marks.take(|id| taken.push(id));
        marks.take(|id| taken.push(id));
        setter.join().unwrap();
        marks.take(|id| taken.push(id));
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 64]);
        assert!(!marks.any());
    });
}

/// A mark that is set again while it still stands: its taker sees what the second call stands for, too.
///
/// Fails when `set` stores the word's bit with Relaxed, when `take` swaps it with Relaxed, and when `set` returns
/// early, without a store, because the bit is set.
#[test]
fn the_taker_of_a_mark_sees_what_it_stands_for() {
    loom::model(|| {
        let bell = Arc::new(Bell::new(1, 64));
        let setter = thread::spawn({
            let bell = bell.clone();
            move || {
                for value in 1..=2 {
                    bell.word.store(value, Ordering::Relaxed);
                    bell.marks[0].set(0);
                }
            }
        });
        let mut seen = 0;
        let mut look = || bell.marks[0].take(|_| seen = bell.word.load(Ordering::Relaxed));
        look();
        look();
        setter.join().unwrap();
        look();
        assert_eq!(seen, 2);
    });
}
