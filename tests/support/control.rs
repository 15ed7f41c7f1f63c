//! A control: a publisher and a viewer of each protocol in a process of their own, who must lose nothing, whatever
//! happens to the server beside them.
//!
//! The process is this test binary once more, told by its environment to be a control. It watches from its first frame
//! on until it is told to finish; then every viewer must have got every frame, byte by byte, in order.

use super::http::FlvPlayer;
use super::poll;
use super::process::Process;
use super::publisher::{Audit, Publisher, Raise, Shape};
use super::rtmp::Client;
use super::server::{LIMIT, Server};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Holds the RTMP and the HTTP address, the token, the file whose appearance ends the control, and [`LOSES`] or nothing; one
/// a line.
const VARIABLE: &str = "HEADGATE_CONTROL";
/// Tells a control to leave a frame out that it counts as sent.
const LOSES: &str = "loses";
/// Said once both viewers have media.
const ATTACHED: &str = "control attached";
/// Begins the lines that say how many video frames are published, and how many the viewer has that has least.
const PROGRESS: &str = "control at ";
/// What is published, as `live/control`.
pub const SHAPE: Shape = Shape { fps: 25, gop: 10, key_bytes: 6000, inter_bytes: 900, audio: true };

/// A running control.
#[derive(Debug)]
pub struct Control {
    process: Process,
    stop: PathBuf,
    _folder: tempfile::TempDir,
}

/// How far a control is: numbers of the video frames that come next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// From the publisher.
    pub published: u32,
    /// To the viewer that has least.
    pub seen: u32,
}

impl Control {
    /// Starts to publish and to watch; returns once both viewers have media. `token` opens the app `live`, if it needs one.
    pub fn attach_at(rtmp: SocketAddr, http: SocketAddr, token: &str) -> Control {
        Self::attach(rtmp, http, token, "")
    }

    fn attach(rtmp: SocketAddr, http: SocketAddr, token: &str, loses: &str) -> Control {
        let folder = tempfile::tempdir().unwrap();
        let stop = folder.path().join("stop");
        let mut command = Command::new(std::env::current_exe().unwrap());
        // The path of the test below, without the name of the crate.
        let module = module_path!().split_once("::").expect("a module").1;
        command.arg(format!("{module}::a_control_notices_what_it_loses"));
        command.args(["--exact", "--nocapture", "--test-threads=1"]);
        command.env(VARIABLE, format!("{rtmp}\n{http}\n{token}\n{}\n{loses}", stop.display()));
        let mut process = Process::spawn("control", &mut command);
        poll("the control", LIMIT, || {
            if let Some(status) = process.wait(Duration::ZERO) {
                panic!("the control ended at its start with {status}:\n{}", process.output.text());
            }
            process.output.text().contains(ATTACHED).then_some(())
        });
        Control { process, stop, _folder: folder }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let text = self.process.output.text();
        // What follows the last line break may be half a line.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let numbers = whole.lines().rev().find_map(|line| line.strip_prefix(PROGRESS)?.split_once(' '));
        let number = |text: &str| text.parse().expect("a number of a frame");
        numbers.map_or_else(Progress::default, |(published, seen)| Progress {
            published: number(published),
            seen: number(seen),
        })
    }

    /// Ends the stream. Panics with the control's report unless all viewers got every frame.
    pub fn finish(self) {
        std::fs::write(&self.stop, "").unwrap();
        self.process.finish(LIMIT);
    }

    /// Ends the stream, and returns what it says; it must complain.
    fn complaint(mut self) -> String {
        std::fs::write(&self.stop, "").unwrap();
        let status = self.process.wait(LIMIT);
        assert!(status.is_some_and(|status| !status.success()), "{status:?}");
        self.process.output.text()
    }
}

#[test]
fn a_control_notices_what_it_loses() {
    if let Ok(given) = std::env::var(VARIABLE) {
        let given: Vec<&str> = given.split('\n').collect();
        let [rtmp, http] = [given[0], given[1]].map(|address| address.parse().unwrap());
        return watch(rtmp, http, given[2], Path::new(given[3]), given[4] == LOSES);
    }
    let _shared = super::share_machine();
    let server = Server::start();
    let control = Control::attach(server.rtmp, server.http, "", LOSES);
    let said = control.complaint();
    assert!(said.contains("missing [("), "it does not complain about the gap:\n{said}");
    server.stop();
}

fn watch(rtmp: SocketAddr, http: SocketAddr, token: &str, stop: &Path, loses: bool) {
    let (published, told) = (AtomicU32::new(0), AtomicBool::new(false));
    let seen = [AtomicU32::new(0), AtomicU32::new(0)];
    let audit = |mut next: Box<dyn FnMut() -> _>, seen: &AtomicU32| {
        let mut audit = Audit::new(SHAPE);
        while let Some(tag) = next() {
            audit.tag(&tag);
            if audit.video.count > 0 {
                seen.store(audit.video.last + 1, Ordering::Relaxed);
            }
        }
        audit
    };
    let seen_by_all = || seen.iter().map(|seen| seen.load(Ordering::Relaxed)).min().unwrap_or_default();
    let name = format!("control?token={token}");
    std::thread::scope(|scope| {
        let _raise = Raise(&told);
        let mut publisher = Publisher::on(Client::connect(rtmp, "live", &[]), &name, SHAPE);
        publisher.burst_until(1);
        let of_rtmp = scope.spawn(|| {
            let mut client = Client::connect(rtmp, "live", &[]);
            client.play(&name).unwrap();
            audit(Box::new(move || client.tag()), &seen[0])
        });
        let of_http = scope.spawn(|| {
            let mut player = FlvPlayer::open(http, &format!("/live/control.flv?token={token}"));
            audit(Box::new(move || player.tag()), &seen[1])
        });
        scope.spawn(|| {
            let mut said = (0, 0);
            while !told.load(Ordering::Relaxed) {
                let now = (published.load(Ordering::Relaxed), seen_by_all());
                if now != said {
                    println!("{PROGRESS}{} {}", now.0, now.1);
                }
                if said.1 == 0 && now.1 > 0 {
                    println!("{ATTACHED}");
                }
                said = now;
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let run_until = |publisher: &mut Publisher, done: &dyn Fn(&Publisher) -> bool| {
            publisher.run_until(|publisher| {
                published.store(publisher.video, Ordering::Relaxed);
                done(publisher)
            });
        };
        if loses {
            // The last one in front of a keyframe: a gap as a viewer may have it, but none of a control's.
            let last_of_a_group = |publisher: &Publisher| publisher.video % SHAPE.gop == SHAPE.gop - 1;
            run_until(&mut publisher, &|publisher| seen_by_all() > 0 && last_of_a_group(publisher));
            publisher.video += 1;
            let keyframe = publisher.video + 1;
            publisher.burst_until(keyframe);
        }
        // A viewer that has failed says so when it is asked; what comes behind that is for nobody.
        let failed = || of_rtmp.is_finished() || of_http.is_finished();
        run_until(&mut publisher, &|_| stop.exists() || failed());
        publisher.finish();
        for (who, viewer) in [("RTMP", of_rtmp), ("HTTP-FLV", of_http)] {
            let audit = viewer.join().unwrap();
            println!("{who}: video {:?}, audio {:?}", audit.video, audit.audio);
            audit.assert_complete(&publisher);
        }
    });
}
