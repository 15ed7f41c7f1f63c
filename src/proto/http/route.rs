//! What stands where on the media port.

pub use crate::config::NAME_BYTES_MAX;

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
        let flv = || {
            let (app, file) = path.strip_prefix('/')?.rsplit_once('/')?;
            let stream = file.strip_suffix(".flv")?;
            let names = [app, stream];
            if names.iter().any(|name| name.len() > NAME_BYTES_MAX) || stream.is_empty() {
                return None;
            }
            app.split('/').all(|segment| !segment.is_empty()).then_some(Route::Flv { app, stream, query })
        };
        flv().unwrap_or(Route::Page)
    }
}
