//! Heads of transport streams and a capture that real programs wrote (tests/vectors), read as what they are.

use headgate::monitor::{Monitor, Options, Report};
use headgate::wire::capture::{CaptureReader, Datagram};
use headgate::wire::rtp::RtpPacket;
use headgate::wire::ts::descriptor::Descriptors;
use headgate::wire::ts::framing::{Framer, Unit};
use headgate::wire::ts::packet::Packet;
use headgate::wire::ts::pes::PesHeader;
use headgate::wire::ts::section::Assembler;
use headgate::wire::ts::tables::{self, Pat, Pmt, Sdt};
use headgate::wire::ts::text;
use std::collections::BTreeMap;
use std::path::Path;

fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the head of a stream says about itself.
#[derive(Debug, Default, PartialEq)]
struct Head {
    packets: usize,
    programs: Vec<(u16, u16)>,
    /// Provider and name.
    service: Option<(String, String)>,
    pcr_pid: u16,
    /// Type, PID, descriptors as tags.
    streams: Vec<(u8, u16, Vec<u8>)>,
    registration: Option<[u8; 4]>,
    /// Of the first PES packet: stream id, PTS, DTS.
    pes: Option<(u8, u64, Option<u64>)>,
    first_pcr: Option<u64>,
    random_access: bool,
}

fn read(name: &str) -> Head {
    let bytes = vector(name);
    let (mut framer, mut assembler, mut head) = (Framer::new(), Assembler::new(), Head::default());
    framer.push(&bytes);
    framer.finish();
    while let Some(unit) = framer.next_unit() {
        let Unit::Packet { bytes, sync_ok: true } = unit else { continue };
        head.packets += 1;
        let packet = Packet::parse(bytes);
        assert!(!packet.malformed && !packet.error, "{name}");
        head.first_pcr = head.first_pcr.or(packet.pcr());
        if packet.pid == 0x100 {
            head.random_access |= packet.adaptation.is_some_and(|field| field.random_access);
            if packet.unit_start && head.pes.is_none() {
                let header = PesHeader::parse(packet.payload).unwrap();
                head.pes = Some((header.stream_id, header.pts.unwrap(), header.dts));
            }
            continue;
        }
        assembler.push(&packet, |section| {
            assert!(section.crc_ok(), "{name}");
            match section.table_id() {
                tables::PAT => head.programs = Pat::parse(section).unwrap().programs().collect(),
                tables::SDT => {
                    let service = Sdt::parse(section).unwrap().services().next().unwrap();
                    let (_, provider, name) = service.names().unwrap();
                    head.service = Some((text::decode(provider), text::decode(name)));
                }
                tables::PMT => {
                    let pmt = Pmt::parse(section).unwrap();
                    let tags = |d: Descriptors<'_>| d.into_iter().map(|(tag, _)| tag).collect();
                    head.pcr_pid = pmt.pcr_pid;
                    head.streams =
                        pmt.streams().map(|s| (s.stream_type, s.pid, tags(s.descriptors))).collect();
                    head.registration = pmt.streams().next().and_then(|s| s.descriptors.registration());
                }
                other => panic!("{name}: table {other:#x}"),
            }
        });
    }
    assert_eq!(assembler.dropped(), 0, "{name}");
    head
}

/// Stream type, tags of the descriptors, registration, id of the PES packets: as the vectors' README lists them.
#[test]
fn heads_by_ffmpeg() {
    for (name, stream_type, tags, registration, stream_id) in [
        ("aac", 0x0F, &[0x0A][..], None, 0xC0),
        ("aac_latm", 0x11, &[0x0A], None, 0xC0),
        ("ac3", 0x81, &[0x05, 0x0A], Some(*b"AC-3"), 0xBD),
        ("av1", 0x06, &[], None, 0xE0),
        ("eac3", 0x87, &[0x05, 0x0A], Some(*b"EAC3"), 0xBD),
        ("h264", 0x1B, &[], None, 0xE0),
        ("hevc", 0x24, &[0x05], Some(*b"HEVC"), 0xE0),
        ("mp2", 0x03, &[0x0A], None, 0xC0),
        ("opus", 0x06, &[0x05, 0x7F, 0x0A], Some(*b"Opus"), 0xBD),
    ] {
        let head = read(&format!("ts_{name}_head.ts"));
        assert_eq!(
            (head.packets, &head.programs[..], head.pcr_pid),
            (21, &[(1, 0x1000)][..], 0x100),
            "{name}: {head:?}"
        );
        let service = head.service.clone().unwrap();
        assert_eq!((service.0.as_str(), service.1.as_str()), ("FFmpeg", "Service01"));
        assert_eq!(head.streams.first(), Some(&(stream_type, 0x100, tags.to_vec())), "{name}");
        assert_eq!(head.registration, registration, "{name}");
        let (id, pts, dts) = head.pes.unwrap();
        assert_eq!(id, stream_id, "{name}");
        // ffmpeg starts its clock 0.7 s in front of the first decoding time.
        let lead = dts.unwrap_or(pts) as f64 / 90.0 - head.first_pcr.unwrap() as f64 / 27_000.0;
        assert!((699.0..701.0).contains(&lead), "{name}: {lead} ms");
        assert!(head.random_access, "{name}");
    }
}

/// The same through the monitor, which must know everything of so short a stream.
#[test]
fn the_monitor_knows_heads() {
    let watch = |name: &str| -> Report {
        let bytes = vector(name);
        let mut monitor = Monitor::new(Options::default());
        bytes.chunks(1316).for_each(|datagram| monitor.handle_datagram(Default::default(), datagram));
        monitor.report()
    };
    for (name, codec) in
        [("aac", "AAC"), ("hevc", "HEVC"), ("opus", "Opus"), ("eac3", "E-AC-3"), ("mp2", "MPEG-1 audio")]
    {
        let report = watch(&format!("ts_{name}_head.ts"));
        let streams: Vec<_> = report.services.iter().flat_map(|service| &service.streams).collect();
        assert_eq!(streams.iter().map(|s| (s.pid, s.codec)).collect::<Vec<_>>(), [(0x100, codec)]);
        assert!(
            report.pids.iter().any(|entry| entry.pid == 0x100 && entry.pts_lead_ms_min.is_some()),
            "{report:#?}"
        );
    }
}

/// RTP on one port, its error correction on two others.
#[test]
fn a_capture_by_ffmpeg() {
    let mut reader = CaptureReader::new();
    reader.push(&vector("rtp_mp2t_fec_5x5.pcap"));
    let mut ports = BTreeMap::<u16, (usize, u8)>::new();
    let (mut sequences, mut last_ns) = (Vec::new(), 0);
    while let Some(record) = reader.next_record().unwrap() {
        let time_ns = record.time_ns.unwrap();
        assert!(time_ns >= last_ns);
        last_ns = time_ns;
        let datagram = Datagram::parse(record.link, record.frame).unwrap();
        assert!(!datagram.cut && datagram.destination.ip().to_string() == "239.1.1.2");
        let packet = RtpPacket::parse(datagram.payload).unwrap();
        let entry = ports.entry(datagram.destination.port()).or_insert((0, packet.payload_type));
        entry.0 += 1;
        assert_eq!(entry.1, packet.payload_type);
        if datagram.destination.port() == 5004 {
            assert_eq!(packet.payload.len() % 188, 0);
            sequences.push(packet.sequence);
        }
    }
    assert_eq!(ports.keys().copied().collect::<Vec<_>>(), [5004, 5006, 5008]);
    assert_eq!((ports[&5004], ports[&5006].1, ports[&5008].1), ((46, 33), 96, 96));
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
}
