//! Heads that must pass, heads that must not, and what they are answered with.

use super::super::NAME_BYTES_MAX;
use super::*;
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
    assert_eq!(head.route(), Route::Flv { app: "live", stream: "cam 1", query: "token=a%2Bb%3D&join=live" });
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
fn refused_heads() {
    let fields = |text: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{text}\r\n\r\n");
    for (text, status) in [
        // Message length: everything that two readers could read differently.
        (fields("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (fields("Content-Length: 1\r\nContent-Length: 1"), 400),
        (fields("Content-Length: 1, 1"), 400),
        (fields("Content-Length: +1"), 400),
        (fields("Content-Length: 0x1"), 400),
        (fields("Content-Length:"), 400),
        (fields("Content-Length: 99999999999999999999"), 400),
        (fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (fields("Transfer-Encoding: gzip, chunked"), 501),
        (fields("Transfer-Encoding: identity"), 501),
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
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 501),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        (fields("Host: i"), 400),
        // Sizes.
        (format!("GET /{}", "a".repeat(HEAD_BYTES_MAX)), 414),
        (format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_BYTES_MAX)), 431),
        (fields(&vec!["A: b"; HEADERS_MAX].join("\r\n")), 431),
    ] {
        match parse(text.as_bytes()) {
            Err(error) => assert_eq!(error.status(), status, "{text:?}: {error}"),
            Ok(done) => panic!("{text:?} gave {done:?}"),
        }
    }
    // One field and one byte below the bounds pass.
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
    let flv = |app, stream| Route::Flv { app, stream, query: "" };
    for (target, route) in [
        ("/live/cam.flv", flv("live", "cam")),
        ("/a/b/c/cam.1.flv", flv("a/b/c", "cam.1")),
        ("/live/a.flv.flv", flv("live", "a.flv")),
        ("/", Route::Page),
        ("/cam.flv", Route::Page),
        ("/live/.flv", Route::Page),
        ("//cam.flv", Route::Page),
        ("/a//cam.flv", Route::Page),
        ("/live/cam.FLV", Route::Page),
        ("/live/cam", Route::Page),
        ("/live/cam.flv/", Route::Page),
    ] {
        assert_eq!(get(target).unwrap().route(), route, "{target}");
    }
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    assert_eq!(get(&format!("/live/{long}.flv")).unwrap().route(), Route::Page);
    assert_eq!(get(&format!("/live/{}.flv", &long[1..])).unwrap().route(), flv("live", &long[1..]));
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
