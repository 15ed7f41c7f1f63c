//! Time and date (EN 300 468 sections 5.2.5 and 5.2.6): TDT and TOT.

use super::section;

/// Modified Julian date of 1970-01-01.
const MJD_OF_UNIX_EPOCH: u64 = 40_587;
const DAY_S: u64 = 86_400;

/// Annex C: the day as a modified Julian date (16 bits, until 2038-04-22), then hours, minutes, seconds in BCD.
fn utc(unix_s: u64) -> [u8; 5] {
    let [high, low] = ((MJD_OF_UNIX_EPOCH + unix_s / DAY_S) as u16).to_be_bytes();
    let second = unix_s % DAY_S;
    let bcd = |n: u64| (n / 10 * 16 + n % 10) as u8;
    [high, low, bcd(second / 3600), bcd(second / 60 % 60), bcd(second % 60)]
}

/// Time and date table: seconds since 1970 in UTC. A short section: no version, no CRC.
pub fn tdt(unix_s: u64) -> [u8; 8] {
    let [a, b, c, d, e] = utc(unix_s);
    [section::table_id::TDT, 0x70, 5, a, b, c, d, e]
}

/// Time offset table with its loop of descriptors (local time offsets); `None` if they do not fit.
pub fn tot(unix_s: u64, descriptors: &[u8]) -> Option<Vec<u8>> {
    let mut body: Vec<u8> = utc(unix_s).into();
    section::loop_of(descriptors, &mut body)?;
    section::closed(section::table_id::TOT, 0x70, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::crc::crc32;

    #[test]
    fn the_example_of_the_standard() {
        // Annex C: 93/10/13 12:45:00 is 0xC079124500.
        assert_eq!(tdt(750_516_300), [0x70, 0x70, 5, 0xC0, 0x79, 0x12, 0x45, 0]);
        let table = tot(750_516_300, &[0x58, 0]).unwrap();
        assert_eq!(table[..12], [0x73, 0x70, 13, 0xC0, 0x79, 0x12, 0x45, 0, 0xF0, 2, 0x58, 0]);
        assert_eq!(crc32(&table), 0);
    }
}
