//! Groups that are joined because somebody watches them by their address (`/udp/GROUP:PORT`), and left behind the last viewer.
//!
//! A [`Relays`] has so many seats as there may be groups. Each is a resident of a core ([`Relay`]) from the core's start to
//! its end; who sits on it changes. A viewer's request puts a group on a free seat, or finds it on one; its resident sees that
//! within [`LOOK`], becomes an input of that one place, and publishes what comes as a stream that is only passed on. From there
//! on everything is as for any stream: a thousand viewers are one join. Nobody has read it for `linger_s`: it leaves. Its socket
//! comes and goes with the seat's guest (`ear`), and has the guest's number in its own: what a guest left behind is nobody's.
//!
//! Seats instead of residents that come and go, because a core's residents are counted before it starts: a burst of requests
//! for groups can take no connection from viewers, and no core is asked for anything while it serves them.

use super::ear::PER_ORIGIN;
use super::{Input, Plan};
use crate::config::relay::{NotRelayed, Relay as Configured};
use crate::config::{Config, Headend, Origin, Transport};
use crate::fanout::directory::StreamName;
use crate::fanout::stream::CoreId;
use crate::media::Mono;
use crate::observe::{RelayAnswer, RelayMetrics};
use crate::shard::engine::Datagram;
use crate::shard::{Answer, Io, Request, ResidentId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How soon a resident sees who is on its seat.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// A group that nobody reads stays for so long beyond what a viewer waits for its stream: the socket comes a moment later.
const FIRST_VIEWER: Duration = Duration::from_secs(2);

/// Why there is nothing to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No group may be watched so, or what was asked for is none: what it should be, for people.
    NotFound(String),
    /// It is on no list.
    Forbidden,
    /// Every seat is taken.
    Full,
}

/// Guests of all seats that there ever were, counted; never 0.
pub(super) type GuestId = u32;

/// Who is on a seat.
#[derive(Debug)]
struct Guest {
    id: GuestId,
    plan: Plan,
    /// When it was asked for last.
    asked_at: Mono,
}

impl Guest {
    fn origin(&self) -> Option<&Origin> {
        self.plan.config.from.first()
    }
}

#[derive(Debug, Default)]
struct Seats {
    all: Vec<Option<Guest>>,
    /// The newest guest's.
    newest: GuestId,
}

/// See the module's description.
#[derive(Debug)]
pub struct Relays {
    config: Configured,
    headend: Headend,
    /// How long somebody who asked may still come to read.
    first_viewer: Duration,
    /// Cores that have seats.
    cores: CoreId,
    seats: Mutex<Seats>,
    metrics: Arc<RelayMetrics>,
}

impl Relays {
    /// As it is configured; nobody is on any seat.
    pub fn new(config: &Config, cores: CoreId, metrics: Arc<RelayMetrics>) -> Relays {
        let Config { relay, headend, fanout, .. } = config;
        let seats = if relay.is_on() { relay.groups as usize } else { 0 };
        Relays {
            config: relay.clone(),
            headend: headend.clone(),
            first_viewer: Duration::from_millis(fanout.play_wait_ms) + FIRST_VIEWER,
            cores: cores.max(1),
            seats: Mutex::new(Seats { all: (0..seats).map(|_| None).collect(), newest: 0 }),
            metrics,
        }
    }

    /// Whether any group may be watched.
    pub fn is_on(&self) -> bool {
        self.config.is_on()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats on core `core`, by their numbers.
    fn own(&self, core: CoreId) -> impl Iterator<Item = usize> + use<> {
        let (count, cores) = (self.seats().all.len(), usize::from(self.cores));
        (0..count).filter(move |seat| seat % cores == usize::from(core))
    }

    /// Places that a core needs at most for its seats: theirs, and two for the socket of each, because the next guest's may come
    /// while the kernel still works for the last.
    pub fn places(&self) -> u32 {
        3 * self.own(0).count() as u32
    }

    /// Sockets at a time.
    pub fn sockets(&self) -> u64 {
        self.seats().all.len() as u64
    }

    /// The residents of core `core`, with their numbers from `first` on.
    pub fn residents(
        self: &Arc<Relays>,
        core: CoreId,
        first: ResidentId,
        now: Mono,
    ) -> impl Iterator<Item = (ResidentId, Relay)> {
        self.own(core).map(move |seat| (first + seat as ResidentId, Relay::new(self.clone(), seat, now)))
    }

    /// The interface that groups are joined on.
    pub(super) fn interface(&self) -> Option<&str> {
        self.config.interface.as_deref().or(self.headend.interface.as_deref())
    }

    /// Calls `tell` with each seat whose guest is another one than in `seen`, and who that is; `seen` has them all behind it.
    pub(super) fn changes(
        &self,
        seen: &mut Vec<GuestId>,
        mut tell: impl FnMut(usize, Option<(GuestId, &Plan)>),
    ) {
        let seats = self.seats();
        seen.resize(seats.all.len(), 0);
        for ((at, seat), seen) in seats.all.iter().enumerate().zip(seen) {
            let id = seat.as_ref().map_or(0, |guest| guest.id);
            if std::mem::replace(seen, id) != id {
                tell(at, seat.as_ref().map(|guest| (guest.id, &guest.plan)));
            }
        }
    }

    /// Somebody asks for the place behind `/udp/` or `/rtp/`; the stream that it gets.
    ///
    /// # Errors
    /// It gets none.
    pub fn ask(&self, now: Mono, transport: Transport, place: &str) -> Result<StreamName, Refusal> {
        let answered = self.find(now, transport, place);
        let answer = match &answered {
            Ok(_) => RelayAnswer::Accepted,
            Err(Refusal::NotFound(_)) => RelayAnswer::NotFound,
            Err(Refusal::Forbidden) => RelayAnswer::Forbidden,
            Err(Refusal::Full) => RelayAnswer::Full,
        };
        // One core at a time counts.
        let _seats = self.seats();
        self.metrics.requests[answer].inc();
        answered
    }

    fn find(&self, now: Mono, transport: Transport, place: &str) -> Result<StreamName, Refusal> {
        if !self.is_on() {
            return Err(Refusal::NotFound("no group is relayed here".to_owned()));
        }
        let origin = self.config.origin(transport, place, &self.headend).map_err(|why| match why {
            NotRelayed::Malformed(why) => Refusal::NotFound(why),
            NotRelayed::Forbidden => Refusal::Forbidden,
        })?;
        let name = name(&origin);
        let mut seats = self.seats();
        let Seats { all, newest } = &mut *seats;
        if let Some(guest) = all.iter_mut().flatten().find(|guest| guest.origin() == Some(&origin)) {
            guest.asked_at = now;
            return Ok(name);
        }
        let free = all.iter_mut().enumerate().find(|(_, seat)| seat.is_none());
        let (at, free) = free.ok_or(Refusal::Full)?;
        let core = (at % usize::from(self.cores)) as CoreId;
        let plan = Plan::relay(&name, origin, &self.headend, core);
        // The number of a socket is made from it.
        *newest = *newest % (u32::MAX / PER_ORIGIN) + 1;
        *free = Some(Guest { id: *newest, plan, asked_at: now });
        self.metrics.groups.set(all.iter().flatten().count() as i64);
        Ok(name)
    }

    /// Who is on a seat.
    fn guest(&self, seat: usize) -> Option<(GuestId, Plan)> {
        let seats = self.seats();
        seats.all.get(seat)?.as_ref().map(|guest| (guest.id, guest.plan.clone()))
    }

    /// The seat is free again, unless somebody has asked since `read_at`.
    fn leave(&self, now: Mono, seat: usize, read_at: Mono) -> bool {
        let (mut seats, linger) = (self.seats(), Duration::from_secs(self.config.linger_s));
        let Some(place) = seats.all.get_mut(seat) else { return true };
        let asked_at = place.as_ref().map_or(Mono::ZERO, |guest| guest.asked_at);
        if now.since(read_at) < linger || now.since(asked_at) < linger.max(self.first_viewer) {
            return false;
        }
        *place = None;
        self.metrics.groups.set(seats.all.iter().flatten().count() as i64);
        true
    }
}

/// `udp/239.255.1.1:5000`: what the stream of a place is called.
fn name(origin: &Origin) -> StreamName {
    let source = origin.source.map_or_else(String::new, |source| format!("{source}@"));
    StreamName::new(origin.transport.as_str(), &format!("{source}{}", origin.address))
}

/// The resident of one seat.
#[derive(Debug)]
pub struct Relay {
    relays: Arc<Relays>,
    seat: usize,
    input: Option<(GuestId, Input)>,
    look_at: Mono,
    /// When somebody read it last.
    read_at: Mono,
}

impl Relay {
    fn new(relays: Arc<Relays>, seat: usize, now: Mono) -> Relay {
        Relay { relays, seat, input: None, look_at: now, read_at: now }
    }

    /// A datagram came to socket `number`.
    pub fn handle_datagram(&mut self, now: Mono, number: u32, datagram: Datagram<'_>, io: &mut Io) {
        if let Some((id, input)) = &mut self.input
            && *id == number / PER_ORIGIN
        {
            input.handle_datagram(now, number % PER_ORIGIN, datagram, io);
        }
    }

    /// The core's answer.
    pub fn handle_answer(&mut self, now: Mono, answer: &Answer) {
        if let Some((_, input)) = &mut self.input {
            input.handle_answer(now, answer);
        }
    }

    /// [`Relay::deadline`] has passed.
    pub fn handle_timeout(&mut self, now: Mono, io: &mut Io) {
        if now >= self.look_at {
            self.look_at = now + LOOK;
            self.look(now, io);
        }
        if let Some((_, input)) = &mut self.input {
            input.handle_timeout(now, io);
        }
    }

    fn look(&mut self, now: Mono, io: &mut Io) {
        match &mut self.input {
            None => {
                let Some((id, plan)) = self.relays.guest(self.seat) else { return };
                tracing::info!(stream = plan.config.stream, "relay: somebody watches; its group is joined");
                (self.input, self.read_at) = (Some((id, Input::new(&plan, now))), now);
            }
            Some((_, input)) => {
                if input.is_read() {
                    self.read_at = now;
                    return;
                }
                if self.relays.leave(now, self.seat, self.read_at) {
                    tracing::info!(
                        stream = input.name().to_string(),
                        "relay: nobody watches any more; its group is left"
                    );
                    io.ask(Request::Unpublish);
                    self.input = None;
                }
            }
        }
    }

    /// When [`Relay::handle_timeout`] is due.
    pub fn deadline(&self) -> Mono {
        self.input.as_ref().map_or(Mono::NEVER, |(_, input)| input.deadline()).min(self.look_at)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.input.as_ref().map_or(0, |(_, input)| input.heap_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relays(groups: u32) -> Relays {
        configured(&format!("groups = {groups}"))
    }

    fn configured(more: &str) -> Relays {
        let text = format!("[relay]\nallow = [\"239.255.0.0/16:5000-5999\"]\ninterface = \"lo\"\n{more}\n");
        let config = Config::parse(&text, "f").unwrap();
        Relays::new(&config, 2, Arc::default())
    }

    fn at(s: u64) -> Mono {
        Mono::from_micros(s * 1_000_000)
    }

    #[test]
    fn a_group_has_one_seat_and_gives_it_back() {
        let relays = relays(2);
        let ask = |s, place: &str| relays.ask(at(s), Transport::Udp, place).map(|name| name.to_string());
        assert_eq!(ask(1, "239.255.1.1:5000"), Ok("udp/239.255.1.1:5000".to_owned()));
        assert_eq!(ask(2, "239.255.1.1:5000"), ask(1, "239.255.1.1:5000"));
        assert_eq!(ask(3, "239.255.1.2:5000"), Ok("udp/239.255.1.2:5000".to_owned()));
        assert_eq!(ask(3, "239.255.1.3:5000"), Err(Refusal::Full));
        assert_eq!(ask(3, "239.254.1.3:5000"), Err(Refusal::Forbidden));
        assert!(matches!(ask(3, "239.254.1.3"), Err(Refusal::NotFound(_))));
        assert_eq!(relays.metrics.groups.get(), 2);
        // Asked for at 2 s, read until 10 s.
        assert!(!relays.leave(at(19), 0, at(10)) && relays.leave(at(20), 0, at(10)));
        assert_eq!(ask(20, "239.255.1.3:5000"), Ok("udp/239.255.1.3:5000".to_owned()));
        // Its first viewer still waits.
        assert!(!relays.leave(at(31), 0, at(20)) && relays.leave(at(32), 0, at(20)));
        assert_eq!(relays.metrics.requests[RelayAnswer::Full].get(), 1);
    }

    #[test]
    fn a_resident_joins_for_its_guest_and_goes() {
        let relays = Arc::new(relays(3));
        let counts = [0, 1].map(|core| relays.residents(core, 7, at(1)).count());
        assert_eq!((counts, relays.places(), relays.sockets()), ([2, 1], 6, 3));
        let (number, mut resident) = relays.residents(0, 7, at(1)).next().unwrap();
        assert_eq!(number, 7);
        let mut io = Io::default();
        resident.handle_timeout(at(1), &mut io);
        assert!(resident.input.is_none() && resident.deadline() <= at(2));
        relays.ask(at(2), Transport::Udp, "239.255.1.1:5000").unwrap();
        resident.handle_timeout(at(2), &mut io);
        assert!(resident.input.is_some() && resident.heap_bytes() > 0);
        for s in 3..14 {
            resident.handle_timeout(at(s), &mut io);
            assert!(resident.input.is_some(), "{s}");
        }
        resident.handle_timeout(at(14), &mut io);
        assert!(resident.input.is_none() && relays.guest(0).is_none());
    }

    #[test]
    fn who_watches_stays_however_short_it_lingers() {
        for (more, wait_s) in [("linger_s = 0", 12), ("linger_s = 0\n[fanout]\nplay_wait_ms = 20000", 22)] {
            let relays = Arc::new(configured(more));
            let (_, mut resident) = relays.residents(0, 0, at(1)).next().unwrap();
            let mut io = Io::default();
            relays.ask(at(2), Transport::Udp, "239.255.1.1:5000").unwrap();
            resident.handle_timeout(at(2), &mut io);
            // Nobody reads yet; the first viewer may still wait.
            resident.handle_timeout(at(1 + wait_s), &mut io);
            let demand = resident.input.as_ref().unwrap().1.demand.clone();
            demand.set(true);
            for s in wait_s..60 {
                resident.handle_timeout(at(2 + s), &mut io);
                assert!(resident.input.is_some(), "{more}: at {s}");
            }
            demand.set(false);
            resident.handle_timeout(at(70), &mut io);
            assert!(resident.input.is_none(), "{more}");
        }
    }
}
