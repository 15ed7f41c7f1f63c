//! A network namespace for the server, reached over two links of its own: a calm one, and one that fails.

use super::process::{is_left, names_in, program};
use super::skip;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// The namespace; it and its links are gone when this is dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// The server's address on the link that never fails.
    pub calm: IpAddr,
    /// Its address on the other one.
    pub rough: IpAddr,
    /// Our end of the rough link.
    pub far: String,
}

/// Names of namespaces and, with `c` or `r` behind it, of links: a pid and a number follow.
const PREFIX: &str = "headgate-";
/// The same of namespaces beside them.
const SECOND: &str = "headgate2-";
const LINK: &str = "hg";

/// Pairs of addresses of 198.18.0.0/15, which is set aside for tests (RFC 2544).
const SUBNETS: u32 = 1 << 15;

fn addresses(subnet: u32) -> [Ipv4Addr; 2] {
    let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * (subnet % SUBNETS);
    [1, 2].map(|n| Ipv4Addr::from(base + n))
}

/// Our end of a link: at most 15 bytes, for a pid has seven digits.
fn device(link: &str, pid: u32, n: u32) -> String {
    format!("{LINK}{}{pid}-{n}", &link[..1])
}

impl Network {
    /// Makes one; `None` (and a reported skip) where the kernel does not let this process.
    pub fn new() -> Option<Network> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{PREFIX}{pid}-{n}");
        program("ip")?;
        SWEPT.call_once(sweep);
        if let Err(why) = run(&format!("ip netns add {name}")) {
            skip("no-namespaces", &format!("no network namespace can be made here: {why}"));
            return None;
        }
        let subnets = [0, 1].map(|link| pid * 16 + 2 * n + link);
        let [calm, rough] = subnets.map(|subnet| IpAddr::V4(addresses(subnet)[1]));
        // From here on it is removed again, whatever happens.
        let network = Network { name, calm, rough, far: device("rough", pid, n) };
        if let Err(why) = network.link(pid, n, subnets) {
            skip("no-veth", &format!("no link into a network namespace can be made here: {why}"));
            return None;
        }
        Some(network)
    }

    fn link(&self, pid: u32, n: u32, subnets: [u32; 2]) -> Result<(), String> {
        self.inside("ip link set lo up")?;
        for (link, subnet) in ["calm", "rough"].into_iter().zip(subnets) {
            let [ours, its] = addresses(subnet);
            let device = device(link, pid, n);
            run(&format!("ip link add {device} type veth peer name {link} netns {}", self.name))?;
            run(&format!("ip addr add {ours}/30 dev {device}"))?;
            run(&format!("ip link set {device} up"))?;
            self.inside(&format!("ip addr add {its}/30 dev {link}"))?;
            self.inside(&format!("ip link set {link} up"))?;
        }
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of a namespace beside it, which is swept like it if it is left.
    pub fn second(&self) -> String {
        self.name.replacen(PREFIX, SECOND, 1)
    }

    /// What runs a program inside: it ends by executing it.
    pub fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// One whose link can [`swallow`](Network::swallow); `None` (and a reported skip) where there is no `nft`.
    pub fn that_swallows() -> Option<Network> {
        program("nft")?;
        let network = Self::new()?;
        if let Err(why) = network.prepare_cut() {
            skip("nft-refused", &format!("the kernel takes no nftables rules here: {why}"));
            return None;
        }
        Some(network)
    }

    fn prepare_cut(&self) -> Result<(), String> {
        self.inside("nft add table inet cut")?;
        self.inside("nft add chain inet cut input { type filter hook input priority 0 ; }")?;
        // Counts and lets pass: the kernel knows everything that the cut will need.
        self.inside("nft add rule inet cut input iifname rough counter")
    }

    /// From here on nothing that comes over the rough link arrives; who sends it is not told.
    pub fn swallow(&self) {
        self.inside("nft add rule inet cut input iifname rough drop").unwrap();
    }

    /// Pulls the plug of the rough link, or puts it back.
    pub fn plug(&self, up: bool) {
        self.inside(&format!("ip link set rough {}", if up { "up" } else { "down" })).unwrap();
    }

    /// Takes our end of the rough link down, as a switch that restarts does, or up: the server's end stays switched on.
    pub fn plug_far(&self, up: bool) {
        run(&format!("ip link set {} {}", self.far, if up { "up" } else { "down" })).unwrap();
    }

    fn inside(&self, command: &str) -> Result<(), String> {
        run(&format!("ip netns exec {} {command}", self.name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its links go with it, once no process is inside any more.
        let _gone = run(&format!("ip netns del {}", self.name));
    }
}

/// Removes what test runs have left that were killed: their pids are in the names.
fn sweep() {
    for name in names_in("/run/netns").iter().filter(|name| is_left(name, &[PREFIX, SECOND])) {
        let _gone = run(&format!("ip netns del {name}"));
    }
    // Most went with their namespace.
    for name in names_in("/sys/class/net").iter().filter(|name| is_left(name, &["hgc", "hgr"])) {
        let _gone = run(&format!("ip link del {name}"));
    }
}

/// Runs a command line of words; what it complained of is the error.
pub fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command}: {}", said.trim())) }
}
