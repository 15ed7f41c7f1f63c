//! Name -> stream: one mutexed map, touched at publish, play and close only. Check and claim are one critical section.

use super::log::LogId;
use super::stream::CoreId;
use crate::media::Mono;
use crate::media::config_set::ConfigSet;
use crate::observe::Protocol;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Logs of the process at most; one dirty bit each.
pub const LOGS_MAX: u32 = 1 << 16;

/// `APP/STREAM`; the app may have several levels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The stream `stream` of `app`.
    pub fn new(app: &str, stream: &str) -> StreamName {
        StreamName(format!("{app}/{stream}").into())
    }

    /// Bytes on the heap: the text and its two counts.
    pub fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>() + self.0.len()
    }

    /// The app.
    pub fn app(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(app, _)| app)
    }

    /// The stream's own name.
    pub fn stream(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, stream)| stream)
    }
}

impl std::fmt::Display for StreamName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of a stream from first publish to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// What status pages show of a stream. Counters are written by the home core with plain stores, except `viewers`.
#[derive(Debug, Default)]
pub struct StreamStats {
    /// Media bytes received.
    pub bytes_in: AtomicU64,
    /// Frames received.
    pub frames_in: AtomicU64,
    /// When the last frame with something to see or hear came, in microseconds of the monotonic clock.
    pub last_media_us: AtomicU64,
    /// Keyframes received.
    pub keyframes: AtomicU64,
    /// Whether the publisher has a transport stream of its own, which is passed on as it came.
    pub passes: AtomicBool,
    /// Subscribers, by [`Protocol::index`].
    pub viewers: [AtomicI64; Protocol::COUNT],
    config: Mutex<Option<Arc<ConfigSet>>>,
}

impl StreamStats {
    /// Adds to a counter of which this core is the only writer.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The stream's configuration is `config` now. Kept as it is: a publisher may change it with every message, so
    /// whoever shows it reads it.
    pub fn set_config(&self, config: Arc<ConfigSet>) {
        // The old one is dropped behind the lock.
        let _old = self.config.lock().unwrap_or_else(PoisonError::into_inner).replace(config);
    }

    /// The stream's configuration; `None` before its first.
    pub fn config(&self) -> Option<Arc<ConfigSet>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
struct Place {
    id: StreamId,
    home: CoreId,
    /// Counts publishers of this stream; frames of an older one are dropped.
    epoch: u32,
    /// When its publisher left; `None` while there is one.
    left_at: Option<Mono>,
    /// Logs that cores read or have asked for, each with at least one subscriber.
    readers: u32,
    since: Mono,
    stats: Arc<StreamStats>,
}

/// Who left first goes first.
type Order = (Mono, StreamId);

impl Place {
    /// Its place in line if it may make room: nobody publishes it, and nobody waits for its publisher to come back.
    fn deserted(&self) -> Option<Order> {
        self.left_at.filter(|_| self.readers == 0).map(|left_at| (left_at, self.id))
    }
}

/// The right to publish a name.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The stream.
    pub id: StreamId,
    /// This publisher's number.
    pub epoch: u32,
    /// The core that has the stream now; `None` if the stream is new.
    pub from: Option<CoreId>,
    /// Shared counters.
    pub stats: Arc<StreamStats>,
    /// A stream that made room for this one, and the core that has it: it is no longer in the directory.
    pub displaced: Option<(StreamId, CoreId)>,
}

/// Why a name cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A publisher is alive there.
    NameTaken,
    /// The node has all the streams it may have.
    TooManyStreams,
}

/// A line of [`Directory::list`].
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Whether a publisher is connected (else its grace runs).
    pub published: bool,
    /// First publish.
    pub since: Mono,
    /// Shared counters.
    pub stats: Arc<StreamStats>,
}

#[derive(Debug, Default)]
struct Inner {
    streams: HashMap<StreamName, Place>,
    /// Those that are [`Place::deserted`]: a crowd of publishers at the limit must not make each claim look at all.
    deserted: BTreeMap<Order, StreamName>,
    next_id: u64,
    free_logs: Vec<LogId>,
    next_log: u32,
}

impl Inner {
    /// Takes out the stream that misses its publisher for longest, of those that nobody watches.
    fn displace(&mut self) -> Option<Place> {
        let (_, name) = self.deserted.pop_first()?;
        self.streams.remove(&name)
    }

    /// Does something with the place of `name`, and puts it in line or takes it out.
    fn change<T>(&mut self, name: &StreamName, change: impl FnOnce(&mut Place) -> T) -> Option<T> {
        let place = self.streams.get_mut(name)?;
        let before = place.deserted();
        let done = change(place);
        let after = place.deserted();
        if before != after {
            if let Some(order) = before {
                self.deserted.remove(&order);
            }
            if let Some(order) = after {
                self.deserted.insert(order, name.clone());
            }
        }
        Some(done)
    }

    fn remove(&mut self, name: &StreamName) {
        if let Some(order) = self.streams.remove(name).and_then(|place| place.deserted()) {
            self.deserted.remove(&order);
        }
    }
}

/// All streams of the process.
#[derive(Debug)]
pub struct Directory {
    inner: Mutex<Inner>,
    streams_max: usize,
}

impl Directory {
    /// An empty directory for at most `streams_max` streams.
    pub fn new(streams_max: usize) -> Directory {
        Directory { inner: Mutex::default(), streams_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims `name` for a publisher on `core`. A publisher that is connected there loses the name if its last picture
    /// or sound is older than `takeover_after`. If there are all the streams there may be, the one whose publisher left first
    /// makes room, of those without viewers: names that are published and left cannot keep publishers out.
    ///
    /// # Errors
    /// `NameTaken` or `TooManyStreams`.
    pub fn claim(
        &self,
        name: &StreamName,
        core: CoreId,
        now: Mono,
        takeover_after: Duration,
    ) -> Result<Claim, Refused> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let again = inner.change(name, |place| {
            let last = Mono::from_micros(place.stats.last_media_us.load(Ordering::Relaxed));
            if place.left_at.is_none() && now.since(last) < takeover_after {
                return Err(Refused::NameTaken);
            }
            let from = place.home;
            (place.home, place.left_at) = (core, None);
            place.epoch += 1;
            place.stats.last_media_us.store(now.as_micros(), Ordering::Relaxed);
            let stats = place.stats.clone();
            Ok(Claim { id: place.id, epoch: place.epoch, from: Some(from), stats, displaced: None })
        });
        if let Some(again) = again {
            return again;
        }
        let mut displaced = None;
        if inner.streams.len() >= self.streams_max {
            let place = inner.displace().ok_or(Refused::TooManyStreams)?;
            displaced = Some((place.id, place.home));
        }
        inner.next_id += 1;
        let id = StreamId(inner.next_id);
        let stats = Arc::new(StreamStats::default());
        stats.last_media_us.store(now.as_micros(), Ordering::Relaxed);
        let place =
            Place { id, home: core, epoch: 1, left_at: None, readers: 0, since: now, stats: stats.clone() };
        inner.streams.insert(name.clone(), place);
        Ok(Claim { id, epoch: 1, from: None, stats, displaced })
    }

    /// The publisher `epoch` of `name` is gone; its grace begins. False if another one has the name already.
    pub fn unpublish(&self, now: Mono, name: &StreamName, id: StreamId, epoch: u32) -> bool {
        let left = self.lock().change(name, |place| {
            let owner = place.id == id && place.epoch == epoch;
            if owner {
                place.left_at = Some(now);
            }
            owner
        });
        left.unwrap_or(false)
    }

    /// Ends stream `id` if nobody has claimed it since publisher `epoch` left. One that made room is over already.
    pub fn end(&self, name: &StreamName, id: StreamId, epoch: u32) -> bool {
        let mut inner = self.lock();
        match inner.streams.get(name) {
            Some(place) if place.id == id => {
                let over = place.epoch == epoch && place.left_at.is_some();
                if over {
                    inner.remove(name);
                }
                over
            }
            _ => true,
        }
    }

    /// As [`Directory::find`], for a core that is going to read a log of the stream: until [`Directory::unwatch`] it
    /// makes no room for another.
    pub fn watch(&self, name: &StreamName) -> Option<(StreamId, CoreId, Arc<StreamStats>)> {
        self.lock().change(name, |place| {
            place.readers += 1;
            (place.id, place.home, place.stats.clone())
        })
    }

    /// A core no longer reads a log of stream `id`, which may be over, and its name another's.
    pub fn unwatch(&self, name: &StreamName, id: StreamId) {
        self.lock().change(name, |place| {
            if place.id == id {
                place.readers = place.readers.saturating_sub(1);
            }
        });
    }

    /// The stream of that name and the core that has it, or will have it in a moment.
    pub fn find(&self, name: &StreamName) -> Option<(StreamId, CoreId, Arc<StreamStats>)> {
        self.lock().streams.get(name).map(|p| (p.id, p.home, p.stats.clone()))
    }

    /// The core that has stream `id`, or will have it in a moment.
    pub fn home_of(&self, id: StreamId) -> Option<CoreId> {
        self.lock().streams.values().find(|p| p.id == id).map(|p| p.home)
    }

    /// All streams, by name.
    pub fn list(&self) -> Vec<Listed> {
        let mut list: Vec<Listed> = self
            .lock()
            .streams
            .iter()
            .map(|(name, p)| Listed {
                name: name.clone(),
                published: p.left_at.is_none(),
                since: p.since,
                stats: p.stats.clone(),
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// An identity for a new log; `None` if all are in use.
    pub fn new_log(&self) -> Option<LogId> {
        let mut inner = self.lock();
        inner.free_logs.pop().or_else(|| {
            let next = inner.next_log;
            (next < LOGS_MAX).then(|| {
                inner.next_log += 1;
                LogId(next)
            })
        })
    }

    /// A log is closed.
    pub fn free_log(&self, id: LogId) {
        self.lock().free_logs.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    const TWO_S: Duration = Duration::from_secs(2);

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    #[test]
    fn a_name_has_one_publisher_until_it_is_silent() {
        let directory = Directory::new(1);
        let name = StreamName::new("live", "cam");
        let first = directory.claim(&name, 0, at(0), TWO_S).unwrap();
        assert_eq!(directory.claim(&name, 1, at(1999), TWO_S).unwrap_err(), Refused::NameTaken);
        let second = directory.claim(&name, 1, at(2000), TWO_S).unwrap();
        assert_eq!((second.id, second.epoch, second.from), (first.id, 2, Some(0)));
        assert!(
            !directory.unpublish(at(2000), &name, first.id, first.epoch),
            "the old one no longer owns the name"
        );
        let other = StreamName::new("live", "other");
        assert_eq!(directory.claim(&other, 0, at(0), TWO_S).unwrap_err(), Refused::TooManyStreams);
    }

    #[test]
    fn a_stream_ends_only_if_nobody_came_back() {
        let directory = Directory::new(10);
        let name = StreamName::new("a/b", "c");
        assert_eq!((name.app(), name.stream()), ("a/b", "c"));
        let first = directory.claim(&name, 0, at(0), TWO_S).unwrap();
        assert!(!directory.end(&name, first.id, first.epoch), "still published");
        assert!(directory.unpublish(at(5), &name, first.id, first.epoch));
        let again = directory.claim(&name, 1, at(10), TWO_S).unwrap();
        assert!(!directory.end(&name, first.id, first.epoch));
        assert!(directory.unpublish(at(20), &name, again.id, again.epoch));
        assert!(directory.end(&name, again.id, again.epoch));
        assert!(directory.find(&name).is_none());
    }

    /// Names that all meet in one place of a table whose hash has no seed, and as many others.
    fn chosen_and_others(count: usize) -> [Vec<StreamName>; 2] {
        let unseeded = BuildHasherDefault::<DefaultHasher>::default();
        let names = (0..).map(|n| StreamName::new("live", &format!("name-{n}")));
        let (chosen, others): (Vec<_>, Vec<_>) =
            names.take(count * PLACES as usize).partition(|name| unseeded.hash_one(name) % PLACES == 0);
        [chosen, others]
    }
    const PLACES: u64 = 1 << 10;

    #[test]
    fn x3_chosen_names_meet_nowhere() {
        let [chosen, mut others] = chosen_and_others(1000);
        others.truncate(chosen.len());
        let directory = Directory::new(2 * chosen.len());
        for name in chosen.iter().chain(&others) {
            directory.claim(name, 0, at(0), TWO_S).unwrap();
        }
        let hasher = directory.lock().streams.hasher().clone();
        let places = |names: &[StreamName]| {
            let places: HashSet<u64> = names.iter().map(|name| hasher.hash_one(name) % PLACES).collect();
            places.len()
        };
        // By chance 632 of 1000 are somebody's first.
        let spread = [places(&chosen), places(&others)];
        assert!(spread.iter().all(|places| *places > 500), "{spread:?}");
        // Not held to any figure, which another process on the machine could break.
        let look_up = |names: &[StreamName]| {
            let begin = std::time::Instant::now();
            let found = (0..100).flat_map(|_| names).filter(|name| directory.find(name).is_some()).count();
            assert_eq!(found, 100 * names.len());
            begin.elapsed().as_nanos() / found as u128
        };
        println!(
            "a lookup takes {} ns of a chosen name, {} ns of another",
            look_up(&chosen),
            look_up(&others)
        );
    }

    #[test]
    fn deserted_streams_make_room() {
        let directory = Directory::new(3);
        let names = ["kept", "watched", "left", "late", "later"].map(|name| StreamName::new("live", name));
        let [kept, watched, left, late, later] = &names;
        let claim = |name, ms| directory.claim(name, 0, at(ms), TWO_S);
        let [_, second, third] = [kept, watched, left].map(|name| claim(name, 0).unwrap());
        assert_eq!(directory.watch(watched).map(|(id, ..)| id), Some(second.id));
        assert!(directory.unpublish(at(1), watched, second.id, second.epoch));
        assert_eq!(
            claim(late, 2).unwrap_err(),
            Refused::TooManyStreams,
            "one is watched, the others are published"
        );
        assert!(directory.unpublish(at(3), left, third.id, third.epoch));
        let newcomer = claim(late, 4).unwrap();
        assert_eq!(newcomer.displaced, Some((third.id, 0)));
        assert!(directory.find(left).is_none());
        assert!(directory.end(left, third.id, third.epoch), "it is over");
        // Its name begins anew, and is not what the old one's end ends.
        assert!(directory.unpublish(at(5), late, newcomer.id, newcomer.epoch));
        let again = claim(left, 6).unwrap();
        assert_eq!((again.from, again.displaced), (None, Some((newcomer.id, 0))));
        assert!(directory.end(left, third.id, third.epoch));
        assert_eq!(directory.find(left).map(|(id, _, _)| id), Some(again.id));
        // Who left first goes first.
        directory.unwatch(watched, second.id);
        assert!(directory.unpublish(at(7), left, again.id, again.epoch));
        assert_eq!(claim(later, 8).unwrap().displaced, Some((second.id, 0)));
    }

    /// The line against what a look at all streams would say, over any order of coming, going, watching and ending.
    #[test]
    fn room_is_made_in_the_order_of_leaving() {
        let directory = Directory::new(40);
        let mut word = 1u64;
        let mut dice = |n: u64| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (word >> 33) % n
        };
        let mut displaced = 0;
        for step in 0..20_000 {
            let name = StreamName::new("live", &dice(60).to_string());
            let known = directory.lock().streams.get(&name).map(|place| (place.id, place.epoch));
            match (dice(5), known) {
                (0 | 1, _) => {
                    let line = directory.lock().streams.values().filter_map(Place::deserted).min();
                    let full = known.is_none() && directory.lock().streams.len() == 40;
                    let claim = directory.claim(&name, 0, at(step), TWO_S).ok();
                    let room = claim.and_then(|claim| claim.displaced).map(|(id, _)| id);
                    assert_eq!(room, line.map(|(_, id)| id).filter(|_| full), "step {step}");
                    displaced += u64::from(room.is_some());
                }
                (2, Some((id, epoch))) => _ = directory.unpublish(at(step), &name, id, epoch),
                (3, Some((id, _))) if dice(2) == 0 => directory.unwatch(&name, id),
                (3, _) => _ = directory.watch(&name),
                (_, Some((id, epoch))) if dice(9) == 0 => _ = directory.end(&name, id, epoch),
                _ => {}
            }
            let inner = directory.lock();
            let mut all: Vec<Order> = inner.streams.values().filter_map(Place::deserted).collect();
            all.sort_unstable();
            assert!(inner.deserted.keys().eq(&all), "step {step}");
        }
        assert!(displaced > 100, "{displaced} made room");
    }

    #[test]
    fn log_identities_are_reused() {
        let directory = Directory::new(1);
        let a = directory.new_log().unwrap();
        assert_ne!(Some(a), directory.new_log());
        directory.free_log(a);
        assert_eq!(Some(a), directory.new_log());
    }
}
