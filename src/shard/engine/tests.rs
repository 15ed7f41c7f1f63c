//! Both backends through the same table: whatever the core may ask for, each answers alike.
//!
//! Every case gets a backend with one end of a socket pair in slot 0 and the other end in hand. Nothing is timed; a
//! completion that never comes fails at [`GUARD`].

use super::epoll::Epoll;
use super::uring::{self, Uring};
use super::{Backend, Completion, Key, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use crate::media::Mono;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a completion may take before the case has failed.
const GUARD: Duration = Duration::from_secs(20);
/// Slots of the backends under test.
const SLOTS: u32 = 1024;
const KEY: Key = Key { slot: 0, generation: 7 };

/// A backend and the far end of the socket in its slot 0.
struct Rig<B> {
    backend: B,
    far: UnixStream,
    bell: OwnedFd,
    /// Of its listener.
    address: SocketAddr,
}

/// A completion without its buffer.
#[derive(Debug, PartialEq)]
enum Seen {
    Bytes { key: Key, bytes: Vec<u8>, last: bool },
    Ended { key: Key, error: Option<i32> },
    Starved(Key),
    Sent { key: Key, result: Result<u32, i32> },
    Knocked,
    Woken,
}

impl<B: Backend> Rig<B> {
    fn attach(&mut self, slot: u32) -> UnixStream {
        let (near, far) = UnixStream::pair().unwrap();
        self.backend.attach(slot, near.into()).unwrap();
        far
    }

    /// Takes what is there, as a turn of the core does.
    fn turn(&mut self) -> Vec<Seen> {
        self.backend.submit().unwrap();
        self.backend.collect().unwrap();
        self.take()
    }

    fn take(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(completion) = self.backend.next() {
            seen.push(self.see(completion));
        }
        seen
    }

    fn see(&mut self, completion: Completion) -> Seen {
        match completion {
            Completion::Received { key, buffer, last } => {
                let bytes = self.backend.bytes(&buffer).to_vec();
                self.backend.recycle(buffer);
                Seen::Bytes { key, bytes, last }
            }
            Completion::ReceiveEnded { key, error } => Seen::Ended { key, error },
            Completion::ReceiveStarved { key } => Seen::Starved(key),
            Completion::Sent { key, result } => Seen::Sent { key, result },
            Completion::Knocked { listener } => {
                assert_eq!(listener, 0);
                Seen::Knocked
            }
            Completion::Woken => Seen::Woken,
        }
    }

    /// Turns, waiting in between as the core does, until `enough` of all that was seen.
    fn until(&mut self, what: &str, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let give_up = super::clock() + GUARD;
        let mut seen = self.turn();
        while !enough(&seen) {
            assert!(super::clock() < give_up, "{what}: after {seen:?}");
            self.backend.wait(give_up).unwrap();
            seen.extend(self.turn());
        }
        seen
    }

    /// The next completions, at least one, wake-ups not counted.
    fn some(&mut self, what: &str) -> Vec<Seen> {
        let mut seen = self.until(what, |seen| seen.iter().any(|s| *s != Seen::Woken));
        seen.retain(|s| *s != Seen::Woken);
        seen
    }

    /// Rings the bell and waits for it: whatever was on its way before has come by then.
    fn settle(&mut self) -> Vec<Seen> {
        rustix::io::write(&self.bell, &1u64.to_ne_bytes()).unwrap();
        let mut seen = self.until("the bell", |seen| seen.contains(&Seen::Woken));
        seen.retain(|s| *s != Seen::Woken);
        seen
    }
}

fn bytes_of(seen: &[Seen]) -> Vec<u8> {
    let bodies =
        seen.iter().filter_map(|s| if let Seen::Bytes { bytes, .. } = s { Some(&bytes[..]) } else { None });
    bodies.collect::<Vec<_>>().concat()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 251 + i) as u8).collect()
}

/// An end that was told once, behind all bytes.
fn ended(seen: &[Seen]) -> bool {
    seen.last().is_some_and(|s| matches!(s, Seen::Ended { .. }))
}

fn one_receive_ends_with_one_buffer<B: Backend>(mut rig: Rig<B>) {
    let sent = pattern(3 * RECEIVE_BUFFER_BYTES / 2);
    rig.far.write_all(&sent).unwrap();
    rig.backend.receive_once(KEY);
    let first = rig.some("a buffer");
    let [Seen::Bytes { key: KEY, bytes, last: true }] = &first[..] else { panic!("{first:?}") };
    assert!(bytes.len() <= RECEIVE_BUFFER_BYTES && sent.starts_with(bytes));
    // What nobody asks for stays in the socket.
    assert_eq!(rig.settle(), []);
    rig.backend.receive_once(KEY);
    let rest = rig.some("the rest");
    assert!(matches!(rest[..], [Seen::Bytes { last: true, .. }]), "{rest:?}");
    assert!([&first[..], &rest[..]].map(bytes_of).concat() == sent);
    rig.backend.receive_once(KEY);
    assert_eq!(rig.settle(), []);
    rig.far.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rig.some("the end"), [Seen::Ended { key: KEY, error: None }]);
}

fn a_lasting_receive_brings_everything_and_one_end<B: Backend>(mut rig: Rig<B>) {
    rig.backend.receive_many(KEY);
    assert_eq!(rig.settle(), []);
    for n in 1..=3u8 {
        rig.far.write_all(&[n; 3]).unwrap();
        assert_eq!(rig.some("three bytes"), [Seen::Bytes { key: KEY, bytes: vec![n; 3], last: false }]);
    }
    // Many buffers' worth, of which the kernel holds only a part at a time.
    let sent = pattern(100 * RECEIVE_BUFFER_BYTES + 5);
    let mut far = rig.far.try_clone().unwrap();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || {
            far.write_all(&sent).unwrap();
            far.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut all = Vec::new();
    while !ended(&all) {
        for seen in rig.some("bytes or the end") {
            // The kernel may end a receive early; asking again is the core's part.
            if let Seen::Bytes { last: true, .. } | Seen::Starved(_) = seen {
                rig.backend.receive_many(KEY);
            }
            all.push(seen);
        }
    }
    writer.join().unwrap();
    assert!(bytes_of(&all) == sent);
    assert_eq!(all.iter().filter(|s| matches!(s, Seen::Ended { .. })).count(), 1);
    assert_eq!(rig.settle(), []);
}

/// Last words and the end of stream in one: the end must not wait for another event on the socket.
fn bytes_and_the_end_at_once<B: Backend>(mut rig: Rig<B>) {
    rig.backend.receive_many(KEY);
    assert_eq!(rig.settle(), []);
    rig.far.write_all(b"bye").unwrap();
    rig.far.shutdown(Shutdown::Write).unwrap();
    let seen = rig.until("the end", ended);
    assert_eq!(bytes_of(&seen), b"bye");
    assert_eq!(seen.last(), Some(&Seen::Ended { key: KEY, error: None }));
}

/// More sockets readable at once than a core has buffers, or epoll events in one look.
fn many_sockets_at_once<B: Backend>(mut rig: Rig<B>) {
    let count = 2 * u32::from(RECEIVE_BUFFERS) + 50;
    let mut fars: Vec<_> = (1..=count).map(|slot| rig.attach(slot)).collect();
    for slot in 1..=count {
        rig.backend.receive_many(Key { slot, generation: slot });
    }
    assert_eq!(rig.settle(), []);
    for (at, far) in fars.iter_mut().enumerate() {
        far.write_all(&(at as u32 + 1).to_be_bytes()).unwrap();
    }
    let mut got = vec![0; fars.len()];
    while got.contains(&0) {
        for seen in rig.some("every socket's bytes") {
            match seen {
                Seen::Bytes { key, bytes, .. } => {
                    assert_eq!((bytes, key.generation), (key.slot.to_be_bytes().to_vec(), key.slot));
                    got[key.slot as usize - 1] += 1;
                }
                Seen::Starved(key) => rig.backend.receive_many(key),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(got.iter().all(|times| *times == 1));
}

/// A busy core does not wait, so that what one turn leaves would come behind what is new in the next, and later and later.
fn a_turn_takes_all_that_is_ready<B: Backend>(mut rig: Rig<B>) {
    const READY: u32 = 100;
    let mut fars: Vec<_> = (1..=READY).map(|slot| rig.attach(slot)).collect();
    for slot in 1..=READY {
        rig.backend.receive_many(Key { slot, generation: slot });
    }
    assert_eq!(rig.settle(), []);
    fars.iter_mut().for_each(|far| far.write_all(b"x").unwrap());
    assert_eq!(rig.turn().len(), READY as usize);
}

/// Buffers that are not given back: the others wait, nothing is lost.
fn without_buffers_nothing_is_lost<B: Backend>(mut rig: Rig<B>) {
    let count = u32::from(RECEIVE_BUFFERS) + 44;
    let mut fars: Vec<_> = (1..=count).map(|slot| rig.attach(slot)).collect();
    for (at, far) in fars.iter_mut().enumerate() {
        far.write_all(&(at as u32 + 1).to_be_bytes()).unwrap();
    }
    for slot in 1..=count {
        rig.backend.receive_once(Key { slot, generation: 1 });
    }
    let (mut held, mut starved) = (Vec::new(), Vec::new());
    while held.len() < usize::from(RECEIVE_BUFFERS) {
        rig.backend.submit().unwrap();
        rig.backend.collect().unwrap();
        while let Some(completion) = rig.backend.next() {
            match completion {
                Completion::Received { key, buffer, last: true } => held.push((key, buffer)),
                Completion::ReceiveStarved { key } => starved.push(key),
                other => panic!("{other:?}"),
            }
        }
        if held.len() < usize::from(RECEIVE_BUFFERS) {
            rig.backend.wait(super::clock() + GUARD).unwrap();
        }
    }
    let mut slots: Vec<u32> = held.iter().map(|(key, _)| key.slot).collect();
    for (_, buffer) in held {
        rig.backend.recycle(buffer);
    }
    while slots.len() < count as usize {
        for key in starved.drain(..) {
            rig.backend.receive_once(key);
        }
        for seen in rig.some("the sockets that waited") {
            match seen {
                Seen::Bytes { key, bytes, last: true } => {
                    assert_eq!(bytes, key.slot.to_be_bytes());
                    slots.push(key.slot);
                }
                // It was still under way when the buffers came back.
                Seen::Starved(key) => rig.backend.receive_once(key),
                other => panic!("{other:?}"),
            }
        }
    }
    slots.sort_unstable();
    assert!(slots.into_iter().eq(1..=count));
}

fn a_send_larger_than_the_socket_waits_for_its_reader<B: Backend>(mut rig: Rig<B>) {
    let sent = pattern(3 << 20);
    // SAFETY: `sent` outlives the backend's use: its completion is awaited below.
    unsafe { rig.backend.send(KEY, &raw const sent[..]) };
    assert_eq!(rig.settle(), [], "nobody reads yet");
    let mut far = rig.far.try_clone().unwrap();
    let len = sent.len();
    // Small reads, so that the send is resumed often.
    let reader = std::thread::spawn(move || {
        let mut got: Vec<u8> = Vec::new();
        let mut some = [0; 5000];
        while got.len() < len {
            let n = far.read(&mut some).unwrap();
            got.extend(&some[..n]);
        }
        got
    });
    let seen = rig.some("the send");
    assert_eq!(seen, [Seen::Sent { key: KEY, result: Ok(sent.len() as u32) }]);
    assert!(reader.join().unwrap() == sent);
    assert_eq!(rig.settle(), []);
}

fn sends_and_receives_do_not_mix<B: Backend>(mut rig: Rig<B>) {
    rig.backend.receive_many(KEY);
    for n in 0..20u8 {
        let sent = vec![n; 1000];
        // SAFETY: `sent` lives until its completion was taken.
        unsafe { rig.backend.send(KEY, &raw const sent[..]) };
        let mut got = [0; 1000];
        rig.far.write_all(&[n; 10]).unwrap();
        let is_sent = |s: &Seen| *s == Seen::Sent { key: KEY, result: Ok(1000) };
        let seen = rig.until("both", |seen| seen.iter().any(is_sent) && bytes_of(seen).len() == 10);
        assert_eq!((bytes_of(&seen), seen.iter().filter(|s| is_sent(s)).count()), (vec![n; 10], 1));
        rig.far.read_exact(&mut got).unwrap();
        assert_eq!(got, [n; 1000]);
    }
}

fn a_send_to_nobody_fails<B: Backend>(mut rig: Rig<B>) {
    rig.far.shutdown(Shutdown::Both).unwrap();
    let sent = [1; 10];
    // SAFETY: `sent` lives until its completion was taken.
    unsafe { rig.backend.send(KEY, &raw const sent[..]) };
    assert_eq!(rig.some("the send"), [Seen::Sent { key: KEY, result: Err(libc::EPIPE) }]);
}

fn abort_ends_each_operation_once<B: Backend>(mut rig: Rig<B>) {
    let sent = pattern(3 << 20);
    rig.backend.receive_many(KEY);
    // SAFETY: `sent` lives until its completion was taken.
    unsafe { rig.backend.send(KEY, &raw const sent[..]) };
    assert_eq!(rig.settle(), []);
    rig.backend.abort(KEY);
    let over = |seen: &[Seen]| {
        let sends = seen.iter().filter(|s| matches!(s, Seen::Sent { .. })).count();
        let ends = seen.iter().filter(|s| matches!(s, Seen::Ended { .. })).count();
        (sends, ends)
    };
    let mut seen = rig.until("both ends", |seen| over(seen).0 >= 1 && over(seen).1 >= 1);
    seen.extend(rig.settle());
    assert_eq!(over(&seen), (1, 1), "{seen:?}");
    for seen in &seen {
        match seen {
            // What had left before the abort may be told; all of it cannot have.
            Seen::Sent { key: KEY, result } => {
                assert!(result.is_err() || *result < Ok(3 << 20), "{result:?}")
            }
            Seen::Ended { key: KEY, .. } | Seen::Woken => {}
            other => panic!("{other:?}"),
        }
    }
    // The slot is free for another, who hears nothing of this.
    assert!(rig.backend.detach(KEY.slot).is_some());
    rig.far = rig.attach(KEY.slot);
    let next = Key { generation: KEY.generation + 1, ..KEY };
    rig.backend.receive_once(next);
    assert_eq!(rig.settle(), []);
    rig.far.write_all(b"new").unwrap();
    assert_eq!(rig.some("its bytes"), [Seen::Bytes { key: next, bytes: b"new".to_vec(), last: true }]);
}

fn detach_gives_the_socket_back<B: Backend>(mut rig: Rig<B>) {
    rig.backend.receive_once(KEY);
    rig.far.write_all(b"head and more").unwrap();
    assert_eq!(bytes_of(&rig.some("bytes")), b"head and more");
    let fd = rig.backend.socket(KEY.slot).map(|s| s.as_raw_fd());
    let socket = rig.backend.detach(KEY.slot).expect("the socket");
    assert_eq!(fd, Some(socket.as_raw_fd()));
    assert!(rig.backend.socket(KEY.slot).is_none() && rig.backend.detach(KEY.slot).is_none());
    // It lives on elsewhere, and the backend has forgotten it.
    let mut socket = UnixStream::from(socket);
    socket.write_all(b"answer").unwrap();
    let mut got = [0; 6];
    rig.far.read_exact(&mut got).unwrap();
    rig.far.write_all(b"question").unwrap();
    assert_eq!(rig.settle(), []);
    let mut got = [0; 8];
    socket.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"question");
}

fn a_wait_ends_at_its_time_and_not_before<B: Backend>(mut rig: Rig<B>) {
    assert_eq!(rig.settle(), []);
    for us in [0, 1, 400, 20_000, 5000] {
        let until = super::clock() + Duration::from_micros(us);
        // It may end early, for nothing.
        while super::clock() < until {
            rig.backend.wait(until).unwrap();
            assert_eq!(rig.turn(), []);
        }
    }
    // What is past, and what is far with something on its way.
    rig.backend.wait(Mono::from_micros(1)).unwrap();
    rig.backend.receive_once(KEY);
    rig.backend.submit().unwrap();
    let mut far = rig.far.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        far.write_all(b"x").unwrap();
    });
    rig.backend.wait(super::clock() + Duration::from_secs(3600)).unwrap();
    assert_eq!(bytes_of(&rig.some("a byte")), b"x");
    writer.join().unwrap();
}

/// A listener that is watched tells once, and connections are taken one by one.
fn connections_knock_and_are_taken<B: Backend>(mut rig: Rig<B>) {
    use std::net::TcpStream;
    let none = |rig: &mut Rig<B>| {
        let error = rig.backend.accept(0).expect_err("nobody waits");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    };
    none(&mut rig);
    let early = TcpStream::connect(rig.address).unwrap();
    assert_eq!(rig.settle(), [], "nobody watches");
    rig.backend.watch_listener(0);
    assert_eq!(rig.some("who waited"), [Seen::Knocked]);
    let later = TcpStream::connect(rig.address).unwrap();
    assert_eq!(rig.settle(), [], "told once");
    for client in [&early, &later] {
        let (_, address) = rig.backend.accept(0).unwrap();
        assert_eq!(address, client.local_addr().unwrap());
    }
    none(&mut rig);
    rig.backend.watch_listener(0);
    assert_eq!(rig.settle(), []);
    let third = TcpStream::connect(rig.address).unwrap();
    assert_eq!(rig.some("the third"), [Seen::Knocked]);
    assert_eq!(rig.backend.accept(0).unwrap().1, third.local_addr().unwrap());
    rig.backend.close_listener(0);
    assert!(TcpStream::connect(rig.address).is_err(), "refused");
    assert_eq!(rig.settle(), []);
}

/// What a turn's budget left, and nobody else will tell of, brings the next turn.
fn what_a_turn_leaves_wakes_the_next<B: Backend>(mut rig: Rig<B>) {
    let mut others: Vec<UnixStream> = (1..=3).map(|slot| rig.attach(slot)).collect();
    for (slot, far) in (1..).zip(&mut others) {
        rig.backend.receive_once(Key { slot, generation: 1 });
        far.write_all(b"x").unwrap();
    }
    rig.backend.submit().unwrap();
    rig.backend.collect().unwrap();
    let mut got = 0;
    while got < others.len() {
        // One a turn, as if that were the budget.
        if let Some(completion) = rig.backend.next() {
            got += usize::from(matches!(rig.see(completion), Seen::Bytes { .. }));
        }
        if got < others.len() {
            rig.backend.submit().unwrap();
            rig.backend.wait(Mono::NEVER).unwrap();
            rig.backend.collect().unwrap();
        }
    }
}

/// Completions beyond the queue's size are kept aside by the kernel, counted, and come later.
#[test]
fn completions_that_do_not_fit_are_counted_and_none_is_lost() {
    if skip_without_io_uring() {
        return;
    }
    run(new_uring, |mut rig| {
        let count = 40_000;
        let sent = [1];
        let mut fars: Vec<_> = (1..=500).map(|slot| rig.attach(slot)).collect();
        let mut swallow = [0; 200];
        let (mut asked, mut over) = (0, 0);
        let is_sent = |s: &Seen| matches!(s, Seen::Sent { result: Ok(1), .. });
        // As if the core did not look for a while: each round is submitted as the queue fills, and taken once.
        while asked < count {
            for round in 0..50 {
                for slot in 1..=fars.len() as u32 {
                    // SAFETY: `sent` lives until all completions were taken.
                    unsafe { rig.backend.send(Key { slot, generation: round }, &raw const sent[..]) };
                    asked += 1;
                }
            }
            let wanted = asked - over;
            let seen = rig.until("all", |seen| seen.iter().filter(|s| is_sent(s)).count() == wanted);
            over += seen.iter().filter(|s| is_sent(s)).count();
            fars.iter_mut().for_each(|far| assert!(far.read(&mut swallow).unwrap() > 0));
        }
        assert_eq!(over, asked);
        assert!(rig.backend.stats().completion_overflow > 0);
    });
}

/// Counts a test that cannot run, as `tests/support` does for the others.
fn skip_without_io_uring() -> bool {
    let Some(error) = uring::probe().err() else { return false };
    let reason = format!("the kernel refuses io_uring: {error}");
    eprintln!("SKIPPED: {reason}");
    if let Some(path) = std::env::var_os("HEADGATE_SKIP_LOG") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("skip log");
        writeln!(file, "no-io-uring\t{reason}").expect("skip log");
    }
    true
}

fn new_uring(listener: OwnedFd, bell: OwnedFd) -> std::io::Result<Uring> {
    Uring::new(SLOTS, vec![listener], bell)
}

fn new_epoll(listener: OwnedFd, bell: OwnedFd) -> std::io::Result<Epoll> {
    Epoll::new(vec![listener], bell)
}

/// Datagrams of any size, none among them: each in a buffer of its own, and the receive goes on or says that it does not.
fn datagrams_come_whole_with_their_sender<B: Backend>(mut rig: Rig<B>) {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let near = std::net::UdpSocket::bind(any).unwrap();
        let far = std::net::UdpSocket::bind(any).unwrap();
        let (to, from) = (near.local_addr().unwrap(), far.local_addr().unwrap());
        let key = Key { slot: 1, generation: 3 };
        rig.backend.attach(key.slot, near.into()).unwrap();
        rig.backend.receive_datagrams(key);
        rig.backend.submit().unwrap();
        let bodies = [1316, 0, 1, 1328, 0, 0, RECEIVE_BUFFER_BYTES - 100, 40_000, 188].map(pattern);
        for body in &bodies {
            assert_eq!(far.send_to(body, to).unwrap(), body.len());
        }
        let give_up = super::clock() + GUARD;
        let mut got: Vec<(Vec<u8>, bool)> = Vec::new();
        while got.len() < bodies.len() {
            assert!(super::clock() < give_up, "{any}: {} datagrams", got.len());
            rig.backend.wait(give_up).unwrap();
            rig.backend.submit().unwrap();
            rig.backend.collect().unwrap();
            while let Some(completion) = rig.backend.next() {
                let Completion::Received { key: of, buffer, last } = completion else {
                    panic!("{any}: {completion:?}");
                };
                let datagram = rig.backend.datagram(&buffer).expect("a head");
                assert_eq!((of, datagram.from), (key, from), "{any}");
                got.push((datagram.payload.to_vec(), datagram.cut));
                rig.backend.recycle(buffer);
                if last {
                    rig.backend.receive_datagrams(key);
                }
            }
        }
        for (at, ((payload, cut), body)) in got.iter().zip(&bodies).enumerate() {
            let whole = body.len() < RECEIVE_BUFFER_BYTES;
            assert_eq!((payload.len() == body.len(), !cut), (whole, whole), "{any} {at}");
            assert!(body.starts_with(payload), "{any} {at}");
        }
        rig.backend.abort(key);
        let seen = rig.some("the end");
        assert!(matches!(seen.as_slice(), [Seen::Ended { error: Some(_), .. }]), "{any}: {seen:?}");
        assert!(rig.backend.detach(key.slot).is_some());
    }
}

/// A datagram socket is connected to nobody, so what ends a connection's receive does not end its.
fn a_socket_without_a_peer_is_aborted<B: Backend>(mut rig: Rig<B>) {
    let near = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let key = Key { slot: 1, generation: 3 };
    rig.backend.attach(key.slot, near.into()).unwrap();
    rig.backend.receive_datagrams(key);
    assert!(rig.settle().is_empty());
    rig.backend.abort(key);
    let seen = rig.some("the end");
    assert_eq!(seen, [Seen::Ended { key, error: Some(libc::ECANCELED) }]);
    assert!(rig.settle().is_empty(), "once");
    assert!(rig.backend.detach(key.slot).is_some());
}

/// Runs a case in a thread of its own: a backend that loops for ever must fail, not hang.
fn run<B: Backend>(
    make: impl FnOnce(OwnedFd, OwnedFd) -> std::io::Result<B> + Send + 'static,
    case: impl FnOnce(Rig<B>) + Send + 'static,
) {
    use rustix::event::{EventfdFlags, eventfd};
    let (done, is_done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Dropped when the case ends, by a panic too.
        let _done: std::sync::mpsc::Sender<()> = done;
        let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut backend = make(listener.into(), bell.try_clone().unwrap()).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        backend.attach(KEY.slot, near.into()).unwrap();
        case(Rig { backend, far, bell, address });
    });
    let ended = is_done.recv_timeout(2 * GUARD);
    assert_ne!(ended, Err(std::sync::mpsc::RecvTimeoutError::Timeout), "the backend does not come back");
    thread.join().expect("the case holds");
}

/// Makes a test for each case and backend.
macro_rules! table {
    ($($case:ident),+ $(,)?) => {
        mod on_uring {
            $(#[test]
            fn $case() {
                if !super::skip_without_io_uring() {
                    super::run(super::new_uring, super::$case);
                }
            })+
        }
        mod on_epoll {
            $(#[test]
            fn $case() {
                super::run(super::new_epoll, super::$case);
            })+
        }
    };
}

table!(
    one_receive_ends_with_one_buffer,
    a_lasting_receive_brings_everything_and_one_end,
    bytes_and_the_end_at_once,
    many_sockets_at_once,
    a_turn_takes_all_that_is_ready,
    without_buffers_nothing_is_lost,
    a_send_larger_than_the_socket_waits_for_its_reader,
    sends_and_receives_do_not_mix,
    a_send_to_nobody_fails,
    abort_ends_each_operation_once,
    detach_gives_the_socket_back,
    a_wait_ends_at_its_time_and_not_before,
    connections_knock_and_are_taken,
    what_a_turn_leaves_wakes_the_next,
    datagrams_come_whole_with_their_sender,
    a_socket_without_a_peer_is_aborted,
);
