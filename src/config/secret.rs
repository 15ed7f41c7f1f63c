//! A key or token that never shows itself.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::fmt;

/// Longest secret, bytes: it travels in a URL beside a name and must fit the shortest URL limits of players.
pub(super) const MAX_BYTES: usize = 128;
/// Below this many bytes a secret earns a warning; 12 characters of 66 are 72 bits.
pub(super) const SHORT_BYTES: usize = 12;

/// A publish key or play token. `Debug` and `Display` print `***`; there is no way to read it back.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Checks and keeps `text`: 1 to 128 characters of `A-Z a-z 0-9 - . _ ~`, which need no escaping in a URL, so
    /// that every client sends the same bytes.
    pub fn new(text: &str) -> Result<Secret, &'static str> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err("a key has 1 to 128 characters");
        }
        match text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
            true => Ok(Secret(text.into())),
            false => Err("a key is made of A-Z a-z 0-9 - . _ ~ only, so that it needs no escaping in a URL"),
        }
    }

    /// Whether `shown` is this secret. Takes the same time wherever the first difference is.
    pub fn matches(&self, shown: &[u8]) -> bool {
        let differ = self.0.bytes().zip(shown).fold(0, |differ, (ours, theirs)| differ | (ours ^ theirs));
        std::hint::black_box(differ) == 0 && self.0.len() == shown.len()
    }

    /// The secret itself, for a client of ours that must show it (the demo's publisher). Never for a log or a page.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What stands in the file: a secret, or `""` for "none here, whatever `[apps."*"]` says".
#[derive(Clone)]
pub(super) struct SecretEntry(pub Option<Secret>);

impl<'de> Deserialize<'de> for SecretEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "" => Ok(SecretEntry(None)),
            text => Secret::new(text).map(|secret| SecretEntry(Some(secret))).map_err(Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_itself() {
        let secret = Secret::new("hunter2hunter2").unwrap();
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    }

    #[test]
    fn matches_only_the_same_bytes() {
        let secret = Secret::new("abcdef").unwrap();
        for (shown, same) in [
            ("abcdef", true),
            ("abcdeg", false),
            ("abcde", false),
            ("abcdefg", false),
            ("", false),
            ("Abcdef", false),
        ] {
            assert_eq!(secret.matches(shown.as_bytes()), same, "{shown}");
        }
    }

    #[test]
    fn refuses_what_a_url_would_change() {
        for bad in ["", "a b", "a&b", "a%41", "a/b", "ü", &"x".repeat(MAX_BYTES + 1)] {
            assert!(Secret::new(bad).is_err(), "{bad}");
        }
        assert!(Secret::new(&"x".repeat(MAX_BYTES)).is_ok());
    }
}
