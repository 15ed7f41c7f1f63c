//! Bytes of attackers: each row has its number in docs/reliability.md, what is sent, and the reason that is counted for it.
//!
//! A row is sent several times beside a control in a process of its own. Held to: the control loses nothing, memory by
//! the product's own accounting stays within 16 MiB and resident memory within 64 MiB, the row's reason and no other rises
//! by exactly the number sent and stands in each connection's own line of the log, who is not closed is answered
//! afterwards, an HTTP connection has one answer, the log holds neither a panic nor a key.

mod crowds;
mod http;
mod names;
mod rtmp;

use crate::support::amf::Value;
use crate::support::engine::Engine;
use crate::support::raw::{Raw, Stage, command};
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{Counts, MEMORY_BYTES_MAX, Trial};
use crate::support::{poll_for, share_machine};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How often a row is sent, as a rule.
const TIMES: u64 = 4;
/// `fanout.play_wait_ms`, and `limits.handshake_timeout_ms` where a row waits for it: long enough for good manners, the
/// control's among them, on a machine that is busy.
const MANNERS_MS: &str = "5000";
/// How often a row is sent that is sent on and on.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

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
    /// It is sent over and over until the connection is closed for it.
    on_and_on: bool,
}

impl Row {
    fn new(
        id: &'static str,
        what: &'static str,
        stage: Stage,
        ends: &'static str,
        bytes: impl Into<Vec<u8>>,
    ) -> Row {
        let bytes = bytes.into();
        Row { id, what, stage, bytes, ends, dropped: &[], answer: "", times: TIMES, on_and_on: false }
    }

    /// One that is not closed for what it sends: a command behind it is answered.
    fn that_goes_on(id: &'static str, what: &'static str, stage: Stage, bytes: Vec<u8>) -> Row {
        let bytes = [bytes, command(0, "createStream", 9.0, &[Value::Null])].concat();
        Row::new(id, what, stage, "client_closed", bytes).answered("_result")
    }

    fn dropping(self, dropped: &'static [(&'static str, u64)]) -> Row {
        Row { dropped, ..self }
    }

    fn on_and_on(self) -> Row {
        Row { on_and_on: true, ..self }
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

    /// Sends it once, and stays to the end of the connection. Returns its own address.
    fn send(&self, trial: &Trial) -> Result<SocketAddr, String> {
        let address = if self.stage == Stage::Http { trial.server.http } else { trial.server.rtmp };
        let mut raw = Raw::at(self.stage, address, &own_name());
        let own = raw.socket().local_addr().map_err(|error| format!("no address: {error}"))?;
        raw.heard.clear();
        raw.write(&self.bytes);
        if self.ends == "client_closed" {
            raw.waits_for(self.answer);
            raw.end();
        }
        let deadline = Instant::now() + LIMIT;
        if self.on_and_on {
            let between = raw.socket().set_read_timeout(Some(AGAIN_AFTER));
            between.map_err(|error| format!("no timeout: {error}"))?;
        }
        while !raw.read_to_end() {
            if !self.on_and_on || Instant::now() > deadline {
                return Err("the connection stays open".to_owned());
            }
            raw.write(&self.bytes);
        }
        let heard = || String::from_utf8_lossy(&raw.heard);
        if !raw.has_heard(self.answer) {
            return Err(format!("the answer was {:?}", heard()));
        }
        // A second answer would be one to what is smuggled behind the first request.
        if self.stage == Stage::Http && raw.times_heard("HTTP/1.1 ") != 1 {
            return Err(format!("not one answer: {:?}", heard()));
        }
        Ok(own)
    }

    /// Sends it as often as it is to be sent, one after the other, or all at once if each waits until its time is over.
    fn send_all(&self, trial: &Trial) -> Result<Vec<SocketAddr>, String> {
        let waits = matches!(self.ends, "handshake_timeout" | "not_found" | "publisher_silent");
        let sent: Result<_, String> = match waits {
            false => (0..self.times).map(|_| self.send(trial)).collect(),
            true => std::thread::scope(|scope| {
                let sent: Vec<_> = (0..self.times).map(|_| scope.spawn(|| self.send(trial))).collect();
                sent.into_iter().map(|one| one.join().expect("a thread of a row")).collect()
            }),
        };
        sent.map_err(|why| format!("{} {}: {why}", self.id, self.what))
    }
}

/// The reason that the log has for the end of the connection from `peer`.
fn reason_of(log: &str, peer: SocketAddr) -> Option<&str> {
    // The line that has the length of the stay as well is written when the connection is gone.
    let peer = format!(" peer={peer} ");
    let line = log.lines().rev().find(|line| line.contains(" seconds=") && line.contains(&peer))?;
    line.split_once(" reason=")?.1.split(' ').next()
}

#[test]
fn a_reason_is_that_of_its_connection() {
    let log = "T DEBUG accepted conn=1 peer=127.0.0.1:40001 \n\
               T DEBUG session closed conn=1 peer=127.0.0.1:40001 reason=bad_version detail=x\n\
               T DEBUG closed conn=2 peer=127.0.0.1:4000 reason=io_error seconds=0.25\n\
               T DEBUG closed conn=1 peer=127.0.0.1:40001 reason=protocol_error seconds=0.5\n";
    let from = |peer: &str| reason_of(log, peer.parse().unwrap());
    assert_eq!(from("127.0.0.1:40001"), Some("protocol_error"));
    assert_eq!(from("127.0.0.1:4000"), Some("io_error"));
    assert_eq!((from("127.0.0.1:400"), from("127.0.0.2:4000")), (None, None));
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
    let config = config.set("publish.republish_grace_ms", "0").set("fanout.play_wait_ms", MANNERS_MS);
    let trial = Trial::begin(config);
    // Nobody logs which connection's frames were dropped: rows that have the same dropped go together.
    let mut groups: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(row.dropped).or_default().push(row));
    for rows in groups.values() {
        if let Err(failed) = at_once(&trial, rows) {
            eprintln!("all at once: {failed}");
            trial.settle();
            let one =
                |row: &&Row| Some(format!("{} {}: {}", row.id, row.what, at_once(&trial, &[row]).err()?));
            let each: Vec<String> = rows.iter().filter_map(one).collect();
            panic!("all at once: {failed}\n{}", each.join("\n"));
        }
    }
    trial.finish()
}

/// Sends these rows beside each other; the sum of their counts must be exact, and each must end for its own reason.
fn at_once(trial: &Trial, rows: &[&Row]) -> Result<(), String> {
    let mut expected = Counts::new();
    for (reason, count) in rows.iter().flat_map(|row| row.counts()) {
        *expected.entry(reason).or_default() += count;
    }
    let mut sent = Ok(Vec::new());
    let more = trial.expect(&expected, || {
        sent = std::thread::scope(|scope| {
            let sent: Vec<_> = rows.iter().map(|row| scope.spawn(move || row.send_all(trial))).collect();
            sent.into_iter().map(|row| row.join().expect("a row's thread")).collect()
        });
    })?;
    within(more)?;
    let peers = sent?;
    // Rows that have changed their reasons have the same sum.
    let told = |log: &String| peers.iter().flatten().all(|&peer| reason_of(log, peer).is_some());
    let log = poll_for(LIMIT, || trial.server.log(), told);
    for (row, peers) in rows.iter().zip(&peers) {
        let ends: Vec<_> = peers.iter().map(|&peer| reason_of(&log, peer)).collect();
        if ends.iter().any(|end| *end != Some(row.ends)) {
            return Err(format!("{} {}: ended by {ends:?}, not {}", row.id, row.what, row.ends));
        }
    }
    Ok(())
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
