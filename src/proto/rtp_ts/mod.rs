//! Transport streams in RTP (RFC 2250), both ends: headers and repair packets out, packets in order in.
//!
//! - [`Sender`] writes the headers of one stream; [`FecEncoder`] makes the repair packets of SMPTE ST 2022-1 beside it.
//! - [`Receiver`] takes datagrams of one or two paths (SMPTE ST 2022-7) and repair packets in any order, and gives the
//!   stream's packets in theirs: each once, and what is lost as a number.
//!
//! All of it is sans-IO: datagrams and time in, datagrams and the next deadline out. After the first packets nothing
//! allocates, and nothing holds more than the bounds in [`receiver`] say.

mod encoder;
pub mod receiver;
mod repairs;
mod sender;
mod tally;
#[cfg(test)]
mod tests;
mod window;

pub use encoder::FecEncoder;
pub use receiver::{Delivery, Options, Receiver};
pub use sender::Sender;
pub use tally::{Leg, Tally};
