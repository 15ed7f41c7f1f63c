//! The pure half of the bells (`super::bells`): what a ringer leaves and the flag that says whether anybody must be
//! woken. No descriptor, no core numbers, so that the model checker can run it (`loom/`).
//!
//! The Dekker pattern: the ringer stores its mark, fences, and reads the flag ([`Sleeping::rouse`]); the sleeper
//! stores the flag, fences, and looks at the marks ([`Sleeping::begin`]). Whichever fence comes second sees what was
//! stored before the other.

use crate::fanout::sync::{AtomicBool, AtomicU64, Ordering, fence};

/// Marks that one core leaves for another: a bit an id, and a bit for each word of those. One setter, one taker.
#[derive(Debug)]
pub struct Marks {
    summary: Box<[AtomicU64]>,
    words: Box<[AtomicU64]>,
}

impl Marks {
    /// No marks, with room for the ids below `ids`.
    pub fn new(ids: u32) -> Marks {
        let zeros = |bits: usize| (0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>();
        let words = zeros(ids as usize);
        Marks { summary: zeros(words.len()), words }
    }

    /// Marks `id`; nothing happens if there is no room for it. Until it is taken again this costs one atomic.
    pub fn set(&self, id: u32) {
        let (word, bit) = ((id / 64) as usize, 1u64 << (id % 64));
        let (Some(place), Some(summary)) = (self.words.get(word), self.summary.get(word / 64)) else {
            return;
        };
        // The word first, and Release on the summary, too: whoever takes the summary bit finds the mark in the word.
        // Only this core sets bits here, so one that still stands has its summary bit, or a taker between the two.
        // It is stored all the same: its taker acquires what this call stands for, not only what the first one did.
        if place.fetch_or(bit, Ordering::Release) & bit == 0 {
            summary.fetch_or(1 << (word % 64), Ordering::Release);
        }
    }

    /// Whether anything may be marked.
    pub fn any(&self) -> bool {
        self.summary.iter().any(|s| s.load(Ordering::Acquire) != 0)
    }

    /// Takes all marks, in the order of their ids. A mark that is set meanwhile is taken now or the next time.
    pub fn take(&self, mut each: impl FnMut(u32)) {
        for (i, summary) in self.summary.iter().enumerate() {
            if summary.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // The summary first: a mark that comes behind this swap sets it again, or is still taken below.
            let mut words = summary.swap(0, Ordering::AcqRel);
            while words != 0 {
                let word = i * 64 + words.trailing_zeros() as usize;
                words &= words - 1;
                let mut bits = self.words.get(word).map_or(0, |w| w.swap(0, Ordering::AcqRel));
                while bits != 0 {
                    each(word as u32 * 64 + bits.trailing_zeros());
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// Whether a core pends and must be woken; awake at first. Whoever clears the flag first owns the wake-up.
#[derive(Debug, Default)]
pub struct Sleeping(AtomicBool);

impl Sleeping {
    /// Whether the sleeper must be woken, and by this caller. To be called after everything it should see is stored.
    pub fn rouse(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }

    /// The sleeper is about to pend; it must not if this returns false, because `busy` was true.
    pub fn begin(&self, busy: impl FnOnce() -> bool) -> bool {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if busy() {
            self.end();
            return false;
        }
        true
    }

    /// The sleeper runs again.
    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_once_and_in_order() {
        let marks = Marks::new(8192);
        assert!(!marks.any());
        for id in [8191, 0, 64, 63, 4096, 0, 8192] {
            marks.set(id);
        }
        assert!(marks.any());
        let mut taken = Vec::new();
        marks.take(|id| taken.push(id));
        assert_eq!(taken, [0, 63, 64, 4096, 8191], "8192 has no room");
        assert!(!marks.any());
        marks.take(|id| panic!("{id} taken twice"));
    }

    #[test]
    fn one_caller_owns_the_wake_up() {
        let flag = Sleeping::default();
        assert!(!flag.rouse());
        assert!(!flag.begin(|| true) && !flag.rouse(), "busy: it never slept");
        assert!(flag.begin(|| false));
        assert!(flag.rouse() && !flag.rouse());
        assert!(flag.begin(|| false));
        flag.end();
        assert!(!flag.rouse());
    }
}
