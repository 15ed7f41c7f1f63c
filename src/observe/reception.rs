//! What comes of an origin of an input, as lists show it, and what has happened to the input: too much for metrics, which
//! have no room for PIDs and times.

use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Events of an input that are kept: a day with an accident in it.
const EVENTS_MAX: usize = 32;

/// What an origin brings now; once a second its core writes it anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reception {
    /// Programs, in the order of the PAT.
    pub services: Vec<ServiceReception>,
    /// PIDs that came, ascending.
    pub pids: Vec<PidReception>,
    /// PIDs that are not listed: there are too many.
    pub pids_omitted: u64,
    /// Media delivery index (RFC 4445), as soon as the stream's rate is known.
    pub mdi: Option<MdiReception>,
    /// RTP, if it is.
    pub rtp: Option<RtpReception>,
    /// What its monitor has raised, by when it was raised last.
    pub alarms: Vec<AlarmReception>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceReception {
    /// Its number (service id).
    pub id: u16,
    /// As its SDT names it.
    pub name: Option<String>,
    /// Likewise.
    pub provider: Option<String>,
    /// PID of its clock.
    pub pcr_pid: Option<u16>,
}

/// A PID.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PidReception {
    /// The PID.
    pub pid: u16,
    /// What it is: `PAT`, `video` …
    pub role: &'static str,
    /// Codec, of a stream of a program.
    pub codec: Option<&'static str>,
    /// ISO 639, likewise.
    pub language: Option<String>,
    /// Bits a second since the last time.
    pub bitrate_bps: u64,
    /// Packets so far.
    pub packets: u64,
    /// Errors of its continuity counter.
    pub continuity_errors: u64,
    /// Scrambled packets.
    pub scrambled_packets: u64,
}

/// The media delivery index of the last whole second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MdiReception {
    /// Delay factor, in milliseconds.
    pub df_ms: Option<f64>,
    /// Packets lost.
    pub mlr: f64,
    /// The largest delay factor so far.
    pub df_ms_max: Option<f64>,
    /// Packets lost so far.
    pub lost_packets: u64,
}

/// RTP before anything is put in order or repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RtpReception {
    /// Packets that came.
    pub packets: u64,
    /// That never came.
    pub lost: u64,
    /// That came after a later one.
    pub reordered: u64,
    /// That came twice.
    pub duplicates: u64,
}

/// An indicator that was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmReception {
    /// Its number in TR 101 290: `1.4`.
    pub indicator: &'static str,
    /// What it is about.
    pub cause: &'static str,
    /// How often.
    pub count: u64,
    /// The PID that it was about the last time.
    pub pid: Option<u16>,
    /// When it was raised first and last: microseconds of the monotonic clock.
    #[serde(skip)]
    pub first_us: u64,
    /// See `first_us`.
    #[serde(skip)]
    pub last_us: u64,
    /// It is still so; of what lasts, which is raised once.
    pub lasts: bool,
}

/// Where the newest of something is left for who asks; who leaves it waits for nobody.
#[derive(Debug)]
pub struct Board<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Board<T> {
    fn default() -> Board<T> {
        Board(Mutex::new(None))
    }
}

impl<T> Board<T> {
    /// Leaves `newest`, unless somebody reads just now: then the next one is left.
    pub fn put(&self, newest: T) {
        if let Ok(mut place) = self.0.try_lock() {
            *place = Some(Arc::new(newest));
        }
    }

    /// The newest.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Something that happened to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputEvent {
    /// Microseconds of the monotonic clock.
    pub at_us: u64,
    /// What, in a word: `on_air`, `refused` …
    pub what: &'static str,
    /// Why, where there is more to say.
    pub cause: Option<&'static str>,
    /// The origin that it is about.
    pub origin: Option<usize>,
}

/// What is to go into a [`Diary`], for whoever must not wait while somebody reads there.
#[derive(Debug, Default)]
pub struct Notes(VecDeque<InputEvent>);

impl Notes {
    /// Notes an event for the next [`Notes::enter`]; the oldest makes room.
    pub fn add(&mut self, event: InputEvent) {
        push(&mut self.0, event);
    }

    /// Enters what was noted, unless somebody reads just now: then the next time.
    pub fn enter(&mut self, diary: &Diary) {
        if !self.0.is_empty()
            && let Ok(mut events) = diary.0.try_lock()
        {
            self.0.drain(..).for_each(|event| push(&mut events, event));
        }
    }
}

fn push(events: &mut VecDeque<InputEvent>, event: InputEvent) {
    if events.len() == EVENTS_MAX {
        events.pop_front();
    }
    events.push_back(event);
}

/// The last things that happened to an input; [`Notes`] are entered there.
#[derive(Debug, Default)]
pub struct Diary(Mutex<VecDeque<InputEvent>>);

impl Diary {
    /// All that is kept, the oldest first.
    pub fn events(&self) -> Vec<InputEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diary_keeps_the_newest() {
        let (diary, mut notes) = (Diary::default(), Notes::default());
        let event = |at_us| InputEvent { at_us, what: "on_air", cause: None, origin: Some(0) };
        for at_us in 0..39 {
            notes.add(event(at_us));
            notes.enter(&diary);
        }
        // Somebody reads: what happens meanwhile is entered behind it.
        let reading = diary.0.lock().unwrap();
        notes.add(event(39));
        notes.enter(&diary);
        assert_eq!(reading.back().map(|event| event.at_us), Some(38));
        drop(reading);
        notes.enter(&diary);
        let events = diary.events();
        assert_eq!((events.len(), events[0].at_us, events[31].at_us), (EVENTS_MAX, 8, 39));
        let board = Board::default();
        assert_eq!(board.get(), None);
        board.put(7);
        assert_eq!(board.get().as_deref(), Some(&7));
    }
}
