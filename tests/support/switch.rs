//! A network like a headend's: the gateway and four boxes, each in a namespace of its own, on ports of a switch that knows who
//! has joined what (IGMP and MLD snooping) and asks for it (the querier). Every port's other end is called `eth1`.

use super::network::{Network, run};
use super::receiver::{INTERFACE, Receiver};
use super::skip;
use super::tap::Tap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// Boxes.
pub const BOXES: usize = 4;
/// The gateway's addresses.
pub const GATEWAY: &str = "10.9.0.1";
pub const GATEWAY_V6: &str = "fd09::1";

/// The bridge. Asked who listens, boxes answer within a second, and so long after its start does it send to everybody what it
/// does not know. What somebody leaves it asks for twice, a tenth of a second each, before it stops. (In hundredths of a second.)
const BRIDGE: &str = "mcast_snooping 1 mcast_query_response_interval 100 mcast_startup_query_interval 100 \
     mcast_last_member_interval 10 mcast_last_member_count 2";

/// See the module's description.
#[derive(Debug)]
pub struct Switch {
    pub network: Network,
    switch: String,
    boxes: Vec<String>,
}

impl Switch {
    /// Makes one; `None` (and a reported skip) where the kernel does not let this process.
    pub fn new() -> Option<Switch> {
        let network = Network::new()?;
        let boxes = (1..=BOXES).map(|n| network.beside(n)).collect();
        let switch = Switch { switch: network.beside(0), network, boxes };
        for namespace in switch.boxes.iter().chain([&switch.switch]) {
            if let Err(why) = run(&format!("ip netns add {namespace}")) {
                skip("no-namespaces", &format!("no network namespace can be made here: {why}"));
                return None;
            }
        }
        if let Err(why) = switch.bridge() {
            skip("no-snooping", &format!("no bridge with IGMP snooping can be made here: {why}"));
            return None;
        }
        if let Err(why) = switch.plug_all() {
            skip("no-veth", &format!("no link between network namespaces can be made here: {why}"));
            return None;
        }
        Some(switch)
    }

    fn bridge(&self) -> Result<(), String> {
        let name = &self.switch;
        run(&format!("ip -n {name} link add br0 type bridge {BRIDGE}"))?;
        // MLD is asked for from an address of the link; one that is not tentative is there at once.
        run(&format!("ip -n {name} addr add fe80::9/64 dev br0 nodad"))?;
        run(&format!("ip -n {name} link set br0 up"))
    }

    fn plug_all(&self) -> Result<(), String> {
        for (n, namespace) in [self.network.name()].into_iter().chain(self.boxes()).enumerate() {
            let switch = &self.switch;
            run(&format!(
                "ip -n {switch} link add port{n} type veth peer name {INTERFACE} netns {namespace}"
            ))?;
            run(&format!("ip -n {switch} link set port{n} master br0"))?;
            run(&format!("ip -n {switch} link set port{n} up"))?;
            // What is sent is one datagram a frame on this wire, as on any other.
            run(&format!("ip -n {namespace} link set {INTERFACE} gso_max_segs 1"))?;
            run(&format!("ip -n {namespace} link set lo up"))?;
            run(&format!("ip -n {namespace} link set {INTERFACE} up"))?;
            run(&format!("ip -n {namespace} addr add 10.9.0.{}/24 dev {INTERFACE}", n + 1))?;
            // Not tentative: it can be used at once.
            run(&format!("ip -n {namespace} addr add fd09::{}/64 dev {INTERFACE} nodad", n + 1))?;
            // For programs that cannot be told an interface.
            run(&format!("ip -n {namespace} route add 224.0.0.0/4 dev {INTERFACE}"))?;
        }
        Ok(())
    }

    fn boxes(&self) -> impl Iterator<Item = &str> {
        self.boxes.iter().map(String::as_str)
    }

    /// The switch asks from now on, in these versions of IGMP and MLD.
    pub fn ask(&self, igmp: u8, mld: u8) {
        let versions = format!("mcast_igmp_version {igmp} mcast_mld_version {mld}");
        for how in [format!("mcast_querier 0 {versions}"), "mcast_querier 1".to_owned()] {
            run(&format!("ip -n {} link set br0 type bridge {how}", self.switch)).unwrap();
        }
    }

    /// Behind this box's port is one receiver only, so the switch need not ask who else listens when it leaves.
    pub fn fast_leave(&self, n: usize) {
        run(&format!("bridge -n {} link set dev port{} fastleave on", self.switch, n + 1)).unwrap();
    }

    /// Pulls the plug of the gateway out of its port, or puts it back.
    pub fn plug(&self, up: bool) {
        let state = if up { "up" } else { "down" };
        run(&format!("ip -n {} link set port0 {state}", self.switch)).unwrap();
    }

    /// The address of a box.
    pub fn address(n: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 0, n as u8 + 2)
    }

    /// The namespace of a box.
    pub fn name(&self, n: usize) -> &str {
        &self.boxes[n]
    }

    /// A socket of a box, joined to `to`, of one source if there is one.
    pub fn receiver(&self, n: usize, to: &str, source: Option<&str>) -> Receiver {
        Receiver::open(&self.boxes[n], to, source.map(|source| source.parse().unwrap()))
    }

    /// A tap on the wire of a box.
    pub fn tap(&self, n: usize) -> Tap {
        Tap::new(&self.boxes[n])
    }

    /// A program that runs where a box is.
    pub fn command(&self, n: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.boxes[n]]).arg(program);
        command
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for namespace in self.boxes.iter().chain([&self.switch]) {
            let _gone = run(&format!("ip netns del {namespace}"));
        }
    }
}
