//! The pacer between a home core, which the test plays, and channels that only write down what they are told.

use super::thread::Pacer;
use super::wire::{Sent, Wire};
use super::*;
use crate::fanout::directory::{Claim, Directory};
use crate::fanout::flush::{Mode, Rule};
use crate::fanout::log::{Format, LogId, LogKey, LogWriter, Retention, Variant};
use crate::fanout::segment::{Entry, flags};
use crate::fanout::stream::{CoreId, NoLog};
use crate::media::TrackTable;
use crate::shard::Limits;
use crate::shard::bells::Bells;
use crate::shard::core::Shared;
use crate::shard::mailbox::{Command, Mailboxes, NotOpened};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// The home, and the pacer behind it.
const HOME: CoreId = 0;
const PACER: CoreId = 1;
const KEY: LogKey = LogKey { format: Format::Ts, variant: Variant::FULL };

/// A clock that stands until it is moved, and what was laid.
#[derive(Clone, Default)]
struct Desk {
    now: Rc<Cell<u64>>,
    laid: Rc<RefCell<Vec<u32>>>,
}

impl Wire for Desk {
    fn now(&self) -> Mono {
        Mono::from_micros(self.now.get() * 1000)
    }
    fn lay(&mut self, bytes: usize, first: u32, to: &[To], write: &mut dyn FnMut(&mut [u8])) {
        let mut room = [0; SLOT_BYTES];
        write(&mut room[..bytes]);
        assert_eq!(room[..bytes], [0x47; 1316]);
        self.laid.borrow_mut().extend(to.iter().map(|to| first + to.address));
    }
    fn go(&mut self, _: Mono) -> io::Result<()> {
        Ok(())
    }
    /// Every second address is one that the kernel refuses.
    fn next(&mut self) -> Option<Sent> {
        let target = self.laid.borrow_mut().pop()?;
        Some(Sent { target, result: if target % 2 == 0 { Ok(1316) } else { Err(libc::ENOBUFS) } })
    }
}

/// What a channel was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// What follows is of this source, not of the first.
    Of(usize),
    /// Of the entry, its first byte.
    Fed(u8),
    Seam,
    Heard(Heard),
    Sent(Taken),
    Refused(u32),
    Jump,
    Behind,
}

#[derive(Clone, Debug)]
struct Noted(Vec<StreamName>, Rc<RefCell<Vec<Told>>>, Cell<u64>, Cell<Mono>, Vec<Bytes>);

impl Noted {
    fn note(&self, source: usize, told: Told) {
        let more = (source > 0).then_some(Told::Of(source));
        self.1.borrow_mut().extend(more.into_iter().chain([told]));
    }
}

impl Channel for Noted {
    fn sources(&self) -> &[StreamName] {
        &self.0
    }
    fn log(&self) -> LogKey {
        KEY
    }
    fn begins(&self, _: Mono, _: Mono) -> bool {
        true
    }
    fn datagram_ns(&self) -> u64 {
        2_000_000
    }
    fn begin(&mut self, at: Mono) {
        self.3.set(at);
    }
    fn feed(&mut self, source: usize, now: Mono, came_at: Mono, packets: &Bytes) {
        assert!(came_at <= now && came_at > Mono::ZERO, "{came_at:?}");
        self.note(source, Told::Fed(packets[0]));
        self.4.push(packets.clone());
    }
    fn seam(&mut self, source: usize, _: Mono, _: Mono, _: &crate::fanout::log::JoinPoint) {
        self.note(source, Told::Seam);
    }
    fn heard(&mut self, source: usize, _: Mono, heard: Heard) {
        self.note(source, Told::Heard(heard));
    }
    fn due(&mut self, now: Mono) -> u64 {
        let due = if now < self.3.get() { 0 } else { now.micros_since(self.3.get()) / 2000 + 1 };
        due - self.2.get().min(due)
    }
    fn next_at(&self) -> Mono {
        let knows_nothing = self.0[0] == StreamName::new("live", "far") && self.4.is_empty();
        if knows_nothing { Mono::NEVER } else { self.3.get() + Duration::from_millis(2 * self.2.get()) }
    }
    fn write(&mut self, _: Mono, tray: &mut Tray<'_>) {
        self.2.set(self.2.get() + 1);
        tray.send(&[0x47; 1316], &[To { address: 0, skip: 0 }, To { address: 1, skip: 0 }]);
    }
    fn jump(&mut self, now: Mono) {
        let due = self.due(now);
        self.2.set(self.2.get() + due - 1);
        self.1.borrow_mut().push(Told::Jump);
    }
    fn fell_behind(&mut self, _: Mono) {
        self.1.borrow_mut().push(Told::Behind);
    }
    fn sent(&mut self, taken: Taken) {
        self.1.borrow_mut().push(Told::Sent(taken));
    }
    fn refused(&mut self, address: u32, error: i32) {
        assert_eq!(error, libc::ENOBUFS);
        self.1.borrow_mut().push(Told::Refused(address));
    }
    fn watch(&mut self, _: Mono) {}
    fn end(&mut self) {}
}

/// Channels, of which most tests have two of one stream, and one of another.
struct Bench {
    shared: Arc<Shared>,
    pacer: Pacer<Noted>,
    desk: Desk,
    told: Vec<Rc<RefCell<Vec<Told>>>>,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(&[&["a"], &["a"], &["b"]])
    }

    /// Channels of these streams.
    fn of(sources: &[&[&str]]) -> Bench {
        let ms = Duration::from_millis;
        let shared = Arc::new(Shared {
            directory: Directory::new(10),
            bells: Bells::new(2).unwrap(),
            mailboxes: Mailboxes::new(2, 0),
            limits: Limits {
                connections: 1,
                reserved: 0,
                lag_max: ms(3000),
                stall: ms(1000),
                play_wait: ms(1000),
                silence: ms(1000),
                grace: ms(1000),
                takeover: ms(1000),
                inbound_bytes: 1,
                pin_budget_bytes: 1,
                notsent_lowat_bytes: 1,
            },
            rule: Rule { mode: Mode::Frame, flush: ms(40), min_gap: ms(12) },
            keep: Retention { gop_bytes_max: 1 << 20, gop_age_max: ms(20_000), lag_max: ms(3000) },
            give_back: || (),
        });
        let told: Vec<Rc<RefCell<Vec<Told>>>> = sources.iter().map(|_| Rc::default()).collect();
        let channel = |at: usize| {
            let names = sources[at].iter().map(|name| StreamName::new("live", name)).collect();
            Noted(names, told[at].clone(), Cell::default(), Cell::new(Mono::ZERO), Vec::new())
        };
        let desk = Desk::default();
        let channels = (0..sources.len()).map(|at| (channel(at), 2 * at as u32)).collect();
        let pacer = Pacer::new(PACER, shared.clone(), Box::new(desk.clone()), channels, 6, Arc::default());
        Bench { shared, pacer, desk, told }
    }

    /// Ticks at `ms`.
    fn tick(&mut self, ms: u64) {
        self.desk.now.set(ms);
        self.pacer.tick();
    }

    /// What channel `at` was told since the last time: of its source, and (`pace`) of its pace.
    fn told_of(&self, at: usize, pace: bool) -> Vec<Told> {
        let mut told = std::mem::take(&mut *self.told[at].borrow_mut());
        told.retain(|told| match told {
            Told::Sent(_) | Told::Refused(_) => false,
            Told::Jump | Told::Behind => pace,
            _ => !pace,
        });
        told
    }

    fn told(&self, at: usize) -> Vec<Told> {
        self.told_of(at, false)
    }

    /// What channels were fed.
    fn kept(&self) -> Vec<&[Bytes]> {
        self.pacer.lanes.iter().map(|lane| &lane.channel.4[..]).collect()
    }

    fn publish(&self, stream: &str) -> Claim {
        let name = StreamName::new("live", stream);
        let claim = self.shared.directory.claim(&name, HOME, Mono::ZERO, Duration::from_secs(2)).unwrap();
        self.tell(Command::Published(name));
        claim
    }

    fn tell(&self, command: Command) {
        assert!(self.shared.mailboxes.send(PACER, command).is_ok());
    }

    /// The home is asked for the log of the stream.
    fn is_asked(&self, claim: &Claim) -> bool {
        let command = self.shared.mailboxes.take(HOME);
        matches!(command, Some(Command::Subscribe { stream, key: KEY, reader: PACER, .. }) if stream == claim.id)
    }

    /// News of the log, then its mark.
    fn bring(&self, claim: &Claim, log: &mut LogWriter, ms: u64) {
        let (id, news) = (log.shared().id, log.take_news());
        if !news.is_empty() {
            self.tell(Command::News { stream: claim.id, log: id, news });
        }
        if log.flush(Mono::from_micros(ms * 1000)) {
            self.shared.bells.mark(HOME, PACER, id);
        }
    }
}

fn append(log: &mut LogWriter, ms: u64, fill: u8, join: bool) {
    assert!(log.reserve(188) && log.put(&[fill; 188]));
    let flags = if join { flags::JOIN } else { 0 };
    let entry = Entry { dts_ms: ms as u32, complete_us: ms * 1000, flags, ..Entry::default() };
    assert!(log.commit(Mono::from_micros(ms * 1000), entry, join.then(|| TrackTable::new().snapshot())));
}

#[test]
fn channels_of_a_stream_share_its_log_and_follow_it_to_its_end() {
    let mut bench = Bench::new();
    (0..bench.told.len()).for_each(|at| bench.pacer.seek(Mono::ZERO, at));
    assert!([0, 1, 2].iter().all(|at| bench.told(*at) == [Told::Heard(Heard::NoStream)]));
    let claim = bench.publish("a");
    bench.tick(1);
    assert!(bench.is_asked(&claim) && !bench.is_asked(&claim), "once for both");

    let mut log = LogWriter::new(LogId(7));
    append(&mut log, 10, 1, false);
    append(&mut log, 20, 2, true);
    append(&mut log, 30, 3, false);
    log.take_news();
    log.flush(Mono::from_micros(30_000));
    bench.tell(Command::Opened { name: StreamName::new("live", "a"), key: KEY, snapshot: log.snapshot() });
    bench.tick(31);
    for at in [0, 1] {
        assert_eq!(
            bench.told(at),
            [Told::Heard(Heard::Found), Told::Seam, Told::Fed(2), Told::Fed(3)],
            "from where one can begin"
        );
    }
    let kept = bench.kept();
    assert!(kept[0].len() == 2 && kept[0][1].as_ptr() == kept[1][1].as_ptr(), "one copy for both");
    append(&mut log, 40, 4, true);
    bench.tick(41);
    assert_eq!(bench.told(0), [], "not flushed");
    bench.bring(&claim, &mut log, 41);
    bench.tick(42);
    assert_eq!(
        (bench.told(0), bench.told(1)),
        (vec![Told::Fed(4)], vec![Told::Fed(4)]),
        "no seam at each key"
    );

    log.unfit("its codec");
    bench.bring(&claim, &mut log, 50);
    bench.tick(51);
    assert_eq!(bench.told(0), [Told::Heard(Heard::Refused("its codec"))]);
    append(&mut log, 60, 5, true);
    bench.bring(&claim, &mut log, 60);
    bench.tick(61);
    assert_eq!(bench.told(0), [Told::Fed(5), Told::Heard(Heard::Found)]);

    // It ends, and is published anew in the same moment.
    append(&mut log, 70, 6, false);
    log.end();
    let name = StreamName::new("live", "a");
    assert!(bench.shared.directory.unpublish(Mono::ZERO, &name, claim.id, claim.epoch));
    assert!(bench.shared.directory.end(&name, claim.id, claim.epoch));
    let again = bench.publish("a");
    log.flush(Mono::from_micros(70_000));
    bench.bring(&claim, &mut log, 70);
    bench.tick(71);
    assert_eq!(bench.told(1)[3..], [Told::Fed(6), Told::Heard(Heard::Ended)]);
    assert!(bench.is_asked(&again));
    assert_eq!(bench.told(2), [], "it is another stream's");
}

#[test]
fn who_is_refused_asks_again() {
    let mut bench = Bench::new();
    let claim = bench.publish("b");
    bench.tick(1);
    assert!(bench.is_asked(&claim));
    let refuse = |why| Command::Refused { name: StreamName::new("live", "b"), key: KEY, why };
    bench.tell(refuse(NotOpened::Gone));
    bench.tick(2);
    assert!(bench.is_asked(&claim), "it may have moved");
    bench.tell(refuse(NotOpened::Refused(NoLog::Codecs("its codec"))));
    bench.tick(3);
    assert_eq!(bench.told(2).last(), Some(&Told::Heard(Heard::Refused("its codec"))));
    (4..1900).step_by(100).for_each(|ms| bench.tick(ms));
    assert!(!bench.is_asked(&claim), "not at once");
    (1900..2300).step_by(100).for_each(|ms| bench.tick(ms));
    assert!(bench.is_asked(&claim), "its publisher may go on with another codec");
}

#[test]
fn a_pacer_that_is_far_behind_skips() {
    let mut bench = Bench::new();
    let claim = bench.publish("b");
    bench.tick(1);
    let mut log = LogWriter::new(LogId(0));
    append(&mut log, 2, 1, true);
    log.take_news();
    log.flush(Mono::from_micros(2000));
    bench.tell(Command::Opened { name: StreamName::new("live", "b"), key: KEY, snapshot: log.snapshot() });
    bench.tick(3);
    bench.told(2);
    (1..=8).for_each(|n| append(&mut log, 1000 * n, n as u8, n % 4 == 0));
    bench.bring(&claim, &mut log, 8000);
    bench.tick(8001);
    let told = bench.told(2);
    let skipped = [Told::Heard(Heard::Skipped), Told::Seam, Told::Fed(8)];
    assert!(told.starts_with(&skipped) || told[1..].starts_with(&skipped), "{told:?}");
}

#[test]
fn much_at_once_is_spread_over_ticks() {
    let mut bench = Bench::new();
    let claim = bench.publish("a");
    bench.tick(1);
    let mut log = LogWriter::new(LogId(0));
    let big = vec![1; 100 << 10];
    for n in 0..8 {
        assert!(log.reserve(big.len()) && log.put(&big));
        let entry = Entry { dts_ms: n, complete_us: 1000, flags: flags::JOIN, ..Entry::default() };
        let config = (n == 0).then(|| TrackTable::new().snapshot());
        assert!(log.commit(Mono::from_micros(1000), entry, config));
    }
    log.take_news();
    log.flush(Mono::from_micros(1000));
    bench.tell(Command::Opened { name: StreamName::new("live", "a"), key: KEY, snapshot: log.snapshot() });
    let mut counts = Vec::new();
    for ms in 2..12 {
        bench.tick(ms);
        counts
            .push([0, 1].map(|at| bench.told(at).iter().filter(|told| matches!(told, Told::Fed(_))).count()));
    }
    // 256 KiB, and what is begun then, in the same tick for all: a copy is made once.
    assert!(counts.iter().all(|two| two[0] <= 3 && two[0] == two[1]), "{counts:?}");
    assert_eq!(counts.iter().map(|two| two[0]).sum::<usize>(), 8, "{counts:?}");
    let kept = bench.kept();
    assert!(kept[0].iter().zip(kept[1]).all(|two| two.0.as_ptr() == two.1.as_ptr()));
    assert!(bench.is_asked(&claim));
}

/// A channel that knew of nothing to send is asked again once it is fed.
#[test]
fn what_is_fed_may_be_due_at_once() {
    let mut bench = Bench::of(&[&["far"]]);
    let claim = bench.publish("far");
    (1..20).for_each(|ms| bench.tick(ms));
    assert!(bench.is_asked(&claim) && bench.pacer.lanes[0].channel.2.get() == 0);
    let mut log = LogWriter::new(LogId(0));
    append(&mut log, 2, 1, true);
    log.take_news();
    log.flush(Mono::from_micros(2000));
    bench.tell(Command::Opened { name: StreamName::new("live", "far"), key: KEY, snapshot: log.snapshot() });
    (20..22).for_each(|ms| bench.tick(ms));
    assert!(bench.pacer.lanes[0].channel.2.get() > 0, "datagrams");
}

#[test]
fn what_is_due_is_laid_for_its_own_addresses() {
    let mut bench = Bench::new();
    (0..=100).for_each(|ms| bench.tick(ms));
    // The three begin one after the other within a datagram's time.
    for told in &bench.told {
        let (mut all, mut refused) = (Taken::default(), 0);
        for told in told.borrow().iter() {
            match told {
                Told::Sent(taken) => {
                    all.datagrams += taken.datagrams;
                    all.bytes += taken.bytes;
                }
                Told::Refused(address) => refused += u64::from(*address == 1),
                _ => {}
            }
        }
        assert!((49..=51).contains(&refused) && all.datagrams == refused, "{all:?}, {refused} refused");
        assert_eq!(all.bytes, all.datagrams * 1316);
    }
    // A stall that is caught up with, and one that is left out.
    bench.told(0);
    bench.tick(200);
    assert_eq!(bench.told_of(0, true), [Told::Behind]);
    bench.tick(5000);
    assert_eq!(bench.told_of(0, true), [Told::Jump]);
    bench.tick(5001);
    assert_eq!(bench.told_of(0, true), []);
    bench.tell(Command::Drain);
    bench.tick(5002);
    assert!(bench.pacer.draining);
}

/// A channel of two streams is told of each as of nobody else: one that ends is none of the other's business. One that it has
/// twice is followed once, and fed twice.
#[test]
fn a_channel_of_several_streams_is_told_which() {
    let mut bench = Bench::of(&[&["a", "b", "a"]]);
    assert_eq!(bench.pacer.sources.len(), 2);
    let log_of = |bench: &mut Bench, name: &str, id: u64, fill: u8| {
        let claim = bench.publish(name);
        bench.tick(3);
        assert!(bench.is_asked(&claim), "{name}");
        let mut log = LogWriter::new(LogId(id as _));
        append(&mut log, 2, fill, true);
        log.take_news();
        log.flush(Mono::from_micros(2000));
        bench.tell(Command::Opened {
            name: StreamName::new("live", name),
            key: KEY,
            snapshot: log.snapshot(),
        });
        (claim, log)
    };
    let (_first, _) = log_of(&mut bench, "a", 1, 1);
    let (second, mut log) = log_of(&mut bench, "b", 2, 2);
    bench.tick(4);
    use Told::{Fed, Of, Seam};
    let found = Told::Heard(Heard::Found);
    let told = [found, Of(2), found, Of(1), found];
    let fed = [Seam, Fed(1), Of(2), Seam, Of(2), Fed(1), Of(1), Seam, Of(1), Fed(2)];
    let all = bench.told(0);
    assert!(told.iter().chain(&fed).all(|one| all.contains(one)), "{all:?}");
    assert_eq!(all.iter().filter(|told| matches!(told, Fed(_))).count(), 3, "{all:?}");
    append(&mut log, 4, 3, false);
    log.end();
    bench.bring(&second, &mut log, 4);
    bench.tick(5);
    assert_eq!(bench.told(0)[..4], [Of(1), Fed(3), Of(1), Told::Heard(Heard::Ended)]);
}
