//! Sections as packets, and what they say that no other part of the multiplex knows.

use crate::mux::multiplex::LocalTime;
use crate::wire::ts::PACKET_BYTES;
use crate::wire::ts::crc::crc32;
use crate::wire::ts::write::packet::{Counter, packets_of_section, write_section};

/// Packets of a section, counters aside.
pub(super) fn packets(pid: u16, section: &[u8]) -> Vec<[u8; PACKET_BYTES]> {
    if section.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(packets_of_section(section.len()) * PACKET_BYTES);
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(part);
        true
    };
    // Nothing limits what the vector takes.
    let _whole = write_section(pid, &mut Counter::default(), section, &mut put);
    bytes.as_chunks().0.to_vec()
}

/// A table that never changes while it is sent. Its version depends on its content, so that after a restart receivers
/// see another version where there is another content, and the same one where there is not.
pub(super) fn versioned(table: impl Fn(u8) -> Option<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let first: Vec<u8> =
        table(0).unwrap_or_default().iter().flat_map(|section| content(section)).copied().collect();
    table((crc32(&first) % 32) as u8).unwrap_or_default()
}

pub(super) fn version_of(section: &[u8]) -> u8 {
    (crc32(content(section)) % 32) as u8
}

/// A section without its CRC.
fn content(section: &[u8]) -> &[u8] {
    section.get(..section.len().saturating_sub(4)).unwrap_or_default()
}

/// Local time offset (EN 300 468 section 6.2.20): one region, no change in sight.
pub(super) fn local_offset(local: LocalTime) -> [u8; 15] {
    let [a, b, c] = local.country;
    let minutes = local.offset_minutes.unsigned_abs().min(13 * 60);
    let bcd = |n: u16| (n / 10 * 16 + n % 10) as u8;
    let (hours, minutes) = (bcd(minutes / 60), bcd(minutes % 60));
    let sign = 2 | u8::from(local.offset_minutes < 0);
    // The time of the next change: the last day that can be said.
    [0x58, 13, a, b, c, sign, hours, minutes, 0xFF, 0xFF, 0x23, 0x59, 0x59, hours, minutes]
}
