//! Log lines: one an event, on standard error, without anything a peer could forge or should not see repeated.
//!
//! Nobody who logs waits for standard error: lines go through a bounded queue to a thread of their own.

mod limiter;
mod queue;

pub use limiter::{Limiter, Limiters, suppressed_lines};
use queue::{LINES_MAX, Queue, Shape};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

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
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Lines(queue.clone()))
        .with_target(false)
        // The writer's own news would be about a line that it could not make.
        .log_internal_errors(false);
    let installed = match json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.with_ansi(colour).try_init(),
    };
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
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    /// The lines that `log` leaves in a queue of `shape`.
    fn lines(shape: Shape, log: impl FnOnce()) -> String {
        let queue = Arc::new(Queue::new(8, shape));
        let lines =
            tracing_subscriber::fmt().with_writer(Lines(queue.clone())).with_target(false).with_ansi(false);
        match shape {
            Shape::Json => tracing::subscriber::with_default(lines.json().flatten_event(true).finish(), log),
            Shape::Text { .. } => tracing::subscriber::with_default(lines.finish(), log),
        }
        queue.take_all()
    }

    #[test]
    fn a_line_an_event_with_its_fields() {
        let log = || {
            tracing::info!(conn = 7, peer = "a\nb", "publish");
            tracing::warn!(long = "x".repeat(8000), "much");
        };
        let text = lines(Shape::Text { colour: false }, log);
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(first.ends_with("INFO publish conn=7 peer=\"a\\nb\""), "{first}");
        assert!(second.contains("WARN much long=\"xxx") && second.ends_with("(cut)"), "{second}");
        let objects = lines(Shape::Json, log);
        let objects: Vec<serde_json::Value> =
            objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [first, second] = &objects[..] else { panic!("{objects:?}") };
        assert_eq!((&first["conn"], &first["peer"]), (&7.into(), &"a\nb".into()));
        assert_eq!((&first["message"], &first["level"]), (&"publish".into(), &"INFO".into()));
        assert!(second["cut"].as_str().is_some_and(|line| line.contains("much")), "{second}");
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
            ("", ""),
            (&long, &cut),
        ] {
            assert_eq!(clean(text), expected);
        }
    }
}
