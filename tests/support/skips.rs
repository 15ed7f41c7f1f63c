//! How a test says that it cannot run on this machine.

use std::io::Write;

/// Reports that this test cannot run here. `id` is stable; docs/testing.md lists those that CI accepts.
pub fn skip(id: &str, reason: &str) {
    eprintln!("SKIPPED: {reason}");
    if let Some(path) = std::env::var_os("HEADGATE_SKIP_LOG") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("skip log");
        file.write_all(format!("{id}\t{reason}\n").as_bytes()).expect("skip log");
    }
}
