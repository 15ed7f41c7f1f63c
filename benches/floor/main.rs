//! The floor: what fan-out costs when there is nothing around the sends.
//!
//! A bare loop on one thread. It makes the frames that a publisher of `headgate-load` would send, writes them once into a ring as
//! FLV tags, and sends the same bytes to N sockets with the gateway's socket options and flush modes: no protocol, no
//! parsing, no streams, no timeouts, no policy. Every gate of docs/performance.md is a ratio to this program.
//!
//! A frame's stamp is the moment it was due, so that time which the loop spends sending counts as latency, as it does for a
//! publisher that does not wait for the gateway. `cargo xtask bench` drives it; `headgate-load play` is its client.

mod engine;
mod flush;
mod log;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use engine::{Backend, Subscribers};
use flush::{Flush, Mode};
use headgate_load::clock::{self, now_ns};
use headgate_load::media::{
    AAC_CONFIG, AVC_CONFIG, Frames, Profile, Schedule, TYPE_AUDIO, TYPE_VIDEO, message_type,
};
use headgate_load::stamp::Kind;
use headgate_load::{flv, watch};
use log::Log;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Longest wait of a turn while subscribers may still come or leave.
const TURN_MAX_NS: u64 = 5_000_000;
/// Longest request that is read.
const REQUEST_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Plain non-blocking send(2).
    Send,
    /// Batched sends on an io_uring ring with registered files.
    Uring,
}

/// Sends synthetic live FLV to many sockets with nothing around it, and says what that cost.
#[derive(Parser, Debug)]
struct Args {
    /// Where to listen; without it nothing is measured.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Subscribers to wait for before the warm-up begins.
    #[arg(long, default_value_t = 100)]
    count: usize,
    #[arg(long, value_enum, default_value = "uring")]
    engine: Engine,
    #[arg(long, value_enum, default_value = "video")]
    flush: Mode,
    /// Interval in ms (only for --flush interval).
    #[arg(long, default_value_t = 100)]
    flush_ms: u64,
    /// Phase slots of the interval over which subscribers are spread.
    #[arg(long, default_value_t = 1)]
    slots: usize,
    /// Sends between two looks at the clock.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Video frames all of one size.
    #[arg(long)]
    equal_frames: bool,
    /// Seconds between the last arrival and the measured window.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Length of the measured window.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let Some(listen) = args.listen else {
        println!("floor: nothing to do without --listen; `cargo xtask bench` runs it beside the gateway");
        return Ok(());
    };
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    listener.set_nonblocking(true)?;
    clock::exact_timers();
    // SAFETY: listen(2) on our own socket; a larger backlog than std's 128 survives the clients' ramp.
    unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 4096) };
    let backend = match args.engine {
        Engine::Send => Backend::epoll()?,
        Engine::Uring => Backend::uring(args.count)?,
    };
    serve(&args, &listener, Subscribers::new(backend, args.slots, args.batch))
}

/// What the window is measured by.
struct Mark {
    sample: watch::Sample,
    sends: u64,
    bytes: u64,
    frames: u64,
}

fn serve(args: &Args, listener: &TcpListener, mut subscribers: Subscribers) -> Result<()> {
    let profile = Profile { key_ratio: if args.equal_frames { 1.0 } else { 8.0 }, ..Profile::default() };
    let mut frames = Frames::new(&profile);
    let mut schedule = Schedule::new(profile);
    let mut log = Log::new()?;
    let mut flush = Flush::new(args.flush, args.flush_ms * 1_000_000, args.slots, &profile);
    let start_ns = now_ns();
    let (mut tag, mut key_at, mut appended) = (Vec::new(), None, 0u64);
    let (mut opens, mut closes): (Option<u64>, Option<u64>) = (None, None);
    let mut mark = None;
    flush.start(start_ns);
    loop {
        let now = now_ns();
        while schedule.peek_ns().is_some_and(|at| start_ns + at <= now) {
            let Some(due) = schedule.next() else { break };
            tag.clear();
            let payload = frames.payload(&due, 0, start_ns + due.at_ns);
            flv::write_tag(&mut tag, message_type(due.kind), due.timestamp_ms(), payload);
            if due.kind == Kind::Key {
                key_at = Some(log.end());
            }
            log.append(&tag);
            appended += 1;
            flush.on_frame(now, due.kind != Kind::Audio);
        }
        flush.take_due(now, |slot| subscribers.flush(slot, log.end()));
        if let (None, Some(key_at)) = (opens, key_at) {
            while subscribers.count() < args.count
                && let Some(socket) = welcome(listener)?
            {
                subscribers.add(socket, key_at)?;
            }
            if subscribers.count() >= args.count {
                let at = now + clock::seconds(args.warmup);
                (opens, closes) = (Some(at), Some(at + clock::seconds(args.seconds)));
            }
        }
        if mark.is_none() && opens.is_some_and(|at| now >= at) {
            let (sends, bytes) = subscribers.sent();
            mark = Some(Mark { sample: watch::Sample::take(None), sends, bytes, frames: appended });
        }
        if let (Some(mark), Some(true)) = (&mark, closes.map(|at| now >= at)) {
            report(args, mark, &subscribers, appended);
            closes = None;
        }
        if opens.is_some() && subscribers.alive() == 0 {
            return Ok(());
        }
        let next = schedule.peek_ns().map_or(u64::MAX, |at| start_ns + at);
        let next = next.min(flush.next_ns().unwrap_or(u64::MAX)).min(now + TURN_MAX_NS);
        subscribers.turn(&log, || Duration::from_nanos(next.saturating_sub(now_ns())))?;
    }
}

/// Accepts one subscriber, reads its request and answers with everything in front of the frames.
fn welcome(listener: &TcpListener) -> Result<Option<TcpStream>> {
    let mut socket = match listener.accept() {
        Ok((socket, _)) => socket,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
        Err(e) => return Err(e).context("accept"),
    };
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut request = [0; REQUEST_MAX];
    // Completions of the ring interrupt a read that has a timeout.
    loop {
        match socket.read(&mut request) {
            Ok(n) if n > 0 => break,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            _ => return Ok(None),
        }
    }
    let mut preface = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n".to_vec();
    preface.extend_from_slice(&flv::HEADER);
    flv::write_tag(&mut preface, TYPE_VIDEO, 0, AVC_CONFIG);
    flv::write_tag(&mut preface, TYPE_AUDIO, 0, AAC_CONFIG);
    Ok(socket.write_all(&preface).is_ok().then_some(socket))
}

fn report(args: &Args, mark: &Mark, subscribers: &Subscribers, appended: u64) {
    let window = watch::Sample::take(None).since(&mark.sample);
    let (sends, bytes) = subscribers.sent();
    let messages = (appended - mark.frames) * subscribers.alive() as u64;
    let cpu = window.own_cpu_seconds;
    let report = serde_json::json!({
        "engine": format!("{:?}", args.engine).to_lowercase(),
        "flush": format!("{:?}", args.flush).to_lowercase(),
        "flush_ms": args.flush_ms,
        "slots": args.slots,
        "subscribers": subscribers.alive(),
        "lost": subscribers.count() - subscribers.alive(),
        "seconds": window.seconds,
        "cpu_seconds": cpu,
        "messages": messages,
        "sends": sends - mark.sends,
        "bytes": bytes - mark.bytes,
        "cpu_us_per_message": cpu * 1e6 / messages.max(1) as f64,
        "cpu_us_per_send": cpu * 1e6 / (sends - mark.sends).max(1) as f64,
    });
    println!("{report}");
}
