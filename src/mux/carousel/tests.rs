//! Tables in their time, at every rate, of one service and of many.

use super::*;
use crate::mux::service::Service;
use crate::mux::ticker::Ticker;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::section::Assembler;
use crate::wire::ts::tables;

/// When which table began, in ms, at this rate.
fn run(multiplex: &Multiplex, seconds: i64, mut each: impl FnMut(i64, &mut Carousel)) -> Vec<(u8, i64)> {
    let mut carousel = Carousel::new(multiplex);
    let (mut ticker, mut assembler) = (Ticker::new(multiplex.rate(), 0), Assembler::new());
    let (mut seen, mut out, mut before) = (Vec::new(), [0; PACKET_BYTES], -SECOND);
    while ticker.now() < seconds * SECOND {
        each(ticker.now(), &mut carousel);
        if carousel.put(ticker.now(), 750_516_300, &mut out) {
            assert!(ticker.now() - before >= 2 * MS, "TBsys");
            before = ticker.now();
            assembler.push(&Packet::parse(&out), |section| {
                assert!(section.crc_ok());
                seen.push((section.table_id(), ticker.now() / MS));
            });
        }
        ticker.advance();
    }
    assert_eq!(assembler.dropped(), 0);
    seen
}

#[test]
fn every_table_comes_in_its_time() {
    let local_time = Some(LocalTime { country: *b"DEU", offset_minutes: 60 });
    for rate_bps in [200_000, 2_000_000, 20_000_000] {
        let multiplex = Multiplex { rate_bps, nit: true, time: true, local_time, ..Multiplex::default() };
        let seen = run(&multiplex, 60, |_, _| {});
        assert!(seen.windows(2).all(|two| two[1].1 - two[0].1 >= 5), "never in a row");
        for (table, longest) in
            [(tables::PAT, 100), (tables::PMT, 100), (tables::SDT, 1000), (tables::NIT, 10_000)]
                .into_iter()
                .chain([(tables::TDT, 10_000), (tables::TOT, 10_000)])
        {
            let at: Vec<i64> = seen.iter().filter(|(id, _)| *id == table).map(|(_, at)| *at).collect();
            let gaps = || at.windows(2).map(|two| two[1] - two[0]);
            assert!(at[0] <= longest && gaps().max().unwrap() <= longest, "{table:#x} at {rate_bps}: {at:?}");
            assert!(gaps().min().unwrap() >= 25, "{table:#x}");
        }
    }
}

fn components(n: usize) -> Vec<Component> {
    let pid = |at: usize| 0x100 + at as u16;
    (0..n).map(|at| Component { stream_type: 6, pid: pid(at), descriptors: vec![5, 4, 1, 2, 3, 4] }).collect()
}

/// The longest tables at the lowest rates, where a packet takes up to 7.5 ms and a fifth of them are clocks.
#[test]
fn long_tables_keep_no_other_waiting() {
    let local_time = Some(LocalTime { country: *b"DEU", offset_minutes: 60 });
    for rate_bps in [crate::mux::RATE_BPS_MIN, 214_000, 216_000, 251_000, 303_000, 502_000] {
        let service = Service { name: "n".repeat(240), provider: "p".repeat(240), ..Service::default() };
        let multiplex = Multiplex {
            rate_bps,
            network_name: "w".repeat(240),
            nit: true,
            time: true,
            local_time,
            services: vec![service],
            ..Multiplex::default()
        };
        let mut carousel = Carousel::new(&multiplex);
        assert_eq!(carousel.set_map(0, 0, 0x100, components(90), Vec::new()), Some(true));
        let lengths: Vec<usize> = carousel.tables.iter().map(Table::packets).collect();
        assert_eq!((lengths, carousel.maps[0].next.as_ref().unwrap().len()), (vec![1, 1, 2, 2, 1], 6));
        let (mut ticker, mut assembler) = (Ticker::new(rate_bps, 0), Assembler::new());
        let (mut out, mut ended) = ([0; PACKET_BYTES], std::collections::BTreeMap::<u8, Vec<i64>>::new());
        let mut clock_due = 0;
        while ticker.now() < 60 * SECOND {
            if ticker.now() + ticker.packet() > clock_due {
                clock_due = ticker.now() + 38 * MS;
            } else if carousel.put(ticker.now(), 0, &mut out) {
                assembler.push(&Packet::parse(&out), |section| {
                    ended.entry(section.table_id()).or_default().push(ticker.now() / MS);
                });
            }
            ticker.advance();
        }
        let limits = [(tables::PAT, 100), (tables::PMT, 100), (tables::SDT, 1000), (tables::NIT, 10_000)];
        for (table, longest) in limits {
            let gaps = || ended[&table].windows(2).map(|two| two[1] - two[0]);
            let (least, most) = (gaps().min().unwrap(), gaps().max().unwrap());
            assert!(least >= 25 && most <= longest, "{table:#x} at {rate_bps}: {least} to {most} ms");
        }
    }
}

#[test]
fn a_map_that_changes_is_sent_soon_and_not_too_soon() {
    let mut last = 0;
    let seen = run(&Multiplex::default(), 20, |now, carousel| {
        let n = (now / (7 * MS)) as usize % 80;
        if now < 10 * SECOND && n != last {
            assert_eq!(carousel.set_map(0, now, 0x100, components(n), Vec::new()), Some(true));
            assert_eq!(carousel.set_map(0, now, 0x100, components(n), Vec::new()), Some(false));
            last = n;
        }
        assert_eq!(carousel.set_map(0, now, 0x100, components(200), Vec::new()), None, "does not fit");
        if now > 19 * SECOND {
            assert_eq!(carousel.sent(0), carousel.revision(0));
        }
    });
    let at: Vec<i64> = seen.iter().filter(|(id, _)| *id == tables::PAT).map(|(_, at)| *at).collect();
    assert!(at.windows(2).all(|two| two[1] - two[0] <= 100), "{at:?}");
}

#[test]
fn versions_follow_content() {
    let of = |name: &str| {
        let services = vec![Service { name: name.to_owned(), ..Service::default() }];
        Carousel::new(&Multiplex { services, ..Multiplex::default() }).tables[2].sections[0][0][10]
    };
    assert_eq!(of("one"), of("one"));
    let versions: std::collections::BTreeSet<u8> = (0..20).map(|n| of(&format!("name {n}"))).collect();
    assert!(versions.len() > 5);
}

/// Sixteen services with the longest tables there are: none is late, each PMT's packets leave TBsys its time, and names of
/// all are told.
#[test]
fn tables_of_many_services_are_in_time() {
    let rows =
        [(3_200_000, 1), (3_200_000, 20), (3_200_000, 90), (4_100_000, 90), (5_000_000, 45), (5_000_000, 90)];
    for (rate_bps, tracks) in rows.into_iter().chain([(7_300_000, 90), (20_000_000, 90)]) {
        let services: Vec<Service> = (0..16)
            .map(|n| Service {
                service_id: n + 1,
                pmt_pid: 0x1000 + n,
                name: "n".repeat(120),
                provider: "p".repeat(120),
                ..Service::default()
            })
            .collect();
        let multiplex = Multiplex { rate_bps, nit: true, time: true, services, ..Multiplex::default() };
        let mut carousel = Carousel::new(&multiplex);
        for n in 0..16 {
            assert_eq!(carousel.set_map(n, 0, 0x100, components(tracks), Vec::new()), Some(true));
        }
        let (mut ticker, mut assembler) = (Ticker::new(rate_bps, 0), Assembler::new());
        let (mut out, mut ended) =
            ([0; PACKET_BYTES], std::collections::BTreeMap::<(u16, u8), Vec<i64>>::new());
        let mut last = std::collections::BTreeMap::<u16, i64>::new();
        let mut clocks = [0; 16];
        while ticker.now() < 30 * SECOND {
            if let Some(due) = clocks.iter_mut().filter(|due| **due <= ticker.now()).min() {
                *due = ticker.now() + clock_each(ticker.packet(), 16);
            } else if carousel.put(ticker.now(), 0, &mut out) {
                let packet = Packet::parse(&out);
                let before = last.insert(packet.pid, ticker.now());
                assert!(before.is_none_or(|at| ticker.now() - at >= 2 * MS), "{:#x}", packet.pid);
                assembler.push(&packet, |section| {
                    let number = if section.table_id() == tables::SDT { section.number() } else { 0 };
                    ended.entry((packet.pid, number)).or_default().push(ticker.now() / MS);
                });
            }
            ticker.advance();
        }
        assert_eq!(ended.len(), 1 + 16 + 4 + 1 + 1, "PAT, PMTs, four sections of names, NIT, TDT");
        for ((pid, number), at) in ended {
            let longest = match pid {
                0 | 0x1000.. => 100,
                pid::SDT => 1000,
                _ => 10_000,
            };
            let gaps = || at.windows(2).map(|two| two[1] - two[0]);
            let (least, most) = (gaps().min().unwrap(), gaps().max().unwrap());
            assert!(
                at[0] <= longest && least >= 25 && most <= longest,
                "{pid:#x} {number} at {rate_bps}: {least} to {most} ms"
            );
        }
    }
}
