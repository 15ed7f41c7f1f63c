//! Sections (ISO/IEC 13818-1 section 2.4.4, ETSI EN 300 468 section 5.2): PAT, PMT, SDT, NIT. One section a table,
//! but for the SDT of many services: what one gateway says of its programs fits.

use super::descriptor;
use crate::wire::ts::crc::crc32;

/// First byte of a section.
pub mod table_id {
    /// Program association.
    pub const PAT: u8 = 0x00;
    /// Program map.
    pub const PMT: u8 = 0x02;
    /// The network that carries this stream.
    pub const NIT_ACTUAL: u8 = 0x40;
    /// The services of this stream.
    pub const SDT_ACTUAL: u8 = 0x42;
    /// Time and date.
    pub const TDT: u8 = 0x70;
    /// Time offset.
    pub const TOT: u8 = 0x73;
}

/// `section_length` at most, so that a section has 1024 bytes.
const LENGTH_MAX: usize = 1021;
/// Of them, what stands around the body of a section with a version: extension, version, two numbers, CRC.
const LONG_BYTES: usize = 9;

/// One elementary stream in a PMT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// See [`stream_type`](crate::wire::ts::stream_type).
    pub stream_type: u8,
    /// Where its packets are.
    pub pid: u16,
    /// What more is to be said of it.
    pub descriptors: Vec<u8>,
}

/// One service in an SDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service<'a> {
    /// Its program number.
    pub id: u16,
    /// [`descriptor::SERVICE_TV`] or another.
    pub service_type: u8,
    /// Who offers it.
    pub provider: &'a str,
    /// What viewers choose by.
    pub name: &'a str,
}

/// Program association table: programs, each with the PID of its map. `None` if it does not fit.
pub fn pat(stream_id: u16, version: u8, programs: &[(u16, u16)]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for (number, pid) in programs {
        body.extend(number.to_be_bytes());
        body.extend((0xE000 | pid & 0x1FFF).to_be_bytes());
    }
    versioned(table_id::PAT, 0xB0, stream_id, version, &body)
}

/// Program map table. `None` if it does not fit.
pub fn pmt(program: u16, version: u8, pcr_pid: u16, components: &[Component]) -> Option<Vec<u8>> {
    program_map(program, version, pcr_pid, &[], components)
}

/// Program map table with `descriptors` of the program as a whole. `None` if it does not fit.
pub fn program_map(
    program: u16,
    version: u8,
    pcr_pid: u16,
    descriptors: &[u8],
    components: &[Component],
) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    body.extend((0xE000 | pcr_pid & 0x1FFF).to_be_bytes());
    loop_of(descriptors, &mut body)?;
    for component in components {
        body.push(component.stream_type);
        body.extend((0xE000 | component.pid & 0x1FFF).to_be_bytes());
        loop_of(&component.descriptors, &mut body)?;
    }
    versioned(table_id::PMT, 0xB0, program, version, &body)
}

/// Service description table: no EIT, running, free. `None` if it does not fit.
pub fn sdt(stream_id: u16, network_id: u16, version: u8, services: &[Service<'_>]) -> Option<Vec<u8>> {
    let mut sections = sdt_sections(stream_id, network_id, version, services)?;
    sections.pop().filter(|_| sections.is_empty())
}

/// The same in as many sections as it takes, at least one. `None` if a service does not fit into one, or they are more than
/// can be numbered.
pub fn sdt_sections(
    stream_id: u16,
    network_id: u16,
    version: u8,
    services: &[Service<'_>],
) -> Option<Vec<Vec<u8>>> {
    let mut head: Vec<u8> = network_id.to_be_bytes().into();
    head.push(0xFF);
    let mut bodies = vec![head.clone()];
    for service in services {
        let said = descriptor::service(service.service_type, service.provider, service.name);
        let mut entry: Vec<u8> = service.id.to_be_bytes().into();
        entry.push(0xFC);
        // Running status 4 and free of scrambling stand in the four bits in front of the length.
        entry.extend((0x8000 | u16::try_from(said.len()).ok()?).to_be_bytes());
        entry.extend(said);
        let fits = |body: &&mut Vec<u8>| body.len() + entry.len() <= LENGTH_MAX - LONG_BYTES;
        match bodies.last_mut().filter(fits) {
            Some(body) => body.extend(entry),
            None => bodies.push([&head[..], &entry].concat()),
        }
    }
    let last = u8::try_from(bodies.len() - 1).ok()?;
    let section = |(number, body): (u8, &Vec<u8>)| {
        numbered(table_id::SDT_ACTUAL, 0xF0, stream_id, version, (number, last), body)
    };
    (0..).zip(&bodies).map(section).collect()
}

/// Network information table of a network with this one stream: its name, its services with their types. `None` if it
/// does not fit.
pub fn nit(
    network_id: u16,
    version: u8,
    name: &str,
    stream_id: u16,
    services: &[(u16, u8)],
) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop_of(&descriptor::network_name(name), &mut body)?;
    let mut streams = Vec::new();
    streams.extend(stream_id.to_be_bytes());
    streams.extend(network_id.to_be_bytes());
    loop_of(&descriptor::service_list(services), &mut streams)?;
    loop_of(&streams, &mut body)?;
    versioned(table_id::NIT_ACTUAL, 0xF0, network_id, version, &body)
}

/// DVB text of at most `most` bytes (EN 300 468 annex A): ASCII as it is, anything else as UTF-8 behind the byte that
/// says so; cut between characters.
pub fn dvb_text(text: &str, most: usize) -> Vec<u8> {
    let mark: &[u8] = if text.is_ascii() { &[] } else { &[0x15] };
    let mut end = text.len().min(most.saturating_sub(mark.len()));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = Vec::from(mark);
    out.extend(text.bytes().take(end));
    out
}

/// Appends `content` behind its length of twelve bits.
pub(super) fn loop_of(content: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let length = u16::try_from(content.len()).ok().filter(|length| *length < 0x1000)?;
    out.extend((0xF000 | length).to_be_bytes());
    out.extend(content);
    Some(())
}

/// A section with extension and version, current, the only one of its table.
fn versioned(table: u8, flags: u8, extension: u16, version: u8, body: &[u8]) -> Option<Vec<u8>> {
    numbered(table, flags, extension, version, (0, 0), body)
}

/// One of several: its number, and the last one's.
fn numbered(
    table: u8,
    flags: u8,
    extension: u16,
    version: u8,
    (number, last): (u8, u8),
    body: &[u8],
) -> Option<Vec<u8>> {
    let mut long: Vec<u8> = extension.to_be_bytes().into();
    long.extend([0xC1 | (version & 0x1F) << 1, number, last]);
    long.extend(body);
    closed(table, flags, &long)
}

/// Head, body and CRC. `flags` are the four bits in front of the length, in the high nibble.
pub(super) fn closed(table: u8, flags: u8, body: &[u8]) -> Option<Vec<u8>> {
    let length = Some(body.len() + 4).filter(|length| *length <= LENGTH_MAX)? as u16;
    let mut out = vec![table];
    out.extend((u16::from(flags) << 8 | length).to_be_bytes());
    out.extend(body);
    out.extend(crc32(&out).to_be_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::stream_type;

    /// The section at the start of packet `number` of a file that ffmpeg wrote.
    fn seen(file: &[u8], number: usize) -> &[u8] {
        let packet = &file[number * 188 + 5..][..183];
        let len = 3 + (usize::from(packet[1] & 0x0F) << 8 | usize::from(packet[2]));
        &packet[..len]
    }

    fn component(stream_type: u8, pid: u16, descriptors: &[&[u8]]) -> Component {
        Component { stream_type, pid, descriptors: descriptors.concat() }
    }

    #[test]
    fn tables_are_those_of_ffmpeg() {
        use descriptor::{format, language, opus, registration};
        let files: [(&[u8], Vec<Component>); 6] = [
            (
                include_bytes!("../../../../tests/vectors/ts_h264_head.ts"),
                vec![
                    component(stream_type::H264, 0x100, &[]),
                    component(stream_type::AAC_ADTS, 0x101, &[&language(*b"und")]),
                ],
            ),
            (
                include_bytes!("../../../../tests/vectors/ts_hevc_head.ts"),
                vec![component(stream_type::HEVC, 0x100, &[&registration(format::HEVC)])],
            ),
            (
                include_bytes!("../../../../tests/vectors/ts_aac_head.ts"),
                vec![component(stream_type::AAC_ADTS, 0x100, &[&language(*b"und")])],
            ),
            (
                include_bytes!("../../../../tests/vectors/ts_ac3_head.ts"),
                vec![component(stream_type::AC3, 0x100, &[&registration(format::AC3), &language(*b"und")])],
            ),
            (
                include_bytes!("../../../../tests/vectors/ts_eac3_head.ts"),
                vec![component(stream_type::EAC3, 0x100, &[&registration(format::EAC3), &language(*b"und")])],
            ),
            (
                include_bytes!("../../../../tests/vectors/ts_opus_head.ts"),
                vec![component(
                    stream_type::PRIVATE,
                    0x100,
                    &[&registration(format::OPUS), &opus(2), &language(*b"und")],
                )],
            ),
        ];
        for (at, (file, components)) in files.iter().enumerate() {
            let service = Service {
                id: 1,
                service_type: descriptor::SERVICE_TV,
                provider: "FFmpeg",
                name: "Service01",
            };
            assert_eq!(sdt(1, 0xFF01, 0, &[service]).unwrap(), seen(file, 0), "file {at}");
            assert_eq!(pat(1, 0, &[(1, 0x1000)]).unwrap(), seen(file, 1), "file {at}");
            assert_eq!(pmt(1, 0, 0x100, components).unwrap(), seen(file, 2), "file {at}");
        }
    }

    #[test]
    fn a_network_names_its_stream_and_services() {
        let table = nit(0x3001, 5, "Netz", 1, &[(1, 1), (2, 2)]).unwrap();
        assert_eq!(
            table[..table.len() - 4],
            [
                0x40, 0xF0, 33, 0x30, 0x01, 0xCB, 0,
                0, // length, network, version 5 and current, one section
                0xF0, 6, 0x40, 4, b'N', b'e', b't', b'z', // its name
                0xF0, 14, 0, 1, 0x30, 0x01, 0xF0, 8, 0x41, 6, 0, 1, 1, 0, 2,
                2, // one stream with two services
            ]
        );
        assert_eq!(crc32(&table), 0);
    }

    #[test]
    fn names_of_many_services_take_several_sections() {
        let name = "n".repeat(120);
        let services: Vec<Service<'_>> =
            (1..=16).map(|id| Service { id, service_type: 1, provider: &name, name: &name }).collect();
        let sections = sdt_sections(1, 0xFF01, 3, &services).unwrap();
        assert!(sections.len() == 4 && sdt(1, 0xFF01, 3, &services).is_none());
        let mut told = Vec::new();
        for (number, section) in sections.iter().enumerate() {
            assert_eq!((section[6], section[7], crc32(section)), (number as u8, 3, 0));
            assert!(section.len() <= 1024 && section[5] == 0xC1 | 3 << 1);
            let mut at = 11;
            while at < section.len() - 4 {
                told.push(u16::from_be_bytes([section[at], section[at + 1]]));
                at += 5 + usize::from(section[at + 4]);
            }
        }
        assert_eq!(told, (1..=16).collect::<Vec<u16>>());
        assert_eq!(sdt_sections(1, 0xFF01, 3, &[]).unwrap().len(), 1);
        let long = "n".repeat(600);
        let service = Service { id: 1, service_type: 1, provider: "", name: &long };
        assert!(sdt_sections(1, 1, 0, &[service]).is_some_and(|all| all.len() == 1), "it is cut");
    }

    #[test]
    fn what_does_not_fit_is_no_table() {
        let many = vec![component(6, 0x100, &[&[5, 4, 1, 2, 3, 4]]); 91];
        assert!(pmt(1, 0, 0x100, &many).is_some() && pmt(1, 0, 0x100, &vec![many[0].clone(); 100]).is_none());
        assert!(pat(1, 0, &vec![(1, 0x100); 300]).is_none());
    }

    #[test]
    fn texts_name_their_alphabet_and_end_between_characters() {
        assert_eq!(dvb_text("Kanal 1", 255), b"Kanal 1");
        assert_eq!(dvb_text("Süd", 255), b"\x15S\xc3\xbcd");
        assert_eq!(dvb_text("Süd", 3), b"\x15S");
        assert_eq!(dvb_text("", 0), b"");
        assert_eq!(dvb_text("abc", 2), b"ab");
    }
}
