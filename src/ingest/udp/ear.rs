//! The sockets of all inputs: opened, joined, handed to the cores that the inputs live on, and opened again when an interface
//! comes back or is another one.
//!
//! This runs on the clerk's thread, which may wait for the kernel; no core opens, joins or leaves. The kernel forgets
//! memberships with an interface that is removed, and a switch forgets them with a port that went down; so whoever has
//! joined leaves and joins again when the link works again. **It leaves first, and joins a moment later**: a host that joins
//! at once is merged with the leave by its kernel, sends one report like any other, and a switch that has lost its state
//! without noticing learns nothing new; and one socket of a port of this machine must be closed before the next is opened.

use super::relay::{GuestId, LOOK};
use super::{Plan, Relays};
use crate::config;
use crate::fanout::stream::CoreId;
use crate::media::Mono;
use crate::observe::OriginMetrics;
use crate::shard::ResidentId;
use crate::shard::links::{Links, Stand, User};
use crate::shard::listen::{Listen, Watch, listen};
use crate::shard::mailbox::{Command, SocketId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two tries.
const AGAIN: Duration = Duration::from_secs(1);
/// Between leaving and joining again: the kernel sends a leave within some hundredths of a second, and the core has closed
/// the old socket.
const LEFT: Duration = Duration::from_millis(100);
/// Until it is known when that begins.
const JUST_LEFT: Mono = Mono::NEVER;
/// How often it is counted what found no room.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Sockets of one origin, as it lists its addresses: media, and repair packets of columns and rows. The number of a socket is
/// that of its origin times this, and the place in that list.
pub(super) const PER_ORIGIN: u32 = 3;
/// See [`PER_ORIGIN`].
const MEDIA: u32 = 0;

/// What comes to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Media,
    Repair,
}

/// The origin that socket `number` belongs to, and what comes there.
pub(super) fn place_of(number: u32) -> (usize, Use) {
    let used_for = if number % PER_ORIGIN == MEDIA { Use::Media } else { Use::Repair };
    ((number / PER_ORIGIN) as usize, used_for)
}

/// How many sockets an input has.
pub(super) fn count(input: &config::Input) -> u32 {
    input.from.iter().map(|from| from.listened().count() as u32).sum()
}

#[derive(Debug)]
enum State {
    Shut { again_at: Mono },
    Open { watch: Watch, dropped: u32, stand: Option<Stand> },
}

/// One socket.
#[derive(Debug)]
struct Ear {
    resident: ResidentId,
    /// The core that its input lives on.
    core: CoreId,
    /// What the core calls it.
    number: u32,
    /// How often it was handed to the core.
    opening: u32,
    /// The input's stream, for the log.
    stream: String,
    from: Arc<config::Origin>,
    metrics: Arc<OriginMetrics>,
    address: SocketAddr,
    buffer_bytes: u32,
    state: State,
    /// What was said last about why it is shut, or does not work.
    said: String,
    /// It was open before.
    known: bool,
}

/// The sockets of all inputs, for the thread that may wait for them.
#[derive(Debug)]
pub struct Ears {
    all: Vec<Ear>,
    count_at: Mono,
    relays: Arc<Relays>,
    /// The resident of its first seat, and who is on each as far as is known here.
    first_seat: ResidentId,
    guests: Vec<GuestId>,
    seats_at: Mono,
}

impl Ears {
    /// Of these inputs, none of them open yet; the position of each is its number as a resident, and the seats of `relays` are
    /// behind them. Their links are watched from now on.
    pub fn new(plans: &[Plan], relays: Arc<Relays>, links: &mut Links) -> Ears {
        let mut all = Vec::new();
        for (resident, plan) in (0..).zip(plans) {
            for interface in plan.config.from.iter().filter_map(|from| from.interface.as_ref()) {
                links.use_by(interface, User::Input, &plan.config.stream);
            }
            all.extend(ears(resident, 0, plan, Mono::ZERO));
        }
        if relays.is_on()
            && let Some(interface) = relays.interface()
        {
            links.use_by(interface, User::Input, "relay");
        }
        let (first_seat, guests) = (plans.len() as ResidentId, Vec::new());
        Ears { all, count_at: Mono::ZERO, relays, first_seat, guests, seats_at: Mono::ZERO }
    }

    /// Lets go of what guests listened to that have left, and has a place for what new ones listen to. Returns whether anything
    /// was left.
    fn look_at_seats(&mut self, tell: &mut impl FnMut(CoreId, Command)) -> bool {
        let mut left = false;
        let Ears { all, relays, first_seat, guests, .. } = self;
        relays.changes(guests, |seat, guest| {
            let resident = *first_seat + seat as ResidentId;
            let before = all.len();
            all.retain_mut(|ear| {
                let stays = ear.resident != resident;
                if !stays {
                    ear.shut(tell);
                }
                stays
            });
            let behind = all.len() < before;
            left |= behind;
            let again_at = if behind { JUST_LEFT } else { Mono::ZERO };
            if let Some((id, plan)) = guest {
                all.extend(ears(resident, PER_ORIGIN * id, plan, again_at));
            }
        });
        left
    }

    /// Lets go of what stands on a link that is another one; if there is nothing like that, opens and joins what is due. What
    /// the cores are to do goes to `tell`. Both may wait for the kernel, so the time is asked for as it passes.
    pub fn look(&mut self, clock: impl Fn() -> Mono, links: &Links, mut tell: impl FnMut(CoreId, Command)) {
        let now = clock();
        let count = now >= self.count_at;
        if count {
            self.count_at = now + COUNT_EVERY;
        }
        let mut left = false;
        if self.relays.is_on() && now >= self.seats_at {
            self.seats_at = now + LOOK;
            left = self.look_at_seats(&mut tell);
        }
        for ear in &mut self.all {
            left |= ear.leave(links, &mut tell);
            if count {
                ear.count();
            }
        }
        if left {
            // Each leave may have waited: from the last one on, all of them are on their way. Nothing is joined in the same
            // look, because that may wait too, and the cores hear of what they are to close only behind it.
            let again_at = clock() + LEFT;
            self.all.iter_mut().for_each(|ear| ear.has_left(again_at));
            return;
        }
        for ear in &mut self.all {
            ear.look(&clock, links, &mut tell);
        }
    }

    /// When [`Ears::look`] is due, whatever happens to links.
    pub fn deadline(&self) -> Mono {
        let seats_at = if self.relays.is_on() { self.seats_at } else { Mono::NEVER };
        self.all.iter().map(Ear::deadline).fold(self.count_at.min(seats_at), Mono::min)
    }

    /// Leaves all groups: what is closed behind it has nothing to leave.
    pub fn end(&mut self) {
        for ear in &mut self.all {
            if let State::Open { watch, .. } = &mut ear.state {
                watch.leave();
            }
        }
    }

    /// A core says that a socket failed. What it says of one that is not the newest comes too late: that one is closed.
    pub fn failed(&mut self, now: Mono, id: SocketId, error: i32, closed: bool) {
        if let Some(ear) = self.all.iter_mut().find(|ear| ear.id() == id) {
            ear.failed(now, error, closed);
        }
    }
}

/// The sockets of a resident, to be opened at `again_at`; their numbers begin with `first`.
fn ears(resident: ResidentId, first: u32, plan: &Plan, again_at: Mono) -> impl Iterator<Item = Ear> {
    let origins = (0..).zip(plan.config.from.iter().zip(&plan.slot.origins));
    origins.flat_map(move |(at, (from, metrics))| {
        let from = Arc::new(from.clone());
        (0..).zip(from.listened()).map(move |(rest, address)| Ear {
            resident,
            core: plan.core,
            number: first + PER_ORIGIN * at + rest,
            opening: 0,
            stream: plan.config.stream.clone(),
            from: from.clone(),
            metrics: metrics.clone(),
            address,
            buffer_bytes: plan.buffer_bytes,
            state: State::Shut { again_at },
            said: String::new(),
            known: false,
        })
    })
}

impl Ear {
    /// Leaves its group, if it is open, and has its socket closed.
    fn shut(&mut self, tell: &mut impl FnMut(CoreId, Command)) {
        if let State::Open { watch, .. } = &mut self.state {
            watch.leave();
            tell(self.core, Command::Hush(self.id()));
            self.tell_buffer(0);
        }
    }

    fn deadline(&self) -> Mono {
        match self.state {
            State::Shut { again_at } => again_at,
            State::Open { .. } => Mono::NEVER,
        }
    }

    /// Whether it is the one that stands for its origin.
    fn is_media(&self) -> bool {
        place_of(self.number).1 == Use::Media
    }

    /// What the core knows it by since it was handed there last.
    fn id(&self) -> SocketId {
        SocketId { resident: self.resident, number: self.number, opening: self.opening }
    }

    /// Leaves if its link is another one than it has joined on; whether it did.
    fn leave(&mut self, links: &Links, tell: &mut impl FnMut(CoreId, Command)) -> bool {
        let (State::Open { stand: then, .. }, Some(text)) = (&self.state, self.from.interface.as_deref())
        else {
            return false;
        };
        // While it only does not work nothing is to be mended, and nothing could be sent that mends it.
        let (stand, place) = (links.stand(text), |stand: Stand| (stand.index, stand.comings));
        if stand.map(place) == then.map(place) || stand.is_some_and(|stand| !stand.works) {
            return false;
        }
        self.shut(tell);
        self.state = State::Shut { again_at: JUST_LEFT };
        true
    }

    /// What was left in this look is joined again at `again_at`.
    fn has_left(&mut self, at: Mono) {
        if let State::Shut { again_at } = &mut self.state
            && *again_at == JUST_LEFT
        {
            *again_at = at;
        }
    }

    /// Opens it if that is due.
    fn look(&mut self, clock: &impl Fn() -> Mono, links: &Links, tell: &mut impl FnMut(CoreId, Command)) {
        if !matches!(self.state, State::Shut { again_at } if clock() >= again_at) {
            return;
        }
        let wanted = self.from.interface.as_deref();
        let stand = wanted.and_then(|text| links.stand(text));
        if let (None, Some(text)) = (stand, wanted) {
            let why = format!("there is no interface {text}");
            return self.fail(clock(), why);
        }
        self.open(clock, stand, tell);
    }

    /// Opens it on the link that stands so.
    fn open(
        &mut self,
        clock: &impl Fn() -> Mono,
        stand: Option<Stand>,
        tell: &mut impl FnMut(CoreId, Command),
    ) {
        // To an address of this machine any sender may send; who is meant is looked at with each datagram.
        let source = self.from.source.filter(|_| self.address.ip().is_multicast());
        let (interface, buffer_bytes) = (stand.map(|stand| stand.index), self.buffer_bytes);
        let listening = match listen(&Listen { address: self.address, interface, source, buffer_bytes }) {
            Ok(listening) => listening,
            Err(error) => return self.fail(clock(), error.to_string()),
        };
        let (got, again) = (listening.buffer_bytes, std::mem::replace(&mut self.known, true));
        self.tell_buffer(got);
        // The sockets of an origin come and go together.
        if again && self.is_media() {
            self.metrics.rejoins.inc();
        }
        let (stream, origin, port) = (self.stream.as_str(), self.from.place(), self.address.port());
        // Of a link that came back there is a line already.
        if !again || !self.said.is_empty() {
            tracing::info!(stream, %origin, port, receive_buffer_bytes = got, "input: listening");
        }
        if got < buffer_bytes && !again {
            tracing::warn!(
                stream, %origin, asked = buffer_bytes, got,
                "input: the kernel gives a smaller receive buffer; raise net.core.rmem_max"
            );
        }
        self.said.clear();
        self.state = State::Open { watch: listening.watch, dropped: 0, stand };
        self.opening = self.opening.wrapping_add(1);
        tell(self.core, Command::Listen(self.id(), listening.socket));
    }

    /// The page shows the buffer of the media.
    fn tell_buffer(&self, bytes: u32) {
        if self.is_media() {
            self.metrics.buffer_bytes.set(bytes.into());
        }
    }

    fn fail(&mut self, now: Mono, why: String) {
        self.metrics.socket_errors.inc();
        self.state = State::Shut { again_at: now + AGAIN };
        if why != self.said {
            let (stream, origin) = (self.stream.as_str(), self.from.place());
            tracing::warn!(stream, %origin, %why, "input: cannot listen; trying again every second");
            self.said = why;
        }
    }

    fn failed(&mut self, now: Mono, error: i32, closed: bool) {
        let why = std::io::Error::from_raw_os_error(error).to_string();
        if closed {
            self.tell_buffer(0);
            return self.fail(now, why);
        }
        self.metrics.socket_errors.inc();
        if why != self.said {
            let (stream, origin) = (self.stream.as_str(), self.from.place());
            tracing::warn!(stream, %origin, %why, "input: a receive failed; going on");
            self.said = why;
        }
    }

    /// Counts what found no room.
    fn count(&mut self) {
        if let State::Open { watch, dropped, .. } = &mut self.state
            && let Ok(all) = watch.dropped()
        {
            self.metrics.kernel_drops.add(all.wrapping_sub(std::mem::replace(dropped, all)).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::interfaces::Interface;
    use std::net::UdpSocket;

    fn ears(from: &str, links: &mut Links) -> (Ears, Plan) {
        let text = format!("[[input]]\nstream = \"live/in\"\nfrom = [{from:?}]\n");
        let config = config::Config::parse(&text, "f").unwrap();
        let plan = Plan::new(&config.inputs[0], &config.headend, 1);
        let relays = Arc::new(Relays::new(&config, 1, Arc::default()));
        (Ears::new(std::slice::from_ref(&plan), relays, links), plan)
    }

    /// What the core is told at `ms`, in short.
    fn told(ears: &mut Ears, ms: u64, links: &Links) -> Vec<String> {
        let mut told = Vec::new();
        ears.look(
            || Mono::from_micros(ms * 1000),
            links,
            |core, command| {
                told.push(match command {
                    Command::Listen(id, _) => format!("{core}: listen {} {}", id.resident, id.number),
                    Command::Hush(id) => format!("{core}: hush {} {}", id.resident, id.number),
                    other => format!("{other:?}"),
                });
            },
        );
        told
    }

    fn port() -> u16 {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn loopback() -> u32 {
        Links::new().unwrap().find("lo").unwrap().index
    }

    /// A link that comes back is left first, and joined when the leave is sent; one that only went is not touched.
    #[test]
    fn a_link_that_comes_back_is_left_and_joined() {
        let machine = |works| vec![Interface::of("eth1", loopback(), works, &[])];
        let mut links = Links::of(machine(true));
        let (mut ears, plan) = ears(&format!("udp://eth1@239.255.77.9:{}", port()), &mut links);
        assert_eq!(told(&mut ears, 0, &links), ["0: listen 0 0"]);
        assert_eq!(told(&mut ears, 10, &links), [""; 0]);
        links.take_for_test(machine(false));
        assert_eq!(told(&mut ears, 20, &links), [""; 0]);
        links.take_for_test(machine(true));
        assert_eq!(told(&mut ears, 30, &links), ["0: hush 0 0"]);
        assert_eq!(told(&mut ears, 129, &links), [""; 0], "the leave is on its way");
        assert_eq!(ears.deadline(), Mono::from_micros(130_000));
        assert_eq!(told(&mut ears, 130, &links), ["0: listen 0 0"]);
        assert_eq!(plan.slot.origins[0].rejoins.get(), 1);
        links.take_for_test(Vec::new());
        assert_eq!(told(&mut ears, 140, &links), ["0: hush 0 0"], "it is gone");
        assert_eq!(told(&mut ears, 240, &links), [""; 0]);
        assert_eq!(plan.slot.origins[0].socket_errors.get(), 1);
    }

    /// The kernel lets us wait while we leave: what is joined again is behind the last leave all the same.
    #[test]
    fn a_leave_that_waits_has_its_time() {
        let machine = |works| vec![Interface::of("eth1", loopback(), works, &[])];
        let mut links = Links::of(machine(true));
        let (mut ears, _) = ears(&format!("udp://eth1@239.255.77.8:{}", port()), &mut links);
        assert_eq!(told(&mut ears, 0, &links), ["0: listen 0 0"]);
        links.take_for_test(machine(false));
        links.take_for_test(machine(true));
        let ms = std::cell::Cell::new(10);
        ears.look(|| Mono::from_micros(ms.get() * 1000), &links, |_, _| ms.set(ms.get() + 700));
        assert_eq!((ms.get(), ears.deadline()), (710, Mono::from_micros(810_000)));
        assert_eq!(told(&mut ears, 809, &links), [""; 0]);
        assert_eq!(told(&mut ears, 810, &links), ["0: listen 0 0"]);
    }

    /// A guest of a seat is listened to under a number of its own, and the next one after it has left.
    #[test]
    fn guests_come_and_go() {
        let port = port();
        let text = format!(
            "[relay]\nallow = [\"239.255.0.0/16:{port}\"]\ninterface = \"lo\"\ngroups = 1\nlinger_s = 0\n"
        );
        let config = config::Config::parse(&text, "f").unwrap();
        let relays = Arc::new(Relays::new(&config, 2, Arc::default()));
        let mut links = Links::of(vec![Interface::of("lo", loopback(), true, &[])]);
        let mut ears = Ears::new(&[], relays.clone(), &mut links);
        let at = |ms: u64| Mono::from_micros(ms * 1000);
        let ask = |ms, group: &str| {
            relays.ask(at(ms), config::Transport::Udp, &format!("{group}:{port}")).map(|_| ())
        };
        assert_eq!(told(&mut ears, 0, &links), [""; 0]);
        ask(10, "239.255.77.1").unwrap();
        assert_eq!(told(&mut ears, 50, &links), [""; 0], "it is looked ten times a second");
        assert_eq!(told(&mut ears, 100, &links), ["0: listen 0 3"]);
        assert!(ask(200, "239.255.77.2").is_err());
        let mut io = crate::shard::Io::default();
        let (_, mut resident) = relays.residents(0, 0, at(100)).next().unwrap();
        resident.handle_timeout(at(200), &mut io);
        resident.handle_timeout(at(60_000), &mut io);
        ask(60_001, "239.255.77.2").unwrap();
        assert_eq!(told(&mut ears, 60_010, &links), ["0: hush 0 3"]);
        assert_eq!(told(&mut ears, 60_110, &links), ["0: listen 0 6"]);
    }

    #[test]
    fn what_a_core_cannot_take_is_tried_again() {
        let mut links = Links::default();
        let (mut ears, plan) = ears(&format!("rtp://127.0.0.1:{}#fec", port() & !7), &mut links);
        assert_eq!(told(&mut ears, 0, &links), ["0: listen 0 0", "0: listen 0 1", "0: listen 0 2"]);
        let id = |number, opening| SocketId { resident: 0, number, opening };
        ears.failed(Mono::ZERO, id(0, 1), libc::ENOMEM, true);
        ears.failed(Mono::ZERO, id(1, 1), libc::ENETDOWN, false);
        let metrics = &plan.slot.origins[0];
        assert_eq!((metrics.buffer_bytes.get(), metrics.socket_errors.get()), (0, 2));
        assert_eq!(told(&mut ears, 999, &links), [""; 0]);
        assert_eq!(told(&mut ears, 1000, &links), ["0: listen 0 0"]);
        // What is said late of the socket before is nothing to this one.
        ears.failed(Mono::from_micros(1_000_000), id(0, 1), libc::ENOMEM, true);
        assert_eq!((told(&mut ears, 3000, &links), metrics.socket_errors.get()), (Vec::new(), 2));
        assert_eq!((place_of(0), place_of(5)), ((0, Use::Media), (1, Use::Repair)));
    }
}
