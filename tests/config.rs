//! The config file as an operator meets it: `headgate.toml` and the code say the same; every error names its place.

use headgate::config::{Config, ConfigError, Overrides};

const FILE: &str = include_str!("../headgate.toml");
/// Tables that the file shows in a comment, because there are none by default.
const OPTIONAL: [&str; 3] = ["apps", "channel", "input"];

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "f.toml")
}

/// The message for a text that must be refused.
#[track_caller]
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(config) => panic!("accepted: {text}\n{config:?}"),
        Err(error) => error.to_string(),
    }
}

/// The keys that the code knows in `[section]`, asked from its own error for an unknown one.
fn known_keys(section: &str) -> Vec<String> {
    let message = refused(&format!("{section}\nqqqqqqqq = 1\n"));
    let (_, list) = message.split_once("known here: ").unwrap_or_else(|| panic!("no list in: {message}"));
    list.lines().next().unwrap_or_default().split(", ").map(str::to_owned).collect()
}

/// The header of a table of `section` as it stands in the file.
fn header(section: &str) -> String {
    match section {
        "apps" => "[apps.\"*\"]".to_owned(),
        "channel" | "input" => format!("[[{section}]]"),
        _ => format!("[{section}]"),
    }
}

/// `# key = value` and `# [section]` lines as live ones.
fn uncommented() -> String {
    let live = |line: &'static str| match line.strip_prefix("# ") {
        Some(rest) if OPTIONAL.iter().any(|section| rest == format!("{}\n", header(section))) => rest,
        Some(rest) if is_assignment(rest) => rest,
        _ => line,
    };
    FILE.split_inclusive('\n').map(live).collect()
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b)))
}

#[test]
fn the_file_gives_the_defaults() {
    assert_eq!(parse(FILE).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn every_key_stands_in_the_file() {
    let live = uncommented();
    let mut total = 0;
    for section in known_keys("") {
        let header = header(&section);
        let keys = known_keys(&header);
        let body = live.split_once(&format!("\n{header}\n")).unwrap_or_else(|| panic!("no {header}")).1;
        let body = body.split("\n[").next().unwrap();
        let in_file: Vec<&str> = body
            .lines()
            .filter(|line| is_assignment(line))
            .filter_map(|line| Some(line.split_once(" = ")?.0))
            .collect();
        assert_eq!(in_file, keys, "{header}");
        total += keys.len();
    }
    assert!(total > 20, "only {total} keys found: the test has lost its way");
}

#[test]
fn each_key_has_a_comment_with_its_default() {
    let mut comment = String::new();
    for line in FILE.lines() {
        let key = line.strip_prefix("# ").unwrap_or(line);
        if is_assignment(key) {
            assert!(comment.to_lowercase().contains("default"), "no default in the comment before: {line}");
            comment.clear();
        } else if line.starts_with('#') {
            comment.push_str(line);
        } else {
            comment.clear();
        }
    }
}

#[test]
fn the_optional_keys_work_as_shown() {
    let config = parse(&uncommented()).unwrap();
    assert_eq!(config.runtime.cores, Some(vec![0, 1]));
    assert!(config.app("anything").publish_key.is_some() && config.app("anything").play_token.is_some());
    assert_eq!((config.headend.core, config.channels.len(), config.inputs.len()), (Some(3), 1, 1));
}

#[test]
fn errors_name_place_and_remedy() {
    for (text, place, say) in [
        ("[fanout]\nflus = \"video\"\n", "f.toml:2:1:", "did you mean `flush`?"),
        ("[fanout]\nflush_sm = 40\n", "f.toml:2:1:", "did you mean `flush_ms`?"),
        ("[fan_out]\n", "f.toml:1:2:", "did you mean `fanout`?"),
        ("[fanout]\nflush = \"vide\"\n", "f.toml:2:9:", "did you mean `video`?"),
        ("[runtime]\nengine = \"kqueue\"\n", "f.toml:2:10:", "auto, uring, epoll"),
        ("[fanout]\nflush_ms = 0\n", "f.toml:2:12:", "use 1 to 1000"),
        ("[fanout]\n  flush_ms = 1001 # x\n", "f.toml:2:14:", "use 1 to 1000"),
        ("[fanout]\nphases = 17\n", "f.toml:2:10:", "use 1 to 16"),
        ("[fanout]\nplay_wait_ms = 0\n", "f.toml:2:16:", "use 100 to 600000"),
        ("[fanout]\nflush_ms = \"40\"\n", "f.toml:2:12:", "plain number"),
        ("[fanout]\nflush_ms = -1\n", "f.toml:2:12:", "0 or more"),
        ("[listen]\nrtmp = \"1935\"\n", "f.toml:2:8:", "0.0.0.0:1935"),
        ("[listen]\nrtmp = 1935\n", "f.toml:2:8:", ""),
        ("[listen]\nhttp = \"0.0.0.0:1935\"\n", "f.toml:2:8:", "port of its own"),
        ("[listen]\nrtmp = \"127.0.0.1:8080\"\n", "f.toml:1:2:", "overlaps"),
        ("[publish]\ntakeover_after_ms = 20000\n", "f.toml:2:21:", "use at most 10000"),
        ("[runtime]\ncores = []\n", "f.toml:2:9:", "list CPU numbers"),
        ("[runtime]\ncores = [0, 0]\n", "f.toml:2:9:", "twice"),
        ("[apps.live]\npublish_kye = \"a\"\n", "f.toml:2:1:", "did you mean `publish_key`?"),
        ("[apps.live]\npublish_key = \"a b\"\n", "f.toml:2:15:", "A-Z a-z"),
        ("[apps.\"a//b\"]\n", "f.toml:1:7:", "/ only inside"),
        ("[apps.\"a/../b\"]\n", "f.toml:1:7:", "1 to 255 bytes"),
        ("[apps.\"a/b/\"]\n", "f.toml:1:7:", "1 to 255 bytes"),
        ("[fanout]\nflush = \"video\"\n[fanout]\n", "f.toml:3:2:", ""),
        ("[fanout\nflush = 1\n", "f.toml:1:8:", ""),
        ("[log]\nlevel = \"info\nformat = 1", "f.toml:2:", ""),
        ("[limits]\nexempt = [\"10.0.0.1/8\"]\n", "f.toml:2:10:", "`10.0.0.0/8`"),
        ("[limits]\nexempt = \"10.0.0.0/8\"\n", "f.toml:2:10:", "stands in brackets"),
        ("[limits]\nexempt = [\"office\"]\n", "f.toml:2:10:", "\"2001:db8::/32\""),
        ("[limits]\nviewers_per_address = 0\n", "f.toml:2:23:", "use 1 to 1000000"),
        ("[overload]\negress_max_bits_per_s = 10\n", "f.toml:2:25:", "use 0, or 1000 to"),
        ("[overload]\nretry_after_s = 0\n", "f.toml:2:17:", "use 1 to 3600"),
        ("[listen]\nadmin_hosts = [\"http://a:1\"]\n", "f.toml:2:15:", "without scheme and port"),
        ("[log]\nlevel = info\n", "f.toml:2:9:", "quotes"),
        ("limits = 3\n", "f.toml:1:10:", "on a line of its own"),
        ("[[limits]]\n", "f.toml:1:1:", "single brackets"),
        ("[limits.streams]\n", "f.toml:1:", "its keys below"),
    ] {
        let message = refused(text);
        let number = place.split(':').nth(1).unwrap();
        assert!(message.starts_with(place), "{text}\n{message}");
        assert!(message.contains(say), "{text}\n{message}");
        assert!(message.contains(&format!("\n{number} | ")) && message.contains('^'), "{text}\n{message}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    for text in [
        "[apps.live]\npublish_key = 71717171\n",
        "[apps.live]\npublish_key = \"71717171 \"\n",
        "[apps.live]\npublish_key = \"71717171\n",
        "[apps.live]\npublish_key = 71717171x\n",
        "[ apps.live ]\npublish_kee = \"71717171\"\n",
        "apps.live.publish_kee = \"71717171\"\n",
        "\"apps\".live.publish_kee = \"71717171\"\n",
        "aps.live.publish_key = \"71717171\"\n",
        "app.live.publish_kee = \"71717171\"\n",
        "[apps]\npublish_kee = \"71717171\"\n",
        "[apps.live]\npublish_kee = 71717171x\n",
        "[apps.live]\npublish_kee \"71717171\"\n",
        "[apps]\nlive = { publish_kee = \"71717171\", play_token = \"x\" }\n",
        "[apps]\nlive = { play_token = [\"71717171\"], x = 1 }\n",
        "[apps]\nlive = { play_token = \"71717171\", x = 1 }\n",
    ] {
        let message = refused(text);
        assert!(!message.contains("7171"), "{message}");
    }
}

#[test]
fn broken_text_is_refused_and_never_panics() {
    for end in (0..FILE.len()).filter(|&end| FILE.is_char_boundary(end)) {
        let _ = parse(&FILE[..end]);
        let _ = parse(&FILE[end..]);
    }
    for text in
        ["\0", "[", "=", "a.b.c = 1", "[[apps]]", "[apps.x.y]", "listen = 1", "\u{feff}[log]", "[apps.\"\"]"]
    {
        if let Err(error) = parse(text) {
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn apps_complete_each_other() {
    let text = "[apps.\"*\"]\npublish_key = \"default-key-0\"\neflv_strip = true\n\
                [apps.own]\npublish_key = \"own-key-00000\"\n[apps.open]\npublish_key = \"\"\neflv_strip = false\n\
                [apps.\"own/room/a\"]\neflv_strip = false\n";
    let config = parse(text).unwrap();
    for (app, shown, strip) in [
        ("any", Some("default-key-0"), true),
        ("own", Some("own-key-00000"), true),
        ("own/room", Some("own-key-00000"), true),
        ("own/room/a/b", Some("own-key-00000"), false),
        ("open", None, false),
    ] {
        let app = config.app(app);
        assert_eq!(app.publish_key.is_some(), shown.is_some());
        if let (Some(key), Some(shown)) = (&app.publish_key, shown) {
            assert!(key.matches(shown.as_bytes()));
        }
        assert_eq!(app.eflv_strip, strip);
    }
    assert!(!format!("{config:?}").contains("-key-0"));
}

#[test]
fn warnings_say_what_is_open() {
    let key = "publish_key = \"0123456789ab\"\n";
    for (text, expected) in [
        (String::new(), &["anyone may publish"][..]),
        (format!("[apps.\"*\"]\n{key}"), &[]),
        (format!("[apps.live]\n{key}"), &["any app that has no table"]),
        (format!("[apps.\"*\"]\n{key}[apps.x]\npublish_key = \"\"\n"), &["app `x`"]),
        ("[apps.\"*\"]\npublish_key = \"short\"\n".to_owned(), &["is short"]),
        (format!("[listen]\nadmin = \"0.0.0.0:1985\"\n[apps.\"*\"]\n{key}"), &["admin port"]),
        (format!("[overload]\nmemory_max_bytes = 200_000_000\n[apps.\"*\"]\n{key}"), &["gop_max_bytes"]),
        (format!("[overload]\nmemory_max_bytes = 300_000_000\n[apps.\"*\"]\n{key}"), &[]),
    ] {
        let found = parse(&text).unwrap().warnings();
        assert_eq!(found.len(), expected.len(), "{text}\n{found:?}");
        assert!(
            found.iter().zip(expected).all(|(found, expected)| found.contains(expected)),
            "{text}\n{found:?}"
        );
    }
}

#[test]
fn flags_win_over_the_file() {
    let flags = Overrides {
        rtmp: Some("127.0.0.1:1".parse().unwrap()),
        cores: Some(vec![1]),
        engine: Some(headgate::config::EngineKind::Epoll),
        ..Overrides::default()
    };
    let config = parse(FILE).unwrap().with_overrides(flags.clone()).unwrap();
    assert_eq!(config.listen.rtmp.port(), 1);
    assert_eq!((config.runtime.cores, config.listen.http.port()), (Some(vec![1]), 8080));
    let clash = Overrides { http: flags.rtmp, ..flags };
    let message = Config::default().with_overrides(clash).unwrap_err().to_string();
    assert!(message.contains("listen.http") && message.contains("help"), "{message}");
}

/// Attacks on whoever reads the file, and mistakes that look like them: refused at their place, quickly, in a message that
/// a terminal survives.
#[test]
fn x4_absurd_values_are_refused_at_their_place() {
    let nested = |open: &str, close: &str| {
        format!("[runtime]\ncores = {}1{}\n", open.repeat(100_000), close.repeat(100_000))
    };
    for (text, place, say) in [
        ("[fanout]\nflush_ms = 99999999999999999999\n".to_owned(), "f.toml:2:12:", "is too large"),
        ("[fanout]\nflush_ms = 9223372036854775808\n".to_owned(), "f.toml:2:12:", "out of range"),
        ("[fanout]\nflush_ms = 0xffffffffffffffffff\n".to_owned(), "f.toml:2:12:", "is too large"),
        (
            "[limits]\nconnections_per_core = 4294967296\n".to_owned(),
            "f.toml:2:24:",
            "4294967296 is too large",
        ),
        (
            "[limits]\nconnections_per_core = 4294967297\n".to_owned(),
            "f.toml:2:24:",
            "4294967297 is too large",
        ),
        ("[limits]\nconnections_per_core = -1\n".to_owned(), "f.toml:2:24:", "0 or more"),
        ("[fanout]\nflush_ms = -9223372036854775809\n".to_owned(), "f.toml:2:12:", "0 or more"),
        ("[fanout]\nmax_lag_ms = 1e3\n".to_owned(), "f.toml:2:14:", "0 or more"),
        ("[fanout]\nmax_lag_ms = inf\n".to_owned(), "f.toml:2:14:", "0 or more"),
        ("[fanout]\nmax_lag_ms = 3s\n".to_owned(), "f.toml:2:14:", "quote"),
        ("[fanout]\nmax_lag_ms = \"3s\"\n".to_owned(), "f.toml:2:14:", "without quotes or unit"),
        ("[runtime]\ncores = [-1]\n".to_owned(), "f.toml:2:10:", "0 or more"),
        ("[runtime]\ncores = [99999999999999999999]\n".to_owned(), "f.toml:2:10:", "is too large"),
        ("[listen]\nrtmp = \"0.0.0.0:65536\"\n".to_owned(), "f.toml:2:8:", "0.0.0.0:1935"),
        (nested("[", "]"), "f.toml:2:", "nested too deeply"),
        (nested("{a=", "}"), "f.toml:2:", "nested too deeply"),
        (format!("{}a = 1\n", "a.".repeat(100_000)), "f.toml:1:", "nested too deeply"),
        (format!("[apps.{}a]\n", "a.".repeat(100_000)), "f.toml:1:", "nested too deeply"),
        (format!("[log]\nlevel = \"{}\"\n", "x".repeat(500_000)), "f.toml:2:9:", "unknown value"),
        (format!("[log]\n{} = 1\n", "x".repeat(500_000)), "f.toml:2:1:", "unknown key"),
        (format!("[apps.{}]\n", "x".repeat(500_000)), "f.toml:1:7:", "1 to 255 bytes"),
        ("[log]\n\"a\\u001b[31m\" = 1\n".to_owned(), "f.toml:2:1:", "unknown key `a\\u{1b}[31m`"),
        ("[\"a\\nb\"]\n".to_owned(), "f.toml:1:2:", "unknown key `a\\nb`"),
        ("[apps.\"a\\u001b[31mb\"]\n".to_owned(), "f.toml:1:7:", "a\\u{1b}[31mb"),
    ] {
        let message = refused(&text);
        let start = &text[..text.len().min(60)];
        assert!(message.starts_with(place) && message.contains(say), "{start}\n{message}");
        assert!(message.contains('^') && message.len() < 1200, "{start}: {} bytes", message.len());
        assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{start}\n{message}");
        assert!(
            !message.contains("128") && !message.contains("u32"),
            "no word of the implementation: {message}"
        );
    }
}

#[test]
fn x4_a_file_without_end_is_not_read_to_it() {
    let path = std::env::temp_dir().join(format!("headgate-x4-{}.toml", std::process::id()));
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    let endless = [path.as_path(), std::path::Path::new("/dev/zero")];
    let messages = endless.map(|path| headgate::config::load(path).unwrap_err().to_string());
    std::fs::remove_file(&path).unwrap();
    for message in messages {
        assert!(message.contains("at most 1 MiB") && message.contains("help"), "{message}");
    }
}

/// A viewer is behind by what has gathered for it, and must not be skipped ahead for that.
#[test]
fn x4_lag_is_longer_than_what_gathers() {
    let config = |flush: &str, flush_ms: u64, lag_ms: u64| {
        parse(&format!("[fanout]\nflush = \"{flush}\"\nflush_ms = {flush_ms}\nmax_lag_ms = {lag_ms}\n"))
    };
    for (flush, flush_ms, lag_ms, valid) in [
        ("interval", 350, 350, false),
        ("interval", 350, 351, true),
        ("interval", 1000, 100, false),
        ("video", 500, 400, false), // sound without pictures gathers for flush_ms too
        ("video", 40, 100, true),
        ("frame", 1000, 100, true),
    ] {
        match config(flush, flush_ms, lag_ms) {
            Ok(_) => assert!(valid, "{flush} {flush_ms} {lag_ms}"),
            Err(error) => {
                let message = error.to_string();
                assert!(!valid, "{message}");
                let hint = format!("use at least {}", flush_ms + 1);
                assert!(message.starts_with("f.toml:4:14:") && message.contains(&hint), "{message}");
            }
        }
    }
}
