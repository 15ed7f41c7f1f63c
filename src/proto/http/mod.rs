//! HTTP/1.1 on the media port: request heads in, response heads out (RFC 9110, RFC 9112).
//!
//! The media port speaks a small, strict subset, because what two parsers read differently can be smuggled past a
//! proxy: no obs-fold, no bare line feed, one Content-Length or chunked, never both. Bodies are not read here, and a
//! connection serves one request. Responses that carry media are close-delimited, so that log bytes travel without framing.
//! Range and the conditional fields (If-…) are ignored, as RFC 9110 allows: a live stream has no ranges, and no
//! representation that a client could have already.

mod length;
mod reader;
mod request;
mod response;
mod route;
mod target;

pub use reader::{HEAD_BYTES_MAX, HeadReader, parse};
pub use request::{HEADERS_MAX, HttpError, Method, RequestHead};
pub use response::{error_head, live_head, options_head, without_body};
pub use route::{Medium, Route, is_group};
