//! The admin port: health, metrics, the API.

use super::Options;
use super::page::json;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Routes of the admin port that is bound to `address`.
pub(super) fn routes(options: &Options, address: SocketAddr) -> Router {
    let (ready, registry, streams) =
        (options.ready.clone(), options.registry.clone(), options.streams.clone());
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async move || match ready.load(Ordering::Acquire) {
                true => (StatusCode::OK, "ready\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or draining\n"),
            }),
        )
        .route("/metrics", get(async move || ([(header::CONTENT_TYPE, METRICS_TYPE)], registry.render())))
        .route(
            "/api/v1/streams",
            get(async move || {
                let mut streams = streams.streams();
                streams.sort_unstable_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
                json(&serde_json::json!({ "streams": streams }))
            }),
        );
    match address.ip().is_loopback() {
        true => routes.layer(middleware::from_fn(only_local_names)),
        false => routes,
    }
}

/// Refuses requests whose Host is a foreign name. On a loopback port these come from a browser on this machine whose
/// page has pointed its own name at 127.0.0.1 (DNS rebinding). On other addresses any name may be the right one.
async fn only_local_names(request: Request, next: Next) -> Response {
    match host_is_local(request.headers()) {
        true => next.run(request).await,
        false => (StatusCode::MISDIRECTED_REQUEST, "use localhost or an address as host\n").into_response(),
    }
}

/// Whether Host is absent (not a browser), an address, or localhost.
fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
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
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(host_is_local(&headers), local, "{host}");
        }
        assert!(host_is_local(&HeaderMap::new()));
    }
}
