//! Names of apps and streams: one rule for the file, RTMP and HTTP.
//!
//! Names end up in URLs, paths of files, playlists, pages and log lines. Each of those escapes what it must; that a name
//! cannot leave its place even where one forgets to is the purpose of this rule. ASCII goes by a list of what is allowed.
//! Beyond ASCII everything that can be seen is: no blanks, no signs that change what stands around them.

/// Longest app and longest stream name, in bytes each: what a file system takes for one name.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest query behind a name, in bytes: signed tokens are one to two kilobytes.
pub const QUERY_BYTES_MAX: usize = 4096;
/// What may stand in a name besides ASCII letters and digits; what URLs, globs and markup give a meaning may not.
const SIGNS: &str = " !\"$%&'()+,-.:;=@_~";

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no app, no stream name, or an empty level in between.
    #[error("app and stream name must not be empty")]
    Empty,
    /// Above [`NAME_BYTES_MAX`] or [`QUERY_BYTES_MAX`].
    #[error("app, stream name or query is too long")]
    TooLong,
    /// A sign that no name may hold, a level `.` or `..`, or an escape that stands for one of these.
    #[error("app or stream name has a forbidden character or component")]
    Forbidden,
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
        if [".", ".."].contains(&text.as_str()) || !text.chars().all(is_allowed) {
            return Err(NameError::Forbidden);
        }
        match decode(&text) {
            None => return Ok(()),
            Some(bytes) => text = String::from_utf8(bytes).map_err(|_| NameError::Forbidden)?,
        }
    }
}

fn is_allowed(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || SIGNS.contains(c);
    }
    // The last two code points of each plane are no characters; planes 14 to 16 hold tags and private use.
    let no_character = u32::from(c) & 0xfffe == 0xfffe;
    !(no_character
        || c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}')
        || matches!(c, '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..))
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
        assert_eq!(check_stream("a/b"), Err(NameError::Forbidden));
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
            "\u{e000}",
            "\u{1fffe}",
            "\u{e0041}",
            "\u{10ffff}",
        ] {
            let (once, twice) = (escaped(name), escaped(&escaped(name)));
            for name in
                [name, &once, &twice, &escaped(&twice)[..escaped(&twice).len().min(NAME_BYTES_MAX / 3 * 3)]]
            {
                assert_eq!(check_stream(name), Err(NameError::Forbidden), "{name:?}");
                assert_eq!(check_app(&format!("{name}/b")), Err(NameError::Forbidden), "{name:?}");
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
            "%0d%0aSet",
        ] {
            assert_eq!(check_stream(name), Err(NameError::Forbidden), "{name:?}");
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
