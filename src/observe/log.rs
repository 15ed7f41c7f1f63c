//! Log lines: one an event, on standard error, without anything a peer could forge or should not see repeated.

use std::borrow::Cow;
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;

/// Characters of one foreign text that a line repeats: enough to recognise it, too little to flood a log.
const SHOWN_CHARS: usize = 128;

/// Sends the process's `tracing` events to standard error: `json` gives one object a line, else text, with colour on
/// a terminal. A second call changes nothing.
pub fn init(level: LevelFilter, json: bool) {
    let lines =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // Fails only when a subscriber is installed already, which then stays.
    let _ = match json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}

/// A name, address or message from outside as it may stand in a log line or an error: control characters, line and
/// paragraph separators and writing-direction marks escaped, 128 characters at most, and nothing after the first `?`,
/// where keys and tokens stand.
pub fn clean(text: &str) -> Cow<'_, str> {
    let end = text.find('?').unwrap_or(text.len());
    let (plain, query) = (&text[..end], end < text.len());
    if !query && plain.len() <= SHOWN_CHARS && plain.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(plain.len().min(4 * SHOWN_CHARS));
    for c in plain.chars().take(SHOWN_CHARS) {
        match harmless(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    if query {
        out.push('?');
    }
    if query || plain.chars().nth(SHOWN_CHARS).is_some() {
        out.push('…');
    }
    Cow::Owned(out)
}

/// Whether `c` leaves the line, the terminal and the reading order alone.
fn harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans() {
        let long = "é".repeat(SHOWN_CHARS + 1);
        let cut = format!("{}…", "é".repeat(SHOWN_CHARS));
        for (text, expected) in [
            ("live/stream", "live/stream"),
            ("Größe 日本", "Größe 日本"),
            ("a\r\nlevel=error", "a\\r\\nlevel=error"),
            ("\u{1b}[31mred\u{9b}", "\\u{1b}[31mred\\u{9b}"),
            ("x?token=secret", "x?…"),
            ("?key", "?…"),
            ("\u{202e}evil\u{2028}", "\\u{202e}evil\\u{2028}"),
            ("", ""),
            (&long, &cut),
        ] {
            assert_eq!(clean(text), expected);
        }
    }
}
