//! `receive`: channels of constant rate as a set-top box gets them, beside a thread that sleeps to the same moments.

use anyhow::{Context, Result, ensure};
use clap::Args;
use headgate_load::clock::{self, SECOND_NS, now_ns};
use headgate_load::grid::{Arrival, DATAGRAM_BYTES, Deviation, Grid, Verdict};
use headgate_load::group::Member;
use headgate_load::watch::{self, Sample};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often sockets are looked at: seldom, because the kernel's stamps do not wait for that.
const LOOK_NS: u64 = SECOND_NS / 50;

/// Which groups, and for how long.
#[derive(Args)]
pub struct ReceiveArgs {
    /// GROUP:PORT; may be repeated.
    #[arg(long, required = true)]
    to: Vec<SocketAddrV4>,
    /// The address of the interface to join on.
    #[arg(long)]
    interface: Ipv4Addr,
    /// The rate of each, bit/s; k and M are understood.
    #[arg(long, default_value = "4M", value_parser = crate::si)]
    bitrate: f64,
    /// Seconds before the measured window.
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Length of the measured window.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// On this processor a thread sleeps to every moment of the grid, and is judged by the moments at which it wakes.
    #[arg(long, value_name = "CPU")]
    calibrate: Option<usize>,
    /// Write what the first group brings here, from the start to the end.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Serialize)]
struct Channel {
    to: SocketAddrV4,
    wrong_sizes: u64,
    /// Absent when less than two datagrams came.
    verdict: Option<Verdict>,
}

#[derive(Serialize)]
struct Report {
    bitrate_bps: u64,
    channels: Vec<Channel>,
    /// Of all datagrams of all groups.
    deviation_us: Option<Deviation>,
    calibration: Option<Verdict>,
    /// How far the clock of the stamps has moved against the monotonic one in the window, us.
    clock_step_us: f64,
    window: watch::Window,
}

/// Receives, and prints what is to be said of it.
///
/// # Errors
/// A group cannot be joined, or the file cannot be written.
pub fn run(args: &ReceiveArgs) -> Result<()> {
    let bitrate_bps = args.bitrate as u64;
    ensure!(bitrate_bps > 0, "a rate of 0 has no grid");
    let grid = Grid::new(bitrate_bps);
    let join = |to: &SocketAddrV4| {
        Member::join(*to, args.interface).with_context(|| format!("cannot join {to} on {}", args.interface))
    };
    let mut members: Vec<Member> = args.to.iter().map(join).collect::<Result<_>>()?;
    let mut arrivals: Vec<Vec<Arrival>> = vec![Vec::new(); members.len()];
    let mut record = args.record.as_ref().map(File::create).transpose()?.map(BufWriter::new);
    let opens = now_ns() + clock::seconds(args.warmup);
    let closes = opens + clock::seconds(args.seconds);
    let calibration = args.calibrate.map(|cpu| calibrate(cpu, grid, opens, closes)).transpose()?;
    let mut first: Option<(Sample, i128)> = None;
    let window = loop {
        let now = now_ns();
        if first.is_none() && now >= opens {
            first = Some((Sample::take(None), clock_offset_ns()));
        }
        for (n, (member, arrivals)) in members.iter_mut().zip(&mut arrivals).enumerate() {
            let mut written = Ok(());
            member.drain(DATAGRAM_BYTES as usize, |arrival, bytes| {
                arrivals.push(arrival);
                if n == 0
                    && let Some(record) = &mut record
                    && written.is_ok()
                {
                    written = record.write_all(bytes);
                }
            })?;
            written.context("cannot write what came")?;
        }
        // What came meanwhile belongs to the window if its stamp does.
        if now >= closes + LOOK_NS
            && let Some((first, offset)) = &first
        {
            let step_ns = clock_offset_ns() - offset;
            break (Sample::take(None).since(first), step_ns, *offset);
        }
        clock::sleep_until(now + LOOK_NS);
    };
    if let Some(mut record) = record {
        record.flush()?;
    }
    let (window, step_ns, offset) = window;
    let stamp = |at: u64| u64::try_from(i128::from(at) + offset).unwrap_or(0);
    let within = stamp(opens)..stamp(closes);
    arrivals.iter_mut().for_each(|all| all.retain(|arrival| within.contains(&arrival.at_ns)));
    let distances = arrivals.iter().flat_map(|all| grid.distances(all)).collect();
    let channels = args.to.iter().zip(&members).zip(&arrivals).map(|((to, member), all)| Channel {
        to: *to,
        wrong_sizes: member.wrong_sizes(),
        verdict: grid.judge(all),
    });
    let channels = channels.collect();
    let calibration = match calibration {
        Some(thread) => {
            let woken = thread.join().map_err(|_| anyhow::anyhow!("the calibration's thread panicked"))?;
            grid.judge(&woken?)
        }
        None => None,
    };
    crate::print(&Report {
        bitrate_bps,
        channels,
        deviation_us: Deviation::of(distances),
        calibration,
        clock_step_us: step_ns as f64 / 1e3,
        window,
    })
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, ns.
fn clock_offset_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_nanos() as i128 - i128::from(now_ns())
}

/// A thread on processor `cpu` that sleeps to each moment of the grid, and notes when it woke. A moment that has passed
/// while it was away is woken to at once.
fn calibrate(
    cpu: usize,
    grid: Grid,
    opens: u64,
    closes: u64,
) -> Result<std::thread::JoinHandle<Result<Vec<Arrival>>>> {
    let work = move || {
        clock::pin(cpu).with_context(|| format!("cannot calibrate on processor {cpu}"))?;
        clock::exact_timers();
        let mut woken = Vec::new();
        for index in 0.. {
            let due = opens + grid.at_ns(index);
            if due >= closes {
                break;
            }
            clock::sleep_until(due);
            woken.push(Arrival { index, at_ns: now_ns() });
        }
        Ok(woken)
    };
    std::thread::Builder::new().name("calibrate".to_owned()).spawn(work).context("cannot start a thread")
}
