//! Request heads.

use super::length::message_length;
use super::{HEAD_BYTES_MAX, route::Route, target::Target};
use crate::config::name::NameError;
use std::borrow::Cow;

/// Header fields of a head, a count: browsers behind two proxies send forty.
pub const HEADERS_MAX: usize = 100;

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
        /// Offset from the connection's first byte.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A target that is no path, or one that hides something.
    #[error("refused request target: {0}")]
    Target(&'static str),
    /// Content-Length and Transfer-Encoding, several lengths, one that is no number, or chunks that do not come last.
    #[error("ambiguous message length: {0}")]
    Length(&'static str),
    /// No Host in HTTP/1.1, or several.
    #[error("not exactly one Host field")]
    Host,
    /// A body on a method that has none here.
    #[error("request body not accepted with this method")]
    Body,
    /// A path that asks for a stream whose name cannot be one.
    #[error("no stream can have this name: {0}")]
    Name(NameError),
    /// The request line alone exceeds [`HEAD_BYTES_MAX`], or its query `QUERY_BYTES_MAX` of [`crate::config::name`].
    #[error("request target or its query is too long")]
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
            HttpError::Malformed { .. }
            | HttpError::Target(_)
            | HttpError::Name(_)
            | HttpError::Length(_)
            | HttpError::Host => 400,
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

/// Reads `head`, which ends with the first blank line behind a request line and holds none of what [`super::reader`]
/// refuses.
pub(super) fn read(head: &[u8]) -> Result<RequestHead, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(used)) if used == head.len() => {}
        // The blank line was found, so httparse must agree on where the head ends.
        Ok(_) => return Err(malformed(head.len(), "unexpected end of the head")),
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
    super::route::check(&path).map_err(HttpError::Name)?;
    let (content_length, chunked) = message_length(request.headers, version == 1)?;
    if method != Method::Post && (chunked || content_length.is_some_and(|bytes| bytes > 0)) {
        return Err(HttpError::Body);
    }
    let hosts = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host")).count();
    if hosts > 1 || (hosts == 0 && version == 1) {
        return Err(HttpError::Host);
    }
    let headers = request.headers.iter().map(|h| (h.name.to_owned(), h.value.to_owned())).collect();
    Ok(RequestHead { method, path, query, http_1_1: version == 1, content_length, chunked, headers })
}

pub(super) const fn malformed(at: usize, what: &'static str) -> HttpError {
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
