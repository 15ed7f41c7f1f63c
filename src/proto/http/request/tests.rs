//! Heads that must pass, heads that must not, and what they are answered with.

use super::super::parse;
use super::*;
use crate::config::name::{NAME_BYTES_MAX, QUERY_BYTES_MAX};
use crate::proto::http::Medium;
use proptest::prelude::*;

fn head(text: &str) -> RequestHead {
    let (head, used) = parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text:?}: {e}")).unwrap();
    assert_eq!(used, text.len(), "{text:?}");
    head
}

/// A GET of `target` with the Host that HTTP/1.1 needs.
fn get(target: &str) -> Result<RequestHead, HttpError> {
    let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    parse(text.as_bytes()).map(|done| done.unwrap().0)
}

#[test]
fn a_browser_asks_for_a_stream() {
    let text = "GET /live/cam%201.flv?token=a%2Bb%3D&join=live HTTP/1.1\r\nHost: example.org:8080\r\n\
                Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (\u{e9})\r\nAccept: */*\r\nOrigin: null\r\n\r\n";
    let head = head(text);
    assert_eq!((head.method, head.http_1_1, head.keep_alive()), (Method::Get, true, true));
    assert_eq!(
        head.route(),
        Route::Live { medium: Medium::Flv, app: "live", stream: "cam 1", query: "token=a%2Bb%3D&join=live" }
    );
    assert_eq!(head.query_param("token").as_deref(), Some("a+b="));
    assert_eq!(
        (head.header("oRIGIN"), head.header("user-agent"), head.header("x")),
        (Some("null"), None, None)
    );
}

#[test]
fn every_prefix_is_incomplete() {
    let text = "\r\nGET /a/b.flv HTTP/1.1\r\nHost: h\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..end]), Ok(None), "{end}");
    }
    let (_, used) = parse(format!("{text}next").as_bytes()).unwrap().unwrap();
    assert_eq!(used, text.len(), "what follows is not the head's");
}

#[test]
fn methods_and_bodies() {
    for (text, method, length, chunked) in [
        ("HEAD /a/b.flv HTTP/1.0\r\n\r\n", Method::Head, None, false),
        ("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", Method::Options, None, false),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", Method::Get, Some(0), false),
        ("POST /a/b.flv HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n", Method::Post, Some(12), false),
        ("POST /a/b.flv HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n", Method::Post, None, true),
    ] {
        let head = head(text);
        assert_eq!((head.method, head.content_length, head.chunked), (method, length, chunked), "{text:?}");
    }
}

#[test]
fn connection_tokens() {
    let with = |version: &str, field: &str| {
        head(&format!("GET / HTTP/{version}\r\nHost: h\r\n{field}\r\n")).keep_alive()
    };
    assert!(with("1.1", "") && !with("1.1", "Connection: upgrade, Close\r\n"));
    assert!(!with("1.0", "") && with("1.0", "Connection: Keep-Alive\r\n"));
    let upgrade =
        head("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: x , Upgrade\r\n\r\n");
    assert!(
        upgrade.header_has_token("connection", "upgrade") && !upgrade.header_has_token("connection", "up")
    );
}

#[test]
fn h1_and_h5_refused_heads() {
    let fields = |text: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{text}\r\n\r\n");
    for (text, status) in [
        // Message length: everything that two readers could read differently.
        (fields("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (fields("Content-Length: 1\r\nContent-Length: 1"), 400),
        (fields("Content-Length: 1, 1"), 400),
        (fields("Content-Length: +5"), 400),
        (fields("Content-Length: -5"), 400),
        (fields("Content-Length: 0x5"), 400),
        (fields("Content-Length: 5 5"), 400),
        (fields("Content-Length: 5\u{b}"), 400),
        (fields("Content-Length:"), 400),
        (fields("Content-Length: 99999999999999999999"), 400),
        (fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (fields("Transfer-Encoding: gzip, chunked"), 501),
        (fields("Transfer-Encoding: identity"), 400),
        (fields("Transfer-Encoding: chunked, identity"), 400),
        (fields("Transfer-Encoding: identity, chunked"), 501),
        (fields("Transfer-Encoding: chunked, chunked"), 400),
        (fields("Transfer-Encoding: chunked,"), 400),
        (fields("Transfer-Encoding:"), 400),
        (fields("Transfer-Encoding: \u{b}chunked"), 400),
        (fields("Transfer-Encoding : chunked"), 400),
        (fields("Transfer-Encoding: chunked\r\nContent-Length: 1"), 400),
        (fields("Content-Length: 0\r\nTransfer-Encoding: chunked"), 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n".into(), 413),
        ("HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 413),
        // Lines.
        (fields("A: b\r\n folded"), 400),
        (fields("A: b\r\n\tfolded"), 400),
        (fields("A: b\nB: c"), 400),
        (fields("A: b\rB: c"), 400),
        (fields("A: b\0"), 400),
        (fields("A : b"), 400),
        (fields(": b"), 400),
        (fields("no colon"), 400),
        ("GET / HTTP/1.1\nHost: h\n\n".into(), 400),
        ("GET /\r\n\r\n".into(), 400),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("\r\n\r\n\r\n".into(), 400),
        // Request line.
        ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 501),
        (format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "B".repeat(8000)), 501),
        ("B\u{1}W / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 501),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        (fields("Host: i"), 400),
        // Sizes.
        (format!("GET /{}", "a".repeat(HEAD_BYTES_MAX)), 414),
        (format!("GET /a/b.flv?{} HTTP/1.1\r\nHost: h\r\n\r\n", "q".repeat(QUERY_BYTES_MAX + 1)), 414),
        (format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_BYTES_MAX)), 431),
        (fields(&vec!["A: b"; HEADERS_MAX].join("\r\n")), 431),
    ] {
        match parse(text.as_bytes()) {
            Err(error) => assert_eq!(error.status(), status, "{text:?}: {error}"),
            Ok(done) => panic!("{text:?} gave {done:?}"),
        }
    }
    // One field, one byte of the head and one of the query below the bounds pass.
    assert!(get(&format!("/a/b.flv?{}", "q".repeat(QUERY_BYTES_MAX))).is_ok());
    assert!(parse(fields(&vec!["A: b"; HEADERS_MAX - 1].join("\r\n")).as_bytes()).is_ok());
    let fixed = "GET / HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n".len();
    head(&format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX - fixed)));
}

#[test]
fn targets() {
    for (target, path) in [
        ("/", "/"),
        ("/%e2%9c%93/a", "/\u{2713}/a"),
        ("/a%20b", "/a b"),
        ("/..a/b..", "/..a/b.."),
        ("http://h:80/a/b?c", "/a/b"),
        ("HTTPS://[::1]", "/"),
        ("http://h?q=1", "/"),
    ] {
        assert_eq!(get(target).map(|h| h.path).as_deref(), Ok(path), "{target}");
    }
    for target in [
        "/../etc",
        "/a/..",
        "/a/./b",
        "/%2e%2E/a",
        "/.%2e",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "/a%00",
        "/a%0d%0a",
        "/a%7f",
        "/%zz",
        "/%4",
        "/%",
        "/%ff",
        "/%c2%85",
        "a/b",
        "*",
        "http:///a",
        "ftp://h/a",
        "http://u@h/a",
        "h:80",
        "/a#b",
    ] {
        assert_eq!(get(target).map_err(HttpError::status), Err(400), "{target}");
    }
}

#[test]
fn routes() {
    let live = |medium, app, stream| Route::Live { medium, app, stream, query: "" };
    let flv = |app, stream| live(Medium::Flv, app, stream);
    let ts = |app, stream| live(Medium::Ts, app, stream);
    for (target, route) in [
        ("/live/cam.flv", flv("live", "cam")),
        ("/a/b/c/cam.1.flv", flv("a/b/c", "cam.1")),
        ("/live/a.flv.flv", flv("live", "a.flv")),
        ("/live/cam.ts", ts("live", "cam")),
        ("/live/cam.flv.ts", ts("live", "cam.flv")),
        ("/live/cam.ts.flv", flv("live", "cam.ts")),
        ("/udp/239.255.1.1:5000", Route::Group { scheme: "udp", place: "239.255.1.1:5000", query: "" }),
        ("/rtp/[ff15::1]:5000", Route::Group { scheme: "rtp", place: "[ff15::1]:5000", query: "" }),
        ("/udp/239.255.1.1", Route::Page),
        ("/udp/a/b:1", Route::Page),
        ("/udp/cam.ts", live(Medium::Ts, "udp", "cam")),
        ("/", Route::Page),
        ("/live/cam.FLV", Route::Page),
        ("/live/cam", Route::Page),
        ("/live/cam.flv/", Route::Page),
    ] {
        assert_eq!(get(target).unwrap().route(), route, "{target}");
    }
    for (target, lacks) in [
        ("/live/.ts", NameError::NoStream),
        ("/live/.flv?token=a", NameError::NoStream),
        ("/cam.ts", NameError::NoApp),
        ("/cam.flv", NameError::NoApp),
        ("/.flv", NameError::NoApp),
        ("//cam.flv", NameError::NoApp),
        ("/a//cam.flv", NameError::Empty),
    ] {
        assert_eq!(get(target), Err(HttpError::Name(lacks)), "{target}");
    }
}

/// The rule itself is tested where it stands; here that it holds, and behind the decoding of the path.
#[test]
fn r6_names_are_held_to_the_rule_of_publishers() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    assert!(
        get(&format!("/live/{}.flv", &long[1..])).is_ok() && get(&format!("/{}/a.flv", &long[1..])).is_ok()
    );
    for name in [&long, "%252e%252e", "a%252fb", "%3Cb%3E", "a%23b", "%e2%80%aea", "%ef%bf%bd", "a%2a"] {
        for path in [format!("/live/{name}.flv"), format!("/{name}/a.flv"), format!("/a/{name}/a.flv")] {
            let error = get(&path).unwrap_err();
            assert!(matches!(error, HttpError::Name(_)) && error.status() == 400, "{path}: {error:?}");
            assert!(!error.to_string().contains(name), "an answer repeats nothing");
        }
        // A page may have any name; that there is none is the pages' business.
        assert_eq!(get(&format!("/live/{name}")).unwrap().route(), Route::Page);
    }
}

#[test]
fn h1_one_head_is_read_and_what_follows_is_nobodys() {
    let second = "GET /live/secret.flv HTTP/1.1\r\nHost: h\r\n\r\n";
    for first in [
        "GET /live/cam.flv HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /live/cam.flv HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "POST /live/cam.flv HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /live/cam.flv HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        let (head, used) = parse(format!("{first}{second}").as_bytes()).unwrap().unwrap();
        assert_eq!(head.path, "/live/cam.flv");
        assert_eq!(used, first.find("\r\n\r\n").unwrap() + 4);
    }
    // With a body where none belongs, the head is the end.
    for field in ["Content-Length: 44", "Transfer-Encoding: chunked"] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let text = format!("{method} /live/cam.flv HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n{second}");
            assert_eq!(parse(text.as_bytes()), Err(HttpError::Body), "{text}");
        }
    }
}

/// RFC 9110 sections 13.2.1 and 14.2: conditions and ranges that a resource does not support are ignored.
#[test]
fn h5_ranges_and_conditions_are_ignored() {
    let ranges = (0..1000).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
    let plain = get("/live/cam.flv").unwrap();
    for field in [
        format!("Range: bytes={ranges}"),
        "Range: bytes=18446744073709551616-".to_owned(),
        "Range: lines=\u{e9}".to_owned(),
        "If-Range: \"\"\"".to_owned(),
        "If-Match: *, \"a".to_owned(),
        "If-None-Match: *".to_owned(),
        "If-Modified-Since: yesterday".to_owned(),
        "If-Unmodified-Since: Thu, 99 Zzz 99999 25:61:61 GMT".to_owned(),
        "Expect: 200-ok".to_owned(),
    ] {
        let head = head(&format!("GET /live/cam.flv HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"));
        assert_eq!((head.method, head.route()), (plain.method, plain.route()), "{field}");
    }
    for method in ["", "G\u{e9}T", "GET\t", "(GET)", "GET GET", "get", "TRACE", "CONNECT", "DELETE", "PRI"] {
        let text = format!("{method} /live/cam.flv HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(
            matches!(parse(text.as_bytes()).map_err(HttpError::status), Err(400 | 501 | 505)),
            "{method:?}"
        );
    }
}

#[test]
fn query_parameters() {
    let head = get("/a/b.flv?t=1&t=2&empty=&flag&e%71=x%3dy=z&plus=a+b&bad=%zz&nl=%0a").unwrap();
    for (name, value) in [
        ("t", Some("1")),
        ("empty", Some("")),
        ("flag", Some("")),
        ("eq", Some("x=y=z")),
        ("plus", Some("a+b")),
        ("bad", None),
        ("nl", None),
        ("missing", None),
    ] {
        assert_eq!(head.query_param(name).as_deref(), value, "{name}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let request = [b"GET /", &bytes[..], b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        if let Ok(Some((head, used))) = parse(&request) {
            prop_assert!(used <= request.len());
            prop_assert!(!head.path.contains("/../") && !head.path.chars().any(char::is_control));
            head.route();
            head.query_param("a");
        }
    }
}
