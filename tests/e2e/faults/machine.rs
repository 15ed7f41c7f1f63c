//! Descriptors and memory run out.

use crate::support::engine::engine_tests;
use crate::support::http::{self, FlvPlayer};
use crate::support::limits::raise_descriptor_limit;
use crate::support::process::{is_left, names_in};
use crate::support::publisher::{Publisher, Shape};
use crate::support::raw::Raw;
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{MEMORY_BYTES_MAX, Trial, counts};
use crate::support::{poll, skip};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

engine_tests!(
    a_small_table_of_descriptors_keeps_a_reserve,
    descriptors_run_out,
    memory_capped_by_a_control_group,
);

/// Descriptors that the process may have, and connections of each kind that are tried.
const DESCRIPTORS: u64 = 256;
const TRIED: u64 = 400;
/// Players that come at a time: few enough that who has not asked yet, or goes, finds room in a house full of viewers.
const AT_A_TIME: u64 = 10;
/// Connections that one core takes with so many descriptors: the rest is what docs/admission.md says is kept.
const CONNECTIONS: u64 = DESCRIPTORS - 72;
/// The control's: a publisher and two viewers.
const CONTROL: u64 = 3;

/// The limit is there from the start: connections stop before descriptors do, and the admin port answers. Viewers fill most of
/// the house, silent connections what these leave to others, and all that come beyond take the place of the oldest of these,
/// or find none.
fn a_small_table_of_descriptors_keeps_a_reserve(config: Config) {
    if !raise_descriptor_limit(2 * TRIED) {
        return;
    }
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let config = config.set("limits.handshake_timeout_ms", "60_000").set("fanout.play_wait_ms", "600_000");
    let trial = Trial::begin(config.arguments(&["--cores", "0"]).wrapped(&["prlimit", &limit]));
    let sum = |metric: &str, label: &str| trial.server.metrics().sum(metric, &[label]) as u64;
    let await_connections = |count: u64| {
        poll("connections", LIMIT, || (sum("headgate_connections", "") == count).then_some(()));
    };
    let work = || {
        let (mut waiting, mut turned_away) = (Vec::new(), 0);
        for _ in 0..TRIED / AT_A_TIME {
            waiting.extend((0..AT_A_TIME).map(|_| waits_for_nobody(&trial)));
            poll("each player to wait or to be refused", LIMIT, || {
                let before = waiting.len();
                waiting.retain_mut(|player| !is_answered(player));
                turned_away += (before - waiting.len()) as u64;
                // Two more are the control's.
                (sum("headgate_subscribers", "") == waiting.len() as u64 + 2).then_some(())
            });
        }
        let viewers = waiting.len() as u64;
        assert_eq!(viewers + turned_away, TRIED);
        await_connections(CONTROL + viewers);
        let silent: Vec<TcpStream> =
            (0..TRIED).map(|_| TcpStream::connect(trial.server.rtmp).unwrap()).collect();
        let ended = |protocol: &str, reason: &str| {
            let labels = [format!("protocol=\"{protocol}\""), format!("reason=\"{reason}\"")];
            let labels = labels.each_ref().map(String::as_str);
            trial.server.metrics().sum("headgate_disconnects_total", &labels) as u64
        };
        let (refused, displaced) = poll("each silent connection to stay or to go", LIMIT, || {
            let gone = (sum("headgate_connections_refused_total", "limit"), ended("rtmp", "displaced"));
            let there = sum("headgate_connections", "") - CONTROL - viewers;
            (gone.0 + gone.1 + there == TRIED).then_some(gone)
        });
        let stay = TRIED - refused - displaced;
        assert!(displaced > 0, "{stay} stay, {refused} found no place");
        await_connections(CONTROL + viewers + stay);
        let open = sum("process_open_fds", "");
        println!("{viewers} viewers, {stay} silent connections, {open} of {DESCRIPTORS} descriptors open");
        assert!((CONNECTIONS - 16..DESCRIPTORS).contains(&open), "{open} descriptors open");
        assert_eq!(http::get(trial.server.admin, "/livez").0, 200);
        drop((waiting, silent));
        await_connections(CONTROL);
        drop(Client::connect(trial.server.rtmp, "open", &[]));
        // Behind the first level of overload nobody asks the budget any more; and who comes to a house that is nearly full
        // may have to go before it has asked.
        let [budget, overload, early] = ["budget", "overload", "displaced"].map(|why| ended("http_flv", why));
        assert_eq!(budget + overload + early, turned_away, "{budget}, {overload}, {early}");
        counts(&[
            ("http_flv client_closed", viewers),
            ("http_flv budget", budget),
            ("http_flv overload", overload),
            ("http_flv displaced", early),
            ("rtmp client_closed", stay + 1),
            ("rtmp displaced", displaced),
            ("refused limit", refused),
        ])
    };
    trial.expect_told(work).unwrap();
    let failed = sum("headgate_accept_errors_total", "");
    assert_eq!(failed, 0, "accepts failed: the kernel's limit was reached before ours");
    trial.finish();
}

/// A player of a name that nobody publishes; its reads do not wait.
fn waits_for_nobody(trial: &Trial) -> TcpStream {
    let mut socket = TcpStream::connect(trial.server.http).unwrap();
    socket.write_all(b"GET /open/none.flv HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Whether it was told something, or closed.
fn is_answered(player: &mut TcpStream) -> bool {
    player.read(&mut [0; 1]).map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true)
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
/// Processor time over real time from which on a process spins: a core that never waits has 1, the control's stream a
/// twentieth of that.
const SPINS: f64 = 0.8;

/// Idle connections take every descriptor: the kernel refuses accepts, or, before that, the process stops asking.
fn descriptors_run_out(config: Config) {
    if !raise_descriptor_limit(TRIED) {
        return;
    }
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let config = config.set("limits.handshake_timeout_ms", "60_000");
    let trial = Trial::begin(config.wrapped(&["bash", "-c", INHERITED, "bash", "prlimit", &limit]));
    let pid = trial.server.id();
    let before = trial.books();
    let work = || {
        let crowd: Vec<TcpStream> =
            (0..TRIED).map(|_| TcpStream::connect(trial.server.rtmp).unwrap()).collect();
        let ran_out =
            || ["accept failed", "cause=descriptors"].iter().any(|line| trial.server.log().contains(line));
        poll("descriptors to run out", LIMIT, || ran_out().then_some(()));
        let (spent, since) = (processor(pid), Instant::now());
        std::thread::sleep(Duration::from_secs(2));
        let (spent, passed) = (processor(pid) - spent, since.elapsed());
        let open = names_in(format!("/proc/{pid}/fd")).len();
        println!("{open} descriptors open; {spent:?} of processor time in {passed:?}");
        assert!(spent.as_secs_f64() / passed.as_secs_f64() < SPINS, "it spins: {spent:?} in {passed:?}");
        drop(crowd);
        let closed = Instant::now();
        drop(Client::connect(trial.server.rtmp, "open", &[]));
        println!("served {:?} behind the close", closed.elapsed());
        // Who of them was let in is a matter of the moment; each is counted once, and so is the one behind them.
        let all = || {
            let risen = trial.books().rises(&before);
            (risen.values().sum::<u64>() == TRIED + 1).then_some(risen)
        };
        let risen = poll("all to be counted", LIMIT, all);
        let expected = |reason: &str| reason.starts_with("refused ") || reason.starts_with("rtmp ");
        assert!(risen.keys().all(|reason| expected(reason)), "{risen:?}");
        risen
    };
    // The admin port has no descriptor either meanwhile.
    trial.expect_unseen(work).unwrap();
    trial.finish();
}

/// A control group with a memory limit, of version 1 or 2; gone when this is dropped.
struct Group {
    folder: PathBuf,
    v2: bool,
}

/// Names of groups: a pid and a number follow.
const PREFIX: &str = "headgate-test-";
/// Where they are made: the folder, the file of the limit, and whether that is version 2.
const HIERARCHIES: [(&str, &str, bool); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes", false), ("/sys/fs/cgroup", "memory.max", true)];

impl Group {
    fn new() -> Option<Group> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        for (root, file, v2) in HIERARCHIES {
            let folder = Path::new(root).join(&name);
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
        // Fails while somebody is inside; then the next run removes it.
        let _left = std::fs::remove_dir(&self.folder);
    }
}

/// Removes the groups of test runs that were killed.
fn sweep() {
    for (root, ..) in HIERARCHIES {
        for name in names_in(root).iter().filter(|name| is_left(name, &[PREFIX])) {
            let _gone = std::fs::remove_dir(Path::new(root).join(name));
        }
    }
}

/// More than the process takes with what its bounds allow, 65 to 76 MB; less than with all that the stalled readers could keep
/// alive, which are 100 MB more than the 45 that it begins with.
const CAP_BYTES: u64 = 128 << 20;
/// A group of pictures is more than two segments of the log.
const FAT: Shape = Shape { fps: 25, gop: 25, key_bytes: 400_000, inter_bytes: 80_000, audio: false };
/// Readers that stop, each in a group of its own, of which it keeps a segment alive: about 1 MiB.
const STALLED: u64 = 96;
/// They come so many at a time; the budget is enforced once a second.
const STALL_AT_A_TIME: u64 = 8;
const PIN_BUDGET_BYTES: u64 = 8 << 20;
const IDLE: u64 = 1000;

fn memory_capped_by_a_control_group(config: Config) {
    if !raise_descriptor_limit(STALLED + IDLE) {
        return;
    }
    let Some(group) = Group::new() else { return };
    let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.folder.display());
    // One core: the budget is one of each. Nobody else ends who stalls, or a publisher that rests, or who says nothing.
    let config = config.arguments(&["--cores", "0"]);
    let config = config.set("limits.pin_budget_bytes", &PIN_BUDGET_BYTES.to_string());
    let config =
        config.set("fanout.stall_timeout_ms", "600_000").set("publish.silence_timeout_ms", "600_000");
    let config = config.set("limits.handshake_timeout_ms", "60_000").set("publish.republish_grace_ms", "0");
    let config = config.set("fanout.gop_max_bytes", "4_194_304");
    let trial = Trial::begin(config.wrapped(&["sh", "-c", &script, "sh"]));
    let sum = |metric: &str, label: &str| trial.server.metrics().sum(metric, &[label]) as u64;
    let await_budget = || {
        let pinned = || sum("headgate_pinned_bytes", "");
        trial.await_rounds(2);
        poll("what is pinned to be within the budget", LIMIT, || {
            (pinned() <= PIN_BUDGET_BYTES).then_some(())
        });
    };
    let work = || {
        let mut publisher = Publisher::on(Client::connect(trial.server.rtmp, "open", &[]), "fat", FAT);
        publisher.burst_until(1);
        let mut viewer = FlvPlayer::open(trial.server.http, "/open/fat.flv");
        let mut stalled = Vec::new();
        for _ in 0..STALLED / STALL_AT_A_TIME {
            for _ in 0..STALL_AT_A_TIME {
                let socket = Raw::narrow(trial.server.http);
                stalled.push(FlvPlayer::on(socket, trial.server.http, "/open/fat.flv"));
                let keyframe = publisher.video.next_multiple_of(FAT.gop) + 1;
                // Two that join before the next group can be seen would keep one segment between them.
                publisher.burst_before(&mut viewer, keyframe);
            }
            await_budget();
        }
        let lag = sum("headgate_disconnects_total", "reason=\"lag\"");
        println!("{lag} of {STALLED} closed; at most {} of {CAP_BYTES} bytes", group.peak());
        // A keyframe is the least that one keeps.
        let kept_max = PIN_BUDGET_BYTES / FAT.key_bytes as u64 + STALL_AT_A_TIME;
        assert!(lag + kept_max >= STALLED, "{lag} of {STALLED} closed for what they kept alive");
        let idle: Vec<TcpStream> =
            (0..IDLE).map(|_| TcpStream::connect(trial.server.rtmp).unwrap()).collect();
        let silent = IDLE + CONTROL + 2 + STALLED - lag;
        poll("the idle ones", LIMIT, || (sum("headgate_connections", "") == silent).then_some(()));
        println!("with {IDLE} idle ones at most {} bytes", group.peak());
        drop((viewer, stalled, idle));
        poll("all to be gone", LIMIT, || (sum("headgate_connections", "") == CONTROL + 1).then_some(()));
        publisher.finish();
        let left = ("http_flv client_closed", 1 + STALLED - lag);
        counts(&[("http_flv lag", lag), left, ("rtmp client_closed", IDLE + 1)])
    };
    let more = trial.expect_told(work).unwrap();
    let bound = 2.0 * PIN_BUDGET_BYTES as f64 + MEMORY_BYTES_MAX;
    assert!(more <= bound, "{more} bytes more at the peak");
    trial.finish();
    assert_eq!(group.kills(), 0);
}
