//! A link from the lab to viewers, where datagrams are seen as they leave.

use super::{Lab, Namespace, Running, VIEWERS, checked};
use anyhow::{Context, Result};
use std::process::Command;

/// The interface at both ends.
pub const INTERFACE: &str = "eth1";
/// The gateway's address on it.
const GATEWAY: &str = "10.9.0.1/24";
/// The viewers' address.
pub const VIEWER: &str = "10.9.0.2";

/// A pair of interfaces called [`INTERFACE`], one in the lab and one in a namespace of viewers. What is sent does not leave in
/// pieces that only the other end cuts into datagrams: without segmentation offload, seven datagrams are seven to a viewer.
pub struct Link<'a> {
    lab: &'a Lab,
    viewers: Namespace,
}

impl<'a> Link<'a> {
    pub(super) fn new(lab: &'a Lab) -> Result<Self> {
        let this = Self { lab, viewers: Namespace::add(VIEWERS)? };
        let (gateway, viewers) = (&lab.namespace.0, &this.viewers.0);
        let viewer = format!("{VIEWER}/24");
        let ip = |namespace: &str, words: &str| {
            checked(Command::new("ip").args(["-n", namespace]).args(words.split(' ')))
        };
        ip(gateway, &format!("link add {INTERFACE} type veth peer name {INTERFACE} netns {viewers}"))
            .context("a link needs a kernel with veth")?;
        for (namespace, address) in [(gateway, GATEWAY), (viewers, &viewer)] {
            // A piece is one datagram: the kernel cuts before the interface, whatever that could do itself.
            ip(namespace, &format!("link set {INTERFACE} gso_max_segs 1 up"))?;
            ip(namespace, &format!("addr add {address} dev {INTERFACE}"))?;
            // For programs that cannot be told an interface.
            ip(namespace, &format!("route add 224.0.0.0/4 dev {INTERFACE}"))?;
        }
        Ok(this)
    }

    /// Starts headgate-load where the viewers are, on the load's processor, like [`Lab::load`].
    pub fn load(&self, name: &str, args: &[String]) -> Result<Running> {
        let command = self.viewers.command(&self.lab.load_cpu.to_string(), &self.lab.load);
        self.lab.start(name, command, args)
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        // Both ends; the viewers' namespace goes right behind it.
        let _ = Command::new("ip").args(["-n", &self.lab.namespace.0, "link", "del", INTERFACE]).status();
    }
}
