//! One thread of subscribers: connects them at the ramp's pace, reads, keeps the slow ones slow, and lets go at the end.

use super::ring::{Done, Ring};
use super::subscriber::Subscriber;
use super::{Live, Outcome, Pace, Plan};
use crate::clock::{SECOND_NS, exact_timers, now_ns};
use anyhow::{Context, Result};
use socket2::{Domain, SockAddr, Socket, Type};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Longest sleep of a turn, so that the end and the ramp are never far away.
const TURN_MAX_NS: u64 = 5_000_000;
/// Bytes a paced subscriber reads at once, at most.
const PACED_READ: u32 = 16 * 1024;
/// Receive buffer of a subscriber that will stall: the kernel grows that of a reading one to megabytes, and a stall that
/// begins then reaches the server a minute later.
const STALLED_RECEIVE_BYTES: usize = 32 * 1024;
/// How long the kernel may take to give back its last buffers.
const LEAVE_NS: u64 = 2 * SECOND_NS;

/// What a completion is about; the rest of `user_data` is the subscriber's place.
const CONNECT: u64 = 1 << 62;
const PLACE_MASK: u64 = CONNECT - 1;

struct Seat {
    subscriber: Subscriber,
    socket: Option<Socket>,
    /// Operations the kernel still holds.
    outstanding: u32,
    /// Ended before its time, and counted.
    gone: bool,
}

struct Worker<'a> {
    plan: &'a Plan,
    live: &'a Live,
    ring: Ring,
    address: SockAddr,
    seats: Vec<Seat>,
    /// Paced subscribers by the time of their next read.
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    outcome: Outcome,
    leaving: bool,
}

/// Runs the subscribers whose number is `thread` modulo the plan's threads.
pub fn run(plan: &Plan, thread: usize, address: SocketAddr, start_ns: u64, live: &Live) -> Result<Outcome> {
    exact_timers();
    let threads = plan.threads.max(1);
    let verified = plan.count - plan.healthy()..plan.count - plan.healthy() + plan.verify;
    let numbers: Vec<usize> = (thread..plan.count).step_by(threads).collect();
    let seats = numbers.iter().map(|&number| {
        let stream = number % plan.streams.max(1);
        let target = if plan.streams > 1 { plan.target.numbered(stream) } else { plan.target.clone() };
        let subscriber =
            Subscriber::new(&target, stream as u32, plan.pace(number), verified.contains(&number));
        Seat { subscriber, socket: None, outstanding: 0, gone: false }
    });
    let mut worker = Worker {
        plan,
        live,
        ring: Ring::new()?,
        address: address.into(),
        seats: seats.collect(),
        timers: BinaryHeap::new(),
        outcome: Outcome::default(),
        leaving: false,
    };
    let begins: Vec<u64> =
        numbers.iter().map(|&n| start_ns + (n as f64 / plan.ramp_per_s.max(1e-3) * 1e9) as u64).collect();
    let result = worker.work(&begins);
    let quiet = worker.leave().unwrap_or(false);
    let Worker { ring, mut outcome, seats, .. } = worker;
    if !quiet {
        ring.leak();
    }
    result?;
    for seat in &seats {
        account(&mut outcome, &seat.subscriber);
    }
    Ok(outcome)
}

fn account(outcome: &mut Outcome, subscriber: &Subscriber) {
    let meter = &subscriber.meter;
    if meter.first_frame_ns > 0 {
        outcome.first_frame_us.saturating_record((meter.first_frame_ns - subscriber.begun_ns) / 1000);
    }
    if subscriber.pace != Pace::Healthy {
        return;
    }
    outcome.faults.add(&meter.faults);
    if meter.verify {
        outcome.verified.add(&meter.faults);
    }
    if meter.faults.is_clean() {
        outcome.clean.0 += 1
    } else {
        outcome.clean.1 += 1
    }
    let (video, audio) = meter.next();
    outcome.ends.push((meter.stream, video, audio));
}

impl Worker<'_> {
    fn work(&mut self, begins: &[u64]) -> Result<()> {
        let mut begun = 0;
        let mut done = Vec::new();
        loop {
            let now = now_ns();
            if now >= self.plan.end_ns {
                return Ok(());
            }
            while begins.get(begun).is_some_and(|&at| at <= now) {
                self.begin(begun, now)?;
                begun += 1;
            }
            while let Some(&Reverse((at, place))) = self.timers.peek()
                && at <= now
            {
                self.timers.pop();
                self.arm(place)?;
            }
            let next = [begins.get(begun).copied(), self.timers.peek().map(|Reverse((at, _))| *at)];
            let next = next.into_iter().flatten().min().unwrap_or(u64::MAX).min(now + TURN_MAX_NS);
            self.turn(Duration::from_nanos(next.saturating_sub(now)), &mut done)?;
        }
    }

    fn turn(&mut self, timeout: Duration, done: &mut Vec<Done>) -> Result<()> {
        done.clear();
        self.ring.turn(timeout, done)?;
        // One clock reading a turn: the kernel filled all these buffers within the call that just returned.
        let now = now_ns();
        let (opens, closes) = self.plan.window;
        let open = (opens..closes).contains(&now);
        let (mut bytes, mut messages) = (0, 0);
        for done in done.iter() {
            let place = (done.user_data & PLACE_MASK) as usize;
            if done.user_data & CONNECT != 0 {
                self.connected(place, done.result)?;
                continue;
            }
            let before = self.seats[place].subscriber.meter.frames;
            self.received(place, done, now, open)?;
            let after = self.seats[place].subscriber.meter.frames;
            messages += after.0 + after.1 - before.0 - before.1;
            bytes += u64::try_from(done.result).unwrap_or(0);
        }
        if bytes > 0 {
            Live::add(&self.live.wire_bytes, bytes);
            Live::add(&self.live.messages, messages);
            self.outcome.wire_bytes += if open { bytes } else { 0 };
        }
        Ok(())
    }

    fn begin(&mut self, place: usize, now: u64) -> Result<()> {
        let domain = if self.address.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
        // Blocking on purpose: io_uring waits by itself, and would return EAGAIN on a non-blocking socket.
        let socket = Socket::new(domain, Type::STREAM, None).context("cannot open a socket (ulimit -n?)")?;
        socket.set_tcp_nodelay(true)?;
        if matches!(self.seats[place].subscriber.pace, Pace::Stalls(_)) {
            socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES)?;
        }
        let seat = &mut self.seats[place];
        seat.subscriber.begun_ns = now;
        seat.outstanding += 1;
        // SAFETY: the worker keeps the address in place while it works, and the kernel copies it at submission, which is
        // at the end of the same turn.
        unsafe { self.ring.connect(socket.as_raw_fd(), &self.address, CONNECT | place as u64) }?;
        self.seats[place].socket = Some(socket);
        Ok(())
    }

    fn connected(&mut self, place: usize, result: i32) -> Result<()> {
        self.seats[place].outstanding -= 1;
        if result < 0 {
            self.gone(place, &format!("connect: {}", io::Error::from_raw_os_error(-result)));
            return Ok(());
        }
        Live::add(&self.live.connected, 1);
        self.send(place);
        self.arm(place)
    }

    /// Sends what the subscriber wants to send: a request, commands, acknowledgements; never more than a socket buffer.
    fn send(&mut self, place: usize) {
        let seat = &mut self.seats[place];
        if !seat.subscriber.has_output() {
            return;
        }
        let Some(socket) = &seat.socket else { return };
        let mut out = Vec::new();
        seat.subscriber.take_output(&mut out);
        let sent = socket.send_with_flags(&out, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        if !sent.is_ok_and(|n| n == out.len()) {
            // The pending receive then ends with 0 and says so.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn arm(&mut self, place: usize) -> Result<()> {
        let seat = &mut self.seats[place];
        if self.leaving || seat.gone {
            return Ok(());
        }
        let Some(socket) = &seat.socket else { return Ok(()) };
        let (fd, user_data) = (socket.as_raw_fd(), place as u64);
        seat.outstanding += 1;
        match seat.subscriber.pace {
            Pace::Healthy => self.ring.receive_all(fd, user_data),
            Pace::Slow(_) | Pace::Stalls(_) => self.ring.receive_once(fd, PACED_READ, user_data),
        }
    }

    fn received(&mut self, place: usize, done: &Done, now: u64, open: bool) -> Result<()> {
        let seat = &mut self.seats[place];
        if !done.more {
            seat.outstanding -= 1;
        }
        let len = usize::try_from(done.result).unwrap_or(0);
        if let Some(buffer) = done.buffer {
            let totals = open.then_some(&mut self.outcome.totals);
            let taken = seat.subscriber.input(self.ring.buffer(buffer, len), now, totals);
            self.ring.give_back(buffer);
            if let Err(reason) = taken {
                self.gone(place, &reason);
                return Ok(());
            }
            self.send(place);
        }
        match done.result {
            1.. if done.more => Ok(()),
            1.. => self.again(place, len, now),
            e if -e == libc::ENOBUFS => {
                self.outcome.buffer_shortages += 1;
                self.arm(place)
            }
            0 => {
                self.gone(place, "the server closed the connection");
                Ok(())
            }
            e => {
                self.gone(place, &io::Error::from_raw_os_error(-e).to_string());
                Ok(())
            }
        }
    }

    /// Reads on, now or when the subscriber's pace allows it.
    fn again(&mut self, place: usize, len: usize, now: u64) -> Result<()> {
        let subscriber = &self.seats[place].subscriber;
        match subscriber.pace {
            Pace::Healthy => self.arm(place),
            Pace::Slow(rate) => {
                let wait = len as f64 / rate.max(1.0) * 1e9;
                self.timers.push(Reverse((now + wait as u64, place)));
                Ok(())
            }
            Pace::Stalls(after) if now < subscriber.begun_ns + after => self.arm(place),
            Pace::Stalls(_) => Ok(()),
        }
    }

    /// Ends a subscriber. Its descriptor closes when the kernel holds no operation on it.
    fn gone(&mut self, place: usize, reason: &str) {
        let seat = &mut self.seats[place];
        let Some(socket) = &seat.socket else { return };
        if seat.outstanding > 0 {
            let _ = socket.shutdown(Shutdown::Both);
        } else {
            seat.socket = None;
        }
        if self.leaving || std::mem::replace(&mut seat.gone, true) {
            return;
        }
        Live::add(&self.live.disconnects, 1);
        *self.outcome.disconnects.entry(reason.to_owned()).or_default() += 1;
    }

    /// Closes everything; true when the kernel holds no buffer any more.
    fn leave(&mut self) -> Result<bool> {
        self.leaving = true;
        for seat in &self.seats {
            if let Some(socket) = &seat.socket {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        let deadline = now_ns() + LEAVE_NS;
        let mut done = Vec::new();
        while self.seats.iter().any(|seat| seat.outstanding > 0) {
            if now_ns() > deadline {
                return Ok(false);
            }
            self.turn(Duration::from_millis(10), &mut done)?;
        }
        Ok(true)
    }
}
