//! Network captures: the files ([`reader`]: pcap and pcapng) and the datagrams inside their records ([`link`]).

pub mod link;
pub mod reader;

pub use link::{Datagram, LinkType, NotRead};
pub use reader::{CaptureError, CaptureReader, Record};
