//! H1, H2, H5: requests made to be understood in two ways, slow ones, and junk.

use super::{MANNERS_MS, Row, send_all_to_both};
use crate::support::raw::Stage::Http;

/// A request with these fields behind Host, and another one smuggled behind it.
fn smuggled(method: &str, fields: &str) -> String {
    let second = "GET /smuggled.flv HTTP/1.1\r\nHost: a\r\n\r\n";
    format!("{method} /live/none.flv HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{second}")
}

#[test]
fn h1_requests_with_two_readings() {
    let rows = [
        ("two lengths", "POST", "Content-Length: 5\r\nContent-Length: 6"),
        ("a length and chunks", "POST", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ("length +5", "POST", "Content-Length: +5"),
        ("length 0x5", "POST", "Content-Length: 0x5"),
        ("length 5, 5", "POST", "Content-Length: 5, 5"),
        ("length -1", "POST", "Content-Length: -1"),
        ("length 2^64", "POST", "Content-Length: 18446744073709551616"),
        ("chunked, identity", "POST", "Transfer-Encoding: chunked, identity"),
        ("xchunked", "POST", "Transfer-Encoding: xchunked"),
        ("chunked twice", "POST", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("a folded line", "GET", "X: a\r\n b"),
        ("a bare line feed", "GET", "X: a\nY: b"),
        ("a bare carriage return", "GET", "X: a\rY: b"),
        ("NUL", "GET", "X: a\0b"),
        ("blank before the colon", "GET", "Content-Length : 5"),
        ("a second Host", "GET", "Host: b"),
    ];
    let row = |(what, method, fields), answer| {
        Row::new("H1", what, Http, "protocol_error", smuggled(method, fields)).answered(answer)
    };
    let mut rows: Vec<Row> = rows.into_iter().map(|parts| row(parts, "HTTP/1.1 400 ")).collect();
    rows.push(row(("a body with GET", "GET", "Content-Length: 5"), "HTTP/1.1 413 "));
    send_all_to_both(|config| config, &rows);
}

#[test]
fn h2_slow_requests() {
    let rows = [
        Row::new("H2", "nothing", Http, "handshake_timeout", "").answered("HTTP/1.1 408 "),
        Row::new("H2", "half a line", Http, "handshake_timeout", "GET /li").answered("HTTP/1.1 408 "),
        Row::new("H2", "a body that does not come", Http, "protocol_error", {
            "POST /open/none.flv HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx"
        })
        .answered("HTTP/1.1 405 "),
        Row::new("H2", "no blank line", Http, "handshake_timeout", "GET / HTTP/1.1\r\nHost: a\r\nX: ")
            .answered("HTTP/1.1 408 "),
    ];
    send_all_to_both(|config| config.set("limits.handshake_timeout_ms", MANNERS_MS), &rows);
}

#[test]
fn h5_junk() {
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let ranges = (0..1000).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
    let flv = "/open/none.flv";
    let query = |len: usize| format!("{flv}?a={}", "q".repeat(len - 2));
    let rows = [
        Row::new("H5", "1000 ranges", Http, "not_found", get(flv, &format!("Range: bytes={ranges}")[..6000]))
            .answered("HTTP/1.1 404 "),
        Row::new("H5", "If-* of junk", Http, "not_found", {
            get(flv, "If-Modified-Since: ??\r\nIf-None-Match: \"\"\"\r\nIf-Range: -\r\nIf-Match: ,")
        })
        .answered("HTTP/1.1 404 "),
        Row::new("H5", "a query of 4 KiB", Http, "not_found", get(&query(4096), "X: y"))
            .answered("HTTP/1.1 404 "),
        Row::new("H5", "a query of more", Http, "protocol_error", get(&query(4097), "X: y"))
            .answered("HTTP/1.1 414 "),
        Row::new("H5", "a line of 20 KB", Http, "protocol_error", get(&query(20_000), "X: y"))
            .answered("HTTP/1.1 414 "),
        Row::new("H5", "100 fields", Http, "protocol_error", get(flv, "X: y\r\n".repeat(100).trim_end()))
            .answered("HTTP/1.1 431 "),
        Row::new("H5", "an unknown method", Http, "protocol_error", {
            "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n"
        })
        .answered("HTTP/1.1 501 "),
        Row::new("H5", "no method", Http, "protocol_error", "\x16\x03\x01\x02\x00\x01\r\n\r\n")
            .answered("HTTP/1.1 400 "),
        Row::new("H5", "HTTP/3.7", Http, "protocol_error", "GET / HTTP/3.7\r\nHost: a\r\n\r\n")
            .answered("HTTP/1.1 505 "),
        Row::new("H5", "CONNECT", Http, "protocol_error", "CONNECT a:22 HTTP/1.1\r\nHost: a:22\r\n\r\n")
            .answered("HTTP/1.1 501 "),
    ];
    send_all_to_both(|config| config, &rows);
}
