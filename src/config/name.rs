//! Names of apps and streams: one rule for the file, RTMP and HTTP.
//!
//! Names end up in URLs, paths of files, playlists, pages and log lines. Each of those escapes what it must; that a name
//! cannot leave its place even where one forgets to is the purpose of this rule. ASCII goes by a list of what is allowed.
//! Beyond ASCII everything that can be seen is: no blanks, no signs that change what stands around them. The two joiners
//! cannot be seen, but Persian, Sinhala and families of emoji cannot be written without; they may stand between others.

use super::sign::is_harmless;
use std::fmt;

/// Longest app and longest stream name, in bytes each: what a file system takes for one name.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest query behind a name, in bytes: signed tokens are one to two kilobytes.
pub const QUERY_BYTES_MAX: usize = 4096;
/// What may stand in a name besides ASCII letters and digits; what URLs, globs and markup give a meaning may not.
pub(super) const SIGNS: &str = " !\"$%&'()+,-.:;=@_~";

/// Zero width non-joiner and joiner: they say how the letters around them are written.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no app.
    #[error("there is no app; streams are called APP/STREAM")]
    NoApp,
    /// There is an app, and nothing behind it.
    #[error("there is no stream name behind the app; streams are called APP/STREAM")]
    NoStream,
    /// A level has nothing in it.
    #[error("app or stream name is empty, or has an empty level")]
    Empty,
    /// Above [`NAME_BYTES_MAX`] or [`QUERY_BYTES_MAX`].
    #[error("app, stream name or query is too long")]
    TooLong,
    /// A level `.` or `..`, or escapes that stand for one or for what is no UTF-8.
    #[error("app or stream name has a level `.` or `..`, or an escape that is no UTF-8")]
    Forbidden,
    /// A character that no name may hold, as it stands or escaped.
    #[error("no app or stream name, and no query, may hold {}", Shown(*.0))]
    Character(char),
}

/// A character for a message that any reader may get.
struct Shown(char);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = u32::from(self.0);
        match self.0 {
            '\u{0}'..='\u{1f}' | '\u{7f}' => write!(f, "the control character U+{code:04X}"),
            c if c.is_ascii() => write!(f, "`{c}`"),
            c if JOINERS.contains(&c) => write!(f, "the joiner U+{code:04X} except between letters"),
            _ => write!(f, "the character U+{code:04X}"),
        }
    }
}

/// Checks the name of an app, whose levels are divided by `/`.
///
/// # Errors
/// See [`NameError`].
pub fn check_app(app: &str) -> Result<(), NameError> {
    if app.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    app.split('/').try_for_each(check_level)
}

/// Checks the name of a stream, which has one level.
///
/// # Errors
/// See [`NameError`].
pub fn check_stream(stream: &str) -> Result<(), NameError> {
    if stream.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    check_level(stream)
}

/// A level must be harmless however often a reader behind us percent-decodes it. Each decoding makes it shorter.
fn check_level(level: &str) -> Result<(), NameError> {
    if level.is_empty() {
        return Err(NameError::Empty);
    }
    let mut text = level.to_owned();
    loop {
        if [".", ".."].contains(&text.as_str()) {
            return Err(NameError::Forbidden);
        }
        check_characters(&text)?;
        match decode(&text) {
            None => return Ok(()),
            Some(bytes) => text = String::from_utf8(bytes).map_err(|_| NameError::Forbidden)?,
        }
    }
}

/// Whether every character of a level may stand where it does.
fn check_characters(text: &str) -> Result<(), NameError> {
    let mut before = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        // Between two letters of ASCII, and beside another, a joiner only makes two names look the same.
        let idle = |before: char, after: char| {
            before.is_ascii() && after.is_ascii() || [before, after].iter().any(|c| JOINERS.contains(c))
        };
        let allowed = match c {
            c if c.is_ascii() => c.is_ascii_alphanumeric() || SIGNS.contains(c),
            c if JOINERS.contains(&c) => {
                before.zip(rest.clone().next()).is_some_and(|(before, after)| !idle(before, after))
            }
            // U+FFFD stands for what was no UTF-8.
            c => is_harmless(c) && !c.is_whitespace() && c != char::REPLACEMENT_CHARACTER,
        };
        if !allowed {
            return Err(NameError::Character(c));
        }
        before = Some(c);
    }
    Ok(())
}

/// `text` with each `%XX` as its byte; `None` if there is none. A percent sign without digits is one.
fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest, mut found) = (Vec::with_capacity(text.len()), text.as_bytes(), false);
    while let Some((&first, behind)) = rest.split_first() {
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        rest = behind;
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = behind.get(2..).unwrap_or_default();
                found = true;
            }
            _ => out.push(first),
        }
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_names_that_may_be() {
        let long = "n".repeat(NAME_BYTES_MAX);
        for name in [
            "live",
            "cam-1_b.2~x",
            "a b%41$'\"&",
            "übung",
            "日本",
            "हिन्दी",
            "u\u{308}bung",
            "100%",
            "50%zz",
            "می\u{200c}خواهم",
            "ශ්\u{200d}රී",
            "PDF\u{200c}ها",
            "👩\u{200d}👩\u{200d}👧",
            "❤\u{fe0f}\u{200d}🔥",
            "%d9%85%db%8c%e2%80%8c%d8%ae",
            "my%20cam",
            "my%2520cam",
            "%e2%9c%93",
            "...",
            "..a",
            &long,
        ] {
            assert_eq!((check_app(name), check_stream(name)), (Ok(()), Ok(())), "{name:?}");
        }
        assert_eq!(check_app("a/b/c"), Ok(()));
        assert_eq!(check_stream("a/b"), Err(NameError::Character('/')));
    }

    fn is_forbidden(checked: Result<(), NameError>) -> bool {
        matches!(checked, Err(NameError::Forbidden | NameError::Character(_)))
    }

    #[test]
    fn the_refusal_names_the_character() {
        for (name, shown) in [
            ("a#b", "`#`"),
            ("[a]", "`[`"),
            ("a%5cb", "`\\`"),
            ("a\nb", "control character U+000A"),
            ("a\u{202e}b", "character U+202E"),
            ("a%E3%85%A4", "character U+3164"),
            ("\u{200d}a", "joiner U+200D except between letters"),
            ("%2e%2e", "a level `.` or `..`"),
            ("%ff", "no UTF-8"),
        ] {
            let text = check_stream(name).unwrap_err().to_string();
            assert!(text.contains(shown) && text.chars().all(is_harmless), "{name:?}: {text}");
        }
    }

    #[test]
    fn r6_names_that_may_not() {
        let escaped = |name: &str| name.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        for name in [
            ".",
            "..",
            "a\0",
            "\n",
            "a\r\nb",
            "\u{1b}[31m",
            "\u{7f}",
            "a\tb",
            "a\\b",
            "<b>",
            "a#b",
            "a?b",
            "a*",
            "{a}",
            "a|b",
            "[a]",
            "`a`",
            "a^b",
            "\u{85}",
            "\u{a0}",
            "\u{3000}",
            "\u{fffd}",
            "\u{202e}a",
            "\u{2028}",
            "\u{feff}",
            "\u{3164}",
            "a\u{115f}",
            "\u{1160}",
            "\u{2800}",
            "a\u{34f}b",
            "a\u{ad}b",
            "\u{200d}خ",
            "خ\u{200c}",
            "a\u{200d}b",
            "\u{e000}",
            "\u{1fffe}",
            "\u{e0041}",
            "\u{10ffff}",
        ] {
            let (once, twice) = (escaped(name), escaped(&escaped(name)));
            for name in
                [name, &once, &twice, &escaped(&twice)[..escaped(&twice).len().min(NAME_BYTES_MAX / 3 * 3)]]
            {
                assert!(is_forbidden(check_stream(name)), "{name:?}");
                assert!(is_forbidden(check_app(&format!("{name}/b"))), "{name:?}");
            }
        }
        for name in [
            "a%2fb",
            "..%2F..",
            "%2e%2e",
            "%2E.",
            "%252e%252e",
            "%%32%65",
            "a%5cb",
            "a%00",
            "%ff",
            "%c3",
            "خ\u{200c}\u{200d}خ",
            "%d8%ae%e2%80%8c%e2%80%8d%d8%ae",
            "%0d%0aSet",
        ] {
            assert!(is_forbidden(check_stream(name)), "{name:?}");
        }
        for name in ["", "/", "/a", "a/", "a//b"] {
            assert_eq!(check_app(name), Err(NameError::Empty), "{name:?}");
        }
        for len in [NAME_BYTES_MAX + 1, 4096, 65_535] {
            let long = "n".repeat(len);
            assert_eq!(
                (check_app(&long), check_stream(&long)),
                (Err(NameError::TooLong), Err(NameError::TooLong))
            );
        }
        // The most work that a name can make: each decoding peels one layer off.
        let onion = format!("%{}41", "25".repeat(NAME_BYTES_MAX / 2 - 1));
        assert_eq!(check_stream(&onion), Ok(()));
    }
}
