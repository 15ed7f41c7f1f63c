//! RTMP publishers: may they, under which name, and what the session hears of the answer.

use crate::edge::auth::Gate;
use crate::fanout::directory::{Refused, StreamName};
use crate::media::Mono;
use crate::proto::rtmp::{PublishRefusal, PublishRequest, ServerSession};
use crate::shard::{Io, Request};

/// A publish request: asks the core for the name, or refuses at once. Returns the name that was asked for.
pub fn publish(
    request: &PublishRequest,
    gate: &Gate,
    session: &mut ServerSession,
    now: Mono,
    io: &mut Io,
) -> Option<StreamName> {
    if !gate.may_publish(&request.app, &request.query) {
        session.reject_publish(now, PublishRefusal::Unauthorized);
        return None;
    }
    let name = StreamName::new(&request.app, &request.stream);
    io.ask(Request::Publish(name.clone()));
    Some(name)
}

/// The core could not give the name.
pub fn refused(why: Refused, session: &mut ServerSession, now: Mono) {
    let refusal = match why {
        Refused::NameTaken => PublishRefusal::BadName,
        Refused::TooManyStreams => PublishRefusal::Unavailable,
    };
    session.reject_publish(now, refusal);
}
