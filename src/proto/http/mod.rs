//! HTTP/1.1 on the media port: request heads in, response heads out (RFC 9110, RFC 9112).
//!
//! The media port speaks a small, strict subset, because what two parsers read differently can be smuggled past a
//! proxy: no obs-fold, no bare line feed, one Content-Length or chunked, never both. Bodies are not read here.
//! Responses that carry media are close-delimited, so that log bytes travel without framing.

mod request;
mod response;
mod route;
mod target;

pub use request::{HEAD_BYTES_MAX, HEADERS_MAX, HttpError, Method, RequestHead, parse};
pub use response::{error_head, flv_head, options_head, without_body};
pub use route::{NAME_BYTES_MAX, Route};
