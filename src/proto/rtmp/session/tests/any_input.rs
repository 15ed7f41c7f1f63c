//! Whatever comes, in whatever pieces.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_input_panics_and_garbage_ends(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        piece in 1..300usize,
        phase in 0..4,
    ) {
        let mut rig = match phase {
            0 => Rig::new(),
            1 => Rig::connected(&[]),
            2 => Rig::publishing(),
            _ => Rig::playing(),
        };
        for part in bytes.chunks(piece) {
            rig.bytes(part);
        }
        let closed = rig.events().iter().any(|event| event.starts_with("Closed("));
        prop_assert_eq!(closed, rig.session.is_closed());
        // whatever was read, the session ends by its deadlines
        for _ in 0..10 {
            let deadline = rig.session.deadline();
            rig.session.handle_timeout(deadline);
        }
        prop_assert!(rig.session.is_closed());
    }

    #[test]
    fn every_split_gives_the_same_events(cuts in prop::collection::vec(1..200usize, 1..60)) {
        let mut script = command("connect", 1.0, &[Value::Object(Object(vec![("app".into(), "live".into())]))]);
        script = message(20, 0, &script);
        script.extend(message(20, 0, &command("publish", 5.0, &[Value::Null, "cam".into()])));
        for time in 0..20 {
            script.extend(message(8 + (time % 2) as u8, 0xff_fff0 + time * 3, &vec![7; 40 * time as usize + 1]));
        }
        let run = |cuts: &[usize]| {
            let (mut rig, mut rest, mut events) = (Rig::new(), &script[..], vec![]);
            for cut in cuts.iter().chain(&[usize::MAX]) {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                rig.bytes(now);
                loop {
                    events.extend(rig.events());
                    if !rig.session.is_deciding() {
                        break;
                    }
                    rig.session.accept_publish(rig.now);
                }
            }
            (events, rig.session.copied_bytes())
        };
        let (events, copied) = run(&cuts);
        prop_assert_eq!(events.len(), 21);
        prop_assert_eq!((events, copied), run(&[]));
    }
}
