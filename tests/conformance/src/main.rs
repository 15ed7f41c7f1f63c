//! `headgate-conformance RATE FILE`: what the package dvb-conformance says about a file of whole packets, whose times
//! follow from RATE, in bits a second. A line an indicator (`PRIORITY<TAB>NAME<TAB>COUNT<TAB>the first`), then
//! `N packets`.

use dvb_conformance::{ConformanceMonitor, Priority};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

const PACKET_BYTES: usize = 188;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let told = match &arguments[..] {
        [version] if version == "--version" => {
            Ok(concat!("headgate-conformance ", env!("CARGO_PKG_VERSION"), "\n").to_owned())
        }
        [rate, file] => judge(rate, file),
        _ => Err("headgate-conformance RATE FILE".to_owned()),
    };
    match told {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn judge(rate: &str, file: &str) -> Result<String, String> {
    let rate: u64 = rate.parse().ok().filter(|rate| *rate > 0).ok_or(format!("{rate}: not a rate"))?;
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let mut monitor = ConformanceMonitor::new();
    let mut raised: BTreeMap<(u8, &str), (u64, String)> = BTreeMap::new();
    for (n, packet) in bytes.chunks(PACKET_BYTES).enumerate() {
        let nanoseconds = n as u128 * PACKET_BYTES as u128 * 8_000_000_000 / u128::from(rate);
        let at = Duration::from_nanos(nanoseconds as u64);
        for event in monitor.feed(packet, at) {
            let priority = match event.priority {
                Priority::First => 1,
                Priority::Second => 2,
                _ => 3,
            };
            let first = || (0, format!("{at:?}: {}", event.detail.replace(['\n', '\t'], " ")));
            raised.entry((priority, event.indicator.name())).or_insert_with(first).0 += 1;
        }
    }
    let lines = raised
        .iter()
        .map(|((priority, name), (count, first))| format!("{priority}\t{name}\t{count}\t{first}\n"));
    Ok(format!("{}{} packets\n", lines.collect::<String>(), monitor.stats().packets))
}
