//! What goes wrong before the first stream: one clear line, a non-zero exit, never a backtrace.

use crate::support::sandbox::{Restriction, restrict};
use crate::support::server::{Config, LIMIT, Server, free_address};
use crate::support::{process::Process, share_machine};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Waits for a failure whose message names every one of `parts`; returns what was printed.
fn fails(mut process: Process, what: &str, parts: &[&str]) -> String {
    let status = process.wait(LIMIT);
    let text = process.output.text();
    assert!(
        status.is_some_and(|status| status.code().is_some_and(|code| code > 0)),
        "{what}: {status:?}\n{text}"
    );
    for part in parts {
        assert!(text.contains(part), "{what}: the message lacks {part:?}:\n{text}");
    }
    for noise in ["panicked at", "stack backtrace", "RUST_BACKTRACE", "Os {"] {
        assert!(!text.contains(noise), "{what}: {noise}:\n{text}");
    }
    text
}

fn headgate(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    Process::spawn("headgate", command.args(arguments).env("RUST_BACKTRACE", "1"))
}

#[test]
fn mistakes_in_the_config_are_shown_where_they_are() {
    let _shared = share_machine();
    let folder = tempfile::tempdir().unwrap();
    for (n, (text, parts)) in [
        ("[listen]\nrmtp = \"0.0.0.0:1935\"\n", &["rmtp", "rtmp", "2", "^"][..]),
        ("[listen]\nrtmp = \"not an address\"\n", &["rtmp", "2", "^"]),
        ("[fanout]\n\nflush = \"sometimes\"\n", &["flush", "3", "^", "video"]),
        ("[fanout]\nmax_lag_ms = -1\n", &["max_lag_ms", "2"]),
        ("[listen\n", &["1"]),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.path().join(format!("bad-{n}.toml"));
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        for arguments in [&["run", "-c", path][..], &["check", path]] {
            let printed = fails(headgate(arguments), text, parts);
            assert!(printed.contains(&format!("bad-{n}.toml")), "names the file:\n{printed}");
        }
    }
}

#[test]
fn a_good_config_passes_the_check() {
    let _shared = share_machine();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("good.toml");
    std::fs::write(&file, Config::new().text()).unwrap();
    headgate(&["check", file.to_str().unwrap()]).finish(LIMIT);
    headgate(&["check", concat!(env!("CARGO_MANIFEST_DIR"), "/headgate.toml")]).finish(LIMIT);
}

#[test]
fn a_file_that_is_not_there() {
    let _shared = share_machine();
    for arguments in [&["run", "-c", "/nowhere/headgate.toml"][..], &["check", "/nowhere/headgate.toml"]] {
        fails(headgate(arguments), "no file", &["/nowhere/headgate.toml"]);
    }
    fails(headgate(&["--no-such-flag"]), "flag", &["--no-such-flag"]);
}

#[test]
fn a_busy_port_is_named() {
    let _shared = share_machine();
    for key in ["listen.rtmp", "listen.http", "listen.admin"] {
        let taken = TcpListener::bind(free_address()).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let (process, _folder) = Config::new().set(key, &format!("{address:?}")).spawn();
        fails(process, key, &[&address, "in use"]);
    }
}

#[test]
fn flags_stand_before_a_command_or_behind_it() {
    let _shared = share_machine();
    let taken = TcpListener::bind(free_address()).unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    let [rtmp, http, admin] = [(), (), ()].map(|()| free_address().to_string());
    for arguments in [
        &["--rtmp", &busy, "--http", &http, "--admin", &admin, "demo"][..],
        &["--http", &http, "demo", "--rtmp", &busy, "--admin", &admin],
        &["--rtmp", &rtmp, "--http", &http, "run", "--admin", &admin, "--rtmp", &busy],
    ] {
        fails(headgate(arguments), "flags", &[&busy, "in use"]);
    }
    fails(headgate(&["--rtmp", &rtmp, "check", "some.toml"]), "check", &["headgate check FILE"]);
}

/// Listeners share their port between cores; two gateways must not share it by accident.
#[test]
fn a_second_gateway_on_the_same_ports_is_refused() {
    let _shared = share_machine();
    let config = Config::new();
    let first = config.start();
    let (process, _folder) = config.spawn();
    fails(process, "second gateway", &["in use"]);
    first.stop();
}

#[test]
fn missing_permission_is_named() {
    let _shared = share_machine();
    // A port below 1024, unless this machine gives those to everybody.
    let low = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if low.is_ok_and(|start| start.trim().parse::<u16>().is_ok_and(|start| start > 935)) {
        let config = Config::new().set("listen.rtmp", "\"127.0.0.1:935\"");
        let (process, _folder) = config.restricted(Restriction::NoPrivilege).spawn();
        fails(process, "low port", &["127.0.0.1:935", "ermission"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret.toml");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(["run", "-c"]).arg(&file);
    restrict(&mut command, Restriction::NoPrivilege);
    fails(Process::spawn("headgate", &mut command), "unreadable file", &["secret.toml", "ermission"]);
}

#[test]
fn the_banner_says_how_to_go_on() {
    let _shared = share_machine();
    let server = Server::start();
    let addresses = [server.rtmp, server.http, server.admin];
    let log = server.stop();
    for address in addresses {
        assert!(log.contains(&address.port().to_string()), "no word of {address}:\n{log}");
    }
    for part in ["rtmp://", "http://", "ffmpeg "] {
        assert!(log.contains(part), "the banner lacks {part}:\n{log}");
    }
}
