//! Groups, in a network namespace with links of its own.

use super::{await_figure, config, figure, h264_file, watch};
use crate::support::checker::VIDEO;
use crate::support::igmp::{Reports, Said};
use crate::support::network::Network;
use crate::support::process::{self, Process, static_ffmpeg};
use crate::support::publisher::Raise;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::{poll, share_machine, skip};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Our end of a link whose other end the server has.
fn our_end(its: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(its) = its else { panic!("IPv4") };
    Ipv4Addr::from(u32::from(its) - 1)
}

fn start(network: &Network, config: Config) -> Server {
    config.wrapped(&network.wrapper()).reached_at(network.calm).start()
}

/// Sends to `group` over the link whose far end is `its`.
fn send(ffmpeg: &Path, file: &Path, its: IpAddr, format: &str, group: &str) -> Process {
    let scheme = if format == "rtp_mpegts" { "rtp" } else { "udp" };
    let url = format!("{scheme}://{group}?pkt_size=1316&ttl=1&localaddr={}", our_end(its));
    super::send_for_ever(ffmpeg, file, format, &url)
}

fn sees_pictures(server: &Server) {
    let mut player = watch(server);
    let pictures = std::iter::from_fn(|| player.tag()).filter(|tag| tag.kind == VIDEO);
    assert_eq!(pictures.take(40).count(), 40);
}

/// Any source and one source; by the interface's name and by its address; plain and in RTP. What is sent to another group on
/// the same port stays out.
#[test]
fn groups_are_joined() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let Some(network) = Network::new() else { return };
    let file = h264_file(&ffmpeg);
    let (device, source) = (network.rough, our_end(network.rough));
    for (origin, format, group) in [
        ("udp://rough@239.255.7.1:5000".to_owned(), "mpegts", "239.255.7.1:5000"),
        (format!("udp://{device}@239.255.7.1:5000"), "mpegts", "239.255.7.1:5000"),
        (format!("rtp://rough@{source}@232.7.1.1:5000"), "rtp_mpegts", "232.7.1.1:5000"),
    ] {
        let server = start(&network, config(&[&origin], ""));
        await_figure(&server, "receive_buffer_bytes", &[], 1.0);
        let _other = send(&ffmpeg, &file, network.rough, "mpegts", "239.255.7.2:5000");
        let _sender = send(&ffmpeg, &file, network.rough, format, group);
        await_figure(&server, "on_air", &[], 1.0);
        sees_pictures(&server);
        assert_eq!(figure(&server, "datagrams_refused_total", &[]), 0.0, "{origin}");
        server.stop();
    }
    // Of one who is not meant, nothing comes.
    let origin = "udp://rough@198.51.100.7@232.7.1.1:5000";
    let server = start(&network, config(&[origin], ""));
    let _sender = send(&ffmpeg, &file, network.rough, "mpegts", "232.7.1.1:5000");
    await_figure(&server, "no_program_total", &[], 1.0);
    assert_eq!(figure(&server, "datagrams_total", &[]), 0.0);
    server.stop();
}

/// ffmpeg knows no way to name the interface of an IPv6 group, so its datagrams are passed on here.
#[test]
fn groups_of_ipv6_are_joined() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let Some(network) = Network::new() else { return };
    let file = h264_file(&ffmpeg);
    let ours = our_end(network.rough).to_string();
    let listed =
        process::run("ip", Command::new("ip").args(["-o", "addr", "show", "to", &ours]), super::LIMIT);
    let index: u32 = listed.split(':').next().and_then(|index| index.parse().ok()).expect("our end's number");
    let server = start(&network, config(&["udp://rough@[ff15::7:1]:5000"], ""));
    await_figure(&server, "receive_buffer_bytes", &[], 1.0);
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    let out = socket2::Socket::from(UdpSocket::bind("[::]:0").unwrap());
    out.set_multicast_if_v6(index).unwrap();
    let out = UdpSocket::from(out);
    let target = format!("udp://{}?pkt_size=1316", from.local_addr().unwrap());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _raise = Raise(&over);
        let over = &over;
        scope.spawn(move || {
            from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let mut buffer = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                if let Ok(len) = from.recv(&mut buffer) {
                    // The link has no address before it knows that nobody else has it.
                    let _not_yet = out.send_to(&buffer[..len], "[ff15::7:1]:5000");
                }
            }
        });
        let _sender = super::send_for_ever(&ffmpeg, &file, "mpegts", &target);
        await_figure(&server, "on_air", &[], 1.0);
        sees_pictures(&server);
    });
    server.stop();
}

/// A link that goes down and comes back is joined again, and the stream goes on.
#[test]
fn a_link_that_comes_back_is_joined_again() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let Some(network) = Network::new() else { return };
    let file = h264_file(&ffmpeg);
    let server = start(&network, config(&["udp://rough@239.255.7.1:5000"], ""));
    let _sender = send(&ffmpeg, &file, network.rough, "mpegts", "239.255.7.1:5000");
    await_figure(&server, "on_air", &[], 1.0);
    sees_pictures(&server);
    network.plug(false);
    await_figure(&server, "deposed_total", &[], 1.0);
    network.plug(true);
    await_figure(&server, "rejoins_total", &[], 1.0);
    await_figure(&server, "on_air", &[], 1.0);
    sees_pictures(&server);
    server.stop();
}

/// How soon a link that is back is joined again at the latest: docs/headend.md says a second, and a busy machine is slower.
const REJOINED_WITHIN: Duration = Duration::from_secs(5);

/// A switch that restarts has forgotten who wants what, and the host's kernel has noticed nothing: it is told again, on the
/// wire, first that the group is left and then that it is joined.
#[test]
fn a_switch_that_restarts_sees_a_leave_and_then_a_join() {
    let (_shared, Some(network)) = (share_machine(), Network::new()) else { return };
    let reports = match Reports::of(&network.far) {
        Ok(reports) => reports,
        Err(error) => return skip("no-packet-socket", &format!("nothing can be captured here: {error}")),
    };
    let (any, one) = (Ipv4Addr::new(239, 255, 7, 1), Ipv4Addr::new(232, 7, 1, 1));
    let source = our_end(network.rough);
    let from = [format!("udp://rough@{any}:5000"), format!("udp://rough@{source}@{one}:5000")];
    let server = start(&network, config(&from.each_ref().map(String::as_str), ""));
    // What was said of each of the two since the last time, added to it.
    let gather = |said: &mut [Vec<Said>; 2]| {
        let all = reports.all();
        for (group, said) in [any, one].into_iter().zip(said) {
            said.extend(all.iter().filter(|said| said.group() == group));
        }
    };
    let joins = |said: &Vec<Said>| said.iter().any(|said| matches!(said, Said::Join(_)));
    let mut said = [Vec::new(), Vec::new()];
    poll("the first joins", LIMIT, || {
        gather(&mut said);
        said.iter().all(joins).then_some(())
    });
    network.plug_far(false);
    let down = || server.metrics().sum("headgate_link_up", &["rough"]) == 0.0;
    poll("the link to be missed", LIMIT, || down().then_some(()));
    gather(&mut said);
    let mut said = [Vec::new(), Vec::new()];
    network.plug_far(true);
    // A kernel says a thing twice, in case the first was lost (RFC 3376 section 8.1): the first joins too, which may be now.
    let left_and_joined = |said: &Vec<Said>| {
        let mut from_leave = said.iter().skip_while(|said| matches!(said, Said::Join(_)));
        from_leave.any(|said| matches!(said, Said::Join(_)))
    };
    poll("a leave and a join behind it", REJOINED_WITHIN, || {
        gather(&mut said);
        said.iter().all(left_and_joined).then_some(())
    });
    for (group, mut said) in [any, one].into_iter().zip(said) {
        said.dedup();
        let from_leave: Vec<Said> =
            said.iter().copied().skip_while(|said| *said == Said::Join(group)).collect();
        assert_eq!(from_leave, [Said::Leave(group), Said::Join(group)], "{said:?}");
    }
    await_figure(&server, "rejoins_total", &[], 2.0);
    let log = server.stop();
    for (line, times) in [("link lost", 1), ("link is there", 1), ("input: listening", 2)] {
        assert_eq!(log.matches(line).count(), times, "{line}\n{log}");
    }
}
