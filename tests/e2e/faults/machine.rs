//! Descriptors and memory run out.

use crate::support::engine::engine_tests;
use crate::support::http::{self, FlvPlayer};
use crate::support::limits::raise_descriptor_limit;
use crate::support::publisher::{Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::Trial;
use crate::support::{poll, skip};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

engine_tests!(
    a_small_table_of_descriptors_keeps_a_reserve,
    descriptors_run_out,
    memory_capped_by_a_control_group,
);

/// Descriptors that the process may have, and connections that are tried.
const DESCRIPTORS: usize = 256;
const TRIED: usize = 400;

/// The limit is there from the start: connections stop before descriptors do, and the admin port answers.
fn a_small_table_of_descriptors_keeps_a_reserve(config: Config) {
    if !raise_descriptor_limit(TRIED as u64) {
        return;
    }
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let trial = Trial::begin(config.wrapped(&["prlimit", &limit]));
    let crowd: Vec<TcpStream> = (0..TRIED).map(|_| TcpStream::connect(trial.server.rtmp).unwrap()).collect();
    let refused = || trial.server.metrics().sum("headgate_connections_refused_total", &[]);
    poll("refusals", LIMIT, || (refused() > 0.0).then_some(()));
    assert_eq!(http::get(trial.server.admin, "/livez").0, 200);
    let failed = trial.server.metrics().sum("headgate_accept_errors_total", &[]);
    assert_eq!(failed, 0.0, "accepts failed: the kernel's limit was reached before ours");
    drop(crowd);
    trial.settle();
    Client::connect(trial.server.rtmp, "open", &[]);
    trial.finish();
}

/// Processor time of a process so far.
fn processor(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may hold anything: state, then ten numbers, then user and system ticks.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Descriptors that the process finds open at its start, whoever opened them. Its bounds do not know of them: with these, what
/// may neither publish nor play takes the last.
const INHERITED: &str = "for n in {100..249}; do eval \"exec $n</dev/null\"; done; exec \"$@\"";

/// Idle connections take every descriptor: the kernel refuses accepts, or, before that, the process stops asking.
fn descriptors_run_out(config: Config) {
    if !raise_descriptor_limit(TRIED as u64) {
        return;
    }
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let config = config.set("limits.handshake_timeout_ms", "60_000");
    let trial = Trial::begin(config.wrapped(&["bash", "-c", INHERITED, "bash", "prlimit", &limit]));
    let pid = trial.server.id();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let crowd: Vec<TcpStream> = (0..TRIED).map(|_| TcpStream::connect(trial.server.rtmp).unwrap()).collect();
    let ran_out =
        || ["accept failed", "cause=descriptors"].iter().any(|line| trial.server.log().contains(line));
    poll("descriptors to run out", LIMIT, || ran_out().then_some(()));
    let (spent, pause) = (processor(pid), Duration::from_secs(2));
    std::thread::sleep(pause);
    let spent = processor(pid) - spent;
    println!("{} descriptors open; {spent:?} of processor time in {pause:?}", open());
    assert!(spent < pause / 2, "it spins: {spent:?} in {pause:?}");
    drop(crowd);
    let closed = Instant::now();
    Client::connect(trial.server.rtmp, "open", &[]);
    println!("served {:?} behind the close", closed.elapsed());
    trial.finish();
}

/// A control group with a memory limit, of version 1 or 2; gone when this is dropped.
struct Group {
    folder: PathBuf,
    v2: bool,
}

/// Much less than what is thrown at it could take.
const CAP_BYTES: u64 = 96 << 20;

impl Group {
    fn new() -> Option<Group> {
        let name = format!("headgate-test-{}-{:?}", std::process::id(), std::thread::current().id());
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        for (root, file, v2) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", false),
            ("/sys/fs/cgroup", "memory.max", true),
        ] {
            let folder = PathBuf::from(root).join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Group { folder, v2 };
            // Never made: where no hierarchy is mounted the folder may be one of an ordinary file system.
            let limit = OpenOptions::new().write(true).open(group.folder.join(file));
            if limit.and_then(|mut limit| limit.write_all(CAP_BYTES.to_string().as_bytes())).is_ok() {
                return Some(group);
            }
        }
        skip("no-memory-cgroup", "no control group with a memory limit can be made here");
        None
    }

    /// How often the kernel killed somebody inside.
    fn kills(&self) -> u64 {
        let file = if self.v2 { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("a count of kills").parse().unwrap()
    }

    fn peak(&self) -> String {
        let file = if self.v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        std::fs::read_to_string(self.folder.join(file)).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails while somebody is inside; then it stays, empty, until the machine starts again.
        let _left = std::fs::remove_dir(&self.folder);
    }
}

const FAT: Shape = Shape { fps: 25, gop: 25, key_bytes: 400_000, inter_bytes: 80_000, audio: false };
const STALLED: usize = 60;
const IDLE: usize = 1000;

fn memory_capped_by_a_control_group(config: Config) {
    if !raise_descriptor_limit((STALLED + IDLE) as u64) {
        return;
    }
    let Some(group) = Group::new() else { return };
    let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.folder.display());
    let config = config.set("publish.republish_grace_ms", "0").set("limits.pin_budget_bytes", "8_388_608");
    // The publisher rests while the crowd comes.
    let config = config.set("publish.silence_timeout_ms", "60_000");
    let trial = Trial::begin(config.wrapped(&["sh", "-c", &script, "sh"]));
    let mut publisher = Publisher::on(Client::connect(trial.server.rtmp, "open", &[]), "fat", FAT);
    publisher.burst_until(1);
    let stalled: Vec<FlvPlayer> =
        (0..STALLED).map(|_| FlvPlayer::open(trial.server.http, "/open/fat.flv")).collect();
    let idle: Vec<TcpStream> = (0..IDLE).map(|_| TcpStream::connect(trial.server.rtmp).unwrap()).collect();
    publisher.run_until(|publisher| publisher.video == 150);
    println!("at most {} of {CAP_BYTES} bytes", group.peak());
    drop((stalled, idle));
    publisher.finish();
    drop(publisher);
    trial.finish();
    assert_eq!(group.kills(), 0);
}
