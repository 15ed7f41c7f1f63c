//! Log lines about those who are turned away: one a second for each reason, because strangers can cause any number.

use super::gateway::Guest;
use crate::fanout::directory::StreamName;
use crate::media::Mono;
use crate::observe::log::{Limiters, shown};
use crate::observe::{DisconnectReason, RefuseReason};
use std::net::SocketAddr;

/// A connection was closed at accept.
pub(super) fn connection(limiters: &Limiters, now: Mono, address: SocketAddr, reason: RefuseReason) {
    let Some(suppressed) = limiters.refused[reason].ask(now.since(Mono::ZERO)) else { return };
    let (suppressed, help) = (nonzero(suppressed), help_at_accept(reason));
    tracing::warn!(peer = %address, %reason, suppressed, "connection refused: {help}");
}

/// A connection may not do what it wants (`publish`, `play`) with the stream `name`, which is short.
pub(super) fn request(
    limiters: &Limiters,
    now: Mono,
    guest: &Guest,
    what: &str,
    name: &str,
    reason: DisconnectReason,
) {
    let Some(suppressed) = limiters.closed[reason].ask(now.since(Mono::ZERO)) else { return };
    let (suppressed, help) = (nonzero(suppressed), help(reason));
    tracing::warn!(conn = guest.id, peer = %guest.address, stream = name, %reason, suppressed, "{what} refused: {help}");
}

/// Viewers of a stream are let go, because it has nothing for them any more.
pub(super) fn let_go(limiters: &Limiters, now: Mono, name: &StreamName, why: &'static str) {
    let Some(suppressed) = limiters.let_go.ask(now.since(Mono::ZERO)) else { return };
    let (suppressed, name, reason) =
        (nonzero(suppressed), name.to_string(), DisconnectReason::UnsupportedCodec);
    tracing::warn!(stream = &*shown(&name), %reason, suppressed, "viewers let go, the publisher has nothing for them: {why}");
}

/// A stream has ended. A publisher may begin and end any number of them.
pub(super) fn ended(limiters: &Limiters, now: Mono, name: &StreamName, displaced: bool) {
    let Some(suppressed) = limiters.ended.ask(now.since(Mono::ZERO)) else { return };
    let (suppressed, name) = (nonzero(suppressed), name.to_string());
    let why = if displaced { "it made room for a new one" } else { "nobody publishes it" };
    tracing::info!(stream = &*shown(&name), suppressed, "stream ended: {why}");
}

/// Nothing about nothing.
fn nonzero(suppressed: u64) -> Option<u64> {
    (suppressed > 0).then_some(suppressed)
}

/// What it means, and what the operator can do.
fn help_at_accept(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::AddressRate => {
            "its address connects too fast; if many people share it, add it to limits.exempt"
        }
        RefuseReason::Unauthenticated => "too many connections in all neither publish nor play",
        RefuseReason::AddressSilent => {
            "too many connections of its address neither publish nor play; if many people share it, add it to limits.exempt"
        }
        RefuseReason::Overload => "the machine is at its end",
        RefuseReason::Limit => "its core has limits.connections_per_core",
        RefuseReason::Descriptors => "no file descriptor is left; raise the limit of open files",
        RefuseReason::Pages => "too many pages are being read, by its address or in all",
    }
}

fn help(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::Unauthorized => "wrong key or token, or a group that no list of relay.allow has",
        DisconnectReason::NameTaken => "the name is in use",
        DisconnectReason::ProtocolError => {
            "it asks for what an option cannot be; the player is told what it may be"
        }
        DisconnectReason::AddressViewers => {
            "its address has limits.viewers_per_address viewers; if many people share it, add it to limits.exempt"
        }
        DisconnectReason::AddressPublishers => {
            "its address has limits.publishers_per_address publishers; if many people share it, add it to limits.exempt"
        }
        DisconnectReason::NotFound => "there is nothing of that name, or it is no place of a group",
        DisconnectReason::Budget => {
            "what is left of limits.connections_per_core is for publishers, or relay.groups are all in use"
        }
        DisconnectReason::Overload => "load is shed",
        _ => "the node is full",
    }
}
