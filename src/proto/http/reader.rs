//! Finding the end of a request head in bytes that come in any pieces.

use super::HttpError;
use super::request::{RequestHead, malformed, read};

/// A request head with its request line and final blank line, in bytes: what browsers and proxies send fits in half.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Blank lines before a request line that are forgiven (RFC 9112 section 2.2), a count.
const LEADING_BLANK_LINES_MAX: u8 = 2;

/// Keeps what a connection has sent until its first request head is complete.
#[derive(Debug, Default)]
pub struct HeadReader {
    bytes: Vec<u8>,
    scan: Scan,
}

impl HeadReader {
    /// A reader at the start of a connection.
    pub fn new() -> HeadReader {
        HeadReader::default()
    }

    /// Takes what has come; returns the head once it is complete, and is of no use behind that or an error. Each byte is
    /// looked at once until the head is complete, so a peer that sends single bytes costs no more than another.
    ///
    /// # Errors
    /// [`HttpError`] as soon as the bytes cannot become an acceptable head, at the latest behind [`HEAD_BYTES_MAX`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<RequestHead>, HttpError> {
        self.bytes.extend_from_slice(bytes);
        match self.scan.feed(bytes)? {
            None => Ok(None),
            Some(end) => read(self.bytes.get(..end).unwrap_or_default()).map(Some),
        }
    }

    /// Everything taken so far, also what stands behind the head.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Reads one request head from the start of `bytes`, everything received so far on the connection.
///
/// Returns the head and how many bytes it took (body and next request follow), or `None` while it is incomplete.
///
/// # Errors
/// As [`HeadReader::read`].
pub fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, HttpError> {
    match Scan::default().feed(bytes)? {
        None => Ok(None),
        Some(end) => read(bytes.get(..end).unwrap_or_default()).map(|head| Some((head, end))),
    }
}

/// Looks for the end of the head and refuses what must not stand in one.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes seen.
    at: usize,
    /// The last of them.
    last: u8,
    line_start: usize,
    /// A line that is not blank has been seen: the request line.
    begun: bool,
    blank_lines: u8,
}

impl Scan {
    /// Looks at the bytes behind those of earlier calls. Returns the length of the head once it is complete.
    fn feed(&mut self, new: &[u8]) -> Result<Option<usize>, HttpError> {
        for &byte in new.iter().take(HEAD_BYTES_MAX - self.at) {
            if let Some(end) = self.step(byte)? {
                return Ok(Some(end));
            }
        }
        match self.at < HEAD_BYTES_MAX {
            true => Ok(None),
            false if self.begun => Err(HttpError::HeadTooLarge),
            false => Err(HttpError::TargetTooLong),
        }
    }

    fn step(&mut self, byte: u8) -> Result<Option<usize>, HttpError> {
        let (at, last) = (self.at, std::mem::replace(&mut self.last, byte));
        self.at += 1;
        match byte {
            0 => return Err(malformed(at, "NUL")),
            b'\n' if last != b'\r' => return Err(malformed(at, "line feed without carriage return")),
            b'\n' => {
                let blank = at - self.line_start == 1;
                self.line_start = at + 1;
                if !blank {
                    self.begun = true;
                } else if self.begun {
                    return Ok(Some(self.at));
                } else {
                    self.blank_lines += 1;
                    if self.blank_lines > LEADING_BLANK_LINES_MAX {
                        return Err(malformed(at, "blank lines instead of a request"));
                    }
                }
            }
            _ if last == b'\r' => return Err(malformed(at, "carriage return without line feed")),
            b' ' | b'\t' if at == self.line_start => {
                return Err(malformed(at, "line starts with white space"));
            }
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a reader makes of `bytes` in pieces of `piece`: the head and how much was taken, or what was wrong.
    fn in_pieces(bytes: &[u8], piece: usize) -> Result<Option<RequestHead>, HttpError> {
        let mut reader = HeadReader::new();
        for part in bytes.chunks(piece) {
            if let Some(head) = reader.read(part)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    #[test]
    fn h2_a_head_of_single_bytes_is_read_once() {
        let fixed = "GET / HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n".len();
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX - fixed));
        let mut reader = HeadReader::new();
        for (at, byte) in text.bytes().enumerate() {
            let done = reader.read(&[byte]).expect("valid");
            // Earlier bytes are not even handed to the scan, so it cannot look at them again.
            assert_eq!((reader.scan.at, done.is_some()), (at + 1, at + 1 == HEAD_BYTES_MAX));
        }
        assert!(reader.heap_bytes() <= 2 * HEAD_BYTES_MAX);
        assert_eq!(reader.into_bytes(), text.as_bytes());
        // What stands behind the head is kept for whoever serves it.
        let mut reader = HeadReader::new();
        assert!(reader.read(b"GET / HTTP/1.0\r\n\r\nmore").is_ok_and(|head| head.is_some()));
        assert!(reader.into_bytes().ends_with(b"\r\n\r\nmore"));
    }

    #[test]
    fn h2_heads_are_bounded_in_bytes_however_they_come() {
        let line = format!("GET /{}", "a".repeat(2 * HEAD_BYTES_MAX));
        let field = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(2 * HEAD_BYTES_MAX));
        let fields = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(HEAD_BYTES_MAX));
        for (text, want) in [
            (line, HttpError::TargetTooLong),
            (field, HttpError::HeadTooLarge),
            (fields, HttpError::HeadTooLarge),
        ] {
            for piece in [1, 1000, HEAD_BYTES_MAX, usize::MAX] {
                assert_eq!(in_pieces(text.as_bytes(), piece), Err(want));
                let short = &text.as_bytes()[..HEAD_BYTES_MAX - 1];
                assert_eq!(in_pieces(short, piece), Ok(None));
            }
        }
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(
            text in "(GET|PUT) /[a-z%0.]{0,9} HTTP/1\\.[01]\r\n(Host: h\r\n|A: b\r?\n| c\r\n|D:\0){0,3}\r\n[A-Z]{0,3}",
            piece in 1usize..20,
        ) {
            let whole = parse(text.as_bytes()).map(|done| done.map(|(head, _)| head));
            prop_assert_eq!(in_pieces(text.as_bytes(), piece), whole);
        }
    }
}
