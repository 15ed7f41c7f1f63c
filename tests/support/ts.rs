//! An independent reading of transport streams, and the rules that receivers rely on (ISO/IEC 13818-1, TR 101 290).
//!
//! It shares no line with `src/`. [`check`] holds a whole stream to the rules and panics with the packet's number where
//! one is broken: packets in sync, counters without a gap that nobody announced, tables whole and in time, nothing that
//! no table names, a clock that comes in time and does not go back, access units whole and ahead of the clock.

use std::collections::{BTreeMap, BTreeSet};

const PACKET: usize = 188;

/// How far apart things may be, in ms of the stream's own time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// PAT, and each PMT.
    pub tables: u64,
    /// SDT.
    pub names: u64,
    /// PCR.
    pub pcr: u64,
    /// A PTS or DTS is ahead of the PCR by this at most.
    pub lead: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { tables: 100, names: 1000, pcr: 40, lead: 1000 }
    }
}

/// One access unit. Times in ticks of 90 kHz.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub pts: u64,
    pub dts: u64,
    /// The random access indicator of its first packet.
    pub random_access: bool,
    pub data: Vec<u8>,
}

/// One elementary stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    pub stream_type: u8,
    pub descriptors: Vec<u8>,
    pub units: Vec<Unit>,
}

/// What a stream says.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By PID.
    pub streams: BTreeMap<u16, Stream>,
    /// Versions of the PMT in order.
    pub versions: Vec<u8>,
    pub pcr_pid: u16,
    /// Provider and name of the service.
    pub service: Option<(String, String)>,
    pub pcrs: usize,
    /// Announced jumps of counters: packets that carry the indicator.
    pub discontinuities: usize,
}

#[derive(Default)]
struct Pid {
    counter: Option<u8>,
    /// Of the unit or section under way.
    pending: Vec<u8>,
    random_access: bool,
    /// The table came at this packet; its time is that of the next access unit.
    last_ms: Option<u64>,
}

#[derive(Default)]
struct Reader {
    limits: Limits,
    pids: BTreeMap<u16, Pid>,
    report: Report,
    pmt_pid: Option<u16>,
    /// Newest PCR, in ticks of 90 kHz.
    pcr: Option<u64>,
    /// Newest decoding time, in ms.
    now_ms: u64,
    /// Tables whose time is not known yet.
    untimed: BTreeSet<u16>,
    after_jump: bool,
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, &byte| n << 8 | u64::from(byte))
}

/// Bit by bit, as the standard draws it.
fn crc(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let feedback = (register >> 31) as u8 ^ bit;
        register = register << 1 ^ if feedback == 1 { 0x04C1_1DB7 } else { 0 };
    }
    register
}

/// Checks a whole stream.
pub fn check(bytes: &[u8], limits: Limits) -> Report {
    assert_eq!(bytes.len() % PACKET, 0, "the stream ends inside a packet");
    let mut reader = Reader { limits, ..Reader::default() };
    for (number, packet) in bytes.chunks(PACKET).enumerate() {
        reader.packet(number, packet);
    }
    let pending: Vec<u16> = reader.pids.keys().copied().collect();
    for pid in pending {
        reader.finish(pid, "the end");
    }
    reader.report
}

impl Reader {
    fn packet(&mut self, number: usize, packet: &[u8]) {
        assert_eq!(packet[0], 0x47, "packet {number}: sync byte");
        assert_eq!(packet[1] & 0x80, 0, "packet {number}: transport error");
        assert_eq!(packet[3] & 0xC0, 0, "packet {number}: scrambled");
        let pid = be(&packet[1..3]) as u16 & 0x1FFF;
        let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let (start, counter) = (packet[1] & 0x40 != 0, packet[3] & 15);
        let field = if has_field { &packet[5..5 + usize::from(packet[4])] } else { &[] };
        let flags = field.first().copied().unwrap_or(0);
        let payload = &packet[4 + if has_field { 1 + field.len() } else { 0 }..];
        assert_eq!(has_payload, !payload.is_empty(), "packet {number}: payload");
        if number == 0 {
            assert!(pid == 0 || flags & 0x80 != 0, "the stream begins with PID {pid:#x}");
        }
        let known =
            pid == 0 || pid == 0x11 || Some(pid) == self.pmt_pid || self.report.streams.contains_key(&pid);
        assert!(known || flags & 0x80 != 0, "packet {number}: no table names PID {pid:#x}");
        let announced = flags & 0x80 != 0;
        if announced {
            self.report.discontinuities += 1;
            self.after_jump = true;
            // What came before the jump came whole.
            self.finish(pid, &format!("packet {number}"));
        }
        let state = self.pids.entry(pid).or_default();
        if let Some(last) = state.counter.replace(counter).filter(|_| !announced) {
            let expected = if has_payload { (last + 1) & 15 } else { last };
            assert_eq!(counter, expected, "packet {number}: counter of PID {pid:#x}");
        }
        if flags & 0x10 != 0 {
            assert_eq!(pid, self.report.pcr_pid, "packet {number}: a PCR");
            self.pcr(number, &field[1..7]);
        }
        if !has_payload {
            return;
        }
        if start {
            self.finish(pid, &format!("packet {number}"));
            let state = self.pids.entry(pid).or_default();
            state.random_access = flags & 0x40 != 0;
            state.pending = payload.to_vec();
        } else {
            let state = self.pids.entry(pid).or_default();
            assert!(!state.pending.is_empty(), "packet {number}: PID {pid:#x} goes on without a start");
            state.pending.extend(payload);
        }
        let is_table = pid == 0 || pid == 0x11 || Some(pid) == self.pmt_pid;
        if is_table {
            self.section(number, pid);
        } else if start {
            self.time(number, payload);
        }
    }

    fn pcr(&mut self, number: usize, field: &[u8]) {
        let base = be(&field[..5]) >> 7;
        let jumped = std::mem::take(&mut self.after_jump);
        if let Some(last) = self.pcr.replace(base).filter(|_| !jumped) {
            assert!(base >= last, "packet {number}: the PCR goes back");
            let gap = (base - last) / 90;
            assert!(gap <= self.limits.pcr, "packet {number}: {gap} ms without a PCR");
        }
        self.report.pcrs += 1;
    }

    /// A unit begins: that is the time now, also of the tables in front of it.
    fn time(&mut self, number: usize, pes: &[u8]) {
        let (_, dts, _) = header(pes);
        let pcr = self.pcr.unwrap_or_else(|| panic!("packet {number}: media in front of the first PCR"));
        assert!(dts > pcr, "packet {number}: DTS {dts} is not ahead of PCR {pcr}");
        assert!(
            (dts - pcr) / 90 <= self.limits.lead,
            "packet {number}: DTS is {} ms ahead",
            (dts - pcr) / 90
        );
        self.now_ms = self.now_ms.max(dts / 90);
        for pid in std::mem::take(&mut self.untimed) {
            let limit = if pid == 0x11 { self.limits.names } else { self.limits.tables };
            let state = self.pids.get_mut(&pid).unwrap();
            if let Some(last) = state.last_ms.replace(self.now_ms) {
                let gap = self.now_ms - last;
                assert!(gap <= limit, "packet {number}: {gap} ms without the table of PID {pid:#x}");
            }
        }
        for (pid, limit) in [(0, self.limits.tables), (0x11, self.limits.names)] {
            let last = self.pids.get(&pid).and_then(|state| state.last_ms);
            let last = last.unwrap_or_else(|| panic!("packet {number}: media in front of PID {pid:#x}"));
            assert!(self.now_ms - last <= limit, "packet {number}: PID {pid:#x} is late");
        }
    }

    fn section(&mut self, number: usize, pid: u16) {
        let pending = &self.pids[&pid].pending;
        let from = 1 + usize::from(pending[0]);
        let Some(head) = pending.get(from..from + 3) else { return };
        let len = 3 + (be(&head[1..3]) as usize & 0xFFF);
        let Some(section) = pending.get(from..from + len).map(<[u8]>::to_vec) else { return };
        assert!(pending[from + len..].iter().all(|byte| *byte == 0xFF), "packet {number}: stuffing");
        assert_eq!(crc(&section), 0, "packet {number}: CRC of PID {pid:#x}");
        assert_eq!(section[5] & 1, 1, "packet {number}: current");
        self.pids.get_mut(&pid).unwrap().pending.clear();
        self.untimed.insert(pid);
        let body = &section[8..len - 4];
        match (pid, section[0]) {
            (0, 0) => {
                assert_eq!(body.len(), 4, "one program");
                self.pmt_pid = Some(be(&body[2..4]) as u16 & 0x1FFF);
            }
            (0x11, 0x42) => {
                let text = |from: usize| {
                    let len = usize::from(body[from]);
                    (String::from_utf8_lossy(&body[from + 1..from + 1 + len]).into_owned(), from + 1 + len)
                };
                assert_eq!(body[8], 0x48, "a service descriptor");
                let (provider, next) = text(11);
                self.report.service = Some((provider, text(next).0));
            }
            (_, 2) => self.program(body, section[5] >> 1 & 31),
            (pid, table) => panic!("packet {number}: table {table:#x} on PID {pid:#x}"),
        }
    }

    fn program(&mut self, body: &[u8], version: u8) {
        let mut streams = BTreeMap::new();
        let mut at = 4 + (be(&body[2..4]) as usize & 0xFFF);
        while at < body.len() {
            let pid = be(&body[at + 1..at + 3]) as u16 & 0x1FFF;
            let len = be(&body[at + 3..at + 5]) as usize & 0xFFF;
            let descriptors = body[at + 5..at + 5 + len].to_vec();
            streams.insert(pid, (body[at], descriptors));
            at += 5 + len;
        }
        let pcr_pid = be(&body[..2]) as u16 & 0x1FFF;
        let now: BTreeMap<u16, (u8, Vec<u8>)> = self
            .report
            .streams
            .iter()
            .map(|(pid, s)| (*pid, (s.stream_type, s.descriptors.clone())))
            .collect();
        if self.report.versions.last() != Some(&version) {
            self.report.versions.push(version);
        } else {
            assert!(
                streams.iter().all(|(pid, said)| now.get(pid) == Some(said)),
                "another PMT of version {version}"
            );
        }
        assert!(streams.contains_key(&pcr_pid), "the PCR's PID {pcr_pid:#x} is in the PMT");
        self.report.pcr_pid = pcr_pid;
        for (pid, (stream_type, descriptors)) in streams {
            let stream = self.report.streams.entry(pid).or_default();
            (stream.stream_type, stream.descriptors) = (stream_type, descriptors);
        }
    }

    /// The access unit of `pid` is complete.
    fn finish(&mut self, pid: u16, at: &str) {
        let Some(stream) = self.report.streams.get_mut(&pid) else { return };
        let state = self.pids.entry(pid).or_default();
        let pes = std::mem::take(&mut state.pending);
        if pes.is_empty() {
            return;
        }
        let (pts, dts, from) = header(&pes);
        let length = be(&pes[4..6]) as usize;
        // AV1 is private data by its number.
        let video = pes[3] & 0xF0 == 0xE0 || stream.descriptors.starts_with(b"\x05\x04AV01");
        assert!(
            length == pes.len() - 6 || (video && length == 0),
            "{at}: {length} bytes, {} came",
            pes.len() - 6
        );
        assert!(pts >= dts, "{at}: PTS {pts}, DTS {dts}");
        if let Some(last) = stream.units.last() {
            assert!(dts >= last.dts, "{at}: DTS {dts} of PID {pid:#x} behind {}", last.dts);
        }
        let random_access = state.random_access;
        stream.units.push(Unit { pts, dts, random_access, data: pes[from..].to_vec() });
    }
}

/// PTS, DTS and where the payload of a PES packet begins.
fn header(pes: &[u8]) -> (u64, u64, usize) {
    assert_eq!(pes[..3], [0, 0, 1], "start of a PES packet");
    assert_eq!(pes[6] & 0xF0, 0x80, "a PES header");
    let time = |at: usize, mark: u8| {
        let field = &pes[at..at + 5];
        assert_eq!((field[0] >> 4, field[0] & 1, field[2] & 1, field[4] & 1), (mark, 1, 1, 1), "marker bits");
        be(&[field[0] >> 1 & 7]) << 30 | (be(&field[1..3]) >> 1) << 15 | be(&field[3..5]) >> 1
    };
    let from = 9 + usize::from(pes[8]);
    match pes[7] >> 6 {
        2 => (time(9, 2), time(9, 2), from),
        3 => (time(9, 3), time(14, 1), from),
        other => panic!("PTS flags {other}"),
    }
}

#[test]
fn reads_what_ffmpeg_wrote() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for (name, stream_type) in [("h264", 0x1B), ("aac", 0x0F), ("ac3", 0x81)] {
        let bytes = std::fs::read(folder.join(format!("ts_{name}_head.ts"))).unwrap();
        // It begins with the SDT and is cut anywhere.
        let mut reader =
            Reader { limits: Limits { tables: 1000, pcr: 1000, ..Limits::default() }, ..Reader::default() };
        let sdt = &bytes[..PACKET];
        for (number, packet) in bytes[PACKET..2 * PACKET].chunks(PACKET).chain([sdt]).enumerate() {
            reader.packet(number, packet);
        }
        for (number, packet) in bytes[2 * PACKET..].chunks(PACKET).enumerate() {
            reader.packet(number + 2, packet);
        }
        let report = reader.report;
        assert_eq!(report.service, Some(("FFmpeg".to_owned(), "Service01".to_owned())), "{name}");
        assert_eq!((report.streams[&0x100].stream_type, report.pcr_pid), (stream_type, 0x100), "{name}");
        let first = report.streams[&0x100].units.first().map(|unit| (unit.pts, unit.dts));
        assert_eq!(
            first,
            Some(if name == "h264" { (133_200, 126_000) } else { (126_000, 126_000) }),
            "{name}"
        );
    }
}

#[test]
fn a_checker_of_transport_streams_that_cannot_fail_checks_nothing() {
    let section = |body: &[u8]| {
        let sum = crc(body);
        [&[0], body, &sum.to_be_bytes()].concat()
    };
    let packet = |pid: u16, counter: u8, start: bool, payload: &[u8]| {
        let [high, low] = pid.to_be_bytes();
        let mut out = vec![0x47, high | if start { 0x40 } else { 0 }, low, 0x10 | counter];
        out.extend(payload);
        out.resize(PACKET, 0xFF);
        out
    };
    let pat = section(&[0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0]);
    let pmt = section(&[2, 0xB0, 18, 0, 1, 0xC1, 0, 0, 0xE1, 0, 0xF0, 0, 0x0F, 0xE1, 0, 0xF0, 0]);
    let sdt = section(b"\x42\xF0\x18\0\x01\xC1\0\0\xFF\x01\xFF\0\x01\xFC\x80\x07\x48\x05\x01\x01p\x01n");
    let stamp = |ms: u64| {
        let ticks = ms * 90;
        [
            0x21 | (ticks >> 29) as u8 & 14,
            (ticks >> 22) as u8,
            (ticks >> 14) as u8 | 1,
            (ticks >> 7) as u8,
            (ticks << 1) as u8 | 1,
        ]
    };
    // A sound at `ms` with a PCR 300 ms earlier.
    let sound = |counter: u8, ms: u64, lead: u64| {
        let base = (ms - lead) * 90;
        let mut out = vec![0x47, 0x41, 0, 0x30 | counter, 7, 0x50];
        out.extend(&(base << 15).to_be_bytes()[2..]);
        out.extend([0, 0, 1, 0xC0, 0, 170, 0x80, 0x80, 5]);
        out.extend(stamp(ms));
        out.resize(PACKET, 0xAA);
        out
    };
    let good = vec![
        packet(0, 0, true, &pat),
        packet(0x1000, 0, true, &pmt),
        packet(0x11, 0, true, &sdt),
        sound(0, 1000, 300),
        sound(1, 1030, 300),
        sound(2, 1060, 300),
    ];
    let report = check(&good.concat(), Limits::default());
    assert_eq!((report.streams[&0x100].units.len(), report.pcrs), (3, 3));
    type Fault = (&'static str, fn(&mut Vec<Vec<u8>>));
    let faults: [Fault; 12] = [
        ("sync", |p| p[4][0] = 0x48),
        ("error bit", |p| p[4][1] |= 0x80),
        ("a lost packet", |p| drop(p.remove(4))),
        ("a packet twice", |p| p.insert(4, p[3].clone())),
        ("CRC", |p| p[1][20] ^= 1),
        ("no PAT first", |p| p.swap(0, 1)),
        ("no SDT", |p| drop(p.remove(2))),
        ("an unknown PID", |p| p[5][2] = 7),
        ("PCR back", |p| p[4][8] = 0),
        ("length", |p| p[4][17] = 160),
        ("half a packet", |p| p[5].truncate(100)),
        ("a PMT without the PCR's PID", |p| p[1][14] = 0xE2),
    ];
    for (what, spoil) in faults {
        let mut spoiled = good.clone();
        spoil(&mut spoiled);
        let found = std::panic::catch_unwind(|| check(&spoiled.concat(), Limits::default())).is_err();
        assert!(found, "{what} was not found");
    }
    for (what, last) in [
        ("40 ms without a PCR", sound(2, 1071, 300)),
        ("a time behind the clock", sound(2, 1060, 0)),
        ("a time far ahead", [&good[5][..10], &[0x10], &good[5][11..]].concat()),
        ("100 ms without tables", sound(2, 1060, 300)),
    ] {
        let mut spoiled = good.clone();
        spoiled[5] = last;
        let mut limits = Limits::default();
        if what.contains("tables") {
            limits.tables = 50;
        }
        if what.contains("far") {
            limits.lead = 250;
        }
        assert!(
            std::panic::catch_unwind(|| check(&spoiled.concat(), limits)).is_err(),
            "{what} was not found"
        );
    }
}
