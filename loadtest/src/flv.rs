//! FLV: writing tags, and reading them without keeping their payload (Video File Format 10.1, annex E).

use crate::meter::Incoming;

/// File header with audio and video flags, and the first PreviousTagSize.
pub const HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];
const TAG_HEADER_LEN: usize = 11;
/// What stands between two payloads: PreviousTagSize and the next tag's header.
const BETWEEN_LEN: usize = 4 + TAG_HEADER_LEN;

/// Appends a tag with its PreviousTagSize to `out`.
pub fn write_tag(out: &mut Vec<u8>, kind: u8, timestamp_ms: u32, payload: &[u8]) {
    let len = (payload.len() as u32).to_be_bytes();
    let ts = timestamp_ms.to_be_bytes();
    out.extend_from_slice(&[kind, len[1], len[2], len[3], ts[1], ts[2], ts[3], ts[0], 0, 0, 0]);
    out.extend_from_slice(payload);
    out.extend_from_slice(&((payload.len() + TAG_HEADER_LEN) as u32).to_be_bytes());
}

/// Bytes that are no FLV.
#[derive(Debug, PartialEq, Eq)]
pub struct NotFlv;

/// Reads an FLV byte stream in pieces of any size.
#[derive(Debug, Default)]
pub struct Reader {
    verify: bool,
    seen_header: bool,
    head: [u8; BETWEEN_LEN],
    head_len: usize,
    tag: Incoming,
    last_len: u32,
}

impl Reader {
    /// A reader at the file header; `verify` hashes every payload.
    pub fn new(verify: bool) -> Self {
        Self { verify, ..Self::default() }
    }

    /// Takes in bytes and calls `on_message` for every tag that they complete.
    pub fn input(&mut self, mut bytes: &[u8], mut on_message: impl FnMut(&Incoming)) -> Result<(), NotFlv> {
        while !bytes.is_empty() {
            if self.tag.is_open() {
                let n = bytes.len().min(self.tag.missing() as usize);
                self.tag.feed(&bytes[..n]);
                bytes = &bytes[n..];
                if !self.tag.is_open() {
                    on_message(&self.tag);
                }
                continue;
            }
            // The file header (9 bytes) stands where a tag's header would, without a PreviousTagSize in front.
            let want = if self.seen_header { BETWEEN_LEN } else { 9 };
            let n = bytes.len().min(want - self.head_len);
            self.head[self.head_len..self.head_len + n].copy_from_slice(&bytes[..n]);
            self.head_len += n;
            bytes = &bytes[n..];
            if self.head_len == want {
                self.head_len = 0;
                self.on_head(&mut on_message)?;
            }
        }
        Ok(())
    }

    fn on_head(&mut self, on_message: &mut impl FnMut(&Incoming)) -> Result<(), NotFlv> {
        let h = &self.head;
        if !self.seen_header {
            self.seen_header = h.starts_with(b"FLV\x01");
            return if self.seen_header { Ok(()) } else { Err(NotFlv) };
        }
        let previous = u32::from_be_bytes([h[0], h[1], h[2], h[3]]);
        if previous != self.last_len || !matches!(h[4], 8 | 9 | 18) {
            return Err(NotFlv);
        }
        let len = u32::from_be_bytes([0, h[5], h[6], h[7]]);
        self.last_len = len + TAG_HEADER_LEN as u32;
        self.tag.begin(h[4], len, self.verify);
        if len == 0 {
            on_message(&self.tag);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_out_whatever_the_cuts() {
        let mut file = HEADER.to_vec();
        write_tag(&mut file, 18, 0, &[2, 0, 1, b'x']);
        write_tag(&mut file, 9, 0x0102_0304, &[7; 100]);
        write_tag(&mut file, 8, 5, &[]);
        write_tag(&mut file, 8, 6, &[9; 3]);
        for cut in 1..file.len() {
            let mut reader = Reader::new(false);
            let mut seen = Vec::new();
            for piece in file.chunks(cut) {
                reader.input(piece, |m| seen.push((m.kind, m.len))).unwrap();
            }
            assert_eq!(seen, [(18, 4), (9, 100), (8, 0), (8, 3)], "cut {cut}");
        }
    }

    #[test]
    fn wrong_back_pointer_or_type_is_no_flv() {
        let mut file = HEADER.to_vec();
        write_tag(&mut file, 9, 0, &[7; 10]);
        let end = file.len() - 1;
        file[end] ^= 1;
        write_tag(&mut file, 9, 0, &[7; 10]);
        assert_eq!(Reader::new(false).input(&file, |_| ()), Err(NotFlv));
        assert_eq!(Reader::new(false).input(b"HTTP/1.1 404", |_| ()), Err(NotFlv));
    }
}
