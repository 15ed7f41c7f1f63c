//! Request heads.

use super::{route::Route, target::Target};
use std::borrow::Cow;

/// A request head with its request line and final blank line, in bytes: what browsers and proxies send fits in half.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a head, a count.
pub const HEADERS_MAX: usize = 64;
/// Blank lines before a request line that are forgiven (RFC 9112 section 2.2), a count.
const LEADING_BLANK_LINES_MAX: usize = 2;

/// The methods that the media port knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Play or page.
    Get,
    /// The head of what GET would answer.
    Head,
    /// CORS preflight.
    Options,
    /// Ingest and tunnels.
    Post,
}

/// Why a request is refused. Always the peer's fault; the connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// A byte or line that no HTTP/1.1 head may hold.
    #[error("malformed request head at byte {at}: {what}")]
    Malformed {
        /// Offset in the bytes given to [`parse`].
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A target that is no path, or one that hides something.
    #[error("refused request target: {0}")]
    Target(&'static str),
    /// Content-Length and Transfer-Encoding, several lengths, or one that is no number.
    #[error("ambiguous message length: {0}")]
    Length(&'static str),
    /// No Host in HTTP/1.1, or several.
    #[error("not exactly one Host field")]
    Host,
    /// A body on a method that has none here.
    #[error("request body not accepted with this method")]
    Body,
    /// The request line alone exceeds [`HEAD_BYTES_MAX`].
    #[error("request target longer than {HEAD_BYTES_MAX} bytes")]
    TargetTooLong,
    /// The head exceeds [`HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    #[error("request head larger than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} fields")]
    HeadTooLarge,
    /// A method that the media port does not have.
    #[error("method not implemented")]
    Method,
    /// A transfer coding other than chunked.
    #[error("transfer coding not implemented")]
    TransferCoding,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    #[error("HTTP version not supported")]
    Version,
}

impl HttpError {
    /// The status code to answer with.
    pub const fn status(self) -> u16 {
        match self {
            HttpError::Malformed { .. } | HttpError::Target(_) | HttpError::Length(_) | HttpError::Host => {
                400
            }
            HttpError::Body => 413,
            HttpError::TargetTooLong => 414,
            HttpError::HeadTooLarge => 431,
            HttpError::Method | HttpError::TransferCoding => 501,
            HttpError::Version => 505,
        }
    }
}

/// A valid request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What is asked for.
    pub method: Method,
    /// Percent-decoded path: starts with `/`, has no `.` or `..` segment, no control character; `*` with OPTIONS only.
    pub path: String,
    /// Query as sent, without the question mark; see [`query_param`](RequestHead::query_param).
    pub query: String,
    /// HTTP/1.1 (true) or HTTP/1.0.
    pub http_1_1: bool,
    /// Bytes of the body, if Content-Length tells them.
    pub content_length: Option<u64>,
    /// The body is chunked.
    pub chunked: bool,
    /// Field names as sent, values without surrounding white space.
    headers: Vec<(String, Vec<u8>)>,
}

impl RequestHead {
    /// The first field of this name (any case) whose value is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok().filter(|text| text.is_ascii())
    }

    /// Whether any of the comma-separated tokens in the fields of this name is `token` (any case), as for
    /// `Connection: keep-alive, Upgrade`.
    pub fn header_has_token(&self, name: &str, token: &str) -> bool {
        let fields = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields
            .flat_map(|(_, v)| v.split(|b| *b == b','))
            .any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether the peer wants to send another request on this connection (RFC 9112 section 9.3).
    pub fn keep_alive(&self) -> bool {
        if self.http_1_1 {
            !self.header_has_token("connection", "close")
        } else {
            self.header_has_token("connection", "keep-alive")
        }
    }

    /// The first value of a query parameter, percent-decoded; `None` also if its encoding is broken. A plus sign
    /// stays one: tokens are often base64, and no parameter here holds a space.
    pub fn query_param(&self, name: &str) -> Option<Cow<'_, str>> {
        super::target::query_param(&self.query, name)
    }

    /// What the media port has at this path.
    pub fn route(&self) -> Route<'_> {
        Route::of(&self.path, &self.query)
    }
}

/// Reads one request head from the start of `bytes`, everything received so far on the connection.
///
/// Returns the head and how many bytes it took (body and next request follow), or `None` while it is incomplete.
///
/// # Errors
/// [`HttpError`] as soon as the bytes cannot become an acceptable head; `None` is never returned for more than
/// [`HEAD_BYTES_MAX`] bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, HttpError> {
    let Some(head_bytes) = frame(bytes)? else { return Ok(None) };
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let head = bytes.get(..head_bytes).unwrap_or_default();
    match request.parse(head) {
        Ok(httparse::Status::Complete(used)) if used == head_bytes => {}
        // The blank line was found, so httparse must agree on where the head ends.
        Ok(_) => return Err(malformed(head_bytes, "unexpected end of the head")),
        Err(error) => return Err(of_httparse(error)),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(malformed(0, "incomplete request line"));
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "POST" => Method::Post,
        _ => return Err(HttpError::Method),
    };
    let Target { path, query } = Target::parse(target, method == Method::Options)?;
    let (content_length, chunked) = message_length(request.headers, version == 1)?;
    if method != Method::Post && (chunked || content_length.is_some_and(|bytes| bytes > 0)) {
        return Err(HttpError::Body);
    }
    let hosts = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host")).count();
    if hosts > 1 || (hosts == 0 && version == 1) {
        return Err(HttpError::Host);
    }
    let headers = request.headers.iter().map(|h| (h.name.to_owned(), h.value.to_owned())).collect();
    let head = RequestHead { method, path, query, http_1_1: version == 1, content_length, chunked, headers };
    Ok(Some((head, head_bytes)))
}

/// Finds the end of the head and refuses what must not stand in one. `None` means incomplete.
fn frame(bytes: &[u8]) -> Result<Option<usize>, HttpError> {
    let window = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let (mut line_start, mut lines, mut blank_lines) = (0, 0, 0);
    for (at, &byte) in window.iter().enumerate() {
        let first_of_line = at == line_start;
        match byte {
            0 => return Err(malformed(at, "NUL")),
            b'\n' => {
                if at == 0 || window.get(at - 1) != Some(&b'\r') {
                    return Err(malformed(at, "line feed without carriage return"));
                }
                let empty = at - line_start == 1;
                line_start = at + 1;
                if !empty {
                    lines += 1;
                } else if lines > 0 {
                    return Ok(Some(line_start));
                } else {
                    blank_lines += 1;
                    if blank_lines > LEADING_BLANK_LINES_MAX {
                        return Err(malformed(at, "blank lines instead of a request"));
                    }
                }
            }
            b' ' | b'\t' if first_of_line => return Err(malformed(at, "line starts with white space")),
            _ if at > 0 && window.get(at - 1) == Some(&b'\r') => {
                return Err(malformed(at, "carriage return without line feed"));
            }
            _ => {}
        }
    }
    if window.len() < HEAD_BYTES_MAX {
        return Ok(None);
    }
    Err(if lines == 0 { HttpError::TargetTooLong } else { HttpError::HeadTooLarge })
}

/// The body's length (RFC 9112 section 6.3): Content-Length, or whether it is chunked.
fn message_length(
    headers: &[httparse::Header<'_>],
    http_1_1: bool,
) -> Result<(Option<u64>, bool), HttpError> {
    let (mut length, mut chunked) = (None, false);
    for header in headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err(HttpError::Length("several Content-Length fields"));
            }
            length = Some(decimal(header.value).ok_or(HttpError::Length("Content-Length is no number"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked {
                return Err(HttpError::Length("several Transfer-Encoding fields"));
            }
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpError::TransferCoding);
            }
            chunked = true;
        }
    }
    if chunked && length.is_some() {
        return Err(HttpError::Length("both Content-Length and Transfer-Encoding"));
    }
    if chunked && !http_1_1 {
        return Err(HttpError::Length("Transfer-Encoding in HTTP/1.0"));
    }
    Ok((length, chunked))
}

/// Digits only: a sign, a list or white space inside are what smuggling is made of.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

const fn malformed(at: usize, what: &'static str) -> HttpError {
    HttpError::Malformed { at, what }
}

fn of_httparse(error: httparse::Error) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => HttpError::HeadTooLarge,
        httparse::Error::Version => HttpError::Version,
        httparse::Error::HeaderName => malformed(0, "invalid field name"),
        httparse::Error::HeaderValue => malformed(0, "invalid field value"),
        httparse::Error::Token => malformed(0, "invalid request line"),
        _ => malformed(0, "invalid line"),
    }
}

#[cfg(test)]
mod tests;
