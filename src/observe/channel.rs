//! The counters of the pacer and of its channels.

use super::cells::{Counter, Gauge, Ratio};
use super::families::{Families, Sample};
use super::histogram::Times;
use super::labels::{MuxAlarm, PerMuxAlarm, PerSendError, SendError, SourceState};
use std::sync::{Arc, Mutex, PoisonError};

/// What a channel is, as its configuration says: for lists of channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelAbout {
    /// Its name; the label `channel`.
    pub name: String,
    /// What is in it, in the order of its configuration.
    pub services: Vec<ServiceAbout>,
    /// Where it goes, as URLs.
    pub to: Vec<String>,
    /// Bits a second of the transport stream; of one that is passed on what is planned for it, or 0.
    pub bitrate_bps: u64,
    /// Its source's own packets are sent.
    pub passes: bool,
}

impl ChannelAbout {
    /// The streams that it sends, for people.
    pub fn sources(&self) -> String {
        let all: Vec<&str> = self.services.iter().map(|service| service.source.as_str()).collect();
        all.join(" + ")
    }
}

/// What a service of a channel is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAbout {
    /// Its service id; the label `service`.
    pub id: String,
    /// What viewers see.
    pub name: String,
    /// The stream that it sends, `APP/STREAM`.
    pub source: String,
}

/// Counters of one service of a channel; written by the pacer's thread alone.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    /// Access units left out because the source is faster than the channel, or than its share.
    pub units_dropped: Counter,
    /// Times that this began.
    pub overflows: Counter,
    /// Access units left out because they came too late, or out of the source's time.
    pub units_late: Counter,
    /// Access units sent although they are more than a decoder of the level that their pictures say has room for.
    pub units_exceeding: Counter,
    /// 1 while something is wrong with what the multiplex is given.
    pub alarms: PerMuxAlarm<Gauge>,
    /// The source's [`SourceState`], by its index.
    pub source_state: Gauge,
    /// Milliseconds without anything of the source.
    pub source_lost_ms: Counter,
    /// Times that the source was lost.
    pub source_losses: Counter,
    /// Times that it began anew in its source: at the first time, after a loss, after a skip.
    pub seams: Counter,
    /// Skips to the newest join point, because the pacer was behind.
    pub lag_skips: Counter,
}

impl ServiceMetrics {
    /// What the source is doing.
    pub fn state(&self) -> SourceState {
        let index = usize::try_from(self.source_state.get()).unwrap_or_default();
        SourceState::ALL.get(index).copied().unwrap_or(SourceState::NoStream)
    }
}

/// One channel's counters; written by the pacer's thread alone, but for one. Aligned so that no two channels share a cache line with a
/// core.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ChannelMetrics {
    /// Datagrams of the transport stream that were due and written.
    pub datagrams: Counter,
    /// FEC datagrams written.
    pub fec_datagrams: Counter,
    /// Datagrams that the kernel took, of all destinations together.
    pub sent_datagrams: Counter,
    /// Their bytes, without UDP's and IP's headers.
    pub sent_bytes: Counter,
    /// Datagrams that it did not take.
    pub send_errors: PerSendError<Counter>,
    /// Share of null packets in the last second.
    pub nulls: Ratio,
    /// Times that late datagrams had to follow at twice the rate.
    pub catch_ups: Counter,
    /// Times that datagrams were left out because they were late by more than a second.
    pub jumps: Counter,
    /// Datagrams left out then.
    pub jumped_datagrams: Counter,
    /// Packets of its source that came later than they were due, where they are passed on.
    pub passed_late: Counter,
    /// Packets for which there was no room then.
    pub passed_overrun: Counter,
    /// Times that the source's clock did not go on, or was not believed.
    pub clock_jumps: Counter,
    /// Moves of PIDs that were refused, and sections that kept their names.
    pub not_remapped: Counter,
    /// Announcements sent; written by the thread that announces.
    pub announcements: Counter,
}

/// One channel's ends.
#[derive(Clone, Debug, Default)]
pub struct ChannelSlot {
    /// What it is.
    pub about: Arc<ChannelAbout>,
    /// Its counters.
    pub metrics: Arc<ChannelMetrics>,
    /// Those of its services, in the order of [`ChannelAbout::services`].
    pub services: Arc<[ServiceMetrics]>,
    /// What its own monitor has raised: indicator and times.
    pub indicators: Arc<[(&'static str, Counter)]>,
}

impl ChannelSlot {
    /// A channel that has sent nothing; `indicators` are the names of what may be raised.
    pub fn new(about: ChannelAbout, indicators: &[&'static str]) -> ChannelSlot {
        let indicators = indicators.iter().map(|name| (*name, Counter::default())).collect();
        let services = about.services.iter().map(|_| ServiceMetrics::default()).collect();
        ChannelSlot { about: Arc::new(about), metrics: Arc::default(), services, indicators }
    }

    /// What its sources are doing: on air, if all are, else the first one that is not.
    pub fn state(&self) -> SourceState {
        let mut states = self.services.iter().map(ServiceMetrics::state);
        let none = if self.services.is_empty() { SourceState::NoStream } else { SourceState::OnAir };
        states.find(|state| *state != SourceState::OnAir).unwrap_or(none)
    }
}

/// An interface that channels are sent on or inputs listen on; written by the thread that looks at links.
#[derive(Debug, Default)]
pub struct LinkSlot {
    /// As the configuration names it: by its name, or by an address.
    pub interface: String,
    /// 1 while it is up and there is somebody at its other end.
    pub up: Gauge,
}

/// The pacer's own counters, written by its thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PacerSlot {
    /// Ticks that it ran.
    pub ticks: Counter,
    /// Cores that it woke.
    pub doorbells: Counter,
    /// Processor time of its thread in seconds.
    pub cpu_seconds: Ratio,
    /// How late its ticks were.
    pub times: PacerLateness,
}

/// Where the pacer leaves its histogram for the scraper.
#[derive(Debug, Default)]
pub struct PacerLateness(Mutex<Times>);

/// How late ticks are; the pacer's own.
#[derive(Debug, Default)]
pub struct PacerTimes(Times);

impl PacerTimes {
    /// A tick came `us` microseconds late.
    #[inline]
    pub fn record_lateness_us(&mut self, us: u64) {
        self.0.record(us, 1);
    }

    /// Hands over what was recorded, unless the scraper is reading just now.
    pub fn publish(&mut self, to: &PacerLateness) {
        if let Ok(mut total) = to.0.try_lock() {
            total.add(&self.0);
            self.0.clear();
        }
    }
}

/// Puts the pacer, its channels and their links on the page.
pub(super) fn collect(
    page: &mut Families,
    pacer: &PacerSlot,
    channels: &[ChannelSlot],
    links: &[Arc<LinkSlot>],
) {
    if channels.is_empty() {
        return;
    }
    let lateness = pacer.times.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    page.histograms(
        "headgate_pacer_lateness_seconds",
        "How late a tick of the thread that sends channels was.",
        [(vec![], &lateness)],
    );
    page.counter("headgate_pacer_ticks_total", "Ticks of that thread.", pacer.ticks.get());
    page.counters(
        "headgate_pacer_cpu_seconds_total",
        "Processor time of that thread.",
        [(vec![], pacer.cpu_seconds.get())],
    );
    page.gauges(
        "headgate_link_up",
        "1 while the interface that channels are sent on is up and has a link, else 0.",
        links.iter().map(|link| (vec![("interface", link.interface.as_str())], link.up.get() as f64)),
    );
    flow(page, channels);
    source(page, channels);
    alarms(page, channels);
    services(page, channels);
    pace(page, channels);
}

/// A value of every channel.
fn each<'a>(
    channels: &'a [ChannelSlot],
    value: impl Fn(&ChannelMetrics) -> f64 + 'a,
) -> impl Iterator<Item = Sample<'a>> {
    channels.iter().map(move |slot| (vec![("channel", slot.about.name.as_str())], value(&slot.metrics)))
}

/// What is sent.
fn flow(page: &mut Families, channels: &[ChannelSlot]) {
    page.gauges(
        "headgate_channel_bitrate_bps",
        "Configured rate of the channel's transport stream in bits a second.",
        channels
            .iter()
            .map(|slot| (vec![("channel", slot.about.name.as_str())], slot.about.bitrate_bps as f64)),
    );
    page.counters(
        "headgate_channel_datagrams_total",
        "Datagrams of the channel's transport stream, once whatever the number of destinations.",
        each(channels, |m| m.datagrams.get() as f64),
    );
    page.counters(
        "headgate_channel_fec_datagrams_total",
        "Datagrams of forward error correction.",
        each(channels, |m| m.fec_datagrams.get() as f64),
    );
    page.counters(
        "headgate_channel_sent_datagrams_total",
        "Datagrams that the kernel took, of all destinations.",
        each(channels, |m| m.sent_datagrams.get() as f64),
    );
    page.counters(
        "headgate_channel_sent_bytes_total",
        "Bytes of these, without UDP's and IP's headers.",
        each(channels, |m| m.sent_bytes.get() as f64),
    );
    page.counters(
        "headgate_channel_announcements_total",
        "Announcements (SAP) of the channel's destinations.",
        each(channels, |m| m.announcements.get() as f64),
    );
    let errors = channels.iter().flat_map(|slot| {
        SendError::ALL.map(|reason| {
            let labels = vec![("channel", slot.about.name.as_str()), ("reason", reason.as_str())];
            (labels, slot.metrics.send_errors[reason].get() as f64)
        })
    });
    page.counters("headgate_channel_send_errors_total", "Datagrams that the kernel did not take.", errors);
    page.gauges(
        "headgate_channel_null_ratio",
        "Share of null packets in the last second: what the channel has to spare.",
        each(channels, |m| m.nulls.get()),
    );
    let raised = channels.iter().flat_map(|slot| {
        slot.indicators.iter().map(|(indicator, count)| {
            (vec![("channel", slot.about.name.as_str()), ("indicator", *indicator)], count.get() as f64)
        })
    });
    page.counters(
        "headgate_channel_indicators_total",
        "Times that an indicator of TR 101 290 was raised on what the channel sends.",
        raised,
    );
}

/// A counter of every channel that is the sum of those of its services.
fn sums<'a>(
    channels: &'a [ChannelSlot],
    value: impl Fn(&ServiceMetrics) -> f64 + 'a,
) -> impl Iterator<Item = Sample<'a>> {
    channels.iter().map(move |slot| {
        (vec![("channel", slot.about.name.as_str())], slot.services.iter().map(&value).sum::<f64>())
    })
}

fn on_air(state: SourceState) -> f64 {
    f64::from(u8::from(state == SourceState::OnAir))
}

/// What comes in.
fn source(page: &mut Families, channels: &[ChannelSlot]) {
    page.gauges(
        "headgate_channel_source_up",
        "1 while the channel's source brings media, all of them where it has several, else 0.",
        channels.iter().map(|slot| (vec![("channel", slot.about.name.as_str())], on_air(slot.state()))),
    );
    page.gauges(
        "headgate_channel_passes",
        "1 if the channel sends its source's own packets, 0 if it is made anew at a constant rate.",
        channels.iter().map(|slot| {
            (vec![("channel", slot.about.name.as_str())], f64::from(u8::from(slot.about.passes)))
        }),
    );
    page.counters(
        "headgate_channel_passed_packets_late_total",
        "Packets that are passed on and came later than they were due: headend jitter beyond the channel's delay.",
        each(channels, |m| m.passed_late.get() as f64),
    );
    page.counters(
        "headgate_channel_passed_packets_dropped_total",
        "Packets that were to be passed on, and for which there was no room.",
        each(channels, |m| m.passed_overrun.get() as f64),
    );
    page.counters(
        "headgate_channel_clock_jumps_total",
        "Times that the clock of a source that is passed on did not go on, or was not believed.",
        each(channels, |m| m.clock_jumps.get() as f64),
    );
    page.counters(
        "headgate_channel_not_remapped_total",
        "Moves of PIDs to one that the source needs, which were refused, and sections that kept their names for want of room.",
        each(channels, |m| m.not_remapped.get() as f64),
    );
    for counter in COUNTERS {
        page.counters(counter.channel, counter.help, sums(channels, counter.value));
    }
}

/// What is counted of each source: of a channel as the sum of its services, and of each of those where it has several.
struct SourceCounter {
    channel: &'static str,
    service: &'static str,
    help: &'static str,
    value: fn(&ServiceMetrics) -> f64,
}

const COUNTERS: [SourceCounter; 8] = [
    SourceCounter {
        channel: "headgate_channel_source_losses_total",
        service: "headgate_service_source_losses_total",
        help: "Times that the source was lost.",
        value: |m| m.source_losses.get() as f64,
    },
    SourceCounter {
        channel: "headgate_channel_source_lost_seconds_total",
        service: "headgate_service_source_lost_seconds_total",
        help: "Time without media of the source; tables, clock and null packets go on.",
        value: |m| m.source_lost_ms.get() as f64 / 1e3,
    },
    SourceCounter {
        channel: "headgate_channel_seams_total",
        service: "headgate_service_seams_total",
        help: "Times that it began anew in its source.",
        value: |m| m.seams.get() as f64,
    },
    SourceCounter {
        channel: "headgate_channel_lag_skips_total",
        service: "headgate_service_lag_skips_total",
        help: "Skips to the newest join point of the source, because the pacer was behind.",
        value: |m| m.lag_skips.get() as f64,
    },
    SourceCounter {
        channel: "headgate_channel_overflows_total",
        service: "headgate_service_overflows_total",
        help: "Times that the source became faster than the channel, or than its share.",
        value: |m| m.overflows.get() as f64,
    },
    SourceCounter {
        channel: "headgate_channel_units_dropped_total",
        service: "headgate_service_units_dropped_total",
        help: "Access units left out for that.",
        value: |m| m.units_dropped.get() as f64,
    },
    SourceCounter {
        channel: "headgate_channel_units_late_total",
        service: "headgate_service_units_late_total",
        help: "Access units left out because they came too late, or out of the source's time.",
        value: |m| m.units_late.get() as f64,
    },
    SourceCounter {
        channel: "headgate_channel_units_exceeding_total",
        service: "headgate_service_units_exceeding_total",
        help: "Access units sent although their source exceeds the level that its pictures say.",
        value: |m| m.units_exceeding.get() as f64,
    },
];

/// What is wrong with it now.
fn alarms(page: &mut Families, channels: &[ChannelSlot]) {
    let raised = channels.iter().flat_map(|slot| {
        MuxAlarm::ALL.map(|alarm| {
            let labels = vec![("channel", slot.about.name.as_str()), ("alarm", alarm.as_str())];
            let any = slot.services.iter().map(|service| service.alarms[alarm].get()).max();
            (labels, any.unwrap_or_default() as f64)
        })
    });
    page.gauges(
        "headgate_channel_alarm",
        "1 while this is wrong with what the channel, or any of its services, is given, else 0.",
        raised,
    );
}

/// Each service of those channels that have several: of the others all is said already.
fn services(page: &mut Families, channels: &[ChannelSlot]) {
    let each = || {
        let several = channels.iter().filter(|slot| slot.services.len() > 1);
        several.flat_map(|slot| {
            let services = slot.about.services.iter().zip(slot.services.iter());
            services.map(|(about, metrics)| {
                (vec![("channel", slot.about.name.as_str()), ("service", about.id.as_str())], metrics)
            })
        })
    };
    if each().next().is_none() {
        return;
    }
    page.gauges(
        "headgate_service_source_up",
        "1 while the source of a service of a channel with several brings media, else 0.",
        each().map(|(labels, metrics)| (labels, on_air(metrics.state()))),
    );
    for counter in COUNTERS {
        page.counters(counter.service, counter.help, each().map(|(labels, m)| (labels, (counter.value)(m))));
    }
    let raised = each().flat_map(|(labels, metrics)| {
        MuxAlarm::ALL.map(|alarm| {
            let mut labels = labels.clone();
            labels.push(("alarm", alarm.as_str()));
            (labels, metrics.alarms[alarm].get() as f64)
        })
    });
    page.gauges(
        "headgate_service_alarm",
        "1 while this is wrong with what the service is given, else 0.",
        raised,
    );
}

/// How well the clock is kept.
fn pace(page: &mut Families, channels: &[ChannelSlot]) {
    page.counters(
        "headgate_channel_catch_ups_total",
        "Times that late datagrams followed at twice the rate.",
        each(channels, |m| m.catch_ups.get() as f64),
    );
    page.counters(
        "headgate_channel_jumps_total",
        "Times that datagrams were left out, because they were late by more than a second.",
        each(channels, |m| m.jumps.get() as f64),
    );
    page.counters(
        "headgate_channel_jumped_datagrams_total",
        "Datagrams left out then.",
        each(channels, |m| m.jumped_datagrams.get() as f64),
    );
}

#[cfg(test)]
mod tests {
    use crate::observe::{
        ChannelAbout, ChannelSlot, MuxAlarm, PacerTimes, Registry, SendError, ServiceAbout, SourceState,
    };

    fn service(id: &str) -> ServiceAbout {
        ServiceAbout { id: id.to_owned(), source: format!("live/{id}"), ..ServiceAbout::default() }
    }

    #[test]
    fn channels_are_on_the_page() {
        assert!(!Registry::new(&[0]).render().contains("headgate_channel"), "nothing without channels");
        let services = vec![service("1")];
        let about =
            ChannelAbout { name: "one".into(), bitrate_bps: 4_000_000, services, ..ChannelAbout::default() };
        let slot = ChannelSlot::new(about, &["1.4"]);
        let registry = Registry::with_headend(&[0], vec![slot.clone()], Vec::new(), usize::MAX);
        slot.metrics.send_errors[SendError::Unreachable].add(3);
        slot.services[0].source_state.set(SourceState::OnAir.index() as i64);
        slot.services[0].source_lost_ms.add(1500);
        slot.services[0].alarms[MuxAlarm::Late].set(1);
        slot.indicators[0].1.inc();
        let mut times = PacerTimes::default();
        times.record_lateness_us(200);
        times.publish(&registry.pacer.times);
        let page = registry.render();
        for line in [
            "headgate_channel_bitrate_bps{channel=\"one\"} 4000000",
            "headgate_channel_send_errors_total{channel=\"one\",reason=\"unreachable\"} 3",
            "headgate_channel_source_up{channel=\"one\"} 1",
            "headgate_channel_alarm{channel=\"one\",alarm=\"late\"} 1",
            "headgate_channel_alarm{channel=\"one\",alarm=\"overload\"} 0",
            "headgate_channel_source_lost_seconds_total{channel=\"one\"} 1.5",
            "headgate_channel_indicators_total{channel=\"one\",indicator=\"1.4\"} 1",
            "headgate_pacer_lateness_seconds_bucket{le=\"0.00025\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} not in\n{page}");
        }
    }

    /// A channel is on air if all its services are; what each of them is, is said of those alone that have neighbours.
    #[test]
    fn services_are_on_the_page_where_there_are_several() {
        let about = |name: &str, ids: &[&str]| {
            let services = ids.iter().map(|id| service(id)).collect();
            ChannelSlot::new(ChannelAbout { name: name.into(), services, ..ChannelAbout::default() }, &[])
        };
        let (one, two) = (about("one", &["7"]), about("two", &["8", "9"]));
        two.services[0].source_state.set(SourceState::OnAir.index() as i64);
        two.services[1].units_dropped.add(3);
        two.services[1].alarms[MuxAlarm::Overload].set(1);
        let page = Registry::with_headend(&[0], vec![one, two.clone()], Vec::new(), usize::MAX).render();
        for line in [
            "headgate_channel_source_up{channel=\"two\"} 0",
            "headgate_channel_units_dropped_total{channel=\"two\"} 3",
            "headgate_channel_alarm{channel=\"two\",alarm=\"overload\"} 1",
            "headgate_service_source_up{channel=\"two\",service=\"8\"} 1",
            "headgate_service_source_up{channel=\"two\",service=\"9\"} 0",
            "headgate_service_units_dropped_total{channel=\"two\",service=\"9\"} 3",
            "headgate_service_alarm{channel=\"two\",service=\"9\",alarm=\"overload\"} 1",
            "headgate_service_alarm{channel=\"two\",service=\"8\",alarm=\"overload\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} not in\n{page}");
        }
        assert!(!page.contains("service=\"7\""));
        assert_eq!(two.state(), SourceState::NoStream);
        two.services[1].source_state.set(SourceState::OnAir.index() as i64);
        assert_eq!(two.state(), SourceState::OnAir);
    }
}
