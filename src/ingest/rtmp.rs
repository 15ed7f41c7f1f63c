//! RTMP publishers: may they, under which name, and what the session hears of the answer.

use crate::edge::admission::Visit;
use crate::edge::auth::Gate;
use crate::fanout::directory::{Directory, Refused, StreamName};
use crate::media::Mono;
use crate::observe::DisconnectReason;
use crate::proto::rtmp::{PublishRefusal, PublishRequest, ServerSession};
use crate::shard::{Io, Request};

/// A publish request: asks the core for the name, and returns it.
///
/// # Errors
/// It is refused at once; the connection ends with this reason.
pub fn publish(
    request: &PublishRequest,
    gate: &Gate,
    directory: &Directory,
    visit: &mut Visit,
    session: &mut ServerSession,
    now: Mono,
    io: &mut Io,
) -> Result<StreamName, DisconnectReason> {
    if !gate.may_publish(&request.app, &request.query) {
        session.reject_publish(now, PublishRefusal::Unauthorized);
        return Err(DisconnectReason::Unauthorized);
    }
    let name = StreamName::new(&request.app, &request.stream);
    if let Err(reason) = visit.publish(directory.find(&name).is_some()) {
        let why = "Your address publishes as many streams as one may.";
        session.reject_publish(now, PublishRefusal::Unavailable(why));
        return Err(reason);
    }
    io.ask(Request::Publish { name: name.clone(), runs: None });
    Ok(name)
}

/// The core could not give the name.
pub fn refused(why: Refused, session: &mut ServerSession, now: Mono) {
    let refusal = match why {
        Refused::NameTaken => PublishRefusal::NameTaken,
        Refused::TooManyStreams => PublishRefusal::Unavailable("The server has as many streams as it may."),
    };
    session.reject_publish(now, refusal);
}
