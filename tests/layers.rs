//! Imports obey the layer table of docs/architecture.md.
//!
//! The table is the rule; this test only reads it. Every path that starts at the crate's root (`crate::`, `super::`
//! chains that reach the root, `headgate::` in the binary) is held against it, wherever it stands in the code.

#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};

/// Which modules each module may use.
struct Layers {
    allowed: BTreeMap<String, BTreeSet<String>>,
    /// Modules of the row "everyone may use them".
    universal: BTreeSet<String>,
}

impl Layers {
    /// Reads the table that begins with `| module | may use |`.
    fn parse(page: &str) -> Layers {
        let rows: Vec<(Vec<String>, &str)> = page
            .lines()
            .skip_while(|line| !line.starts_with("| module | may use |"))
            .skip(2)
            .map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
            .map(|(modules, rule)| (modules.split(", ").map(|m| m.trim().to_owned()).collect(), rule))
            .collect();
        let every: BTreeSet<String> = rows.iter().flat_map(|(modules, _)| modules.clone()).collect();
        let mut layers = Layers { allowed: BTreeMap::new(), universal: BTreeSet::new() };
        let mut above = BTreeSet::new();
        for (modules, rule) in rows {
            if rule.contains("everyone may use them") {
                layers.universal.extend(modules.clone());
            }
            // What stands behind ";" explains.
            let allowed = match rule.split(';').next().unwrap_or_default().trim() {
                "–" | "std and crates only" => BTreeSet::new(),
                "all above" => above.clone(),
                "everything" => every.clone(),
                names => names.split(", ").map(|name| name.trim().to_owned()).collect(),
            };
            let unknown: Vec<_> = allowed.difference(&every).collect();
            assert!(unknown.is_empty(), "the table allows modules without a row: {unknown:?}");
            above.extend(modules.clone());
            layers.allowed.extend(modules.into_iter().map(|module| (module, allowed.clone())));
        }
        assert!(layers.allowed.len() > 5, "docs/architecture.md has no layer table");
        layers
    }

    /// Every use that the table forbids, as `path:line: module uses other`.
    fn faults(&self, path: &str, code: &str) -> Vec<String> {
        let Some(inside) = path.strip_prefix("src/").and_then(|p| p.strip_suffix(".rs")) else {
            return vec![format!("{path}: not below src/")];
        };
        let parts: Vec<&str> = inside.split('/').collect();
        let module = parts[0];
        if module == "lib" {
            return Vec::new();
        }
        let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
        let Some(allowed) = self.allowed.get(module) else {
            return vec![format!("{path}: module {module} has no row in the table")];
        };
        let fault = |(line, used): (usize, String)| {
            let known = self.allowed.contains_key(&used);
            let free = used == module || allowed.contains(&used) || (self.universal.contains(&used));
            (known && !free).then(|| format!("{path}:{line}: {module} uses {used}"))
        };
        uses(code, depth).into_iter().filter_map(fault).collect()
    }
}

/// Top-level names that the code reaches, with their lines. `depth` is how many `super` lead to the crate's root.
fn uses(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let roots = ["crate", "headgate", "super"];
    for root in roots {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut rest = code[at..].trim_start_matches(root).trim_start();
            let Some(path) = rest.strip_prefix("::") else { continue };
            rest = path.trim_start();
            if root == "super" {
                let mut supers = 1;
                while let Some(path) = rest.strip_prefix("super") {
                    let Some(path) = path.trim_start().strip_prefix("::") else { break };
                    rest = path.trim_start();
                    supers += 1;
                }
                if supers < depth {
                    continue;
                }
            }
            let line = code[..at].matches('\n').count() + 1;
            found.extend(first_names(rest).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// The first name of a path, or of each path in a group `{a::b, c::{d}}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 1, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            names.push(name(&group[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn table() -> Layers {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md");
    Layers::parse(&std::fs::read_to_string(page).unwrap_or_else(|e| panic!("{page}: {e}")))
}

#[test]
fn imports_obey_the_table() {
    let layers = table();
    let files = source::files("src");
    let faults: Vec<String> = files.iter().flat_map(|(path, code)| layers.faults(path, code)).collect();
    assert!(faults.is_empty(), "against the layer table of docs/architecture.md:\n{}", faults.join("\n"));
}

/// The checker itself: each of these samples must be found, or must pass.
#[test]
fn the_checker_sees_what_it_should() {
    let layers = table();
    let check = |path: &str, text: &str| layers.faults(path, &source::code(text));
    for (path, text, faults) in [
        ("src/wire/flv.rs", "use crate::media::Frame;", 1),
        ("src/wire/flv.rs", "use super::super::media::Frame;", 1),
        ("src/wire/mod.rs", "use super::media;", 1),
        ("src/wire/rtmp/chunk.rs", "use super::super::amf0;", 0),
        ("src/wire/flv.rs", "use crate::{wire::amf0, media::{Frame, Kind}, config};", 1),
        ("src/wire/flv.rs", "use crate::{\n    fanout::log,\n    shard::engine,\n};", 2),
        ("src/proto/rtmp/mod.rs", "fn f() { crate::fanout::log::open() }", 1),
        ("src/proto/rtmp/mod.rs", "// crate::fanout\n/* crate::shard */ const S: &str = \"crate::edge\";", 0),
        ("src/proto/rtmp/mod.rs", "use crate::wire::flv; pub(crate) fn f() {}", 0),
        ("src/fanout/log.rs", "use crate::observe::Counter; use crate::media::Frame;", 0),
        ("src/config/mod.rs", "use crate::media::Frame;", 1),
        ("src/ingest/rtmp.rs", "use crate::egress::rtmp;", 1),
        ("src/control/page.rs", "use crate::{egress::rtmp, fanout::log, shard::engine};", 0),
        ("src/control/page.rs", "use crate::server::Server;", 1),
        ("src/main.rs", "use headgate::server; use headgate::fanout;", 0),
        ("src/attic/mod.rs", "", 1),
    ] {
        assert_eq!(check(path, text).len(), faults, "{path}: {text}: {:?}", check(path, text));
    }
}
