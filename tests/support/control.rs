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

/// Holds the RTMP and the HTTP address, the token, and the file whose appearance ends the control; one a line.
const VARIABLE: &str = "HEADGATE_CONTROL";
/// Said once both viewers have media.
const ATTACHED: &str = "control attached";
/// What is published, as `live/control`.
const SHAPE: Shape = Shape { fps: 25, gop: 10, key_bytes: 6000, inter_bytes: 900, audio: true };
const VIEWERS: u32 = 2;

/// A running control.
#[derive(Debug)]
pub struct Control {
    process: Process,
    stop: PathBuf,
    _folder: tempfile::TempDir,
}

impl Control {
    /// Starts to publish and to watch; returns once both viewers have media. `token` opens the app `live`, if it needs one.
    pub fn attach_at(rtmp: SocketAddr, http: SocketAddr, token: &str) -> Control {
        let folder = tempfile::tempdir().unwrap();
        let stop = folder.path().join("stop");
        let mut command = Command::new(std::env::current_exe().unwrap());
        // The path of the test below, without the name of the crate.
        let module = module_path!().split_once("::").expect("a module").1;
        command.arg(format!("{module}::a_control_notices_what_it_loses"));
        command.args(["--exact", "--nocapture", "--test-threads=1"]);
        command.env(VARIABLE, format!("{rtmp}\n{http}\n{token}\n{}", stop.display()));
        let mut process = Process::spawn("control", &mut command);
        poll("the control", LIMIT, || {
            if let Some(status) = process.wait(Duration::ZERO) {
                panic!("the control ended at its start with {status}:\n{}", process.output.text());
            }
            process.output.text().contains(ATTACHED).then_some(())
        });
        Control { process, stop, _folder: folder }
    }

    /// Ends the stream. Panics with the control's report unless all viewers got every frame.
    pub fn finish(self) {
        std::fs::write(&self.stop, "").unwrap();
        self.process.finish(LIMIT);
    }

    /// Whether it ends by itself with a complaint.
    fn complains(mut self) -> bool {
        self.process.wait(2 * LIMIT).is_some_and(|status| !status.success())
    }
}

#[test]
fn a_control_notices_what_it_loses() {
    if let Ok(given) = std::env::var(VARIABLE) {
        let given: Vec<&str> = given.split('\n').collect();
        return watch(given[0].parse().unwrap(), given[1].parse().unwrap(), given[2], Path::new(given[3]));
    }
    let _shared = super::share_machine();
    let server = Server::start();
    let control = Control::attach_at(server.rtmp, server.http, "");
    server.kill();
    assert!(control.complains());
}

fn watch(rtmp: SocketAddr, http: SocketAddr, token: &str, stop: &Path) {
    let (attached, told) = (AtomicU32::new(0), AtomicBool::new(false));
    let audit = |mut next: Box<dyn FnMut() -> _>| {
        let mut audit = Audit::new(SHAPE);
        while let Some(tag) = next() {
            let waited = audit.video.count == 0;
            audit.tag(&tag);
            if waited && audit.video.count > 0 {
                attached.fetch_add(1, Ordering::Relaxed);
            }
        }
        audit
    };
    let name = format!("control?token={token}");
    std::thread::scope(|scope| {
        let _raise = Raise(&told);
        let mut publisher = Publisher::on(Client::connect(rtmp, "live", &[]), &name, SHAPE);
        publisher.burst_until(1);
        let of_rtmp = scope.spawn(|| {
            let mut client = Client::connect(rtmp, "live", &[]);
            client.play(&name).unwrap();
            audit(Box::new(move || client.tag()))
        });
        let of_http = scope.spawn(|| {
            let mut player = FlvPlayer::open(http, &format!("/live/control.flv?token={token}"));
            audit(Box::new(move || player.tag()))
        });
        scope.spawn(|| {
            while attached.load(Ordering::Relaxed) < VIEWERS && !told.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            println!("{ATTACHED}");
        });
        publisher.run_until(|_| stop.exists());
        publisher.finish();
        for (who, viewer) in [("RTMP", of_rtmp), ("HTTP-FLV", of_http)] {
            let audit = viewer.join().unwrap();
            println!("{who}: video {:?}, audio {:?}", audit.video, audit.audio);
            audit.assert_complete(&publisher);
        }
    });
}
