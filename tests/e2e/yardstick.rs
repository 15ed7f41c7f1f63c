//! The tests' own client against a server that is not ours (nginx with the RTMP module): a yardstick that bends with
//! what it measures is none.

use crate::support::process::{Process, program};
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{LIMIT, free_address};
use crate::support::{poll, share_machine};
use std::net::TcpStream;
use std::process::Command;

#[test]
fn own_client_agrees_with_nginx() {
    let Some(nginx) = program("nginx") else { return };
    let _shared = share_machine();
    let (address, folder) = (free_address(), tempfile::tempdir().unwrap());
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
         daemon off; master_process off; pid nginx.pid; error_log stderr; events {{ }}\n\
         rtmp {{ server {{ listen {address}; chunk_size 65536; application live {{ live on; wait_key on; }} }} }}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf"]);
    let _nginx = Process::spawn("nginx", &mut command);
    poll("nginx", LIMIT, || TcpStream::connect(address).ok());
    // Towards nginx: extended timestamps, repeated in the keyframes' type 3 chunks. From nginx: headers of every form.
    let shape = Shape { key_bytes: 150_000, ..Shape::default() };
    let mut publisher = Publisher::on(Client::connect(address, "live", &[]), "yardstick", shape);
    publisher.base_ms = 0xFF_FFFF + 300;
    publisher.burst_until(1);
    let mut player = Client::connect(address, "live", &[]);
    player.play("yardstick").unwrap();
    publisher.burst_until(60);
    let mut audit = Audit::new(shape);
    while audit.video.count == 0 || audit.video.last < 59 {
        audit.tag(&player.tag().expect("media"));
    }
    assert!(audit.video.is_gapless() && audit.audio.is_gapless(), "{audit:?}");
}
