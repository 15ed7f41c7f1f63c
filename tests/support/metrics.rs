//! The metrics page as a map.

use std::collections::BTreeMap;

/// A scrape: series (name with labels) -> value.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format.
    pub fn parse(page: &str) -> Metrics {
        let series = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Metrics(series.collect())
    }

    /// Sum over all series of a metric whose labels contain every one of `labels` (as `key="value"`).
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        self.series(metric)
            .filter(|(name, _)| labels.iter().all(|label| name.contains(label)))
            .map(|(_, v)| v)
            .sum()
    }

    /// Whether any series of the metric is there.
    pub fn has(&self, metric: &str) -> bool {
        self.series(metric).next().is_some()
    }

    /// Every series of a metric with its value.
    pub fn series<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let exact = move |name: &str| {
            name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.0.iter().filter(move |(name, _)| exact(name)).map(|(name, value)| (name.as_str(), *value))
    }
}

/// The value of a label in the name of a series.
pub fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let labels = series.split_once('{')?.1;
    labels.split(',').find_map(|label| {
        let (found, value) = label.split_once('=')?;
        (found == name).then(|| value.trim_end_matches('}').trim_matches('"'))
    })
}

#[test]
fn sums_series() {
    let page = "# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4.5\nab 7\n";
    let metrics = Metrics::parse(page);
    assert_eq!(metrics.sum("a", &[]), 7.5);
    assert_eq!(metrics.sum("a", &["x=\"1\""]), 3.0);
    assert!(metrics.has("ab") && !metrics.has("b"));
    assert_eq!(label("a{x=\"1\",y=\"2\"}", "y"), Some("2"));
    assert_eq!(label("ab", "y"), None);
}
