//! The metrics page against its documentation.

use headgate::observe::{ChannelAbout, ChannelSlot, InputAbout, InputSlot, LinkSlot, Registry, ServiceAbout};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Names of all families on the page.
fn families(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn every_family_is_documented_and_every_documented_one_exists() {
    let services = vec![ServiceAbout::default(); 2];
    let channel = ChannelSlot::new(ChannelAbout { services, ..ChannelAbout::default() }, &["1.4"]);
    let about =
        InputAbout { stream: "live/one".into(), from: vec!["udp://127.0.0.1:5000".into()], merged: false };
    let input = InputSlot::new(about, &["lost"], &["crc"], &["1.4"]);
    let registry = Registry::with_headend(&[0], vec![channel], vec![input], usize::MAX);
    let link = LinkSlot { interface: "eth1".to_owned(), up: Default::default() };
    registry.links.set(vec![Arc::new(link)]).unwrap();
    let page = registry.render();
    let documented: BTreeSet<&str> = include_str!("../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .collect();
    assert_eq!(families(&page), documented);
}
