//! All that is done to captures: what breaks them, and what does not.

mod media;
mod packets;
mod tables;

use crate::captures::{
    Capture, ends, has_pcr, is_null, is_sound, key_starts, not_idr, place, rewrite, shift_pcrs, without,
};
use crate::generator::{self, Maker, count, null, pid};
use crate::support::judge::{Gate, Limits, Program};

/// What is done to a clean capture.
pub type Change = fn(&mut Capture);
/// Name, what is done, the gates that are missed: one, unless the fault is two.
pub type Fault = (&'static str, Change, &'static [Gate]);

/// Every fault.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    [packets::FAULTS, tables::FAULTS, media::FAULTS].into_iter().flatten()
}

/// The fault of this name.
pub fn named(name: &str) -> Change {
    all().find(|fault| fault.0 == name).unwrap_or_else(|| panic!("no fault {name:?}")).1
}

/// What passes although it is unusual.
pub const LEGAL: &[(&str, Change)] = &[
    ("a packet comes twice", |c| {
        let at = place(&c.packets, [ends, is_null]);
        c.packets[at + 1] = c.packets[at];
    }),
    ("a jump that is announced and allowed", |c| {
        c.channel.limits.discontinuities = 1;
        let (at, end) = (place(&c.packets, [has_pcr]), c.packets.len());
        shift_pcrs(&mut c.packets, at..end, 50 * 27_000);
        c.packets[at][5] |= 0x80;
    }),
    ("recovery points instead of IDR pictures", |c| {
        for packet in c.packets.iter_mut().filter(|packet| key_starts(packet)) {
            not_idr(packet);
            rewrite(packet, &[0x68], &[6, 6]);
        }
    }),
    ("a TOT instead of a TDT", |c| {
        let mut section = vec![0x73, 0x70, 11, 0xC0, 0x79, 0x12, 0x45, 0x00, 0xF0, 0];
        section.extend(generator::sum(&section));
        let tdts = c.packets.iter_mut().filter(|packet| pid(packet) == 0x14);
        tdts.for_each(|packet| *packet = generator::single(0x14, &section));
        count(&mut c.packets);
    }),
    ("a section over two packets", |c| {
        let at = place(&c.packets, [is_null, is_null]);
        let whole = generator::sdt("\u{15}Über 7".as_bytes());
        let (mut head, mut tail) = (null(), null());
        // Fifty bytes of a stuffed adaptation field less room.
        head[..6].copy_from_slice(&[0x47, 0x40, 0x11, 0x30, 163, 0]);
        head[168..].copy_from_slice(&whole[4..24]);
        tail[..4].copy_from_slice(&[0x47, 0, 0x11, 0x10]);
        tail[4..168].copy_from_slice(&whole[24..]);
        (c.packets[at], c.packets[at + 1]) = (head, tail);
        count(&mut c.packets);
    }),
    ("a limit of one's own", |c| {
        c.packets = Maker { pcr_ms: 45, ..Maker::default() }.make();
        c.channel.limits = Limits { pcr_interval_ms: 50.0, ..Limits::default() };
    }),
    ("two programs with one clock", |c| {
        let mut other =
            Program { number: 8, pmt_pid: 0x1001, streams: Vec::new(), ..c.channel.programs[0].clone() };
        other.service = None;
        c.channel.programs.push(other);
        // Nulls are not always near.
        c.channel.limits.pat_pmt_ms = 200.0;
        let pmt = generator::table(0x1001, 2, 8, &[0xE1, 0, 0xF0, 0]);
        for at in 0..c.packets.len() {
            if pid(&c.packets[at]) == 0 {
                c.packets[at] = generator::table(0, 0, 1, &[0, 7, 0xF0, 0, 0, 8, 0xF0, 1]);
                let free = c.packets[at..].iter().position(is_null);
                c.packets[at + free.expect("a null after a PAT")] = pmt;
            }
        }
        count(&mut c.packets);
    }),
    ("data may pause", |c| {
        c.channel.programs[0].streams[1].continuous = false;
        without(&mut c.packets, 2000..3000, is_sound);
    }),
];
