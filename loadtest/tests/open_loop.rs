//! A server that stands still is seen by everybody who came meanwhile, not only by the first.

use headgate_load::clock::{SECOND_NS, now_ns};
use headgate_load::flv;
use headgate_load::play::{Plan, Visit, start};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

const VISITORS: usize = 40;
const PER_SECOND: f64 = 100.0;
/// Longer than it takes all of them to come (0.4 s).
const STANDSTILL: Duration = Duration::from_millis(800);
/// The standstill less the time in which they come. It begins behind the moment from which they count, so that no delay
/// of this machine makes it shorter.
const LEAST_US: u64 = 400_000;

/// Answers `VISITORS` connections with one video frame each, but nobody before a standstill from `begun` on is over.
fn serve(listener: &TcpListener, begun: &Receiver<()>) {
    begun.recv().unwrap();
    std::thread::sleep(STANDSTILL);
    let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    answer.extend_from_slice(&flv::HEADER);
    flv::write_tag(&mut answer, 9, 0, &[0x17, 1, 0, 0, 0]);
    let sockets: Vec<_> = (0..VISITORS)
        .map(|_| {
            let (mut socket, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 2]));
            let mut request = [0; 512];
            assert!(socket.read(&mut request).unwrap() > 0);
            socket.write_all(&answer).unwrap();
            socket
        })
        .collect();
    // They leave by themselves.
    for mut socket in sockets {
        let _ = socket.read_to_end(&mut Vec::new());
    }
}

/// Reports that this cannot run here, as docs/testing.md says.
fn skip(id: &str, reason: &str) {
    eprintln!("SKIPPED: {reason}");
    if let Some(path) = std::env::var_os("HEADGATE_SKIP_LOG") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{id}\t{reason}").unwrap();
    }
}

#[test]
fn a_standstill_is_counted_for_all_who_came_in_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (begin, begun) = mpsc::channel();
    let server = std::thread::spawn(move || serve(&listener, &begun));
    let target = format!("http://{address}/live/s.flv").parse().unwrap();
    let plan = Plan {
        from: vec![IpAddr::from([127, 0, 0, 2])],
        ramp_per_s: PER_SECOND,
        visit: Some(Visit { life_ns: SECOND_NS / 20, patience_ns: 30 * SECOND_NS }),
        ..Plan::new(vec![target], VISITORS, now_ns() + 60 * SECOND_NS)
    };
    let players = start(&plan).unwrap();
    begin.send(()).unwrap();
    let outcome = match players.finish() {
        Ok(outcome) => outcome,
        Err(error) if format!("{error:#}").contains("io_uring") => {
            return skip("no-io-uring", "the kernel refuses io_uring to the load");
        }
        Err(error) => panic!("{error:#}"),
    };
    server.join().unwrap();
    let ends = outcome.all_setups();
    assert_eq!((ends.begun, ends.served), (VISITORS as u64, VISITORS as u64), "{:?}", ends.errors);
    // A closed loop would have had one slow connection and 39 quick ones.
    let (quickest, latest) = (ends.setup_us.min(), ends.late_us.max());
    assert!(quickest >= LEAST_US, "{quickest} us");
    // What was waited for was the server: everybody had connected when the first was served.
    assert!(latest < quickest, "begun {latest} us late, served within {quickest} us");
}
