//! What is printed when the process is ready: where to publish, where to watch, what to be careful with.

use super::{ChannelAbout, InputSlot};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Channels that are listed; more are counted.
const CHANNELS_LISTED: usize = 12;

/// Inputs that are listed; more are counted.
const INPUTS_LISTED: usize = 12;

/// What the banner says. `to_string` renders it, many lines, with a final newline.
#[derive(Clone, Debug)]
pub struct Banner<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// The engine in use: `io_uring` or `epoll`; with the reason when it is not the one hoped for.
    pub engine: &'a str,
    /// CPU numbers in use.
    pub cores: &'a [usize],
    /// Bound RTMP address.
    pub rtmp: SocketAddr,
    /// Bound HTTP address.
    pub http: SocketAddr,
    /// Bound admin address.
    pub admin: SocketAddr,
    /// Whether publishing to the app `live` needs a key.
    pub publish_key: bool,
    /// Whether playing from the app `live` needs a token.
    pub play_token: bool,
    /// Channels that are sent.
    pub channels: &'a [Arc<ChannelAbout>],
    /// Streams that come as datagrams.
    pub inputs: &'a [InputSlot],
    /// What to be careful with, one sentence each.
    pub warnings: &'a [String],
}

/// An FFmpeg command that publishes a test picture and tone to `url`; to be pasted.
pub fn ffmpeg_line(url: &str) -> String {
    format!(
        "ffmpeg -re -f lavfi -i testsrc2=s=1280x720:r=30 -f lavfi -i sine=r=48000 -c:v libx264 -preset veryfast \
         -g 60 -pix_fmt yuv420p -c:a aac -f flv \"{url}\""
    )
}

/// `scheme://host[:port]` as a user on this machine types it: a wildcard address becomes `localhost`, the scheme's
/// own port is left out.
pub fn base_url(scheme: &str, address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    match (scheme, address.port()) {
        ("rtmp", 1935) | ("http", 80) => format!("{scheme}://{host}"),
        (_, port) => format!("{scheme}://{host}:{port}"),
    }
}

/// Ends a list of which `listed` entries stand there, if there is one.
fn rest(f: &mut std::fmt::Formatter<'_>, all: usize, listed: usize) -> std::fmt::Result {
    match all {
        0 => Ok(()),
        all if all > listed => writeln!(f, "           and {} more\n", all - listed),
        _ => writeln!(f),
    }
}

impl std::fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cores = self.cores.iter().fold(String::new(), |mut list, core| {
            let comma = if list.is_empty() { "" } else { "," };
            let _ = write!(list, "{comma}{core}");
            list
        });
        let (rtmp, http) = (base_url("rtmp", self.rtmp), base_url("http", self.http));
        let key = if self.publish_key { "?token=KEY" } else { "" };
        let token = if self.play_token { "?token=TOKEN" } else { "" };
        let s = if self.cores.len() == 1 { "" } else { "s" };
        writeln!(f, "headgate {} is ready ({}, core{s} {cores})\n", self.version, self.engine)?;
        writeln!(f, "  publish  {rtmp}/live/STREAM{key}    OBS: server {rtmp}/live, stream key STREAM{key}")?;
        writeln!(f, "  play     {rtmp}/live/STREAM{token}")?;
        writeln!(f, "           {http}/live/STREAM.flv{token}    or STREAM.ts{token}")?;
        writeln!(f, "  page     {http}/")?;
        let admin = base_url("http", self.admin);
        writeln!(f, "  admin    {admin}/metrics  /livez  /readyz  /api/v1/streams\n")?;
        for channel in self.channels.iter().take(CHANNELS_LISTED) {
            let (ChannelAbout { name, to, bitrate_bps, passes, .. }, source) =
                (&**channel, channel.sources());
            let how = match passes {
                true => "as it comes".to_owned(),
                false => format!("at {} Mbit/s", *bitrate_bps as f64 / 1e6),
            };
            writeln!(f, "  channel  {name}: {source} {how} to {}", to.join(" "))?;
        }
        rest(f, self.channels.len(), CHANNELS_LISTED)?;
        for input in self.inputs.iter().take(INPUTS_LISTED) {
            writeln!(f, "  input    {} from {}", input.about.stream, input.about.from.join(" "))?;
        }
        rest(f, self.inputs.len(), INPUTS_LISTED)?;
        writeln!(f, "  {}", ffmpeg_line(&format!("{rtmp}/live/test{key}")))?;
        for (at, warning) in self.warnings.iter().enumerate() {
            let gap = if at == 0 { "\n" } else { "" };
            writeln!(f, "{gap}  warning: {warning}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_they_are_typed() {
        for (scheme, address, expected) in [
            ("rtmp", "0.0.0.0:1935", "rtmp://localhost"),
            ("rtmp", "10.0.0.1:1936", "rtmp://10.0.0.1:1936"),
            ("http", "[::]:8080", "http://localhost:8080"),
            ("http", "[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(base_url(scheme, address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn says_where_and_what_to_mind() {
        let warnings = ["anyone may publish".to_owned()];
        let at = |text: &str| text.parse().unwrap();
        let to = vec!["udp://eth1@239.255.1.1:5000".to_owned()];
        let name = "one".to_owned();
        let service = crate::observe::ServiceAbout { source: "live/one".to_owned(), ..Default::default() };
        let services = vec![service];
        let channels = [Arc::new(ChannelAbout { name, services, to, bitrate_bps: 3_500_000, passes: false })];
        let from = vec!["udp://eth1@239.2.2.2:5000".to_owned(), "udp://eth2@239.2.2.3:5000".to_owned()];
        let about = crate::observe::InputAbout { stream: "live/in".to_owned(), from, merged: false };
        let inputs = [InputSlot::new(about, &[], &[], &[])];
        let banner = Banner {
            version: "1.2.3",
            engine: "io_uring",
            cores: &[0, 1],
            rtmp: at("0.0.0.0:1935"),
            http: at("0.0.0.0:8080"),
            admin: at("127.0.0.1:1985"),
            publish_key: true,
            play_token: false,
            channels: &channels,
            inputs: &inputs,
            warnings: &warnings,
        };
        let text = banner.to_string();
        for part in [
            "headgate 1.2.3 is ready (io_uring, cores 0,1)",
            "rtmp://localhost/live/STREAM?token=KEY",
            "http://localhost:8080/live/STREAM.flv    or STREAM.ts\n",
            "http://localhost:8080/\n",
            "http://127.0.0.1:1985/metrics",
            "channel  one: live/one at 3.5 Mbit/s to udp://eth1@239.255.1.1:5000\n",
            "input    live/in from udp://eth1@239.2.2.2:5000 udp://eth2@239.2.2.3:5000\n",
            "warning: anyone may publish",
            "\"rtmp://localhost/live/test?token=KEY\"",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
