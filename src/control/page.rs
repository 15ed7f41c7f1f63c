//! The page of live streams on the media port: one HTML file and the list that it fetches.
//!
//! For readers without JavaScript the file also carries the bare names; everything else comes from the list.

use super::channels::{self, Listed};
use super::inputs;
use super::{Options, StreamSource, StreamState, StreamSummary};
use crate::edge::auth::Gate;
use crate::observe::Registry;
use crate::proto::http::{self, Medium};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HTML: &str = include_str!("page.html");
/// Where the names stand in [`HTML`].
const NAMES_MARK: &str = "<!--streams-->";
/// Streams, channels and inputs on the page; more are only counted. Keeps page and answer small on a node with thousands.
pub(super) const LISTED_MAX: usize = 200;
/// How long an answer is repeated, so that many open pages cost what one costs.
const REPEAT: Duration = Duration::from_millis(1000);

/// The answer of `/api/streams`.
#[derive(Serialize)]
struct List {
    version: &'static str,
    rtmp_port: u16,
    /// Whether publishing to the app `live` needs a key.
    key: bool,
    streams: Vec<Entry>,
    /// Live streams that are not listed.
    omitted: usize,
    channels: Vec<Listed>,
    /// Channels that are not listed.
    channels_omitted: usize,
    inputs: Vec<inputs::Listed>,
    /// Inputs that are not listed.
    inputs_omitted: usize,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    stream: StreamSummary,
    /// Whether playing needs a token.
    token: bool,
    /// Path of its RTMP URL, if it has one that all clients take alike.
    rtmp_path: Option<String>,
    /// Path of its HTTP-FLV URL.
    flv_path: String,
    /// Path of its HTTP-TS URL, if MPEG-TS carries any of it.
    ts_path: Option<String>,
}

impl Entry {
    fn new(stream: StreamSummary, token: bool) -> Entry {
        let path = format!("/{}/{}", stream.app, stream.name);
        let of = |medium: Medium| encoded(&path) + medium.suffix();
        Entry {
            token,
            flv_path: of(Medium::Flv),
            ts_path: match http::is_group(&stream.app, &stream.name) {
                true => Some(encoded(&path)),
                false => stream.mpegts.then(|| of(Medium::Ts)),
            },
            rtmp_path: plain(&path).then_some(path),
            stream,
        }
    }
}

/// Whether an RTMP URL may hold `path` as it is. RTMP has no escapes: servers take names literally, and so do we. Of the
/// clients some send what stands in the URL (ffmpeg, OBS), some decode it first (librtmp, GStreamer), so for names with
/// signs that URLs escape there is no right RTMP URL. Neither may anything stand there that a shell acts on: names come
/// from publishers, and URLs are made to be pasted.
pub(super) fn plain(path: &str) -> bool {
    path.chars().all(|c| c.is_alphanumeric() || "/-._~@+=".contains(c))
}

/// Percent-encodes all but unreserved characters and slashes (RFC 3986 section 2).
pub(super) fn encoded(path: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into())
            }
            // Writing to a String cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
        out
    })
}

/// What both routes show.
struct Shown {
    gate: Gate,
    streams: Arc<dyn StreamSource>,
    registry: Arc<Registry>,
    rtmp_port: u16,
    policy: String,
    newest: Mutex<Option<Made>>,
}

/// The newest answers and when they were made. All who read one hold the same bytes.
struct Made {
    at: Instant,
    list: Bytes,
    page: Bytes,
}

/// Routes of the media port's page; nothing of the admin port.
pub(super) fn routes(options: &Options) -> Router {
    let shown = Arc::new(Shown {
        gate: options.gate.clone(),
        streams: options.streams.clone(),
        registry: options.registry.clone(),
        rtmp_port: options.rtmp_port,
        policy: policy(),
        newest: Mutex::new(None),
    });
    for (what, all) in
        [("channels", options.registry.channels.len()), ("inputs", options.registry.inputs.len())]
    {
        if all > LISTED_MAX {
            tracing::info!(
                what,
                all,
                listed = LISTED_MAX,
                "the page does not list all; the API of the admin port does"
            );
        }
    }
    let list = {
        let shown = shown.clone();
        async move || json_text(shown.newest(|made| &made.list))
    };
    let page = async move || {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, shown.policy.as_str()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, shown.newest(|made| &made.page)).into_response()
    };
    let nothing = async || (StatusCode::NOT_FOUND, "nothing here; see /\n");
    Router::new().route("/", get(page)).route("/api/streams", get(list)).fallback(nothing)
}

impl Shown {
    /// One of the answers, made anew if they are older than [`REPEAT`].
    fn newest(&self, which: fn(&Made) -> &Bytes) -> Bytes {
        let mut newest = self.newest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match newest.as_ref().filter(|made| made.at.elapsed() < REPEAT) {
            Some(made) => which(made).clone(),
            None => which(newest.insert(self.make())).clone(),
        }
    }

    fn make(&self) -> Made {
        // A stream that waits was named by any player: only publishers write on this page.
        let mut live = self.streams.streams();
        live.retain(|stream| stream.state == StreamState::Live);
        live.sort_unstable_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
        let omitted = live.len().saturating_sub(LISTED_MAX);
        live.truncate(LISTED_MAX);
        let names =
            live.iter().map(|stream| format!("<li>{}/{}</li>", escaped(&stream.app), escaped(&stream.name)));
        let page = HTML.replacen(NAMES_MARK, &names.collect::<String>(), 1);
        let config = self.gate.config();
        let token = |app: &str| config.app(app).play_token.is_some();
        let (channels, channels_omitted) = channels::list(&self.registry);
        let (inputs, inputs_omitted) = inputs::list(&self.registry);
        let list = List {
            version: env!("CARGO_PKG_VERSION"),
            rtmp_port: self.rtmp_port,
            key: config.app("live").publish_key.is_some(),
            streams: live
                .into_iter()
                .map(|stream| {
                    let token = token(&stream.app);
                    Entry::new(stream, token)
                })
                .collect(),
            omitted,
            channels,
            channels_omitted,
            inputs,
            inputs_omitted,
        };
        // Only maps with odd keys and failing writers can be refused, and there are none.
        let list = serde_json::to_string(&list).unwrap_or_default();
        Made { at: Instant::now(), list: list.into(), page: page.into() }
    }
}

/// `text` as HTML text.
pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

/// A JSON answer.
pub(super) fn json(value: &serde_json::Value) -> Response {
    json_text(value.to_string().into())
}

fn json_text(body: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

/// The page's Content-Security-Policy: exactly its own script and style, by hash, and its own list.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    )
}

/// Base64 of the SHA-256 of the page's one element `name`.
fn hash_of(name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner =
        HTML.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(inner, _)| inner);
    base64(&Sha256::digest(inner.as_bytes()))
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            // Six bits are always below the table's 64.
            let value = DIGITS[(bits >> (18 - 6 * digit)) as usize & 63];
            text.push(if digit <= group.len() { char::from(value) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn names_become_paths() {
        for (name, rtmp, flv) in [
            ("cam-1_a.b~", true, "/live/cam-1_a.b~.flv"),
            ("übung", true, "/live/%C3%BCbung.flv"),
            ("me@home+1=2", true, "/live/me%40home%2B1%3D2.flv"),
            ("a b", false, "/live/a%20b.flv"),
            ("50%41", false, "/live/50%2541.flv"),
            ("$(reboot)", false, "/live/%24%28reboot%29.flv"),
            ("a\"b'c`d", false, "/live/a%22b%27c%60d.flv"),
            ("a&b;c|d", false, "/live/a%26b%3Bc%7Cd.flv"),
            ("a#b!", false, "/live/a%23b%21.flv"),
            ("\u{202e}b", false, "/live/%E2%80%AEb.flv"),
        ] {
            let path = format!("/live/{name}");
            assert_eq!((plain(&path), encoded(&path) + ".flv"), (rtmp, flv.to_owned()), "{name}");
        }
    }

    #[test]
    fn the_page_stands_alone() {
        for (part, times) in
            [("<script>", 1), ("<style>", 1), ("<script", 1), ("<style", 1), ("<link", 0), ("<img", 0)]
        {
            assert_eq!(HTML.matches(part).count(), times, "{part}");
        }
        // What the policy forbids would silently not work; what it cannot stop would be an injection.
        for forbidden in
            [" style=", " onclick=", "innerHTML", "insertAdjacentHTML", "document.write", "https://"]
        {
            assert!(!HTML.contains(forbidden), "{forbidden}");
        }
        assert_eq!(HTML.matches(NAMES_MARK).count(), 1);
        assert_ne!(hash_of("script"), hash_of("nothing"));
        assert_ne!(hash_of("style"), hash_of("nothing"));
    }
}
