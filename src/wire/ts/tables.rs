//! Tables (ISO/IEC 13818-1 section 2.4.4, ETSI EN 300 468 section 5.2) as views of one section each. Nothing is copied.

use super::descriptor::{Descriptors, tag};
use super::section::Section;

/// `table_id` of a PAT.
pub const PAT: u8 = 0x00;
/// `table_id` of a CAT.
pub const CAT: u8 = 0x01;
/// `table_id` of a PMT.
pub const PMT: u8 = 0x02;
/// `table_id` of the NIT of this network.
pub const NIT: u8 = 0x40;
/// `table_id` of the NIT of another network.
pub const NIT_OTHER: u8 = 0x41;
/// `table_id` of the SDT of this transport stream.
pub const SDT: u8 = 0x42;
/// `table_id` of the SDT of another transport stream.
pub const SDT_OTHER: u8 = 0x46;
/// `table_id` of a bouquet association table.
pub const BAT: u8 = 0x4A;
/// `table_id` of the present and following events of this transport stream.
pub const EIT: u8 = 0x4E;
/// The last `table_id` of event information, whatever its kind.
pub const EIT_LAST: u8 = 0x6F;
/// `table_id` of a TDT.
pub const TDT: u8 = 0x70;
/// `table_id` of a section that only fills.
pub const STUFFING: u8 = 0x72;
/// `table_id` of a TOT.
pub const TOT: u8 = 0x73;

/// Splits a 12-bit length and as many bytes from the front.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [high, low, rest @ ..] = bytes else { return None };
    rest.split_at_checked(usize::from(u16::from_be_bytes([high & 0x0F, *low])))
}

fn pid(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high & 0x1F, low])
}

/// Program association: which PID carries the map of which program.
#[derive(Clone, Copy, Debug)]
pub struct Pat<'a> {
    /// `transport_stream_id`.
    pub transport_stream_id: u16,
    entries: &'a [u8],
}

impl<'a> Pat<'a> {
    /// Reads a section with [`PAT`].
    pub fn parse(section: Section<'a>) -> Option<Pat<'a>> {
        let fits = section.table_id() == PAT && section.is_long();
        fits.then(|| Pat { transport_stream_id: section.extension(), entries: section.body() })
    }

    /// Program number and PID of each entry; number 0 is the network's table.
    pub fn programs(self) -> impl Iterator<Item = (u16, u16)> + 'a {
        self.entries.as_chunks().0.iter().map(|&[n0, n1, p0, p1]| (u16::from_be_bytes([n0, n1]), pid(p0, p1)))
    }
}

/// Program map: what a program consists of.
#[derive(Clone, Copy, Debug)]
pub struct Pmt<'a> {
    /// `program_number`.
    pub program: u16,
    /// PID with the program's clock; 0x1FFF: it has none.
    pub pcr_pid: u16,
    /// Descriptors of the program as a whole.
    pub descriptors: Descriptors<'a>,
    streams: &'a [u8],
}

/// One elementary stream of a program.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// `stream_type`, see [`super::stream_type`].
    pub stream_type: u8,
    /// Its PID.
    pub pid: u16,
    /// What is said about it.
    pub descriptors: Descriptors<'a>,
}

impl<'a> Pmt<'a> {
    /// Reads a section with [`PMT`].
    pub fn parse(section: Section<'a>) -> Option<Pmt<'a>> {
        if section.table_id() != PMT || !section.is_long() {
            return None;
        }
        let [high, low, rest @ ..] = section.body() else { return None };
        let (descriptors, streams) = counted(rest)?;
        let descriptors = Descriptors::new(descriptors);
        Some(Pmt { program: section.extension(), pcr_pid: pid(*high, *low), descriptors, streams })
    }

    /// The streams in the table's order. One that reaches past the end ends the list.
    pub fn streams(self) -> impl Iterator<Item = Stream<'a>> + 'a {
        let mut rest = self.streams;
        std::iter::from_fn(move || {
            let [stream_type, high, low, behind @ ..] = rest else { return None };
            let (descriptors, behind) = counted(behind)?;
            rest = behind;
            let descriptors = Descriptors::new(descriptors);
            Some(Stream { stream_type: *stream_type, pid: pid(*high, *low), descriptors })
        })
    }
}

/// Conditional access: where the management messages are.
#[derive(Clone, Copy, Debug)]
pub struct Cat<'a> {
    /// Its descriptors; those of conditional access have the PIDs.
    pub descriptors: Descriptors<'a>,
}

impl<'a> Cat<'a> {
    /// Reads a section with [`CAT`].
    pub fn parse(section: Section<'a>) -> Option<Cat<'a>> {
        let fits = section.table_id() == CAT && section.is_long();
        fits.then(|| Cat { descriptors: Descriptors::new(section.body()) })
    }
}

/// Service description: names.
#[derive(Clone, Copy, Debug)]
pub struct Sdt<'a> {
    /// The transport stream that it is about.
    pub transport_stream_id: u16,
    /// `original_network_id`.
    pub original_network_id: u16,
    services: &'a [u8],
}

/// One service of an SDT.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// `service_id`, which is the program's number.
    pub id: u16,
    /// `running_status`; 4: running.
    pub running_status: u8,
    /// `free_CA_mode` is set: something in it is scrambled.
    pub scrambled: bool,
    /// What is said about it.
    pub descriptors: Descriptors<'a>,
}

impl<'a> Sdt<'a> {
    /// Reads a section with [`SDT`] or [`SDT_OTHER`].
    pub fn parse(section: Section<'a>) -> Option<Sdt<'a>> {
        if !matches!(section.table_id(), SDT | SDT_OTHER) || !section.is_long() {
            return None;
        }
        let [n0, n1, _, services @ ..] = section.body() else { return None };
        let original_network_id = u16::from_be_bytes([*n0, *n1]);
        Some(Sdt { transport_stream_id: section.extension(), original_network_id, services })
    }

    /// The services in the table's order. One that reaches past the end ends the list.
    pub fn services(self) -> impl Iterator<Item = Service<'a>> + 'a {
        let mut rest = self.services;
        std::iter::from_fn(move || {
            let [i0, i1, _, behind @ ..] = rest else { return None };
            let flags = *behind.first()?;
            let (descriptors, behind) = counted(behind)?;
            rest = behind;
            Some(Service {
                id: u16::from_be_bytes([*i0, *i1]),
                running_status: flags >> 5,
                scrambled: flags & 0x10 != 0,
                descriptors: Descriptors::new(descriptors),
            })
        })
    }
}

impl<'a> Service<'a> {
    /// `service_type`, provider and name of its service descriptor; the texts are coded as [`super::text`] reads them.
    pub fn names(self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let [kind, count, rest @ ..] = self.descriptors.find(tag::SERVICE)? else { return None };
        let (provider, rest) = rest.split_at_checked(usize::from(*count))?;
        let (count, rest) = rest.split_first()?;
        Some((*kind, provider, rest.get(..usize::from(*count))?))
    }
}

/// Network information: its name, and the transport streams in it.
#[derive(Clone, Copy, Debug)]
pub struct Nit<'a> {
    /// `network_id`.
    pub network_id: u16,
    /// What is said about the network.
    pub descriptors: Descriptors<'a>,
    streams: &'a [u8],
}

impl<'a> Nit<'a> {
    /// Reads a section with [`NIT`] or [`NIT_OTHER`].
    pub fn parse(section: Section<'a>) -> Option<Nit<'a>> {
        if !matches!(section.table_id(), NIT | NIT_OTHER) || !section.is_long() {
            return None;
        }
        let (descriptors, rest) = counted(section.body())?;
        let (streams, _) = counted(rest)?;
        Some(Nit { network_id: section.extension(), descriptors: Descriptors::new(descriptors), streams })
    }

    /// The network's name, coded as [`super::text`] reads it.
    pub fn name(self) -> Option<&'a [u8]> {
        self.descriptors.find(tag::NETWORK_NAME)
    }

    /// Transport stream and original network of each entry.
    pub fn transport_streams(self) -> impl Iterator<Item = (u16, u16)> + 'a {
        let mut rest = self.streams;
        std::iter::from_fn(move || {
            let [t0, t1, n0, n1, behind @ ..] = rest else { return None };
            rest = counted(behind)?.1;
            Some((u16::from_be_bytes([*t0, *t1]), u16::from_be_bytes([*n0, *n1])))
        })
    }
}

/// The time of a TDT or TOT, in seconds since 1970 (UTC). `None`: not such a table, or no time (digits above 9, a day
/// before 1970).
pub fn utc_seconds(section: Section<'_>) -> Option<u64> {
    if !matches!(section.table_id(), TDT | TOT) || section.is_long() {
        return None;
    }
    let [d0, d1, hours, minutes, seconds, ..] = *section.body() else { return None };
    /// Modified Julian day of 1 January 1970.
    const EPOCH_DAY: u64 = 40587;
    let day = u64::from(u16::from_be_bytes([d0, d1])).checked_sub(EPOCH_DAY)?;
    let digits = |byte: u8, below: u8| {
        let value = (byte >> 4) * 10 + (byte & 0x0F);
        (byte >> 4 <= 9 && byte & 0x0F <= 9 && value < below).then_some(u64::from(value))
    };
    // A leap second is 60.
    Some(day * 86_400 + digits(hours, 24)? * 3600 + digits(minutes, 60)? * 60 + digits(seconds, 61)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::text;

    /// A long section with `body` behind its eight bytes and four bytes in place of a CRC.
    fn long(table_id: u8, extension: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![table_id, 0xB0, (body.len() + 9) as u8];
        bytes.extend(extension.to_be_bytes());
        bytes.extend([0xC3, 0, 0]);
        bytes.extend(body);
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn pat_and_pmt() {
        let bytes = long(PAT, 7, &[0, 0, 0xE0, 0x10, 0, 1, 0xF0, 0x00, 9]);
        let section = Section::new(&bytes).unwrap();
        assert_eq!((section.version(), section.is_current()), (1, true));
        let pat = Pat::parse(section).unwrap();
        assert_eq!(pat.transport_stream_id, 7);
        assert_eq!(pat.programs().collect::<Vec<_>>(), [(0, 0x10), (1, 0x1000)]);
        assert!(Pmt::parse(section).is_none() && Cat::parse(section).is_none());

        let body = [
            &[0xE1, 0x00, 0xF0, 2, 0x0E, 0][..],
            &[0x1B, 0xE1, 0x00, 0xF0, 0],
            &[0x0F, 0xE1, 0x01, 0xF0, 6, 0x0A, 4, b'e', b'n', b'g', 0],
            &[0x0F, 0xE1, 0x02, 0xF0, 6, 0x0A, 4],
        ];
        let bytes = long(PMT, 1, &body.concat());
        let pmt = Pmt::parse(Section::new(&bytes).unwrap()).unwrap();
        assert_eq!((pmt.program, pmt.pcr_pid, pmt.descriptors.into_iter().count()), (1, 0x100, 1));
        let streams: Vec<_> =
            pmt.streams().map(|s| (s.stream_type, s.pid, s.descriptors.language())).collect();
        assert_eq!(streams, [(0x1B, 0x100, None), (0x0F, 0x101, Some((*b"eng", 0)))], "the third is cut");
        let bytes = long(PMT, 1, &[0xE1, 0, 0xF0, 9]);
        assert!(Pmt::parse(Section::new(&bytes).unwrap()).is_none());
    }

    #[test]
    fn sdt_and_nit() {
        let names = [0x48, 13, 1, 3, b'A', b'R', b'D', 8, 0x15, 0xC3, 0xA4, b'r', b's', b't', b'e', 0xFF];
        let body =
            [&[0x00, 0x01, 0xFF, 0, 9, 0xFD, 0x90, names.len() as u8][..], &names, &[0, 1, 2]].concat();
        let bytes = long(SDT, 1, &body);
        let sdt = Sdt::parse(Section::new(&bytes).unwrap()).unwrap();
        let services: Vec<_> = sdt.services().collect();
        assert_eq!((services.len(), sdt.original_network_id), (1, 1));
        assert_eq!((services[0].id, services[0].running_status, services[0].scrambled), (9, 4, true));
        // The descriptor's length says 13; the name inside wants a byte more than that, so it is none.
        assert_eq!(services[0].names(), None);
        let good = [0x48, 9, 1, 3, b'A', b'R', b'D', 3, 0x15, 0xC3, 0xA4];
        let body = [&[0x00, 0x01, 0xFF, 0, 9, 0xFD, 0x80, good.len() as u8][..], &good].concat();
        let bytes = long(SDT_OTHER, 1, &body);
        let service = Sdt::parse(Section::new(&bytes).unwrap()).unwrap().services().next().unwrap();
        let (kind, provider, name) = service.names().unwrap();
        assert_eq!((kind, text::decode(provider).as_str(), text::decode(name).as_str()), (1, "ARD", "ä"));

        let body = [0xF0, 4, 0x40, 2, b'n', b'w', 0xF0, 6, 0, 5, 0, 6, 0xF0, 0];
        let bytes = long(NIT, 3, &body);
        let nit = Nit::parse(Section::new(&bytes).unwrap()).unwrap();
        assert_eq!((nit.network_id, nit.name()), (3, Some(&b"nw"[..])));
        assert_eq!(nit.transport_streams().collect::<Vec<_>>(), [(5, 6)]);
    }

    #[test]
    fn times() {
        // The example of EN 300 468: 1993-10-13 12:45:00.
        let bytes = [TDT, 0x70, 5, 0xC0, 0x79, 0x12, 0x45, 0x00];
        assert_eq!(utc_seconds(Section::new(&bytes).unwrap()), Some(750_516_300));
        for (at, wrong) in [(3, 0x00), (5, 0x24), (5, 0x1A), (6, 0x60), (0, 0x71)] {
            let mut bytes = bytes;
            bytes[at] = wrong;
            assert_eq!(utc_seconds(Section::new(&bytes).unwrap()), None, "{at} {wrong:#x}");
        }
    }
}
