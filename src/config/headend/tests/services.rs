//! Channels of several services.

use super::*;

/// A channel of 20 Mbit/s with these services, each on a line of its own from line 6 on.
fn several(services: &[&str]) -> String {
    format!(
        "[[channel]]\nname = \"mpts\"\nto = [\"udp://eth1@239.255.1.1:5000\"]\nbitrate = 20000000\nservices = [\n{}\n]\n",
        services.iter().map(|service| format!("  {{ {service} }},")).collect::<Vec<_>>().join("\n")
    )
}

fn services(text: &str) -> Vec<Service> {
    parse(text).unwrap_or_else(|error| panic!("{text}\n{error}")).channels[0].services.clone()
}

#[test]
fn each_has_a_name_an_id_and_pids_of_its_own() {
    let found = services(&several(&[
        "source = \"live/one\"",
        "source = \"live/two\", service_name = \"Zwei\", provider = \"P\", service_id = 7, bitrate = 4_000_000",
        "source = \"live/three\", video_pid = 0x400, pmt_pid = 0x500, languages = [\"deu\", \"eng\"]",
        "source = \"live/four\", audio_pid = 0x600, pcr_pid = 0x700",
    ]));
    let pids = |it: &Service| (it.pmt_pid, it.video_pid, it.audio_pid, it.data_pid, it.pcr_pid);
    assert_eq!(
        found.iter().map(pids).collect::<Vec<_>>(),
        [
            (0x1000, 0x100, 0x110, 0x108, None),
            (0x1001, 0x120, 0x130, 0x128, None),
            (0x500, 0x400, 0x410, 0x408, None),
            (0x1003, 0x160, 0x600, 0x168, Some(0x700)),
        ]
    );
    let names: Vec<(&str, &str)> = found.iter().map(|it| (it.name.as_str(), it.provider.as_str())).collect();
    assert_eq!(names, [("one", "headgate"), ("Zwei", "P"), ("three", "headgate"), ("four", "headgate")]);
    assert_eq!((found[1].service_id, found[1].bitrate_bps), (7, Some(4_000_000)));
    assert_eq!(found[2].languages, [*b"deu", *b"eng"]);
    // One that is alone in a list is as one that is not in a list, but for its name and id.
    let alone = services(&several(&["source = \"live/one\""]));
    let plain = services(&channel("mpts", "[\"udp://eth1@239.255.1.1:5000\"]"));
    assert_eq!(pids(&alone[0]).0, pids(&plain[0]).0);
    assert_eq!((alone[0].video_pid, alone[0].audio_pid), (plain[0].video_pid, plain[0].audio_pid));
}

/// What set-top boxes remember: the id follows from channel and stream, wherever in the list it stands.
#[test]
fn ids_do_not_depend_on_the_order() {
    let ids = |list: &[&str]| {
        let list: Vec<String> = list.iter().map(|name| format!("source = \"live/{name}\"")).collect();
        let found = services(&several(&list.iter().map(String::as_str).collect::<Vec<_>>()));
        found.into_iter().map(|it| (it.source, it.service_id)).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(ids(&["one", "two", "three"]), ids(&["three", "one", "two"]));
    let made = ids(&["one", "two"]);
    assert_eq!(
        (made["live/one"], made["live/two"]),
        (16_260, 11_630),
        "they are in the field: never change how they are made"
    );
}

#[test]
fn what_clashes_is_told_where_it_stands() {
    let one = "source = \"live/one\"";
    for (lines, place, say) in [
        (
            vec![one, "source = \"live/two\", pmt_pid = 0x1000"],
            "f:7:36: channel[0].services[1].pmt_pid: PID 4096 belongs to service `one`",
            "leave out the PIDs",
        ),
        // The one that was written is the mistake, also if it stands first.
        (
            vec!["source = \"live/one\", video_pid = 0x11C", "source = \"live/two\""],
            "f:6:38: channel[0].services[0].video_pid: PID 288 belongs to service `two`",
            "256 + 32 N",
        ),
        (
            vec![one, "source = \"live/two\", audio_pid = 0x108"],
            "f:7:38: channel[0].services[1].audio_pid: PID 264 belongs to service `one`",
            "leave out",
        ),
        (
            vec![one, "source = \"live/two\", pcr_pid = 0x117"],
            "f:7:36: channel[0].services[1].pcr_pid: PID 279 belongs to service `one`",
            "leave out",
        ),
        (
            vec![one, "source = \"live/two\", audio_pid = 0x12A"],
            "channel[0].services[1].audio_pid: 298 is one of the 8 PIDs behind the video tracks'",
            "keep 16 PIDs",
        ),
        (
            vec![one, "source = \"live/two\", video_pid = 0x2000"],
            "channel[0].services[1].video_pid: 8192 is out of range",
            "use 32 to 8183",
        ),
        (
            vec!["source = \"live/one\", service_id = 5", "source = \"live/two\", service_id = 5"],
            "f:7:39: channel[0].services[1].service_id: service `one` has the service id 5 too",
            "an id of its own",
        ),
        (
            vec![one, one],
            "channel[0].services[1].service_id: service `one` has the service id",
            "an id of its own",
        ),
        (vec![one, "service_name = \"x\""], "channel[0].services[1]: has no `source`", "live/one"),
        (vec![one, "source = \"two\""], "f:7:14: channel[0].services[1].source", "write APP/STREAM"),
        (
            vec![one, "source = \"live/two\", languages = [\"deu\", \"X\"]"],
            "f:7:46: channel[0].services[1].languages[1]: \"X\" is not a language",
            "three small letters",
        ),
        (
            vec![one, "source = \"live/two\", service_id = 0"],
            "services[1].service_id: 0 is out of",
            "1 to 65535",
        ),
        (vec![one, "source = \"live/two\", bitrate = 1000"], "services[1].bitrate: 1000 is out of", "100000"),
        (vec![one, "source = \"live/two\", pmt = 1"], "f:7:26: unknown key `pmt`", "did you mean `pmt_pid`?"),
        (
            vec!["source = \"live/one\", bitrate = 12000000", "source = \"live/two\", bitrate = 8000000"],
            "f:5:12: channel[0].services: the services ask for 20000000 of 20000000 bit/s",
            "which leaves 19794528",
        ),
        (
            vec!["source = \"live/one\", bitrate = 19800000", "source = \"live/two\""],
            "channel[0].services: the services ask for 19800000",
            "raise the channel's",
        ),
    ] {
        let error = parse(&several(&lines)).expect_err(place);
        assert!(error.contains(place) && error.contains(say), "{lines:?}\n{error}");
    }
    for (text, say) in [
        (several(&[one]).replace("bitrate", "source = \"live/x\"\nbitrate"), "nobody knows whose it is"),
        (
            several(&[one]).replace("bitrate", "pmt_pid = 77\nbitrate"),
            "channel[0].pmt_pid: `pmt_pid` stands beside",
        ),
        (several(&[one, "source = \"live/two\""]).replace("20000000", "399999"), "use at least 400000"),
        (several(&vec![one; 17]), "channel[0].services: lists 17 services"),
        (several(&[one]) + &channel("b", "[\"udp://eth1@239.255.1.2:5000\"]"), ""),
    ] {
        match parse(&text) {
            Ok(_) => assert_eq!(say, "", "{text}"),
            Err(error) => assert!(!say.is_empty() && error.contains(say), "{text}\n{error}"),
        }
    }
}

/// A service among others is no other channel's either.
#[test]
fn identities_are_the_networks() {
    let list = ["source = \"live/one\", service_id = 7", "source = \"live/two\", service_id = 9"];
    let other = channel("b", "[\"udp://eth1@239.255.1.2:5000\"]") + "service_id = 5\nstream_id = 3\n";
    let text = other + &several(&list).replace("bitrate", "stream_id = 3\nbitrate");
    assert!(parse(&text).is_ok());
    let error = parse(&text.replace("service_id = 9", "service_id = 5")).unwrap_err();
    assert!(
        error.contains("channel[1].services[1].service_id: channel `b` has stream id 3 and service id 5"),
        "{error}"
    );
}
