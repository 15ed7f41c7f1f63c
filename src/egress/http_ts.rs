//! HTTP-TS: what stands in front of the log's packets. The request is `http_live`'s.

use crate::proto::http::{self, Medium};
use crate::shard::Preface;
use bytes::Bytes;

/// The response head at the start, and the tables if the log does not bring them with the join point; in front of a join
/// point that the viewer skipped to, what announces the discontinuity.
pub fn preface(preface: &Preface<'_>) -> Bytes {
    let (head, opening) = (http::live_head(Medium::Ts), preface.join.opening());
    match preface.start {
        true if opening.is_empty() => Bytes::from_static(head),
        true => head.iter().chain(&opening).copied().collect(),
        false => preface.join.seam.clone(),
    }
}
