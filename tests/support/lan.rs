//! A network of its own for channels: the gateway in one namespace, set-top boxes in another, a link called `eth1` between
//! them, and the gateway's calm link for publishers and probes.

use super::network::{Network, run};
use super::process::program;
use super::receiver::{Receiver, inside};
use super::skip;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;

/// The gateway's addresses on `eth1`, and a set-top box's.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub const BOX: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Both by IPv6.
const GATEWAY_V6: &str = "fd09::1/64";
const BOX_V6: &str = "fd09::2/64";
/// See the module's description.
#[derive(Debug)]
pub struct Lan {
    pub network: Network,
    boxes: String,
}

impl Lan {
    /// Makes one; `None` (and a reported skip) where the kernel does not let this process.
    pub fn new() -> Option<Lan> {
        let network = Network::new()?;
        let boxes = network.beside(0);
        if let Err(why) = run(&format!("ip netns add {boxes}")) {
            skip("no-namespaces", &format!("no network namespace can be made here: {why}"));
            return None;
        }
        let lan = Lan { network, boxes };
        if let Err(why) = lan.link() {
            skip("no-veth", &format!("no link between network namespaces can be made here: {why}"));
            return None;
        }
        Some(lan)
    }

    fn link(&self) -> Result<(), String> {
        let (gateway, boxes) = (self.network.name(), &self.boxes);
        run(&format!("ip -n {gateway} link add eth1 type veth peer name eth1 netns {boxes}"))?;
        for (namespace, v4, v6) in [(gateway, GATEWAY, GATEWAY_V6), (boxes, BOX, BOX_V6)] {
            run(&format!("ip -n {namespace} link set lo up"))?;
            // What is sent is one datagram a frame on this wire, as on any other.
            run(&format!("ip -n {namespace} link set eth1 gso_max_segs 1"))?;
            run(&format!("ip -n {namespace} link set eth1 up"))?;
            run(&format!("ip -n {namespace} addr add {v4}/24 dev eth1"))?;
            // Not tentative: it can be used at once.
            run(&format!("ip -n {namespace} addr add {v6} dev eth1 nodad"))?;
            // For programs that cannot be told an interface.
            run(&format!("ip -n {namespace} route add 224.0.0.0/4 dev eth1"))?;
        }
        Ok(())
    }

    /// Pulls the plug of the gateway's `eth1`, or puts it back.
    pub fn plug(&self, up: bool) {
        let state = if up { "up" } else { "down" };
        run(&format!("ip -n {} link set eth1 {state}", self.network.name())).unwrap();
    }

    /// Pulls the plug at the other end, as a switch that fails does, or puts it back: the gateway's `eth1` stays switched on.
    pub fn plug_boxes(&self, up: bool) {
        let state = if up { "up" } else { "down" };
        run(&format!("ip -n {} link set eth1 {state}", self.boxes)).unwrap();
    }

    /// Takes `eth1` away, both ends, and makes it anew.
    pub fn replace(&self) {
        run(&format!("ip -n {} link del eth1", self.network.name())).unwrap();
        self.link().unwrap();
    }

    /// The gateway's `eth1` carries a megabit a second and lets so many bytes wait (as `tc` takes them), or it carries as much
    /// as it can again; false (and a reported skip) where the kernel cannot make it slow.
    pub fn slow(&self, wait: Option<&str>) -> bool {
        if program("tc").is_none() {
            return false;
        }
        let how = match wait {
            Some(bytes) => format!("add dev eth1 root tbf rate 1mbit burst 16kb limit {bytes}"),
            None => "del dev eth1 root".to_owned(),
        };
        let done = run(&format!("tc -n {} qdisc {how}", self.network.name()));
        if let Err(why) = &done {
            skip("no-tbf", &format!("the kernel cannot make a link slow: {why}"));
        }
        done.is_ok()
    }

    /// Every `each`-th datagram to `port` is lost on its way to the boxes; false (and a reported skip) where the kernel has
    /// no rules for that.
    pub fn lose(&self, port: u16, each: u32) -> bool {
        self.filter(&[format!("udp dport {port} numgen inc mod {each} == 1 drop")])
    }

    /// Of datagrams to `port` one in a hundred is lost on its way to the boxes, whichever, and of every `period` the first
    /// `burst`. Around a burst nothing else is, so far as the matrix of a repair code reaches that has `reach` datagrams. False
    /// as above.
    pub fn lose_at_random(&self, port: u16, (burst, period, reach): (u32, u32, u32)) -> bool {
        let (from, to) = (burst + reach, period - reach);
        self.filter(&[
            format!("udp dport {port} meta mark set numgen inc mod {period}"),
            format!("udp dport {port} meta mark < {burst} drop"),
            format!("udp dport {port} meta mark {from}-{to} numgen random mod 100 == 0 drop"),
        ])
    }

    fn filter(&self, rules: &[String]) -> bool {
        if program("nft").is_none() {
            return false;
        }
        let table = [
            "add table inet lossy".to_owned(),
            "add chain inet lossy input { type filter hook input priority 0 ; }".to_owned(),
        ];
        let rules = rules.iter().map(|rule| format!("add rule inet lossy input {rule}"));
        let mut lines = table.into_iter().chain(rules);
        let done = lines.try_for_each(|line| run(&format!("ip netns exec {} nft {line}", self.boxes)));
        if let Err(why) = &done {
            skip("nft-refused", &format!("the kernel takes no nftables rules here: {why}"));
        }
        done.is_ok()
    }

    /// A program that runs where the boxes are.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.boxes]).arg(program);
        command
    }

    /// A box's socket that sends to groups on its `eth1`.
    pub fn sender(&self) -> UdpSocket {
        inside(&self.boxes, || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_multicast_if_v4(&BOX).unwrap();
            socket.into()
        })
    }

    /// A box's socket that receives what is sent to `to`: joined if that is a group.
    pub fn receiver(&self, to: &str) -> Receiver {
        Receiver::open(&self.boxes, to, None)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // Its end of the link goes with it, and so does the other one.
        let _gone = run(&format!("ip netns del {}", self.boxes));
    }
}
