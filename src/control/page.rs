//! The page of live streams on the media port: one HTML file and the list that it fetches.

use super::{Options, StreamState, StreamSummary};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HTML: &str = include_str!("page.html");
/// Streams on the page; more are only counted. Keeps page and answer small on a node with thousands.
const LISTED_MAX: usize = 200;
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
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    stream: StreamSummary,
    /// Whether playing needs a token.
    token: bool,
}

/// Routes of the media port's pages; nothing of the admin port.
pub(super) fn routes(options: &Options) -> Router {
    let policy = policy();
    let (config, streams, rtmp_port) = (options.config.clone(), options.streams.clone(), options.rtmp_port);
    let newest: Arc<Mutex<Option<(Instant, String)>>> = Arc::default();
    let list = async move || {
        let mut newest = newest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let fresh = newest.as_ref().filter(|(at, _)| at.elapsed() < REPEAT).map(|(_, body)| body.clone());
        let body = fresh.unwrap_or_else(|| {
            // A stream that waits was named by any player: only publishers write on this page.
            let mut live = streams.streams();
            live.retain(|stream| stream.state == StreamState::Live);
            live.sort_unstable_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
            let omitted = live.len().saturating_sub(LISTED_MAX);
            live.truncate(LISTED_MAX);
            let entry =
                |stream: StreamSummary| Entry { token: config.app(&stream.app).play_token.is_some(), stream };
            let list = List {
                version: env!("CARGO_PKG_VERSION"),
                rtmp_port,
                key: config.app("live").publish_key.is_some(),
                streams: live.into_iter().map(entry).collect(),
                omitted,
            };
            let body = serde_json::to_string(&list).unwrap_or_default();
            *newest = Some((Instant::now(), body.clone()));
            body
        });
        json_text(body)
    };
    let page = async move || {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, policy.as_str()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, HTML).into_response()
    };
    let nothing = async || (StatusCode::NOT_FOUND, "nothing here; see /\n");
    Router::new().route("/", get(page)).route("/api/streams", get(list)).fallback(nothing)
}

/// A JSON answer.
pub(super) fn json(value: &serde_json::Value) -> Response {
    json_text(value.to_string())
}

fn json_text(body: String) -> Response {
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
        assert_ne!(hash_of("script"), hash_of("nothing"));
        assert_ne!(hash_of("style"), hash_of("nothing"));
    }
}
