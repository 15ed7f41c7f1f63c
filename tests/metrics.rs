//! The metrics page against Prometheus' own judge and against its documentation.

use headgate::observe::Registry;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

/// Names of all families on the page.
fn families(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn promtool_finds_no_fault() {
    let page = Registry::new(&[0, 1]).render();
    let mut judge = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus, is needed for this test");
    judge.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let verdict = judge.wait_with_output().unwrap();
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
}

#[test]
fn every_family_is_documented_and_every_documented_one_exists() {
    let page = Registry::new(&[0]).render();
    let documented: BTreeSet<&str> = include_str!("../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .collect();
    assert_eq!(families(&page), documented);
}
