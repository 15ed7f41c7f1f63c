//! The name of a stream from what clients put into `app` and the stream name.
//!
//! Clients divide the path of an URL as they like: ffmpeg takes the last component as the name, OBS what the user typed
//! as key, others leave everything in the app. So both are joined and divided again: the last component is the stream,
//! all before it the app. Everything behind `?`, in either, is the query. What may stand in a name is the rule of
//! [`crate::config::name`]; RTMP itself has no escapes, so `%20` in one stays what it is.

pub use crate::config::name::{NAME_BYTES_MAX, NameError, QUERY_BYTES_MAX};
use crate::config::name::{check_app, check_stream};

/// A normalised name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// All components but the last, joined by `/`.
    pub app: String,
    /// The last component.
    pub stream: String,
    /// The query of the app and of the name, joined by `&`.
    pub query: String,
}

impl StreamName {
    /// Normalises `app` of connect and `name` of publish or play.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(app: &str, name: &str) -> Result<StreamName, NameError> {
        let (app_path, app_query) = app.split_once('?').unwrap_or((app, ""));
        let (name_path, name_query) = name.split_once('?').unwrap_or((name, ""));
        let parts = [app_path, name_path].map(|part| part.trim_matches('/'));
        let path = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
        let missing = if parts[0].is_empty() { NameError::NoApp } else { NameError::NoStream };
        let (app, stream) = path.rsplit_once('/').ok_or(missing)?;
        check_app(app)?;
        check_stream(stream)?;
        let queries = [app_query, name_query].map(|query| query.trim_matches('&'));
        let query = queries.iter().filter(|query| !query.is_empty()).copied().collect::<Vec<_>>().join("&");
        if let Some(sign) = query.chars().find(|c| c.is_control()) {
            return Err(NameError::Character(sign));
        }
        if query.len() > QUERY_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        Ok(StreamName { app: app.to_owned(), stream: stream.to_owned(), query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        let rows = [
            ("live", "cam", "live", "cam", ""),
            ("live/", "/cam/", "live", "cam", ""),
            ("live", "cam?token=a", "live", "cam", "token=a"),
            ("live?vhost=v", "cam?token=a/b", "live", "cam", "vhost=v&token=a/b"),
            ("live/room", "cam", "live/room", "cam", ""),
            ("live", "room/cam", "live/room", "cam", ""),
            ("live/cam", "", "live", "cam", ""), // everything typed as server, no key
            ("live/cam?token=a", "?", "live", "cam", "token=a"),
            ("app", "übung", "app", "übung", ""),
        ];
        for (app, name, want_app, want_stream, want_query) in rows {
            let want = StreamName {
                app: want_app.to_owned(),
                stream: want_stream.to_owned(),
                query: want_query.to_owned(),
            };
            assert_eq!(StreamName::parse(app, name), Ok(want), "{app} {name}");
        }
    }

    #[test]
    fn bad_names_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let rows = [
            ("", "", NameError::NoApp),
            ("live", "", NameError::NoStream),
            ("/live/", "/?token=a", NameError::NoStream),
            ("", "cam", NameError::NoApp),
            ("live//room", "cam", NameError::Empty),
            ("live", "a//b", NameError::Empty),
            ("live", "..", NameError::Forbidden),
            ("../live", "cam", NameError::Forbidden),
            ("live", "./cam", NameError::Forbidden),
            ("live", "c\nm", NameError::Character('\n')),
            ("live", "c\\m", NameError::Character('\\')),
            ("live", "c\u{fffd}m", NameError::Character('\u{fffd}')),
            ("live", "%2e%2e", NameError::Forbidden),
            ("live/%2e%2e", "cam", NameError::Forbidden),
            ("live", "cam?a\r\nb", NameError::Character('\r')),
            (&long, "cam", NameError::TooLong),
            ("live", &long, NameError::TooLong),
        ];
        for (app, name, want) in rows {
            assert_eq!(StreamName::parse(app, name), Err(want), "{app} {name}");
        }
        let query = format!("cam?{}", "q".repeat(QUERY_BYTES_MAX + 1));
        assert_eq!(StreamName::parse("live", &query), Err(NameError::TooLong));
    }
}
