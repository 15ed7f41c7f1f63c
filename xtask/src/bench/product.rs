//! The gateway's own numbers, out of the pages of metrics that headgate-load read around the window (docs/metrics.md).

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One page: values by series, `name{label="value"}`.
pub struct Page<'a>(&'a Map<String, Value>);

impl<'a> Page<'a> {
    /// The page in `value`, if it is one.
    pub fn new(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    /// Sum of all series of `name` that carry `label` (`key="value"`; empty: all); `None` when there is none.
    pub fn sum(&self, name: &str, label: &str) -> Option<f64> {
        let series = self.0.iter().filter(|(series, _)| has(series, name, label));
        series.filter_map(|(_, value)| value.as_f64()).reduce(|sum, value| sum + value)
    }

    /// Sums of the series of `name` by the value of their label `key`, those that are not zero.
    pub fn by_label(&self, name: &str, key: &str) -> Map<String, Value> {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for (series, value) in self.0.iter().filter(|(series, _)| has(series, name, "")) {
            if let (Some(label), Some(value)) = (value_of(series, key), value.as_f64()) {
                *sums.entry(label).or_default() += value;
            }
        }
        let sums = sums.into_iter().filter(|(_, sum)| *sum != 0.0);
        sums.map(|(label, sum)| (label.to_owned(), json!(sum))).collect()
    }

    /// Cumulative counts by upper bound in seconds, ascending, summed over the series of histogram `name` with `label`.
    pub fn buckets(&self, name: &str, label: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (series, count) in self.0.iter().filter(|(series, _)| has(series, &name, label)) {
            let Some(bound) = value_of(series, "le")
                .and_then(|b| if b == "+Inf" { Some(f64::INFINITY) } else { b.parse().ok() })
            else {
                continue;
            };
            let count = count.as_f64().unwrap_or(0.0);
            match buckets.iter_mut().find(|(at, _)| *at == bound) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

fn has(series: &str, name: &str, label: &str) -> bool {
    let (of, labels) = series.split_once('{').unwrap_or((series, ""));
    of == name && labels.contains(label)
}

/// The value of label `key`.
fn value_of<'s>(series: &'s str, key: &str) -> Option<&'s str> {
    let (_, labels) = series.split_once('{')?;
    let mut rest = labels;
    while let Some((name, behind)) = rest.split_once("=\"") {
        let (value, behind) = behind.split_once('"')?;
        if name.trim_start_matches(',') == key {
            return Some(value);
        }
        rest = behind;
    }
    None
}

/// Quantile `q` of what lies between two pages, seconds; linear within a bucket, as Prometheus does it.
pub fn quantile(opens: &Page, closes: &Page, name: &str, label: &str, q: f64) -> Option<f64> {
    let before = opens.buckets(name, label);
    let count = |&(bound, now): &(f64, f64)| {
        let then = before.iter().find(|(at, _)| *at == bound).map_or(0.0, |(_, count)| *count);
        (bound, now - then)
    };
    let window: Vec<(f64, f64)> = closes.buckets(name, label).iter().map(count).collect();
    let total = window.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in window {
        if count >= q * total {
            if bound.is_infinite() {
                return Some(low);
            }
            return Some(low + (bound - low) * (q * total - below) / (count - below).max(1e-9));
        }
        (low, below) = (bound, count);
    }
    None
}

/// The gateway's numbers in headgate-load's report, by the names that the tables use; empty without its pages.
pub fn numbers(report: &Value) -> Map<String, Value> {
    let pages = &report["metrics"];
    let pages = [&pages["opens"], &pages["closes"], &pages["end"]].map(Page::new);
    let [Some(opens), Some(closes), Some(end)] = pages else { return Map::new() };
    let protocol = report["protocol"].as_str().unwrap_or_default().replace('-', "_");
    let protocol = format!("protocol=\"{protocol}\"");
    let grown = |name: &str, label: &str| Some(closes.sum(name, label)? - opens.sum(name, label)?);
    let us = |name: &str, label: &str, q: f64| quantile(&opens, &closes, name, label, q).map(|s| s * 1e6);
    let fanout = |q| us("headgate_fanout_latency_seconds", &protocol, q);
    let copied = "headgate_payload_copied_bytes_total";
    let (ingest, append) = ("stage=\"ingest\"", "stage=\"append\"");
    let ratio = |over: Option<f64>, under: Option<f64>| Some(over? / under.filter(|under| *under > 0.0)?);
    let overflows = || {
        let sqe = grown("headgate_ring_sqe_overflows_total", "")?;
        Some(sqe + grown("headgate_ring_cqe_overflows_total", "")?)
    };
    let rows = [
        ("product_p50_us", fanout(0.5)),
        ("product_p99_us", fanout(0.99)),
        ("product_egress_bytes", grown("headgate_egress_bytes_total", &protocol)),
        ("product_sends", grown("headgate_sends_total", &protocol)),
        ("product_lag_skips", closes.sum("headgate_lag_skips_total", "")),
        // Over the whole run: what publishers sent is known exactly at its end only.
        ("copied_ingest", ratio(end.sum(copied, ingest), report["publisher"]["payload_bytes"].as_f64())),
        // Over the window: logs open with their first reader and close after their last.
        ("copied_append", ratio(grown(copied, append), grown(copied, ingest))),
        ("loop_lag_p99_us", us("headgate_loop_lag_seconds", "", 0.99)),
        ("ring_overflows", overflows()),
        ("receive_buffers_exhausted", grown("headgate_receive_buffers_exhausted_total", "")),
        ("resident_bytes", closes.sum("process_resident_memory_bytes", "")),
        ("streams", closes.sum("headgate_streams", "")),
    ];
    rows.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: [u64; 3], bytes: u64) -> Value {
        let [a, b, c] = counts;
        json!({
            "h_bucket{protocol=\"rtmp\",le=\"0.001\"}": a,
            "h_bucket{protocol=\"rtmp\",le=\"0.01\"}": b,
            "h_bucket{protocol=\"rtmp\",le=\"+Inf\"}": c,
            "h_bucket{protocol=\"http_flv\",le=\"+Inf\"}": 7,
            "bytes{stage=\"ingest\"}": bytes,
            "bytes{stage=\"append\"}": 2 * bytes,
        })
    }

    #[test]
    fn quantiles_are_of_the_window_and_interpolated() {
        let (opens, closes) = (page([100, 100, 100], 0), page([150, 200, 201], 0));
        let (opens, closes) = (Page::new(&opens).unwrap(), Page::new(&closes).unwrap());
        let at = |q| quantile(&opens, &closes, "h", "protocol=\"rtmp\"", q).unwrap();
        assert!((at(0.25) - 0.0005).abs() < 1e-5, "{}", at(0.25));
        // The 75.75th of 101: 25.75 of the 50 in the second bucket.
        assert!((at(0.75) - (0.001 + 0.009 * 25.75 / 50.0)).abs() < 1e-6, "{}", at(0.75));
        assert_eq!(at(1.0), 0.01, "nothing is known beyond the last bound");
        assert_eq!(quantile(&opens, &opens, "h", "protocol=\"rtmp\"", 0.5), None);
    }

    #[test]
    fn sums_go_over_labels() {
        let page = page([0; 3], 5);
        let page = Page::new(&page).unwrap();
        assert_eq!(page.sum("bytes", ""), Some(15.0));
        assert_eq!(page.sum("bytes", "stage=\"append\""), Some(10.0));
        assert_eq!(page.sum("byte", ""), None);
    }

    #[test]
    fn sums_go_by_the_values_of_a_label() {
        let page = json!({
            "ends{protocol=\"rtmp\",reason=\"stalled\"}": 2.0,
            "ends{protocol=\"http_flv\",reason=\"stalled\"}": 3.0,
            "ends{protocol=\"rtmp\",reason=\"lag\"}": 0.0,
            "ends{other_reason=\"x\"}": 7.0,
            "ends_more{reason=\"stalled\"}": 4.0,
            "streams": 4.0,
        });
        let page = Page::new(&page).unwrap();
        assert_eq!(Value::Object(page.by_label("ends", "reason")), json!({ "stalled": 5.0 }));
        assert!(page.by_label("streams", "reason").is_empty());
    }
}
