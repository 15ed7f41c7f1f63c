//! What reading AMF0 and AMF3 has in common: a place in the bytes, what the message may still cost, and references.
//!
//! Both decoders descend into nested values by calling themselves, at most [`DEPTH_MAX`] deep. A reference is decoded
//! again from where its object stands, at the message's budget, so that it cannot multiply memory; one to an object that
//! is not finished yet would never end and is refused.

use super::amf0::{AmfError, AmfErrorKind};

/// Deepest nesting that is decoded, references included; a command needs three levels, metadata with a keyframe index four.
pub const DEPTH_MAX: u32 = 32;

/// What decoding one message may cost. References count each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Values, members of objects included, a count.
    pub elements: u32,
    /// Bytes of strings, keys, names of classes and byte arrays; each copy counts.
    pub text_bytes: usize,
}

impl Bounds {
    /// A command: connect with all lists of Enhanced RTMP has a hundred members, a signed token is 2 KiB long.
    pub const COMMAND: Bounds = Bounds { elements: 1024, text_bytes: 64 << 10 };
    /// Metadata: an index of two hours of keyframes fits.
    pub const DATA: Bounds = Bounds { elements: 8192, text_bytes: 1 << 20 };
}

/// The bytes of a message, read from front to back but for references.
#[derive(Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    pos: usize,
    left: Bounds,
    /// Nonzero while a reference is decoded again; what is met then has its number already.
    replays: u32,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8], bounds: Bounds) -> Input<'a> {
        Input { bytes, pos: 0, left: bounds, replays: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.pos == self.bytes.len()
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.replays > 0
    }

    /// The byte at `offset`, wherever reading stands.
    pub(super) fn byte_at(&self, offset: usize) -> Option<u8> {
        self.bytes.get(offset).copied()
    }

    /// Goes past `expected` if that is what follows.
    pub(super) fn skip(&mut self, expected: &[u8]) -> bool {
        let found = self.bytes.get(self.pos..).is_some_and(|rest| rest.starts_with(expected));
        self.pos += if found { expected.len() } else { 0 };
        found
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], AmfError> {
        let error = AmfError { offset: self.pos, kind: AmfErrorKind::Truncated };
        let taken = self.bytes.get(self.pos..).and_then(|rest| rest.get(..len)).ok_or(error)?;
        self.pos += len;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn number(&mut self) -> Result<f64, AmfError> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// Text of `len` bytes, with U+FFFD for what is not UTF-8.
    pub(super) fn text(&mut self, len: usize) -> Result<String, AmfError> {
        let at = self.pos;
        let bytes = self.take(len)?;
        self.pay_text(at, len)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Pays for one value at `offset`, nested `depth` deep.
    pub(super) fn pay_element(&mut self, offset: usize, depth: u32) -> Result<(), AmfError> {
        if depth >= DEPTH_MAX {
            return Err(AmfError { offset, kind: AmfErrorKind::TooDeep });
        }
        let error = AmfError { offset, kind: AmfErrorKind::TooManyElements };
        self.left.elements = self.left.elements.checked_sub(1).ok_or(error)?;
        Ok(())
    }

    /// Pays for `len` bytes of text at `offset`.
    pub(super) fn pay_text(&mut self, offset: usize, len: usize) -> Result<(), AmfError> {
        let error = AmfError { offset, kind: AmfErrorKind::TooMuchText };
        self.left.text_bytes = self.left.text_bytes.checked_sub(len).ok_or(error)?;
        Ok(())
    }

    /// Goes to the object at `offset` to read it again; returns what [`resume`](Self::resume) takes.
    pub(super) fn replay(&mut self, offset: usize) -> usize {
        self.replays += 1;
        std::mem::replace(&mut self.pos, offset)
    }

    /// Goes back behind the reference.
    pub(super) fn resume(&mut self, pos: usize) {
        self.replays -= 1;
        self.pos = pos;
    }
}

/// The objects of a message that references may name, by number.
#[derive(Debug, Default)]
pub(super) struct References(Vec<Place>);

#[derive(Debug)]
struct Place {
    /// Of the object's marker.
    offset: usize,
    /// Its end has not been read.
    open: bool,
}

impl References {
    /// An object begins at `offset`. Returns its number, for [`end`](Self::end); none in a replay.
    pub(super) fn begin(&mut self, input: &Input<'_>, offset: usize) -> Option<usize> {
        if input.is_replaying() {
            return None;
        }
        self.0.push(Place { offset, open: true });
        Some(self.0.len() - 1)
    }

    /// The object is complete.
    pub(super) fn end(&mut self, number: Option<usize>) {
        if let Some(place) = number.and_then(|number| self.0.get_mut(number)) {
            place.open = false;
        }
    }

    /// Where object `number` begins, for a reference at `offset`.
    pub(super) fn find(&self, number: usize, offset: usize) -> Result<usize, AmfError> {
        match self.0.get(number) {
            None => Err(AmfError { offset, kind: AmfErrorKind::BadReference }),
            Some(Place { open: true, .. }) => Err(AmfError { offset, kind: AmfErrorKind::Cycle }),
            Some(Place { offset, .. }) => Ok(*offset),
        }
    }
}
