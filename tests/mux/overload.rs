//! More than the rate.

use super::*;

/// More than the rate: by rule, loudly, and with every gate held. Sound is never what is missing.
#[test]
fn overload_is_degraded_by_rule() {
    let mut channel = Channel::of(3_000_000);
    let mut source = usual(3_000_000, 70, 6);
    source.tracks[0].gop = 12;
    channel.play(&mut source, 5_000_000);
    assert_eq!(channel.dropped(), 0);
    source.tracks[0].bits_per_second = 4_500_000;
    channel.play(&mut source, 15_000_000);
    assert!(channel.mux.alarms(Mono::from_micros(channel.now_us)).overload);
    source.tracks[0].bits_per_second = 2_000_000;
    channel.play(&mut source, 17_000_000);
    let then = channel.dropped();
    channel.play(&mut source, 30_000_000);
    assert_eq!(channel.dropped(), then, "and it ends");
    assert!(!channel.mux.alarms(Mono::from_micros(channel.now_us)).overload);
    let tally = channel.mux.tally();
    assert!(tally.units_overload > 0 && tally.units_cut == 0, "{tally:?}");
    let report = channel.read();
    let sound = &report.units[&0x200];
    assert!(sound.windows(2).all(|two| two[1].pts - two[0].pts < 22 * MS), "sound is whole");
    // Behind what was dropped comes a picture that can be started with.
    let frame = 41 * MS;
    let pictures = &report.units[&0x100];
    assert!(pictures.windows(2).all(|two| two[1].dts - two[0].dts < frame || two[1].key));
    assert!(pictures.len() > 500, "{}", pictures.len());
    assert!(channel.raised().iter().all(|id| *id == "2.5"), "{:?}", channel.raised());
}
