//! `cargo xtask licenses`: every dependency has a licence from the list in `deny.toml` and comes from the registry
//! named there. The same file serves cargo-deny; this check needs nothing but cargo.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Reads `cargo metadata` and `deny.toml` and reports every dependency that breaks the policy.
pub fn run() -> Result<()> {
    let root = crate::root();
    let policy = std::fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?;
    let licences = list(&policy, "licenses", "allow");
    let registries = list(&policy, "sources", "allow-registry");
    if licences.is_empty() || registries.is_empty() {
        bail!("deny.toml names no licence or no registry");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(&root)
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let faults: Vec<String> =
        packages.iter().filter_map(|package| fault(package, &licences, &registries)).collect();
    if !faults.is_empty() {
        bail!("{} dependencies break deny.toml:\n  {}", faults.len(), faults.join("\n  "));
    }
    println!("licences and sources of {} packages are allowed", packages.len());
    Ok(())
}

/// The strings of an array `key = [ ... ]` in `[section]`. deny.toml is our own file: one string at most a line.
fn list(policy: &str, section: &str, key: &str) -> BTreeSet<String> {
    let mut inside = policy
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != format!("[{section}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .skip_while(|line| line.split_once('=').is_none_or(|(name, _)| name.trim() != key));
    let mut found = BTreeSet::new();
    for line in inside.by_ref() {
        found.extend(line.split('"').nth(1).map(str::to_owned));
        if line.contains(']') {
            break;
        }
    }
    found
}

fn fault(package: &Value, licences: &BTreeSet<String>, registries: &BTreeSet<String>) -> Option<String> {
    let name = format!("{} {}", package["name"].as_str()?, package["version"].as_str()?);
    // Members of the workspace have no source; they obey the licence list all the same.
    if let Some(source) = package["source"].as_str()
        && !source.strip_prefix("registry+").is_some_and(|url| registries.contains(url))
    {
        return Some(format!("{name}: source {source}"));
    }
    let licence = package["license"].as_str().unwrap_or("");
    (!allowed(licence, licences)).then(|| format!("{name}: licence {licence:?}"))
}

/// Whether an SPDX expression can be satisfied with the allowed licences: AND binds tighter than OR, and the old
/// `A/B` means OR. `X WITH Y` is one term.
fn allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let verdict = either(&words, &mut at, licences);
    at == words.len() && verdict == Some(true)
}

fn either(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = both(words, at, licences)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        verdict |= both(words, at, licences)?;
    }
    Some(verdict)
}

fn both(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = term(words, at, licences)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        verdict &= term(words, at, licences)?;
    }
    Some(verdict)
}

fn term(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let verdict = either(words, at, licences)?;
        return (words.get(*at) == Some(&")")).then(|| {
            *at += 1;
            verdict
        });
    }
    if words.get(*at) == Some(&"WITH") {
        let name = format!("{word} WITH {}", words.get(*at + 1)?);
        *at += 2;
        return Some(licences.contains(&name));
    }
    Some(licences.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn expressions() {
        let licences = set(&["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]);
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("", false),
            ("MIT/GPL-3.0", true),
            ("MIT OR GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
            ("MIT OR GPL-3.0 AND Unicode-3.0", true),
            ("GPL-3.0 OR MIT AND BSD-3-Clause", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("(MIT", false),
            ("MIT GPL-3.0", false),
        ] {
            assert_eq!(allowed(expression, &licences), expected, "{expression}");
        }
    }

    #[test]
    fn lists_of_the_policy() {
        let policy = "[bans]\nallow = [\n\"no\",\n]\n[licenses]\nconfidence = 1\nallow = [\n  \"MIT\", # why\n  \"ISC\",\n]\nother = [\"x\"]\n[sources]\nallow-registry = [\"here\"]\n";
        assert_eq!(list(policy, "licenses", "allow"), set(&["MIT", "ISC"]));
        assert_eq!(list(policy, "sources", "allow-registry"), set(&["here"]));
    }

    #[test]
    fn sources() {
        let (licences, registries) = (set(&["MIT"]), set(&["https://registry"]));
        let package = |source: Value| serde_json::json!({"name": "a", "version": "1.0.0", "license": "MIT", "source": source});
        assert_eq!(fault(&package(Value::Null), &licences, &registries), None);
        assert_eq!(fault(&package("registry+https://registry".into()), &licences, &registries), None);
        assert!(fault(&package("git+https://registry".into()), &licences, &registries).is_some());
    }
}
