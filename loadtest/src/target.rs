//! Where to publish and play: `rtmp://host[:port]/app/stream` and `http://host[:port]/path.flv`.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A protocol that subscribers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Plain RTMP.
    Rtmp,
    /// HTTP-FLV.
    HttpFlv,
}

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is spoken there.
    pub protocol: Protocol,
    /// `host[:port]` as typed.
    pub authority: String,
    /// Everything behind the authority's slash; RTMP: `app/stream`.
    pub path: String,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").context("a URL starts with rtmp:// or http://")?;
        let protocol = match scheme {
            "rtmp" => Protocol::Rtmp,
            "http" => Protocol::HttpFlv,
            other => bail!("cannot speak {other}: use rtmp:// or http://"),
        };
        let (authority, path) = rest.split_once('/').context("the URL names no stream")?;
        if protocol == Protocol::Rtmp && !path.contains('/') {
            bail!("an RTMP URL is rtmp://host[:port]/app/stream");
        }
        Ok(Self { protocol, authority: authority.to_owned(), path: path.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.protocol == Protocol::Rtmp { "rtmp" } else { "http" };
        write!(f, "{scheme}://{}/{}", self.authority, self.path)
    }
}

impl Target {
    /// The first address of the authority; default ports are 1935 and 80.
    pub fn resolve(&self) -> Result<SocketAddr> {
        let port = if self.protocol == Protocol::Rtmp { 1935 } else { 80 };
        let found = if self.authority.contains(':') {
            self.authority.to_socket_addrs()
        } else {
            (self.authority.as_str(), port).to_socket_addrs()
        };
        found
            .with_context(|| format!("cannot resolve {}", self.authority))?
            .next()
            .with_context(|| format!("{} has no address", self.authority))
    }

    /// The protocol's name in reports.
    pub fn protocol_name(&self) -> &'static str {
        match self.protocol {
            Protocol::Rtmp => "rtmp",
            Protocol::HttpFlv => "http-flv",
        }
    }

    /// RTMP's application and stream name: everything before and behind the last slash (in front of any query).
    pub fn app_and_name(&self) -> (&str, &str) {
        let query = self.path.find('?').unwrap_or(self.path.len());
        match self.path.get(..query).and_then(|p| p.rfind('/')) {
            Some(slash) => (&self.path[..slash], &self.path[slash + 1..]),
            None => ("", &self.path),
        }
    }

    /// This URL for stream `index` of several: `_index` behind the name, in front of any extension or query.
    pub fn numbered(&self, index: usize) -> Self {
        let query = self.path.find('?').unwrap_or(self.path.len());
        let (path, query) = self.path.split_at(query);
        let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
        let end = path[name_at..].rfind('.').map_or(path.len(), |dot| name_at + dot);
        let path = format!("{}_{index}{}{query}", &path[..end], &path[end..]);
        Self { path, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let rows = [
            ("rtmp://h:1/live/s?token=a/b", "live", "s?token=a/b", "live/s_3?token=a/b"),
            ("rtmp://h/a/b/s", "a/b", "s", "a/b/s_3"),
            ("http://h:8080/live/s.flv", "live", "s.flv", "live/s_3.flv"),
        ];
        for (url, app, name, numbered) in rows {
            let target: Target = url.parse().unwrap();
            assert_eq!(target.app_and_name(), (app, name), "{url}");
            assert_eq!(target.numbered(3).path, numbered, "{url}");
            assert_eq!(target.to_string(), url);
        }
        for bad in ["h/live/s", "ftp://h/x/y", "rtmp://h", "rtmp://h/onlyapp"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
