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
    /// `/udp/GROUP:PORT`, `/rtp/GROUP:PORT`: a group by its address.
    Group {
        /// The first segment.
        scheme: &'a str,
        /// What follows it.
        place: &'a str,
        /// Query as sent.
        query: &'a str,
    },
    /// Everything else: pages and, if there is none, 404.
    Page,
}

impl<'a> Route<'a> {
    /// The route of a decoded `path` (see [`RequestHead::path`](super::RequestHead)) and its `query`.
    pub(super) fn of(path: &'a str, query: &'a str) -> Route<'a> {
        if let Some((scheme, place)) = group(path) {
            return Route::Group { scheme, place, query };
        }
        let live = |(medium, app, stream)| Route::Live { medium, app, stream, query };
        live_stream(path).and_then(Result::ok).map_or(Route::Page, live)
    }
}

/// Holds the names in a path that asks for a live stream to the rule that also holds for publishers.
pub(super) fn check(path: &str) -> Result<(), NameError> {
    let Some(asked) = live_stream(path).filter(|_| group(path).is_none()) else { return Ok(()) };
    asked.and_then(|(_, app, stream)| check_app(app).and(check_stream(stream)))
}

/// Scheme and place of a path that asks for a group by its address: of an application that is called so, streams have no
/// colon in their names.
fn group(path: &str) -> Option<(&str, &str)> {
    let (scheme, place) = path.strip_prefix('/')?.split_once('/')?;
    is_group(scheme, place).then_some((scheme, place))
}

/// Whether `app` and `stream` are what [`Route::Group`] names.
pub fn is_group(app: &str, stream: &str) -> bool {
    ["udp", "rtp"].contains(&app) && stream.contains(':') && !stream.contains('/')
}

/// Medium, app and stream of a path that asks for a live stream, or what it lacks; `None` if it asks for no medium.
fn live_stream(path: &str) -> Option<Result<(Medium, &str, &str), NameError>> {
    let path = path.strip_prefix('/')?;
    let (app, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (medium, stream) =
        Medium::ALL.into_iter().find_map(|medium| Some((medium, file.strip_suffix(medium.suffix())?)))?;
    Some(match (app, stream) {
        ("", _) => Err(NameError::NoApp),
        (_, "") => Err(NameError::NoStream),
        _ => Ok((medium, app, stream)),
    })
}
