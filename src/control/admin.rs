//! The admin port: health, metrics, the API.

use super::Options;
use super::channels::summaries;
use super::health::Health;
use super::inputs;
use super::page::json;
use crate::shard::engine::clock;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::IpAddr;
use std::sync::Arc;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Routes of the admin port.
pub(super) fn routes(options: &Options, health: Arc<Health>) -> Router {
    let (registry, streams) = (options.registry.clone(), options.streams.clone());
    let (channels, all_inputs, one_input) = (registry.clone(), registry.clone(), registry.clone());
    let (live, ready, started) = (health.clone(), health.clone(), health);
    let names: Names = options.config.listen.admin_hosts.as_slice().into();
    Router::new()
        .route("/livez", get(async move |uri: Uri| live.live(clock(), verbose(&uri))))
        .route("/readyz", get(async move |uri: Uri| ready.ready(verbose(&uri))))
        .route("/startupz", get(async move |uri: Uri| started.started(clock(), verbose(&uri))))
        .route("/metrics", get(async move || ([(header::CONTENT_TYPE, METRICS_TYPE)], registry.render())))
        .route(
            "/api/v1/streams",
            get(async move || {
                let mut streams = streams.streams();
                streams.sort_unstable_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
                json(&serde_json::json!({ "streams": streams }))
            }),
        )
        .route(
            "/api/v1/channels",
            get(async move || json(&serde_json::json!({ "channels": summaries(&channels) }))),
        )
        .route(
            "/api/v1/inputs",
            get(async move || json(&serde_json::json!({ "inputs": inputs::summaries(&all_inputs) }))),
        )
        .route(
            "/api/v1/inputs/{*stream}",
            get(async move |Path(stream): Path<String>| match inputs::of(&one_input, &stream) {
                Some(input) => json(&serde_json::json!(input)),
                None => (StatusCode::NOT_FOUND, "no input publishes that stream; see /api/v1/inputs\n")
                    .into_response(),
            }),
        )
        .layer(from_fn_with_state(names, only_known_names))
}

/// Whether a probe is to list its checks.
fn verbose(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair.split('=').next() == Some("verbose"))
}

/// `listen.admin_hosts`.
type Names = Arc<[String]>;

/// Refuses requests whose Host is a name that nobody has listed: they come from a browser whose page has pointed a name
/// of its own at this address (DNS rebinding). The port asks for no password, so the name is what tells them apart.
async fn only_known_names(State(names): State<Names>, request: Request, next: Next) -> Response {
    match host_is_known(request.headers(), &names) {
        true => next.run(request).await,
        false => (
            StatusCode::MISDIRECTED_REQUEST,
            "use localhost or an address as host, or list it in listen.admin_hosts\n",
        )
            .into_response(),
    }
}

/// Whether Host is absent (not a browser), an address, localhost, or one of `names`.
fn host_is_known(headers: &HeaderMap, names: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let names = ["headgate.internal".to_owned()];
        for (host, local) in [
            ("127.0.0.1:1985", true),
            ("localhost:1985", true),
            ("localhost", true),
            ("[::1]:1985", true),
            ("[::1]", true),
            ("10.0.0.1", true),
            ("evil.example:1985", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("headgate.internal:1985", true),
            ("HeadGate.internal.", true),
            ("evil.headgate.internal", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(host_is_known(&headers, &names), local, "{host}");
        }
        assert!(host_is_known(&HeaderMap::new(), &[]));
    }
}
