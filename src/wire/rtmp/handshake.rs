//! The handshake (section 5.2): simple, and the digest form that Flash-era clients and ffmpeg use.
//!
//! The digest form is not in the specification. A client that uses it sets a version in C1 and hides an HMAC-SHA256 of
//! C1 inside C1, at an offset that four other bytes tell, in one of two layouts ([`Schema`]). The server answers in the
//! same layout, or in the simple form if it finds no valid digest. The contents of C2 are never judged: ffmpeg, for
//! one, echoes S1 where a digest would be due.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Length of C1, S1, C2 and S2 in bytes.
pub const PACKET_BYTES: usize = 1536;
/// C0 and S0 of plain RTMP.
pub const VERSION_PLAIN: u8 = 3;

const DIGEST_BYTES: usize = 32;
const CLIENT_KEY: &[u8; 30] = b"Genuine Adobe Flash Player 001";
const SERVER_KEY: &[u8; 36] = b"Genuine Adobe Flash Media Server 001";
/// Follows the text in the keys of S2 and C2.
const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e,
    0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];
/// Version in S1 of the digest form; ffmpeg verifies our digests only from 3 on.
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];

/// Where the digest stands in C1 and S1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// In the first half, its offset told by bytes 8..12.
    DigestFirst,
    /// In the second half, its offset told by bytes 772..776.
    DigestSecond,
}

impl Schema {
    /// Offset of the 32 digest bytes in `packet`.
    fn digest_offset(self, packet: &[u8; PACKET_BYTES]) -> usize {
        let told_at = match self {
            Schema::DigestFirst => 8,
            Schema::DigestSecond => 772,
        };
        let sum: usize = packet[told_at..told_at + 4].iter().map(|b| usize::from(*b)).sum();
        told_at + 4 + sum % 728
    }
}

/// Why a handshake cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// C0 asks for RTMPE (6, 8 or 9), which this server does not speak.
    #[error("the peer asks for RTMPE (version {0})")]
    Encrypted(u8),
    /// C0 or S0 is not RTMP.
    #[error("not RTMP: version {0}")]
    Version(u8),
}

/// The server's side.
#[derive(Debug)]
pub struct ServerHandshake {
    random: Random,
    /// C0 and C1 as far as they have come; later only a count of C2.
    received: Vec<u8>,
    c2_missing: usize,
    schema: Option<Schema>,
    answered: bool,
}

impl ServerHandshake {
    /// A server that takes its random bytes from `seed`. They are padding, not secrets.
    pub fn new(seed: [u8; 32]) -> ServerHandshake {
        ServerHandshake {
            random: Random::new(seed),
            received: Vec::new(),
            c2_missing: PACKET_BYTES,
            schema: None,
            answered: false,
        }
    }

    /// Takes bytes of the client at `now_ms` and appends the answer to `out`. Returns how many bytes were consumed and
    /// whether the handshake is complete; bytes behind it are left to the caller.
    pub fn read(
        &mut self,
        now_ms: u32,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, bool), HandshakeError> {
        let mut used = 0;
        if !self.answered {
            used = input.len().min(1 + PACKET_BYTES - self.received.len());
            self.received.extend_from_slice(&input[..used]);
            match self.received.first() {
                None | Some(&VERSION_PLAIN) => {}
                Some(&version @ (6 | 8 | 9)) => return Err(HandshakeError::Encrypted(version)),
                Some(&version) => return Err(HandshakeError::Version(version)),
            }
            let Some(c1) = self.received.get(1..).and_then(|rest| rest.first_chunk::<PACKET_BYTES>()) else {
                return Ok((used, false));
            };
            self.schema = answer(c1, now_ms, &mut self.random, out);
            self.answered = true;
            self.received = Vec::new();
        }
        let c2 = self.c2_missing.min(input.len() - used);
        self.c2_missing -= c2;
        Ok((used + c2, self.c2_missing == 0))
    }

    /// Bytes consumed so far are kept on the heap until C1 is whole.
    pub fn heap_bytes(&self) -> usize {
        self.received.capacity()
    }

    /// The layout of the client's digest; `None` before C1 is whole and for a simple handshake.
    pub fn schema(&self) -> Option<Schema> {
        self.schema
    }
}

/// Appends S0, S1 and S2 in the form that `c1` asks for.
fn answer(c1: &[u8; PACKET_BYTES], now_ms: u32, random: &mut Random, out: &mut Vec<u8>) -> Option<Schema> {
    let found = find_digest(c1, CLIENT_KEY);
    let mut s1 = [0; PACKET_BYTES];
    random.fill(&mut s1[8..]);
    s1[..4].copy_from_slice(&now_ms.to_be_bytes());
    let mut s2 = [0; PACKET_BYTES];
    match found {
        Some((schema, client_digest)) => {
            s1[4..8].copy_from_slice(&SERVER_VERSION);
            sign(&mut s1, schema, SERVER_KEY);
            random.fill(&mut s2);
            let key = hmac(&[&SERVER_KEY[..], &KEY_TAIL].concat(), &[&client_digest]);
            let (body, signature) = s2.split_at_mut(PACKET_BYTES - DIGEST_BYTES);
            signature.copy_from_slice(&hmac(&key, &[body]));
        }
        None => {
            s2 = *c1;
            s2[4..8].copy_from_slice(&now_ms.to_be_bytes());
        }
    }
    out.reserve(1 + 2 * PACKET_BYTES);
    out.push(VERSION_PLAIN);
    out.extend_from_slice(&s1);
    out.extend_from_slice(&s2);
    found.map(|(schema, _)| schema)
}

/// The valid digest of C1 or S1 and its layout.
fn find_digest(packet: &[u8; PACKET_BYTES], key: &[u8]) -> Option<(Schema, [u8; DIGEST_BYTES])> {
    if packet[4..8] == [0; 4] {
        return None; // version 0: the simple form
    }
    [Schema::DigestFirst, Schema::DigestSecond].into_iter().find_map(|schema| {
        let digest = digest(packet, schema, key);
        let at = schema.digest_offset(packet);
        (packet[at..at + DIGEST_BYTES] == digest).then_some((schema, digest))
    })
}

/// What the digest of `packet` must be: over all bytes but its own.
fn digest(packet: &[u8; PACKET_BYTES], schema: Schema, key: &[u8]) -> [u8; DIGEST_BYTES] {
    let at = schema.digest_offset(packet);
    hmac(key, &[&packet[..at], &packet[at + DIGEST_BYTES..]])
}

fn sign(packet: &mut [u8; PACKET_BYTES], schema: Schema, key: &[u8]) {
    let digest = digest(packet, schema, key);
    let at = schema.digest_offset(packet);
    packet[at..at + DIGEST_BYTES].copy_from_slice(&digest);
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The client's side, in the simple form that every server accepts; for connections that we open.
#[derive(Debug)]
pub struct ClientHandshake {
    /// S0 and S1 as far as they have come.
    received: Vec<u8>,
    s2_missing: usize,
    answered: bool,
}

impl ClientHandshake {
    /// Appends C0 and C1 to `out`.
    pub fn new(now_ms: u32, seed: [u8; 32], out: &mut Vec<u8>) -> ClientHandshake {
        let mut c1 = [0; PACKET_BYTES];
        Random::new(seed).fill(&mut c1[8..]);
        c1[..4].copy_from_slice(&now_ms.to_be_bytes());
        out.push(VERSION_PLAIN);
        out.extend_from_slice(&c1);
        ClientHandshake { received: Vec::new(), s2_missing: PACKET_BYTES, answered: false }
    }

    /// Takes bytes of the server at `now_ms` and appends C2 to `out` when S1 is whole. Returns how many bytes were
    /// consumed and whether the handshake is complete.
    pub fn read(
        &mut self,
        now_ms: u32,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, bool), HandshakeError> {
        let mut used = 0;
        if !self.answered {
            used = input.len().min(1 + PACKET_BYTES - self.received.len());
            self.received.extend_from_slice(&input[..used]);
            if let Some(&version) = self.received.first().filter(|version| **version != VERSION_PLAIN) {
                return Err(HandshakeError::Version(version));
            }
            let Some(s1) = self.received.get(1..).and_then(|rest| rest.first_chunk::<PACKET_BYTES>()) else {
                return Ok((used, false));
            };
            let mut c2 = *s1;
            c2[4..8].copy_from_slice(&now_ms.to_be_bytes());
            out.extend_from_slice(&c2);
            self.answered = true;
            self.received = Vec::new();
        }
        let s2 = self.s2_missing.min(input.len() - used);
        self.s2_missing -= s2;
        Ok((used + s2, self.s2_missing == 0))
    }
}

/// Padding bytes from a seed: SplitMix64 over the folded seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: [u8; 32]) -> Random {
        let (words, _) = seed.as_chunks::<8>();
        Random(words.iter().fold(0, |state: u64, word| state.rotate_left(17) ^ u64::from_le_bytes(*word)))
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C0 and C1 with a digest, or without.
    fn client_hello(schema: Option<Schema>) -> Vec<u8> {
        let mut c1 = [0; PACKET_BYTES];
        Random::new([7; 32]).fill(&mut c1[8..]);
        if let Some(schema) = schema {
            c1[4..8].copy_from_slice(&[9, 0, 124, 2]);
            sign(&mut c1, schema, CLIENT_KEY);
        }
        [&[VERSION_PLAIN][..], &c1].concat()
    }

    fn packet(bytes: &[u8], at: usize) -> &[u8; PACKET_BYTES] {
        bytes[at..].first_chunk().expect("long enough")
    }

    #[test]
    fn the_answer_has_the_form_of_the_question() {
        for schema in [None, Some(Schema::DigestFirst), Some(Schema::DigestSecond)] {
            let hello = client_hello(schema);
            let (mut server, mut out) = (ServerHandshake::new([1; 32]), vec![]);
            assert_eq!(server.read(5, &hello, &mut out), Ok((1 + PACKET_BYTES, false)));
            assert_eq!((out.len(), out[0], server.schema()), (1 + 2 * PACKET_BYTES, VERSION_PLAIN, schema));
            let (s1, s2) = (packet(&out, 1), packet(&out, 1 + PACKET_BYTES));
            assert_eq!(find_digest(s1, SERVER_KEY).map(|(schema, _)| schema), schema);
            match schema {
                None => assert_eq!((&s1[4..8], &s2[8..]), (&[0; 4][..], &hello[9..])),
                Some(schema) => {
                    let client_digest = digest(packet(&hello, 1), schema, CLIENT_KEY);
                    let key = hmac(&[&SERVER_KEY[..], &KEY_TAIL].concat(), &[&client_digest]);
                    assert_eq!(s2[1504..], hmac(&key, &[&s2[..1504]]));
                }
            }
        }
    }

    #[test]
    fn a_broken_digest_is_answered_in_the_simple_form() {
        let mut hello = client_hello(Some(Schema::DigestFirst));
        hello[1000] ^= 1;
        let (mut server, mut out) = (ServerHandshake::new([1; 32]), vec![]);
        server.read(5, &hello, &mut out).expect("valid");
        assert_eq!((server.schema(), &out[5..9]), (None, &[0; 4][..]));
    }

    #[test]
    fn version_0_means_the_simple_form_even_over_a_digest() {
        let mut hello = client_hello(None);
        let c1 = hello[1..].first_chunk_mut().expect("long enough");
        sign(c1, Schema::DigestFirst, CLIENT_KEY);
        let mut server = ServerHandshake::new([1; 32]);
        server.read(5, &hello, &mut vec![]).expect("valid");
        assert_eq!(server.schema(), None);
    }

    #[test]
    fn both_sides_meet_at_any_split_and_leave_the_rest() {
        for piece in [1, 100, 1536, 5000] {
            let (mut to_server, mut to_client) = (vec![], vec![]);
            let mut client = ClientHandshake::new(1, [3; 32], &mut to_server);
            let mut server = ServerHandshake::new([4; 32]);
            for part in to_server.clone().chunks(piece) {
                assert_eq!(server.read(2, part, &mut to_client), Ok((part.len(), false)));
            }
            to_server.clear();
            let mut done = false;
            for part in to_client.chunks(piece) {
                assert!(!done);
                let (used, end) = client.read(3, part, &mut to_server).expect("valid");
                assert_eq!(used, part.len());
                done = end;
            }
            assert!(done);
            to_server.extend_from_slice(b"rest");
            assert_eq!(server.read(4, &to_server, &mut vec![]), Ok((PACKET_BYTES, true)));
        }
    }

    #[test]
    fn other_versions_are_refused() {
        let rows = [(6, true), (8, true), (9, true), (0, false), (0x16, false), (b'G', false)];
        for (version, encrypted) in rows {
            let want =
                if encrypted { HandshakeError::Encrypted(version) } else { HandshakeError::Version(version) };
            assert_eq!(ServerHandshake::new([0; 32]).read(0, &[version], &mut vec![]), Err(want));
        }
    }
}
