//! What stands where on the media port.

use crate::config::name::{NameError, check_app, check_stream};

/// The resource that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/APP/STREAM.flv`: live HTTP-FLV.
    Flv {
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
        medium(path).map_or(Route::Page, |(app, stream)| Route::Flv { app, stream, query })
    }
}

/// Holds the names in a path that asks for a medium to the rule that also holds for publishers.
pub(super) fn check(path: &str) -> Result<(), NameError> {
    medium(path).map_or(Ok(()), |(app, stream)| check_app(app).and(check_stream(stream)))
}

/// App and stream of a path that asks for a medium.
fn medium(path: &str) -> Option<(&str, &str)> {
    let (app, file) = path.strip_prefix('/')?.rsplit_once('/')?;
    let stream = file.strip_suffix(".flv")?;
    let whole = !stream.is_empty() && app.split('/').all(|level| !level.is_empty());
    whole.then_some((app, stream))
}
