//! Groups that are joined because somebody watches them by their address (`/udp/GROUP:PORT`), and left behind the last viewer.
//!
//! A [`Relays`] has so many seats as there may be groups. Each is a resident of a core ([`Relay`]) from the core's start to
//! its end; who sits on it changes. A viewer's request puts a group on a free seat, or finds it on one; its resident sees that
//! within [`LOOK`], becomes an input of that one place, and publishes what comes as a stream that is only passed on. From there
//! on everything is as for any stream: a thousand viewers are one join. Nobody has read it for `linger_s`: it leaves.
//!
//! Seats instead of residents that come and go, because a core's residents are counted before it starts: a burst of requests
//! for groups can take no connection from viewers, and no core is asked for anything while it serves them.

use super::{Input, Plan};
use crate::config::relay::{NotRelayed, Relay as Configured};
use crate::config::{Headend, Origin, Transport};
use crate::fanout::directory::StreamName;
use crate::fanout::stream::CoreId;
use crate::media::Mono;
use crate::observe::{RelayAnswer, RelayMetrics};
use crate::shard::engine::Datagram;
use crate::shard::links::Links;
use crate::shard::{Answer, Io};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How soon a resident sees who is on its seat.
const LOOK: Duration = Duration::from_millis(100);
/// A group that nobody reads stays for this long at least: its first viewer waits for its stream.
const FIRST_VIEWER: Duration = Duration::from_secs(12);

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

/// Who is on a seat.
#[derive(Clone, Debug)]
struct Guest {
    origin: Origin,
    /// When it was asked for last.
    asked_at: Mono,
}

/// See the module's description.
#[derive(Debug)]
pub struct Relays {
    config: Configured,
    headend: Headend,
    /// Cores that have seats.
    cores: CoreId,
    seats: Mutex<Vec<Option<Guest>>>,
    metrics: Arc<RelayMetrics>,
}

impl Relays {
    /// As it is configured; nobody is on any seat.
    pub fn new(config: &Configured, headend: &Headend, cores: CoreId, metrics: Arc<RelayMetrics>) -> Relays {
        let seats = if config.is_on() { config.groups as usize } else { 0 };
        Relays {
            config: config.clone(),
            headend: headend.clone(),
            cores: cores.max(1),
            seats: Mutex::new(vec![None; seats]),
            metrics,
        }
    }

    /// Whether any group may be watched.
    pub fn is_on(&self) -> bool {
        self.config.is_on()
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Option<Guest>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The residents of core `core`.
    pub fn residents(self: &Arc<Relays>, core: CoreId, links: &Arc<Links>, now: Mono) -> Vec<Relay> {
        let count = self.seats().len();
        let own = (0..count).filter(|seat| seat % usize::from(self.cores) == usize::from(core));
        own.map(|seat| Relay::new(self.clone(), seat, core, links.clone(), now)).collect()
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
        if let Some(guest) = seats.iter_mut().flatten().find(|guest| guest.origin == origin) {
            guest.asked_at = now;
            return Ok(name);
        }
        let free = seats.iter_mut().find(|seat| seat.is_none()).ok_or(Refusal::Full)?;
        *free = Some(Guest { origin, asked_at: now });
        self.metrics.groups.set(seats.iter().flatten().count() as i64);
        Ok(name)
    }

    /// Who is on a seat.
    fn guest(&self, seat: usize) -> Option<Guest> {
        self.seats().get(seat).cloned().flatten()
    }

    /// The seat is free again, unless somebody has asked since `read_at`.
    fn leave(&self, now: Mono, seat: usize, read_at: Mono) -> bool {
        let (mut seats, linger) = (self.seats(), Duration::from_secs(self.config.linger_s));
        let Some(place) = seats.get_mut(seat) else { return true };
        let asked_at = place.as_ref().map_or(Mono::ZERO, |guest| guest.asked_at);
        if now.since(read_at) < linger || now.since(asked_at) < linger.max(FIRST_VIEWER) {
            return false;
        }
        *place = None;
        self.metrics.groups.set(seats.iter().flatten().count() as i64);
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
    core: CoreId,
    links: Arc<Links>,
    input: Option<Input>,
    look_at: Mono,
    /// When somebody read it last.
    read_at: Mono,
}

impl Relay {
    fn new(relays: Arc<Relays>, seat: usize, core: CoreId, links: Arc<Links>, now: Mono) -> Relay {
        Relay { relays, seat, core, links, input: None, look_at: now, read_at: now }
    }

    /// A datagram came to socket `number`.
    pub fn handle_datagram(&mut self, now: Mono, number: u32, datagram: Datagram<'_>, io: &mut Io) {
        if let Some(input) = &mut self.input {
            input.handle_datagram(now, number, datagram, io);
        }
    }

    /// The core's answer.
    pub fn handle_answer(&mut self, now: Mono, answer: &Answer) {
        if let Some(input) = &mut self.input {
            input.handle_answer(now, answer);
        }
    }

    /// [`Relay::deadline`] has passed.
    pub fn handle_timeout(&mut self, now: Mono, io: &mut Io) {
        if now >= self.look_at {
            self.look_at = now + LOOK;
            self.look(now, io);
        }
        if let Some(input) = &mut self.input {
            input.handle_timeout(now, io);
        }
    }

    fn look(&mut self, now: Mono, io: &mut Io) {
        match &mut self.input {
            None => {
                let Some(guest) = self.relays.guest(self.seat) else { return };
                let name = name(&guest.origin);
                let plan = Plan::relay(&name, guest.origin, &self.relays.headend, self.core);
                tracing::info!(stream = name.to_string(), "relay: somebody watches; its group is joined");
                (self.input, self.read_at) = (Some(Input::new(&plan, self.links.clone(), now)), now);
            }
            Some(input) => {
                if input.is_read() {
                    self.read_at = now;
                }
                if self.relays.leave(now, self.seat, self.read_at) {
                    tracing::info!(
                        stream = input.name().to_string(),
                        "relay: nobody watches any more; its group is left"
                    );
                    input.leave(io);
                    self.input = None;
                }
            }
        }
    }

    /// When [`Relay::handle_timeout`] is due.
    pub fn deadline(&self) -> Mono {
        self.input.as_ref().map_or(Mono::NEVER, Input::deadline).min(self.look_at)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.input.as_ref().map_or(0, Input::heap_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn relays(groups: u32) -> Relays {
        let text = format!(
            "[relay]\nallow = [\"239.255.0.0/16:5000-5999\"]\ninterface = \"lo\"\ngroups = {groups}\n"
        );
        let config = Config::parse(&text, "f").unwrap();
        Relays::new(&config.relay, &config.headend, 2, Arc::default())
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
        let links = Arc::new(Links::of(Vec::new()));
        let counts = [0, 1].map(|core| relays.residents(core, &links, at(1)).len());
        assert_eq!(counts, [2, 1]);
        let mut resident = relays.residents(0, &links, at(1)).remove(0);
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
}
