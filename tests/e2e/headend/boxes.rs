//! Receivers by other hands behind a switch: multicat, dvblast and VLC get a channel, and find nothing wrong with it.

use super::{ENCODE, H264, PICTURES, RATE, SOUND, channel, ordered, service, stream_of};
use crate::support::engine::first_that_works;
use crate::support::judge::{self, Gate};
use crate::support::media;
use crate::support::process::{Process, program, static_ffmpeg};
use crate::support::receiver::{INTERFACE, inside, interface};
use crate::support::server::{LIMIT, Server};
use crate::support::switch::Switch;
use crate::support::{poll, share_machine};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const UDP: &str = "239.255.1.1:5000";
const RTP: &str = "239.255.1.2:5004";
const UDP_SIX: &str = "[ff15::1]:5000";
const RTP_SIX: &str = "[ff15::2]:5004";
const PLACES: [(&str, &str); 4] = [("udp", UDP), ("rtp", RTP), ("udp", UDP_SIX), ("rtp", RTP_SIX)];
/// What is captured of the channel: three seconds, two of which are longer than any interval of a table that it has.
const CAPTURED: u64 = 3 * RATE / 8;

/// Times that something is received on a machine that holds the gateway up meanwhile.
const TRIES: usize = 5;
/// A file of VLC's.
const RECORDING: &str = "recorded.ts";

/// A channel to all of these, its publisher, and boxes on a switch.
struct Boxes {
    // In this order they end.
    _publisher: Process,
    server: Server,
    switch: Switch,
}

impl Boxes {
    fn start() -> Option<Boxes> {
        let (ffmpeg, switch) = (static_ffmpeg()?, Switch::new()?);
        switch.ask(3, 2);
        let to = PLACES.map(|(scheme, group)| format!("{scheme}://{group}"));
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let identity = "service_name = \"Eins\"\nprovider = \"Tests\"\nnit = true\ntdt = true\n";
        let config = first_that_works().wrapped(&switch.network.wrapper()).reached_at(switch.network.calm);
        let config = config.set("headend.interface", &format!("{INTERFACE:?}"));
        let server = config.table(&(channel("one", RATE, &to) + identity)).start();
        let file = media::flv(&ffmpeg, "headend", &ENCODE);
        let mut command = Command::new(&ffmpeg);
        command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(&file);
        command.args(["-c", "copy", "-f", "flv", &server.rtmp_url("one")]);
        let publisher = Process::spawn("publisher", &mut command);
        server.await_metrics("the channel's source", |metrics| {
            metrics.sum("headgate_channel_source_up", &[]) == 1.0
        });
        Some(Boxes { _publisher: publisher, server, switch })
    }
}

impl Boxes {
    /// Judges what `receive` brings. A machine that has held the gateway up meanwhile made it leave datagrams out, which receivers
    /// count as what it is: then once more.
    fn undisturbed<T>(&self, mut receive: impl FnMut() -> T, judge: impl Fn(T)) {
        let jumps = || self.server.metrics().sum("headgate_channel_jumps_total", &[]);
        for _ in 0..TRIES {
            let before = jumps();
            let received = receive();
            if jumps() == before {
                return judge(received);
            }
        }
        panic!("the gateway is held up again and again");
    }
}

/// Waits until a file has so many bytes; its whole packets.
fn captured(who: &Process, file: &Path, enough: u64) -> Vec<u8> {
    poll(&format!("{}: {}", who.name, who.output.text()), 2 * LIMIT, || {
        (std::fs::metadata(file).ok()?.len() > enough).then_some(())
    });
    let mut bytes = std::fs::read(file).unwrap();
    bytes.truncate(bytes.len() / 188 * 188);
    bytes
}

/// multicat writes what comes, byte for byte: the capture keeps every gate of a channel.
#[test]
fn multicat_receives() {
    let (_shared, Some(multicat)) = (share_machine(), program("multicat")) else { return };
    let Some(boxes) = Boxes::start() else { return };
    let receive = || {
        let folder = tempfile::tempdir().unwrap();
        let receivers: Vec<_> = PLACES
            .iter()
            .enumerate()
            .map(|(n, (scheme, group))| {
                let file = folder.path().join(format!("{n}.ts"));
                let mut command = boxes.switch.command(n, &multicat);
                let index = inside(boxes.switch.name(n), || interface(INTERFACE));
                let interface = match group.starts_with('[') {
                    true => format!("ifindex={index}"),
                    false => format!("ifaddr={}", Switch::address(n)),
                };
                // No header in front of what comes, or of what is written.
                command.arg(if *scheme == "udp" { "-u" } else { "-U" });
                command.arg(format!("@{group}/{interface}")).arg(&file);
                (Process::spawn(&format!("multicat of {scheme}://{group}"), &mut command), file)
            })
            .collect();
        let captures = receivers.iter().map(|(who, file)| (who.name.clone(), captured(who, file, CAPTURED)));
        captures.collect::<Vec<_>>()
    };
    boxes.undisturbed(receive, |captures| {
        for (who, bytes) in captures {
            judge::file(&bytes, ordered(RATE, service(&bytes), H264)).assert_clean(&who);
        }
    });
    boxes.server.stop();
}

/// dvblast takes the program apart and sends it on: what it sends has every packet of the tables, of pictures and of sound.
#[test]
fn dvblast_receives() {
    let (_shared, Some(dvblast)) = (share_machine(), program("dvblast")) else { return };
    let Some(boxes) = Boxes::start() else { return };
    let service = service(&stream_of(&boxes.switch.receiver(2, UDP, None).take(200), 0));
    let receive = || {
        let folder = tempfile::tempdir().unwrap();
        // It knows IPv4 only as a source.
        let receivers: Vec<_> = [("udp", UDP, "/udp"), ("rtp", RTP, "")]
            .iter()
            .enumerate()
            .map(|(n, (scheme, group, header))| {
                let config = folder.path().join(format!("{n}.conf"));
                std::fs::write(&config, format!("127.0.0.1:6000/udp 1 {service}\n")).unwrap();
                let passed_on = boxes.switch.receiver(n, "127.0.0.1:6000", None);
                // What it counts it would keep in a buffer.
                let mut command = boxes.switch.command(n, Path::new("stdbuf"));
                command.arg("-oL").arg(&dvblast).args(["-C", "-x", "text", "-6", "500", "-D"]);
                command.arg(format!("@{group}{header}/ifaddr={}", Switch::address(n))).arg("-c").arg(&config);
                (Process::spawn(&format!("dvblast of {scheme}://{group}"), &mut command), passed_on)
            })
            .collect();
        let finished = receivers.into_iter().map(|(dvblast, passed_on)| {
            let bytes = stream_of(&passed_on.take(400), 0);
            // Twice a second it tells the rate, and what was wrong if there was something.
            let said = poll("what it counts", LIMIT, || {
                Some(dvblast.output.text()).filter(|said| said.matches("bitrate:").count() > 2)
            });
            (dvblast.name.clone(), bytes, said)
        });
        finished.collect::<Vec<_>>()
    };
    boxes.undisturbed(receive, |finished| {
        for (who, bytes, said) in finished {
            let report = judge::file(&bytes, ordered(RATE, service, H264));
            // It leaves null packets out, so positions are no times any more.
            let by_position = [Gate::PcrJump, Gate::PcrAccuracy];
            let missed: Vec<_> =
                report.missed().into_iter().filter(|gate| !by_position.contains(gate)).collect();
            assert!(missed.is_empty() && report.null_share() < 0.1, "{who}: {report}");
            assert!([PICTURES, SOUND].iter().all(|pid| report.seen[pid] > 100), "{who}: {report}");
            for fault in ["discontinuit", "errors:", "invalid"] {
                assert!(!said.contains(fault), "{who}: {said}");
            }
        }
    });
    boxes.server.stop();
}

/// What VLC's log says of packets that are missing, or were not what they should be.
const COMPLAINTS: [&str; 6] =
    ["discontinuity", "packet(s) lost", "corrupt", "invalid", "lost synchro", "libdvbpsi error"];

/// VLC plays with eyes and ears closed, and has nothing to complain of.
#[test]
fn vlc_plays() {
    let _shared = share_machine();
    let (Some(vlc), Some(ffprobe)) = (program("vlc"), program("ffprobe")) else { return };
    let Some(boxes) = Boxes::start() else { return };
    let receive = || {
        let players: Vec<Vlc> =
            PLACES.iter().enumerate().map(|(n, place)| Vlc::start(&boxes.switch, n, &vlc, *place)).collect();
        for player in &players {
            player.await_pictures();
        }
        players
    };
    boxes.undisturbed(receive, |players| {
        for mut player in players {
            let counted = player.counted();
            player.process.signal(libc::SIGTERM);
            assert!(player.process.wait(LIMIT).is_some(), "{} does not end", player.process.name);
            let (who, said) = (&player.process.name, player.process.output.text());
            assert!(COMPLAINTS.iter().all(|complaint| !said.contains(complaint)), "{who}: {said}");
            for fault in ["demux corrupted", "discontinuities"] {
                assert!(counted.get(fault).is_none_or(|count| *count == 0), "{who}: {counted:?}");
            }
            if let Some(file) = player.recorded() {
                // What its multiplexer makes of times is its own, and where it begins.
                let mut command = Command::new(&ffprobe);
                command.args(["-v", "error", "-count_packets", "-select_streams", "v", "-show_entries"]);
                command.args(["stream=nb_read_packets", "-of", "csv=p=0"]).arg(&file);
                let mut reader = Process::spawn("ffprobe", &mut command);
                reader.wait(LIMIT);
                let said = reader.output.text();
                // Once for the program, once for the stream; a complaint is no number.
                let mut counts = said.split_whitespace().map(|word| word.parse().unwrap_or(0));
                assert!(counts.all(|count: u32| count >= 50) && !said.is_empty(), "{who}: {said}");
            }
        }
    });
    boxes.server.stop();
}

/// A VLC. By UDP it shows, and counts, what it gets; by RTP its counters stand still, and it records what it gets instead.
struct Vlc {
    process: Process,
    folder: tempfile::TempDir,
    records: bool,
}

impl Vlc {
    fn start(switch: &Switch, n: usize, vlc: &Path, (scheme, group): (&str, &str)) -> Vlc {
        let folder = tempfile::tempdir().unwrap();
        // It refuses to be root, so it is nobody, who has no home.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let records = scheme == "rtp";
        let mut command = switch.command(n, Path::new("setpriv"));
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(vlc);
        command.args(["-vv", "--no-color", "--ignore-config", "-I", "oldrc", "--rc-fake-tty", "--rc-unix"]);
        command.arg(folder.path().join("control")).args(["--vout", "dummy", "--aout", "adummy"]);
        if records {
            let file = folder.path().join(RECORDING);
            command.arg("--sout").arg(format!("#std{{access=file,mux=ts,dst={}}}", file.display()));
        }
        command.env("HOME", folder.path()).arg(format!("{scheme}://@{group}"));
        Vlc { process: Process::spawn(&format!("VLC of {scheme}://{group}"), &mut command), folder, records }
    }

    /// Waits until it has shown 50 pictures, or recorded some more.
    fn await_pictures(&self) {
        poll(&self.process.name, 2 * LIMIT, || match self.recorded() {
            Some(file) => (std::fs::metadata(file).ok()?.len() > 3 * RATE / 8).then_some(()),
            None => (*self.counted().get("frames displayed")? >= 50).then_some(()),
        });
    }

    /// Where it records, if it does.
    fn recorded(&self) -> Option<PathBuf> {
        self.records.then(|| self.folder.path().join(RECORDING))
    }

    /// Its counters by name; none before it answers.
    fn counted(&self) -> BTreeMap<String, u64> {
        let ask = || -> std::io::Result<String> {
            let mut socket = UnixStream::connect(self.folder.path().join("control"))?;
            socket.write_all(b"stats\nlogout\n")?;
            socket.set_read_timeout(Some(LIMIT))?;
            let mut said = String::new();
            socket.read_to_string(&mut said)?;
            Ok(said)
        };
        let said = ask().unwrap_or_default();
        let rows = said.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(':'));
        let number = |text: &str| text.split_whitespace().next()?.parse().ok();
        rows.filter_map(|(name, value)| Some((name.trim().to_owned(), number(value)?))).collect()
    }
}
