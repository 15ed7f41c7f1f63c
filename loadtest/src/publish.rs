//! Publishers: RTMP connections paced on absolute time.
//!
//! They are few (500 streams are 38 000 sends a second) and their sends are the clock of the whole measurement, so this
//! is a plain loop: sleep until the next frame of any stream is due, stamp it, send it. The stamp is taken right before the send.

use crate::clock::{self, SECOND_NS, now_ns};
use crate::media::{Frames, Profile, Schedule, message_type};
use crate::rtmp::{Client, Role};
use crate::target::Target;
use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may take for each answer before the first frame.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Unsent bytes at which a publisher gives up: the server has not read for many seconds.
const BACKLOG_MAX: usize = 16 << 20;
/// Publishers that connect at the same time: some servers answer each command 40 ms late.
const CONNECTING: usize = 16;
/// Frames between two looks at what the server sent (pings, acknowledgements).
const READ_EVERY: u32 = 16;

/// One publisher whose server said NetStream.Publish.Start.
pub struct Publisher {
    socket: TcpStream,
    client: Client,
    index: u32,
    backlog: Vec<u8>,
}

/// What the publishers did.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Streams.
    pub streams: usize,
    /// Video frames sent, all streams.
    pub video: u64,
    /// Audio frames sent.
    pub audio: u64,
    /// Payload bytes of all of them.
    pub payload_bytes: u64,
    /// Lateness of sends against the schedule: p50, p99 and maximum, us.
    pub late_us: [u64; 3],
    /// Sends that the kernel did not take whole.
    pub blocked_sends: u64,
    /// Publishers that ended early, with the reason.
    pub failures: Vec<String>,
    /// Frames sent by each stream: video, audio.
    #[serde(skip)]
    pub sent: Vec<(u32, u32)>,
}

impl Publisher {
    /// Connects and waits for the server's agreement.
    pub fn connect(target: &Target, index: u32) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&target.resolve()?, ANSWER_TIMEOUT)
            .with_context(|| format!("cannot connect to {target}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut this =
            Self { socket, client: Client::new(Role::Publish, target, false), index, backlog: Vec::new() };
        let mut buffer = [0; 4096];
        while !this.client.is_live() {
            let mut out = Vec::new();
            this.client.take_output(&mut out);
            this.socket.write_all(&out)?;
            let n = this.socket.read(&mut buffer).with_context(|| format!("{target} does not answer"))?;
            if n == 0 {
                bail!("{target} closed the connection before publishing began");
            }
            if let Err(failure) = this.client.input(&buffer[..n], |_| ()) {
                bail!("{target}: {failure:?}");
            }
        }
        this.socket.set_nonblocking(true)?;
        Ok(this)
    }

    /// Sends `out` behind whatever is still unsent; true when all of it went out.
    fn send(&mut self, out: &[u8]) -> Result<bool> {
        if self.backlog.is_empty() {
            match self.socket.write(out) {
                Ok(n) if n == out.len() => return Ok(true),
                Ok(n) => self.backlog.extend_from_slice(&out[n..]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.backlog.extend_from_slice(out),
                Err(e) => return Err(e.into()),
            }
            return Ok(false);
        }
        self.backlog.extend_from_slice(out);
        match self.socket.write(&self.backlog) {
            Ok(n) => drop(self.backlog.drain(..n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
        if self.backlog.len() > BACKLOG_MAX {
            bail!("the server does not read");
        }
        Ok(self.backlog.is_empty())
    }

    /// Takes in what the server sent; pongs go to `out`.
    fn read(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(n) => {
                    if let Err(failure) = self.client.input(&buffer[..n], |_| ()) {
                        bail!("{failure:?}");
                    }
                    self.client.take_output(out);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Connects `streams` publishers, a few at a time; with more than one, stream names are numbered.
pub fn connect(target: &Target, streams: usize) -> Result<Vec<Publisher>> {
    let connect = |index: usize| {
        let target = if streams > 1 { target.numbered(index) } else { target.clone() };
        Publisher::connect(&target, index as u32)
    };
    let mut publishers: Vec<Publisher> = std::thread::scope(|scope| {
        let part = |first: usize| {
            move || (first..streams).step_by(CONNECTING).map(connect).collect::<Result<Vec<_>>>()
        };
        let threads: Vec<_> = (0..CONNECTING.min(streams)).map(|first| scope.spawn(part(first))).collect();
        let parts = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a publisher's thread panicked"))?);
        Ok::<_, anyhow::Error>(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })?;
    publishers.sort_by_key(|publisher| publisher.index);
    Ok(publishers)
}

/// Publishes from now until `end_ns`, then keeps the connections open and silent until `hold_until_ns`.
pub fn run(mut publishers: Vec<Publisher>, profile: Profile, end_ns: u64, hold_until_ns: u64) -> Report {
    clock::exact_timers();
    // On a processor shared with thousands of subscribers the pace must not wait for them. Without the right to do
    // so the lateness in the report shows what it cost.
    // SAFETY: setpriority takes integers only; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    let mut frames = Frames::new(&profile);
    let mut late_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("constant bounds are valid");
    let mut report = Report {
        streams: publishers.len(),
        video: 0,
        audio: 0,
        payload_bytes: 0,
        late_us: [0; 3],
        blocked_sends: 0,
        failures: Vec::new(),
        sent: Vec::new(),
    };
    let start_ns = now_ns();
    let spread_ns = (SECOND_NS as f64 / profile.fps.max(1.0) / publishers.len().max(1) as f64) as u64;
    let mut schedules: Vec<Schedule> = publishers.iter().map(|_| Schedule::new(profile)).collect();
    let mut due = BinaryHeap::new();
    let mut out = Vec::new();
    for (i, publisher) in publishers.iter_mut().enumerate() {
        out.clear();
        publisher.client.write_preface(&mut out, &profile);
        match publisher.send(&out) {
            Ok(_) => due.push(Reverse((start_ns + spread_ns * i as u64, i))),
            Err(e) => report.failures.push(format!("stream {i}: {e:#}")),
        }
    }
    while let Some(Reverse((due_ns, i))) = due.pop() {
        if due_ns >= end_ns {
            break;
        }
        clock::sleep_until(due_ns);
        let (Some(publisher), Some(schedule)) = (publishers.get_mut(i), schedules.get_mut(i)) else { break };
        let Some(frame) = schedule.next() else { continue };
        out.clear();
        let mut sent = Ok(());
        if frame.stream_seq.is_multiple_of(READ_EVERY) {
            sent = publisher.read(&mut out);
        }
        let now = now_ns();
        late_us.saturating_record((now - due_ns) / 1000);
        let payload = frames.payload(&frame, publisher.index, now);
        report.payload_bytes += payload.len() as u64;
        publisher.client.write_media(&mut out, message_type(frame.kind), frame.timestamp_ms(), payload);
        match sent.and_then(|()| publisher.send(&out)) {
            Ok(whole) => report.blocked_sends += u64::from(!whole),
            Err(e) => {
                report.failures.push(format!("stream {i}: {e:#}"));
                continue;
            }
        }
        if let Some(next) = schedule.peek_ns() {
            due.push(Reverse((start_ns + spread_ns * i as u64 + next, i)));
        }
    }
    report.sent = schedules.iter().map(Schedule::sent).collect();
    report.video = report.sent.iter().map(|s| u64::from(s.0)).sum();
    report.audio = report.sent.iter().map(|s| u64::from(s.1)).sum();
    report.late_us = [late_us.value_at_quantile(0.5), late_us.value_at_quantile(0.99), late_us.max()];
    // The last frames may still wait for the socket.
    while now_ns() < hold_until_ns {
        for publisher in &mut publishers {
            let _ = publisher.send(&[]);
        }
        clock::sleep_until((now_ns() + SECOND_NS / 50).min(hold_until_ns));
    }
    report
}
