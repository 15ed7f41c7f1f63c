//! The counters of the inputs: streams that come as datagrams.

use super::cells::{Counter, Gauge, Ratio};
use super::families::{Families, Sample};
use super::labels::{DatagramRefusal, PerDatagramRefusal, PerSwitchReason, SwitchReason};
use super::reception::{Board, Diary, Reception};
use std::sync::Arc;

/// Names with a counter each.
pub type Named = Box<[(&'static str, Counter)]>;

/// What an input is, as its configuration says: for lists of inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputAbout {
    /// The stream that it publishes, `APP/STREAM`; the label `input`.
    pub stream: String,
    /// Where it comes from, as URLs; the position is the label `origin`.
    pub from: Vec<String>,
    /// All of these are one stream: what one of them loses another brings.
    pub merged: bool,
}

/// One input's counters; written by its core alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct InputMetrics {
    /// 1 while it publishes its stream.
    pub on_air: Gauge,
    /// The origin that it publishes, from 0; -1 for none.
    pub origin: Gauge,
    /// Times that another origin was put on air.
    pub failovers: PerSwitchReason<Counter>,
    /// Times that the stream's name was not to be had.
    pub claims_refused: Counter,
    /// Times that the name was lost to somebody else, or for silence.
    pub deposed: Counter,
    /// Times that there was no program to take for 5 s.
    pub no_program: Counter,
    /// 1 while a program comes from any origin, as of the last second; for lists.
    pub alive: Gauge,
}

/// One origin's counters; written by the input's core alone, but for those of its sockets, which are the clerk's.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct OriginMetrics {
    /// Datagrams that came, repair packets among them.
    pub datagrams: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Datagrams that were left out, of the others.
    pub refused: PerDatagramRefusal<Counter>,
    /// Datagrams that found no room in the kernel's buffer.
    pub kernel_drops: Counter,
    /// Sockets that could not be opened or joined, and receives that failed.
    pub socket_errors: Counter,
    /// Times that the group was joined again because its interface had gone.
    pub rejoins: Counter,
    /// What the kernel gave as its buffer, in bytes; 0 while nothing listens.
    pub buffer_bytes: Gauge,
    /// Bits a second in the last second.
    pub bitrate_bps: Ratio,
    /// What became of packets of RTP.
    pub rtp: Named,
    /// What was wrong with the transport stream.
    pub faults: Named,
    /// What its monitor has raised.
    pub indicators: Named,
    /// What it brings, in full.
    pub reception: Board<Reception>,
}

/// One input's ends.
#[derive(Clone, Debug, Default)]
pub struct InputSlot {
    /// What it is.
    pub about: Arc<InputAbout>,
    /// Its counters.
    pub metrics: Arc<InputMetrics>,
    /// Its origins' counters, in the configuration's order.
    pub origins: Vec<Arc<OriginMetrics>>,
    /// What has happened to it.
    pub diary: Arc<Diary>,
}

impl InputSlot {
    /// An input that has received nothing; the lists are the label values of what is counted by name.
    pub fn new(
        about: InputAbout,
        rtp: &[&'static str],
        faults: &[&'static str],
        indicators: &[&'static str],
    ) -> InputSlot {
        let named = |names: &[&'static str]| names.iter().map(|name| (*name, Counter::default())).collect();
        let origin = |_: &String| {
            let (rtp, faults, indicators) = (named(rtp), named(faults), named(indicators));
            Arc::new(OriginMetrics { rtp, faults, indicators, ..OriginMetrics::default() })
        };
        let origins = about.from.iter().map(origin).collect();
        let metrics = InputMetrics::default();
        metrics.origin.set(-1);
        InputSlot { about: Arc::new(about), metrics: Arc::new(metrics), origins, diary: Arc::default() }
    }
}

/// Puts the inputs on the page: in their order, as many as have `series_max` series together, and how many are left out.
/// Whole inputs, always the same ones: half of one, or another one at each scrape, would be worse than none.
pub(super) fn collect(page: &mut Families, inputs: &[InputSlot], series_max: usize) {
    if inputs.is_empty() {
        return;
    }
    let mut sum = 0usize;
    let fit = |slot: &&InputSlot| {
        sum = sum.saturating_add(series(slot));
        sum <= series_max
    };
    let fitting = inputs.iter().take_while(fit).count();
    page.gauge(
        "headgate_inputs_omitted",
        "Inputs that are not on this page, because headend.input_series_max has been reached.",
        (inputs.len() - fitting) as f64,
    );
    let inputs = inputs.get(..fitting).unwrap_or_default();
    if inputs.is_empty() {
        return;
    }
    state(page, inputs);
    let places: Vec<(Vec<(&'static str, &str)>, &OriginMetrics)> = inputs
        .iter()
        .flat_map(|slot| {
            let stream = slot.about.stream.as_str();
            slot.origins
                .iter()
                .zip(ORIGINS)
                .map(move |(origin, number)| (vec![("input", stream), ("origin", number)], &**origin))
        })
        .collect();
    datagrams(page, &places);
    stream(page, &places);
}

/// Families of [`state`] and of [`datagrams`] with one series an input, and an origin.
const INPUT_FAMILIES: usize = 5;
const ORIGIN_FAMILIES: usize = 7;

/// Series of an input, those of its origins among them.
fn series(slot: &InputSlot) -> usize {
    let origin = |origin: &Arc<OriginMetrics>| {
        let named = [&origin.rtp, &origin.faults, &origin.indicators];
        ORIGIN_FAMILIES + DatagramRefusal::ALL.len() + named.iter().map(|named| named.len()).sum::<usize>()
    };
    INPUT_FAMILIES + SwitchReason::ALL.len() + slot.origins.iter().map(origin).sum::<usize>()
}

/// Label values of origins: more are not configured.
const ORIGINS: [&str; 4] = ["0", "1", "2", "3"];

/// An origin with its labels.
type Place<'a> = (Vec<(&'static str, &'a str)>, &'a OriginMetrics);

fn state(page: &mut Families, inputs: &[InputSlot]) {
    let each = |value: fn(&InputMetrics) -> f64| {
        inputs.iter().map(move |slot| (vec![("input", slot.about.stream.as_str())], value(&slot.metrics)))
    };
    page.gauges(
        "headgate_input_on_air",
        "1 while the input publishes its stream, else 0.",
        each(|m| m.on_air.get() as f64),
    );
    page.gauges(
        "headgate_input_origin",
        "The origin that is published: 0 is the primary, -1 none.",
        each(|m| m.origin.get() as f64),
    );
    let failovers = inputs.iter().flat_map(|slot| {
        SwitchReason::ALL.map(|reason| {
            let labels = vec![("input", slot.about.stream.as_str()), ("reason", reason.as_str())];
            (labels, slot.metrics.failovers[reason].get() as f64)
        })
    });
    page.counters("headgate_input_failovers_total", "Times that another origin was put on air.", failovers);
    page.counters(
        "headgate_input_claims_refused_total",
        "Times that the stream's name was not to be had.",
        each(|m| m.claims_refused.get() as f64),
    );
    page.counters(
        "headgate_input_deposed_total",
        "Times that an input lost its stream: it was silent, or another publisher took over.",
        each(|m| m.deposed.get() as f64),
    );
    page.counters(
        "headgate_input_no_program_total",
        "Times that there was no program to take for 5 s.",
        each(|m| m.no_program.get() as f64),
    );
}

/// The same value of every origin.
fn each<'a>(
    places: &'a [Place<'a>],
    value: impl Fn(&OriginMetrics) -> f64 + 'a,
) -> impl Iterator<Item = Sample<'a>> {
    places.iter().map(move |(labels, origin)| (labels.clone(), value(origin)))
}

/// Counters by name of every origin.
fn named<'a>(
    places: &'a [Place<'a>],
    label: &'static str,
    names: impl Fn(&'a OriginMetrics) -> &'a Named + 'a,
) -> impl Iterator<Item = Sample<'a>> {
    places.iter().flat_map(move |(labels, origin)| {
        let name = move |(name, count): &'a (&'static str, Counter)| {
            let mut labels = labels.clone();
            labels.push((label, *name));
            (labels, count.get() as f64)
        };
        names(origin).iter().map(name)
    })
}

fn datagrams<'a>(page: &mut Families, places: &'a [Place<'a>]) {
    page.counters(
        "headgate_input_datagrams_total",
        "Datagrams that came from an origin.",
        each(places, |m| m.datagrams.get() as f64),
    );
    page.counters("headgate_input_bytes_total", "Bytes in these.", each(places, |m| m.bytes.get() as f64));
    let refused = places.iter().flat_map(|(labels, origin)| {
        DatagramRefusal::ALL.map(|reason| {
            let mut labels = labels.clone();
            labels.push(("reason", reason.as_str()));
            (labels, origin.refused[reason].get() as f64)
        })
    });
    page.counters(
        "headgate_input_datagrams_refused_total",
        "Datagrams of these that were left out.",
        refused,
    );
    page.counters(
        "headgate_input_kernel_drops_total",
        "Datagrams that found no room in the kernel's buffer.",
        each(places, |m| m.kernel_drops.get() as f64),
    );
    page.counters(
        "headgate_input_socket_errors_total",
        "Sockets that could not be opened or joined, and receives that failed.",
        each(places, |m| m.socket_errors.get() as f64),
    );
    page.counters(
        "headgate_input_rejoins_total",
        "Times that an origin was joined again because its interface had gone.",
        each(places, |m| m.rejoins.get() as f64),
    );
    page.gauges(
        "headgate_input_receive_buffer_bytes",
        "Bytes that the kernel may hold for an origin; 0 while nothing listens.",
        each(places, |m| m.buffer_bytes.get() as f64),
    );
    page.gauges(
        "headgate_input_bitrate_bps",
        "Bits a second that came from an origin in the last second.",
        each(places, |m| m.bitrate_bps.get()),
    );
}

fn stream<'a>(page: &mut Families, places: &'a [Place<'a>]) {
    page.counters(
        "headgate_input_rtp_packets_total",
        "Packets of RTP by what became of them; merged paths count as their first origin.",
        named(places, "fate", |m| &m.rtp),
    );
    page.counters(
        "headgate_input_ts_faults_total",
        "What was wrong with the transport stream where frames are made of it; merged paths count as their first origin.",
        named(places, "fault", |m| &m.faults),
    );
    page.counters(
        "headgate_input_indicators_total",
        "Times that an indicator of TR 101 290 was raised on what came from an origin.",
        named(places, "indicator", |m| &m.indicators),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Registry;

    #[test]
    fn inputs_are_on_the_page() {
        assert!(!Registry::new(&[0]).render().contains("headgate_input"), "nothing without inputs");
        let from = vec!["udp://a".into(), "udp://b".into()];
        let about = InputAbout { stream: "live/one".into(), from, merged: false };
        let slot = InputSlot::new(about, &["lost"], &["crc"], &["1.4"]);
        let registry = Registry::with_headend(&[0], Vec::new(), vec![slot.clone()], usize::MAX);
        slot.metrics.failovers[SwitchReason::Silence].inc();
        slot.origins[1].refused[DatagramRefusal::OtherSender].add(3);
        slot.origins[0].indicators[0].1.inc();
        let page = registry.render();
        for line in [
            "headgate_input_origin{input=\"live/one\"} -1",
            "headgate_input_failovers_total{input=\"live/one\",reason=\"silence\"} 1",
            "headgate_input_datagrams_refused_total{input=\"live/one\",origin=\"1\",reason=\"other_sender\"} 3",
            "headgate_input_indicators_total{indicator=\"1.4\",input=\"live/one\",origin=\"0\"} 1",
        ] {
            let sorted = |line: &str| {
                let (name, rest) = line.split_once('{').unwrap_or((line, "} "));
                let (labels, value) = rest.split_once("} ").unwrap_or_default();
                let mut labels: Vec<String> = labels.split(',').map(str::to_owned).collect();
                labels.sort_unstable();
                (name.to_owned(), labels, value.to_owned())
            };
            assert!(page.lines().any(|found| sorted(found) == sorted(line)), "{line} not in\n{page}");
        }
    }

    #[test]
    fn series_are_bounded_by_whole_inputs() {
        let slot = |n: usize| {
            let from = (0..1 + n % 2).map(|n| format!("udp://{n}")).collect();
            let about = InputAbout { stream: format!("live/{n}"), from, merged: false };
            InputSlot::new(about, &["lost", "late"], &["crc"], &["1.4", "1.5"])
        };
        let slots: Vec<InputSlot> = (0..10).map(slot).collect();
        let shown = |most: usize| {
            let page = Registry::with_headend(&[0], Vec::new(), slots.clone(), most).render();
            let of_inputs = |line: &&str| line.starts_with("headgate_input_");
            let omitted =
                page.lines().find_map(|line| line.strip_prefix("headgate_inputs_omitted ")).unwrap();
            (page.lines().filter(of_inputs).count(), omitted.to_owned())
        };
        let each: Vec<usize> = slots.iter().map(series).collect();
        assert_eq!(
            shown(usize::MAX),
            (each.iter().sum(), "0".to_owned()),
            "what is counted is what is shown"
        );
        let three = each[..3].iter().sum();
        assert_eq!(shown(three), (three, "7".to_owned()));
        assert_eq!(shown(three - 1), (each[0] + each[1], "8".to_owned()));
        assert_eq!(shown(0), (0, "10".to_owned()));
    }
}
