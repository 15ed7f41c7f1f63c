//! Request targets: path and query, decoded once and checked (RFC 9112 section 3.2, RFC 3986).

use super::HttpError;
use crate::config::name::QUERY_BYTES_MAX;
use std::borrow::Cow;

/// Path and query of a request.
pub(super) struct Target {
    /// Decoded.
    pub path: String,
    /// As sent.
    pub query: String,
}

impl Target {
    /// Reads origin form (`/path?query`), absolute form (`http://host/path?query`, which servers must accept) and, if
    /// `asterisk`, the form `*` of OPTIONS.
    pub fn parse(target: &str, asterisk: bool) -> Result<Target, HttpError> {
        if target == "*" && asterisk {
            return Ok(Target { path: "*".to_owned(), query: String::new() });
        }
        if target.contains('#') {
            return Err(HttpError::Target("a fragment"));
        }
        let origin = if target.starts_with('/') { target } else { origin_of_absolute(target)? };
        let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
        if query.len() > QUERY_BYTES_MAX {
            return Err(HttpError::TargetTooLong);
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Target { path: decode_path(path)?, query: query.to_owned() })
    }
}

/// The part of an absolute URL behind its authority, which must be there.
fn origin_of_absolute(target: &str) -> Result<&str, HttpError> {
    let bad = HttpError::Target("neither a path nor a URL");
    let (scheme, rest) = target.split_once("://").ok_or(bad)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(bad);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(end);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:[]".contains(&b);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err(HttpError::Target("authority of the URL"));
    }
    Ok(origin)
}

/// Decodes a path. What would change its structure after decoding is refused, so that no later reader can see another
/// path than this one does.
fn decode_path(raw: &str) -> Result<String, HttpError> {
    let lower = raw.to_ascii_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") || raw.contains('\\') {
        return Err(HttpError::Target("an encoded slash or a backslash in the path"));
    }
    let path = percent_decode(raw).ok_or(HttpError::Target("percent encoding of the path"))?;
    if path.chars().any(char::is_control) {
        return Err(HttpError::Target("a control character in the path"));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(HttpError::Target("a dot segment in the path"));
    }
    Ok(path.into_owned())
}

/// First value of `name` in `query`; see [`RequestHead::query_param`](super::RequestHead::query_param).
pub(super) fn query_param<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let named = |key: &str| percent_decode(key).is_some_and(|key| key == name);
    let (_, value) = pairs.into_iter().find(|(key, _)| named(key))?;
    percent_decode(value).filter(|text| !text.chars().any(char::is_control))
}

/// Replaces `%XX`; `None` if a percent sign lacks its digits or the result is not UTF-8.
fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            decoded.push((high << 4 | low) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}
