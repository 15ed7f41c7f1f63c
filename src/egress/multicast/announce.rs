//! Announcements of channels (SAP, RFC 2974): which are due, and what they say now.
//!
//! An announcement is a few hundred bytes every few minutes, so it takes a socket of its own each time: whatever has become
//! of the interface and its addresses meanwhile, it is sent, and tells, what is true now. If that is not what was told
//! before, the old session is ended first. A link that is down is tried again at every [`Announcer::beat`].

use super::outlet::open_once;
use crate::config::{Channel, Destination, Transport};
use crate::media::Mono;
use crate::mux::DATAGRAM_BYTES;
use crate::observe::ChannelSlot;
use crate::shard::interfaces::scoped;
use crate::shard::links::{Links, Stand};
use crate::wire::rtp::HEADER_BYTES as RTP_BYTES;
use crate::wire::sap;
use crate::wire::sdp::{self, Description};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Headers of UDP and IP.
const UDP_BYTES: u64 = 8;
const IPV4_BYTES: u64 = 20;
const IPV6_BYTES: u64 = 40;

/// A link that comes and goes is no reason for an announcement so soon behind the last one: the group is everybody's.
const AGAIN: Duration = Duration::from_secs(5);

/// One destination that is announced.
#[derive(Debug)]
struct Session {
    slot: ChannelSlot,
    name: String,
    group: String,
    rate_bps: u64,
    /// The stream's own destination.
    to: Destination,
    /// Number of the session: another one for each channel and destination, and the same after a restart.
    number: u64,
    /// What receivers believe: who announced it, and the description.
    told: Option<(IpAddr, String)>,
    /// When `told` became true, in seconds since 1970.
    version: u64,
    sent: u32,
    due: Mono,
    fails: bool,
    /// When it was announced last.
    sent_at: Mono,
    /// The link and its addresses, as of the last look.
    seen: Option<(Stand, Vec<IpAddr>)>,
}

/// All announcements of a process.
#[derive(Debug, Default)]
pub struct Announcer {
    sessions: Vec<Session>,
    /// Where the spread of the times between comes from.
    random: u64,
}

impl Announcer {
    /// An announcer of nothing; `seed` is any number that other senders do not have.
    pub fn new(seed: u64) -> Announcer {
        Announcer { sessions: Vec::new(), random: seed }
    }

    /// Announces, from now on, those destinations of `channel` that ask for it.
    pub fn add(&mut self, channel: &Channel, slot: &ChannelSlot, links: &Links) {
        let (name, group) = channel.title();
        let announced = channel.to.iter().filter(|to| to.sap.is_some());
        self.sessions.extend(announced.map(|to| Session {
            slot: slot.clone(),
            name: name.to_owned(),
            group: group.to_owned(),
            rate_bps: channel.bitrate_bps,
            to: to.clone(),
            number: number(&channel.name, &to.place().to_string()),
            told: None,
            version: 0,
            sent: 0,
            due: Mono::ZERO,
            fails: false,
            sent_at: Mono::ZERO,
            seen: seen(to, links),
        }));
    }

    /// Something about the links is otherwise: who has another address than it has told, or a link that is back, announces
    /// itself at the next beat. Receivers that were beyond a dead link may have forgotten it.
    pub fn links_changed(&mut self, now: Mono, links: &Links) {
        for session in &mut self.sessions {
            let before = std::mem::replace(&mut session.seen, seen(&session.to, links));
            // Of who names no link, any may be the one that routes lead to.
            let named = session.to.interface.is_some();
            let Some((origin, _)) = session.told.as_ref().filter(|_| !named || before != session.seen) else {
                continue;
            };
            let moved = session.origin(links).is_ok_and(|now| now != *origin);
            let stand = |seen: &Option<(Stand, Vec<IpAddr>)>| seen.as_ref().map(|(stand, _)| *stand);
            let (was, is) = (stand(&before), stand(&session.seen));
            if moved {
                session.due = session.due.min(now);
            } else if was != is && is.is_some_and(|is| is.works) {
                session.due = session.due.min(now.max(session.sent_at + AGAIN));
            }
        }
    }

    /// Sends what is due; to be called every half second. `utc_s`: seconds since 1970.
    pub fn beat(&mut self, now: Mono, utc_s: u64, links: &Links) {
        let Announcer { sessions, random } = self;
        let groups: Vec<Option<IpAddr>> = sessions.iter().map(|session| session.to.sap).collect();
        for session in sessions.iter_mut().filter(|session| session.due <= now) {
            // Nobody would hear it, and the link has a line of its own: it is due until there is one.
            if session.to.interface.is_some() && !stand(&session.to, links).is_some_and(|stand| stand.works) {
                continue;
            }
            let about = session.slot.about.clone();
            let channel = about.name.as_str();
            match session.announce(utc_s, links) {
                Ok(bytes) => {
                    if session.sent == 0 || session.fails {
                        let (to, group) = (session.to.place(), session.to.sap);
                        let group = group.map(tracing::field::display);
                        tracing::info!(channel, %to, group, "channel is announced");
                    }
                    (session.fails, session.sent_at) = (false, now);
                    session.sent = session.sent.saturating_add(1);
                    session.slot.metrics.announcements.inc();
                    let beside = groups.iter().filter(|group| **group == session.to.sap).count();
                    session.due = now + sap::gap(session.sent, beside, bytes, next(random));
                }
                Err(error) => {
                    if !std::mem::replace(&mut session.fails, true) {
                        let to = session.to.place();
                        tracing::warn!(channel, %to, %error, "channel cannot be announced; it is tried again");
                    }
                }
            }
        }
    }

    /// Ends what was announced: receivers strike it off their lists.
    pub fn end(&mut self, links: &Links) {
        for session in &mut self.sessions {
            if let Some((origin, description)) = session.told.take() {
                // Who cannot be told finds out in an hour.
                let _lost = session.send(links, &sap::delete(origin, &description));
            }
        }
    }
}

/// Where the link stands that a destination names, and which addresses it has.
fn seen(to: &Destination, links: &Links) -> Option<(Stand, Vec<IpAddr>)> {
    let stand = stand(to, links)?;
    let addresses =
        to.interface.as_deref().and_then(|text| links.find(text)).map(|link| link.addresses.clone());
    Some((stand, addresses.unwrap_or_default()))
}

/// Where the link stands that a destination names.
fn stand(to: &Destination, links: &Links) -> Option<Stand> {
    to.interface.as_deref().and_then(|text| links.stand(text))
}

impl Session {
    /// The group, as a destination that is reached like the stream's own.
    fn place(&self) -> Destination {
        let group = self.to.sap.unwrap_or(self.to.address.ip());
        Destination {
            transport: Transport::Udp,
            address: SocketAddr::new(group, sap::PORT),
            fec: None,
            sap: None,
            ..self.to.clone()
        }
    }

    /// Announces what is true now; returns the packet's size with UDP's and IP's headers.
    fn announce(&mut self, utc_s: u64, links: &Links) -> io::Result<usize> {
        let origin = self.origin(links)?;
        let version = self.version;
        if self.told.as_ref().is_none_or(|told| *told != (origin, self.describe(origin, version))) {
            if let Some((origin, description)) = &self.told {
                // What could not be ended is ended the next time.
                self.send(links, &sap::delete(*origin, description))?;
                self.told = None;
            }
            self.version = utc_s.max(version + 1);
        }
        let description = self.describe(origin, self.version);
        let packet = sap::announce(origin, &description);
        self.send(links, &packet)?;
        self.told = Some((origin, description));
        let ip = if origin.is_ipv4() { IPV4_BYTES } else { IPV6_BYTES };
        Ok(packet.len() + (UDP_BYTES + ip) as usize)
    }

    /// The address that receivers of the stream see.
    fn origin(&self, links: &Links) -> io::Result<IpAddr> {
        if let Some(source) = self.to.source {
            return Ok(source);
        }
        // Nothing is sent: the kernel chooses, as it does for every datagram.
        let socket = open_once(links, &self.to)?;
        let index = stand(&self.to, links).map(|stand| stand.index);
        rustix::net::connect(&socket, &scoped(self.to.address, index))?;
        let own = SockRef::from(&socket).local_addr()?;
        // Without an address of the interface there is nobody to be announced by.
        let own = own.as_socket().map(|own| own.ip()).filter(|own| !own.is_unspecified());
        own.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    fn describe(&self, origin: IpAddr, version: u64) -> String {
        let address = self.to.address;
        let rtp = self.to.transport == Transport::Rtp;
        let ip = if address.is_ipv4() { IPV4_BYTES } else { IPV6_BYTES };
        let head = UDP_BYTES + ip + if rtp { RTP_BYTES as u64 } else { 0 };
        let payload = DATAGRAM_BYTES as u64;
        sdp::describe(&Description {
            name: &self.name,
            group: &self.group,
            session: self.number,
            version,
            origin,
            address,
            rtp,
            ttl: self.to.ttl,
            source: self.to.is_source_specific().then_some(origin),
            bitrate_bps: self.rate_bps.saturating_mul(payload + head) / payload,
        })
    }

    fn send(&self, links: &Links, packet: &[u8]) -> io::Result<()> {
        let to = self.place();
        let socket = open_once(links, &to)?;
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        rustix::net::sendto(&socket, packet, flags, &to.address)?;
        Ok(())
    }
}

/// FNV-1a of 64 bits, without the sign: programs read it into numbers that have one.
fn number(channel: &str, to: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    let bytes = channel.bytes().chain([0]).chain(to.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, step) >> 1
}

/// The next of a row of numbers that is only to be unlike that of other senders (SplitMix64).
fn next(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shard::interfaces::Interface;

    fn announcer(to: &[&str]) -> Announcer {
        let text = format!(
            "[headend]\ninterface = \"eth1\"\n[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 4000000\n\
             service_name = \"Eins\"\nprovider = \"News\"\nto = {to:?}\n"
        );
        let config = Config::parse(&text, "a test").unwrap();
        let mut announcer = Announcer::new(1);
        announcer.add(&config.channels[0], &ChannelSlot::default(), &Links::default());
        announcer
    }

    #[test]
    fn only_what_asks_for_it_is_announced_and_as_it_is_sent() {
        let announcer = announcer(&[
            "udp://239.255.1.1:5000",
            "rtp://232.1.1.1:5004#sap&ttl=7",
            "udp://[ff15::1]:5000#sap",
            "udp://239.255.1.2:5000#sap=224.2.127.254",
        ]);
        let places: Vec<String> =
            announcer.sessions.iter().map(|session| session.place().address.to_string()).collect();
        assert_eq!(places, ["224.2.127.254:9875", "[ff05::2:7ffe]:9875", "224.2.127.254:9875"]);
        let text = announcer.sessions[0].describe("10.0.0.7".parse().unwrap(), 9);
        let number = announcer.sessions[0].number;
        for line in [
            &format!("o=- {number} 9 IN IP4 10.0.0.7")[..],
            "s=Eins",
            "c=IN IP4 232.1.1.1/7",
            // 1316 bytes are 1356 with RTP, UDP and IP.
            "b=AS:4122",
            "a=source-filter: incl IN IP4 232.1.1.1 10.0.0.7",
            "a=x-plgroup:News",
            "m=video 5004 RTP/AVP 33",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
        let text = announcer.sessions[2].describe("10.0.0.7".parse().unwrap(), 9);
        assert!(!text.contains("source-filter") && text.contains("m=video 5000 udp 33"), "{text}");
        let numbers: std::collections::BTreeSet<u64> =
            announcer.sessions.iter().map(|session| session.number).collect();
        assert!(numbers.len() == 3 && numbers.iter().all(|number| *number <= i64::MAX as u64));
    }

    #[test]
    fn without_its_interface_it_is_tried_again() {
        let mut announcer = announcer(&["rtp://239.255.1.1:5004#sap"]);
        let links = Links::default();
        for ms in [0, 500, 1000] {
            announcer.beat(Mono::from_micros(ms * 1000), 1_800_000_000, &links);
            let session = &announcer.sessions[0];
            assert!(!session.fails && session.told.is_none() && session.due == Mono::ZERO);
            assert_eq!(session.slot.metrics.announcements.get(), 0);
        }
        announcer.end(&links);
    }

    /// A link that is back, and one that has another address, are announced at once; a dead one is not.
    #[test]
    fn a_link_that_is_otherwise_is_announced_at_once() {
        let lo = Links::new().unwrap().find("lo").unwrap().index;
        let machine = |works| vec![Interface::of("eth1", lo, works, &["127.0.0.1"])];
        let mut links = Links::of(machine(true));
        let mut announcer = announcer(&["udp://eth1@127.0.0.1@127.0.0.2:5000#sap=239.255.255.255"]);
        let at = |ms: u64| Mono::from_micros(ms * 1000);
        // The next one is minutes away: those of the first seconds are out.
        announcer.sessions[0].sent = 9;
        let mut sent = |ms: u64, links: &Links, changed: bool| {
            if changed {
                announcer.links_changed(at(ms), links);
            }
            announcer.beat(at(ms), 1_800_000_000 + ms / 1000, links);
            announcer.sessions[0].slot.metrics.announcements.get()
        };
        assert_eq!([sent(0, &links, true), sent(500, &links, false), sent(1000, &links, true)], [1, 1, 1]);
        links.take_for_test(machine(false));
        assert_eq!([sent(1500, &links, true), sent(90_000, &links, false)], [1, 1]);
        links.take_for_test(machine(true));
        assert_eq!(sent(90_500, &links, true), 2);
        // It flaps.
        for works in [false, true] {
            links.take_for_test(machine(works));
            assert_eq!(sent(91_000, &links, true), 2);
        }
        assert_eq!([sent(95_000, &links, false), sent(95_500, &links, false)], [2, 3]);
        // As if it had been told from another address.
        announcer.sessions[0].told.as_mut().unwrap().0 = "192.0.2.1".parse().unwrap();
        announcer.sessions[0].to.source = None;
        announcer.sessions[0].seen = None;
        announcer.links_changed(at(96_000), &links);
        assert_eq!(announcer.sessions[0].due, at(96_000));
    }

    #[test]
    fn the_spread_is_even() {
        let mut state = 7;
        let drawn: Vec<u32> = (0..4000).map(|_| next(&mut state)).collect();
        let low = drawn.iter().filter(|n| **n < u32::MAX / 2).count();
        assert!((1800..2200).contains(&low), "{low}");
    }
}
