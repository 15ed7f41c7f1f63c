//! What stands where on the media port.

use crate::config::name::{NameError, check_app, check_stream};

/// What a live stream comes as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Medium {
    /// `.flv`: FLV tags.
    Flv,
    /// `.ts`: a transport stream (MPEG-TS).
    Ts,
}

impl Medium {
    /// All of them.
    pub const ALL: [Medium; 2] = [Medium::Flv, Medium::Ts];

    /// How a path ends that asks for it.
    pub const fn suffix(self) -> &'static str {
        match self {
            Medium::Flv => ".flv",
            Medium::Ts => ".ts",
        }
    }
}

/// The resource that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/APP/STREAM.flv`, `/APP/STREAM.ts`: a live stream.
    Live {
        /// What it is to come as.
        medium: Medium,
        /// One or more path segments, such as `live` or `customer/live`.
        app: &'a str,
        /// The last segment without its extension.
        stream: &'a str,
        /// Query as sent.
        query: &'a str,
    },
    /// Everything else: pages and, if there is none, 404.
    Page,
}

impl<'a> Route<'a> {
    /// The route of a decoded `path` (see [`RequestHead::path`](super::RequestHead)) and its `query`.
    pub(super) fn of(path: &'a str, query: &'a str) -> Route<'a> {
        let live = |(medium, app, stream)| Route::Live { medium, app, stream, query };
        live_stream(path).map_or(Route::Page, live)
    }
}

/// Holds the names in a path that asks for a live stream to the rule that also holds for publishers.
pub(super) fn check(path: &str) -> Result<(), NameError> {
    live_stream(path).map_or(Ok(()), |(_, app, stream)| check_app(app).and(check_stream(stream)))
}

/// Medium, app and stream of a path that asks for a live stream.
fn live_stream(path: &str) -> Option<(Medium, &str, &str)> {
    let (app, file) = path.strip_prefix('/')?.rsplit_once('/')?;
    let (medium, stream) =
        Medium::ALL.into_iter().find_map(|medium| Some((medium, file.strip_suffix(medium.suffix())?)))?;
    let whole = !stream.is_empty() && app.split('/').all(|level| !level.is_empty());
    whole.then_some((medium, app, stream))
}
