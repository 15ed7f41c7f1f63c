//! Captures of the clean channel, broken in one way each.

use super::generator::{self, AUDIO, Maker, Packet, VIDEO, at_ms, channel, count, null, pid};
use super::judge::{self, Carriage, Channel, Judge, Report};
use std::ops::Range;
use std::time::Duration;

/// A capture before it is judged.
#[derive(Clone)]
pub struct Capture {
    pub packets: Vec<Packet>,
    pub channel: Channel,
    /// `None`: a file.
    pub carriage: Option<Carriage>,
    /// What happens to datagrams, or to the file as the only one.
    pub wire: fn(&mut Vec<Vec<u8>>),
}

impl Capture {
    /// A file in which nothing is wrong.
    pub fn clean() -> Capture {
        Capture { packets: Maker::default().make(), channel: channel(), carriage: None, wire: |_| {} }
    }

    /// Whole datagrams, after what happens to them.
    pub fn datagrams(&self, carriage: Carriage) -> Vec<Vec<u8>> {
        let whole = self.packets.chunks_exact(7).enumerate();
        let mut datagrams: Vec<Vec<u8>> = whole
            .map(|(n, packets)| match carriage {
                Carriage::Udp => packets.as_flattened().to_vec(),
                Carriage::Rtp => rtp(n as u64, packets.as_flattened()),
            })
            .collect();
        (self.wire)(&mut datagrams);
        datagrams
    }

    pub fn judge(&self) -> Report {
        let Some(carriage) = self.carriage else {
            let mut file = vec![self.packets.as_flattened().to_vec()];
            (self.wire)(&mut file);
            return judge::file(&file[0], self.channel.clone());
        };
        let mut judge = Judge::new(self.channel.clone());
        for (n, datagram) in self.datagrams(carriage).iter().enumerate() {
            judge.datagram(carriage, Duration::from_millis(5 * n as u64), datagram);
        }
        judge.finish()
    }
}

/// The `n`th datagram of a flow whose sequence numbers and timestamps begin anew soon.
fn rtp(n: u64, packets: &[u8]) -> Vec<u8> {
    let sequence = (n as u16).wrapping_add(65_000);
    let timestamp = ((n * 7 * 1504 * 90_000 / generator::RATE) as u32).wrapping_add(u32::MAX - 90_000);
    let mut bytes = vec![0x80, 33];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    bytes.extend(packets);
    bytes
}

/// When faults happen, in ms.
pub const FAULT_MS: u64 = 2000;

pub fn is_null(packet: &Packet) -> bool {
    pid(packet) == 0x1FFF
}

pub fn starts(packet: &Packet) -> bool {
    packet[1] & 0x40 != 0
}

/// Inside a picture.
pub fn inside(packet: &Packet) -> bool {
    pid(packet) == VIDEO && !starts(packet) && packet[3] & 0x30 == 0x10
}

/// The last packet of a picture, which is filled up.
pub fn ends(packet: &Packet) -> bool {
    pid(packet) == VIDEO && !starts(packet) && packet[3] & 0x30 == 0x30
}

/// The first place from the fault's time on where this holds for as many packets.
pub fn place<const N: usize>(packets: &[Packet], fits: [fn(&Packet) -> bool; N]) -> usize {
    let mut windows = packets.windows(N).enumerate().skip(at_ms(FAULT_MS));
    let fitting = |window: &[Packet]| window.iter().zip(fits).all(|(packet, fits)| fits(packet));
    windows.find(|(_, window)| fitting(window)).expect("such packets").0
}

pub fn change<const N: usize>(packets: &mut [Packet], fits: [fn(&Packet) -> bool; N], with: fn(&mut Packet)) {
    let at = place(packets, fits);
    with(&mut packets[at]);
}

/// Nulls instead of packets.
pub fn without(packets: &mut [Packet], ms: Range<u64>, fits: fn(&Packet) -> bool) {
    let last = packets.len();
    let spoiled = &mut packets[at_ms(ms.start)..at_ms(ms.end).min(last)];
    spoiled.iter_mut().filter(|packet| fits(packet)).for_each(|packet| *packet = null());
    count(packets);
}

/// A packet instead of a null.
pub fn insert(packets: &mut [Packet], packet: Packet) {
    let at = place(packets, [is_null]);
    packets[at] = packet;
    count(packets);
}

/// Moves the PCRs among these packets.
pub fn shift_pcrs(packets: &mut [Packet], range: Range<usize>, ticks: u64) {
    for packet in &mut packets[range] {
        if let Some(value) = generator::pcr_of(packet) {
            packet[6..12].copy_from_slice(&generator::pcr(value + ticks));
        }
    }
}

pub fn has_pcr(packet: &Packet) -> bool {
    pid(packet) == VIDEO && generator::pcr_of(packet).is_some()
}

pub fn is_sound(packet: &Packet) -> bool {
    pid(packet) == AUDIO
}

pub fn sound_starts(packet: &Packet) -> bool {
    is_sound(packet) && starts(packet)
}

pub fn inside_sound(packet: &Packet) -> bool {
    is_sound(packet) && packet[3] & 0x30 == 0x10 && !starts(packet)
}

/// The first packet of an IDR picture: it alone is indicated.
pub fn key_starts(packet: &Packet) -> bool {
    pid(packet) == VIDEO && starts(packet) && packet[3] & 0x20 != 0 && packet[5] & 0x40 != 0
}

/// Puts other bytes behind a start code.
pub fn rewrite(packet: &mut Packet, from: &[u8], to: &[u8]) {
    let code = [&[0, 0, 1], from].concat();
    let at = packet.windows(code.len()).position(|window| window == code).expect("such a NAL unit");
    packet[at + 3..at + 3 + to.len()].copy_from_slice(to);
}

/// A picture that is coded like the others.
pub fn not_idr(packet: &mut Packet) {
    rewrite(packet, &[0x65, 0x88], &[0x61]);
}

pub fn udp(capture: &mut Capture, wire: fn(&mut Vec<Vec<u8>>)) {
    (capture.carriage, capture.wire) = (Some(Carriage::Udp), wire);
}

pub fn over_rtp(capture: &mut Capture, wire: fn(&mut Vec<Vec<u8>>)) {
    (capture.carriage, capture.wire) = (Some(Carriage::Rtp), wire);
}

/// A datagram that ends with a null.
pub fn padded(datagrams: &mut [Vec<u8>]) -> &mut Vec<u8> {
    let ends_null = |bytes: &Vec<u8>| bytes[bytes.len() - 187..][..2] == [0x1F, 0xFF];
    datagrams.iter_mut().skip(500).find(|bytes| ends_null(bytes)).expect("a null at the end")
}
