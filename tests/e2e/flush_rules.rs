//! Every flush rule brings the same media, to the last frame, and ends its subscribers promptly.

use crate::support::checker::VIDEO;
use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::Config;

/// More than the phases of "interval" (8), so that some phase has two and one of another core none.
const PLAYERS: usize = 9;
/// Above the clients' own limits: the stall timeout would end a forgotten subscriber, too.
const STALL_MS: &str = "120000";

engine_tests!(frame, video, interval);

fn frame(config: Config) {
    complete(config, "frame");
}

fn video(config: Config) {
    complete(config, "video");
}

fn interval(config: Config) {
    complete(config, "interval");
}

fn complete(config: Config, rule: &str) {
    let config = config.set("fanout.flush", &format!("{rule:?}")).set("fanout.stall_timeout_ms", STALL_MS);
    let server = config.start();
    let shape = Shape::default();
    let mut publisher = Publisher::start(&server, rule, shape);
    publisher.burst_until(1);
    let http: Vec<FlvPlayer> =
        (0..PLAYERS).map(|_| FlvPlayer::open(server.http, &format!("/live/{rule}.flv"))).collect();
    let mut rtmp: Vec<Client> = (0..PLAYERS).map(|_| Client::connect(server.rtmp, "live", &[])).collect();
    rtmp.iter_mut().for_each(|client| client.play(rule).unwrap());
    server.await_subscribers(2 * PLAYERS);
    publisher.burst_until(60);
    // The server keeps this back to the stream's end: then there is still something to send.
    let end_of_sequence = [0x17, 2, 0, 0, 0];
    publisher.client.send(6, VIDEO, 1, 60 * 40, &end_of_sequence).unwrap();
    publisher.finish();
    let all = http.into_iter().map(|mut p| p.tags()).chain(rtmp.into_iter().map(|mut c| c.tags()));
    for tags in all {
        let audit = Audit::of(shape, &tags);
        audit.assert_complete(&publisher);
        assert_eq!(audit.video.first, 0);
        let last = tags.iter().rfind(|tag| tag.kind == VIDEO).unwrap();
        assert_eq!(last.body, end_of_sequence);
    }
    server.stop();
}
