//! A thousand HTTP-FLV subscribers with exact frame accounting, every one held to the independent parser.

use crate::support::checker::FlvReader;
use crate::support::limits::raise_descriptor_limit;
use crate::support::own_machine;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::server::{Config, LIMIT};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SUBSCRIBERS: usize = 1000;
/// A debug build on two processors, one of them busy with this test: small frames at a moderate rate.
const SHAPE: Shape = Shape { fps: 15, gop: 15, key_bytes: 3000, inter_bytes: 500, audio: true };
/// Video frames that everybody must get once all have joined.
const TOGETHER: u32 = 45;

struct Subscriber {
    socket: TcpStream,
    /// What came before the end of the response's head.
    head: Option<Vec<u8>>,
    reader: FlvReader,
    audit: Audit,
    bytes: u64,
    open: bool,
}

impl Subscriber {
    fn join(addr: SocketAddr) -> Subscriber {
        let mut socket = TcpStream::connect(addr).expect("connect");
        socket.write_all(format!("GET /live/crowd.flv HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (reader, audit) = (FlvReader::default(), Audit::new(SHAPE));
        Subscriber { socket, head: Some(Vec::new()), reader, audit, bytes: 0, open: true }
    }

    /// Takes what the socket has.
    fn read(&mut self, buffer: &mut [u8]) {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => {
                    self.open = false;
                    assert_eq!(self.reader.unfinished(), 0, "ends inside a tag");
                    return;
                }
                Ok(len) => {
                    let full = len == buffer.len();
                    self.take(&buffer[..len]);
                    if !full {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("read: {error}"),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let audit = &mut self.audit;
        self.bytes += bytes.len() as u64;
        let Some(head) = &mut self.head else { return self.reader.push(bytes, |tag| audit.tag(&tag)) };
        head.extend(bytes);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(head));
            self.reader.push(&head[end + 4..], |tag| audit.tag(&tag));
            self.head = None;
        }
    }
}

/// Serves all open sockets until `done`.
fn serve(crowd: &mut [Subscriber], what: &str, limit: Duration, done: impl Fn(&[Subscriber]) -> bool) {
    let deadline = Instant::now() + limit;
    let mut buffer = vec![0; 64 << 10];
    while !done(crowd) {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        let mut events: Vec<libc::pollfd> = crowd
            .iter()
            .map(|s| libc::pollfd {
                fd: if s.open { s.socket.as_raw_fd() } else { -1 },
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        // SAFETY: a live vector of pollfds and its length.
        unsafe { libc::poll(events.as_mut_ptr(), events.len() as libc::nfds_t, 1000) };
        for (subscriber, event) in crowd.iter_mut().zip(&events) {
            if event.revents != 0 {
                subscriber.read(&mut buffer);
            }
        }
    }
}

#[test]
fn a_thousand_subscribers_get_every_frame() {
    let _alone = own_machine();
    if !raise_descriptor_limit(SUBSCRIBERS as u64) {
        return;
    }
    let server = Config::new().set("log.level", "\"info\"").start();
    let stop = AtomicBool::new(false);
    let (publisher, crowd) = std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let publishing = Publisher::start(&server, "crowd", SHAPE).run_beside(scope, &stop);
        let mut crowd: Vec<Subscriber> = Vec::with_capacity(SUBSCRIBERS);
        while crowd.len() < SUBSCRIBERS {
            crowd.extend((0..50).map(|_| Subscriber::join(server.http)));
            serve(&mut crowd, "heads", LIMIT, |all| {
                all.iter().all(|s| s.head.is_none() && s.audit.video.count > 0)
            });
        }
        let joined = crowd.iter().map(|s| s.audit.video.last).max().unwrap_or(0);
        let metrics = server.metrics();
        assert_eq!(metrics.sum("headgate_subscribers", &[]), SUBSCRIBERS as f64);
        serve(&mut crowd, "everybody plays", LIMIT, |all| {
            all.iter().all(|s| s.open && s.audit.video.last >= joined + TOGETHER)
        });
        stop.store(true, Ordering::Relaxed);
        serve(&mut crowd, "the end", LIMIT, |all| all.iter().all(|s| !s.open));
        (publishing.join().unwrap(), crowd)
    });
    for subscriber in &crowd {
        subscriber.audit.assert_complete(&publisher);
    }
    let metrics = server.metrics();
    assert_eq!(metrics.sum("headgate_lag_skips_total", &[]), 0.0);
    assert_eq!(
        metrics.sum("headgate_frames_total", &["video"]),
        f64::from(publisher.video + 1),
        "with its header"
    );
    let received: u64 = crowd.iter().map(|subscriber| subscriber.bytes).sum();
    assert_eq!(
        metrics.sum("headgate_egress_bytes_total", &["http_flv"]),
        received as f64,
        "every byte sent was received"
    );
    server.stop();
}
