//! One thread of subscribers: connects them at the ramp's pace, reads, keeps the slow ones slow, and lets go at the end.

use super::ring::{Done, Ring};
use super::subscriber::Subscriber;
use super::{Live, Outcome, Pace, Plan, socket};
use crate::arrivals::Arrivals;
use crate::clock::{SECOND_NS, exact_timers, now_ns};
use crate::setup::NOT_BEGUN;
use anyhow::Result;
use socket2::{SockAddr, Socket};
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
/// How long the kernel may take to give back its last buffers.
const LEAVE_NS: u64 = 2 * SECOND_NS;

/// What a completion is about; the rest of `user_data` is the subscriber's place.
const CONNECT: u64 = 1 << 62;
const PLACE_MASK: u64 = CONNECT - 1;

struct Seat {
    subscriber: Subscriber,
    socket: Socket,
    /// Which of the plan's targets it plays.
    target: usize,
    /// Operations the kernel still holds.
    outstanding: u32,
    /// Has left or was lost, and is counted so.
    gone: bool,
}

struct Worker<'a> {
    plan: &'a Plan,
    live: &'a Live,
    ring: Ring,
    addresses: Vec<SockAddr>,
    thread: usize,
    /// By place; empty again when the subscriber is gone and the kernel has forgotten it.
    seats: Vec<Option<Box<Seat>>>,
    occupied: usize,
    /// Paced subscribers by the time of their next read.
    reads: BinaryHeap<Reverse<(u64, usize)>>,
    /// Subscribers that come and go, by the time when their patience or their visit ends.
    visits: BinaryHeap<Reverse<(u64, usize)>>,
    outcome: Outcome,
    leaving: bool,
}

/// Runs the subscribers whose number is `thread` modulo the plan's threads.
pub fn run(
    plan: &Plan,
    thread: usize,
    addresses: &[SocketAddr],
    arrivals: Arrivals,
    live: &Live,
) -> Result<Outcome> {
    exact_timers();
    let mut worker = Worker {
        plan,
        live,
        ring: Ring::new()?,
        addresses: addresses.iter().map(|&address| address.into()).collect(),
        thread,
        seats: Vec::new(),
        occupied: 0,
        reads: BinaryHeap::new(),
        visits: BinaryHeap::new(),
        outcome: Outcome::new(plan),
        leaving: false,
    };
    let result = worker.work(&arrivals);
    let quiet = worker.leave().unwrap_or(false);
    let Worker { ring, outcome, .. } = worker;
    if !quiet {
        ring.leak();
    }
    result.map(|()| outcome)
}

impl Worker<'_> {
    /// The number, over all threads, of the subscriber at `place` of this one.
    fn number(&self, place: usize) -> usize {
        self.thread + place * self.plan.threads.max(1)
    }

    fn work(&mut self, arrivals: &Arrivals) -> Result<()> {
        let mut done = Vec::new();
        loop {
            let now = now_ns();
            let mut next = arrivals.due_ns(self.number(self.seats.len()));
            while let Some(due) = next.filter(|&due| due <= now.min(self.plan.end_ns)) {
                self.begin(due)?;
                next = arrivals.due_ns(self.number(self.seats.len()));
            }
            while let Some(&Reverse((at, place))) = self.reads.peek()
                && at <= now
            {
                self.reads.pop();
                self.arm(place)?;
            }
            while let Some(&Reverse((at, place))) = self.visits.peek()
                && at <= now
            {
                self.visits.pop();
                self.visit_ends(place, now);
            }
            let all_gone = next.is_none() && self.occupied == 0;
            if now >= self.plan.end_ns || all_gone {
                return self.account_rest(arrivals);
            }
            let timers = [&self.reads, &self.visits].map(|heap| heap.peek().map(|Reverse((at, _))| *at));
            let next =
                timers.into_iter().flatten().chain(next).min().unwrap_or(u64::MAX).min(now + TURN_MAX_NS);
            self.turn(Duration::from_nanos(next.saturating_sub(now)), &mut done)?;
        }
    }

    /// Those who never came, and those who are still here.
    fn account_rest(&mut self, arrivals: &Arrivals) -> Result<()> {
        for place in self.seats.len().. {
            let number = self.number(place);
            if arrivals.due_ns(number).is_none() {
                break;
            }
            let (target, _) = self.plan.route(number);
            self.outcome.setups[target].error(NOT_BEGUN);
        }
        for place in 0..self.seats.len() {
            let Some(seat) = self.seats[place].as_deref().filter(|seat| !seat.gone) else { continue };
            let setups = &mut self.outcome.setups[seat.target];
            match seat.subscriber.meter.frames {
                (0, 0) => setups.error("no frame by the end"),
                _ => setups.stayed += 1,
            }
            account(&mut self.outcome, &seat.subscriber, true);
        }
        Ok(())
    }

    fn turn(&mut self, timeout: Duration, done: &mut Vec<Done>) -> Result<()> {
        done.clear();
        self.ring.turn(timeout, done)?;
        // One clock reading a turn: the kernel filled all these buffers within the call that just returned.
        let now = now_ns();
        let phase = self.plan.phase(now);
        let (mut bytes, mut messages) = (0, 0);
        for done in done.iter() {
            let place = (done.user_data & PLACE_MASK) as usize;
            if done.user_data & CONNECT != 0 {
                self.connected(place, done.result)?;
                continue;
            }
            messages += self.received(place, done, now, phase)?;
            bytes += u64::try_from(done.result).unwrap_or(0);
        }
        if bytes > 0 {
            Live::add(&self.live.wire_bytes, bytes);
            Live::add(&self.live.messages, messages);
            self.outcome.wire_bytes += if phase.is_some() { bytes } else { 0 };
        }
        Ok(())
    }

    /// Begins the next subscriber, who should have begun at `due`.
    fn begin(&mut self, due: u64) -> Result<()> {
        let place = self.seats.len();
        let number = self.number(place);
        let (target, from) = self.plan.route(number);
        let pace = self.plan.pace(number);
        self.seats.push(None);
        self.outcome.setups[target].begin(due, now_ns());
        let socket = match socket::open(&self.addresses[target], from, pace) {
            Ok(socket) => socket,
            // Out of descriptors or addresses: counted like every other failure, whoever is to blame.
            Err(error) => {
                self.outcome.setups[target].error(&format!("cannot open a socket: {error}"));
                Live::add(&self.live.disconnects, 1);
                return Ok(());
            }
        };
        // SAFETY: the worker keeps its addresses in place while it works, and the kernel copies one at submission, which
        // is at the end of the same turn.
        unsafe { self.ring.connect(socket.as_raw_fd(), &self.addresses[target], CONNECT | place as u64) }?;
        let mut subscriber = self.subscriber(number, target, pace);
        subscriber.begun_ns = due;
        self.seats[place] = Some(Box::new(Seat { subscriber, socket, target, outstanding: 1, gone: false }));
        self.occupied += 1;
        if let Some(visit) = self.plan.visit {
            self.visits.push(Reverse((due + visit.patience_ns, place)));
        }
        Ok(())
    }

    fn subscriber(&self, number: usize, target: usize, pace: Pace) -> Subscriber {
        let plan = self.plan;
        let first_healthy = plan.count - plan.healthy();
        let verify = (first_healthy..first_healthy + plan.verify).contains(&number);
        let stream = number / plan.targets.len() % plan.streams.max(1);
        let target = &plan.targets[target];
        let numbered = (plan.streams > 1).then(|| target.numbered(stream));
        Subscriber::new(numbered.as_ref().unwrap_or(target), stream as u32, pace, verify)
    }

    fn connected(&mut self, place: usize, result: i32) -> Result<()> {
        let Some(seat) = &mut self.seats[place] else { return Ok(()) };
        seat.outstanding -= 1;
        if seat.gone || self.leaving {
            self.vacate(place);
            return Ok(());
        }
        if result < 0 {
            self.lost(place, &format!("connect: {}", io::Error::from_raw_os_error(-result)));
            return Ok(());
        }
        Live::add(&self.live.connected, 1);
        self.send(place);
        self.arm(place)
    }

    /// Sends what the subscriber wants to send: a request, commands, acknowledgements; never more than a socket buffer.
    fn send(&mut self, place: usize) {
        let Some(seat) = &mut self.seats[place] else { return };
        if !seat.subscriber.has_output() {
            return;
        }
        let mut out = Vec::new();
        seat.subscriber.take_output(&mut out);
        let sent = seat.socket.send_with_flags(&out, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        if !sent.is_ok_and(|n| n == out.len()) {
            // The pending receive then ends with 0 and says so.
            let _ = seat.socket.shutdown(Shutdown::Both);
        }
    }

    fn arm(&mut self, place: usize) -> Result<()> {
        let Some(seat) = &mut self.seats[place] else { return Ok(()) };
        if self.leaving || seat.gone {
            return Ok(());
        }
        let (fd, user_data) = (seat.socket.as_raw_fd(), place as u64);
        seat.outstanding += 1;
        match seat.subscriber.pace {
            Pace::Healthy => self.ring.receive_all(fd, user_data),
            Pace::Slow(_) | Pace::Stalls(_) => self.ring.receive_once(fd, PACED_READ, user_data),
        }
    }

    /// Takes in what a receive brought; returns how many messages it completed.
    fn received(&mut self, place: usize, done: &Done, now: u64, phase: Option<usize>) -> Result<u64> {
        let Some(seat) = &mut self.seats[place] else {
            done.buffer.into_iter().for_each(|buffer| self.ring.give_back(buffer));
            return Ok(0);
        };
        if !done.more {
            seat.outstanding -= 1;
        }
        if seat.gone || self.leaving {
            done.buffer.into_iter().for_each(|buffer| self.ring.give_back(buffer));
            self.vacate(place);
            return Ok(0);
        }
        let len = usize::try_from(done.result).unwrap_or(0);
        let mut messages = 0;
        if let Some(buffer) = done.buffer {
            let totals = phase.and_then(|phase| self.outcome.phases.get_mut(phase));
            let meter = |seat: &Seat| (seat.subscriber.meter.frames, seat.subscriber.meter.first_frame_ns);
            let (before, waited) = meter(seat);
            let taken = seat.subscriber.input(self.ring.buffer(buffer, len), now, totals);
            let (after, first_frame) = meter(seat);
            self.ring.give_back(buffer);
            messages = after.0 + after.1 - before.0 - before.1;
            if waited == 0 && first_frame > 0 {
                self.outcome.setups[seat.target].first_frame(seat.subscriber.begun_ns, first_frame);
                if let Some(visit) = self.plan.visit {
                    self.visits.push(Reverse((first_frame + visit.life_ns, place)));
                }
            }
            if let Err(reason) = taken {
                self.lost(place, &reason);
                return Ok(messages);
            }
            self.send(place);
        }
        match done.result {
            1.. if done.more => {}
            1.. => self.again(place, len, now)?,
            e if -e == libc::ENOBUFS => {
                self.outcome.buffer_shortages += 1;
                self.arm(place)?;
            }
            0 => self.lost(place, "the server closed the connection"),
            e => self.lost(place, &io::Error::from_raw_os_error(-e).to_string()),
        }
        Ok(messages)
    }

    /// Reads on, now or when the subscriber's pace allows it.
    fn again(&mut self, place: usize, len: usize, now: u64) -> Result<()> {
        let Some(seat) = &self.seats[place] else { return Ok(()) };
        match seat.subscriber.pace {
            Pace::Healthy => self.arm(place),
            Pace::Slow(rate) => {
                let wait = len as f64 / rate.max(1.0) * 1e9;
                self.reads.push(Reverse((now + wait as u64, place)));
                Ok(())
            }
            Pace::Stalls(after)
                if now < seat.subscriber.begun_ns + after || seat.subscriber.meter.frames == (0, 0) =>
            {
                self.arm(place)
            }
            // Nor will it learn that it was closed: that news waits behind the bytes that it does not read.
            Pace::Stalls(_) => Ok(()),
        }
    }

    /// Its patience or its visit is over.
    fn visit_ends(&mut self, place: usize, now: u64) {
        let (Some(visit), Some(seat)) = (self.plan.visit, &self.seats[place]) else { return };
        match seat.subscriber.meter.first_frame_ns {
            _ if seat.gone => {}
            0 => self.lost(place, "no frame in time"),
            first if now >= first + visit.life_ns => {
                self.outcome.setups[seat.target].served += 1;
                self.go(place, false);
            }
            // Patience ends during a visit: the end of the visit comes later.
            _ => {}
        }
    }

    /// Ends a subscriber before its time.
    fn lost(&mut self, place: usize, reason: &str) {
        let Some(seat) = &self.seats[place] else { return };
        if seat.gone {
            return;
        }
        self.outcome.setups[seat.target].error(reason);
        Live::add(&self.live.disconnects, 1);
        self.go(place, true);
    }

    /// Adds up what a subscriber got and lets it go; `to_the_end` when it should have had the last frame.
    fn go(&mut self, place: usize, to_the_end: bool) {
        let Some(seat) = &mut self.seats[place] else { return };
        seat.gone = true;
        account(&mut self.outcome, &seat.subscriber, to_the_end);
        let _ = seat.socket.shutdown(Shutdown::Both);
        self.vacate(place);
    }

    /// Closes the descriptor of a subscriber that is gone, once the kernel holds no operation on it.
    fn vacate(&mut self, place: usize) {
        if self.seats[place].as_ref().is_some_and(|seat| seat.outstanding == 0) {
            self.seats[place] = None;
            self.occupied -= 1;
        }
    }

    /// Closes everything; true when the kernel holds no buffer any more.
    fn leave(&mut self) -> Result<bool> {
        self.leaving = true;
        for place in 0..self.seats.len() {
            if let Some(seat) = &self.seats[place] {
                let _ = seat.socket.shutdown(Shutdown::Both);
                self.vacate(place);
            }
        }
        let deadline = now_ns() + LEAVE_NS;
        let mut done = Vec::new();
        while self.occupied > 0 {
            if now_ns() > deadline {
                return Ok(false);
            }
            self.turn(Duration::from_millis(10), &mut done)?;
        }
        Ok(true)
    }
}

/// Adds one subscriber's account to all others'; `to_the_end` when it should have had the last frame.
fn account(outcome: &mut Outcome, subscriber: &Subscriber, to_the_end: bool) {
    let meter = &subscriber.meter;
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
    if to_the_end {
        let (video, audio) = meter.next();
        outcome.ends.push((meter.stream, video, audio));
    }
}
