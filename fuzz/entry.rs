//! What each fuzz target does with its input, for the fuzzer and for the replay on stable (`tests/fuzz_corpus.rs`).
//!
//! An entry fails by panicking: in the product's code, or in an assertion here about what must hold for any input.

use bytes::Bytes;
use headgate::{
    config::{Fec, NAME_BYTES_MAX},
    media::{Frame, Kind, Mono, Packet, Tag, TrackTable, tag},
    monitor::{self, Monitor, Options},
    proto::{
        http,
        rtmp::{Event, ServerSession, SessionConfig},
        rtp_ts::{self, FecEncoder, Receiver, receiver::HEAP_BYTES_MAX},
        ts::{self, Demux, Output, PICTURE_BYTES_MAX, Tally},
    },
    wire::{
        aac::AacConfig,
        amf::Bounds,
        amf0, amf3,
        av1::Av1Config,
        capture::{CaptureReader, Datagram},
        flac::StreamInfo,
        flv::{FlvItem, FlvReader},
        h264,
        h265::HevcConfig,
        opus,
        rtmp::{
            chunk::{ChunkReader, Limits, Message},
            handshake::{ClientHandshake, PACKET_BYTES, ServerHandshake},
        },
        rtp::RtpPacket,
        ts::{
            PACKET_BYTES as TS_PACKET_BYTES,
            framing::{DatagramSync, Framer, Unit},
            packet::Packet as TsPacket,
            pes::{PesHeader, Unwrap},
            section::{Assembler, SECTION_BYTES_MAX, Section},
            tables::{self, Cat, Nit, Pat, Pmt, Sdt},
            text,
            write::{adts::Adts, annexb::AnnexB, opus::channel_config},
        },
        vp9::VpConfig,
    },
};
use std::time::Duration;

#[path = "multiplex.rs"]
pub mod multiplex;

/// An entry function.
pub type Entry = fn(&[u8]);

/// All targets by the name of their corpus folder.
pub const TARGETS: &[(&str, Entry)] = &[
    ("amf0", amf0),
    ("amf3", amf3),
    ("codec_config", codec_config),
    ("flv_reader", flv_reader),
    ("handshake", handshake),
    ("http_head", http_head),
    ("mux", multiplex::mux),
    ("rtmp_chunk", rtmp_chunk),
    ("rtmp_session", rtmp_session),
    ("rtp_receiver", rtp_receiver),
    ("tag_inspect", tag_inspect),
    ("track_table", track_table),
    ("ts_demux", ts_demux),
    ("ts_frames", ts_frames),
];

/// The most that decoding a body may leave in memory, in bytes, as a multiple of what it was allowed to cost.
const VALUE_BYTES_MAX: usize = 128;

/// AMF0 values, and AMF3 ones inside them. What is read must be writable and readable again.
pub fn amf0(data: &[u8]) {
    // A command's bounds allow less than those of data, and nothing else.
    let values = amf0::decode_all(data);
    if let Ok(command) = amf0::decode_within(data, Bounds::COMMAND) {
        assert_eq!(Ok(command.len()), values.as_ref().map(Vec::len));
        assert!(command.len() <= Bounds::COMMAND.elements as usize);
    }
    match values {
        Ok(values) => round_trip(&values),
        Err(error) => assert!(error.offset <= data.len()),
    }
}

/// AMF3 values.
pub fn amf3(data: &[u8]) {
    if let Ok(command) = amf3::decode_within(data, Bounds::COMMAND) {
        assert!(command.len() <= Bounds::COMMAND.elements as usize);
    }
    match amf3::decode_all(data) {
        Ok(values) => round_trip(&values),
        Err(error) => assert!(error.offset <= data.len()),
    }
}

fn round_trip(values: &[amf0::Value]) {
    let mut encoded = Vec::new();
    for value in values {
        value.encode(&mut encoded);
    }
    let bounds = Bounds::DATA;
    assert!(encoded.len() <= bounds.text_bytes + VALUE_BYTES_MAX * bounds.elements as usize);
    // References and short forms expand, so the second reading may meet a bound that the first did not.
    if let Ok(again) = amf0::decode_all(&encoded) {
        assert_eq!(again.len(), values.len());
    }
}

/// What a peer sends first, read as a server and as a client; the first byte is the size of the pieces it comes in. The
/// cut must not matter.
pub fn handshake(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let server = |piece: usize| {
        let (mut server, mut out) = (ServerHandshake::new([7; 32]), Vec::new());
        let outcome = feed(stream, piece, |bytes| server.read(5, bytes, &mut out));
        assert!(out.is_empty() || out.len() == 1 + 2 * PACKET_BYTES, "answered once, in full");
        assert!(server.heap_bytes() <= 4 * PACKET_BYTES);
        assert!(outcome.is_err() || out.is_empty() == (stream.len() <= PACKET_BYTES));
        (outcome, out, server.schema())
    };
    assert_eq!(server(usize::from(piece)), server(stream.len()));
    let client = |piece: usize| {
        let mut out = Vec::new();
        let mut client = ClientHandshake::new(1, [3; 32], &mut out);
        let outcome = feed(stream, piece, |bytes| client.read(5, bytes, &mut out));
        assert!([1, 2].contains(&(out.len() / PACKET_BYTES)));
        (outcome, out)
    };
    assert_eq!(client(usize::from(piece)), client(stream.len()));
}

/// Feeds `stream` in pieces; how many bytes were taken when the handshake was complete, `None` if it was not.
fn feed<E>(
    stream: &[u8],
    piece: usize,
    mut read: impl FnMut(&[u8]) -> Result<(usize, bool), E>,
) -> Result<Option<usize>, E> {
    let mut taken = 0;
    for bytes in stream.chunks(piece.max(1)) {
        let (used, done) = read(bytes)?;
        taken += used;
        if done {
            return Ok(Some(taken));
        }
        assert_eq!(used, bytes.len(), "before the end everything is taken");
    }
    Ok(None)
}

/// Decoder configuration records, and what a transport stream makes of them; the first byte chooses the codec.
pub fn codec_config(data: &[u8]) {
    let Some((codec, record)) = data.split_first() else { return };
    match codec % 7 {
        0 => {
            drop(h264::sps_of_avcc(record).and_then(h264::Sps::parse).map(|sps| sps.profile_text()));
            byte_stream(AnnexB::of_avcc(record), record);
        }
        1 => {
            drop(HevcConfig::parse(record).map(|hevc| hevc.profile_text()));
            byte_stream(AnnexB::of_hvcc(record), record);
        }
        2 => drop(Av1Config::parse(record).map(|av1| av1.profile_text())),
        3 => drop(VpConfig::parse(record).map(|vp| vp.profile_text())),
        4 => {
            drop(AacConfig::parse(record).map(|aac| aac.profile_text()));
            let _header = Adts::of_config(record).map(|adts| adts.header(record.len()));
        }
        5 => assert!(channel_config(record).is_none_or(|code| opus::channels(record) == Some(code.into()))),
        _ => drop(StreamInfo::parse(record)),
    }
}

/// The record stands for an access unit too. What is told to be the length must be the length.
fn byte_stream(of: Option<AnnexB>, unit: &[u8]) {
    let Some(of) = of else { return };
    let length = || {
        let mut bytes = 0;
        let whole = of.convert(unit, true, |part| {
            bytes += part.len();
            true
        });
        whole.then_some(bytes)
    };
    assert_eq!(length(), length());
    assert!(!of.convert(unit, true, |_| false));
}

/// An FLV byte stream; the first byte is the size of the pieces it comes in. The cut must not matter.
pub fn flv_reader(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let read = |piece: usize| {
        let (mut reader, mut items) = (FlvReader::with_limit(64 * 1024), Vec::new());
        for bytes in stream.chunks(piece.max(1)) {
            reader.push(bytes);
            loop {
                match reader.next_item() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(error) => return (items, Some(error)),
                }
            }
        }
        (items, None)
    };
    let pieces = read(usize::from(piece));
    assert_eq!(pieces, read(stream.len()));
    for item in pieces.0 {
        if let FlvItem::Tag(header, body) = item {
            assert_eq!(header.size as usize, body.len());
        }
    }
}

/// An HTTP request head; a reader that gets it in pieces must come to the same.
pub fn http_head(data: &[u8]) {
    let whole = http::parse(data);
    for piece in [1, 7, 1000] {
        let mut reader = http::HeadReader::new();
        let outcome =
            data.chunks(piece).map(|bytes| reader.read(bytes)).find(|done| !matches!(done, Ok(None)));
        assert_eq!(outcome.unwrap_or(Ok(None)), whole.clone().map(|done| done.map(|(head, _)| head)));
    }
    match whole {
        Ok(Some((head, used))) => {
            assert!(used <= data.len().min(http::HEAD_BYTES_MAX));
            assert!(!head.path.chars().any(char::is_control));
            assert!(!head.path.split('/').any(|segment| segment == ".."));
            if let http::Route::Live { app, stream, .. } = head.route() {
                assert!(app.len() <= NAME_BYTES_MAX && stream.len() <= NAME_BYTES_MAX);
                assert!(!stream.contains(['/', '\\', '?', '#']) && !stream.is_empty());
            }
            head.query_param("token");
            assert!(!head.chunked || head.content_length.is_none());
            // Without its last byte it is not there yet, and it does not depend on what follows.
            assert_eq!(http::parse(&data[..used - 1]), Ok(None));
            assert_eq!(http::parse(&data[..used]), Ok(Some((head, used))));
        }
        Ok(None) => assert!(data.len() < http::HEAD_BYTES_MAX),
        Err(error) => assert!((400..=505).contains(&error.status())),
    }
}

/// The most that a chunk reader holds besides payloads, in bytes: its chunk streams.
const READER_BYTES_MAX: usize = 16 << 10;

/// An RTMP chunk stream after the handshake; the first byte is the size of the pieces it comes in.
pub fn rtmp_chunk(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    // Who sends it, is in the size as well: large messages belong to publishers.
    let limits = [Limits::STRANGER, Limits::PUBLISHER, Limits::PLAYER][usize::from(piece % 3)];
    let read = |piece: usize| -> (Vec<Message>, bool) {
        let (mut reader, mut messages) = (ChunkReader::new(), Vec::new());
        reader.set_limits(limits);
        for mut bytes in stream.chunks(piece.max(1)) {
            while !bytes.is_empty() {
                let Ok((used, message)) = reader.read(0, bytes) else { return (messages, false) };
                bytes = &bytes[used..];
                assert!(reader.heap_bytes() <= limits.outstanding_bytes + READER_BYTES_MAX);
                match message {
                    Some(message) => messages.push(message),
                    None => assert!(bytes.is_empty(), "without a message all input is consumed"),
                }
            }
        }
        (messages, true)
    };
    assert_eq!(read(usize::from(piece)), read(stream.len()));
}

/// The most that a session holds between two pieces, in bytes: an accepted publisher's unfinished messages, answers that
/// wait, and little else.
const SESSION_BYTES_MAX: usize = (8 << 20) + (128 << 10);

/// Everything a client sends behind its handshake; the first byte is the size of the pieces it comes in. Whatever the client
/// asks for is granted, a millisecond passes with each piece, and at the end all deadlines do.
pub fn rtmp_session(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let mut now = Mono::ZERO;
    let mut session = ServerSession::new(SessionConfig::default(), now, [7; 32]);
    let mut output = Vec::new();
    let mut hello = [0; 1 + 2 * PACKET_BYTES];
    hello[0] = 3;
    session.handle_input(now, &hello);
    for bytes in stream.chunks(usize::from(piece).max(1)) {
        now = now + Duration::from_millis(1);
        session.handle_input(now, bytes);
        drain(&mut session, now, &mut output);
        assert!(session.heap_bytes() <= SESSION_BYTES_MAX);
    }
    while session.deadline() != Mono::NEVER {
        assert!(session.deadline() > now, "a deadline that is handled moves");
        now = session.deadline();
        session.handle_timeout(now);
        drain(&mut session, now, &mut output);
    }
    assert!(session.is_closed(), "only a closed session waits for nothing");
}

fn drain(session: &mut ServerSession, now: Mono, output: &mut Vec<u8>) {
    while let Some(event) = session.poll_event() {
        match event {
            Event::Publish(_) => session.accept_publish(now),
            Event::Play(_) => session.accept_play(now),
            Event::Frame(frame) => {
                assert!(!frame.body.is_empty());
                if let Ok(tag) = tag::inspect(frame.kind, &frame.body) {
                    check_parts(&tag, &frame.body);
                }
            }
            Event::Closed(_) => assert!(session.is_closed() && session.poll_event().is_none()),
            _ => {}
        }
    }
    output.clear();
    session.take_output(output);
}

/// A transport stream behind two bytes: the size of the pieces it comes in, and whether (lowest bit) its continuity counters
/// are to be set right first, which a fuzzer does not manage by chance. It is read as a file, where the cut must not matter,
/// as datagrams, and as a capture.
pub fn ts_demux(data: &[u8]) {
    let Some((&[piece, _], rest)) = data.split_first_chunk() else { return };
    let stream = ts_stream(data);
    let units = |piece: usize| {
        let (mut framer, mut packets, mut told) = (Framer::new(), Vec::new(), Vec::new());
        for bytes in stream.chunks(piece.max(1)) {
            framer.push(bytes);
            while let Some(unit) = framer.next_unit() {
                match unit {
                    Unit::Packet { bytes, sync_ok } => packets.push((*bytes, sync_ok)),
                    Unit::Acquired { stride, skipped } => told.push((packets.len(), stride, skipped)),
                    Unit::Lost => told.push((packets.len(), 0, 0)),
                }
            }
        }
        assert!(framer.offset() <= stream.len() as u64);
        (packets, told)
    };
    let whole = units(stream.len());
    // Small pieces of a large input would take longer than they teach.
    if stream.len() <= 1 << 16 {
        assert_eq!(units(usize::from(piece)), whole);
    }

    let (mut assembler, mut clock) = (Assembler::new(), Unwrap::default());
    let mut monitor = Monitor::new(Options::default());
    let mut now = Mono::ZERO;
    for (bytes, sync_ok) in &whole.0 {
        let packet = TsPacket::parse(bytes);
        assert!(packet.payload.len() <= 184 && packet.pid < 1 << 13);
        assembler.push(&packet, check_section);
        if let Some(header) = PesHeader::parse(packet.payload) {
            for time in [header.pts, header.dts].into_iter().flatten() {
                assert_eq!(clock.unwrap_time(time).rem_euclid(1 << 33), time as i64);
            }
        }
        now = now + Duration::from_micros(u64::from(piece) * 100);
        monitor.handle_unit(now, Unit::Packet { bytes, sync_ok: *sync_ok });
    }
    assert!(assembler.heap_bytes() <= 2 << 20 && monitor.heap_bytes() <= monitor::HEAP_BYTES_MAX);
    let report = monitor.report();
    assert_eq!(report.packets, whole.0.len() as u64);
    let by_pid: u64 = report.pids.iter().map(|entry| entry.packets).sum();
    assert!(by_pid <= report.packets);

    // The same bytes as datagrams: RTP is what does not begin with a sync byte.
    let mut monitor = Monitor::new(Options::default());
    let mut sync = DatagramSync::default();
    for datagram in stream.chunks(usize::from(piece).max(1) * 47) {
        let mut packets = 0;
        let left = sync.split(datagram, |unit| packets += usize::from(matches!(unit, Unit::Packet { .. })));
        assert!(packets * TS_PACKET_BYTES + left <= datagram.len());
        RtpPacket::parse(datagram).inspect(|packet| assert!(packet.payload.len() <= datagram.len()));
        now = now + Duration::from_millis(u64::from(piece));
        monitor.handle_datagram(now, datagram);
        monitor.handle_timeout(now);
    }
    assert!(monitor.heap_bytes() <= monitor::HEAP_BYTES_MAX);
    monitor.report();

    let captured = |piece: usize| {
        let (mut reader, mut seen) = (CaptureReader::new(), Vec::new());
        for bytes in rest.chunks(piece.max(1)) {
            reader.push(bytes);
            loop {
                match reader.next_record() {
                    Ok(Some(record)) => {
                        let payload = Datagram::parse(record.link, record.frame).map(|d| d.payload.len());
                        seen.push((record.time_ns, record.frame.len(), payload));
                    }
                    Ok(None) => break,
                    Err(_) => return seen,
                }
            }
        }
        seen
    };
    let whole = captured(rest.len());
    if rest.len() <= 1 << 16 {
        assert_eq!(captured(usize::from(piece)), whole);
    }
}

/// The stream of an input of [`ts_demux`].
pub fn ts_stream(data: &[u8]) -> Vec<u8> {
    let Some((&[_, count_up], stream)) = data.split_first_chunk() else { return Vec::new() };
    let mut stream = stream.to_vec();
    if count_up & 1 == 1 {
        let mut counters = [0u8; 1 << 13];
        for packet in stream.chunks_exact_mut(TS_PACKET_BYTES) {
            let counter = &mut counters[usize::from(u16::from_be_bytes([packet[1] & 0x1F, packet[2]]))];
            *counter = (*counter + (packet[3] >> 4 & 1)) & 0x0F;
            packet[3] = packet[3] & 0xF0 | *counter;
        }
    }
    stream
}

/// A transport stream, laid out as for [`ts_demux`], to the frames of its first program. A source that stops now and then,
/// which a bit of the second byte says, must not matter to what is held.
pub fn ts_frames(data: &[u8]) {
    let (frames, tally) = ts_program(data);
    assert!(frames.iter().all(|frame| tag::inspect(frame.kind, &frame.body).is_ok()));
    let bytes: usize = frames.iter().map(|frame| frame.body.len()).sum();
    // Configuration comes again with each keyframe that changes it; nothing else is told twice.
    assert!(bytes <= (1 + frames.len()) * data.len() + 64 * frames.len(), "{bytes} bytes: {tally:?}");
}

/// The frames of an input of [`ts_frames`], and what was counted.
pub fn ts_program(data: &[u8]) -> (Vec<Frame>, Tally) {
    let Some(&[piece, flags]) = data.first_chunk() else { return (Vec::new(), Tally::default()) };
    let (mut demux, mut now, mut frames) =
        (Demux::new(ts::Options { program: 0, av1: true, all: false }, Mono::ZERO), Mono::ZERO, Vec::new());
    for (n, datagram) in ts_stream(data).chunks(7 * TS_PACKET_BYTES).enumerate() {
        now = now + Duration::from_micros(u64::from(piece) * 100);
        demux.handle_datagram(now, datagram);
        demux.handle_timeout(now);
        if flags & 2 != 0 && n % 5 == 4 {
            demux.interrupt(now);
        }
        assert!(demux.heap_bytes() <= 2 * PICTURE_BYTES_MAX + (4 << 20));
        assert!(demux.configs().count() <= 9);
        while let Some(output) = demux.poll_output() {
            if let Output::Frame(_, frame) = output {
                frames.push(frame);
            }
        }
    }
    (frames, *demux.tally())
}

/// Reads a section as every table that it may be.
fn check_section(section: Section<'_>) {
    let bytes = section.bytes();
    assert!(bytes.len() <= SECTION_BYTES_MAX && Section::new(bytes) == Some(section));
    assert!(section.body().len() <= bytes.len());
    section.crc_ok();
    let mut named = 0;
    if let Some(pat) = Pat::parse(section) {
        named += pat.programs().count();
    }
    if let Some(pmt) = Pmt::parse(section) {
        named += pmt
            .streams()
            .map(|s| s.descriptors.ca_pids().count() + s.descriptors.into_iter().count())
            .sum::<usize>();
    }
    if let Some(cat) = Cat::parse(section) {
        named += cat.descriptors.ca_pids().count();
    }
    if let Some(sdt) = Sdt::parse(section) {
        for (_, provider, name) in sdt.services().filter_map(|service| service.names()) {
            for words in [provider, name].map(text::decode) {
                assert!(!words.chars().any(char::is_control), "{words:?}");
                named += 1;
            }
        }
    }
    if let Some(nit) = Nit::parse(section) {
        named +=
            nit.transport_streams().count() + nit.name().map_or(0, |name| text::decode(name).chars().count());
    }
    assert!(named <= bytes.len());
    tables::utc_seconds(section);
}

/// Datagrams of a stream of RTP packets: behind a byte that chooses how long a loss is waited for and which matrix an encoder
/// protects what comes with, each is where it came (0 and 1 media of two paths, else repair packets), how long after the one before
/// (in steps of 100 us), its size in two bytes, and itself.
pub fn rtp_receiver(data: &[u8]) {
    let tally = rtp_tally(data);
    assert!(tally.delivered <= tally.datagrams + tally.repaired);
}

/// What a receiver has counted at the end of an input of [`rtp_receiver`].
pub fn rtp_tally(data: &[u8]) -> rtp_ts::Tally {
    let Some((&choice, mut rest)) = data.split_first() else { return rtp_ts::Tally::default() };
    let wait = Duration::from_millis([0, 10, 60, 450][usize::from(choice & 3)]);
    let mut receiver = Receiver::new(rtp_ts::Options { wait, fec: choice & 3 != 0 });
    let (rows, staggered) = (choice & 4 != 0, choice & 8 != 0);
    let fec = Fec { columns: choice >> 4, rows: 4 + (choice >> 6), row_packets: rows, staggered };
    let mut encoder = FecEncoder::new(fec, 1, 2);
    let (mut now, mut given, mut lost, mut datagrams) = (Mono::ZERO, 0, 0, 0u32);
    while let Some((&[from, steps, s0, s1], behind)) = rest.split_first_chunk() {
        let size = usize::from(u16::from_be_bytes([s0, s1])).min(behind.len());
        let datagram = &behind[..size];
        rest = &behind[size..];
        let next = now + Duration::from_micros(u64::from(steps) * 100);
        while receiver.deadline(now) < next {
            let due = receiver.deadline(now);
            assert!(due > now, "what is due was done");
            now = due;
            take(&mut receiver, now, &mut given, &mut lost);
        }
        now = next;
        match from {
            0 | 1 => receiver.push(from.into(), now, datagram),
            _ => receiver.push_fec(now, datagram),
        }
        take(&mut receiver, now, &mut given, &mut lost);
        let mut repairs = 0;
        encoder.push(datagram, |_, repair| {
            assert!(repair.len() <= 1500 + 16);
            repairs += 1;
            if choice & 1 == 0 {
                receiver.push_fec(now, repair);
            }
        });
        assert!(repairs <= 2);
        // Adding up thousands of buffers takes longer than all else.
        datagrams += 1;
        assert!(datagrams % 64 != 0 || receiver.heap_bytes() <= HEAP_BYTES_MAX);
        take(&mut receiver, now, &mut given, &mut lost);
    }
    assert!(receiver.heap_bytes() <= HEAP_BYTES_MAX);
    take(&mut receiver, now + Duration::from_secs(60), &mut given, &mut lost);
    let tally = receiver.tally();
    assert_eq!((tally.delivered, tally.lost + tally.overrun), (given, lost));
    *tally
}

/// Takes what is there.
fn take(receiver: &mut Receiver, now: Mono, given: &mut u64, lost: &mut u64) {
    while let Some(packet) = receiver.pop(now) {
        assert!(packet.payload.len() <= 1500 && packet.at <= now);
        *given += 1;
        *lost += packet.lost;
    }
}

/// A tag body; the first byte is its FLV tag type (8 audio, 9 video, else script).
pub fn tag_inspect(data: &[u8]) {
    let Some((&tag_type, body)) = data.split_first() else { return };
    let kind = kind(tag_type);
    let Ok(tag) = tag::inspect(kind, body) else { return };
    check_parts(&tag, body);
    if tag.is_join_video() {
        assert!(tag.packet == Packet::Frames && kind == Kind::Video);
    }
}

/// A run of tags: type, size of the body in two bytes, body; the last one may be cut short.
pub fn track_table(mut data: &[u8]) {
    let mut table = TrackTable::new();
    while let Some((&[tag_type, s0, s1], rest)) = data.split_first_chunk::<3>() {
        let (body, rest) = rest.split_at(usize::from(u16::from_be_bytes([s0, s1])).min(rest.len()));
        data = rest;
        let kind = kind(tag_type);
        let Ok(tag) = tag::inspect(kind, body) else { continue };
        let body = Bytes::copy_from_slice(body);
        table.observe(
            &Frame { kind, dts_ms: 0, body, first_byte_at: Mono::ZERO, complete_at: Mono::ZERO },
            &tag,
        );
    }
    let set = table.snapshot();
    assert_eq!(set.iter_for(true, true, false).count(), set.entries.len());
    table.snapshot().summary();
}

fn kind(tag_type: u8) -> Kind {
    match tag_type {
        8 => Kind::Audio,
        9 => Kind::Video,
        _ => Kind::Data,
    }
}

fn check_parts(tag: &Tag, body: &[u8]) {
    let mut end = 0;
    for part in tag.tracks(body) {
        assert!(end <= part.payload.start && part.payload.start <= part.payload.end);
        end = part.payload.end;
    }
    assert!(end == body.len() || tag.packet == Packet::Command);
}
