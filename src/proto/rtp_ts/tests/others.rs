//! Against what another implementation sends.

use super::*;
use crate::wire::capture::{CaptureReader, Datagram};
use crate::wire::fec::FecHeader;

/// The stream of tests/vectors/rtp_mp2t_fec_5x5.pcap, by port: media, columns, rows.
fn capture() -> [Vec<Vec<u8>>; 3] {
    let mut reader = CaptureReader::new();
    reader.push(include_bytes!("../../../../tests/vectors/rtp_mp2t_fec_5x5.pcap"));
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    while let Some(record) = reader.next_record().unwrap() {
        let datagram = Datagram::parse(record.link, record.frame).unwrap();
        let kind = usize::from(datagram.destination.port() - 5004) / 2;
        found[kind].push(datagram.payload.to_vec());
    }
    assert_eq!(found.each_ref().map(Vec::len), [46, 5, 9]);
    found
}

/// What ffmpeg sends is what we send, byte by byte but for the RTP header's number and time, and in the same place.
#[test]
fn the_encoder_agrees_with_another() {
    let [media, columns, rows] = capture();
    let mut encoder = FecEncoder::new(fec(5, 5, true, false), 0x0B07, 0x0518);
    let (mut ours, mut after) = ([Vec::new(), Vec::new()], Vec::new());
    for packet in &media {
        encoder.push(packet, |direction, repair| match direction {
            Direction::Column => {
                ours[0].push(repair.to_vec());
                after.push(sequence(packet));
            }
            Direction::Row => ours[1].push(repair.to_vec()),
        });
    }
    for (ours, theirs) in ours.iter().zip([&columns, &rows]) {
        assert!(ours.len() >= theirs.len() - 1 && ours.len() > 3);
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(
                (&ours[..4], &ours[8..]),
                (&theirs[..4], &theirs[8..]),
                "{:?}",
                FecHeader::parse(theirs)
            );
        }
    }
    assert_eq!(after[..4], [0x0710, 0x0715, 0x071A, 0x071F]);
}

/// Any packet of the first matrix, any two, and any burst of five: what ffmpeg sends repairs them.
#[test]
fn the_receiver_repairs_from_what_another_sends() {
    let [media, columns, rows] = capture();
    let check = |missing: &[usize]| {
        let mut receiver = Receiver::new(OPTIONS);
        let mut given = Given::default();
        let now = Mono::from_micros(1);
        for (n, packet) in media.iter().enumerate().filter(|(n, _)| !missing.contains(n)) {
            receiver.push(0, now, packet);
            given.take(&mut receiver, now);
            if n == 0 {
                // Those of rows that are not sent yet wait as well.
                rows.iter().for_each(|row| receiver.push_fec(now, row));
            }
        }
        columns.iter().for_each(|column| receiver.push_fec(now, column));
        given.take(&mut receiver, now);
        assert_eq!(
            (receiver.tally().repaired, receiver.tally().lost),
            (missing.len() as u64, 0),
            "{missing:?}"
        );
        assert!(given.payloads == payloads(&media), "{missing:?}");
    };
    for first in 1..25 {
        check(&[first]);
        (first + 1..25).for_each(|second| check(&[first, second]));
        check(&(first..(first + 5).min(25)).collect::<Vec<_>>());
    }
}
