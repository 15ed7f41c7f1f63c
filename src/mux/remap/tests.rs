//! Streams that are remapped, read again.

use super::*;
use crate::wire::ts::tables::Sdt;
use crate::wire::ts::text::decode;
use crate::wire::ts::write::packet::{Adaptation, UnitWriter};
use crate::wire::ts::write::section::{Component, Service, pat, pmt, sdt};
use std::collections::BTreeMap;

/// A multiplex of the services 1 and 2, with a guide for both.
struct Source {
    counters: BTreeMap<u16, Counter>,
    out: Vec<u8>,
    /// What stands in the second program's map.
    sound: u16,
}

const CA: [u8; 6] = [tag::CA, 4, 0x06, 0x02, 0xE1, 0x77];

impl Source {
    fn new() -> Source {
        Source { counters: BTreeMap::new(), out: Vec::new(), sound: 0x201 }
    }

    fn section(&mut self, pid: u16, section: &[u8]) {
        let (counter, out) = (self.counters.entry(pid).or_default(), &mut self.out);
        assert!(write_section(pid, counter, section, &mut |part: &[u8]| {
            out.extend_from_slice(part);
            true
        }));
    }

    fn unit(&mut self, pid: u16) {
        let (counter, out) = (self.counters.entry(pid).or_default(), &mut self.out);
        let says = Adaptation { pcr: Some(27_000_000), ..Adaptation::default() };
        assert!(UnitWriter::new(pid, counter, says, 300).write(&[pid as u8; 300], &mut |part: &[u8]| {
            out.extend_from_slice(part);
            true
        }));
    }

    fn event(service: u16, table: u8) -> Vec<u8> {
        let [s0, s1] = service.to_be_bytes();
        let body = [&[0, 1, 0xFF, 1, 0, 0x4E][..], &[service as u8; 30]].concat();
        let mut section = vec![table, 0xF0, 0, s0, s1, 0xC1 | 5 << 1, 0, 0];
        section.extend(body);
        section[2] = (section.len() + 4 - 3) as u8;
        section.extend(crc32(&section).to_be_bytes());
        section
    }

    fn round(&mut self) -> Vec<u8> {
        let component = |stream_type, pid, descriptors| Component { stream_type, pid, descriptors };
        self.section(0, &pat(1, 3, &[(0, 0x10), (1, 0x100), (2, 0x200)]).unwrap());
        self.section(0x100, &pmt(1, 0, 0x111, &[component(0x1B, 0x101, vec![])]).unwrap());
        let two = [
            component(0x02, 0x202, CA.to_vec()),
            component(0x04, self.sound, vec![0x0A, 4, b'd', b'e', b'u', 0]),
        ];
        self.section(0x200, &pmt(2, 0, 0x202, &two).unwrap());
        let service = |id, name| Service { id, service_type: 1, provider: "They", name };
        self.section(0x11, &sdt(1, 0xFF01, 0, &[service(1, "Eins"), service(2, "Zwei")]).unwrap());
        for service in [1, 2] {
            self.section(0x12, &Source::event(service, tables::EIT));
            self.section(0x12, &Source::event(service, 0x50));
            self.section(0x12, &Source::event(service, 0x60));
        }
        for pid in [0x101, 0x111, 0x202, self.sound, 0x177, 0x1234] {
            self.unit(pid);
        }
        self.out.extend([&[0x47, 0x1F, 0xFF, 0x10][..], &[0xFF; 184]].concat());
        std::mem::take(&mut self.out)
    }
}

fn through(remap: &mut Remap, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes.as_chunks().0.iter().for_each(|packet| remap.packet(packet, &mut out));
    out
}

/// All sections by PID, whose CRCs fit; and counters that run on.
fn sections(bytes: &[u8], pids: &[u16]) -> BTreeMap<u16, Vec<Vec<u8>>> {
    let (mut assembler, mut found) = (Assembler::new(), BTreeMap::<u16, Vec<Vec<u8>>>::new());
    let mut last = BTreeMap::new();
    for packet in bytes.as_chunks().0.iter().map(Packet::parse).filter(|packet| packet.pid != pid::NULL) {
        if let Some(before) = last.insert(packet.pid, packet.continuity) {
            assert_eq!((before + 1) & 15, packet.continuity, "{:#x}", packet.pid);
        }
        if pids.contains(&packet.pid) {
            assembler.push(&packet, |section| {
                assert!(section.crc_ok());
                found.entry(packet.pid).or_default().push(section.bytes().to_vec());
            });
        }
    }
    found
}

fn pids(bytes: &[u8]) -> Vec<u16> {
    let mut pids: Vec<u16> = bytes.as_chunks().0.iter().map(|packet| Packet::parse(packet).pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Packets of a PID, without their headers.
fn payloads(bytes: &[u8], pid: u16) -> Vec<Vec<u8>> {
    let its = bytes.as_chunks::<188>().0.iter().filter(|packet| Packet::parse(packet).pid == pid);
    its.map(|packet| packet[3..].to_vec()).collect()
}

#[test]
fn one_program_of_two_leaves_alone() {
    let (mut source, mut remap) = (Source::new(), Remap::new(Plan { program: Some(2), ..Plan::default() }));
    let first = source.round();
    through(&mut remap, &first);
    let sent = source.round();
    let got = through(&mut remap, &sent);
    assert_eq!(pids(&got), [0, 0x11, 0x12, 0x177, 0x200, 0x201, 0x202]);
    let tables = sections(&got, &[0, 0x11, 0x12, 0x200]);
    let [table] = &tables[&0][..] else { panic!("one PAT") };
    let named: Vec<_> = Pat::parse(Section::new(table).unwrap()).unwrap().programs().collect();
    assert_eq!(named, [(0, 0x10), (2, 0x200)]);
    // The guide of its own stream, now and the schedule, bit by bit.
    assert_eq!(tables[&0x12], [Source::event(2, 0x4E), Source::event(2, 0x50)]);
    let names: Vec<(u16, String)> = tables[&0x11]
        .iter()
        .flat_map(|table| {
            Sdt::parse(Section::new(table).unwrap())
                .unwrap()
                .services()
                .map(|s| (s.id, decode(s.names().unwrap().2)))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(names, [(2, "Zwei".to_owned())]);
    // Media as they came.
    for pid in [0x202, 0x201, 0x177] {
        assert_eq!(payloads(&got, pid), payloads(&sent, pid), "{pid:#x}");
    }
    assert_eq!(payloads(&got, 0x200).len(), 1);
}

#[test]
fn pids_and_identity_are_changed_and_nothing_else() {
    let plan = Plan {
        pids: vec![(0x101, 0x1001), (0x100, 0x1000), (0x177, 0x1F00), (0x111, 0x1234)],
        service_id: Some(77),
        stream_id: Some(9),
        service_name: Some("Sender Ä".to_owned()),
        ..Plan::default()
    };
    let (mut source, mut remap) = (Source::new(), Remap::new(plan));
    through(&mut remap, &source.round());
    let sent = source.round();
    let got = through(&mut remap, &sent);
    assert_eq!(got.len(), sent.len() - 2 * 188, "0x1234 was given up for 0x111");
    let tables = sections(&got, &[0, 0x11, 0x12, 0x1000, 0x200]);
    let table = Section::new(&tables[&0][0]).unwrap();
    assert_eq!((table.extension(), table.version()), (9, 4));
    let named: Vec<_> = Pat::parse(table).unwrap().programs().collect();
    assert_eq!(named, [(0, 0x10), (77, 0x1000), (2, 0x200)]);
    let map = Section::new(&tables[&0x1000][0]).unwrap();
    let map = Pmt::parse(map).unwrap();
    assert_eq!((map.program, map.pcr_pid, map.streams().next().unwrap().pid), (77, 0x1234, 0x1001));
    let other = Pmt::parse(Section::new(&tables[&0x200][0]).unwrap()).unwrap();
    let ca: Vec<u16> = other.streams().flat_map(|stream| stream.descriptors.ca_pids()).collect();
    assert_eq!(ca, [0x1F00]);
    let names: Vec<_> = tables[&0x11]
        .iter()
        .flat_map(|table| {
            let sdt = Sdt::parse(Section::new(table).unwrap()).unwrap();
            assert_eq!(sdt.transport_stream_id, 9);
            sdt.services()
                .map(|s| {
                    let (_, provider, name) = s.names().unwrap();
                    (s.id, decode(provider), decode(name))
                })
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        names,
        [(77, "They".to_owned(), "Sender Ä".to_owned()), (2, "They".to_owned(), "Zwei".to_owned())]
    );
    let services: Vec<u16> =
        tables[&0x12].iter().map(|table| Section::new(table).unwrap().extension()).collect();
    assert_eq!(services, [77, 77, 1, 2, 2, 2], "those of other streams stay");
    for (from, to) in
        [(0x101, 0x1001), (0x111, 0x1234), (0x202, 0x202), (0x177, 0x1F00), (pid::NULL, pid::NULL)]
    {
        assert_eq!(payloads(&got, to), payloads(&sent, from), "{from:#x}");
    }
    // Clocks too.
    let pcrs =
        |bytes: &[u8]| bytes.as_chunks().0.iter().filter_map(|packet| Packet::parse(packet).pcr()).count();
    assert_eq!(pcrs(&got), pcrs(&sent) - 1);
}

#[test]
fn a_table_has_a_new_version_when_it_is_another() {
    let (mut source, mut remap) = (Source::new(), Remap::new(Plan { program: Some(2), ..Plan::default() }));
    let version = |got: &[u8]| Section::new(&sections(got, &[0x200])[&0x200][0]).unwrap().version();
    let versions: Vec<u8> = [0x201, 0x201, 0x203, 0x203, 0x201]
        .map(|sound| {
            source.sound = sound;
            source.counters.remove(&0x203);
            let round = source.round();
            remap.counters.clear();
            version(&through(&mut remap, &round))
        })
        .to_vec();
    assert_eq!(versions, [1, 1, 2, 2, 3], "though the source's is always 0");
}

#[test]
fn nothing_breaks_it() {
    let (mut seed, mut out) = (7u64, Vec::new());
    for program in [None, Some(2)] {
        let plan = Plan { program, pids: vec![(0x101, 0x55)], service_id: Some(3), ..Plan::default() };
        let mut remap = Remap::new(plan);
        for n in 0..30_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut packet = [0; 188];
            for (i, byte) in packet.iter_mut().enumerate() {
                *byte = (seed >> (i % 57)) as u8;
            }
            packet[0] = 0x47;
            match n % 4 {
                // Programs on ever other PIDs, of which none is twice the same.
                0 => {
                    let programs: Vec<(u16, u16)> =
                        (0..50).map(|p| (p + n as u16, 0x20 + (p * 131 + n as u16) % 8000)).collect();
                    packet = [0xFF; 188];
                    let programs = &programs[..40];
                    let section = pat(n as u16, (n % 32) as u8, programs).unwrap();
                    packet[..5].copy_from_slice(&[0x47, 0x40, 0, 0x10 | (n / 4 % 16) as u8, 0]);
                    packet[5..5 + section.len()].copy_from_slice(&section);
                }
                1 => packet[1..3].copy_from_slice(&[0x40, 0x11]),
                2 => packet[1..3].copy_from_slice(&[0x40, 0x12]),
                _ => {}
            }
            out.clear();
            remap.packet(&packet, &mut out);
            assert!(out.len() % 188 == 0 && out.len() < 64 << 10);
        }
        assert!(remap.heap_bytes() < 3 << 20, "{}", remap.heap_bytes());
        assert!(remap.programs.len() <= PROGRAMS_MAX && remap.versions.len() <= VERSIONS_MAX);
    }
}

/// What ffmpeg sends has its map on 4096: nothing goes there.
#[test]
fn a_pid_that_the_source_needs_is_no_target() {
    for (pids, refused) in [
        // A map, a clock, an elementary stream, a message of conditional access.
        (vec![(0x101, 0x100)], vec![(0x101, 0x100)]),
        (vec![(0x101, 0x111)], vec![(0x101, 0x111)]),
        (vec![(0x101, 0x202)], vec![(0x101, 0x202)]),
        (vec![(0x101, 0x177)], vec![(0x101, 0x177)]),
        // They change places.
        (vec![(0x101, 0x100), (0x100, 0x101)], vec![]),
        // One makes room, and has to stay itself.
        (vec![(0x101, 0x100), (0x100, 0x300)], vec![]),
        (vec![(0x101, 0x100), (0x100, 0x111)], vec![(0x100, 0x111), (0x101, 0x100)]),
        (vec![(0x101, 0x101)], vec![]),
    ] {
        let mut remap = Remap::new(Plan { pids: pids.clone(), ..Plan::default() });
        let mut source = Source::new();
        through(&mut remap, &source.round());
        let sent = source.round();
        let got = through(&mut remap, &sent);
        assert_eq!((remap.refused(), got.len()), (&refused[..], sent.len()), "{pids:?}");
        assert_eq!(remap.faults().moves, refused.len() as u64, "once each");
        let tables = sections(&got, &[0]);
        let programs: Vec<_> =
            Pat::parse(Section::new(&tables[&0][0]).unwrap()).unwrap().programs().collect();
        // Whatever the tables name is there.
        for (number, map_pid) in programs.into_iter().filter(|(number, _)| *number != 0) {
            let maps = sections(&got, &[map_pid]);
            let map = Pmt::parse(Section::new(&maps[&map_pid][0]).unwrap()).unwrap();
            assert_eq!(map.program, number);
            for named in map.streams().map(|stream| stream.pid).chain([map.pcr_pid]) {
                assert!(!payloads(&got, named).is_empty(), "{pids:?}: {named:#x}");
            }
        }
    }
}

#[test]
fn a_storm_of_tables_is_looked_at_now_and_then() {
    let maps = |n: u16| (0..40).map(move |p| (p + 1, 0x20 + (p * 131 + n * 7) % 8000)).collect::<Vec<_>>();
    for (plan, looks) in [
        (Plan { service_id: Some(9), ..Plan::default() }, 120),
        (Plan { pids: vec![(0x101, 0x102)], ..Plan::default() }, 120),
        (Plan { program: Some(2), ..Plan::default() }, 120),
    ] {
        let (mut remap, mut counter, mut out) = (Remap::new(plan), Counter::default(), Vec::new());
        for n in 0..6400u16 {
            let (section, mut packet) = (pat(1, (n % 32) as u8, &maps(n)).unwrap(), Vec::new());
            assert!(write_section(0, &mut counter, &section, &mut |part: &[u8]| {
                packet.extend_from_slice(part);
                true
            }));
            remap.packet(packet.first_chunk().unwrap(), &mut out);
        }
        assert!((50..=looks).contains(&remap.looked), "{}", remap.looked);
    }
    // Maps alone, of a source that is not filtered: nothing is looked up.
    let (mut source, mut remap) =
        (Source::new(), Remap::new(Plan { service_id: Some(9), ..Plan::default() }));
    through(&mut remap, &source.round());
    let before = remap.looked;
    for sound in 0..100 {
        source.sound = 0x300 + sound;
        let round = source.round();
        through(&mut remap, &round);
    }
    assert_eq!(remap.looked, before);
}

#[test]
fn a_table_has_one_version_whatever_its_sections_are() {
    let mut remap = Remap::new(Plan { stream_id: Some(9), ..Plan::default() });
    let mut counter = Counter::default();
    // A PAT of two sections: its version, number, whether it is current, and a map's PID.
    let mut send = |version: u8, number: u8, current: bool, map_pid: u16| {
        let mut section = pat(1, version, &[(u16::from(number) + 1, map_pid)]).unwrap();
        section.truncate(section.len() - 4);
        section[5] = 0xC0 | version << 1 | u8::from(current);
        (section[6], section[7]) = (number, 1);
        section.extend(crc32(&section).to_be_bytes());
        let mut packets = Vec::new();
        assert!(write_section(0, &mut counter, &section, &mut |part: &[u8]| {
            packets.extend_from_slice(part);
            true
        }));
        let out = through(&mut remap, &packets);
        let [made] = &sections(&out, &[0])[&0][..] else { panic!("one") };
        let made = Section::new(made).unwrap();
        assert_eq!((made.number(), made.last_number(), made.is_current()), (number, 1, current));
        made.version()
    };
    for (said, expected) in [
        ((4, 0, true, 0x100), 5),
        ((4, 1, true, 0x110), 5),
        // What comes next changes nothing yet, and has the version that it will have.
        ((5, 0, false, 0x120), 6),
        ((4, 0, true, 0x100), 5),
        ((5, 0, true, 0x120), 6),
        ((5, 1, true, 0x110), 6),
        ((5, 1, true, 0x110), 6),
        // One that forgets to say so.
        ((5, 1, true, 0x130), 7),
        ((5, 0, true, 0x120), 7),
    ] {
        let (version, number, current, map_pid) = said;
        assert_eq!(send(version, number, current, map_pid), expected, "{said:?}");
    }
}

#[test]
fn a_section_that_would_be_too_long_keeps_its_names() {
    let long = "x".repeat(NAME_BYTES_MAX);
    let plan = Plan {
        service_name: Some(long.clone()),
        provider: Some(long),
        stream_id: Some(9),
        ..Plan::default()
    };
    let (mut remap, mut counter) = (Remap::new(plan), Counter::default());
    let named = "a name of thirty letters or so";
    let services: Vec<Service<'_>> =
        (1..=20).map(|id| Service { id, service_type: 1, provider: "They", name: named }).collect();
    let mut packets = Vec::new();
    let mut put = |packet: &[u8]| {
        packets.extend_from_slice(packet);
        true
    };
    assert!(write_section(0, &mut counter, &pat(1, 3, &[(1, 0x100)]).unwrap(), &mut put));
    assert!(write_section(0x11, &mut Counter::default(), &sdt(1, 0xFF01, 0, &services).unwrap(), &mut put));
    let out = through(&mut remap, &packets);
    let tables = sections(&out, &[0x11]);
    let table = Sdt::parse(Section::new(&tables[&0x11][0]).unwrap()).unwrap();
    assert_eq!((table.transport_stream_id, table.services().count()), (9, 20));
    assert_eq!(decode(table.services().next().unwrap().names().unwrap().2), named);
    assert_eq!(remap.faults(), Faults { moves: 0, sections: 1 });
}
