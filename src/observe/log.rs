//! Log lines: one an event, on standard error, without anything a peer could forge or should not see repeated.
//!
//! Nobody who logs waits for standard error: lines go through a bounded queue to a thread of their own.

mod fields;
mod limiter;
mod queue;

use crate::config::sign::is_harmless;
pub use limiter::{Limiter, Limiters, suppressed_lines};
use queue::{LINES_MAX, Queue, Shape};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// Characters of one foreign text that a line repeats: enough to recognise it, too little to flood a log.
const SHOWN_CHARS: usize = 128;
/// How long the end of the process waits for its last lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// The queue of the process, once there is one.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Writes out what waits, for at most a second, when it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once it would flush nothing"]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        flush();
    }
}

/// Sends the process's `tracing` events to standard error: `json` gives one object a line, else text, with colour on
/// a terminal. A panic of any thread writes out what waits, and so does the end of the guard. A second call changes
/// nothing.
///
/// # Errors
/// The machine has no thread left for the writer.
pub fn init(level: LevelFilter, json: bool) -> io::Result<Guard> {
    let colour = !json && io::stderr().is_terminal();
    let queue = Arc::new(Queue::new(LINES_MAX, if json { Shape::Json } else { Shape::Text { colour } }));
    let installed = dispatch(level, &queue).try_init();
    // Fails only when a subscriber is installed already, which then stays.
    if installed.is_err() || QUEUE.set(queue.clone()).is_err() {
        return Ok(Guard(()));
    }
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        queue.write_to(io::stderr(), |lines| {
            tracing::error!(lines, "log lines were dropped: standard error took them too slowly");
        })
    })?;
    let earlier = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        flush();
        earlier(panic);
    }));
    Ok(Guard(()))
}

/// Formats events for `queue`, in its shape.
fn dispatch(level: LevelFilter, queue: &Arc<Queue>) -> Dispatch {
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Lines(queue.clone()))
        .with_target(false)
        // The writer's own news would be about a line that it could not make.
        .log_internal_errors(false);
    match queue.shape() {
        Shape::Json => lines.json().flatten_event(true).into(),
        Shape::Text { colour } => lines.with_ansi(colour).fmt_fields(fields::Fields).into(),
    }
}

/// Log lines that were dropped because standard error took them too slowly.
pub fn dropped_lines() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.dropped())
}

fn flush() {
    // What is not written by then is lost: the process does not hang on its log.
    let _written = QUEUE.get().is_none_or(|queue| queue.flush(FLUSH_PATIENCE));
}

/// Takes whole lines: the formatter hands over each in one write.
#[derive(Debug)]
struct Lines(Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match (self.0.shape(), std::str::from_utf8(line)) {
            (Shape::Json, Ok(text)) => self.0.push(fields::tame_json(text).as_bytes()),
            _ => self.0.push(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name, address or message from outside as a field of a log line may show it: 128 characters at most, and nothing after
/// the first `?`, where keys and tokens stand. Lines escape their fields themselves, once.
pub fn shown(text: &str) -> Cow<'_, str> {
    let end = text.find('?').unwrap_or(text.len());
    let (plain, query) = (&text[..end], end < text.len());
    let cut = plain.char_indices().nth(SHOWN_CHARS).map(|(at, _)| at);
    match (cut, query) {
        (None, false) => Cow::Borrowed(text),
        (None, true) => Cow::Owned(format!("{plain}?…")),
        (Some(at), query) => Cow::Owned(format!("{}{}…", &plain[..at], if query { "?" } else { "" })),
    }
}

/// The same for an error that is printed as it stands: what [`is_harmless`] does not let through is escaped.
pub fn clean(text: &str) -> Cow<'_, str> {
    let shown = shown(text);
    if shown.chars().all(is_harmless) {
        return shown;
    }
    let mut out = String::with_capacity(2 * shown.len());
    for c in shown.chars() {
        match is_harmless(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `log` leaves in a queue of `shape`.
    fn lines(shape: Shape, log: impl FnOnce()) -> String {
        let queue = Arc::new(Queue::new(8, shape));
        tracing::dispatcher::with_default(&dispatch(LevelFilter::TRACE, &queue), log);
        queue.take_all()
    }

    #[test]
    fn a_line_an_event_with_its_fields() {
        let log = || {
            tracing::info!(conn = 7, peer = "a\nb", "publish");
            tracing::warn!(long = "x".repeat(8000), "{}", "much ".repeat(1000));
        };
        let text = lines(Shape::Text { colour: false }, log);
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(first.ends_with("INFO publish conn=7 peer=\"a\\nb\""), "{first}");
        assert!(second.contains("WARN much much") && second.ends_with("(cut)"), "{second}");
        let objects = lines(Shape::Json, log);
        let objects: Vec<serde_json::Value> =
            objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [first, second] = &objects[..] else { panic!("{objects:?}") };
        assert_eq!((&first["conn"], &first["peer"]), (&7.into(), &"a\nb".into()));
        assert_eq!((&first["message"], &first["level"]), (&"publish".into(), &"INFO".into()));
        assert!(second["cut"].as_str().is_some_and(|line| line.contains("much")), "{second}");
    }

    /// What a peer may say, logged by somebody who has forgotten to clean it.
    #[test]
    fn x7_nothing_that_a_peer_says_leaves_its_place() {
        let said = [
            "a\r\n2026-01-01T00:00:00Z ERROR forged".to_owned(),
            "\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J".to_owned(),
            "a level=error reason=\"forged\"".to_owned(),
            "\" level=error reason=\"forged".to_owned(),
            "\"a\" level=error \"b\"".to_owned(),
            "\"a\\".to_owned(),
            "\\\" level=error".to_owned(),
            "\u{202e}gnp.exe\u{2028}\u{feff}".to_owned(),
            "\0\u{7f}\u{85}".to_owned(),
            "Mozilla".repeat((1 << 20) / 7),
            "\\\"\n".repeat(1 << 18),
        ];
        for said in &said {
            let log = || {
                tracing::warn!(conn = 7, shown = %said, text = said, debug = ?said, short = %shown(said), "said");
            };
            for colour in [false, true] {
                let line = lines(Shape::Text { colour }, log);
                let text = line.strip_suffix('\n').unwrap();
                let (start, end) = (&said[..said.len().min(20)], text.len().min(300));
                assert!(
                    text.len() < queue::LINE_BYTES_MAX && !text.contains("(cut)"),
                    "{start:?}: {}",
                    text.len()
                );
                let ours = ["\u{1b}[0m", "\u{1b}[2m", "\u{1b}[3m", "\u{1b}[33m"];
                let text = ours.iter().fold(text.to_owned(), |text, sign| text.replace(sign, ""));
                assert!(text.chars().all(is_harmless), "{start:?}: {:?}", &text[..end.min(text.len())]);
                // Behind each name stands one value; in between are no words that could be fields.
                let fields = |text: &str| unquoted(text).split(' ').filter(|word| word.contains('=')).count();
                assert_eq!(fields(&text), 5, "{text}");
            }
            let line = lines(Shape::Json, log);
            assert_eq!(line.matches('\n').count(), 1);
            assert!(line.len() <= queue::LINE_BYTES_MAX && line.trim_end().chars().all(is_harmless));
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            match object.get("cut") {
                Some(_) => assert!(said.len() > 1000),
                None => {
                    assert_eq!((&object["shown"], &object["level"]), (&said.as_str().into(), &"WARN".into()));
                    assert_eq!(object["short"], shown(said).as_ref());
                }
            }
        }
    }

    /// `text` without what stands in quotes, escaped quotes inside included.
    fn unquoted(text: &str) -> String {
        let (mut out, mut inside, mut escaped) = (String::new(), false, false);
        for c in text.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if inside => escaped = true,
                '"' => inside = !inside,
                c if !inside => out.push(c),
                _ => {}
            }
        }
        assert!(!inside, "a quote stays open: {text}");
        out
    }

    #[test]
    fn x7_plain_values_stand_plainly() {
        let log = || tracing::info!(peer = %"127.0.0.1:1", why = ?Some(1), stream = "a b", error = %"no way", detail = %"", "m");
        let line = lines(Shape::Text { colour: false }, log);
        assert!(
            line.ends_with(
                "INFO m peer=127.0.0.1:1 why=Some(1) stream=\"a b\" error=\"no way\" detail=\"\"\n"
            ),
            "{line}"
        );
        let coloured = lines(Shape::Text { colour: true }, log);
        assert!(coloured.contains("\u{1b}[3mpeer\u{1b}[0m\u{1b}[2m=\u{1b}[0m127.0.0.1:1 "), "{coloured:?}");
    }

    /// One escape of what acts on a terminal, and quotes only where they are needed, whatever the type of a value.
    #[test]
    fn x7_a_value_has_one_form() {
        for (name, form) in [
            ("live/a", "live/a"),
            ("live/a b", "\"live/a b\""),
            ("live/\u{202e}b", "\"live/\\u{202e}b\""),
            ("live/\u{1b}[31m", "\"live/\\u{1b}[31m\""),
            ("live/a\"b", "\"live/a\\\"b\""),
            ("live/a?token=secret", "live/a?…"),
        ] {
            let log = || {
                let owned = shown(name).into_owned();
                tracing::info!(a = %shown(name), b = owned.as_str(), c = Some(owned.clone()), "m");
            };
            let line = lines(Shape::Text { colour: false }, log);
            assert!(line.ends_with(&format!("m a={form} b={form} c={form}\n")), "{line}");
        }
    }

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
            ("\u{e0041}\u{61c}\u{fff9}", "\\u{e0041}\\u{61c}\\u{fff9}"),
            ("", ""),
            (&long, &cut),
        ] {
            assert_eq!(clean(text), expected);
        }
    }
}
