//! Errors as an operator reads them: place, the line itself, a caret, a hint.

use super::sign::is_harmless;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Characters of a source line that are shown; longer ones are cut around the caret.
const LINE_SHOWN_CHARS: usize = 120;
/// Characters of a message, which may repeat a word of the file; the line itself stands below it.
const MESSAGE_SHOWN_CHARS: usize = 160;
/// Keys whose values never appear in a message.
const SECRET_KEYS: [&str; 2] = ["publish_key", "play_token"];
/// The table below which no value appears: a misspelt key may hold a secret as well.
const APPS: &str = "apps";

/// Tables that may stand several times; in a path their numbers, from 0, follow them.
const LISTS: [&str; 2] = ["channel", "input"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {}: {error}\n  = help: {hint}", path.display())]
    Read {
        /// As given by the user.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The text is not a valid configuration.
    #[error("{0}")]
    Invalid(Box<Diagnostic>),
    /// The flags contradict each other or the file.
    #[error("{0}")]
    Flags(Violation),
}

/// A value that is well formed and still wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where the value stands: `["fanout", "flush_ms"]`, `["channel", "0", "to", "1"]`.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Violation {
    /// The place as it is written: `fanout.flush_ms`, `channel[0].to[1]`.
    pub fn place(&self) -> String {
        let mut place = String::new();
        let lists = self.path.first().is_some_and(|table| LISTS.contains(&table.as_str()));
        for part in &self.path {
            match lists && part.bytes().all(|b| b.is_ascii_digit()) {
                true => place += &format!("[{part}]"),
                false if place.is_empty() => place += part,
                false => place += &format!(".{part}"),
            }
        }
        place
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  = help: {}", self.place(), self.message, self.hint)
    }
}

/// One error at one place of a text. `Display` gives the whole message, several lines, without a final newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// File name as given by the user.
    pub origin: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The source line as shown: cut, tabs and whatever acts on a terminal as blanks, secrets as asterisks.
    shown: String,
    /// Characters of `shown` before the caret, and carets.
    caret: (usize, usize),
}

impl Diagnostic {
    /// An error at the bytes `span` of `text`. A span outside the text points at its end.
    pub fn new(origin: &str, text: &str, span: Range<usize>, message: String, hint: Option<String>) -> Self {
        let hide = is_below_apps(text, span.start);
        Self::build(origin, text, span, message, hint, hide)
    }

    /// The error of an unknown key. Its value is never shown: nobody knows what it was meant for.
    pub(super) fn unknown_key(
        origin: &str,
        text: &str,
        span: Range<usize>,
        message: String,
        hint: Option<String>,
    ) -> Self {
        Self::build(origin, text, span, message, hint, true)
    }

    fn build(
        origin: &str,
        text: &str,
        span: Range<usize>,
        message: String,
        hint: Option<String>,
        hide: bool,
    ) -> Self {
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor_char(text, span.end).clamp(start, line_end);
        let before = text[line_start..start].chars().count();
        let marked = text[start..end].chars().count().max(1);
        let line = hide_secrets(text[line_start..line_end].trim_end_matches('\r'), hide);
        // Keep some of what stands before the caret, if the line must be cut.
        let cut = before.saturating_sub(LINE_SHOWN_CHARS / 2);
        let shown = line
            .chars()
            .skip(cut)
            .take(LINE_SHOWN_CHARS)
            .map(|c| if is_harmless(c) { c } else { ' ' })
            .collect();
        Self {
            origin: origin.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: before + 1,
            message: in_one_line(&message),
            hint,
            shown,
            caret: (before - cut, marked.min(LINE_SHOWN_CHARS - (before - cut))),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { origin, line, column, message, .. } = self;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let (before, marked) = self.caret;
        writeln!(f, "{origin}:{line}:{column}: {message}")?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", self.shown)?;
        write!(f, "{margin} | {}{}", " ".repeat(before), "^".repeat(marked))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n{margin} = help: {hint}")?;
        }
        Ok(())
    }
}

/// A message as a terminal may get it: in one line, no longer than [`MESSAGE_SHOWN_CHARS`].
fn in_one_line(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(MESSAGE_SHOWN_CHARS) {
        match is_harmless(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    if text.chars().nth(MESSAGE_SHOWN_CHARS).is_some() {
        out.push('…');
    }
    out
}

/// Whether the line that holds byte `at` of `text` gives a secret.
pub(super) fn line_holds_secret(text: &str, at: usize) -> bool {
    let at = floor_char(text, at);
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    SECRET_KEYS.iter().any(|key| line.contains(key))
}

/// Whether the line that holds byte `at` of `text` stands in a table below `apps`, or begins with such a key.
pub(super) fn is_below_apps(text: &str, at: usize) -> bool {
    let at = floor_char(text, at);
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let table = text[..start].lines().rev().find(|line| line.trim_start().starts_with('['));
    let line = text[start..].lines().next();
    let names_apps = |line: &str| {
        let not_a_name = |c: char| c.is_whitespace() || "[\"'".contains(c);
        line.trim_start_matches(not_a_name).starts_with(APPS)
    };
    table.is_some_and(names_apps) || line.is_some_and(names_apps)
}

/// The largest character boundary of `text` at or below `at`.
fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The line with everything after a secret key as asterisks, so that an error there can be pasted anywhere; with `hide`
/// everything after the first `=`, or the whole of a line that is neither a key's nor a table's.
fn hide_secrets(line: &str, hide: bool) -> String {
    let known = SECRET_KEYS.iter().filter_map(|key| line.find(key).map(|at| at + key.len())).min();
    let any = match line.find('=') {
        None if line.trim_start().starts_with('[') => None,
        found => Some(found.unwrap_or(0)),
    };
    let Some(value) = known.into_iter().chain(any.filter(|_| hide)).min() else { return line.to_owned() };
    let mut hidden = line[..value].to_owned();
    hidden.extend(line[value..].chars().map(|c| if " \t=\"'".contains(c) { c } else { '*' }));
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_place() {
        let text = "[a]\n\tb = \"ü\" # x\n";
        let at = text.find('"').unwrap();
        let found = Diagnostic::new("f.toml", text, at..at + 4, "bad".into(), Some("good".into()));
        assert_eq!((found.line, found.column), (2, 6));
        let expected = "f.toml:2:6: bad\n  |\n2 |  b = \"ü\" # x\n  |      ^^^\n  = help: good";
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn any_span_of_any_text_is_shown() {
        let long = "x".repeat(1000);
        for text in ["", "\n", "ü", "a\r\nb", "\n\n\u{1b}[31mred", long.as_str()] {
            for start in 0..text.len() + 3 {
                for length in [0, 1, 5, 2000] {
                    let shown =
                        Diagnostic::new("f", text, start..start + length, "m".into(), None).to_string();
                    assert!(shown.contains('^') && !shown.contains('\u{1b}') && shown.len() < 400, "{shown}");
                }
            }
        }
    }

    #[test]
    fn x7_nothing_of_the_file_acts_on_the_terminal() {
        let text = "[a]\nb = \"\u{202e}x\u{2028}\u{feff}\u{1b}[31m\u{3164}\"\n";
        let shown = Diagnostic::new("f", text, 8..9, text.to_owned(), None).to_string();
        assert!(shown.chars().all(|c| c == '\n' || is_harmless(c)), "{shown:?}");
        assert!(shown.starts_with("f:2:5: [a]\\nb = ") && shown.contains("\\u{202e}x\\u{2028}"), "{shown}");
        assert!(shown.contains("\n2 | b = \" x   [31m \"\n"), "{shown}");
    }

    #[test]
    fn hides_secrets() {
        for line in [
            "publish_key = \"hunter2",
            "apps.live = { play_token = 'hunter2', x = 1 }",
            "  play_token=hunter2",
            "[apps.live]\npublish_kee = \"hunter2\"",
            "[ apps.live ]\npublish_kee = \"hunter2\"",
            "[ \"apps\" . live]\npublish_kee = \"hunter2\"",
            "apps.live.publish_kee = \"hunter2\"",
            "apps.live = { publish_kee = 'hunter2', play_token = 'hunter2' }",
            " 'apps'.live.publish_kee = \"hunter2",
        ] {
            let at = line.find('=').unwrap();
            let shown = Diagnostic::new("f", line, at..at + 1, "m".into(), None).to_string();
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }
}
