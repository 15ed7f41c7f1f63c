//! A server's own numbers: its Prometheus page, as a map from series to value.
//!
//! The page is read in front of the first sample of processor time and behind the last, so that answering it is not part
//! of what the window costs.

use crate::http::{BadResponse, Response, request};
use crate::target::Target;
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest page that is read; a page has bounded labels and some 30 KB.
const PAGE_MAX: usize = 4 << 20;

/// Values by series, as they stand on the page: `name{label="value"}`.
pub type Series = BTreeMap<String, f64>;

/// The page at the three moments that matter.
#[derive(Debug, Serialize)]
pub struct Pages {
    /// Right before the measured window.
    pub opens: Series,
    /// Right behind it.
    pub closes: Series,
    /// At the end, when every frame has been sent and nobody has left yet.
    pub end: Series,
}

/// Reads the page at `http://host:port/metrics`.
///
/// # Errors
/// When the server does not answer with a page in time.
pub fn page(url: &Target) -> Result<Series> {
    let mut socket = TcpStream::connect_timeout(&url.resolve()?, TIMEOUT)
        .with_context(|| format!("cannot connect to {url}"))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.write_all(&request(&url.authority, &url.path, "Connection: close\r\n"))?;
    let (mut response, mut body, mut buffer) = (Response::default(), Vec::new(), [0; 16 * 1024]);
    loop {
        let n = socket.read(&mut buffer).with_context(|| format!("{url} does not answer"))?;
        if n == 0 {
            break;
        }
        let taken = response.input(&buffer[..n], |piece| {
            body.extend_from_slice(piece);
            Ok::<_, BadResponse>(())
        });
        taken.map_err(|bad| anyhow!("{url}: {bad:?}"))?;
        if body.len() > PAGE_MAX {
            bail!("{url} has no end");
        }
    }
    let series = parse(&String::from_utf8_lossy(&body));
    if series.is_empty() {
        bail!("{url} is no page of metrics");
    }
    Ok(series)
}

/// Sum of all series of `name` on a page; `None` when there is none.
pub fn sums(page: &Series, name: &str) -> Option<f64> {
    let of = |series: &str| series.split('{').next() == Some(name);
    page.iter().filter(|(series, _)| of(series)).map(|(_, value)| *value).reduce(|sum, value| sum + value)
}

/// Series and values of a page in Prometheus' text format; what is neither is passed over.
fn parse(page: &str) -> Series {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            // Label values may hold blanks; a time stamp behind the value is optional and unused here.
            let (series, value) = line.trim_end().rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_keep_their_labels() {
        let page = "# HELP a b\n# TYPE a counter\na{le=\"0.1\",x=\"y z\"} 3\nb 1.5e3\n\nnothing\n";
        let series = parse(page);
        assert_eq!(series.len(), 2);
        assert_eq!(series["a{le=\"0.1\",x=\"y z\"}"], 3.0);
        assert_eq!(series["b"], 1500.0);
        assert_eq!([sums(&series, "a"), sums(&series, "c")], [Some(3.0), None]);
    }
}
