//! The epoll backend, for hosts that refuse io_uring: the same face over plain non-blocking calls.
//!
//! A send or receive is tried at once; what would block is remembered and tried again when epoll says so. Its
//! completions queue up like the ring's, so the engine cannot tell the difference.

use super::{
    Backend, BackendStats, Buffer, Completion, Datagram, Key, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, accept,
};
use crate::media::Mono;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Events taken by one look.
const EVENTS: usize = 256;
/// `EventData` of the bell, of the timer and of the first listener; slots are smaller.
const BELL: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const LISTENER: u64 = 1 << 32;
/// Reads of one socket in a row, so that one publisher cannot starve the others.
const READS_IN_A_ROW: u32 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receive {
    No,
    Once,
    Many,
    Datagrams,
}

/// A send that is not over. The bytes stay in place by the contract of [`Backend::send`].
struct PendingSend {
    bytes: *const [u8],
    done: usize,
}

struct Place {
    socket: OwnedFd,
    key: Key,
    receive: Receive,
    send: Option<PendingSend>,
    interest: EventFlags,
    /// It stands in [`Epoll::receivable`].
    queued: bool,
}

/// See the module's description.
pub struct Epoll {
    poll: OwnedFd,
    listeners: Vec<OwnedFd>,
    bell: OwnedFd,
    timer: OwnedFd,
    armed: Mono,
    places: Vec<Option<Place>>,
    /// Slots to try a receive on, in the next [`Backend::submit`].
    receivable: VecDeque<u32>,
    buffers: Vec<Box<[u8]>>,
    /// Who sent the datagram in each buffer, and whether it was cut.
    senders: Vec<Option<(SocketAddr, bool)>>,
    free: Vec<u16>,
    collected: VecDeque<Completion>,
    /// A wait has looked already.
    looked: bool,
    events: Vec<epoll::Event>,
}

impl Epoll {
    /// A backend without sockets; `bell` is the eventfd that other cores ring.
    pub fn new(listeners: Vec<OwnedFd>, bell: OwnedFd) -> io::Result<Epoll> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&poll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
        epoll::add(&poll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        for (data, socket) in (LISTENER..).zip(&listeners) {
            rustix::io::ioctl_fionbio(socket, true)?;
            epoll::add(&poll, socket, EventData::new_u64(data), EventFlags::ONESHOT)?;
        }
        Ok(Epoll {
            poll,
            listeners,
            bell,
            timer,
            armed: Mono::NEVER,
            places: Vec::new(),
            receivable: VecDeque::new(),
            buffers: Vec::new(),
            senders: Vec::new(),
            free: Vec::new(),
            collected: VecDeque::new(),
            looked: false,
            events: Vec::with_capacity(EVENTS),
        })
    }

    fn place(&mut self, key: Key) -> Option<&mut Place> {
        self.places.get_mut(key.slot as usize)?.as_mut()
    }

    fn queue(&mut self, slot: u32) {
        if let Some(Some(place)) = self.places.get_mut(slot as usize)
            && !std::mem::replace(&mut place.queued, true)
        {
            self.receivable.push_back(slot);
        }
    }

    fn receive(&mut self, key: Key, how: Receive) {
        let Some(place) = self.place(key) else { return };
        (place.key, place.receive) = (key, how);
        self.queue(key.slot);
    }

    /// Tells epoll what `slot` waits for.
    fn watch(&mut self, slot: u32) {
        let Some(Some(place)) = self.places.get_mut(slot as usize) else { return };
        // By edges: a socket that is broken would otherwise be told of for ever, also when nothing is asked of it.
        let mut want = EventFlags::ET;
        want.set(EventFlags::IN, place.receive != Receive::No);
        want.set(EventFlags::OUT, place.send.is_some());
        if want == place.interest {
            return;
        }
        place.interest = want;
        let data = EventData::new_u64(u64::from(slot));
        if let Err(error) = epoll::modify(&self.poll, &place.socket, data, want) {
            tracing::warn!(%error, slot, "cannot watch a socket");
        }
    }

    fn try_send(&mut self, slot: u32) {
        let Some(Some(place)) = self.places.get_mut(slot as usize) else { return };
        let Some(pending) = &mut place.send else { return };
        let key = place.key;
        // SAFETY: valid until the completion is taken, by the contract of `send`.
        let rest = unsafe { &*pending.bytes }.get(pending.done..).unwrap_or(&[]);
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        let result = match rustix::net::send(&place.socket, rest, flags) {
            Ok(sent) if sent < rest.len() => {
                pending.done += sent;
                return self.watch(slot);
            }
            Ok(sent) => Ok((pending.done + sent) as u32),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return self.watch(slot),
            Err(error) => Err(error.raw_os_error()),
        };
        place.send = None;
        self.collected.push_back(Completion::Sent { key, result });
        self.watch(slot);
    }

    fn try_receive(&mut self, slot: u32) {
        for _ in 0..READS_IN_A_ROW {
            let id = match self.free.pop() {
                Some(id) => id,
                None if self.buffers.len() < usize::from(RECEIVE_BUFFERS) => {
                    self.buffers.push(vec![0; RECEIVE_BUFFER_BYTES].into());
                    self.senders.push(None);
                    (self.buffers.len() - 1) as u16
                }
                None => return self.queue(slot),
            };
            let (Some(Some(place)), Some(memory)) =
                (self.places.get_mut(slot as usize), self.buffers.get_mut(usize::from(id)))
            else {
                return self.free.push(id);
            };
            if place.receive == Receive::No {
                return self.free.push(id);
            }
            let key = place.key;
            if place.receive == Receive::Datagrams {
                if !self.take_datagram(slot, id) {
                    return self.watch(slot);
                }
                continue;
            }
            match rustix::net::recv(&place.socket, &mut memory[..], rustix::net::RecvFlags::DONTWAIT) {
                Ok((_, 0)) => {
                    self.free.push(id);
                    place.receive = Receive::No;
                    self.collected.push_back(Completion::ReceiveEnded { key, error: None });
                    return self.watch(slot);
                }
                Ok((_, len)) => {
                    let buffer = Buffer { id, len: len as u32 };
                    let last = place.receive == Receive::Once;
                    if last {
                        place.receive = Receive::No;
                    }
                    self.collected.push_back(Completion::Received { key, buffer, last });
                    // A short read is no sign that nothing is left: the end of stream may stand behind it, and epoll has
                    // told of both already.
                    if last {
                        return self.watch(slot);
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    self.free.push(id);
                    return self.watch(slot);
                }
                Err(error) => {
                    self.free.push(id);
                    place.receive = Receive::No;
                    let error = Some(error.raw_os_error());
                    self.collected.push_back(Completion::ReceiveEnded { key, error });
                    return self.watch(slot);
                }
            }
        }
        // More may wait, and epoll, which tells of edges, need not say so again.
        self.queue(slot);
    }

    /// Takes the next datagram of `slot` into buffer `id`; false if there is none now.
    fn take_datagram(&mut self, slot: u32, id: u16) -> bool {
        let at = usize::from(id);
        let (Some(Some(place)), Some(memory), Some(sender)) =
            (self.places.get_mut(slot as usize), self.buffers.get_mut(at), self.senders.get_mut(at))
        else {
            self.free.push(id);
            return false;
        };
        let (key, most) = (place.key, memory.len());
        let flags = rustix::net::RecvFlags::DONTWAIT | rustix::net::RecvFlags::TRUNC;
        match rustix::net::recvfrom(&place.socket, &mut memory[..], flags) {
            Ok((_, len, from)) => {
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                *sender = from.map(|mut from| {
                    from.set_ip(from.ip().to_canonical());
                    (from, len > most)
                });
                let buffer = Buffer { id, len: len.min(most) as u32 };
                self.collected.push_back(Completion::Received { key, buffer, last: false });
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                self.free.push(id);
                false
            }
            Err(error) => {
                self.free.push(id);
                place.receive = Receive::No;
                let error = Some(error.raw_os_error());
                self.collected.push_back(Completion::ReceiveEnded { key, error });
                false
            }
        }
    }

    /// Looks once, waiting for something to see until `wait` is over, for ever if there is none.
    fn look(&mut self, wait: Option<&rustix::event::Timespec>) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), wait) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.take_events(&events);
        self.events = events;
        Ok(())
    }

    fn set_timer(&mut self, at: Mono) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        if at >= self.armed || at == Mono::NEVER {
            return;
        }
        self.armed = at;
        let us = at.as_micros();
        let value = Timespec { tv_sec: (us / 1_000_000) as i64, tv_nsec: (us % 1_000_000 * 1000) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once) {
            tracing::error!(%error, fd = self.timer.as_raw_fd(), "cannot set the core's timer");
        }
    }

    fn take_events(&mut self, events: &[epoll::Event]) {
        for event in events {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == BELL || data == TIMER {
                let source = if data == BELL { &self.bell } else { &self.timer };
                let mut word = [0; 8];
                // Read only to silence it; nothing to read means somebody did.
                let _already = rustix::io::read(source, &mut word);
                match data {
                    TIMER => self.armed = Mono::NEVER,
                    _ => self.collected.push_back(Completion::Woken),
                }
                continue;
            }
            if data >= LISTENER {
                let listener = (data - LISTENER) as usize;
                self.collected.push_back(Completion::Knocked { listener });
                continue;
            }
            let slot = data as u32;
            let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            if broken || flags.contains(EventFlags::OUT) {
                self.try_send(slot);
            }
            if broken || flags.contains(EventFlags::IN) {
                self.queue(slot);
            }
        }
    }
}

impl Backend for Epoll {
    fn attach(&mut self, slot: u32, socket: OwnedFd) -> io::Result<()> {
        let interest = EventFlags::ET;
        epoll::add(&self.poll, &socket, EventData::new_u64(u64::from(slot)), interest)?;
        let at = slot as usize;
        if self.places.len() <= at {
            self.places.resize_with(at + 1, || None);
        }
        if let Some(place) = self.places.get_mut(at) {
            let key = Key { slot, generation: 0 };
            *place = Some(Place { socket, key, receive: Receive::No, send: None, interest, queued: false });
        }
        Ok(())
    }

    fn detach(&mut self, slot: u32) -> Option<OwnedFd> {
        let place = self.places.get_mut(slot as usize)?.take()?;
        if let Err(error) = epoll::delete(&self.poll, &place.socket) {
            tracing::warn!(%error, slot, "cannot forget a socket");
        }
        Some(place.socket)
    }

    fn socket(&self, slot: u32) -> Option<BorrowedFd<'_>> {
        Some(self.places.get(slot as usize)?.as_ref()?.socket.as_fd())
    }

    fn receive_once(&mut self, key: Key) {
        self.receive(key, Receive::Once);
    }

    fn receive_many(&mut self, key: Key) {
        self.receive(key, Receive::Many);
    }

    fn receive_datagrams(&mut self, key: Key) {
        self.receive(key, Receive::Datagrams);
    }

    unsafe fn send(&mut self, key: Key, bytes: *const [u8]) {
        let Some(place) = self.place(key) else { return };
        place.key = key;
        place.send = Some(PendingSend { bytes, done: 0 });
        self.try_send(key.slot);
    }

    fn abort(&mut self, key: Key) {
        if let Some(socket) = self.socket(key.slot) {
            // Fails on a socket that is gone already, which is as good.
            let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
        if let Some(Some(place)) = self.places.get_mut(key.slot as usize)
            && place.receive == Receive::Datagrams
        {
            // Of a socket without a peer no receive ends by that.
            place.receive = Receive::No;
            self.collected.push_back(Completion::ReceiveEnded { key, error: Some(libc::ECANCELED) });
        }
        self.try_send(key.slot);
        self.queue(key.slot);
    }

    fn watch_listener(&mut self, listener: usize) {
        let Some(socket) = self.listeners.get(listener) else { return };
        let data = EventData::new_u64(LISTENER + listener as u64);
        if let Err(error) = epoll::modify(&self.poll, socket, data, EventFlags::IN | EventFlags::ONESHOT) {
            tracing::error!(%error, listener, "cannot watch a listener");
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<(OwnedFd, SocketAddr)> {
        accept(self.listeners.get(listener).ok_or(io::ErrorKind::NotFound)?)
    }

    fn close_listener(&mut self, listener: usize) {
        if let Some(socket) = self.listeners.get(listener) {
            // Both fail only on a listener that is gone. Forgotten first: a closed one would be told of for ever.
            let _gone = epoll::delete(&self.poll, socket);
            let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }

    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, until: Mono) -> io::Result<()> {
        if !self.collected.is_empty() || !self.receivable.is_empty() {
            return Ok(());
        }
        self.set_timer(until);
        self.looked = true;
        self.look(None)
    }

    fn collect(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.looked) {
            self.look(Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        }
        for _ in 0..self.receivable.len() {
            if let Some(slot) = self.receivable.pop_front() {
                if let Some(Some(place)) = self.places.get_mut(slot as usize) {
                    place.queued = false;
                }
                self.try_receive(slot);
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.collected.pop_front()
    }

    fn datagram(&self, buffer: &Buffer) -> Option<Datagram<'_>> {
        let (from, cut) = (*self.senders.get(usize::from(buffer.id))?)?;
        Some(Datagram { from, payload: self.bytes(buffer), cut })
    }

    fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let memory = self.buffers.get(usize::from(buffer.id));
        memory.and_then(|m| m.get(..buffer.len as usize)).unwrap_or(&[])
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.free.push(buffer.id);
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}
