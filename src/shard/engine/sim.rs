//! The simulated backend: sockets, a clock and an unkind kernel out of one seed.
//!
//! Everything that a kernel may do, it does by chance: receives of any length, short of buffers now and then, sends
//! that are taken piece by piece, completions in any order, resets. The bytes of a send are read when the "kernel" takes
//! them, not when they are handed over: what changed or went away meanwhile shows.

use super::{Backend, BackendStats, Buffer, Completion, Datagram, Key, RECEIVE_BUFFER_BYTES};
use crate::media::Mono;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

/// Receive buffers of a simulated core: few, so that they run out.
const BUFFERS: u16 = 4;

/// Listeners of a simulated core.
pub(crate) const LISTENERS: usize = 2;

/// Numbers that follow from a seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`, which must not be empty.
    pub(crate) fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True in so many cases of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.within(0..100) < percent
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.within(0..choices.len() as u64) as usize]
    }
}

/// A connection as both sides see it.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Sent by the client, not received yet.
    pub to_server: VecDeque<u8>,
    /// The same of a socket for datagrams, with who sent each.
    pub datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    /// The client sends no more.
    pub client_ended: bool,
    /// The client reset the connection.
    pub reset: bool,
    /// Taken by the kernel, not read by the client yet.
    pub to_client: VecDeque<u8>,
    /// Bytes that fit into `to_client`.
    pub room: usize,
    /// The server sends no more.
    pub server_ended: bool,
    /// The server has let go of its socket.
    pub closed: bool,
}

/// What all simulated cores and clients share.
#[derive(Debug)]
pub(crate) struct World {
    pub now_us: u64,
    pub rng: Rng,
    pub pipes: Vec<Pipe>,
    by_fd: HashMap<RawFd, usize>,
}

/// A second after the clock's origin, so that nothing is young by accident.
const BEGIN_US: u64 = 1_000_000;

impl World {
    pub(crate) fn new(seed: u64) -> Rc<RefCell<World>> {
        let world = World { now_us: BEGIN_US, rng: Rng::new(seed), pipes: Vec::new(), by_fd: HashMap::new() };
        Rc::new(RefCell::new(world))
    }

    /// A new connection: its number, and what stands for its socket on the server's side.
    pub(crate) fn connect(&mut self, room: usize) -> io::Result<(usize, OwnedFd)> {
        let socket = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let pipe = self.pipes.len();
        self.pipes.push(Pipe { room, ..Pipe::default() });
        self.by_fd.insert(socket.as_raw_fd(), pipe);
        Ok((pipe, socket))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    Once,
    Many,
    Datagrams,
}

struct Slot {
    socket: OwnedFd,
    pipe: usize,
    /// A receive is outstanding.
    receive: Option<(Key, Receive)>,
    /// A send is outstanding; how much of it is taken.
    send: Option<(Key, *const [u8], usize)>,
    aborted: bool,
}

/// See the module's description.
pub(crate) struct Sim {
    world: Rc<RefCell<World>>,
    slots: Vec<Option<Slot>>,
    collected: VecDeque<Completion>,
    /// With who sent it, if it is a datagram.
    buffers: Vec<(Option<SocketAddr>, Vec<u8>)>,
    free: Vec<u16>,
    /// By listener: whether it is watched, and connections that wait.
    listeners: [(bool, VecDeque<(OwnedFd, SocketAddr)>); LISTENERS],
    /// Accepted, and not attached: what is left of these behind a turn was refused, and its socket dropped.
    accepted: Vec<usize>,
    bell: OwnedFd,
}

impl Sim {
    pub(crate) fn new(world: Rc<RefCell<World>>, bell: OwnedFd) -> Sim {
        Sim {
            world,
            slots: Vec::new(),
            collected: VecDeque::new(),
            buffers: vec![(None, Vec::new()); usize::from(BUFFERS)],
            free: (0..BUFFERS).collect(),
            listeners: Default::default(),
            accepted: Vec::new(),
            bell,
        }
    }

    /// A connection comes to `listener`.
    pub(crate) fn connect(&mut self, listener: usize, socket: OwnedFd, address: SocketAddr) {
        self.listeners[listener].1.push_back((socket, address));
    }

    /// Whether a sleeping core would be woken now.
    pub(crate) fn is_ready(&self) -> bool {
        let world = self.world.borrow();
        let slots = self.slots.iter().flatten();
        let moves = |slot: &Slot| world.pipes.get(slot.pipe).is_some_and(|pipe| slot.moves(pipe));
        !self.collected.is_empty()
            || self.listeners.iter().any(|(watched, waiting)| *watched && !waiting.is_empty())
            || bell_is_rung(&self.bell)
            || slots.into_iter().any(moves)
    }

    /// Nothing is asked of the kernel for `slot`.
    fn slot(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

fn bell_is_rung(bell: &OwnedFd) -> bool {
    let mut polled = [rustix::event::PollFd::new(bell, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0)
}

impl Slot {
    /// Whether an outstanding operation can get on.
    fn moves(&self, pipe: &Pipe) -> bool {
        let over = self.aborted || pipe.reset;
        let came = !pipe.to_server.is_empty() || !pipe.datagrams.is_empty();
        let receives = over || pipe.client_ended || came;
        let sends = over || pipe.to_client.len() < pipe.room;
        self.receive.is_some() && receives || self.send.is_some() && sends
    }

    /// Lets the outstanding receive get on, or not.
    fn advance_receive(
        &mut self,
        pipe: &mut Pipe,
        rng: &mut Rng,
        buffers: &mut [(Option<SocketAddr>, Vec<u8>)],
        free: &mut Vec<u16>,
    ) -> Option<Completion> {
        let (key, asked) = self.receive?;
        if self.aborted || pipe.reset {
            self.receive = None;
            let error = Some(if pipe.reset { libc::ECONNRESET } else { libc::ECANCELED });
            return Some(Completion::ReceiveEnded { key, error });
        }
        if pipe.to_server.is_empty() && pipe.datagrams.is_empty() {
            if !pipe.client_ended {
                return None;
            }
            self.receive = None;
            return Some(Completion::ReceiveEnded { key, error: None });
        }
        if rng.chance(20) {
            return None;
        }
        let id = if rng.chance(2) { None } else { free.pop() };
        let Some(id) = id else {
            self.receive = None;
            return Some(Completion::ReceiveStarved { key });
        };
        if asked == Receive::Datagrams {
            // Its interface has a bad moment.
            if rng.chance(1) {
                free.push(id);
                self.receive = None;
                return Some(Completion::ReceiveEnded { key, error: Some(libc::ENETDOWN) });
            }
            let (from, payload) = pipe.datagrams.pop_front()?;
            let (len, last) = (payload.len() as u32, rng.chance(5));
            buffers[usize::from(id)] = (Some(from), payload);
            if last {
                self.receive = None;
            }
            return Some(Completion::Received { key, buffer: Buffer { id, len }, last });
        }
        let most = pipe.to_server.len().min(RECEIVE_BUFFER_BYTES);
        let len = match rng.within(0..4) {
            0 => 1,
            1 => rng.within(1..most as u64 + 1) as usize,
            _ => most,
        };
        buffers[usize::from(id)] = (None, pipe.to_server.drain(..len).collect());
        let last = asked == Receive::Once || rng.chance(5);
        if last {
            self.receive = None;
        }
        Some(Completion::Received { key, buffer: Buffer { id, len: len as u32 }, last })
    }

    /// Lets the outstanding send get on, or not.
    fn advance_send(&mut self, pipe: &mut Pipe, rng: &mut Rng) -> Option<Completion> {
        let (key, bytes, taken) = self.send.as_mut()?;
        // SAFETY: the caller of `send` keeps the bytes in place until the completion is taken. Where a planted bug breaks
        // that, `Core::check`, behind the turn that did it and before anything is collected, ends the run.
        let bytes = unsafe { &**bytes };
        let result = if self.aborted || pipe.reset {
            if *taken > 0 { Ok(*taken as u32) } else { Err(libc::ECONNRESET) }
        } else {
            let room = pipe.room.saturating_sub(pipe.to_client.len()).min(bytes.len() - *taken);
            let more = rng.within(0..room as u64 + 1) as usize;
            let more = if rng.chance(60) { room } else { more };
            pipe.to_client.extend(&bytes[*taken..*taken + more]);
            *taken += more;
            if *taken < bytes.len() || rng.chance(20) {
                return None;
            }
            Ok(*taken as u32)
        };
        let completion = Completion::Sent { key: *key, result };
        self.send = None;
        Some(completion)
    }
}

impl Backend for Sim {
    fn now(&self) -> Mono {
        // Time passes while a turn lasts.
        let mut world = self.world.borrow_mut();
        world.now_us += 1;
        Mono::from_micros(world.now_us)
    }

    fn end_writes(&mut self, slot: u32) {
        let world = self.world.clone();
        if let Some(pipe) = self.slot(slot).map(|s| s.pipe) {
            world.borrow_mut().pipes[pipe].server_ended = true;
        }
    }

    fn attach(&mut self, slot: u32, socket: OwnedFd) -> io::Result<()> {
        let pipe = self.world.borrow().by_fd.get(&socket.as_raw_fd()).copied();
        let pipe = pipe.ok_or(io::ErrorKind::NotFound)?;
        self.accepted.retain(|accepted| *accepted != pipe);
        let at = slot as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(Slot { socket, pipe, receive: None, send: None, aborted: false });
        Ok(())
    }

    fn detach(&mut self, slot: u32) -> Option<OwnedFd> {
        let slot = self.slots.get_mut(slot as usize)?.take()?;
        assert!(slot.receive.is_none() && slot.send.is_none(), "released with an operation outstanding");
        let mut world = self.world.borrow_mut();
        world.by_fd.remove(&slot.socket.as_raw_fd());
        world.pipes[slot.pipe].closed = true;
        Some(slot.socket)
    }

    fn socket(&self, slot: u32) -> Option<BorrowedFd<'_>> {
        Some(self.slots.get(slot as usize)?.as_ref()?.socket.as_fd())
    }

    fn receive_once(&mut self, key: Key) {
        let slot = self.slot(key.slot).expect("a receive of nobody");
        assert!(slot.receive.replace((key, Receive::Once)).is_none(), "two receives");
    }

    fn receive_many(&mut self, key: Key) {
        let slot = self.slot(key.slot).expect("a receive of nobody");
        assert!(slot.receive.replace((key, Receive::Many)).is_none(), "two receives");
    }

    fn receive_datagrams(&mut self, key: Key) {
        let slot = self.slot(key.slot).expect("a receive of nobody");
        assert!(slot.receive.replace((key, Receive::Datagrams)).is_none(), "two receives");
    }

    unsafe fn send(&mut self, key: Key, bytes: *const [u8]) {
        let slot = self.slot(key.slot).expect("a send of nobody");
        assert!(slot.send.replace((key, bytes, 0)).is_none(), "two sends");
    }

    fn abort(&mut self, key: Key) {
        if let Some(slot) = self.slot(key.slot) {
            slot.aborted = true;
        }
    }

    fn watch_listener(&mut self, listener: usize) {
        let watched = std::mem::replace(&mut self.listeners[listener].0, true);
        assert!(!watched, "watched twice");
    }

    fn accept(&mut self, listener: usize) -> io::Result<(OwnedFd, SocketAddr)> {
        let waiting = &mut self.listeners[listener].1;
        // Out of descriptors now and then.
        if !waiting.is_empty() && self.world.borrow_mut().rng.chance(10) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let (socket, address) = waiting.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        self.accepted.extend(self.world.borrow().by_fd.get(&socket.as_raw_fd()));
        Ok((socket, address))
    }

    fn close_listener(&mut self, _listener: usize) {}

    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, _until: Mono) -> io::Result<()> {
        Ok(())
    }

    fn collect(&mut self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let World { rng, pipes, .. } = &mut *world;
        self.accepted.drain(..).for_each(|refused| pipes[refused].closed = true);
        let mut came = Vec::new();
        for (listener, (watched, waiting)) in self.listeners.iter_mut().enumerate() {
            if *watched && !waiting.is_empty() {
                *watched = false;
                came.push(Completion::Knocked { listener });
            }
        }
        for slot in self.slots.iter_mut().flatten() {
            let pipe = &mut pipes[slot.pipe];
            came.extend(slot.advance_receive(pipe, rng, &mut self.buffers, &mut self.free));
            came.extend(slot.advance_send(pipe, rng));
        }
        if bell_is_rung(&self.bell) {
            let mut word = [0; 8];
            rustix::io::read(&self.bell, &mut word)?;
            came.push(Completion::Woken);
        }
        while !came.is_empty() {
            let at = rng.within(0..came.len() as u64) as usize;
            self.collected.push_back(came.swap_remove(at));
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.collected.pop_front()
    }

    fn datagram(&self, buffer: &Buffer) -> Option<Datagram<'_>> {
        let (from, payload) = &self.buffers[usize::from(buffer.id)];
        Some(Datagram { from: (*from)?, payload, cut: false })
    }

    fn bytes(&self, buffer: &Buffer) -> &[u8] {
        &self.buffers[usize::from(buffer.id)].1
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.buffers[usize::from(buffer.id)] = (None, Vec::new());
        self.free.push(buffer.id);
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}
