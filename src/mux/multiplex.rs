//! What a channel is as a whole: its rate, what it says of itself, and the services in it.

use super::service::Service;
use super::ticker::{CLOCK_EACH_MS, PACKET_BITS};

/// Lowest rate of a multiplex, in bits a second, for each of its services. A packet takes 7.5 ms there, so that each fifth is a
/// clock, and with the tables nearly half of the rate is gone; below, long tables would not come in their time any more.
pub const RATE_BPS_MIN: u64 = 200_000;
/// Highest rate: of a link of 1 Gbit/s.
pub const RATE_BPS_MAX: u64 = 1_000_000_000;
/// Services of one multiplex: their PMTs come each 70 ms, and with the longest ones a table is every 0.6 ms then.
pub const SERVICES_MAX: usize = 16;
/// What PAT, SDT, NIT and TDT take, in bits a second, rounded up.
pub const TABLES_BPS: u64 = 40_000;
/// What the PMT of one service takes, likewise: two packets each 70 ms. One of a dozen tracks, or of many descriptors, is longer,
/// and what it takes beyond is missing for media.
const MAP_BPS: u64 = 43_000;
/// What clocks and tables take of a multiplex of this rate, in bits a second, rounded up. Clocks are told the more often the longer
/// a packet takes, and the more of them there are: each may have to wait for all others, and for a packet of anything.
pub const fn fixed_bps(rate_bps: u64, services: usize) -> u64 {
    let (rate, services) = (if rate_bps < RATE_BPS_MIN { RATE_BPS_MIN } else { rate_bps }, services as u64);
    let (each_us, others_us) = (CLOCK_EACH_MS * 1000, PACKET_BITS * 1_000_000 * services / rate);
    // A fifth of the time at the lowest rate for so many; below, nothing is promised.
    let most_us = each_us / 5;
    let clock_us = each_us - if others_us < most_us { others_us } else { most_us };
    TABLES_BPS + services * (MAP_BPS + (PACKET_BITS * 1_000_000).div_ceil(clock_us))
}

/// PIDs from the first of a kind on that are one service's, where there are several: one a track.
pub const TRACK_PIDS: u16 = 8;
/// Time of a service's share that may wait: a track may be that far in front of another, and both have their lead. Where
/// others leave room it may take more than its share, so twice as much is reckoned with.
const QUEUE_SECONDS: u64 = 3;
/// Packets that may wait at any rate.
const QUEUE_PACKETS_MIN: u64 = 512;
/// And at any rate at most: 32 MiB.
const QUEUE_PACKETS_MAX: u64 = (32 << 20) / 192;

/// Packets that may wait of a service that may take this rate: three seconds of it, at least 512, at most 32 MiB. That is the rate
/// of the multiplex where it has one service, and twice a service's share where there are several. What is fed is held as a whole
/// while a packet of it waits, all together at most as many bytes as so many packets have. Packets that wait beyond that are
/// copied, so what is held is at most twice as much, and 128 bytes a packet beside it; it mostly is what waits, and next to
/// nothing.
pub const fn queue_packets_max(rate_bps: u64) -> usize {
    let packets = (rate_bps / PACKET_BITS).saturating_mul(QUEUE_SECONDS);
    let most = if packets > QUEUE_PACKETS_MAX { QUEUE_PACKETS_MAX } else { packets };
    (if most < QUEUE_PACKETS_MIN { QUEUE_PACKETS_MIN } else { most }) as usize
}

/// A transport stream of constant rate with one service or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiplex {
    /// Rate, nulls included, in bits a second; see [`RATE_BPS_MIN`], [`RATE_BPS_MAX`].
    pub rate_bps: u64,
    /// `transport_stream_id`.
    pub stream_id: u16,
    /// `network_id` and `original_network_id`.
    pub network_id: u16,
    /// Name in the NIT.
    pub network_name: String,
    /// With a NIT.
    pub nit: bool,
    /// With a TDT.
    pub time: bool,
    /// With a TOT as well: what local time is.
    pub local_time: Option<LocalTime>,
    /// What the clock says at the first packet, in ticks of 27 MHz. If it follows the wall clock, receivers hardly notice
    /// that a process was replaced.
    pub clock: u64,
    /// 1 to [`SERVICES_MAX`].
    pub services: Vec<Service>,
}

/// Local time of a country, without daylight saving that begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// ISO 3166 code of three letters.
    pub country: [u8; 3],
    /// What it is ahead of UTC, in minutes; at most 13 hours either way.
    pub offset_minutes: i16,
}

impl Default for Multiplex {
    /// 4 Mbit/s with one service, and a network number of those that are nobody's.
    fn default() -> Multiplex {
        Multiplex {
            rate_bps: 4_000_000,
            stream_id: 1,
            network_id: 0xFF01,
            network_name: "headgate".to_owned(),
            nit: false,
            time: false,
            local_time: None,
            clock: 0,
            services: vec![Service::default()],
        }
    }
}

impl Multiplex {
    /// What is wrong with it, for people; `None`: nothing. A [`Mux`](super::Mux) takes any and panics with none; what is sent for one
    /// with a problem is nothing that a receiver could read.
    pub fn problem(&self) -> Option<&'static str> {
        let services = &self.services;
        if services.is_empty() || services.len() > SERVICES_MAX {
            return Some("there are not between 1 and 16 services");
        }
        let least = RATE_BPS_MIN * services.len() as u64;
        if !(least..=RATE_BPS_MAX).contains(&self.rate_bps) {
            return Some("the rate is not between 200 kbit/s for each service and 1 Gbit/s");
        }
        if let Some(problem) = services.iter().find_map(Service::problem) {
            return Some(problem);
        }
        for (at, service) in services.iter().enumerate() {
            let before = services.get(..at).unwrap_or_default();
            if before.iter().any(|other| other.service_id == service.service_id) {
                return Some("two services have the same id");
            }
            let mut all = services.iter().enumerate().filter(|(other, _)| *other != at);
            if all.any(|(_, other)| service.clashes(other)) || (services.len() > 1 && !service.is_spread()) {
                return Some("two services, or two kinds of tracks of one, have the same PIDs");
            }
        }
        let stated: u64 = services.iter().filter_map(|service| service.rate_bps).fold(0, u64::saturating_add);
        if services.len() > 1 && stated > self.media_bps() {
            return Some("the services' rates are more than the multiplex has beside clocks and tables");
        }
        None
    }

    /// What is left for pictures, sound and data, in bits a second.
    pub fn media_bps(&self) -> u64 {
        self.rate().saturating_sub(fixed_bps(self.rate(), self.services.len().min(SERVICES_MAX)))
    }

    /// What each service may always take, in bits a second: its rate, or one of equal parts of what those leave that say
    /// theirs. A service that is alone has all.
    pub(super) fn shares(&self) -> Vec<u64> {
        if let [_] = self.services[..] {
            return vec![self.rate()];
        }
        let stated: u64 = self.services.iter().filter_map(|it| it.rate_bps).fold(0, u64::saturating_add);
        let others = self.services.iter().filter(|service| service.rate_bps.is_none()).count() as u64;
        let part = self.media_bps().saturating_sub(stated) / others.max(1);
        let share = |service: &Service| service.rate_bps.unwrap_or(part).clamp(1, RATE_BPS_MAX);
        self.services.iter().take(SERVICES_MAX).map(share).collect()
    }

    /// The rate, in any case one that can be calculated with.
    pub(super) fn rate(&self) -> u64 {
        self.rate_bps.clamp(RATE_BPS_MIN, RATE_BPS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Service `n` with its own PIDs.
    fn service(n: u16) -> Service {
        let first = 0x100 + n * 0x20;
        Service {
            service_id: n + 1,
            pmt_pid: 0x1000 + n,
            video_pid: first,
            audio_pid: first + 0x10,
            data_pid: first + 8,
            ..Service::default()
        }
    }

    #[test]
    fn problems_are_found() {
        assert_eq!(Multiplex::default().problem(), None);
        let of =
            |services: Vec<Service>| Multiplex { rate_bps: 20_000_000, services, ..Multiplex::default() };
        let good: Vec<Service> = (0..4).map(service).collect();
        assert_eq!(of(good.clone()).problem(), None);
        assert_eq!(of((0..16).map(service).collect()).problem(), None);
        let with = |change: &dyn Fn(&mut Service)| {
            let mut services = good.clone();
            change(&mut services[2]);
            of(services)
        };
        for (at, bad) in [
            of(Vec::new()),
            of((0..17).map(service).collect()),
            Multiplex { rate_bps: RATE_BPS_MIN - 1, ..Multiplex::default() },
            Multiplex { rate_bps: 4 * RATE_BPS_MIN - 1, services: good.clone(), ..Multiplex::default() },
            Multiplex { rate_bps: u64::MAX, ..Multiplex::default() },
            with(&|it| it.service_id = 1),
            with(&|it| it.service_id = 0),
            with(&|it| it.pmt_pid = 0x1000),
            with(&|it| it.video_pid = 0x120),
            with(&|it| it.video_pid = 0x119),
            with(&|it| it.audio_pid = it.video_pid + 1),
            with(&|it| it.pcr_pid = Some(0x1001)),
            with(&|it| it.pcr_pid = Some(0x101)),
            with(&|it| it.rate_bps = Some(19_800_000)),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(bad.problem().is_some(), "{at}: {bad:?}");
        }
    }

    #[test]
    fn who_states_no_rate_has_an_equal_part_of_the_rest() {
        let stated = |rates: [Option<u64>; 3]| Multiplex {
            rate_bps: 10_000_000 + fixed_bps(10_290_000, 3),
            services: (0..3).zip(rates).map(|(n, rate_bps)| Service { rate_bps, ..service(n) }).collect(),
            ..Multiplex::default()
        };
        // The clocks' part is that of a little less.
        let few = |shares: Vec<u64>| shares.into_iter().map(|share| share.div_ceil(1000)).collect::<Vec<_>>();
        assert_eq!(few(stated([None; 3]).shares()), [3334; 3]);
        assert_eq!(few(stated([Some(4_000_000), None, None]).shares()), [4000, 3000, 3000]);
        assert_eq!(Multiplex::default().shares(), [4_000_000]);
    }

    /// What services are promised is there: at the lowest rates too, and of any number.
    #[test]
    fn shares_are_no_more_than_what_clocks_and_tables_leave() {
        for (count, rate_bps, fixed) in [
            (2, 400_000, 224_750),
            (16, 3_200_000, 1_517_680),
            (16, 24_000_000, 1_377_680),
            (16, 51_000_000, 1_369_280),
        ] {
            let multiplex =
                Multiplex { rate_bps, services: (0..count).map(service).collect(), ..Multiplex::default() };
            assert_eq!(multiplex.problem(), None);
            assert!(fixed_bps(rate_bps, count.into()).abs_diff(fixed) < 2000, "{count} at {rate_bps}");
            let shares = multiplex.shares();
            assert!(shares.iter().sum::<u64>() <= rate_bps - fixed_bps(rate_bps, count.into()));
            assert!(shares.iter().all(|share| *share >= 80_000), "{shares:?}");
        }
        assert!(fixed_bps(0, usize::from(u16::MAX)) > 0);
    }

    #[test]
    fn what_may_wait_follows_the_rate() {
        assert_eq!(queue_packets_max(0), 512);
        assert_eq!(queue_packets_max(4_000_000), 2659 * 3);
        assert_eq!(queue_packets_max(u64::MAX), (32 << 20) / 192);
    }
}
