//! R6, X7: names and other text of peers, long, strange, or made for whoever reads the log.

use super::{Row, TIMES, send_all, send_all_to_both};
use crate::support::amf::{self, Value};
use crate::support::engine::Engine;
use crate::support::raw::Stage::{Connected, Http, Shaken};
use crate::support::raw::{ask, command, connect, message};
use crate::support::share_machine;

/// A publish whose name is not text.
fn publish_bytes(name: &[u8]) -> Vec<u8> {
    let start = amf::encode(&[Value::text("publish"), Value::Number(3.0), Value::Null]);
    let len = (name.len() as u16).to_be_bytes();
    message(3, 20, 1, 0, &[start, vec![2], len.to_vec(), name.to_vec()].concat())
}

#[test]
fn r6_names() {
    let publish = |name: &str| ask("publish", name);
    let long = |len: usize| "n".repeat(len);
    let rows = [
        Row::new("R6", "name of 255 bytes", Connected, "client_closed", publish(&long(255)))
            .times(1)
            .answered("NetStream.Publish.Start"),
        Row::new("R6", "name of 256 bytes", Connected, "invalid_name", publish(&long(256))),
        Row::new("R6", "name of 4096 bytes", Connected, "invalid_name", publish(&long(4096))),
        Row::new("R6", "app of 4096 bytes", Shaken, "invalid_name", {
            [connect(&long(4096)), publish("name")].concat()
        }),
        Row::new("R6", "name of 65 000 bytes", Connected, "invalid_name", publish(&long(65_000))),
        Row::new("R6", "name of 65 535 bytes", Connected, "input_limit", publish(&long(65_535))),
        Row::new("R6", "NUL", Connected, "invalid_name", publish("a\0b")),
        Row::new("R6", "line break", Connected, "invalid_name", publish("a\r\nb")),
        Row::new("R6", "..", Connected, "invalid_name", publish("..")),
        Row::new("R6", "../../etc/passwd", Connected, "invalid_name", publish("../../etc/passwd")),
        Row::new("R6", "%2e%2e", Connected, "invalid_name", publish("%2e%2e")),
        Row::new("R6", "%252e%252e", Connected, "invalid_name", publish("%252e%252e")),
        Row::new("R6", "%0d%0a", Connected, "invalid_name", publish("a%0d%0ab")),
        Row::new("R6", "backslashes", Connected, "invalid_name", publish("..\\..\\a")),
        Row::new("R6", "nothing", Connected, "invalid_name", publish("")),
        Row::new("R6", "no UTF-8", Connected, "invalid_name", publish_bytes(b"a\xff\xfe\xc0")),
        Row::new("R6", "%2e%2e on the HTTP port", Http, "protocol_error", {
            "GET /live/%2e%2e/%2e%2e/x.flv HTTP/1.1\r\nHost: a\r\n\r\n"
        })
        .answered("HTTP/1.1 400 "),
        Row::new("R6", "name of 256 bytes on the HTTP port", Http, "invalid_name", {
            format!("GET /open/{}.flv HTTP/1.1\r\nHost: a\r\n\r\n", long(256))
        })
        .answered("HTTP/1.1 400 "),
    ];
    send_all_to_both(|config| config, &rows);
}

/// What an injected line would begin with.
const FORGED: &str = "FORGED-LINE";
/// Characters of one row, few enough that none is cut off.
const IN_A_ROW: usize = 8;

/// What must reach no terminal: controls, what reorders text, breaks lines without being a control, or cannot be seen.
fn odd() -> Vec<char> {
    let ranges = [
        ('\0', '\u{1f}'),
        ('\u{7f}', '\u{9f}'),
        ('\u{61c}', '\u{61c}'),
        ('\u{180e}', '\u{180e}'),
        ('\u{200b}', '\u{200f}'),
        ('\u{2028}', '\u{202e}'),
        ('\u{2060}', '\u{206f}'),
        ('\u{feff}', '\u{feff}'),
        ('\u{fff9}', '\u{fffb}'),
        ('\u{e0000}', '\u{e007f}'),
    ];
    ranges.into_iter().flat_map(|(first, last)| first..=last).collect()
}

/// connect whose `flashVer`, `tcUrl` and `swfUrl` are `text`.
fn connect_described(text: &str) -> Vec<u8> {
    let object = ["app", "flashVer", "tcUrl", "swfUrl"].map(|key| {
        let text = if key == "app" { "open" } else { text };
        (key.to_owned(), Value::text(text))
    });
    command(0, "connect", 1.0, &[Value::Object(object.to_vec())])
}

#[test]
fn x7_log_lines_of_others() {
    let _shared = share_machine();
    let Some(config) = Engine::Epoll.config() else { return };
    // Each text is one row's own, so that its lines can be told.
    let forged = |row: &str| format!("a\r\n{FORGED}-{row} \u{1b}[31m\u{9b}2J\u{202e}b");
    let agent =
        |len: usize| format!("GET /x.flv HTTP/1.1\r\nHost: a\r\nUser-Agent: {}\r\n\r\n", "u".repeat(len));
    let mut rows = vec![
        Row::new("X7", "a log line in the name", Connected, "invalid_name", ask("publish", &forged("name"))),
        Row::new("X7", "and in the app", Shaken, "invalid_name", {
            [connect(&forged("app")), ask("publish", "name")].concat()
        }),
        Row::new("X7", "and in the client's description", Shaken, "client_closed", {
            [connect_described(&forged("client")), ask("publish", "described")].concat()
        }),
        Row::new("X7", "and as the name of a command", Connected, "client_closed", {
            [command(0, &forged("command"), 9.0, &[]), ask("publish", "named")].concat()
        }),
        Row::new("X7", "and in an HTTP path", Http, "protocol_error", {
            format!("GET /live/a%0d%0a{FORGED}-path%1b%5b31m.flv HTTP/1.1\r\nHost: a\r\n\r\n")
        }),
        Row::new("X7", "a user agent of 1 MiB", Http, "protocol_error", agent(1 << 20))
            .answered("HTTP/1.1 431 "),
        Row::new("X7", "a label in the name", Connected, "invalid_name", {
            ask("publish", "a\"} 1 # HELP headgate_forged{x=\"y")
        }),
    ];
    for (n, odd) in odd().chunks(IN_A_ROW).enumerate() {
        let (name, client) = (format!("{FORGED}-in-name-{n}."), format!("{FORGED}-in-client-{n}."));
        let with = |text: &str| text.chars().chain(odd.iter().copied()).collect::<String>();
        let named = ask("publish", &with(&name));
        let described = [connect_described(&with(&client)), ask("publish", &format!("odd-{n}"))].concat();
        rows.push(Row::new("X7", "odd characters in the name", Connected, "invalid_name", named).times(1));
        rows.push(
            Row::new("X7", "and in the client's description", Shaken, "client_closed", described).times(1),
        );
    }
    let log = send_all(config, &rows);
    assert!(!log.lines().any(|line| line.starts_with(FORGED)), "a line of somebody else's:\n{log}");
    let odd: Vec<char> = odd().into_iter().filter(|&c| c != '\n').collect();
    assert!(!log.contains(&odd[..]), "an odd character in the log:\n{}", log.escape_debug());
    assert!(log.lines().all(|line| line.len() < 2000), "a line without bound");
    // A publish that is accepted has two, of which this level shows both: that it was asked for, and that it was accepted.
    // Every other connection has one, unless there were too many of its kind within a second. Names of commands and paths
    // that are refused are not told at all.
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count() as u64;
    let marked = |what: &str| format!("{FORGED}-{what}");
    for (row, each) in [("name", 1), ("app", 1), ("client", 2), ("command", 0), ("path", 0)] {
        let lines = lines(&marked(row));
        println!("{row}: {lines} lines");
        assert!(lines <= each * TIMES, "{row}: {lines} lines of {TIMES} connections:\n{log}");
    }
    for n in 0..(odd.len() + 1).div_ceil(IN_A_ROW) {
        for (place, most) in [("name", 1), ("client", 2)] {
            let lines = lines(&marked(&format!("in-{place}-{n}.")));
            assert!(lines <= most, "{place} {n}: {lines} lines:\n{log}");
        }
    }
    let [names, clients] = ["in-name-", "in-client-"].map(|place| lines(&marked(place)));
    println!("odd characters: {names} lines of names, {clients} of descriptions");
    assert!(names > 0 && clients > 0, "nobody was logged:\n{log}");
}
