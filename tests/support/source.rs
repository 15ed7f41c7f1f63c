//! Rust sources as the structural tests read them: without comments, without what stands in quotes.

use std::path::{Path, PathBuf};

/// Every `.rs` file below `folder` (relative to the package), as (path from the package, code), in order of name.
pub fn files(folder: &str) -> Vec<(String, String)> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![package.join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no source below {folder}");
    found.into_iter().map(|path| read(package, path)).collect()
}

fn read(package: &Path, path: PathBuf) -> (String, String) {
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name = path.strip_prefix(package).unwrap_or(&path);
    (name.to_string_lossy().into_owned(), code(&text))
}

/// The text with comments and the insides of string and character literals turned into spaces. Lines stay lines, so
/// positions keep their line numbers.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => until(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment(bytes, at),
            b'r' if !follows_word(bytes, at) => raw_string(bytes, at).unwrap_or(at),
            b'b' if bytes[at..].starts_with(b"br") && !follows_word(bytes, at) => {
                raw_string(bytes, at + 1).unwrap_or(at)
            }
            b'"' => quoted(bytes, at, b'"'),
            b'\'' => character(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn until(bytes: &[u8], from: usize, end: &[u8]) -> usize {
    let hit = bytes[from..].windows(end.len()).position(|window| window == end);
    hit.map_or(bytes.len(), |n| from + n)
}

fn block_comment(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from + 2, 1);
    while at < bytes.len() && depth > 0 {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
    }
    at
}

fn raw_string(bytes: &[u8], from: usize) -> Option<usize> {
    let hashes = bytes[from + 1..].iter().take_while(|&&b| b == b'#').count();
    (bytes.get(from + 1 + hashes) == Some(&b'"')).then(|| {
        let mut close = vec![b'"'];
        close.extend(std::iter::repeat_n(b'#', hashes));
        (until(bytes, from + 2 + hashes, &close) + close.len()).min(bytes.len())
    })
}

fn quoted(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// A character literal, told from a lifetime by its closing quote.
fn character(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.get(from + 1) == Some(&b'\\') {
        return Some(quoted(bytes, from, b'\''));
    }
    let text = std::str::from_utf8(&bytes[from + 1..]).ok()?;
    let close = from + 1 + text.chars().next()?.len_utf8();
    (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
}
