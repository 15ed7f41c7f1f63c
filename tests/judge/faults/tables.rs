//! Tables, broken in one way each.

use super::Fault;
use crate::captures::{change, insert, is_sound, place, without};
use crate::generator::{self, PMT, count, null, pid};
use crate::support::judge::Gate;

pub const FAULTS: &[Fault] = &[
    ("a broken sum", |c| change(&mut c.packets, [|p| pid(p) == 0], |p| p[10] ^= 4), &[Gate::Crc]),
    (
        "a table on a foreign PID",
        |c| {
            insert(&mut c.packets, generator::table(0, 0x42, 1, &[0; 4]));
        },
        &[Gate::Table],
    ),
    (
        "a pointer beyond the packet",
        |c| {
            let mut packet = generator::single(0x11, &[]);
            packet[4] = 184;
            insert(&mut c.packets, packet);
        },
        &[Gate::Table],
    ),
    ("an hour of 25", |c| change(&mut c.packets, [|p| pid(p) == 0x14], |p| p[10] = 0x25), &[Gate::Table]),
    (
        "a table changes without a new version",
        |c| {
            let body = [0xF0, 4, 0x40, 2, b'n', b'x', 0xF0, 6, 0, 1, 0, 1, 0xF0, 0];
            change(&mut c.packets, [|p| pid(p) == 0x10], |p| *p = [0; 188]);
            let at = place(&c.packets, [|p| p[0] == 0]);
            c.packets[at] = generator::table(0x10, 0x40, 1, &body);
            count(&mut c.packets);
        },
        &[Gate::Table],
    ),
    (
        "loops that do not fit",
        |c| {
            let body = [0xF0, 0, 0xF0, 7, 0, 1, 0, 1, 0xF0, 0, 0];
            insert(&mut c.packets, generator::table(0x10, 0x40, 2, &body));
        },
        &[Gate::Table],
    ),
    (
        "no sound at all",
        |c| {
            without(&mut c.packets, 0..99_000, is_sound);
        },
        &[Gate::PidMap],
    ),
    (
        "a short section of a long table",
        |c| {
            let mut section = vec![0x40, 0x30, 5, 0];
            section.extend(generator::sum(&section));
            insert(&mut c.packets, generator::single(0x10, &section));
        },
        &[Gate::Table],
    ),
    (
        "a program and a half in the PAT",
        |c| {
            let pats = c.packets.iter_mut().filter(|packet| pid(packet) == 0);
            pats.for_each(|packet| *packet = generator::table(0, 0, 1, &[0, 7, 0xF0, 0, 0]));
            count(&mut c.packets);
        },
        &[Gate::Table],
    ),
    ("another PID for the sound", |c| c.channel.programs[0].streams[1].pid = 0x102, &[Gate::PidMap]),
    ("another type for the sound", |c| c.channel.programs[0].streams[1].stream_type = 3, &[Gate::PidMap]),
    (
        "a PID that nobody ordered",
        |c| {
            let mut packet = null();
            packet[1] = 2;
            insert(&mut c.packets, packet);
        },
        &[Gate::PidMap],
    ),
    (
        "a program that nobody ordered",
        |c| {
            let pats = c.packets.iter_mut().filter(|packet| pid(packet) == 0);
            pats.for_each(|packet| *packet = generator::table(0, 0, 1, &[0, 7, 0xF0, 0, 0, 8, 0xF0, 1]));
            count(&mut c.packets);
        },
        &[Gate::PidMap],
    ),
    (
        "a stream less in the PMT",
        |c| {
            let pmts = c.packets.iter_mut().filter(|packet| pid(packet) == PMT);
            pmts.for_each(|packet| *packet = generator::pmt(0x1B, &[]));
            count(&mut c.packets);
        },
        &[Gate::PidMap],
    ),
    ("another name", |c| c.channel.programs[0].service.as_mut().unwrap().1.push('b'), &[Gate::Service]),
    (
        "a name in no alphabet",
        |c| {
            let sdts = c.packets.iter_mut().filter(|packet| pid(packet) == 0x11);
            sdts.for_each(|packet| *packet = generator::sdt("Über 7".as_bytes()));
            count(&mut c.packets);
        },
        &[Gate::Service],
    ),
    ("no PAT for 0.6 s", |c| without(&mut c.packets, 2000..2600, |p| pid(p) == 0), &[Gate::PatInterval]),
    ("no PMT for 0.15 s", |c| without(&mut c.packets, 2000..2150, |p| pid(p) == PMT), &[Gate::PmtInterval]),
    (
        "no SDT for two seconds",
        |c| without(&mut c.packets, 2000..4000, |p| pid(p) == 0x11),
        &[Gate::SdtInterval],
    ),
    ("no SDT at all", |c| without(&mut c.packets, 0..99_000, |p| pid(p) == 0x11), &[Gate::SdtInterval]),
    ("one NIT only", |c| without(&mut c.packets, 2000..99_000, |p| pid(p) == 0x10), &[Gate::NitInterval]),
    ("one TDT only", |c| without(&mut c.packets, 2000..99_000, |p| pid(p) == 0x14), &[Gate::TdtInterval]),
];
