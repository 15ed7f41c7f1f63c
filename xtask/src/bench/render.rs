//! Results on disk: JSON as measured, tables and plot made of it, and the page that shows them.

use super::{plot, plot_soak, table, table_extras, table_headend, table_load};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Every result: `NAME.json`, `NAME.md`, and a region of its page.
pub const NAMES: [&str; 11] = [
    "sweep",
    "nginx",
    "memory",
    "stalled",
    "streams",
    "scale",
    "headend",
    "storm",
    "slow",
    "stalled-1000",
    "soak",
];

/// Where results go unless told otherwise.
pub fn docs() -> PathBuf {
    crate::root().join("docs/bench")
}

/// The page whose region holds the table of a result in [`docs`]: how fast it is, or what it bears.
fn page(name: &str) -> PathBuf {
    let page = match name {
        "storm" | "slow" | "stalled-1000" | "soak" => "docs/reliability-load.md",
        _ => "docs/performance.md",
    };
    crate::root().join(page)
}

/// Writes `rows` as `NAME.json` in `out`. Rows of a `kind` that was not measured now stay as they are in the file.
///
/// # Errors
/// When `out` cannot be written.
pub fn store(out: &Path, name: &str, conditions: &Value, rows: &[Value]) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let other = |row: &Value| rows.iter().all(|new| new["kind"] != row["kind"]);
    let kept = load(out, name).map(|(_, old)| old).unwrap_or_default().into_iter().filter(other);
    let rows: Vec<Value> = kept.chain(rows.iter().cloned()).collect();
    let json = json!({ "conditions": conditions, "rows": rows });
    let file = out.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_string_pretty(&json)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    render_one(out, name).map(|_| ())
}

/// Makes every table and plot in `out` anew from its JSON; those of [`docs`] go into the page too.
///
/// # Errors
/// When nothing was measured yet, or something cannot be written.
pub fn render(out: &Path) -> Result<()> {
    let mut found = false;
    for name in NAMES {
        found |= render_one(out, name)?;
    }
    ensure!(found, "no results in {}", out.display());
    Ok(())
}

/// Conditions and rows of a result; `None` when it is not there.
fn load(out: &Path, name: &str) -> Option<(Value, Vec<Value>)> {
    let text = fs::read(out.join(format!("{name}.json"))).ok()?;
    let mut json: Value = serde_json::from_slice(&text).ok()?;
    let Value::Array(rows) = json["rows"].take() else { return None };
    Some((json["conditions"].take(), rows))
}

/// The result's table as Markdown, with its conditions in front.
pub fn table(out: &Path, name: &str, conditions: &Value, rows: &[Value]) -> String {
    let table = match name {
        "sweep" => table::sweep(rows),
        "nginx" => table::nginx(rows),
        "memory" => table_extras::memory(rows),
        "stalled" => table_extras::stalled(rows),
        "streams" => table_extras::streams(rows),
        "storm" => table_load::storm(rows),
        "slow" => table_load::slow(rows),
        "stalled-1000" => table_load::stalled_many(rows),
        "soak" => table_load::soak(rows),
        "headend" => table_headend::headend(rows),
        _ => {
            let sweep = load(out, "sweep").map(|(_, rows)| rows).unwrap_or_default();
            table_extras::scale(rows, &sweep)
        }
    };
    let text = |field: &str| conditions[field].as_str().unwrap_or("unknown");
    // What lasts as long as it says has no windows and rounds.
    let windows = match conditions["window_seconds"].as_f64() {
        Some(seconds) => format!("; windows of {seconds:?} s, {} round(s)", conditions["rounds"]),
        None => String::new(),
    };
    format!(
        "{}, {} processors, Linux {}, commit {}{windows}.\n\n{table}",
        text("processor"),
        conditions["processors"],
        text("kernel"),
        text("commit"),
    )
}

fn render_one(out: &Path, name: &str) -> Result<bool> {
    let Some((conditions, rows)) = load(out, name) else { return Ok(false) };
    let mut markdown = table(out, name, &conditions, &rows);
    fs::write(out.join(format!("{name}.md")), &markdown)?;
    if name == "sweep" {
        fs::write(out.join("sweep.svg"), plot::sweep(&rows))?;
        markdown.push_str("\n![CPU per message and p99 by flush mode and subscribers](bench/sweep.svg)\n");
    }
    if name == "soak"
        && let Some(row) = rows.last()
    {
        fs::write(out.join("soak.svg"), plot_soak::soak(row))?;
        markdown.push_str("\n![Memory and descriptors over a soak](bench/soak.svg)\n");
    }
    if out == docs() {
        let page = page(name);
        let old = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        fs::write(&page, fill(&old, name, &markdown)?)?;
    }
    Ok(true)
}

/// `page` with `text` between the markers of region `name`.
fn fill(page: &str, name: &str, text: &str) -> Result<String> {
    let (opens, closes) = (format!("<!-- bench:{name} -->\n"), format!("<!-- /bench:{name} -->"));
    let parts =
        page.split_once(&opens).and_then(|(before, rest)| Some((before, rest.split_once(&closes)?.1)));
    let (before, after) = parts.with_context(|| format!("the page has no region {name}"))?;
    Ok(format!("{before}{opens}{text}{closes}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_region_for_every_result() {
        for name in NAMES {
            let page = fs::read_to_string(page(name)).unwrap();
            let filled = fill(&page, name, "TABLE\n").unwrap();
            let again = fill(&filled, name, "TABLE\n").unwrap();
            assert_eq!(filled, again, "filling twice is filling once");
            assert!(filled.contains("TABLE"));
            assert!(fill(&page, "nothing", "").is_err());
        }
    }

    #[test]
    fn rows_of_another_kind_stay() {
        let out = std::env::temp_dir().join(format!("headgate-render-{}", std::process::id()));
        let row =
            |kind: &str, publishers: u64| json!({ "kind": kind, "server": "rtmp", "publishers": publishers });
        let conditions = json!({ "processor": "a", "window_seconds": 6.0 });
        store(&out, "streams", &conditions, &[row("streams", 1)]).unwrap();
        store(&out, "streams", &conditions, &[row("idle", 2)]).unwrap();
        store(&out, "streams", &conditions, &[row("idle", 3)]).unwrap();
        let (_, rows) = load(&out, "streams").unwrap();
        let written = fs::read_to_string(out.join("streams.md")).unwrap();
        fs::remove_dir_all(&out).unwrap();
        assert_eq!(rows, [row("streams", 1), row("idle", 3)]);
        assert!(written.contains("| 3 |"), "{written}");
    }
}
