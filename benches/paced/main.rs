//! The floor of channels: what it costs to send so many datagrams by the clock when there is nothing around the sends.
//!
//! A bare loop on one thread: every millisecond it hands the kernel one datagram of seven packets for each channel that is
//! due, from a socket of each channel with the gateway's options. No transport stream is made, nothing is copied, looked
//! at or counted but errors; the same bytes leave every time. `cargo xtask bench --headend` runs it beside the gateway.

mod wire;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use headgate_load::clock::{self, now_ns};
use headgate_load::grid::Grid;
use headgate_load::report::Quantiles;
use headgate_load::watch;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::ffi::CString;
use std::net::{Ipv4Addr, SocketAddrV4};
use wire::{Each, Uring, Wire};

/// Time between two ticks, as in the gateway, ns.
const TICK_NS: u64 = 1_000_000;
/// The gateway's defaults of `ttl` and `dscp`, the latter as a type of service.
const TTL: u32 = 16;
const TOS: u8 = 34 << 2;
/// Groups of a network of 65536.
const CHANNELS_MAX: u32 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// All datagrams of a tick and the wait for the next one in one submission to a ring with registered files.
    Uring,
    /// sendmmsg(2) for each socket, and clock_nanosleep(2).
    Sendmmsg,
}

/// Sends datagrams of constant rate to many groups with nothing around it, and says what that cost.
#[derive(Parser, Debug)]
struct Args {
    /// The interface to send on; without it nothing is measured.
    #[arg(long)]
    interface: Option<String>,
    /// Channels: a socket and a group each.
    #[arg(long, default_value_t = 200)]
    channels: u32,
    /// The group of the first; the next ones follow.
    #[arg(long, default_value = "239.255.1.0:5000")]
    to: SocketAddrV4,
    /// Of each, bit/s.
    #[arg(long, default_value_t = 4_000_000)]
    bitrate: u64,
    #[arg(long, value_enum, default_value = "uring")]
    engine: Engine,
    /// Seconds before the measured window.
    #[arg(long, default_value_t = 1.0)]
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
    let Some(interface) = &args.interface else {
        println!(
            "paced: nothing to do without --interface; `cargo xtask bench --headend` runs it beside the gateway"
        );
        return Ok(());
    };
    ensure!((1..=CHANNELS_MAX).contains(&args.channels), "1 to {CHANNELS_MAX} channels");
    ensure!(args.bitrate > 0, "a rate of 0 sends nothing");
    clock::exact_timers();
    let name = CString::new(interface.as_str())?;
    // SAFETY: a string that ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(index > 0, "there is no interface {interface}");
    let sockets: Vec<Socket> = (0..args.channels).map(|_| open(index)).collect::<Result<_>>()?;
    let first = u32::from(*args.to.ip());
    let group = |n| SocketAddrV4::new(Ipv4Addr::from(first.wrapping_add(n)), args.to.port()).into();
    let targets: Vec<SockAddr> = (0..args.channels).map(group).collect();
    match args.engine {
        Engine::Uring => pace(&args, Uring::new(sockets, targets)?),
        Engine::Sendmmsg => pace(&args, Each::new(sockets, targets)),
    }
}

/// A socket as the gateway opens it for a group on interface `index`.
fn open(index: u32) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    let any = &Ipv4Addr::UNSPECIFIED;
    sockopt::set_ip_tos(&socket, TOS)?;
    sockopt::set_ip_mtu_discover(&socket, sockopt::Ipv4PathMtuDiscovery::DO)?;
    sockopt::set_ip_multicast_ttl(&socket, TTL)?;
    sockopt::set_ip_multicast_loop(&socket, false)?;
    sockopt::set_ip_multicast_if_with_ifindex(&socket, any, any, index)?;
    Ok(socket)
}

/// What the window is measured by.
struct Mark {
    sample: watch::Sample,
    tally: Tally,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    ticks: u64,
    datagrams: u64,
    errors: u64,
}

/// Sends what is due at every tick until the window closes.
fn pace(args: &Args, mut wire: impl Wire) -> Result<()> {
    let grid = Grid::new(args.bitrate);
    let begins = now_ns();
    // Spread over the time of one datagram, as the gateway spreads its channels.
    let phase_ns = |n: u32| (grid.datagram_ns() * f64::from(n) / f64::from(args.channels)) as u64;
    // Number of the next datagram, and when it is due.
    let mut next: Vec<(u64, u64)> = (0..args.channels).map(|n| (0, begins + phase_ns(n))).collect();
    let opens = begins + clock::seconds(args.warmup);
    let closes = opens + clock::seconds(args.seconds);
    let (mut tally, mut mark): (Tally, Option<Mark>) = (Tally::default(), None);
    let mut late_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).context("lateness")?;
    let mut tick_at = begins;
    loop {
        let now = now_ns();
        tally.ticks += 1;
        match &mark {
            None if now >= opens => {
                mark = Some(Mark { sample: watch::Sample::take(Some(std::process::id())), tally })
            }
            Some(mark) if now >= closes => {
                report(args, mark, tally, &late_us);
                return Ok(());
            }
            Some(_) => late_us.saturating_record(now.saturating_sub(tick_at) / 1000),
            None => {}
        }
        for (n, (index, due)) in next.iter_mut().enumerate() {
            while *due <= now {
                wire.lay(n)?;
                tally.datagrams += 1;
                *index += 1;
                *due = begins + phase_ns(n as u32) + grid.at_ns(*index);
            }
        }
        // The next one of the grid that is still to come.
        tick_at += (now_ns().saturating_sub(tick_at) / TICK_NS + 1) * TICK_NS;
        tally.errors += wire.go(tick_at)?;
    }
}

fn report(args: &Args, mark: &Mark, tally: Tally, late_us: &Histogram<u64>) {
    let window = watch::Sample::take(Some(std::process::id())).since(&mark.sample);
    let datagrams = tally.datagrams - mark.tally.datagrams;
    let cpu = window.own_cpu_seconds;
    let report = serde_json::json!({
        "engine": format!("{:?}", args.engine).to_lowercase(),
        "channels": args.channels,
        "seconds": window.seconds,
        "cpu_seconds": cpu,
        "core": cpu / window.seconds,
        "wait_seconds": window.watched_wait_seconds,
        "ticks": tally.ticks - mark.tally.ticks,
        "datagrams": datagrams,
        "errors": tally.errors - mark.tally.errors,
        "cpu_us_per_datagram": cpu * 1e6 / datagrams.max(1) as f64,
        "late_us": Quantiles::from(late_us),
    });
    println!("{report}");
}
