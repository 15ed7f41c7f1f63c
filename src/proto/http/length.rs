//! How long a request's body is (RFC 9112 section 6.3), read so that no other reader can come to another end.

use super::HttpError;

/// Content-Length, and whether the body is chunked; never both.
pub(super) fn message_length(
    headers: &[httparse::Header<'_>],
    http_1_1: bool,
) -> Result<(Option<u64>, bool), HttpError> {
    let (mut length, mut chunked) = (None, false);
    for header in headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err(HttpError::Length("several Content-Length fields"));
            }
            length = Some(decimal(header.value).ok_or(HttpError::Length("Content-Length is no number"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked {
                return Err(HttpError::Length("several Transfer-Encoding fields"));
            }
            only_chunked(header.value)?;
            chunked = true;
        }
    }
    if chunked && length.is_some() {
        return Err(HttpError::Length("both Content-Length and Transfer-Encoding"));
    }
    if chunked && !http_1_1 {
        return Err(HttpError::Length("Transfer-Encoding in HTTP/1.0"));
    }
    Ok((length, chunked))
}

/// Chunks must be the last coding and stand once, else nobody can tell where the body ends; others in front of it have
/// a clear end and are merely not known here.
fn only_chunked(value: &[u8]) -> Result<(), HttpError> {
    let is_chunked = |coding: &&[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let codings: Vec<&[u8]> = value.split(|byte| *byte == b',').collect();
    match (codings.iter().position(is_chunked), codings.len()) {
        (Some(0), 1) => Ok(()),
        (Some(at), count) if at + 1 == count => Err(HttpError::TransferCoding),
        _ => Err(HttpError::Length("Transfer-Encoding does not end with chunked")),
    }
}

/// Digits only: a sign, a list or white space inside are what smuggling is made of.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
