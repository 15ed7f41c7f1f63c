//! From the threads that log to the one that writes.
//!
//! A core must not wait for whoever reads standard error: a terminal that is scrolled back, a full pipe, a slow disk.
//! So a line is put into a bounded queue without a lock, one thread writes, and what finds the queue full is dropped
//! and counted. The writer says how many were lost once it has caught up.

use crossbeam::queue::ArrayQueue;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Lines that may wait, a count: seconds of a busy node at level `debug`. With [`LINE_BYTES_MAX`] at most 16 MiB.
pub(super) const LINES_MAX: usize = 4096;
/// Longest line with its line feed, in bytes; more is cut. Ours stay far below it, since what peers say is shortened.
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// Bytes that the writer hands to the system at once: a backlog then costs few system calls.
const WRITE_BYTES: usize = 64 << 10;

const _: () = assert!(LINE_BYTES_MAX <= WRITE_BYTES);

/// What stands at the end of a cut line; it also ends a colour that the cut left open.
const CUT_COLOUR: &str = "\u{1b}[0m… (cut)\n";
const CUT: &str = "… (cut)\n";

/// How lines look, which decides how one is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text { colour: bool },
    Json,
}

/// The lines on their way.
#[derive(Debug)]
pub(super) struct Queue {
    lines: ArrayQueue<Box<[u8]>>,
    shape: Shape,
    dropped: AtomicU64,
    writer: OnceLock<Thread>,
    /// Whether the writer holds nothing that it has not written. Taken by the writer and by [`Queue::flush`] only.
    idle: Mutex<bool>,
    became_idle: Condvar,
}

impl Queue {
    pub fn new(lines: usize, shape: Shape) -> Queue {
        Queue {
            lines: ArrayQueue::new(lines),
            shape,
            dropped: AtomicU64::new(0),
            writer: OnceLock::new(),
            idle: Mutex::new(true),
            became_idle: Condvar::new(),
        }
    }

    /// How its lines look.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Leaves a whole line for the writer, or drops and counts it. Never waits.
    pub fn push(&self, line: &[u8]) {
        let line = if line.len() > LINE_BYTES_MAX { cut(line, self.shape) } else { line.into() };
        if self.lines.push(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Lines that come before the writer has started are found by its first look.
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The writer's life: writes to `sink`, and calls `lost` with the number of lines that were dropped since it last
    /// did, each time it has caught up. A line that cannot be written is lost: there is nobody to tell.
    pub fn write_to(&self, mut sink: impl Write, lost: impl Fn(u64)) -> ! {
        self.writer.get_or_init(thread::current);
        let (mut told, mut batch) = (0, Vec::with_capacity(WRITE_BYTES));
        loop {
            self.set_idle(false);
            self.drain(&mut sink, &mut batch);
            let dropped = self.dropped();
            if dropped != told {
                lost(dropped - told);
                told = dropped;
                // Also a line of this queue.
                self.drain(&mut sink, &mut batch);
            }
            self.set_idle(true);
            if self.lines.is_empty() {
                thread::park();
            }
        }
    }

    /// Writes until nothing waits any more, also nothing that came during the last write.
    fn drain(&self, sink: &mut impl Write, batch: &mut Vec<u8>) {
        while !self.lines.is_empty() {
            while let Some(line) = self.lines.pop() {
                if batch.len() + line.len() > WRITE_BYTES {
                    write(sink, batch);
                }
                batch.extend(line);
            }
            write(sink, batch);
        }
    }

    /// What waits, taken out.
    #[cfg(test)]
    pub fn take_all(&self) -> String {
        std::iter::from_fn(|| self.lines.pop())
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .collect()
    }

    fn set_idle(&self, idle: bool) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = idle;
        if idle {
            self.became_idle.notify_all();
        }
    }

    /// Waits until everything is written, at most `patience`. Not on the writer's own thread, where it does nothing,
    /// and never on a core in operation. Returns whether everything is.
    pub fn flush(&self, patience: Duration) -> bool {
        if self.writer.get().is_some_and(|writer| writer.id() == thread::current().id()) {
            return false;
        }
        let deadline = Instant::now() + patience;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The writer takes lines only after it has said that it is busy.
        while !(*idle && self.lines.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            idle = self.became_idle.wait_timeout(idle, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

fn write(sink: &mut impl Write, batch: &mut Vec<u8>) {
    // Standard error may be closed, which is no reason to stop.
    let _lost: io::Result<()> = sink.write_all(batch).and_then(|()| sink.flush());
    batch.clear();
}

/// The beginning of a line that is too long, marked as such; at most [`LINE_BYTES_MAX`] bytes. A line of JSON becomes
/// an object with the field `cut`, which holds its beginning, so that every line stays an object.
fn cut(line: &[u8], shape: Shape) -> Box<[u8]> {
    let text = String::from_utf8_lossy(line.get(..LINE_BYTES_MAX).unwrap_or(line));
    let mark = match shape {
        Shape::Text { colour: true } => CUT_COLOUR,
        Shape::Text { colour: false } => CUT,
        Shape::Json => {
            let frame =
                |part: &str| serde_json::json!({ "cut": part, "bytes": line.len() }).to_string() + "\n";
            let room = LINE_BYTES_MAX.saturating_sub(frame("").len());
            let cost =
                |c: char| if c.is_control() { 6 } else { c.len_utf8() + usize::from("\"\\".contains(c)) };
            return frame(beginning(&text, room, cost)).into_bytes().into();
        }
    };
    let room = LINE_BYTES_MAX.saturating_sub(mark.len());
    [beginning(&text, room, char::len_utf8), mark].concat().into_bytes().into()
}

/// As many of the first characters as cost at most `room`.
fn beginning(text: &str, room: usize, cost: impl Fn(char) -> usize) -> &str {
    let mut spent = 0;
    let end = text.char_indices().find(|(_, c)| {
        spent += cost(*c);
        spent > room
    });
    text.get(..end.map_or(text.len(), |(at, _)| at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

    /// A sink that tells what it is given and returns when it is let.
    struct Gate {
        open: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.taken.send(bytes.to_vec()).map_err(io::Error::other)?;
            self.open.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start(lines: usize) -> (Arc<Queue>, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let queue = Arc::new(Queue::new(lines, Shape::Text { colour: false }));
        let (open, opened) = mpsc::channel();
        let (take, taken) = mpsc::channel();
        let writer = queue.clone();
        thread::spawn(move || {
            let notice = writer.clone();
            writer.write_to(Gate { open: opened, taken: take }, |n| {
                notice.push(format!("{n} lost\n").as_bytes())
            })
        });
        (queue, open, taken)
    }

    #[test]
    fn a_blocked_writer_costs_lines_and_no_time() {
        let (queue, open, taken) = start(4);
        queue.push(b"first\n");
        let took = || String::from_utf8(taken.recv_timeout(Duration::from_secs(60)).unwrap()).unwrap();
        assert_eq!(took(), "first\n");
        for at in 0..10 {
            queue.push(format!("{at}\n").as_bytes());
        }
        assert_eq!(queue.dropped(), 6);
        assert!(!queue.flush(Duration::from_millis(1)), "the sink takes nothing");
        for expected in ["0\n1\n2\n3\n", "6 lost\n"] {
            open.send(()).unwrap();
            assert_eq!(took(), expected);
        }
        open.send(()).unwrap();
        assert!(queue.flush(Duration::from_secs(60)));
        open.send(()).unwrap();
        queue.push(b"last\n");
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(
            taken.try_recv().as_deref(),
            Ok(&b"last\n"[..]),
            "nothing is lost twice; flushed is written"
        );
    }

    #[test]
    fn lines_before_the_writer_are_kept() {
        let queue = Arc::new(Queue::new(4, Shape::Json));
        queue.push(b"early\n");
        let (open, opened) = mpsc::channel();
        let (take, taken) = mpsc::channel();
        open.send(()).unwrap();
        let writer = queue.clone();
        thread::spawn(move || writer.write_to(Gate { open: opened, taken: take }, |_| ()));
        assert_eq!(taken.recv_timeout(Duration::from_secs(60)).unwrap(), b"early\n");
        assert!(queue.flush(Duration::from_secs(60)));
    }

    #[test]
    fn a_sink_that_fails_stops_nothing() {
        let (queue, open, taken) = start(4);
        drop((open, taken));
        for line in [b"a\n", b"b\n"] {
            queue.push(line);
            assert!(queue.flush(Duration::from_secs(60)));
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let long = format!("{}\n", "é\"\\\u{7}x".repeat(LINE_BYTES_MAX));
        for (shape, end) in [(Shape::Text { colour: false }, CUT), (Shape::Text { colour: true }, CUT_COLOUR)]
        {
            let line = String::from_utf8(cut(long.as_bytes(), shape).into()).unwrap();
            assert!(line.len() <= LINE_BYTES_MAX && line.len() > LINE_BYTES_MAX - 4, "{}", line.len());
            assert!(line.ends_with(end) && line.starts_with("é\""));
        }
        let line = String::from_utf8(cut(long.as_bytes(), Shape::Json).into()).unwrap();
        assert!(line.len() <= LINE_BYTES_MAX && line.len() > LINE_BYTES_MAX - 8, "{}", line.len());
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["bytes"], long.len());
        assert!(value["cut"].as_str().is_some_and(|part| long.starts_with(part)));
        // What just fits is left alone.
        let queue = Queue::new(1, Shape::Json);
        queue.push(&[b'x'; LINE_BYTES_MAX]);
        assert_eq!(queue.lines.pop().map(|line| line.len()), Some(LINE_BYTES_MAX));
    }
}
