//! The command line as a user meets it: commands, exit codes, one clear message and never a backtrace.

use std::net::TcpListener;
use std::process::{Command, Output};

fn headgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headgate")).args(arguments).env("RUST_BACKTRACE", "1").output().unwrap()
}

/// Runs, checks the exit code, and returns stdout and stderr.
#[track_caller]
fn check(arguments: &[&str], code: i32) -> (String, String) {
    let output = headgate(arguments);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert!(!err.contains("panicked") && !err.contains("backtrace"), "{err}");
    (out, err)
}

/// A config file that lives as long as the value.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("headgate.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn says_what_it_is() {
    let (out, _) = check(&["--version"], 0);
    assert_eq!(out.trim(), concat!("headgate ", env!("CARGO_PKG_VERSION")));
    let (out, _) = check(&["--help"], 0);
    for word in
        ["run", "demo", "check", "analyze", "--rtmp", "--http", "--admin", "--cores", "--engine", "--config"]
    {
        assert!(out.contains(word), "{word}\n{out}");
    }
}

#[test]
fn check_judges_a_file() {
    let (_folder, path) = file("");
    let (out, err) = check(&["check", &path], 0);
    assert!(
        out.contains("valid") && out.contains("warning: anyone may publish") && err.is_empty(),
        "{out}{err}"
    );

    let (_folder, path) = file("[apps.\"*\"]\npublish_key = \"0123456789abcdef\"\n");
    let (out, _) = check(&["check", &path], 0);
    assert!(!out.contains("warning") && !out.contains("0123456789"), "{out}");

    let (_folder, path) = file("[fanout]\nflsh = \"video\"\n");
    let (_, err) = check(&["check", &path], 2);
    assert!(
        err.contains("headgate.toml:2:1: unknown key `flsh`") && err.contains("did you mean `flush`?"),
        "{err}"
    );

    let (out, _) = check(&["check", concat!(env!("CARGO_MANIFEST_DIR"), "/headgate.toml")], 0);
    assert!(out.contains("valid"), "{out}");
}

#[test]
fn wrong_input_is_one_clear_message() {
    let (_folder, bad) = file("[listen]\nrtmp = 1935\n");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (arguments, say) in [
        (&["-c", &bad][..], "headgate.toml:2:8:"),
        (&["run", "--config", &bad], "headgate.toml:2:8:"),
        (&["demo", "--config", &bad], "headgate.toml:2:8:"),
        (&["check", "/nowhere/headgate.toml"], "cannot read the config file"),
        (&["check", folder], "cannot read the config file"),
        (&["--rtmp", "1935"], "invalid socket address"),
        (&["--cores", "0,0"], "names core 0 twice"),
        (&["--cores", "x"], "not a CPU number"),
        (&["--engine", "kqueue"], "expected auto, uring or epoll"),
        (&["--rtmp", "127.0.0.1:7", "--http", "127.0.0.1:7"], "overlaps"),
        (&["serve"], "serve"),
        (&["--prot", "1"], "--prot"),
        (&["check"], "<FILE>"),
    ] {
        let (out, err) = check(arguments, 2);
        assert!(
            err.starts_with("error: ") && err.contains(say) && out.is_empty(),
            "{arguments:?}\n{out}\n{err}"
        );
    }
}

#[test]
fn a_busy_port_is_named_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--rtmp", "--http", "--admin"] {
        let mut arguments: Vec<&str> = vec!["run"];
        for name in ["--rtmp", "--http", "--admin"] {
            arguments.extend([name, if name == flag { &address } else { "127.0.0.1:0" }]);
        }
        let (out, err) = check(&arguments, 1);
        assert!(err.starts_with("error: cannot listen on ") && err.contains(&address), "{err}");
        assert!(err.contains("help") && err.contains(flag) && out.is_empty(), "{out}{err}");
    }
}

#[test]
fn a_foreign_address_is_named_with_its_remedy() {
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let (_, err) = check(&["--rtmp", "192.0.2.1:1935", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"], 1);
    assert!(err.contains("cannot listen on 192.0.2.1:1935 (rtmp)") && err.contains("no interface"), "{err}");
}
