//! Both doors over real sockets.

use super::connection::pages_per_address;
use super::*;
use crate::edge::admission::Visit;
use crate::observe::{
    AlarmReception, ChannelAbout, ChannelSlot, InputAbout, InputEvent, InputSlot, Notes, PerProtocol,
    Reception, SendError, ServiceAbout, SourceState, SwitchReason,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

struct Fixed;

impl StreamSource for Fixed {
    fn streams(&self) -> Vec<StreamSummary> {
        let stream = |name: &str, state| StreamSummary {
            app: "live".to_owned(),
            name: name.to_owned(),
            state,
            tracks: vec![TrackSummary {
                kind: "video",
                codec: "H.264".to_owned(),
                detail: "640x360".to_owned(),
            }],
            mpegts: true,
            passes: false,
            bitrate_bps: 1_000_000,
            viewers: PerProtocol::from_fn(|_| 1),
            age_s: 61,
            bytes_in: 5,
        };
        vec![stream("b</script>", StreamState::Live), stream("a", StreamState::Waiting)]
    }
}

fn start() -> (Control, Arc<AtomicBool>) {
    start_behind(Gate::new(Arc::default()))
}

/// What a control thread needs, on a free port.
pub(super) fn options() -> Options {
    let mut config = Config::default();
    config.listen.admin = "127.0.0.1:0".parse().unwrap();
    // The machine that runs the tests may be busy.
    config.overload.loop_lag_ms = 0;
    Options {
        config: Arc::new(config),
        gate: Gate::new(Arc::default()),
        rtmp_port: 1935,
        registry: Registry::new(&[0]),
        streams: Arc::new(Fixed),
        ready: Arc::default(),
        door: Admission::new(&crate::config::Limits::default(), 1000),
        limiters: Arc::default(),
        descriptors_max: 1 << 20,
        connections_max: 1000,
        wake: Arc::new(|| {}),
    }
}

/// One of the address with this number, which has come to a door of its own.
fn visit(number: u8) -> Visit {
    let door = Admission::new(&crate::config::Limits::default(), 1000);
    door.enter(clock(), [192, 0, 2, number].into()).unwrap()
}

fn start_behind(gate: Gate) -> (Control, Arc<AtomicBool>) {
    let options = Options { gate, ..options() };
    let ready = options.ready.clone();
    (Control::start(options).unwrap(), ready)
}

fn read_all(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn admin(control: &Control, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(control.admin()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    read_all(stream)
}

/// Asks as through the media port: the first `read` bytes of the request were read by somebody else.
fn page(control: &Control, path: &str, read: usize) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: media.example\r\n\r\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let (head, rest) = request.split_at(read.min(request.len()));
    assert!(control.pages().serve(server, head.as_bytes().to_vec(), visit(1)).is_ok());
    client.write_all(rest.as_bytes()).unwrap();
    read_all(client)
}

#[test]
fn the_admin_port() {
    let (control, ready) = start();
    assert!(admin(&control, "/livez", "localhost").starts_with("HTTP/1.1 200"));
    assert!(admin(&control, "/readyz", "localhost").starts_with("HTTP/1.1 503"));
    ready.store(true, Ordering::Release);
    assert!(admin(&control, "/readyz", "localhost").starts_with("HTTP/1.1 200"));
    assert!(admin(&control, "/startupz", "localhost").starts_with("HTTP/1.1 200"));
    let mut probe = TcpStream::connect(control.admin()).unwrap();
    write!(probe, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    probe.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(read_all(probe).starts_with("HTTP/1.1 200"), "its side was closed behind the request");
    let verbose = admin(&control, "/readyz?verbose", "localhost");
    assert!(verbose.contains("[+] serving\n[+] load\nready\n"), "{verbose}");
    assert!(admin(&control, "/livez?verbose=1", "localhost").contains("[+] core 0\nok\n"));
    let metrics = admin(&control, "/metrics", "127.0.0.1");
    assert!(
        metrics.contains("text/plain; version=0.0.4") && metrics.contains("\nheadgate_streams 0\n"),
        "{metrics}"
    );
    let streams = admin(&control, "/api/v1/streams", "localhost");
    let body = streams.split_once("\r\n\r\n").unwrap().1;
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(value["streams"][0]["name"], "a");
    assert_eq!(value["streams"][0]["state"], "waiting");
    assert_eq!(value["streams"][1]["viewers"]["http_flv"], 1);
    assert!(admin(&control, "/metrics", "rebound.example").starts_with("HTTP/1.1 421"));
    assert!(admin(&control, "/nothing", "localhost").starts_with("HTTP/1.1 404"));
    control.stop();
}

#[test]
fn the_media_port_has_the_page_and_nothing_else() {
    let (control, _) = start();
    for read in [0, 1, 20, 1000] {
        let html = page(&control, "/", read);
        assert!(html.starts_with("HTTP/1.1 200") && html.ends_with("</html>\n"), "{html}");
        assert!(html.contains("content-security-policy: default-src 'none'"), "{html}");
        assert!(html.contains("<li>live/b&lt;/script&gt;</li>") && !html.contains("live/a<"), "{html}");
    }
    let list = page(&control, "/api/streams", 7);
    let value: serde_json::Value = serde_json::from_str(list.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(value["streams"].as_array().unwrap().len(), 1, "waiting streams are not shown");
    assert_eq!(value["streams"][0]["name"], "b</script>");
    assert!(list.contains("connection: close"), "{list}");
    for admin_only in [
        "/metrics",
        "/livez",
        "/readyz",
        "/startupz",
        "/api/v1/streams",
        "/api/v1/channels",
        "/api/v1/inputs",
    ] {
        assert!(page(&control, admin_only, 3).starts_with("HTTP/1.1 404"), "{admin_only}");
    }
    control.stop();
}

#[test]
fn channels_are_told_of_to_operators_and_to_readers() {
    let slot = |name: &str, ids: &[&str]| {
        let to = vec!["udp://eth1@239.255.1.1:5000".to_owned()];
        let service = |id: &&str| ServiceAbout {
            id: (*id).to_owned(),
            name: format!("Service {id}"),
            source: format!("live/{id}"),
        };
        let services = ids.iter().map(service).collect();
        let about =
            ChannelAbout { name: name.to_owned(), services, to, bitrate_bps: 2_000_000, passes: false };
        ChannelSlot::new(about, &["1.4", "2.5"])
    };
    let (one, two) = (slot("one", &["b"]), slot("two", &["c", "d"]));
    two.services[1].source_state.set(SourceState::OnAir.index() as i64);
    two.services[1].units_dropped.add(7);
    one.services[0].source_state.set(SourceState::OnAir.index() as i64);
    one.metrics.send_errors[SendError::Unreachable].add(3);
    one.indicators[1].1.inc();
    let options = Options {
        registry: Registry::with_headend(&[0], vec![one, two], Vec::new(), usize::MAX),
        ..options()
    };
    let control = Control::start(options).unwrap();
    let value = |answer: String| -> serde_json::Value {
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let api = value(admin(&control, "/api/v1/channels", "localhost"));
    let expected = serde_json::json!({
        "name": "one", "source": "live/b",
        "services": [{"id": "b", "name": "Service b", "source": "live/b", "on_air": true, "source_state": "on_air",
            "units_dropped": 0}],
        "to": ["udp://eth1@239.255.1.1:5000"], "bitrate_bps": 2_000_000, "mode": "cbr",
        "on_air": true, "source_state": "on_air", "null_ratio": 0.0, "datagrams": 0,
        "send_errors": {"unreachable": 3}, "indicators": {"2.5": 1},
    });
    assert_eq!(api["channels"][0], expected);
    assert_eq!(api["channels"][1]["source_state"], "no_stream");
    assert!(api["channels"][1].get("source").is_none() && api["channels"][1]["on_air"] == false);
    let second = &api["channels"][1]["services"][1];
    assert_eq!((&second["source"], &second["on_air"]), (&"live/d".into(), &true.into()));
    assert_eq!((&second["source_state"], &second["units_dropped"]), (&"on_air".into(), &7.into()));
    let shown = value(page(&control, "/api/streams", 7));
    assert_eq!(shown["channels"][0]["on_air"], true);
    assert_eq!(shown["channels"][0]["to"][0], "udp://239.255.1.1:5000", "no interface of ours");
    assert_eq!(shown["channels"][1]["on_air"], false);
    let second = serde_json::json!({"id": "d", "name": "Service d", "source": "live/d", "on_air": true});
    assert_eq!(shown["channels"][1]["services"][1], second, "what it lost is the operator's");
    assert!(shown["channels"][0].get("send_errors").is_none(), "that is the operator's");
    control.stop();
}

#[test]
fn inputs_are_told_of_to_operators_and_to_readers() {
    let slot = |stream: &str, from: usize| {
        let from = (0..from).map(|n| format!("udp://eth1@239.255.1.{n}:5000")).collect();
        InputSlot::new(
            InputAbout { stream: stream.to_owned(), from, merged: stream == "live/two" },
            &["lost", "merged"],
            &["crc"],
            &["1.4"],
        )
    };
    let mut slots = vec![slot("live/one", 2), slot("live/two", 3)];
    let one = slots[0].clone();
    one.metrics.on_air.set(1);
    one.metrics.origin.set(1);
    one.origins[1].bitrate_bps.set(4e6);
    one.metrics.failovers[SwitchReason::Silence].inc();
    one.origins[0].rtp[0].1.add(7);
    one.origins[1].buffer_bytes.set(4 << 20);
    let now_us = clock().as_micros();
    let alarm = |indicator, ago_s: u64| AlarmReception {
        indicator,
        cause: "continuity",
        count: 3,
        pid: Some(256),
        first_us: now_us.saturating_sub(60_000_000),
        last_us: now_us.saturating_sub(ago_s * 1_000_000),
        lasts: indicator == "1.3",
    };
    one.origins[1].reception.put(Reception {
        alarms: vec![alarm("1.4", 0), alarm("1.2", 30), alarm("1.3", 30)],
        ..Reception::default()
    });
    let mut notes = Notes::default();
    notes.add(InputEvent { at_us: now_us, what: "switched", cause: Some("silence"), origin: Some(1) });
    notes.enter(&one.diary);
    // Of three places that are one stream two bring something.
    let two = slots[1].clone();
    two.metrics.on_air.set(1);
    two.metrics.origin.set(0);
    two.origins[1].bitrate_bps.set(2e6);
    two.origins[2].bitrate_bps.set(3e6);
    slots.push(slot("live/three", 1));
    let three = slots[2].clone();
    three.origins[0].buffer_bytes.set(4 << 20);
    three.origins[0].bitrate_bps.set(1e6);
    slots.extend((0..300).map(|n| slot(&format!("live/n{n}"), 1)));
    let options =
        Options { registry: Registry::with_headend(&[0], Vec::new(), slots, usize::MAX), ..options() };
    let control = Control::start(options).unwrap();
    let value = |answer: String| -> serde_json::Value {
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let all = value(admin(&control, "/api/v1/inputs", "localhost"));
    assert_eq!(all["inputs"].as_array().unwrap().len(), 303);
    let on_air = [0, 1, 2].map(|n| all["inputs"][1]["origins"][n]["on_air"] == true);
    assert_eq!((&all["inputs"][1]["merged"], on_air), (&true.into(), [false, true, true]));
    assert_eq!(all["inputs"][2]["state"], "silent", "what comes is nothing that could be published");
    assert_eq!(all["inputs"][3]["state"], "deaf");
    three.metrics.alive.set(1);
    assert_eq!(value(admin(&control, "/api/v1/inputs/live/three", "localhost"))["state"], "ready");
    let input = value(admin(&control, "/api/v1/inputs/live/one", "localhost"));
    assert_eq!((&input["state"], &input["origin"]), (&"on_air".into(), &1.into()));
    assert_eq!(input["failovers"], serde_json::json!({"silence": 1, "revert": 0}));
    assert_eq!(input["origins"][0]["rtp_packets"], serde_json::json!({"lost": 7}));
    let origin = &input["origins"][1];
    assert_eq!((&origin["listening"], &origin["bitrate_bps"]), (&true.into(), &4_000_000.into()));
    let active = [0, 1, 2].map(|n| origin["alarms"][n]["active"] == true);
    assert_eq!(active, [true, false, true], "what lasts is raised once");
    let unix_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let last_s = origin["alarms"][0]["last_unix_s"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&(unix_s - last_s)), "{last_s} at {unix_s}");
    assert_eq!(
        (&input["events"][0]["what"], &input["events"][0]["cause"]),
        (&"switched".into(), &"silence".into())
    );
    assert!(admin(&control, "/api/v1/inputs/live/none", "localhost").starts_with("HTTP/1.1 404"));
    let shown = value(page(&control, "/api/streams", 7));
    let expected =
        serde_json::json!({"stream": "live/one", "on_air": true, "backup": true, "bitrate_bps": 4_000_000});
    assert_eq!(shown["inputs"][0], expected, "no address of ours");
    assert_eq!(shown["inputs"][1]["bitrate_bps"], 3_000_000);
    assert_eq!((shown["inputs"].as_array().unwrap().len(), &shown["inputs_omitted"]), (200, &103.into()));
    control.stop();
}

#[test]
fn lists_of_channels() {
    let text = "[apps.live]\nplay_token = \"tok\"\n[[channel]]\nname = \"one\"\nsource = \"live/b</script>\"\nbitrate = 2000000\n\
                service_name = \"Erstes, \\\"neu\\\"\"\nto = [\"udp://192.0.2.1:5000\", \"udp://eth1@239.255.1.1:5000\"]\n";
    // A name with signs that nobody can publish.
    assert!(Config::parse(text, "f").is_err());
    let text = text.replace("live/b</script>", "live/b");
    let mut config = Config::parse(&text, "f").unwrap();
    config.listen.admin = "127.0.0.1:0".parse().unwrap();
    config.overload.loop_lag_ms = 0;
    let config = Arc::new(config);
    let options = Options { gate: Gate::new(config.clone()), config, ..options() };
    let control = Control::start(options).unwrap();
    let body = |path: &str| {
        let answer = page(&control, path, 3);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let head = "#EXTM3U\n#EXTINF:-1 tvg-id=\"live/b</script>\" tvg-name=\"b</script>\" group-title=\"live\",b</script>\n";
    for (path, expected) in [
        ("/playlist.m3u", format!("{head}http://media.example/live/b%3C/script%3E.ts\n")),
        ("/playlist.m3u?proto=flv&token=tok", format!("{head}http://media.example/live/b%3C/script%3E.flv?token=tok\n")),
        ("/playlist.m3u?proto=flv&key=tok", format!("{head}http://media.example/live/b%3C/script%3E.flv?token=tok\n")),
        // Only what opens it is written behind it.
        ("/playlist.m3u?token=other&key=tok", format!("{head}http://media.example/live/b%3C/script%3E.ts?token=tok\n")),
        ("/playlist.m3u?token=other&key=none", format!("{head}http://media.example/live/b%3C/script%3E.ts\n")),
        ("/playlist.m3u?token=other", format!("{head}http://media.example/live/b%3C/script%3E.ts\n")),
        // No URL of RTMP may hold this name.
        ("/playlist.m3u?proto=rtmp", "#EXTM3U\n".to_owned()),
        (
            "/playlist.m3u?proto=udp",
            "#EXTM3U\n#EXTINF:-1 tvg-id=\"one\" tvg-name=\"Erstes; 'neu'\" group-title=\"headgate\",Erstes; 'neu'\n\
             udp://@239.255.1.1:5000\n"
                .to_owned(),
        ),
    ] {
        assert_eq!(body(path), expected, "{path}");
        assert_eq!(body(path), expected, "{path}, again");
    }
    let list = body("/playlist.xspf?proto=udp");
    assert!(list.contains("<title>Erstes, &quot;neu&quot;</title>"), "{list}");
    assert!(page(&control, "/playlist.m3u", 0).contains("content-type: audio/x-mpegurl; charset=utf-8"));
    assert!(
        page(&control, "/playlist.xspf", 0).contains("content-type: application/xspf+xml; charset=utf-8")
    );
    assert!(page(&control, "/playlist.m3u?proto=srt", 0).starts_with("HTTP/1.1 400"));
    assert!(admin(&control, "/playlist.m3u", "localhost").starts_with("HTTP/1.1 404"));
    control.stop();
}

#[test]
fn the_page_follows_a_reload() {
    let gate = Gate::new(Arc::default());
    let (control, _) = start_behind(gate.clone());
    let needs_token = || page(&control, "/api/streams", 0).contains("\"token\":true");
    assert!(!needs_token());
    gate.replace(Arc::new(Config::parse("[apps.live]\nplay_token = \"t\"\n", "test").unwrap()));
    // Answers are repeated for a second.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !needs_token() {
        assert!(std::time::Instant::now() < deadline, "the page shows the old configuration");
        std::thread::sleep(Duration::from_millis(100));
    }
    control.stop();
}

#[test]
fn silent_connections_do_not_lock_the_operator_out() {
    let (control, _) = start();
    // Many more than there are places, and one that has begun to ask.
    let mut begun = TcpStream::connect(control.admin()).unwrap();
    begun.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(control.admin()).unwrap()).collect();
    // Without a place it would be closed at once, not answered later.
    assert!(admin(&control, "/livez", "localhost").starts_with("HTTP/1.1 200"));
    // The oldest have made room. A reset is an end as well.
    begun.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(begun.read(&mut [0; 1]), Ok(0) | Err(_)));
    drop(silent);
    control.stop();
}

#[test]
fn a_busy_port_is_an_error() {
    let (first, _) = start();
    let mut config = Config::default();
    config.listen.admin = first.admin();
    let second = Control::start(Options { config: Arc::new(config), ..options() });
    assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    first.stop();
}

#[test]
fn pages_beyond_the_places_are_refused() {
    let (control, _) = start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Requests that never become complete keep their places.
    let mut open = Vec::new();
    let hand_over = |open: &mut Vec<TcpStream>| {
        open.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        control.pages().serve(listener.accept().unwrap().0, b"GET / HT".to_vec(), visit(1)).is_ok()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(4);
    // The queue is shorter than the places: it may be full for a moment, but places do not come back.
    let mut taken = 0;
    while taken < 256 && std::time::Instant::now() < deadline {
        taken += usize::from(hand_over(&mut open));
    }
    assert_eq!(taken, 256);
    assert!(!hand_over(&mut open), "there is no place left");
    control.stop();
}

/// Its places come back when the pages are read, not when their connections are handed over.
#[test]
fn one_address_does_not_take_all_pages() {
    let (control, _) = start();
    let door = Admission::new(&crate::config::Limits::default(), 1000);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut open = Vec::new();
    let mut hand_over = |number: u8| {
        open.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let visit = door.enter(clock(), [192, 0, 2, number].into()).unwrap();
        control.pages().serve(listener.accept().unwrap().0, b"GET / HT".to_vec(), visit).is_ok()
    };
    let most = pages_per_address(256);
    assert_eq!((0..2 * most).filter(|_| hand_over(1)).count(), most as usize);
    assert!(hand_over(2), "another address");
    drop(open);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while door.counted() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} are still counted", door.counted());
        std::thread::sleep(Duration::from_millis(10));
    }
    control.stop();
}
