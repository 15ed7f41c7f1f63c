//! HTTP-FLV viewers: one request, one close-delimited response.

use super::wanted;
use crate::edge::auth::Gate;
use crate::fanout::directory::{Directory, StreamName};
use crate::fanout::log::Format;
use crate::fanout::packager;
use crate::observe::DisconnectReason;
use crate::proto::http::{self, Method, RequestHead};
use crate::shard::{Io, PlayRefused, Preface, Request};
use crate::wire::flv::FileHeader;
use bytes::Bytes;

/// When a client whose stream is not there may ask again, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// Answers a request for `/APP/STREAM.flv`.
pub fn request(head: &RequestHead, app: &str, stream: &str, gate: &Gate, directory: &Directory, io: &mut Io) {
    let name = StreamName::new(app, stream);
    if head.method == Method::Options {
        io.out.extend(http::options_head());
        return io.ask(Request::Close(DisconnectReason::ClientClosed));
    }
    if !gate.may_play(app, &head.query) {
        return refuse(
            head,
            403,
            None,
            "a play token is needed: ?token=...",
            DisconnectReason::Unauthorized,
            io,
        );
    }
    match head.method {
        Method::Get => {
            let (key, first) = wanted(Format::Flv, app, &head.query, gate);
            io.ask(Request::Play { name, key, first });
        }
        Method::Head if directory.find(&name).is_some() => {
            io.out.extend(http::flv_head());
            io.ask(Request::Close(DisconnectReason::ClientClosed));
        }
        Method::Head => {
            refuse(head, 404, Some(RETRY_AFTER_S), "no such stream", DisconnectReason::NotFound, io);
        }
        _ => refuse(head, 405, None, "watch with GET", DisconnectReason::ProtocolError, io),
    }
}

fn refuse(
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

/// There is nothing to send.
pub fn refused(why: PlayRefused, io: &mut Io) {
    io.out.extend(match why {
        PlayRefused::NotFound => {
            http::error_head(404, Some(RETRY_AFTER_S), "no such stream, or not live yet")
        }
        PlayRefused::TooManyVariants => {
            http::error_head(503, Some(RETRY_AFTER_S), "too many variants of this stream are in use")
        }
        PlayRefused::TooManyWait => {
            http::error_head(503, Some(RETRY_AFTER_S), "too many players wait for streams that are not live")
        }
    });
}

/// Response head and FLV header (at the start), metadata and headers in front of a join point.
pub fn preface(preface: &Preface<'_>) -> Bytes {
    let (join, variant) = (preface.join, preface.key.variant);
    let mut out = Vec::new();
    if preface.start {
        out.extend(http::flv_head());
        // A flag for a track that never comes makes browser players wait for ever.
        let audio = variant.audio && (join.config.has_audio || preface.newest.has_audio);
        let video = variant.video && (join.config.has_video || preface.newest.has_video);
        out.extend(FileHeader::encode(audio, video));
    }
    packager::configuration(Format::Flv, &join.config, variant, join.dts_ms, &mut out);
    out.into()
}
