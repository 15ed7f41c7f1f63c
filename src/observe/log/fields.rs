//! How fields stand in a line: whatever a value holds and whoever wrote the call, it cannot end the line, colour the
//! terminal, or pass for another field.

use crate::config::sign::is_harmless;
use std::borrow::Cow;
use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Characters of one value that a line shows. What peers say is cut shorter before, by [`super::shown`].
const VALUE_CHARS_MAX: usize = 512;

/// Writes the fields of an event, with a blank between them. The message is ours and stands as it is, all others are
/// `name=value`: plain where that is clear, else in quotes and escaped, once.
#[derive(Debug)]
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, begun: false, written: Ok(()) };
        fields.record(&mut line);
        line.written
    }
}

/// The fields of one line.
struct Line<'w> {
    writer: Writer<'w>,
    begun: bool,
    written: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Beginning { text: String::new(), left: VALUE_CHARS_MAX };
        let cut = text.write_str(value).is_err();
        self.put(|line| line.value(field, &text.text, cut, false));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            return self.put(|line| write!(line.writer, "{value:?}"));
        }
        let mut text = Beginning { text: String::new(), left: VALUE_CHARS_MAX };
        // It fails when the value is longer than what is shown.
        let cut = write!(text, "{value:?}").is_err();
        // What Debug has made of a text is escaped and ends in its quote, unless it was cut.
        match inside_of_quotes(&text.text, cut) {
            Some(inner) => self.put(|line| line.value(field, inner, cut, true)),
            None => self.put(|line| line.value(field, &text.text, cut, false)),
        }
    }
}

impl Line<'_> {
    /// Writes the next field, if none has failed.
    fn put(&mut self, write: impl FnOnce(&mut Self) -> fmt::Result) {
        if self.written.is_err() {
            return;
        }
        let blank =
            if std::mem::replace(&mut self.begun, true) { self.writer.write_char(' ') } else { Ok(()) };
        self.written = blank.and_then(|()| write(self));
    }

    /// `text` was `cut` off, or is `escaped` already and had quotes.
    fn value(&mut self, field: &Field, text: &str, cut: bool, escaped: bool) -> fmt::Result {
        let writer = &mut self.writer;
        match writer.has_ansi_escapes() {
            true => write!(writer, "\u{1b}[3m{}\u{1b}[0m\u{1b}[2m=\u{1b}[0m", field.name())?,
            false => write!(writer, "{}=", field.name())?,
        }
        let plain = |c: char| is_harmless(c) && !c.is_whitespace() && !matches!(c, '"' | '\\' | '=');
        if !cut && !escaped && !text.is_empty() && text.chars().all(plain) {
            return writer.write_str(text);
        }
        writer.write_char('"')?;
        for c in text.chars() {
            match c {
                '"' | '\\' if !escaped => write!(writer, "\\{c}")?,
                c if is_harmless(c) => writer.write_char(c)?,
                c => write!(writer, "{}", c.escape_default())?,
            }
        }
        writer.write_str(if cut { "…\"" } else { "\"" })
    }
}

/// What stands in quotes in `text` if all of it does: no quote inside but escaped ones, and one at the end unless it was
/// `cut` off, for which an escape that is not whole goes too.
fn inside_of_quotes(text: &str, cut: bool) -> Option<&str> {
    let inner = text.strip_prefix('"')?;
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (!cut && at + 1 == inner.len()).then(|| inner.get(..at)).flatten(),
            '\\' if chars.next().is_none() => return inner.get(..at).filter(|_| cut),
            _ => {}
        }
    }
    cut.then_some(inner)
}

/// A line of JSON without signs that act on a terminal. JSON itself escapes those of ASCII only; all others stand inside
/// strings, where an escape means the same.
pub(super) fn tame_json(line: &str) -> Cow<'_, str> {
    let line_feed = line.len() - line.trim_end_matches('\n').len();
    let (object, end) = line.split_at(line.len() - line_feed);
    if object.chars().all(is_harmless) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len() + 64);
    for c in object.chars() {
        match is_harmless(c) {
            true => out.push(c),
            // Writing to a String cannot fail.
            false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(out, "\\u{unit:04x}");
            }),
        }
    }
    Cow::Owned(out + end)
}

/// The first characters of what is written to it.
struct Beginning {
    text: String,
    left: usize,
}

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}
