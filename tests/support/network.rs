//! A network namespace for the server, reached over two links of its own: a calm one, and one that fails.

use super::process::program;
use super::skip;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The namespace; it and its links are gone when this is dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// The server's address on the link that never fails.
    pub calm: IpAddr,
    /// Its address on the other one.
    pub rough: IpAddr,
}

/// Pairs of addresses of 198.18.0.0/15, which is set aside for tests (RFC 2544).
const SUBNETS: u32 = 1 << 15;

fn addresses(subnet: u32) -> [Ipv4Addr; 2] {
    let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * (subnet % SUBNETS);
    [1, 2].map(|n| Ipv4Addr::from(base + n))
}

impl Network {
    /// Makes one; `None` (and a reported skip) where the kernel does not let this process.
    pub fn new() -> Option<Network> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("headgate-{pid}-{n}");
        program("ip")?;
        let made = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
            skip("no-namespaces", &format!("no network namespace can be made here: {why}"));
            return None;
        }
        let subnets = [0, 1].map(|link| pid * 16 + 2 * n + link);
        let [calm, rough] = subnets.map(|subnet| IpAddr::V4(addresses(subnet)[1]));
        let network = Network { name, calm, rough };
        network.inside("ip link set lo up");
        for (link, subnet) in [("calm", subnets[0]), ("rough", subnets[1])] {
            let [ours, its] = addresses(subnet);
            let device = format!("hg{}{}{n}", &link[..1], pid % 1_000_000);
            run(&format!("ip link add {device} type veth peer name {link} netns {}", network.name));
            run(&format!("ip addr add {ours}/30 dev {device}"));
            run(&format!("ip link set {device} up"));
            network.inside(&format!("ip addr add {its}/30 dev {link}"));
            network.inside(&format!("ip link set {link} up"));
        }
        Some(network)
    }

    /// What runs a program inside: it ends by executing it.
    pub fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// One whose link can [`swallow`](Network::swallow); `None` (and a reported skip) where there is no `nft`.
    pub fn that_swallows() -> Option<Network> {
        program("nft")?;
        Self::new()
    }

    /// From here on nothing that comes over the rough link arrives; who sends it is not told.
    pub fn swallow(&self) {
        self.inside("nft add table inet cut");
        self.inside("nft add chain inet cut input { type filter hook input priority 0 ; }");
        self.inside("nft add rule inet cut input iifname rough drop");
    }

    /// Pulls the plug of the rough link, or puts it back.
    pub fn plug(&self, up: bool) {
        self.inside(&format!("ip link set rough {}", if up { "up" } else { "down" }));
    }

    fn inside(&self, command: &str) {
        run(&format!("ip netns exec {} {command}", self.name));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its links go with it, once no process is inside any more.
        let _gone = words(&format!("ip netns del {}", self.name));
    }
}

fn words(command: &str) -> std::io::Result<Output> {
    let mut words = command.split(' ');
    Command::new(words.next().unwrap_or_default()).args(words).output()
}

fn run(command: &str) {
    let output = words(command).unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
