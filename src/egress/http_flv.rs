//! HTTP-FLV: what stands in front of the log's tags. The request is `http_live`'s.

use crate::fanout::log::Format;
use crate::fanout::packager;
use crate::proto::http::{self, Medium};
use crate::shard::Preface;
use crate::wire::flv::FileHeader;
use bytes::Bytes;

/// Response head and FLV header (at the start), metadata and headers in front of a join point.
pub fn preface(preface: &Preface<'_>) -> Bytes {
    let (join, variant) = (preface.join, preface.key.variant);
    let mut out = Vec::new();
    if preface.start {
        out.extend(http::live_head(Medium::Flv));
        // A flag for a track that never comes makes browser players wait for ever.
        let audio = variant.audio && (join.config.has_audio || preface.newest.has_audio);
        let video = variant.video && (join.config.has_video || preface.newest.has_video);
        out.extend(FileHeader::encode(audio, video));
    }
    packager::configuration(Format::Flv, &join.config, variant, join.dts_ms, &mut out);
    out.into()
}
