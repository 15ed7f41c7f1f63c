//! Bytes <-> syntax, one specification a file or folder. No policy, no I/O, no unsafe.
#![forbid(unsafe_code)]

pub mod amf0;
pub mod amf3;
pub mod flv;
pub mod rtmp;
