//! Tests that could not run here, counted, with reasons; and the list of those that CI may skip.
//!
//! A test that has to give up appends one line `ID<TAB>REASON` to the file named by `HEADGATE_SKIP_LOG`. The ids that
//! may be skipped in CI stand in the table under "Allowed skips" of docs/testing.md.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The variable that names the file.
pub const VARIABLE: &str = "HEADGATE_SKIP_LOG";

/// Skips of a run: id -> reasons, one per test.
#[derive(Debug, Default, PartialEq)]
pub struct Skips(BTreeMap<String, Vec<String>>);

impl Skips {
    /// Reads the file; none means no skip.
    pub fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut skips = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (id, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            skips.add(id, reason);
        }
        skips
    }

    /// Records one skip.
    pub fn add(&mut self, id: &str, reason: &str) {
        self.0.entry(id.trim().to_owned()).or_default().push(reason.trim().to_owned());
    }

    /// How many tests were skipped.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Prints every id with its count and its distinct reasons.
    pub fn print(&self) {
        for (id, reasons) in &self.0 {
            println!("skipped {} x {id}", reasons.len());
            for reason in reasons.iter().collect::<BTreeSet<_>>() {
                println!("    {reason}");
            }
        }
    }

    /// The ids that are not allowed.
    pub fn outside(&self, allowed: &BTreeSet<String>) -> Vec<&str> {
        self.0.keys().filter(|id| !allowed.contains(*id)).map(String::as_str).collect()
    }
}

/// The ids in the table under "Allowed skips" of docs/testing.md.
pub fn allowed(root: &Path) -> Result<BTreeSet<String>> {
    let path = root.join("docs/testing.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(allowed_in(&text))
}

fn allowed_in(text: &str) -> BTreeSet<String> {
    let table = text.lines().skip_while(|line| !(line.starts_with('#') && line.ends_with("Allowed skips")));
    table
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(id, _)| id.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sorts_out() {
        let skips = Skips::parse("no-uring\trefused by sysctl\nno-uring\trefused by sysctl\nodd\n");
        assert_eq!(skips.count(), 3);
        let page = "# Testing\n| `odd` | not here |\n## Allowed skips\n\n| id | when |\n|---|---|\n| `no-uring` | always |\n## More\n| `odd` | no |\n";
        let allowed = allowed_in(page);
        assert_eq!(allowed, BTreeSet::from(["no-uring".to_owned()]));
        assert_eq!(skips.outside(&allowed), ["odd"]);
    }

    #[test]
    fn the_page_has_its_table() {
        let page = std::fs::read_to_string(crate::root().join("docs/testing.md")).unwrap();
        assert!(page.lines().any(|line| line == "## Allowed skips"), "docs/testing.md lost its table");
    }
}
