//! The units of one elementary stream: their PES headers, their times against the clock, and where decoding can begin.

use super::channel::{Channel, Stream};
use super::clock::signed;
use super::gates::{Gate, Interval, Misses};
use super::picture;

/// Ticks of 90 kHz after which PTS and DTS begin anew.
const WRAP: i64 = 1 << 33;

/// The smallest and the largest of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub min: f64,
    pub max: f64,
}

impl Range {
    fn with(range: Option<Range>, value: f64) -> Option<Range> {
        let range = range.unwrap_or(Range { min: value, max: value });
        Some(Range { min: range.min.min(value), max: range.max.max(value) })
    }
}

/// What is known of a stream.
#[derive(Clone, Debug)]
pub struct Units {
    stream: Stream,
    pending: Option<Pending>,
    last_dts: Option<i64>,
    gap: Interval,
    /// Units that were read whole.
    pub count: u64,
    /// Of these, such where decoding can begin.
    pub random_access: u64,
    /// Units that had to be left out, because something of them is missing.
    pub incomplete: u64,
    /// The longest time without a PTS, in ms.
    pub pts_gap_ms_max: f64,
    /// PTS ahead of the clock when the unit begins, in ms.
    pub pts_lead_ms: Option<Range>,
    /// DTS (the PTS where there is none) ahead of the clock when the unit begins, in ms.
    pub dts_lead_ms: Option<Range>,
    /// Something of it came.
    came: bool,
    /// The rules of pictures hold for this stream.
    is_picture: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    packet: u64,
    indicated: bool,
    bytes: Vec<u8>,
    /// The clock at its first and at its newest packet, in ticks of 27 MHz.
    clock: Option<(i64, i64)>,
}

/// The times of a PES header, in ticks of 90 kHz.
struct Header {
    pts: Option<i64>,
    dts: Option<i64>,
    payload: usize,
}

impl Units {
    pub fn new(stream: Stream) -> Units {
        Units {
            stream,
            pending: None,
            last_dts: None,
            gap: Interval::default(),
            count: 0,
            random_access: 0,
            incomplete: 0,
            pts_gap_ms_max: 0.0,
            pts_lead_ms: None,
            dts_lead_ms: None,
            came: false,
            is_picture: false,
        }
    }

    /// Something is missing: the unit under way is not judged.
    pub fn hole(&mut self) {
        self.incomplete += u64::from(self.pending.take().is_some());
    }

    /// A discontinuity was announced: times may go anywhere.
    pub fn announce(&mut self, packet: u64, channel: &Channel, misses: &mut Misses) {
        self.complete(packet, channel, misses);
        self.last_dts = None;
    }

    /// Takes a payload; `clock`: ticks of 27 MHz now.
    pub fn take(
        &mut self,
        packet: u64,
        payload: &[u8],
        starts: Option<bool>,
        clock: Option<i64>,
        channel: &Channel,
        misses: &mut Misses,
    ) {
        self.came = true;
        if let Some(indicated) = starts {
            self.complete(packet, channel, misses);
            let clock = clock.map(|now| (now, now));
            self.pending = Some(Pending { packet, indicated, bytes: payload.to_vec(), clock });
        } else if let Some(pending) = &mut self.pending {
            pending.bytes.extend(payload);
            pending.clock = pending.clock.zip(clock).map(|((first, _), now)| (first, now));
        }
        let length = self.pending.as_ref().and_then(|pending| pending.bytes.get(4..6).map(be));
        let here = self.pending.as_ref().map_or(0, |pending| pending.bytes.len() as i64);
        if length.is_some_and(|length| length > 0 && here >= 6 + length) {
            self.complete(packet, channel, misses);
        }
    }

    fn complete(&mut self, at: u64, channel: &Channel, misses: &mut Misses) {
        let Some(pending) = self.pending.take() else { return };
        self.count += 1;
        let pid = self.stream.pid;
        match header(&pending.bytes) {
            Ok(header) => self.judge(&pending, &header, channel, misses),
            Err(what) => misses.note(Gate::Pes, at, || format!("PID {pid:#x}: {what}")),
        }
    }

    fn judge(&mut self, pending: &Pending, header: &Header, channel: &Channel, misses: &mut Misses) {
        let (pid, packet) = (self.stream.pid, pending.packet);
        if let Some(pts) = header.pts {
            let dts = header.dts.unwrap_or(pts);
            self.gap(packet, channel, misses);
            let back = self.last_dts.replace(dts).is_some_and(|last| signed(dts - last, WRAP) <= 0);
            if back || signed(pts - dts, WRAP) < 0 {
                misses.note(Gate::Pes, packet, || {
                    format!("PID {pid:#x}: PTS {pts}, DTS {dts} do not go forward")
                });
            }
            if let Some((first, last)) = pending.clock {
                self.lead(packet, [pts, dts], first, channel, misses);
                let left = signed(dts - last / 300, WRAP);
                if left <= 0 {
                    let late = -left as f64 / 90.0;
                    misses.note(Gate::LateUnit, packet, || {
                        format!("a unit of PID {pid:#x} was complete {late:.1} ms late")
                    });
                }
            }
        }
        self.picture(pending, &pending.bytes[header.payload..], misses);
    }

    fn lead(&mut self, packet: u64, times: [i64; 2], clock: i64, channel: &Channel, misses: &mut Misses) {
        let [pts, dts] = times.map(|time| signed(time - clock / 300, WRAP) as f64 / 90.0);
        self.pts_lead_ms = Range::with(self.pts_lead_ms, pts);
        self.dts_lead_ms = Range::with(self.dts_lead_ms, dts);
        if dts < channel.limits.lead_ms_min || pts > channel.limits.lead_ms_max {
            let pid = self.stream.pid;
            misses.note(Gate::Lead, packet, || {
                format!("PID {pid:#x}: PTS {pts:.1} ms, DTS {dts:.1} ms ahead of the clock")
            });
        }
    }

    fn gap(&mut self, packet: u64, channel: &Channel, misses: &mut Misses) {
        let ms = channel.ms(self.gap.seen(packet));
        self.pts_gap_ms_max = self.pts_gap_ms_max.max(ms);
        if self.stream.continuous && ms > channel.limits.pts_gap_ms {
            let pid = self.stream.pid;
            misses.note(Gate::PtsGap, packet, || format!("{ms:.1} ms without a PTS on PID {pid:#x}"));
        }
    }

    fn picture(&mut self, pending: &Pending, unit: &[u8], misses: &mut Misses) {
        let (pid, packet) = (self.stream.pid, pending.packet);
        let Some(picture) = picture::read(self.stream.stream_type, unit) else { return };
        self.is_picture = true;
        self.random_access += u64::from(picture.random_access || picture.recovery);
        if !picture.delimiter_first {
            misses.note(Gate::AccessUnit, packet, || format!("PID {pid:#x}: no delimiter first"));
        }
        if picture.random_access && !picture.parameters {
            misses.note(Gate::AccessUnit, packet, || format!("PID {pid:#x}: no parameter sets in front"));
        }
        let wrong = if pending.indicated {
            !picture.random_access && !picture.recovery
        } else {
            picture.random_access
        };
        if wrong {
            misses.note(Gate::RandomAccess, packet, || {
                format!("PID {pid:#x}: {picture:?}, indicator {}", pending.indicated)
            });
        }
    }

    /// The capture ends in front of this packet. A unit whose end is not known is left out.
    pub fn finish(&mut self, end: u64, channel: &Channel, misses: &mut Misses) {
        if self.came {
            self.gap(end, channel, misses);
        }
        if self.is_picture && self.random_access == 0 {
            let pid = self.stream.pid;
            misses.note(Gate::RandomAccess, end, || format!("PID {pid:#x}: decoding can begin nowhere"));
        }
    }
}

fn be(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |value, byte| value << 8 | i64::from(*byte))
}

/// The header of a whole PES packet (ISO/IEC 13818-1, 2.4.3.7).
fn header(pes: &[u8]) -> Result<Header, String> {
    let [0, 0, 1, id, _, _, marks, flags, length, ..] = *pes else {
        return Err(format!("begins with {:02x?}", &pes[..pes.len().min(9)]));
    };
    let (said, payload) = (be(&pes[4..6]), 9 + usize::from(length));
    let open = said == 0 && id & 0xF0 == 0xE0;
    if marks & 0xC0 != 0x80 || payload > pes.len() {
        return Err("a header that does not fit".to_owned());
    }
    if !open && said != pes.len() as i64 - 6 {
        return Err(format!("{said} bytes said, {} came", pes.len() - 6));
    }
    let (pts, dts) = match flags >> 6 {
        0 => (None, None),
        2 => (Some(time(pes, 9, 2)?), None),
        3 => (Some(time(pes, 9, 3)?), Some(time(pes, 14, 1)?)),
        _ => return Err("a DTS without a PTS".to_owned()),
    };
    Ok(Header { pts, dts, payload })
}

/// 33 bits in five bytes, with a prefix and three marks.
fn time(pes: &[u8], at: usize, prefix: u8) -> Result<i64, String> {
    let field = pes.get(at..at + 5).ok_or("a time beyond the end")?;
    if field[0] >> 4 != prefix || field[0] & field[2] & field[4] & 1 == 0 {
        return Err(format!("a time written as {field:02x?}"));
    }
    let [high, middle, low] = [i64::from(field[0] >> 1 & 7), be(&field[1..3]) >> 1, be(&field[3..5]) >> 1];
    Ok(high << 30 | middle << 15 | low)
}
