//! Continuity counters (ISO/IEC 13818-1 section 2.4.3.3; TR 101 290, 1.4).

use crate::wire::ts::packet::Packet;

/// Bytes at either end of a payload by which a repetition is known.
const SAMPLE_BYTES: usize = 8;
/// No packet was seen.
const UNKNOWN: u8 = 0xFF;

/// The counter of one PID.
#[derive(Clone, Copy, Debug)]
pub struct Continuity {
    last: u8,
    /// The last packet was a repetition: no other may follow.
    repeated: bool,
    sample: u64,
}

/// What a packet is to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As it should be, or nothing is known.
    Right,
    /// The one repetition that is allowed.
    Repetition,
    /// Wrong; so many packets are missing if none came out of order.
    Wrong {
        /// 1 to 14, or 0 for a repetition too many.
        missing: u8,
    },
}

impl Default for Continuity {
    fn default() -> Continuity {
        Continuity { last: UNKNOWN, repeated: false, sample: 0 }
    }
}

impl Continuity {
    /// The next packet.
    #[inline]
    pub fn check(&mut self, packet: &Packet<'_>) -> Order {
        let (last, now) = (self.last, packet.continuity);
        let sample = sample(packet.payload);
        let same = sample == self.sample;
        if last == UNKNOWN || packet.discontinuity() {
            *self = Continuity { last: now, repeated: false, sample };
            return Order::Right;
        }
        if !packet.has_payload {
            // The counter stands still.
            self.last = now;
            return if now == last { Order::Right } else { Order::Wrong { missing: missing(last, now) } };
        }
        let repeated = std::mem::replace(&mut self.repeated, false);
        (self.last, self.sample) = (now, sample);
        if now == (last + 1) & 0x0F {
            return Order::Right;
        }
        if now == last && same && !repeated {
            self.repeated = true;
            return Order::Repetition;
        }
        self.repeated = now == last && same;
        Order::Wrong { missing: if now == last && same { 0 } else { missing(last, now) } }
    }

    /// The next packet, if it has payload, announces nothing, and has the next number; whether it does. Else nothing changes.
    #[inline]
    pub fn goes_on(&mut self, now: u8, payload: &[u8]) -> bool {
        let next = self.last != UNKNOWN && now == (self.last + 1) & 0x0F;
        if next {
            *self = Continuity { last: now, repeated: false, sample: sample(payload) };
        }
        next
    }

    /// What comes next is not to be held against what was.
    pub fn forget(&mut self) {
        *self = Continuity::default();
    }
}

/// Packets between two counters, at most 15.
fn missing(last: u8, now: u8) -> u8 {
    now.wrapping_sub(last).wrapping_sub(1) & 0x0F
}

/// A few bytes of a payload as a number. PCRs, the only thing that may differ in a repetition, stand outside.
fn sample(payload: &[u8]) -> u64 {
    let end = |chunk: Option<&[u8; SAMPLE_BYTES]>| chunk.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    end(payload.first_chunk()) ^ end(payload.last_chunk()).rotate_left(17) ^ payload.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets as "counter", with `'` behind it for other contents, `-` for none, `d` for an announced discontinuity.
    fn run(rows: &str) -> String {
        let mut continuity = Continuity::default();
        let mut told = String::new();
        for row in rows.split_whitespace() {
            let (counter, marks) = row.split_at(row.find(|c: char| !c.is_ascii_digit()).unwrap_or(row.len()));
            let counter: u8 = counter.parse().unwrap();
            let control = if marks.contains('-') { 0x20 } else { 0x30 };
            let mut bytes = [0x55 + counter; 188];
            bytes[..6].copy_from_slice(&[
                0x47,
                0,
                32,
                control | counter,
                1,
                if marks.contains('d') { 0x80 } else { 0 },
            ]);
            bytes[187] = if marks.contains('\'') { 1 } else { 0 };
            told += match continuity.check(&Packet::parse(&bytes)) {
                Order::Right => ".",
                Order::Repetition => "r",
                Order::Wrong { missing } => ["0", "1", "2", "3"].get(usize::from(missing)).unwrap_or(&"x"),
            };
        }
        told
    }

    #[test]
    fn rules() {
        for (what, rows, told) in [
            ("in order, over the end", "13 14 15 0 1", "....."),
            ("starts anywhere", "7", "."),
            ("one missing", "1 2 4 5", "..1."),
            ("three missing", "14 2", ".3"),
            ("one repetition is allowed", "1 2 2 3", "..r."),
            ("two are not", "1 2 2 2 3", "..r0."),
            ("nor are three", "1 2 2 2 2 3", "..r00."),
            ("two pairs are", "1 1 2 2 3", ".r.r."),
            ("sixteen missing are no repetition", "1 2 2' 3", "..x."),
            ("swapped", "1 3 2 4", ".1x1"),
            ("without payload it stands still", "1 1- 1- 2", "...."),
            ("and must", "1 2- 3", ".0."),
            ("announced", "1 9d 10", "..."),
            ("announced without payload", "1 9-d 10", "..."),
        ] {
            assert_eq!(run(rows), told, "{what}");
        }
    }
}
