//! The readers of these tests see what is wrong.

use super::*;

#[test]
fn the_readers_see_what_is_wrong() {
    let mut channel = Channel::of(4_000_000);
    channel.play(&mut usual(4_000_000, 70, 14), 4_000_000);
    let good = channel.out.clone();
    let pid = |packet: &[u8]| u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
    let find = |wanted: u16, start: bool| {
        let mut all = good.chunks(188).enumerate().skip(8000);
        all.find(|(_, p)| pid(p) == wanted && (p[1] & 0x40 != 0) == start && p[3] & 0x10 != 0).unwrap().0
            * 188
    };
    let clock = good.chunks(188).enumerate().skip(8000).find(|(_, p)| p[3] & 0x30 == 0x20).unwrap().0 * 188;
    let leave_out = |bytes: &mut Vec<u8>, wanted: u16, range: std::ops::Range<usize>| {
        for (n, packet) in bytes.chunks_mut(188).enumerate() {
            if range.contains(&n) && pid(packet) == wanted {
                packet[1..4].copy_from_slice(&[0x1F, 0xFF, 0x10]);
            }
        }
    };
    type Fault<'a> = (&'a str, Box<dyn Fn(&mut Vec<u8>) + 'a>);
    let faults: Vec<Fault> = vec![
        ("sync", Box::new(|b| b[188 * 500] = 0)),
        ("counter", Box::new(|b| b[find(0x100, false) + 3] ^= 1)),
        ("PCR by 592 ns", Box::new(|b| b[clock + 11] ^= 0x10)),
        ("a PCR that is missing", Box::new(|b| b[clock + 5] = 0)),
        ("CRC", Box::new(|b| b[find(0, true) + 10] ^= 1)),
        ("PTS", Box::new(|b| b[find(0x200, true) + 4 + 8 + 10] ^= 0x10)),
        ("a table that never comes", Box::new(|b| leave_out(b, 0x11, 0..usize::MAX))),
        ("one that ends", Box::new(|b| leave_out(b, 0x1000, 8000..usize::MAX))),
        ("one that begins late", Box::new(|b| leave_out(b, 0x11, 0..4000))),
        ("rate", Box::new(|b| drop(b.drain(clock - 1316..clock)))),
    ];
    for (what, spoil) in faults {
        let mut spoiled = good.clone();
        spoil(&mut spoiled);
        let found =
            std::panic::catch_unwind(|| read(&spoiled, 4_000_000).holds_gates(&channel.tables())).is_err();
        assert!(found, "{what} was not found");
    }
}
