//! Building blocks of the page: metric families of the `prometheus` crate's model.

use super::histogram::Times;
use prometheus::proto;

/// Upper bounds of all histograms, microseconds; shared, so that stages can be compared and summed.
const BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    10_000_000,
];

/// The families of one scrape, in order.
#[derive(Default)]
pub(super) struct Families(Vec<proto::MetricFamily>);

/// One sample: label pairs and value.
pub(super) type Sample<'a> = (Vec<(&'static str, &'a str)>, f64);

impl Families {
    pub(super) fn into_vec(self) -> Vec<proto::MetricFamily> {
        self.0
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(vec![], value as f64)]);
    }

    /// A counter with labels.
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        self.push(name, help, proto::MetricType::COUNTER, samples, |metric, value| {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        });
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(vec![], value)]);
    }

    /// A gauge with labels.
    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        self.push(name, help, proto::MetricType::GAUGE, samples, |metric, value| {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    /// Histograms of times, in seconds.
    pub(super) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, &'a Times)>,
    ) {
        self.push(name, help, proto::MetricType::HISTOGRAM, samples, |metric, times| {
            let buckets = BOUNDS_US.iter().map(|&us| {
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(us as f64 / 1e6);
                bucket.set_cumulative_count(times.count_up_to(us));
                bucket
            });
            let mut histogram = proto::Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(times.count());
            histogram.set_sample_sum(times.sum_seconds());
            metric.set_histogram(histogram);
        });
    }

    fn push<'a, T>(
        &mut self,
        name: &str,
        help: &str,
        kind: proto::MetricType,
        samples: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, T)>,
        fill: impl Fn(&mut proto::Metric, T),
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let pairs = labels.into_iter().map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name(name.to_owned());
                pair.set_value(value.to_owned());
                pair
            });
            let mut metric = proto::Metric::default();
            metric.set_label(pairs.collect());
            fill(&mut metric, value);
            metric
        });
        let metrics: Vec<_> = metrics.collect();
        // The encoder refuses a family without samples.
        if metrics.is_empty() {
            return;
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_metric(metrics);
        family.set_field_type(kind);
        self.0.push(family);
    }
}
