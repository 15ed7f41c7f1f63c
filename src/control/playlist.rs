//! Lists of channels for players and set-top boxes, on the media port: `/playlist.m3u` and `/playlist.xspf`.
//!
//! `?proto=ts` (default), `flv` and `rtmp` list the live streams by their URLs here, `udp` the multicast channels by their
//! groups. With `?token=…` the URLs of apps that want just that token carry it. The same streams give the same bytes.
//!
//! Names come from publishers. In M3U nothing can be escaped, so what would end a value or an entry is replaced; in XSPF
//! everything is escaped. What a list says about the place it came from is the request's own Host, if that is one.

use super::page::{encoded, escaped, plain};
use super::{Options, StreamSource, StreamState};
use crate::config::{Channel, Destination, Transport};
use crate::edge::auth::{Gate, parameter};
use crate::proto::http::Medium;
use axum::Router;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Entries of a list; set-top boxes give up far below that.
const ENTRIES_MAX: usize = 4096;
/// How long the list of streams is used again, so that many readers cost what one costs.
const REPEAT: Duration = Duration::from_millis(1000);
/// Longest token that is repeated, in bytes.
const TOKEN_BYTES_MAX: usize = 128;
/// Longest Host that is repeated, in bytes (RFC 1035 section 2.3.4, brackets and a port).
const HOST_BYTES_MAX: usize = 261;

/// What the URLs of a list are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proto {
    Http(Medium),
    Rtmp,
    Udp,
}

impl Proto {
    /// What a query asks for; `None`: nothing that there is.
    fn of(query: &str) -> Option<Proto> {
        match parameter(query, "proto").as_deref() {
            None | Some(b"ts") => Some(Proto::Http(Medium::Ts)),
            Some(b"flv") => Some(Proto::Http(Medium::Flv)),
            Some(b"rtmp") => Some(Proto::Rtmp),
            Some(b"udp") => Some(Proto::Udp),
            Some(_) => None,
        }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    /// What identifies it in programme guides.
    id: String,
    name: String,
    group: String,
    url: String,
}

/// A live stream.
#[derive(Clone, Debug)]
struct Live {
    app: String,
    name: String,
    mpegts: bool,
}

/// What the routes show.
struct Shown {
    gate: Gate,
    streams: Arc<dyn StreamSource>,
    rtmp_port: u16,
    channels: Vec<Channel>,
    /// The first channel of each source: its place in the list.
    by_source: HashMap<String, usize>,
    newest: Mutex<Option<(Instant, Arc<[Live]>)>>,
}

/// The two routes.
pub(super) fn routes(options: &Options) -> Router {
    let channels = options.config.channels.clone();
    let mut by_source = HashMap::new();
    for (index, channel) in channels.iter().enumerate() {
        by_source.entry(channel.source.clone()).or_insert(index);
    }
    let shown = Arc::new(Shown {
        gate: options.gate.clone(),
        streams: options.streams.clone(),
        rtmp_port: options.rtmp_port,
        channels,
        by_source,
        newest: Mutex::new(None),
    });
    let route = |mime: &'static str, write: fn(&[Item]) -> String| {
        let shown = shown.clone();
        get(async move |RawQuery(query): RawQuery, headers: HeaderMap| {
            shown.answer(&query.unwrap_or_default(), &headers, mime, write)
        })
    };
    Router::new()
        .route("/playlist.m3u", route("audio/x-mpegurl; charset=utf-8", m3u))
        .route("/playlist.xspf", route("application/xspf+xml; charset=utf-8", xspf))
}

impl Shown {
    fn answer(
        &self,
        query: &str,
        headers: &HeaderMap,
        mime: &'static str,
        write: fn(&[Item]) -> String,
    ) -> Response {
        let Some(proto) = Proto::of(query) else {
            return (StatusCode::BAD_REQUEST, "proto is ts, flv, rtmp or udp\n").into_response();
        };
        let items = match proto {
            Proto::Udp => self.channels.iter().filter_map(multicast).collect(),
            Proto::Http(_) | Proto::Rtmp => {
                let told = headers.get(header::HOST).and_then(|host| host.to_str().ok());
                match told.filter(|host| is_host(host)) {
                    Some(host) => self.streams(proto, host, query),
                    None => {
                        return (StatusCode::BAD_REQUEST, "the Host of the request is none\n")
                            .into_response();
                    }
                }
            }
        };
        let headers = [
            (header::CONTENT_TYPE, mime),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // It may hold a token.
            (header::CACHE_CONTROL, "no-store"),
        ];
        (headers, write(&items)).into_response()
    }

    /// The live streams that `proto` can carry, by name.
    fn streams(&self, proto: Proto, host: &str, query: &str) -> Vec<Item> {
        let config = self.gate.config();
        let (live, tokens) = (self.live(), tokens(query));
        live.iter()
            .filter_map(|stream| {
                let Live { app, name, mpegts } = stream;
                let path = format!("/{app}/{name}");
                let channel = path.get(1..).and_then(|source| self.by_source.get(source));
                let channel = channel.and_then(|index| self.channels.get(*index));
                let base = match proto {
                    Proto::Http(Medium::Ts) if !mpegts => return None,
                    Proto::Http(medium) => format!("http://{host}{}{}", encoded(&path), medium.suffix()),
                    Proto::Rtmp if plain(&path) => {
                        format!("rtmp://{}:{}{path}", without_port(host), self.rtmp_port)
                    }
                    Proto::Rtmp | Proto::Udp => return None,
                };
                let opens = |token: &&String| self.gate.may_play(app, &format!("token={token}"));
                let token = config.app(app).play_token.as_ref().and_then(|_| tokens.iter().find(opens));
                Some(Item {
                    id: format!("{app}/{name}"),
                    name: channel.map_or(name, |channel| &channel.service_name).clone(),
                    group: channel.map_or(app, |channel| &channel.provider).clone(),
                    url: match token {
                        Some(token) => format!("{base}?token={token}"),
                        None => base,
                    },
                })
            })
            .take(ENTRIES_MAX)
            .collect()
    }

    /// The streams that are published, in order.
    fn live(&self) -> Arc<[Live]> {
        let mut newest = self.newest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, live)) = newest.as_ref().filter(|(at, _)| at.elapsed() < REPEAT) {
            return live.clone();
        }
        let mut live: Vec<Live> = self
            .streams
            .streams()
            .into_iter()
            .filter(|stream| stream.state == StreamState::Live)
            .map(|stream| Live { app: stream.app, name: stream.name, mpegts: stream.mpegts })
            .collect();
        live.sort_unstable_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
        let live: Arc<[Live]> = live.into();
        *newest = Some((Instant::now(), live.clone()));
        live
    }
}

/// The entry of a channel: its first group that a player can join. A source-specific one whose sender is left to the kernel
/// is none: who does not know the sender cannot.
fn multicast(channel: &Channel) -> Option<Item> {
    let joins = |to: &&Destination| {
        to.address.ip().is_multicast() && (!to.is_source_specific() || to.source.is_some())
    };
    let to = channel.to.iter().find(joins)?;
    Some(Item {
        id: channel.name.clone(),
        name: channel.service_name.clone(),
        group: channel.provider.clone(),
        url: group_url(to),
    })
}

/// `udp://@GROUP:PORT` as players take it; with the sender in front of the `@` where the channel says which it is.
fn group_url(to: &Destination) -> String {
    let scheme = match to.transport {
        Transport::Udp => "udp",
        Transport::Rtp => "rtp",
    };
    let source = match to.source {
        Some(IpAddr::V6(source)) => format!("[{source}]"),
        Some(IpAddr::V4(source)) => source.to_string(),
        None => String::new(),
    };
    format!("{scheme}://{source}@{}", to.address)
}

/// The tokens of a query that are made of what tokens are made of and need no escape in any list.
fn tokens(query: &str) -> Vec<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let fits = |token: &String| (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(plain);
    let given = ["token", "key"].into_iter().filter_map(|name| parameter(query, name));
    given.filter_map(|token| String::from_utf8(token).ok()).filter(fits).collect()
}

/// Whether a Host field is a name or an address with or without a port: it is written into every line.
fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(plain)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// An extended M3U list as set-top boxes read it.
fn m3u(items: &[Item]) -> String {
    items.iter().fold("#EXTM3U\n".to_owned(), |mut out, item| {
        let Item { id, name, group, url } = item;
        // Writing to a string never fails.
        let _always = writeln!(
            out,
            "#EXTINF:-1 tvg-id=\"{}\" tvg-name=\"{}\" group-title=\"{}\",{}\n{url}",
            in_quotes(id),
            in_quotes(name),
            in_quotes(group),
            in_quotes(name),
        );
        out
    })
}

/// `text` as a part of a line of M3U: no line ends, no quotes, and no commas, at which some readers end a value and others a
/// name.
fn in_quotes(text: &str) -> String {
    let replaced = |c| match c {
        '"' => '\'',
        ',' => ';',
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
        c => c,
    };
    text.chars().map(replaced).collect()
}

/// An XSPF list (version 1), numbered as VLC wants it.
fn xspf(items: &[Item]) -> String {
    const VLC: &str = "http://www.videolan.org/vlc/playlist";
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <playlist version=\"1\" xmlns=\"http://xspf.org/ns/0/\" xmlns:vlc=\"{VLC}/ns/0/\">\n<trackList>\n"
    );
    for (number, item) in items.iter().enumerate() {
        let [name, group, url] = [&item.name, &item.group, &item.url].map(|text| in_xml(text));
        // Writing to a string never fails.
        let _always = writeln!(
            out,
            "<track><location>{url}</location><title>{name}</title><album>{group}</album>\
             <extension application=\"{VLC}/0\"><vlc:id>{number}</vlc:id></extension></track>"
        );
    }
    out + "</trackList>\n</playlist>\n"
}

/// `text` as XML text, which cannot hold control characters at all.
fn in_xml(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c };
    escaped(&text.chars().map(harmless).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> Item {
        Item {
            id: name.to_owned(),
            name: name.to_owned(),
            group: name.to_owned(),
            url: "udp://@239.1.1.1:5000".to_owned(),
        }
    }

    #[test]
    fn no_name_makes_an_entry_or_leaves_its_value() {
        for name in [
            "a\r\n#EXTINF:-1,evil\nhttp://evil/",
            "a\" tvg-logo=\"http://evil/",
            "a,b,http://evil/",
            "a\u{2028}b\u{85}c\u{0}",
            "</title><location>http://evil/</location>",
            "]]>&amp;<!--",
        ] {
            let list = m3u(&[item(name), item("next")]);
            assert_eq!(list.lines().count(), 5, "{list}");
            assert!(
                !list.contains('\r') && list.matches('"').count() == 12 && list.matches(',').count() == 2,
                "{list}"
            );
            let list = xspf(&[item(name), item("next")]);
            assert_eq!(list.lines().count(), 7, "{list}");
            let count = |part: &str| list.matches(part).count();
            assert_eq!(
                (count("<track>"), count("<location>"), count("<title>"), count("<!")),
                (2, 2, 2, 0),
                "{list}"
            );
            assert_eq!(count("<"), count(">"), "{list}");
        }
    }

    #[test]
    fn lists_as_players_read_them() {
        let list = m3u(&[item("one")]);
        assert_eq!(
            list,
            "#EXTM3U\n#EXTINF:-1 tvg-id=\"one\" tvg-name=\"one\" group-title=\"one\",one\nudp://@239.1.1.1:5000\n"
        );
        assert_eq!(m3u(&[]), "#EXTM3U\n");
        let list = xspf(&[item("a&b"), item("two")]);
        assert!(list.contains("<location>udp://@239.1.1.1:5000</location><title>a&amp;b</title>"), "{list}");
        assert!(list.contains("<vlc:id>0</vlc:id>") && list.contains("<vlc:id>1</vlc:id>"), "{list}");
    }

    #[test]
    fn groups_are_written_for_players() {
        for (to, expected) in [
            ("udp://eth1@239.255.1.1:5000#ttl=3", "udp://@239.255.1.1:5000"),
            ("rtp://eth1@10.0.0.7@232.1.1.1:5004#fec=8x8", "rtp://10.0.0.7@232.1.1.1:5004"),
            ("rtp://eth1@[2001:db8::7]@[ff3e::1]:5004", "rtp://[2001:db8::7]@[ff3e::1]:5004"),
        ] {
            let text =
                format!("[[channel]]\nname = \"a\"\nsource = \"a/b\"\nbitrate = 4000000\nto = [{to:?}]\n");
            let config = crate::config::Config::parse(&text, "f").unwrap();
            assert_eq!(group_url(&config.channels[0].to[0]), expected);
        }
    }

    #[test]
    fn hosts() {
        for (host, good, name) in [
            ("media.example", true, "media.example"),
            ("media.example:8080", true, "media.example"),
            ("[2001:db8::1]", true, "[2001:db8::1]"),
            ("[2001:db8::1]:8080", true, "[2001:db8::1]"),
            ("evil\"><", false, "evil\"><"),
            ("a b", false, "a b"),
            ("", false, ""),
        ] {
            assert_eq!((is_host(host), without_port(host)), (good, name), "{host}");
        }
    }
}
