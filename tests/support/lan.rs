//! A network of its own for channels: the gateway in one namespace, set-top boxes in another, a link called `eth1` between
//! them, and the gateway's calm link for publishers and probes.

use super::network::{Network, run};
use super::process::program;
use super::skip;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The gateway's addresses on `eth1`, and a set-top box's.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub const BOX: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Both by IPv6.
const GATEWAY_V6: &str = "fd09::1/64";
const BOX_V6: &str = "fd09::2/64";
/// A receiver that hears nothing for this long has lost its channel.
const SILENCE: Duration = Duration::from_secs(20);
/// What a receiver's socket holds while the test looks elsewhere: seconds of a channel, as far as the kernel allows.
const BUFFER_BYTES: i32 = 8 << 20;

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
        let boxes = network.second();
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
        if program("nft").is_none() {
            return false;
        }
        let rules = [
            "add table inet lossy".to_owned(),
            "add chain inet lossy input { type filter hook input priority 0 ; }".to_owned(),
            format!("add rule inet lossy input udp dport {port} numgen inc mod {each} == 1 drop"),
        ];
        let done = rules.iter().try_for_each(|rule| run(&format!("ip netns exec {} nft {rule}", self.boxes)));
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
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.boxes)).unwrap();
        // As below.
        let open = move || -> io::Result<UdpSocket> {
            // SAFETY: no memory is passed.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.set_multicast_if_v4(&BOX)?;
            Ok(socket.into())
        };
        std::thread::spawn(open).join().unwrap().unwrap()
    }

    /// A box's socket that receives what is sent to `to`: joined if that is a group.
    pub fn receiver(&self, to: &str) -> Receiver {
        let to: SocketAddr = to.parse().unwrap();
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.boxes)).unwrap();
        // A thread of its own: which namespace it is in ends with it, and a socket stays where it was made.
        let join = move || -> io::Result<UdpSocket> {
            // SAFETY: no memory is passed.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
            // Others may listen to the same.
            socket.set_reuse_address(true)?;
            socket.bind(&to.into())?;
            let socket: UdpSocket = socket.into();
            match to.ip() {
                IpAddr::V4(group) if group.is_multicast() => socket.join_multicast_v4(&group, &BOX)?,
                IpAddr::V6(group) if group.is_multicast() => {
                    // SAFETY: a string that ends with a zero.
                    let eth1 = unsafe { libc::if_nametoindex(c"eth1".as_ptr()) };
                    socket.join_multicast_v6(&group, eth1)?;
                }
                _ => {}
            }
            for (level, option, value) in [
                (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER_BYTES),
                (libc::IPPROTO_IP, libc::IP_RECVTTL, 1),
                (libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
            ] {
                let (value, len) = (&raw const value, size_of::<i32>() as u32);
                // SAFETY: an integer of that size. A socket of the other family refuses, which does not matter.
                unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.cast(), len) };
            }
            socket.set_read_timeout(Some(SILENCE))?;
            Ok(socket)
        };
        let socket = std::thread::spawn(join).join().unwrap().unwrap_or_else(|error| panic!("{to}: {error}"));
        Receiver { socket, to }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // Its end of the link goes with it, and so does the other one.
        let _gone = run(&format!("ip netns del {}", self.boxes));
    }
}

/// One datagram as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub bytes: Vec<u8>,
    pub from: SocketAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class: DSCP above two bits.
    pub class: u8,
}

/// A socket of a set-top box.
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Receiver {
    /// The next datagram.
    pub fn datagram(&self) -> Datagram {
        let mut bytes = vec![0; 2048];
        // Aligned as the kernel wants control messages.
        let mut control = [0u64; 16];
        // SAFETY: integers, and pointers that may be null.
        let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: as above.
        let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
        head.msg_name = (&raw mut from).cast();
        head.msg_namelen = size_of_val(&from) as u32;
        (head.msg_iov, head.msg_iovlen) = (&raw mut piece, 1);
        (head.msg_control, head.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
        // SAFETY: everything that the header names lives until the call is over.
        let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut head, 0) };
        assert!(len >= 0, "{}: nothing comes: {}", self.to, io::Error::last_os_error());
        bytes.truncate(len as usize);
        let (mut ttl, mut class) = (0, 0);
        // SAFETY: the kernel has filled the header in; its macros walk what it has written.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const head);
            while !message.is_null() {
                let value = *libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                        ttl = value
                    }
                    (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        class = value
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&raw const head, message);
            }
        }
        Datagram { bytes, from: address(&from), ttl, class }
    }

    /// The bytes of the next datagram.
    pub fn next(&self) -> Vec<u8> {
        self.datagram().bytes
    }

    /// The next datagrams until one, with those before it, is what was waited for.
    pub fn until(&self, mut enough: impl FnMut(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !enough(&all) {
            all.push(self.next());
        }
        all
    }

    /// So many datagrams.
    pub fn take(&self, count: usize) -> Vec<Vec<u8>> {
        self.until(|all| all.len() == count)
    }
}

fn address(from: &libc::sockaddr_storage) -> SocketAddr {
    if i32::from(from.ss_family) == libc::AF_INET {
        // SAFETY: the kernel says that it is one.
        let v4 = unsafe { *(&raw const *from).cast::<libc::sockaddr_in>() };
        return (Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port)).into();
    }
    // SAFETY: it has no other family.
    let v6 = unsafe { *(&raw const *from).cast::<libc::sockaddr_in6>() };
    (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port)).into()
}
