//! docs/reliability.md against the tests that it names: each row of the attacks and faults has one, each of these exists,
//! and no test of attacks or faults is left out.

use std::path::Path;

const PAGE: &str = include_str!("../docs/reliability.md");

/// The folder of the end-to-end tests whose names are given without a path, by the section that names them.
const SECTIONS: [(&str, &str); 2] = [("## Attacks", "tests/e2e/attacks"), ("## Faults", "tests/e2e/faults")];

/// Tests in these folders of what the rows are made of, and of no row.
const HELPERS: [&str; 1] = ["stamps_are_hours_over_the_ends_of_days_and_years"];

/// The text of a section, without its heading.
fn section(page: &'static str, heading: &str) -> &'static str {
    let (_, rest) = page.split_once(heading).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The rows of a section's table: its cells, the header's left out.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let lines = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    lines.map(|line| line.split(" | ").collect()).skip(1).collect()
}

/// The names of tests in a cell: what stands in backquotes and is a path.
fn names(cell: &str) -> Vec<&str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.contains("::") || name.ends_with(".rs")).collect()
}

/// The file of a test, from the package, and its function.
fn place<'a>(folder: &str, name: &'a str) -> (String, Option<&'a str>) {
    let (file, function) =
        name.split_once("::").map_or((name, None), |(file, function)| (file, Some(function)));
    let file = if file.ends_with(".rs") { file.to_owned() } else { format!("{folder}/{file}.rs") };
    (file, function)
}

/// What is wrong with a name, if anything is.
fn fault(folder: &str, name: &str) -> Option<String> {
    let (file, function) = place(folder, name);
    let Ok(code) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)) else {
        return Some(format!("{name}: there is no {file}"));
    };
    let missing = function.filter(|function| !code.contains(&format!("fn {function}(")));
    missing.map(|function| format!("{name}: {file} has no {function}"))
}

#[test]
fn every_row_names_tests_that_there_are() {
    for (heading, folder) in SECTIONS {
        let rows = rows(section(PAGE, heading));
        assert!(rows.len() > 10, "{heading}: {} rows", rows.len());
        let mut above = Vec::new();
        for row in rows {
            // The last cell is the result, the one before it the test; "same" is that of the row above.
            let cell = row.iter().rev().nth(1).copied().unwrap_or_default();
            let named = if cell == "same" { above } else { names(cell) };
            assert!(!named.is_empty(), "no test for {:?}", row.first());
            let faults: Vec<String> = named.iter().filter_map(|name| fault(folder, name)).collect();
            assert!(faults.is_empty(), "{faults:?}");
            above = named;
        }
    }
}

#[test]
fn every_test_of_attacks_and_faults_is_named() {
    for (heading, folder) in SECTIONS {
        let section = section(PAGE, heading);
        let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect(folder);
        for file in files.map(|file| file.expect(folder).path()) {
            let code = std::fs::read_to_string(&file).expect(folder);
            let module = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let lines: Vec<&str> = code.lines().map(str::trim).collect();
            let plain = lines
                .windows(2)
                .filter(|two| two[0] == "#[test]")
                .filter_map(|two| two[1].strip_prefix("fn ")?.split('(').next());
            let both = code.split("engine_tests!(").skip(1).filter_map(|rest| rest.split(')').next());
            let both = both.flat_map(|list| list.split(',').map(str::trim)).filter(|name| !name.is_empty());
            for name in plain.chain(both).filter(|name| !HELPERS.contains(name)) {
                assert!(
                    section.contains(&format!("`{module}::{name}`")),
                    "{module}::{name} stands in no row"
                );
            }
        }
    }
}

#[test]
fn the_checker_sees_what_it_should() {
    let rows =
        rows("\n| row | test | result |\n|---|---|---|\n| a | `x::y`, `tests/reliability.rs` | passes |\n");
    assert_eq!(rows, [["a", "`x::y`, `tests/reliability.rs`", "passes"]]);
    assert_eq!(names(rows[0][1]), ["x::y", "tests/reliability.rs"]);
    assert_eq!(names("closed, `protocol_error`"), [""; 0]);
    assert_eq!(fault("tests", "tests/reliability.rs"), None);
    assert_eq!(fault("tests", "reliability::the_checker_sees_what_it_should"), None);
    assert!(fault("tests", "reliability::no_such_test").is_some());
    assert!(fault("tests", "no_such_file::any").is_some());
}
