//! Bytes of attackers: each row has its number in docs/reliability.md, what is sent, and the reason that is counted for it.
//!
//! A row is sent several times beside a control in a process of its own. Held to: the control loses nothing, memory by
//! the product's own accounting stays within 16 MiB and resident memory within 64 MiB, the row's reason and no other rises
//! by exactly the number sent, who is not closed is answered afterwards, an HTTP connection has one answer, the log holds
//! neither a panic nor a key.

mod crowds;
mod http;
mod names;
mod rtmp;

use crate::support::amf::Value;
use crate::support::engine::Engine;
use crate::support::raw::{Raw, Stage, command};
use crate::support::server::Config;
use crate::support::share_machine;
use crate::support::trial::{Counts, MEMORY_BYTES_MAX, Trial};
use std::sync::atomic::{AtomicU32, Ordering};

/// How often a row is sent, as a rule.
const TIMES: u64 = 4;

/// One attack.
struct Row {
    /// Its number in docs/reliability.md.
    id: &'static str,
    what: &'static str,
    /// How far it goes in good manners.
    stage: Stage,
    /// What it sends from there.
    bytes: Vec<u8>,
    /// The reason of its end; `client_closed` where it is not closed for this and ends by itself.
    ends: &'static str,
    /// Reasons of frames that are dropped, and how many, each time.
    dropped: &'static [(&'static str, u64)],
    /// What must be heard behind the good manners.
    answer: &'static str,
    /// How often it is sent.
    times: u64,
}

impl Row {
    fn new(
        id: &'static str,
        what: &'static str,
        stage: Stage,
        ends: &'static str,
        bytes: impl Into<Vec<u8>>,
    ) -> Row {
        Row { id, what, stage, bytes: bytes.into(), ends, dropped: &[], answer: "", times: TIMES }
    }

    /// One that is not closed for what it sends: a command behind it is answered.
    fn that_goes_on(id: &'static str, what: &'static str, stage: Stage, bytes: Vec<u8>) -> Row {
        let bytes = [bytes, command(0, "createStream", 9.0, &[Value::Null])].concat();
        Row::new(id, what, stage, "client_closed", bytes).answered("_result")
    }

    fn dropping(self, dropped: &'static [(&'static str, u64)]) -> Row {
        Row { dropped, ..self }
    }

    fn times(self, times: u64) -> Row {
        Row { times, ..self }
    }

    fn answered(self, answer: &'static str) -> Row {
        Row { answer, ..self }
    }

    fn counts(&self) -> Counts {
        let protocol = if self.stage == Stage::Http { "http_flv" } else { "rtmp" };
        let mut counts = Counts::from([(format!("{protocol} {}", self.ends), self.times)]);
        counts
            .extend(self.dropped.iter().map(|&(why, count)| (format!("dropped {why}"), count * self.times)));
        counts
    }

    /// Sends it once, and stays to the end of the connection. Returns what was heard, unless the connection stays open.
    fn send(&self, trial: &Trial) -> Option<Raw> {
        let address = if self.stage == Stage::Http { trial.server.http } else { trial.server.rtmp };
        let mut raw = Raw::at(self.stage, address, &own_name());
        raw.heard.clear();
        raw.write(&self.bytes);
        if self.ends == "client_closed" {
            raw.waits_for(self.answer);
            raw.end();
        }
        raw.read_to_end().then_some(raw)
    }

    /// Sends it several times and holds the server to what is expected.
    fn judge(&self, trial: &Trial) -> Result<(), String> {
        let mut heard = Vec::new();
        within(trial.expect(&self.counts(), || heard.extend((0..self.times).map(|_| self.send(trial))))?)?;
        self.hear(heard)
    }

    /// Whether every connection ended, with the answer.
    fn hear(&self, heard: Vec<Option<Raw>>) -> Result<(), String> {
        for raw in heard {
            let raw = raw.ok_or("the connection stays open")?;
            if !raw.has_heard(self.answer) {
                return Err(format!("the answer was {:?}", String::from_utf8_lossy(&raw.heard)));
            }
            // A second answer would be one to what is smuggled behind the first request.
            if self.stage == Stage::Http && raw.times_heard("HTTP/1.1 ") != 1 {
                return Err(format!("not one answer: {:?}", String::from_utf8_lossy(&raw.heard)));
            }
        }
        Ok(())
    }
}

/// A name that nobody else publishes.
fn own_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("attacker-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sends all rows at once to one server, and one by one if the sum is not as expected, to say which it was. Returns the
/// server's log.
fn send_all(config: Config, rows: &[Row]) -> String {
    // A stream ends with its publisher: attackers' streams are not to wait for them.
    let config = config.set("publish.republish_grace_ms", "0").set("fanout.play_wait_ms", "100");
    let trial = Trial::begin(config);
    if let Err(failed) = at_once(&trial, rows) {
        eprintln!("all at once: {failed}");
        trial.settle();
        let one = |row: &Row| Some(format!("{} {}: {}", row.id, row.what, row.judge(&trial).err()?));
        let each: Vec<String> = rows.iter().filter_map(one).collect();
        panic!("all at once: {failed}\n{}", each.join("\n"));
    }
    trial.finish()
}

fn at_once(trial: &Trial, rows: &[Row]) -> Result<(), String> {
    let mut expected = Counts::new();
    for (reason, count) in rows.iter().flat_map(Row::counts) {
        *expected.entry(reason).or_default() += count;
    }
    let mut said = Ok(());
    let more = trial.expect(&expected, || {
        said = std::thread::scope(|scope| {
            let send = |row: &Row| {
                let heard = (0..row.times).map(|_| row.send(trial)).collect();
                row.hear(heard).map_err(|why| format!("{} {}: {why}", row.id, row.what))
            };
            let sent: Vec<_> = rows.iter().map(|row| scope.spawn(move || send(row))).collect();
            sent.into_iter().try_for_each(|row| row.join().expect("a row's thread"))
        });
    })?;
    within(more).and(said)
}

/// Whether an attack cost no more memory than it may, at any time.
fn within(more: f64) -> Result<(), String> {
    if more <= MEMORY_BYTES_MAX { Ok(()) } else { Err(format!("{more} bytes more at the peak")) }
}

/// Like [`send_all`], to a server on each engine that there is here; with the logs of all.
fn send_all_to_both(configure: impl Fn(Config) -> Config, rows: &[Row]) -> Vec<String> {
    let _shared = share_machine();
    let engines = [Engine::Uring, Engine::Epoll].into_iter().filter_map(Engine::config);
    engines.map(|config| send_all(configure(config), rows)).collect()
}
