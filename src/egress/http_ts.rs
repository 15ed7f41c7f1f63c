//! HTTP-TS: what stands in front of the log's packets. The request is `http_live`'s.

use crate::proto::http::{self, Medium};
use crate::shard::Preface;
use bytes::Bytes;

/// The response head at the start; in front of a join point that the viewer skipped to, what announces the
/// discontinuity. Tables and configuration stand in the log itself.
pub fn preface(preface: &Preface<'_>) -> Bytes {
    match preface.start {
        true => Bytes::from_static(http::live_head(Medium::Ts)),
        false => preface.join.seam.clone(),
    }
}
