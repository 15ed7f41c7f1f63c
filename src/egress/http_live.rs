//! Viewers over HTTP: one request, one close-delimited response with the bytes of a log. What the media have of their
//! own stands in `http_flv` and `http_ts`.

use super::wanted;
use crate::edge::admission::Visit;
use crate::edge::auth::Gate;
use crate::fanout::directory::{Directory, StreamName};
use crate::fanout::log::{Format, LogKey};
use crate::observe::{DisconnectReason, Protocol};
use crate::proto::http::{self, Medium, Method, RequestHead};
use crate::shard::{Io, PlayRefused, Request};

/// What a request is held against.
#[derive(Debug)]
pub struct Terms<'a> {
    /// Who may.
    pub gate: &'a Gate,
    /// What there is.
    pub directory: &'a Directory,
    /// When a viewer for whom there is no room or no stream may ask again, in seconds.
    pub retry_after_s: u32,
}

/// The log that a medium is made of.
const fn format(medium: Medium) -> Format {
    match medium {
        Medium::Flv => Format::Flv,
        Medium::Ts => Format::Ts,
    }
}

/// How a medium is counted.
pub const fn protocol(medium: Medium) -> Protocol {
    match medium {
        Medium::Flv => Protocol::HttpFlv,
        Medium::Ts => Protocol::HttpTs,
    }
}

/// Answers a request for `/APP/STREAM` as `medium`.
///
/// # Errors
/// A viewer is refused at once; the connection ends with this reason.
pub fn request(
    head: &RequestHead,
    (medium, app, stream): (Medium, &str, &str),
    terms: &Terms<'_>,
    visit: &mut Visit,
    io: &mut Io,
) -> Result<(), DisconnectReason> {
    if let Some((key, first)) = admit(head, (medium, app, stream), terms, visit, io)? {
        io.ask(Request::Play { name: StreamName::new(app, stream), key, first });
    }
    Ok(())
}

/// Admits who wants to watch `/APP/STREAM` as `medium`, and tells which log it reads and from where; whatever else was asked for
/// is answered, with nothing to read.
///
/// # Errors
/// See [`request`].
pub fn admit(
    head: &RequestHead,
    (medium, app, stream): (Medium, &str, &str),
    terms: &Terms<'_>,
    visit: &mut Visit,
    io: &mut Io,
) -> Result<Option<(LogKey, Option<LogKey>)>, DisconnectReason> {
    let (gate, name) = (terms.gate, StreamName::new(app, stream));
    if head.method == Method::Options {
        io.out.extend(http::options_head());
        io.ask(Request::Close(DisconnectReason::ClientClosed));
        return Ok(None);
    }
    if !gate.may_play(app, &head.query) {
        let reason = DisconnectReason::Unauthorized;
        refuse(head, 403, None, "a play token is needed: ?token=...", reason, io);
        return Err(reason);
    }
    let wanted = match wanted(format(medium), app, &head.query, gate) {
        Ok(wanted) => wanted,
        Err(told) => {
            let reason = DisconnectReason::ProtocolError;
            refuse(head, 400, None, &told, reason, io);
            return Err(reason);
        }
    };
    match head.method {
        Method::Get => {
            if let Err(reason) = visit.play() {
                let (status, hint) = match reason {
                    DisconnectReason::AddressViewers => (429, "too many viewers at your address"),
                    _ => (503, "no room for more viewers, try again later"),
                };
                refuse(head, status, Some(terms.retry_after_s), hint, reason, io);
                return Err(reason);
            }
            return Ok(Some(wanted));
        }
        Method::Head if terms.directory.find(&name).is_some() => {
            io.out.extend(http::live_head(medium));
            io.ask(Request::Close(DisconnectReason::ClientClosed));
        }
        Method::Head => {
            refuse(head, 404, Some(terms.retry_after_s), "no such stream", DisconnectReason::NotFound, io);
        }
        _ => refuse(head, 405, None, "watch with GET", DisconnectReason::ProtocolError, io),
    }
    Ok(None)
}

/// Answers `head` with an error that ends the connection for `reason`.
pub fn refuse(
    head: &RequestHead,
    status: u16,
    retry_after_s: Option<u32>,
    hint: &str,
    reason: DisconnectReason,
    io: &mut Io,
) {
    let answer = http::error_head(status, retry_after_s, hint);
    io.out.extend(if head.method == Method::Head { http::without_body(&answer) } else { &answer });
    io.ask(Request::Close(reason));
}

/// There is nothing to send; it may ask again in `retry_after_s` seconds.
pub fn refused(why: PlayRefused, retry_after_s: u32, io: &mut Io) {
    let again = Some(retry_after_s);
    io.out.extend(match why {
        PlayRefused::NotFound => http::error_head(404, again, "no such stream, or not live yet"),
        PlayRefused::TooManyVariants => {
            http::error_head(503, again, "too many variants of this stream are in use")
        }
        PlayRefused::TooManyWait => {
            http::error_head(503, again, "too many players wait for streams that are not live")
        }
        PlayRefused::CoreFull => http::error_head(503, again, "no room for more viewers, try again later"),
        PlayRefused::Codecs(why) => http::error_head(415, None, why),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_carried_is_told_with_its_reason() {
        let mut io = Io::default();
        refused(PlayRefused::Codecs("no place for VP9"), 77, &mut io);
        let answer = String::from_utf8_lossy(&io.out);
        assert!(answer.starts_with("HTTP/1.1 415 Unsupported Media Type\r\n"), "{answer}");
        assert!(answer.ends_with("no place for VP9\n") && !answer.contains("Retry-After"), "{answer}");
    }

    #[test]
    fn who_may_ask_again_is_told_when() {
        for why in [PlayRefused::NotFound, PlayRefused::TooManyVariants, PlayRefused::TooManyWait] {
            let mut io = Io::default();
            refused(why, 77, &mut io);
            let head = String::from_utf8_lossy(&io.out).to_lowercase();
            assert!(head.contains("retry-after: 77\r\n"), "{head}");
        }
    }
}
