//! TOML text -> [`Config`], with every error at its place.

use super::diagnostic::{ConfigError, Diagnostic, Violation, is_below_apps, line_holds_secret};
use super::headend::{ChannelEntry, InputEntry};
use super::secret::SecretEntry;
use super::{
    App, Config, Fanout, Headend, Limits, Listen, Log, Overload, Publish, Relay, Runtime, headend, levels,
    validate,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Longest config file, bytes; a device or a recording given by mistake is refused, not read to its end.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// How alike (0 to 1) a known word must be to be offered for an unknown one.
const ALIKE: f64 = 0.7;

/// The file's shape; differs from [`Config`] where a key may be absent.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Listen,
    runtime: Runtime,
    fanout: Fanout,
    publish: Publish,
    apps: BTreeMap<String, AppEntry>,
    limits: Limits,
    overload: Overload,
    headend: Headend,
    channel: Vec<ChannelEntry>,
    input: Vec<InputEntry>,
    relay: Relay,
    log: Log,
}

/// One `[apps.NAME]`: an absent key is taken from the next table above it, at last `[apps."*"]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AppEntry {
    publish_key: Option<SecretEntry>,
    play_token: Option<SecretEntry>,
    eflv_strip: Option<bool>,
}

impl AppEntry {
    /// What `name` has in `tables`: each key from the nearest table that says it.
    fn resolve(tables: &BTreeMap<String, AppEntry>, name: &str) -> App {
        let entries = || levels(name).filter_map(|level| tables.get(level));
        let secret =
            |of: fn(&AppEntry) -> Option<&SecretEntry>| entries().find_map(of).and_then(|e| e.0.clone());
        App {
            publish_key: secret(|entry| entry.publish_key.as_ref()),
            play_token: secret(|entry| entry.play_token.as_ref()),
            eflv_strip: entries().find_map(|entry| entry.eflv_strip).unwrap_or_default(),
        }
    }
}

/// Reads, parses and validates the file at `path`.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "check the path; headgate also runs without a config file",
            io::ErrorKind::PermissionDenied => "make the file readable for the user that runs headgate",
            io::ErrorKind::InvalidData => "a config file is UTF-8 text in TOML, at most 1 MiB",
            _ => "give the path of a TOML file",
        };
        ConfigError::Read { path: path.to_owned(), error, hint }
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than 1 MiB")));
    }
    parse(&text, &path.display().to_string())
}

/// Parses and validates `text`; `origin` appears in messages.
pub(super) fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
    let file: File = toml::from_str(text).map_err(|error| explain(&error, text, origin))?;
    let apps = file.apps.keys().map(|name| (name.clone(), AppEntry::resolve(&file.apps, name))).collect();
    let (channels, inputs) = headend::resolve(&file.headend, &file.channel, &file.input)
        .map_err(|violation| place(violation, text, origin))?;
    let File { listen, runtime, fanout, publish, limits, overload, headend, relay, log, .. } = file;
    let config = Config {
        listen,
        runtime,
        fanout,
        publish,
        apps,
        limits,
        overload,
        headend,
        channels,
        inputs,
        relay,
        log,
    };
    validate::check(&config).map_err(|violation| place(violation, text, origin))?;
    Ok(config)
}

/// A violation at the place of its value; at the start of the text if the value is a default.
fn place(violation: Violation, text: &str, origin: &str) -> ConfigError {
    let span = locate(text, &violation.path).unwrap_or_default();
    let message = format!("{}: {}", violation.place(), violation.message);
    ConfigError::Invalid(Box::new(Diagnostic::new(origin, text, span, message, Some(violation.hint))))
}

/// Bytes of the deepest value on `path` that stands in `text`.
fn locate(text: &str, path: &[String]) -> Option<Range<usize>> {
    let root = DeValue::Table(DeTable::parse(text).ok()?.into_inner());
    let (mut value, mut span) = (&root, None);
    for name in path {
        let (key, inner) = match value {
            DeValue::Table(table) => match table.get_key_value(name.as_str()) {
                Some((key, inner)) => (key.span(), inner),
                None => break,
            },
            DeValue::Array(list) => match name.parse().ok().and_then(|at: usize| list.get(at)) {
                Some(inner) => (inner.span(), inner),
                None => break,
            },
            _ => break,
        };
        // A table's header is a better place than all of its lines.
        let is_table = matches!(inner.get_ref(), DeValue::Table(_));
        span = Some(if is_table { key } else { inner.span() });
        value = inner.get_ref();
    }
    span
}

/// The parser's error in the operator's words.
fn explain(error: &toml::de::Error, text: &str, origin: &str) -> ConfigError {
    let span = error.span().unwrap_or_default();
    let raw = error.message();
    let quoted = backquoted(raw);
    let (message, hint) = match quoted.split_first() {
        Some((given, known)) if raw.starts_with("unknown field") => {
            let (message, hint) = (format!("unknown key `{given}`"), Some(offer(given, known)));
            let shown = Diagnostic::unknown_key(origin, text, span, message, hint);
            return ConfigError::Invalid(Box::new(shown));
        }
        Some((given, known)) if raw.starts_with("unknown variant") => {
            (format!("unknown value `{given}`"), Some(offer(given, known)))
        }
        // The raw message quotes the value.
        _ if raw.starts_with("invalid type") && line_holds_secret(text, span.start) => {
            ("a key must be text in quotes".to_owned(), Some("write publish_key = \"...\"".to_owned()))
        }
        // So it does here; eflv_strip is no secret.
        _ if raw.starts_with("invalid type")
            && is_below_apps(text, span.start)
            && !raw.contains("expected a boolean") =>
        {
            let hint = "write [apps.NAME], and below it publish_key = \"...\"";
            ("not a table of an app".to_owned(), Some(hint.to_owned()))
        }
        _ if raw.starts_with("invalid type: map") && raw.contains("expected a sequence") => (
            "a list is needed here".to_owned(),
            Some("write [[channel]] and [[input]] with double brackets, and lists as [\"a\", \"b\"]".to_owned()),
        ),
        _ if raw.contains("expected struct") || raw.starts_with("invalid type: map") => (
            "a section and a value are mixed up".to_owned(),
            Some("write a section as [limits], on a line of its own and with single brackets, and its keys below".to_owned()),
        ),
        _ if bare_word(text, span.start) => (
            "not a value".to_owned(),
            Some("put text in quotes: \"...\"; write true or false as they are".to_owned()),
        ),
        _ if too_large(raw) => (
            format!("{} is too large", raw.split('`').nth(1).unwrap_or("the number")),
            Some(match most(raw) {
                Some(most) => format!("use a whole number of at most {most}"),
                None => "write a plain number such as 40, without quotes or unit".to_owned(),
            }),
        ),
        _ if raw.contains("recurs") => {
            ("nested too deeply".to_owned(), Some("no key stands deeper than in [apps.NAME]".to_owned()))
        }
        _ => (plain(raw), hint_for(raw)),
    };
    ConfigError::Invalid(Box::new(Diagnostic::new(origin, text, span, message, hint)))
}

/// Whether `raw` is about a whole number above what the key's type can hold: the parser calls it an invalid value, and
/// beyond 64 bits one of an invalid type.
fn too_large(raw: &str) -> bool {
    let number = raw.split('`').nth(1).unwrap_or_default();
    let integer = raw.starts_with("invalid value: integer") || raw.contains("` as i128");
    integer && raw.contains("expected u") && !number.starts_with('-')
}

/// The largest number that the key's type holds, if that tells anybody anything.
fn most(raw: &str) -> Option<u64> {
    let types = [
        ("expected u8", u64::from(u8::MAX)),
        ("expected u16", u16::MAX.into()),
        ("expected u32", u32::MAX.into()),
    ];
    types.into_iter().find(|(name, _)| raw.contains(name)).map(|(_, most)| most)
}

/// Whether the line of byte `at` gives a value that begins with a letter: text without quotes, for which the parser
/// has odd names.
fn bare_word(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let value = text[start..]
        .lines()
        .next()
        .and_then(|line| line.split_once('='))
        .map_or("", |(_, value)| value.trim());
    let letter = value.starts_with(|c: char| c.is_ascii_alphabetic());
    letter && !["true", "false", "inf", "nan"].contains(&value.split_whitespace().next().unwrap_or_default())
}

/// The words that stand in backquotes, in order.
fn backquoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

/// "did you mean", or what there is.
pub(super) fn offer(given: &str, known: &[&str]) -> String {
    let lower = given.to_ascii_lowercase();
    let alike = |word: &&str| strsim::jaro_winkler(&lower, word);
    let best = known.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    match best {
        Some(word) if alike(&word) >= ALIKE => format!("did you mean `{word}`?"),
        Some(_) => format!("known here: {}", known.join(", ")),
        None => "nothing can be set here".to_owned(),
    }
}

/// The library's message without Rust's type names, in one line.
fn plain(message: &str) -> String {
    let one_line = message.lines().map(str::trim).collect::<Vec<_>>().join(", ").replace("` as i128", "`");
    ["u64", "u32", "u16", "u8", "usize"].iter().fold(one_line, |text, name| {
        text.replace(&format!("expected {name}"), "expected a whole number, 0 or more")
    })
}

fn hint_for(message: &str) -> Option<String> {
    let hint = match message {
        m if m.contains("network") || m.contains("a length of") => {
            "write networks as in [\"10.0.0.0/8\", \"2001:db8::/32\"]"
        }
        m if m.contains("socket address") => "write address and port: \"0.0.0.0:1935\", \"[::]:1935\"",
        m if m.starts_with("duplicate key") => "each key and each [section] may stand once",
        m if m.contains("expected a sequence") => {
            "a list stands in brackets, also one of a single value: [\"10.0.0.0/8\"], [0]"
        }
        m if m.contains("expected a boolean") => "write true or false, without quotes",
        m if m.contains("expected u") || m.contains("expected usize") => {
            "write a plain number such as 40, without quotes or unit"
        }
        m if m.contains("expected a string") || m.contains("string value") => "put text in quotes: \"...\"",
        _ => return None,
    };
    Some(hint.to_owned())
}
