//! Load for live media servers: synthetic publishers, thousands of subscribers, and the truth about what they got.
//!
//! Nothing here uses the gateway's own code: the protocols are written a second time, so that a mistake on one side
//! does not hide behind the same mistake on the other, and so that any server can be put under the same load.
//!
//! In the order of the layers:
//! - [`clock`], [`stamp`]: one monotonic clock; the 32 bytes in every frame that say who it is and when it was sent.
//! - [`arrivals`], [`setup`]: when connections should begin, and what became of each from that moment on.
//! - [`media`]: what a publisher sends and when, as sizes and due times; frames as reusable templates.
//! - [`target`], [`http`], [`flv`], [`amf`], [`rtmp`]: addresses and the wire, as pure parsers and writers.
//! - [`meter`]: exact accounting of one subscriber, totals and latency of many.
//! - [`publish`], [`play`]: the two sides that own sockets.
//! - [`grid`], [`group`]: channels of constant rate: when their datagrams should come, and the sockets they come to.
//! - [`watch`], [`scrape`], [`report`]: processor time, memory and descriptors of the server; its own numbers; the JSON
//!   that a run ends with.
//!
//! Latency is the publisher's write to the subscriber's read of the last byte of the same frame, both on
//! `CLOCK_MONOTONIC` of one machine.
#![warn(missing_docs)]

pub mod amf;
pub mod arrivals;
pub mod clock;
pub mod flv;
pub mod grid;
pub mod group;
pub mod http;
pub mod media;
pub mod meter;
pub mod play;
pub mod publish;
pub mod report;
pub mod rtmp;
pub mod scrape;
pub mod setup;
pub mod stamp;
pub mod target;
pub mod watch;
