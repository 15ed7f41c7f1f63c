//! A source of access units as a `ts` log has them, and a reader of constant rate that judges by positions alone
//! (ISO/IEC 13818-1, TR 101 290, TS 101 211). Neither shares a line with `src/`.

use super::stream::{section, section_packet};
use std::collections::BTreeMap;

pub const MS: i64 = 27_000;
pub const SOURCE_PMT: u16 = 0x1000;

/// A track of a source.
#[derive(Clone, Debug)]
pub struct Track {
    pub pid: u16,
    pub stream_type: u8,
    pub stream_id: u8,
    pub descriptors: Vec<u8>,
    /// Units a second, in thousandths.
    pub mhz: u64,
    pub bits_per_second: u64,
    /// Units from one that can be started with to the next; 1: each.
    pub gop: u64,
    /// Pictures that can be started with are as long as so many others.
    pub key_units: u64,
    /// What they begin with.
    pub head: Vec<u8>,
}

impl Track {
    pub fn video(bits_per_second: u64) -> Track {
        Track {
            pid: 0x100,
            stream_type: 0x1B,
            stream_id: 0xE0,
            descriptors: Vec::new(),
            mhz: 25_000,
            bits_per_second,
            gop: 50,
            key_units: 5,
            head: Vec::new(),
        }
    }

    pub fn audio(pid: u16, bits_per_second: u64) -> Track {
        let descriptors = vec![0x0A, 4, b'u', b'n', b'd', 0];
        let (stream_type, stream_id, head) = (0x0F, 0xC0, Vec::new());
        Track {
            pid,
            stream_type,
            stream_id,
            descriptors,
            mhz: 46_875,
            bits_per_second,
            gop: 1,
            key_units: 1,
            head,
        }
    }
}

/// One access unit, packed.
pub struct Entry {
    /// When it comes, in microseconds.
    pub at_us: u64,
    pub bytes: Vec<u8>,
}

/// Makes units in the order of their decoding.
pub struct Source {
    pub tracks: Vec<Track>,
    next: Vec<u64>,
    counters: BTreeMap<u16, u8>,
    seed: u64,
    /// When its clock began here, in microseconds, and what it said, in ticks of 90 kHz.
    pub begun_us: u64,
    pub stamp: u64,
    /// What it is fast by.
    pub ppm: f64,
    pub jitter_us: u64,
    /// Pictures are reordered.
    pub reorder: bool,
    last_at: u64,
    tables_at: u64,
    pub version: u8,
}

impl Source {
    pub fn new(tracks: Vec<Track>, seed: u64) -> Source {
        let next = vec![0; tracks.len()];
        Source {
            tracks,
            next,
            counters: BTreeMap::new(),
            seed,
            begun_us: 0,
            stamp: 90_000,
            ppm: 0.0,
            jitter_us: 0,
            reorder: true,
            last_at: 0,
            tables_at: 0,
            version: 0,
        }
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below.max(1)
    }

    /// Forgets units of the next `us` microseconds: they are lost, or the source is silent.
    pub fn skip(&mut self, us: u64) {
        for (track, next) in self.tracks.iter().zip(&mut self.next) {
            *next += us * track.mhz / 1_000_000_000;
        }
    }

    fn tables(&mut self) -> Vec<u8> {
        let pat = section(0, 1, 0, &[0, 1, 0xE0 | (SOURCE_PMT >> 8) as u8, SOURCE_PMT as u8]);
        let mut body = vec![0xE1, 0, 0xF0, 0];
        for track in &self.tracks {
            body.extend([track.stream_type, 0xE0 | (track.pid >> 8) as u8, track.pid as u8]);
            body.extend([0xF0, track.descriptors.len() as u8]);
            body.extend(&track.descriptors);
        }
        let pmt = section(2, 1, self.version, &body);
        let mut out = Vec::new();
        for (pid, table) in [(0, pat), (SOURCE_PMT, pmt)] {
            let mut packet = section_packet(pid, &table);
            packet[3] |= self.count(pid);
            out.extend(packet);
        }
        out
    }

    fn count(&mut self, pid: u16) -> u8 {
        let counter = self.counters.entry(pid).or_insert(15);
        *counter = (*counter + 1) & 15;
        *counter
    }

    /// The next unit with its tables.
    pub fn entry(&mut self) -> Entry {
        let time_of = |track: &Track, n: u64| n as f64 * 1e9 / track.mhz as f64;
        let (at, _) = (self.tracks.iter().zip(&self.next).enumerate())
            .map(|(at, (track, n))| (at, time_of(track, *n)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        let (track, n) = (self.tracks[at].clone(), self.next[at]);
        self.next[at] += 1;
        let made_us = time_of(&track, n) / (1.0 + self.ppm / 1e6);
        let late = self.random(self.jitter_us);
        let at_us = (self.begun_us + made_us as u64 + late).max(self.last_at);
        self.last_at = at_us;
        let dts = self.stamp + (time_of(&track, n) * 0.09).round() as u64;
        let video = track.stream_id == 0xE0;
        let key = n % track.gop == 0;
        // I P B B: pictures that others are made from are shown three later.
        let shift = if video && self.reorder { if n % 3 == 0 { 3 } else { 1 } } else { 0 };
        let pts = dts + shift * 90_000_000 / track.mhz;
        let mean = track.bits_per_second * 1000 / track.mhz / 8;
        let mean = if video {
            let more = track.key_units - 1;
            let unit = mean * track.gop / (track.gop + more);
            let size = unit / 2 + self.random(unit);
            if key && track.gop > 1 { size + unit * more } else { size }
        } else {
            mean
        };
        let mut payload: Vec<u8> = (0..mean.max(1)).map(|i| (i * 7 + n) as u8 | 1).collect();
        if key {
            payload.splice(0..0, track.head.iter().copied());
        }
        let mut bytes = Vec::new();
        if self.tables_at <= at_us || (key && video) {
            bytes.extend(self.tables());
            self.tables_at = at_us + 90_000;
        }
        bytes.extend(self.packed(&track, key, pts, dts, &payload));
        Entry { at_us, bytes }
    }

    fn packed(&mut self, track: &Track, key: bool, pts: u64, dts: u64, payload: &[u8]) -> Vec<u8> {
        let time = |mark: u8, t: u64| {
            let t = t % (1 << 33);
            [
                mark << 4 | (t >> 29) as u8 & 14 | 1,
                (t >> 22) as u8,
                (t >> 14) as u8 | 1,
                (t >> 7) as u8,
                (t << 1) as u8 | 1,
            ]
        };
        let both = pts != dts;
        let mut pes = vec![0, 0, 1, track.stream_id, 0, 0, 0x84, if both { 0xC0 } else { 0x80 }];
        pes.push(if both { 10 } else { 5 });
        pes.extend(time(if both { 3 } else { 2 }, pts));
        if both {
            pes.extend(time(1, dts));
        }
        pes.extend(payload);
        if let Ok(length) = u16::try_from(pes.len() - 6) {
            pes[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let mut out = Vec::new();
        let (mut rest, mut first) = (&pes[..], true);
        while !rest.is_empty() {
            let mut field: Vec<u8> = Vec::new();
            if first && (key || track.stream_id == 0xE0) {
                field = vec![0, if key { 0x50 } else { 0x10 }];
                field.extend(super::stream::pcr_bytes(dts.saturating_sub(30_000) * 300));
            }
            let room = 184 - field.len();
            if rest.len() < room {
                if field.is_empty() {
                    field.push(0);
                }
                if 184 - field.len() > rest.len() && field.len() == 1 {
                    field.push(0);
                }
                field.resize(184 - rest.len(), 0xFF);
            }
            let taken = 184 - field.len();
            if let Some(length) = field.len().checked_sub(1) {
                field[0] = length as u8;
            }
            let control = if field.is_empty() { 0x10 } else { 0x30 };
            let counter = self.count(track.pid);
            out.extend([
                0x47,
                (track.pid >> 8) as u8 | u8::from(first) << 6,
                track.pid as u8,
                control | counter,
            ]);
            out.extend(field);
            out.extend(&rest[..taken]);
            (rest, first) = (&rest[taken..], false);
        }
        out
    }
}

/// A unit as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub pts: i64,
    pub dts: i64,
    /// The clock at its first packet, and behind its last.
    pub begun: i64,
    pub ended: i64,
    pub payload: Vec<u8>,
    pub key: bool,
}

/// What a reader found. Times in ticks of 27 MHz.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub units: BTreeMap<u16, Vec<Sent>>,
    pub pcr_interval_max: i64,
    /// In nanoseconds.
    pub pcr_off_max: f64,
    pub pcr_pids: Vec<u16>,
    /// By table, shortest and longest distance; the longest also from the first packet on and to the last.
    pub tables: BTreeMap<u8, (i64, i64)>,
    pub nulls: u64,
    pub versions: Vec<u8>,
    /// Last PMT: PCR PID, then type, PID and descriptors of each stream.
    pub streams: Vec<(u8, u16, Vec<u8>)>,
    /// Runs of packets of one PID of pictures without any other between them, the longest.
    pub run_max: usize,
}

fn be(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |n, &byte| n << 8 | i64::from(byte))
}

/// Reads a whole stream that was sent at `rate` from its first packet on. Panics where a rule is broken that must never be:
/// packets, counters, CRCs, clock, tables in a row, what no table names, units that are late or in disorder.
pub fn read(bytes: &[u8], rate: u64) -> Report {
    read_with_gaps(bytes, rate, &[])
}

/// The same of a stream from which packets were left out: in front of which packet that was written, and how many.
/// There the clock must announce that it jumps, and intervals end.
pub fn read_with_gaps(bytes: &[u8], rate: u64, gaps: &[(usize, i64)]) -> Report {
    assert_eq!(bytes.len() % 1316, 0);
    let mut report = Report::default();
    let mut counters: BTreeMap<u16, u8> = BTreeMap::new();
    let mut sections: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    let mut open: BTreeMap<u16, Sent> = BTreeMap::new();
    let mut last_table: BTreeMap<u8, i64> = BTreeMap::new();
    let (mut first_pcr, mut last_pcr, mut last_psi) = (None::<(i64, i64)>, None::<i64>, None::<(i64, i64)>);
    let (mut tb, mut run) = (0.0f64, (0u16, 0usize));
    let time = |n: i64| (i128::from(n) * 1504 * 27_000_000 / i128::from(rate)) as i64;
    let (mut left_out, mut begins, mut end) = (0, true, 0);
    for (n, packet) in bytes.chunks(188).enumerate() {
        if let Some((_, more)) = gaps.iter().find(|(at, _)| *at == n) {
            left_out += more;
            (begins, last_pcr) = (true, None);
            last_table.clear();
        }
        let n = n as i64 + left_out;
        assert_eq!(packet[0], 0x47, "packet {n}");
        assert_eq!((packet[1] & 0x80, packet[3] & 0xC0), (0, 0), "packet {n}");
        let pid = be(&packet[1..3]) as u16 & 0x1FFF;
        let now = first_pcr.map_or(time(n), |(n0, pcr0)| pcr0 + time(n) - time(n0));
        end = now;
        if pid == 0x1FFF {
            report.nulls += 1;
            run = (pid, 0);
            continue;
        }
        run = if run.0 == pid { (pid, run.1 + 1) } else { (pid, 1) };
        let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let field = if has_field { &packet[5..5 + usize::from(packet[4])] } else { &[] };
        let flags = field.first().copied().unwrap_or(0);
        let from = 4 + if has_field { 1 + field.len() } else { 0 };
        let payload = &packet[from..];
        let counter = packet[3] & 15;
        let known = counters.insert(pid, counter);
        let expected = |last: u8| if has_payload { (last + 1) & 15 } else { last };
        assert!(known.is_none_or(|last| expected(last) == counter), "packet {n}: counter of {pid:#x}");
        if flags & 0x10 != 0 {
            let pcr = (be(&field[1..6]) >> 7) * 300 + (be(&field[5..7]) & 0x1FF);
            let (n0, pcr0) = *first_pcr.get_or_insert((n, pcr));
            let exact = pcr0 as f64 + (n - n0) as f64 * 1504.0 * 27e6 / rate as f64;
            report.pcr_off_max = report.pcr_off_max.max((pcr as f64 - exact).abs() / 0.027);
            assert_eq!(flags & 0x80 != 0, std::mem::take(&mut begins), "packet {n}: the clock begins once");
            if let Some(last) = last_pcr.replace(time(n)) {
                report.pcr_interval_max = report.pcr_interval_max.max(time(n) - last);
            }
            if report.pcr_pids.last() != Some(&pid) {
                report.pcr_pids.push(pid);
            }
        } else {
            assert_eq!(flags & 0x80, 0, "packet {n}: a jump");
        }
        let now = first_pcr.map_or(time(n), |(n0, pcr0)| pcr0 + time(n) - time(n0));
        let psi =
            pid < 0x20 || (payload.len() > 4 && sections.contains_key(&pid)) || is_map(pid, packet, payload);
        if psi {
            if let Some((last_n, last_at)) = last_psi {
                // Below its drain they cannot fill the buffer.
                assert!(n > last_n + 1 || rate < 1_000_000, "packet {n}: tables in a row");
                tb = (tb - (now - last_at) as f64 / 27e6 * 1e6 / 8.0).max(0.0);
            }
            tb += 188.0;
            assert!(tb <= 512.0, "packet {n}: TBsys");
            last_psi = Some((n, now));
            let pending = sections.entry(pid).or_default();
            if packet[1] & 0x40 != 0 {
                assert!(pending.is_empty(), "packet {n}: a section is cut");
                pending.extend(&payload[1..]);
            } else {
                assert!(!pending.is_empty(), "packet {n}: no start");
                pending.extend(payload);
            }
            let len = 3 + (be(&pending[1..3]) as usize & 0xFFF);
            if pending.len() < len {
                continue;
            }
            let table = pending[..len].to_vec();
            pending.clear();
            if table[0] != 0x70 {
                assert_eq!(section_sum(&table), 0, "packet {n}: CRC");
            }
            let gap = report.tables.entry(table[0]).or_insert((i64::MAX, time(n)));
            if let Some(last) = last_table.insert(table[0], now) {
                *gap = (gap.0.min(now - last), gap.1.max(now - last));
            }
            if table[0] == 2 {
                let version = table[5] >> 1 & 31;
                if report.versions.last() != Some(&version) {
                    report.versions.push(version);
                }
                report.streams.clear();
                let mut at = 12 + (be(&table[10..12]) as usize & 0xFFF);
                while at < len - 4 {
                    let count = be(&table[at + 3..at + 5]) as usize & 0xFFF;
                    let pid = be(&table[at + 1..at + 3]) as u16 & 0x1FFF;
                    report.streams.push((table[at], pid, table[at + 5..at + 5 + count].to_vec()));
                    at += 5 + count;
                }
            }
            continue;
        }
        if !has_payload {
            continue;
        }
        let video = report.streams.iter().find(|stream| stream.1 == pid);
        let video = video.unwrap_or_else(|| panic!("packet {n}: no table names {pid:#x}")).0 == 0x1B;
        if video {
            report.run_max = report.run_max.max(run.1);
        }
        assert!(first_pcr.is_some(), "packet {n}: media in front of the clock");
        if packet[1] & 0x40 != 0 {
            if let Some(unit) = open.remove(&pid) {
                report.units.entry(pid).or_default().push(unit);
            }
            assert_eq!(payload[..3], [0, 0, 1], "packet {n}");
            let stamp = |at: usize, mark: u8| {
                let field = &payload[at..at + 5];
                assert_eq!((field[0] >> 4, field[0] & 1, field[2] & 1, field[4] & 1), (mark, 1, 1, 1));
                (i64::from(field[0] >> 1 & 7) << 30 | (be(&field[1..3]) >> 1) << 15 | be(&field[3..5]) >> 1)
                    * 300
            };
            let both = payload[7] >> 6 == 3;
            let pts = stamp(9, if both { 3 } else { 2 });
            let dts = if both { stamp(14, 1) } else { pts };
            let data = payload[9 + usize::from(payload[8])..].to_vec();
            let key = flags & 0x40 != 0;
            open.insert(pid, Sent { pts, dts, begun: now, ended: now, payload: data, key });
        } else {
            let unit = open.get_mut(&pid).unwrap_or_else(|| panic!("packet {n}: {pid:#x} without a start"));
            unit.payload.extend(payload);
        }
        let unit = open.get_mut(&pid).unwrap();
        unit.ended = now + 1504 * 27_000_000 / rate as i64;
        assert!(unit.ended <= unit.dts, "packet {n}: {} ms late", (unit.ended - unit.dts) / MS);
    }
    for (table, last) in last_table {
        let gap = report.tables.entry(table).or_insert((i64::MAX, 0));
        gap.1 = gap.1.max(end - last);
    }
    for (pid, units) in &report.units {
        assert!(units.windows(2).all(|two| two[0].dts <= two[1].dts), "{pid:#x}: disorder");
        assert!(units.iter().all(|unit| unit.pts >= unit.dts));
    }
    report
}

/// A stream as a receiver of some PIDs takes it: all others but those of tables (below 0x20) are nulls to it.
pub fn only(bytes: &[u8], wanted: impl Fn(u16) -> bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for packet in bytes.chunks_mut(188) {
        let pid = be(&packet[1..3]) as u16 & 0x1FFF;
        if pid >= 0x20 && !wanted(pid) {
            packet[1..4].copy_from_slice(&[0x1F, 0xFF, 0x10]);
        }
    }
    bytes
}

/// A packet that begins with a section of a PMT.
fn is_map(pid: u16, packet: &[u8], payload: &[u8]) -> bool {
    pid >= 0x20
        && packet[1] & 0x40 != 0
        && payload.len() > 3
        && payload[..2] == [0, 2]
        && payload[2] & 0xF0 == 0xB0
}

fn section_sum(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let feedback = (register >> 31) as u8 ^ bit;
        register = register << 1 ^ if feedback == 1 { 0x04C1_1DB7 } else { 0 };
    }
    register
}

impl Report {
    /// Most bytes of units that a decoder holds, each from the time its last packet came to its decoding.
    pub fn held_max(&self, pid: u16) -> usize {
        let units = &self.units[&pid];
        let held = |at: usize| {
            let now = units[at].ended;
            units[..=at].iter().rev().take_while(|unit| unit.dts > now).map(|unit| unit.payload.len()).sum()
        };
        (0..units.len()).map(held).max().unwrap()
    }

    /// The gates of a channel, in the domain of positions. `tables`: those that it must have.
    pub fn holds_gates(&self, tables: &[u8]) {
        assert!(self.pcr_interval_max <= 38 * MS, "PCR: {} ms", self.pcr_interval_max / MS);
        assert!(self.pcr_off_max <= 100.0, "PCR: {} ns", self.pcr_off_max);
        for table in tables {
            let longest = match table {
                0x00 | 0x02 => 100,
                0x42 => 1000,
                _ => 10_000,
            };
            let gap = self.tables.get(table).unwrap_or_else(|| panic!("table {table:#x} never comes"));
            assert!(gap.0 >= 25 * MS && gap.1 <= longest * MS, "table {table:#x}: {gap:?}");
        }
        for (pid, units) in &self.units {
            for unit in units {
                let lead = (unit.pts - unit.begun) / MS;
                assert!((200..=900).contains(&lead), "{pid:#x}: PTS {lead} ms in front of the PCR");
            }
        }
    }
}
