//! Child processes with hard limits: output captured, awaited by event, killed at the end whatever happens.

use super::skip;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a process printed so far.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    /// Both channels in order of arrival: pieces, not lines, so one may stand in the middle of the other's line.
    both: String,
    stdout: String,
}

impl Output {
    /// A copy of everything so far, for people to read.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().both.clone()
    }

    /// A copy of standard output so far.
    fn stdout(&self) -> String {
        self.0.lock().unwrap().stdout.clone()
    }

    fn follow(&self, mut from: impl Read + Send + 'static, is_stdout: bool) -> std::thread::JoinHandle<()> {
        let shared = self.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                let piece = String::from_utf8_lossy(&buffer[..len]);
                let mut printed = shared.0.lock().unwrap();
                printed.both.push_str(&piece);
                if is_stdout {
                    printed.stdout.push_str(&piece);
                }
            }
        })
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    pub name: String,
    child: Child,
    pub output: Output,
    followers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts `command`. The kernel kills the child if this thread dies first.
    pub fn spawn(name: &str, command: &mut Command) -> Process {
        // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        let output = Output::default();
        let followers = vec![
            output.follow(child.stdout.take().unwrap(), true),
            output.follow(child.stderr.take().unwrap(), false),
        ];
        Process { name: name.to_owned(), child, output, followers }
    }

    /// Waits for the exit; `None` after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        // SAFETY: pidfd_open has no memory arguments; the child is not reaped yet, so its pid is its own.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.child.id(), 0) };
        assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        let _owner = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.followers.drain(..).for_each(|follower| follower.join().unwrap());
                return Some(status);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut event = libc::pollfd { fd: fd as i32, events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            unsafe { libc::poll(&mut event, 1, left.as_millis() as i32 + 1) };
        }
    }

    /// Waits for the exit and asserts success; everything printed is in the message otherwise. Returns standard output
    /// alone: a complaint of the program's must not break a line that is parsed.
    pub fn finish(mut self, limit: Duration) -> String {
        let status = self.wait(limit);
        assert!(
            status.is_some_and(|status| status.success()),
            "{} ended with {status:?} (limit {limit:?}):\n{}",
            self.name,
            self.output.text()
        );
        self.output.stdout()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is not reaped, so the pid is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the child is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a tool to its end and returns its standard output.
pub fn run(name: &str, command: &mut Command, limit: Duration) -> String {
    Process::spawn(name, command).finish(limit)
}

/// Whether `name` is one of these prefixes, the pid of a process that is no more, and a number: what a test run that was
/// killed has left.
pub fn is_left(name: &str, prefixes: &[&str]) -> bool {
    let numbers = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    let Some((pid, n)) = numbers.and_then(|numbers| numbers.split_once('-')) else { return false };
    let numeric = |text: &str| text.parse::<u32>().is_ok();
    numeric(pid) && numeric(n) && !Path::new("/proc").join(pid).exists()
}

/// Names of what is in a folder; nothing if it is not there.
pub fn names_in(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A program of the distribution; without it the test is skipped.
pub fn program(name: &str) -> Option<PathBuf> {
    let debian = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(name));
    let found = debian.into_iter().find(|file| file.is_file()).or_else(|| in_path(name));
    if found.is_none() {
        skip(&format!("no-{name}"), &format!("{name} is not installed; `cargo xtask test` installs it"));
    }
    found
}

/// A program that the tests have built for themselves in `.tools/bin/`; without it the test is skipped.
pub fn tool(name: &str, id: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin").join(name);
    if !path.is_file() {
        skip(id, &format!("{name} is not in .tools/bin/; `cargo xtask test` builds it"));
        return None;
    }
    Some(path)
}

/// The current static ffmpeg in `.tools/`; without it the test is skipped.
pub fn static_ffmpeg() -> Option<PathBuf> {
    let found = find_static_ffmpeg();
    if found.is_none() {
        skip("no-static-ffmpeg", "the static ffmpeg is not in .tools/; `cargo xtask test` installs it");
    }
    found
}

fn find_static_ffmpeg() -> Option<PathBuf> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/lib");
    let folders = std::fs::read_dir(libraries).ok()?;
    let binaries =
        folders.filter_map(|folder| Some(folder.ok()?.path().join("site-packages/imageio_ffmpeg/binaries")));
    binaries.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().find_map(|file| {
        let path = file.ok()?.path();
        path.file_name()?.to_str()?.starts_with("ffmpeg-").then_some(path)
    })
}

#[test]
fn a_complaint_does_not_break_what_is_parsed() {
    let mut command = Command::new("sh");
    command.args(["-c", "printf 'one '; printf complaint >&2; sleep 0.01; printf two"]);
    let process = Process::spawn("both channels", &mut command);
    let printed = process.output.clone();
    assert_eq!(process.finish(Duration::from_secs(10)), "one two");
    assert_eq!(printed.text().len(), "one complainttwo".len());
}

#[test]
fn only_what_the_dead_have_left_is_removed() {
    let mut dead = Command::new("true").spawn().unwrap();
    let (pid, alive) = (dead.id(), std::process::id());
    dead.wait().unwrap();
    assert!(is_left(&format!("left-{pid}-0"), &["left-"]));
    assert!(is_left(&format!("hgr{pid}-12"), &["hgc", "hgr"]));
    for name in [format!("left-{alive}-0"), format!("left-{pid}"), format!("x{pid}-0"), "hgcx-1".into()] {
        assert!(!is_left(&name, &["left-", "hgc"]), "{name}");
    }
}
