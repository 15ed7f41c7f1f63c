use super::budget::wire_bps;
use super::*;
use std::net::{IpAddr, SocketAddr};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "f").map_err(|error| error.to_string())
}

/// A channel named `name` to `to`, a list as TOML writes it.
fn channel(name: &str, to: &str) -> String {
    format!("[[channel]]\nname = \"{name}\"\nsource = \"live/one\"\nbitrate = 4000000\nto = {to}\n")
}

fn input(stream: &str, from: &str) -> String {
    format!("[[input]]\nstream = \"{stream}\"\nfrom = {from}\n")
}

fn destination(url: &str) -> Result<Destination, String> {
    let text = format!("[[channel]]\nname = \"a\"\nsource = \"a/b\"\nbitrate = 4000000\nto = [{url:?}]\n");
    parse(&text).map(|config| config.channels[0].to[0].clone())
}

fn origin(url: &str) -> Result<Origin, String> {
    parse(&input("a/b", &format!("[{url:?}]"))).map(|config| config.inputs[0].from[0].clone())
}

#[test]
fn destinations_are_read_and_written() {
    for (text, whole) in [
        ("udp://eth1@239.255.1.1:5000", "udp://eth1@239.255.1.1:5000#ttl=16&dscp=34"),
        ("udp://eth1@239.255.1.1:5000#ttl=8", "udp://eth1@239.255.1.1:5000#ttl=8&dscp=34"),
        ("udp://eth1@239.255.1.1:5000/?dscp=0&ttl=255", "udp://eth1@239.255.1.1:5000#ttl=255&dscp=0"),
        ("udp://10.0.0.1@239.255.1.1:5000#loop", "udp://10.0.0.1@239.255.1.1:5000#ttl=16&dscp=34&loop"),
        ("udp://eth1.20@10.0.0.1@232.1.1.1:5000", "udp://eth1.20@10.0.0.1@232.1.1.1:5000#ttl=16&dscp=34"),
        ("udp://eth1@[ff15::1]:5000", "udp://eth1@[ff15::1]:5000#ttl=16&dscp=34"),
        (
            "rtp://[2001:db8::1]@[2001:db8::2]@[ff15::1]:5000",
            "rtp://[2001:db8::1]@[2001:db8::2]@[ff15::1]:5000#ttl=16&dscp=34",
        ),
        ("udp://192.0.2.1:1234", "udp://192.0.2.1:1234#ttl=16&dscp=34"),
        ("udp://@10.0.0.1@192.0.2.1:1234", "udp://@10.0.0.1@192.0.2.1:1234#ttl=16&dscp=34"),
        (
            "rtp://eth1@239.255.1.2:5004#fec=8x8&sap",
            "rtp://eth1@239.255.1.2:5004#ttl=16&dscp=34&fec=8x8&sap=239.255.255.255",
        ),
        (
            "rtp://eth1@239.1.1.2:5004#fec=1x20&columns&staggered&sap=239.255.255.255",
            "rtp://eth1@239.1.1.2:5004#ttl=16&dscp=34&fec=1x20&columns&staggered&sap=239.255.255.255",
        ),
        ("udp://eth1@239.1.1.2:5004#sap", "udp://eth1@239.1.1.2:5004#ttl=16&dscp=34&sap=224.2.127.254"),
    ] {
        let read = destination(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(read.to_string(), whole, "{text}");
        assert_eq!(destination(whole).as_ref(), Ok(&read), "{whole}");
    }
    let full = destination("rtp://eth1@10.0.0.7@239.255.1.2:5004#fec=5x10").unwrap();
    assert_eq!(full.source, "10.0.0.7".parse::<IpAddr>().ok());
    assert_eq!(full.fec, Some(Fec { columns: 5, rows: 10, row_packets: true, staggered: false }));
    assert_eq!(full.ports().collect::<Vec<_>>(), [5004, 5005, 5006, 5008]);
    assert_eq!((full.column_address().port(), full.row_address().port()), (5006, 5008));
}

#[test]
fn what_is_no_destination_is_told_why() {
    for (text, say) in [
        ("239.255.1.1:5000", "write udp://INTERFACE@GROUP:PORT"),
        ("http://239.255.1.1:5000", "`http://` is not understood"),
        ("udp://eth1@239.255.1.1", "not an address and a port"),
        ("udp://eth1@239.255.1.1:0", "port 0"),
        ("udp://eth1@239.255.1.1:70000", "not an address and a port"),
        ("udp://eth1@example.org:5000", "names are not looked up"),
        ("udp://239.255.1.1:5000", "write udp://eth1@239.255.1.1:5000"),
        ("udp://@239.255.1.1:5000", "has no interface"),
        ("udp://eth1@[ff15::1]@[ff15::1]:5000", "not the address of one machine"),
        ("udp://10.0.0.1@[ff15::1]:5000", "IPv4 and IPv6"),
        ("udp://eth1@x@239.255.1.1:5000", "the source `x`"),
        ("udp://an interface@239.255.1.1:5000", "not the name or the address"),
        ("udp://interface-too-long@239.255.1.1:5000", "not the name or the address"),
        ("udp://10.0.0@239.255.1.1:5000", "not the name or the address"),
        ("udp://eth1@239.255.1.1:5000#tll=8", "did you mean `ttl`?"),
        ("udp://eth1@239.255.1.1:5000#ttl=0", "use ttl=1 to ttl=255"),
        ("udp://eth1@239.255.1.1:5000#ttl=+8", "use ttl=1 to ttl=255"),
        ("udp://eth1@239.255.1.1:5000#ttl", "write ttl=VALUE"),
        ("udp://eth1@239.255.1.1:5000#loop=1", "write loop alone"),
        ("udp://eth1@239.255.1.1:5000#ttl=8&ttl=9", "given twice"),
        ("udp://eth1@239.255.1.1:5000#dscp=64", "dscp=63"),
        ("udp://eth1@239.255.1.1:5000#fec=8x8", "write rtp://"),
        ("udp://eth1@239.255.1.1:5000#columns", "add fec=8x8"),
        ("rtp://eth1@239.255.1.1:5000#fec=8", "write fec=LxD"),
        ("rtp://eth1@239.255.1.1:5000#fec=3x8", "4 to 20 columns"),
        ("rtp://eth1@239.255.1.1:5000#fec=21x4&columns", "1 to 20 columns"),
        ("rtp://eth1@239.255.1.1:5000#fec=8x3&columns", "4 to 20 rows"),
        ("rtp://eth1@239.255.1.1:5000#fec=11x10", "at most 100 packets"),
        ("rtp://eth1@239.255.1.1:5001", "use 5000 or another even port"),
        ("rtp://eth1@239.255.1.1:65532#fec=8x8", "at most 65530"),
        ("rtp://eth1@239.255.1.1:65534#fec=8x8&columns", "at most 65532"),
        ("udp://eth1@239.255.1.1:5000#ttl=8?dscp=34", "write one # (or ?) behind the port"),
        ("udp://eth1@224.0.0.9:5000", "routing protocols"),
        ("udp://eth1@239.128.0.9:5000", "to every port"),
        ("udp://eth1@[ff02::1]:5000", "not forwarded"),
        ("udp://0.0.0.0:5000", "nobody's address"),
        ("udp://255.255.255.255:5000", "nobody's address"),
        ("udp://eth1@239.255.1.1:5000#sap=10.0.0.1", "not a group"),
        ("udp://192.0.2.1:5000#sap", "write udp://eth1@192.0.2.1:5000"),
        ("udp://eth1@[fe80::1%2]:5000", "write [fe80::1]:5000"),
        ("udp://[fe80::1]:5000", "has no interface"),
        ("udp://eth1@[::ffff:239.255.1.1]:5000", "write 239.255.1.1"),
        ("udp://eth1@[::ffff:10.0.0.9]@[ff15::1]:5000", "write 10.0.0.9"),
        ("udp://[::ffff:10.0.0.9]@[ff15::1]:5000", "not the name or the address"),
        ("udp://eth1@255.255.255.255@239.255.1.1:5000", "not the address of one machine"),
        ("udp://eth1@239.255.1.1:5000#cbr=5", "one channel has one rate"),
        ("udp://eth1@239.255.1.1:5000#cbr=fast", "write cbr=4M"),
        ("udp://eth1@239.255.1.1:5000#cbr=2000", "write cbr=4M"),
    ] {
        let error = destination(text).expect_err(text);
        assert!(error.starts_with("f:5:7: channel[0].to[0]: "), "{text}\n{error}");
        assert!(error.contains(say) && error.contains("help: "), "{text}\n{error}");
    }
    let long = format!("udp://eth1@239.255.1.1:5000#{}", "a&".repeat(100_000));
    assert!(destination(&long).expect_err("long").contains("has 200028 bytes"));
}

#[test]
fn a_rate_may_stand_with_the_destination() {
    let base = "[[channel]]\nname = \"a\"\nsource = \"a/b\"\nto = [";
    for (to, expected) in [
        ("\"udp://eth1@239.255.1.1:5000#cbr=4\"", Ok(4_000_000)),
        ("\"udp://eth1@239.255.1.1:5000#cbr=4.5&ttl=3\"", Ok(4_500_000)),
        ("\"udp://eth1@239.255.1.1:5000#bitrate=8500k\"", Ok(8_500_000)),
        ("\"udp://eth1@239.255.1.1:5000#cbr=20M\"", Ok(20_000_000)),
        ("\"udp://eth1@239.255.1.1:5000#cbr=2000000\"", Ok(2_000_000)),
        ("\"udp://eth1@239.255.1.1:5000#cbr=2\", \"udp://eth1@239.255.1.2:5000#cbr=2M\"", Ok(2_000_000)),
        ("\"udp://eth1@239.255.1.1:5000#cbr=2\", \"udp://eth1@239.255.1.2:5000#cbr=3\"", Err("one rate")),
        ("\"udp://eth1@239.255.1.1:5000#cbr=4&bitrate=8\"", Err("both say the rate")),
        ("\"udp://eth1@239.255.1.1:5000\"", Err("has no `bitrate`")),
        ("\"udp://eth1@239.255.1.1:5000#cbr=300M\"", Err("use 200000 to 200000000")),
        ("\"udp://eth1@239.255.1.1:5000#cbr=200k\"", Ok(RATE_BPS_MIN)),
        // Below it the multiplexer cannot keep the intervals of its tables.
        ("\"udp://eth1@239.255.1.1:5000#cbr=199999\"", Err("199999 is out of range")),
    ] {
        match (parse(&format!("{base}{to}]\n")), expected) {
            (Ok(config), Ok(rate)) => assert_eq!(config.channels[0].bitrate_bps, rate, "{to}"),
            (Err(error), Err(say)) => assert!(error.contains(say), "{to}\n{error}"),
            (found, expected) => panic!("{to}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn the_interface_of_all_is_taken_by_groups_alone() {
    let shared = "[headend]\ninterface = \"eth7\"\nttl = 3\ndscp = 10\nprovider = \"P\"\n";
    let to = "[\"udp://239.255.1.1:5000\", \"udp://@239.255.1.2:5000#ttl=4\", \"udp://192.0.2.1:5000\"]";
    let config = parse(&format!("{shared}{}", channel("a", to))).unwrap();
    let to = &config.channels[0].to;
    let interfaces: Vec<_> = to.iter().map(|to| to.interface.as_deref()).collect();
    assert_eq!(interfaces, [Some("eth7"), Some("eth7"), None]);
    assert_eq!(to.iter().map(|to| (to.ttl, to.dscp)).collect::<Vec<_>>(), [(3, 10), (4, 10), (3, 10)]);
    assert_eq!(config.channels[0].provider, "P");
    // One of the other kind is none.
    let shared = "[headend]\ninterface = \"10.0.0.1\"\n";
    let error = parse(&format!("{shared}{}", channel("a", "[\"udp://[ff15::1]:5000\"]"))).unwrap_err();
    assert!(error.contains("10.0.0.1") && error.contains("IPv4 and IPv6"), "{error}");
    assert!(parse(&format!("{shared}{}", channel("a", "[\"udp://[2001:db8::1]:5000\"]"))).is_ok());
}

/// An address of an interface is one however it is written.
#[test]
fn an_interface_is_one_however_it_is_written() {
    let long = "udp://[2001:0DB8:0::0001]@[ff15::7]:5000";
    assert_eq!(destination(long).unwrap().interface.as_deref(), Some("2001:db8::1"));
    let twice = channel("a", &format!("[{long:?}, \"udp://[2001:db8::1]@[ff15::7]:5000\"]"));
    assert!(parse(&twice).unwrap_err().contains("channel[0].to[1]: [ff15::7]:5000 (the stream) is taken"));
    let link = "[headend]\nlink_mbit = { \"2001:DB8::1\" = 4 }\n";
    let error = parse(&format!("{link}{}", channel("a", &format!("[{long:?}]")))).unwrap_err();
    assert!(error.contains("90 % of its 4 Mbit/s"), "{error}");
    let roomy = link.replace("= 4", "= 100");
    assert_eq!(
        parse(&format!("{roomy}{}", channel("a", &format!("[{long:?}]")))).unwrap().headend.link_mbit.len(),
        1
    );
}

#[test]
fn origins_are_read() {
    let source = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    for (text, interface, sender, fec) in [
        ("udp://eth1@239.255.1.1:5000", Some("eth1"), None, false),
        ("rtp://eth1@239.255.1.1:5001#fec", Some("eth1"), None, true),
        ("rtp://eth1@10.0.0.9@232.1.1.1:5004", Some("eth1"), source("10.0.0.9"), false),
        ("udp://10.0.0.1@239.255.1.1:5000", Some("10.0.0.1"), None, false),
        ("udp://eth1@[2001:db8::9]@[ff3e::1]:5000", Some("eth1"), source("2001:db8::9"), false),
        ("udp://0.0.0.0:5000", None, None, false),
        ("udp://[::1]:5000", None, None, false),
        ("udp://eth1@239.128.0.1:5000", Some("eth1"), None, false),
    ] {
        let read = origin(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((read.interface.as_deref(), read.source, read.fec), (interface, sender, fec), "{text}");
        assert_eq!(read.to_string(), text);
    }
    assert_eq!(origin("udp://@:5000").unwrap().address, "0.0.0.0:5000".parse::<SocketAddr>().unwrap());
    // What players write: the sender alone.
    let shared =
        format!("[headend]\ninterface = \"eth7\"\n{}", input("a/b", "[\"udp://10.0.0.9@232.1.1.1:5000\"]"));
    let read = parse(&shared).unwrap().inputs[0].from[0].clone();
    assert_eq!((read.interface.as_deref(), read.source), (Some("eth7"), source("10.0.0.9")));
    for (text, say) in [
        ("udp://eth1@232.1.1.1:5000", "write udp://eth1@SOURCE@232.1.1.1:5000"),
        ("udp://10.0.0.9@232.1.1.1:5000", "has no interface"),
        ("udp://eth1@224.0.0.9:5000", "routing protocols"),
        ("udp://eth1@239.255.1.1:5000#fec", "write rtp://"),
        ("udp://eth1@239.255.1.1:5000#ttl=3", "known here: fec"),
        ("rtp://eth1@239.255.1.1:65532#fec", "at most 65531"),
        ("udp://255.255.255.255:5000", "nobody's address"),
    ] {
        let error = origin(text).expect_err(text);
        assert!(error.starts_with("f:3:9: input[0].from[0]: ") && error.contains(say), "{text}\n{error}");
    }
}

/// What set-top boxes remember must be the same after any other channel came or went.
#[test]
fn derived_ids_depend_on_the_name_alone() {
    let one = |name: &str, n: usize| channel(name, &format!("[\"udp://eth1@239.255.1.{n}:5000\"]"));
    let ids = |text: &str| {
        let config = parse(text).unwrap();
        let found = config.channels.iter().find(|channel| channel.name == "news").unwrap().clone();
        (found.stream_id, found.service_id, found.pmt_pid, found.video_pid, found.audio_pid)
    };
    let alone = ids(&one("news", 1));
    assert_eq!(alone, ids(&(one("sport", 2) + &one("news", 1) + &one("film", 3))));
    assert_eq!(
        alone,
        (19_400, 48_199, 4096, 256, 272),
        "they are in the field: never change how they are made"
    );
    let all: String = (1..=200).map(|n| one(&format!("channel-{n}"), n)).collect();
    let config = parse(&all).unwrap();
    assert!(
        config.channels.iter().all(|channel| channel.service_id != 0 && channel.service_name == channel.name)
    );
    let given =
        one("a", 1) + "service_id = 7\nstream_id = 9\n" + &one("b", 2) + "service_id = 7\nstream_id = 9\n";
    let error = parse(&given).unwrap_err();
    assert!(
        error.contains("f:13:14: channel[1].service_id: channel `a` has stream id 9 and service id 7"),
        "{error}"
    );
}

#[test]
fn keys_of_a_channel_are_checked() {
    let base = channel("a", "[\"udp://eth1@239.255.1.1:5000\"]");
    for (more, say) in [
        ("service_id = 0", "f:6:14: channel[0].service_id: 0 is out of range"),
        ("pmt_pid = 16", "use 32 to 8190"),
        ("video_pid = 8190", "use 32 to 8183; it and the 7 behind it"),
        ("pcr_pid = 8191", "f:6:11: channel[0].pcr_pid: 8191 is out of range"),
        ("audio_pid = 263", "one of the video tracks'"),
        ("audio_pid = 249", "one of the video tracks'"),
        ("pmt_pid = 279", "one of the tracks'"),
        ("pcr_pid = 4096", "that of the program's table"),
        ("pcr_pid = 257", "may not be there"),
        ("languages = [\"eng\", \"DE\"]", "f:6:21: channel[0].languages[1]: \"DE\" is not a language"),
        ("service_name = \"\"", "use 1 to 120 bytes"),
        ("service_name = \"a\\nb\"", "U+000A"),
        ("provider = \"\\u202ex\"", "U+202E"),
        ("nit = 1", "write true or false"),
        ("pmt_pd = 3", "did you mean `pmt_pid`?"),
    ] {
        let error = parse(&format!("{base}{more}\n")).expect_err(more);
        assert!(error.contains(say), "{more}\n{error}");
    }
    for (text, say) in [
        ("[[channel]]\nsource = \"a/b\"\n", "f:1:1: channel[0]: has no `name`"),
        ("[[channel]]\nname = \"a\"\n\n", "has no `source`"),
        ("[[channel]]\nname = \"a\"\nsource = \"b\"\n", "write APP/STREAM"),
        ("[[channel]]\nname = \"a\"\nsource = \"a/../b\"\n", "write APP/STREAM"),
        ("[[channel]]\nname = \"a\"\nsource = \"a/b\"\n", "has 0 destinations"),
        ("[channel]\nname = \"a\"\n", "double brackets"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(say), "{text}\n{error}");
    }
}

#[test]
fn keys_of_an_input_are_checked() {
    let two = "[\"rtp://eth1@239.255.1.1:5000\", \"rtp://eth2@239.255.1.1:5000\"]";
    let config = parse(&(input("a/b", two) + "merge = true\nskew_ms = 450\nrevert_after_s = 0\n")).unwrap();
    let read = &config.inputs[0];
    assert!(read.merge && read.revert_after_s.is_none());
    assert_eq!((read.skew_ms, read.reorder_ms, read.failover_ms, read.program), (450, 60, 200, 0));
    for (from, more, say) in [
        (two, "skew_ms = 20", "use 10, 50 or 450"),
        (two, "reorder_ms = 501", "use 0 to 500"),
        (two, "failover_ms = 49", "use 50 to 60000"),
        // One packet that is waited for would be a failure.
        (two, "failover_ms = 60", "use more than 60, or a shorter reorder_ms"),
        (two, "revert_after_s = 9", "or 0 to stay"),
        (two, "program = 65536", "too large"),
        ("[\"rtp://eth1@239.255.1.1:5000\"]", "merge = true", "both as rtp://"),
        (
            "[\"udp://eth1@239.255.1.1:5000\", \"rtp://eth2@239.255.1.1:5000\"]",
            "merge = true",
            "both as rtp://",
        ),
        ("[\"udp://eth1@239.255.1.1:5000\", \"udp://eth1@239.255.1.1:5000\"]", "", "listed twice"),
        ("[\"rtp://eth1@239.255.1.1:5000\", \"rtp://eth1@239.255.1.1:5000#fec\"]", "", "listed twice"),
        ("[\"rtp://eth1@239.255.1.1:5000\", \"udp://eth1@239.255.1.1:5000\"]", "", "listed twice"),
        ("[]", "", "list 1 to 4"),
    ] {
        let error = parse(&format!("{}{more}\n", input("a/b", from))).expect_err(more);
        assert!(error.contains(say), "{from} {more}\n{error}");
    }
    assert!(parse("[[input]]\nprogram = 3\n").unwrap_err().contains("has no `stream`"));
}

#[test]
fn keys_of_all_are_checked() {
    for (text, say) in [
        ("core = 9000", "core 9000 does not exist"),
        ("interface = \"a b\"", "not the name or the address"),
        ("ttl = 0", "use 1 to 255"),
        ("dscp = 64", "use 0 to 63"),
        ("provider = \"\"", "1 to 120 bytes"),
        ("network_id = 0", "use 1 to 65535"),
        ("receive_buffer_bytes = 1000", "use 65536 to"),
        ("link_mbit = { eth1 = 0 }", "f:2:22: headend.link_mbit.eth1: 0 is out of range"),
        ("link_mbit = { \"a b\" = 10 }", "not the name or the address"),
    ] {
        let error = parse(&format!("[headend]\n{text}\n")).expect_err(text);
        assert!(error.contains(say), "{text}\n{error}");
    }
}

#[test]
fn the_plan_refuses_what_cannot_work() {
    let group = |name: &str, url: &str| channel(name, &format!("[\"{url}\"]"));
    for (what, text, say) in [
        (
            "one address for two",
            group("a", "udp://eth1@239.255.1.1:5000") + &group("b", "udp://eth2@239.255.1.1:5000"),
            Some(
                "f:10:7: channel[1].to[0]: 239.255.1.1:5000 (the stream) is taken by channel `a` (the stream)",
            ),
        ),
        (
            "one address twice in a channel",
            channel("a", "[\"udp://eth1@239.255.1.1:5000\", \"udp://eth1@239.255.1.1:5000\"]"),
            Some("f:5:38: channel[0].to[1]"),
        ),
        (
            "two paths",
            channel(
                "a",
                "[\"rtp://eth1@239.255.1.1:5000#fec=8x8\", \"rtp://eth2@239.255.1.1:5000#fec=8x8\"]",
            ),
            None,
        ),
        (
            "the same on one path in between",
            channel(
                "a",
                "[\"rtp://eth1@239.255.1.1:5000\", \"rtp://eth2@239.255.1.1:5000\", \"rtp://eth2@239.255.1.1:5000\"]",
            ),
            Some("channel[0].to[2]"),
        ),
        (
            "a stream on RTCP's port",
            group("a", "rtp://eth1@239.255.1.1:5000") + &group("b", "udp://eth1@239.255.1.1:5001"),
            Some("(the stream) is taken by channel `a` (RTCP)"),
        ),
        (
            "a stream on row FEC's port",
            group("b", "rtp://eth1@239.255.1.1:5004") + &group("a", "rtp://eth1@239.255.1.1:5000#fec=8x8"),
            Some("239.255.1.1:5004 (row FEC) is taken by channel `b` (the stream)"),
        ),
        (
            "row FEC's port without rows",
            group("b", "rtp://eth1@239.255.1.1:5004")
                + &group("a", "rtp://eth1@239.255.1.1:5000#fec=8x8&columns"),
            None,
        ),
        (
            "six ports apart",
            group("a", "rtp://eth1@239.255.1.1:5000#fec=8x8")
                + &group("b", "rtp://eth1@239.255.1.1:5006#fec=8x8"),
            None,
        ),
        (
            "one name",
            group("a", "udp://eth1@239.255.1.1:5000") + &group("a", "udp://eth1@239.255.1.2:5000"),
            Some("f:7:8: channel[1].name"),
        ),
        (
            "a loop",
            group("a", "udp://eth1@239.255.1.1:5000")
                + &input("live/one", "[\"udp://eth1@239.255.1.1:5000\"]"),
            Some("f:8:9: input[0].from[0]: udp://eth1@239.255.1.1:5000 is what channel `a` sends"),
        ),
        (
            "a loop over FEC",
            group("a", "udp://eth1@239.255.1.1:5002")
                + &input("live/one", "[\"rtp://eth1@239.255.1.1:5000#fec\"]"),
            Some("is what channel `a` sends"),
        ),
        (
            "no loop on another network",
            group("a", "udp://eth1@239.255.1.1:5000")
                + &input("live/one", "[\"udp://eth2@239.255.1.1:5000\"]"),
            None,
        ),
        (
            "one stream from two",
            input("a/b", "[\"udp://eth1@239.255.1.1:5000\"]")
                + &input("a/b", "[\"udp://eth1@239.255.1.2:5000\"]"),
            Some("f:5:10: input[1].stream"),
        ),
        (
            "two programs of one group",
            input("a/b", "[\"udp://eth1@239.255.1.1:5000\"]")
                + &input("a/c", "[\"udp://eth1@239.255.1.1:5000\"]"),
            None,
        ),
        (
            "one port for two",
            input("a/b", "[\"udp://0.0.0.0:5000\"]") + &input("a/c", "[\"udp://10.0.0.1:5000\"]"),
            Some("use another port"),
        ),
    ] {
        match (parse(&text), say) {
            (Ok(_), None) => {}
            (Err(error), Some(say)) => assert!(error.contains(say), "{what}\n{error}"),
            (found, _) => panic!("{what}: {found:?}"),
        }
    }
    let flags = crate::config::Overrides::default();
    assert!(parse(&group("a", "udp://eth1@239.255.1.1:5000")).unwrap().with_overrides(flags).is_ok());
}

#[test]
fn the_plan_warns_of_what_hurts() {
    let key = "[apps.\"*\"]\npublish_key = \"0123456789ab\"\n";
    for (text, expected) in [
        (channel("a", "[\"udp://eth1@239.255.1.1:5000\"]"), &[][..]),
        (
            channel("a", "[\"udp://eth1@239.255.1.1:5000\", \"udp://eth1@10.0.0.7@232.127.1.1:5000\"]"),
            &["232.127.1.1, 239.255.1.1 have one Ethernet address (01:00:5e:7f:01:01) on eth1"],
        ),
        (channel("a", "[\"udp://eth1@239.255.1.1:5000\", \"udp://eth2@10.0.0.7@232.127.1.1:5000\"]"), &[]),
        (
            channel("a", "[\"udp://eth1@10.0.0.7@232.1.1.1:5000\", \"udp://10.0.0.7@232.1.1.2:5000\"]"),
            &["which their viewers must name: 232.1.1.2"],
        ),
        // The announcement names it.
        (channel("a", "[\"udp://eth1@232.1.1.1:5000#sap\"]"), &[]),
        (
            channel("a", "[\"udp://eth1@239.255.1.1:5000\"]")
                + &input("a/b", "[\"udp://eth1@239.127.1.1:5000\"]"),
            &["have one Ethernet address"],
        ),
        (
            channel("a", "[\"udp://eth1@239.1.1.1:5000\", \"udp://192.0.2.1:5000\"]"),
            &["in use elsewhere: 239.1.1.1"],
        ),
        (input("a/b", "[\"udp://eth1@239.128.0.1:5000\"]"), &["to every port: 239.128.0.1"]),
        (
            channel("a", "[\"rtp://eth1@239.255.1.1:5000\", \"rtp://eth1@239.255.1.1:5004\"]"),
            &["no room for FEC: 239.255.1.1 5000 and 5004"],
        ),
        ("[headend]\nlink_mbit = { eth9 = 100 }\n".to_owned(), &["eth9, on which no channel"]),
    ] {
        let found = parse(&format!("{key}{text}")).unwrap().warnings();
        assert_eq!(found.len(), expected.len(), "{text}\n{found:?}");
        assert!(found.iter().zip(expected).all(|(found, say)| found.contains(say)), "{text}\n{found:?}");
    }
    // A plan of thousands of bad groups is still a page.
    let many: String = (1..=250)
        .map(|n| {
            channel(
                &format!("c{n}"),
                &format!("[\"udp://e@239.1.1.{n}:5000\", \"udp://e@238.1.1.{n}:5000\"]"),
            )
        })
        .collect();
    let found = parse(&(key.to_owned() + &many)).unwrap().warnings();
    assert_eq!(found.len(), 10);
    assert!(found[8].starts_with("242 more") && found[9].ends_with("and 492 more"), "{found:?}");
}

#[test]
fn a_link_is_not_overcommitted() {
    let plain = destination("udp://eth1@239.255.1.1:5000").unwrap();
    // 1316 bytes of stream in a frame of 1316 + 8 + 20 + 38 bytes.
    assert_eq!(wire_bps(1_316_000, &plain), 1_382_000);
    let rtp = destination("rtp://eth1@[ff15::1]:5000#fec=10x10").unwrap();
    // A repair packet is as long as a media packet with its header, and has 16 bytes more.
    assert_eq!(wire_bps(1_316_000, &rtp), 1_414_000 + 1_430_000 / 5);
    let columns = destination("rtp://eth1@239.255.1.1:5000#fec=10x5&columns").unwrap();
    assert_eq!(wire_bps(1_316_000, &columns), 1_394_000 + 1_410_000 / 5);
    let text = |mbit: u32| {
        let channels: String = (1..=20)
            .map(|n| {
                channel(
                    &format!("c{n}"),
                    &format!("[\"udp://eth1@239.255.1.{n}:5000\", \"udp://eth2@239.255.1.{n}:5000\"]"),
                )
            })
            .collect();
        format!("[headend]\nlink_mbit = {{ eth1 = {mbit} }}\n{channels}")
    };
    // 20 channels of 4 Mbit/s are 84.01 Mbit/s on the wire; 90 % of 94 are 84.6.
    assert!(parse(&text(94)).is_ok());
    let error = parse(&text(93)).unwrap_err();
    assert!(error.contains("channel[19].to[0]: with channel `c20` eth1 would carry 84.0 Mbit/s"), "{error}");
    assert!(error.contains("90 % of its 93 Mbit/s"), "{error}");
}

/// The bound stands in the help, not the type of the key.
#[test]
fn numbers_that_are_too_large_are_told_the_bound() {
    let input = input("a/b", "[\"udp://0.0.0.0:5000\"]") + "program = 70000\n";
    let error = parse(&input).unwrap_err();
    assert!(error.contains("f:4:11") && error.contains("70000 is too large"), "{error}");
    assert!(error.contains("use a whole number of at most 65535"), "{error}");
    let channel = channel("a", "[\"udp://192.0.2.1:5000\"]") + "service_id = 65536\n";
    assert!(parse(&channel).unwrap_err().contains("at most 65535"));
    // Columns alone need one port less.
    assert!(destination("rtp://eth1@239.255.1.1:65532#fec=8x8&columns").is_ok());
}

/// A socket of all addresses and one of a group cannot both have a port.
#[test]
fn a_port_of_all_addresses_is_no_groups() {
    let group = input("a/group", "[\"rtp://eth1@239.255.1.1:5000#fec\"]");
    for (address, says) in [
        (
            "udp://0.0.0.0:5000",
            Some("0.0.0.0:5000 takes the port of the group 239.255.1.1:5000 of input `a/group`"),
        ),
        ("udp://:5004", Some("0.0.0.0:5004 takes the port of the group 239.255.1.1:5004")),
        ("udp://[::]:5002", Some("[::]:5002 takes the port of the group 239.255.1.1:5002")),
        ("udp://0.0.0.0:5006", None),
        ("udp://192.0.2.1:5000", None),
    ] {
        let own = input("a/own", &format!("[{address:?}]"));
        for text in [own.clone() + &group, group.clone() + &own] {
            match (parse(&text), says) {
                (Ok(_), None) => {}
                (Err(error), Some(says)) => {
                    assert!(error.contains(says) && error.contains(".from[0]"), "{error}")
                }
                (found, _) => panic!("{address}: {found:?}"),
            }
        }
    }
    // IPv4's does not take that of IPv6.
    let six = input("a/group", "[\"udp://eth1@[ff15::1]:5000\"]");
    assert!(parse(&(six + &input("a/own", "[\"udp://0.0.0.0:5000\"]"))).is_ok());
}
