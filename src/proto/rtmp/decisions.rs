//! What the application decides: accept or reject a publisher or a player, ask a peer to move.

use super::event::{CloseReason, PlayRefusal, PublishRefusal};
use super::session::{Phase, ServerSession};
use super::status::{self, Level};
use crate::media::Mono;
use crate::wire::rtmp::STREAM_ID;
use crate::wire::rtmp::chunk::Limits;
use crate::wire::rtmp::control::{Control, UserControl};

impl ServerSession {
    /// Lets the waiting publisher in, and parses what it has sent meanwhile.
    pub fn accept_publish(&mut self, now: Mono) {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::DecidingPublish(connected) => self.phase = Phase::Publishing(connected),
            other => return self.phase = other,
        }
        Control::User(UserControl::StreamBegin(STREAM_ID)).write(&mut self.out);
        self.status(Level::Status, "NetStream.Publish.Start", "Publishing.");
        self.reader.set_limits(Limits::PUBLISHER);
        self.resume(now);
    }

    /// Turns the waiting publisher away.
    pub fn reject_publish(&mut self, _now: Mono, refusal: PublishRefusal) {
        if !matches!(self.phase, Phase::DecidingPublish(_)) {
            return;
        }
        let (reason, code, text) = match refusal {
            PublishRefusal::NameTaken => (
                CloseReason::PublishNameTaken,
                "NetStream.Publish.BadName",
                "The stream name is taken: somebody is publishing under it.",
            ),
            PublishRefusal::Unauthorized => (
                CloseReason::PublishUnauthorized,
                "NetStream.Publish.Denied",
                "Publishing needs a valid key.",
            ),
            PublishRefusal::Unavailable(why) => {
                (CloseReason::PublishUnavailable, "NetStream.Publish.Failed", why)
            }
        };
        self.status(Level::Error, code, text);
        self.close(reason);
    }

    /// Lets the waiting player in. Its status, metadata and media are sent by the application, see
    /// [`status::play_started`]; the session frees what it does not need any more and parses what came meanwhile.
    pub fn accept_play(&mut self, now: Mono) {
        if !matches!(self.phase, Phase::DecidingPlay) {
            return;
        }
        self.phase = Phase::Playing;
        self.reader.set_limits(Limits::PLAYER);
        self.resume(now);
        self.reader.shrink();
    }

    /// Turns the waiting player away.
    pub fn reject_play(&mut self, _now: Mono, refusal: PlayRefusal) {
        if !matches!(self.phase, Phase::DecidingPlay) {
            return;
        }
        let (reason, code, text) = match &refusal {
            PlayRefusal::Option(told) => (CloseReason::PlayOption, "NetStream.Play.Failed", told.as_str()),
            PlayRefusal::StreamNotFound => {
                (CloseReason::PlayNotFound, "NetStream.Play.StreamNotFound", "The stream is not published.")
            }
            PlayRefusal::Unauthorized => {
                (CloseReason::PlayUnauthorized, "NetStream.Play.Failed", "Playing needs a valid token.")
            }
            PlayRefusal::UnsupportedCodec => (
                CloseReason::PlayUnsupportedCodec,
                "NetStream.Play.NoSupportedTrackFound",
                "The player does not support the codecs of the stream.",
            ),
            PlayRefusal::Busy => {
                (CloseReason::PlayBusy, "NetStream.Play.Failed", "The server takes no player now.")
            }
        };
        self.status(Level::Error, code, text);
        self.close(reason);
    }

    /// Asks the peer to connect anew, to `tc_url` if given. False if it does not understand such requests.
    pub fn request_reconnect(&mut self, tc_url: Option<&str>) -> bool {
        if self.reconnects && !self.is_closed() {
            let chunk_size = self.config.chunk_size_out;
            status::reconnect_request(tc_url, "The server asks to reconnect.", chunk_size, &mut self.out);
        }
        self.reconnects && !self.is_closed()
    }
}
