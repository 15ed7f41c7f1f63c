//! Sections out of packets (ISO/IEC 13818-1, 2.4.4), and their sum.

/// The section under way on one PID.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    pending: Option<Vec<u8>>,
}

impl Sections {
    /// What is under way is lost.
    pub fn drop_pending(&mut self) {
        self.pending = None;
    }

    /// Takes a payload; gives the sections that are complete, or says what is wrong with the pointer.
    pub fn take(&mut self, payload: &[u8], starts: bool) -> Result<Vec<Vec<u8>>, String> {
        let mut complete = Vec::new();
        if !starts {
            if let Some(pending) = &mut self.pending {
                pending.extend(payload);
                split(pending, &mut complete);
            }
            return Ok(complete);
        }
        let (&pointer, rest) = payload.split_first().ok_or("a section starts in an empty payload")?;
        let Some((before, from)) = rest.split_at_checked(usize::from(pointer)) else {
            self.pending = None;
            return Err(format!("a pointer of {pointer} beyond the packet"));
        };
        if let Some(mut pending) = self.pending.take() {
            pending.extend(before);
            split(&mut pending, &mut complete);
        }
        let mut pending = from.to_vec();
        split(&mut pending, &mut complete);
        self.pending = Some(pending);
        Ok(complete)
    }
}

/// Moves whole sections out of `pending`; stuffing ends it.
fn split(pending: &mut Vec<u8>, complete: &mut Vec<Vec<u8>>) {
    while let [table, high, low, ..] = pending[..] {
        if table == 0xFF {
            pending.clear();
            return;
        }
        let length = 3 + usize::from(u16::from_be_bytes([high & 0x0F, low]));
        if pending.len() < length {
            return;
        }
        let rest = pending.split_off(length);
        complete.push(std::mem::replace(pending, rest));
    }
}

/// CRC-32 of MPEG-2: 0 over a section with its sum.
pub fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            if sum & 0x8000_0000 != 0 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 }
        })
    })
}
