//! Response heads. Every one allows any origin: players live on other sites, and after a redirect their origin is
//! `null`, which only `*` admits. Every one closes the connection.

use super::route::Medium;
use std::fmt::Write;

/// Head of a live response, also the whole answer to HEAD. Without length and chunks: the body ends with the
/// connection, and the log's bytes follow as they are.
pub const fn live_head(medium: Medium) -> &'static [u8] {
    match medium {
        Medium::Flv => {
            b"HTTP/1.1 200 OK\r\n\
              Content-Type: video/x-flv\r\n\
              Connection: close\r\n\
              Cache-Control: no-store\r\n\
              Access-Control-Allow-Origin: *\r\n\
              \r\n"
        }
        Medium::Ts => {
            b"HTTP/1.1 200 OK\r\n\
              Content-Type: video/mp2t\r\n\
              Connection: close\r\n\
              Cache-Control: no-store\r\n\
              Access-Control-Allow-Origin: *\r\n\
              \r\n"
        }
    }
}

/// The whole answer to OPTIONS: a CORS preflight that a browser may keep for a day.
pub const fn options_head() -> &'static [u8] {
    b"HTTP/1.1 204 No Content\r\n\
      Connection: close\r\n\
      Access-Control-Allow-Origin: *\r\n\
      Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
      Access-Control-Allow-Headers: *\r\n\
      Access-Control-Max-Age: 86400\r\n\
      \r\n"
}

/// A whole error answer: head and a plain-text body of one line, `hint`, which tells a person what to do.
///
/// `retry_after_s` tells a player when to come back, in seconds. For HEAD send [`without_body`] of it.
pub fn error_head(status: u16, retry_after_s: Option<u32>, hint: &str) -> Vec<u8> {
    let reason = reason(status);
    let body = format!("{status} {reason}: {hint}\n");
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    if let Some(seconds) = retry_after_s {
        // Writing to a String cannot fail.
        let _ = write!(head, "Retry-After: {seconds}\r\n");
    }
    if status == 405 {
        // RFC 9110 section 15.5.6.
        head.push_str("Allow: GET, HEAD, OPTIONS\r\n");
    }
    let _ = write!(
        head,
        "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n\r\n{body}",
        body.len()
    );
    head.into_bytes()
}

/// The part of an answer up to and with its blank line: what HEAD gets.
pub fn without_body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    answer.get(..end).unwrap_or(answer)
}

/// The reason phrase of the statuses that the media port uses.
const fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_heads_have_no_framing() {
        for (medium, content_type) in [(Medium::Flv, "video/x-flv"), (Medium::Ts, "video/mp2t")] {
            let text = std::str::from_utf8(live_head(medium)).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"));
            let content_type = format!("Content-Type: {content_type}");
            for field in [&*content_type, "Connection: close", "Cache-Control: no-store"] {
                assert!(text.contains(&format!("\r\n{field}\r\n")), "{field}");
            }
            assert!(!text.contains("Content-Length") && !text.contains("Transfer-Encoding"));
        }
        for head in [live_head(Medium::Flv), live_head(Medium::Ts), options_head()] {
            assert_eq!(without_body(head), head, "one blank line, at the end");
            assert!(std::str::from_utf8(head).unwrap().contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
        }
    }

    #[test]
    fn errors_tell_what_to_do() {
        let answer = error_head(404, Some(5), "nobody publishes live/cam");
        let text = std::str::from_utf8(&answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "404 Not Found: nobody publishes live/cam\n");
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\nRetry-After: 5\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert_eq!(without_body(&answer).len(), head.len() + 4);
        let [bad, method] =
            [400, 405].map(|status| String::from_utf8(error_head(status, None, "x")).unwrap());
        assert!(!bad.contains("Retry-After") && !bad.contains("Allow: "));
        assert!(method.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"));
    }
}
