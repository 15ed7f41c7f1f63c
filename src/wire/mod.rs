//! Bytes <-> syntax, one specification a file or folder. No policy, no I/O, no unsafe.
#![forbid(unsafe_code)]

pub mod aac;
pub mod amf;
pub mod amf0;
pub mod amf3;
pub mod av1;
pub mod bits;
pub mod capture;
pub mod fec;
pub mod flac;
pub mod flv;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod rtmp;
pub mod rtp;
pub mod sap;
pub mod sdp;
pub mod ts;
pub mod vp9;

/// The bytes that hexadecimal digits stand for; what lies between the digits for the eye is left out.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
