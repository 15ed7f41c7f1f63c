//! A request for a live FLV, and the response's head and body (RFC 9112): close-delimited or chunked.

/// Longest response head that is read.
const HEAD_MAX: usize = 16 * 1024;

/// What a server said that is no stream.
#[derive(Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// Another status than 200.
    Status(u16),
    /// Bytes that are no HTTP response.
    Malformed,
}

/// The request for `path` on `authority`; `extra` is further header lines, each with its line end.
pub fn request(authority: &str, path: &str, extra: &str) -> Vec<u8> {
    format!(
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: headgate-load\r\nAccept: */*\r\n{extra}\r\n"
    )
    .into_bytes()
}

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    Raw,
    ChunkSize { size: u64, seen: bool, extension: bool },
    ChunkData { left: u64 },
    ChunkEnd,
    Done,
}

/// Reads one response in pieces of any size.
#[derive(Debug)]
pub struct Response {
    state: State,
}

impl Default for Response {
    fn default() -> Self {
        Self { state: State::Head(Vec::new()) }
    }
}

impl Response {
    /// Takes in bytes and hands those of the body to `on_body`.
    pub fn input<E: From<BadResponse>>(
        &mut self,
        mut bytes: &[u8],
        mut on_body: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Raw => return on_body(bytes),
                State::Done => return Ok(()),
                State::Head(head) => {
                    let old = head.len();
                    head.extend_from_slice(bytes);
                    let from = old.saturating_sub(3);
                    let Some(end) = head[from..].windows(4).position(|w| w == b"\r\n\r\n") else {
                        if head.len() > HEAD_MAX {
                            return Err(BadResponse::Malformed.into());
                        }
                        return Ok(());
                    };
                    let end = from + end + 4;
                    bytes = &bytes[end - old..];
                    self.state = after_head(&head[..end])?;
                }
                State::ChunkSize { size, seen, extension } => {
                    let byte = bytes[0];
                    bytes = &bytes[1..];
                    match (byte, char::from(byte).to_digit(16)) {
                        (b'\n', _) if *seen && *size == 0 => self.state = State::Done,
                        (b'\n', _) if *seen => self.state = State::ChunkData { left: *size },
                        (b'\r', _) => {}
                        (b';', _) => *extension = true,
                        (_, Some(digit)) if !*extension && *size < 1 << 40 => {
                            *size = *size << 4 | u64::from(digit);
                            *seen = true;
                        }
                        _ if *extension => {}
                        _ => return Err(BadResponse::Malformed.into()),
                    }
                }
                State::ChunkData { left } => {
                    let n = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    on_body(&bytes[..n])?;
                    bytes = &bytes[n..];
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                }
                State::ChunkEnd => {
                    if bytes[0] == b'\n' {
                        self.state = State::ChunkSize { size: 0, seen: false, extension: false };
                    }
                    bytes = &bytes[1..];
                }
            }
        }
        Ok(())
    }
}

fn after_head(head: &[u8]) -> Result<State, BadResponse> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    if !words.next().is_some_and(|v| v.starts_with("HTTP/1.")) {
        return Err(BadResponse::Malformed);
    }
    match words.next().and_then(|code| code.parse().ok()) {
        Some(200) => {}
        Some(code) => return Err(BadResponse::Status(code)),
        None => return Err(BadResponse::Malformed),
    }
    let chunked = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding") && value.to_ascii_lowercase().contains("chunked")
    });
    Ok(if chunked { State::ChunkSize { size: 0, seen: false, extension: false } } else { State::Raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &[u8], cut: usize) -> Result<Vec<u8>, BadResponse> {
        let mut reader = Response::default();
        let mut body = Vec::new();
        for piece in response.chunks(cut) {
            reader.input(piece, |bytes| {
                body.extend_from_slice(bytes);
                Ok::<_, BadResponse>(())
            })?;
        }
        Ok(body)
    }

    #[test]
    fn bodies_of_both_framings() {
        let raw = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world";
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;x=1f\r\nhello \r\n05\r\nworld\r\n0\r\n\r\n";
        for cut in 1..70 {
            assert_eq!(body(raw, cut).unwrap(), b"hello world", "cut {cut}");
            assert_eq!(body(chunked, cut).unwrap(), b"hello world", "cut {cut}");
        }
    }

    #[test]
    fn what_is_no_stream() {
        assert_eq!(body(b"HTTP/1.1 404 Not Found\r\n\r\n", 5), Err(BadResponse::Status(404)));
        assert_eq!(body(b"SSH-2.0-x\r\n\r\n", 100), Err(BadResponse::Malformed));
        assert_eq!(body(&vec![b'a'; HEAD_MAX + 2], 1000), Err(BadResponse::Malformed));
    }
}
