//! Sockets that datagrams come to: bound to a group or an own address, joined, with the kernel's buffer that is asked for.
//!
//! - A socket is bound to its group, not to any address, and gets what comes on interfaces that it joined on and no
//!   other (`IP_MULTICAST_ALL`): another group on the same port, or the same group on another network, stays out.
//! - One socket has one group: the kernel allows 20 on one (`net.ipv4.igmp_max_memberships`).
//! - Joins name the interface by number, with and without a source, of IPv4 and IPv6 alike (RFC 3678 section 5).
//!
//! Unsafe, and why it is sound: every option is set or read with a value of ours that lives through the call, whose size
//! is given.

use super::interfaces::scoped;
use super::sockopt::set;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `SO_BINDTOIFINDEX` and `SO_MEMINFO` of `asm-generic/socket.h`.
const SO_BINDTOIFINDEX: libc::c_int = 62;
const SO_MEMINFO: libc::c_int = 55;
/// Words of `SO_MEMINFO`, and which of them counts datagrams that found no room (`SK_MEMINFO_DROPS`).
const MEMINFO_WORDS: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// What is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A group, or an address of this machine, and the port.
    pub address: SocketAddr,
    /// Number of the interface; a group has one.
    pub interface: Option<u32>,
    /// The only sender of the group that is wanted (source-specific multicast).
    pub source: Option<IpAddr>,
    /// Bytes that the kernel may hold for us.
    pub buffer_bytes: u32,
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listening {
    /// For the engine.
    pub socket: OwnedFd,
    /// The same socket, to ask the kernel about it.
    pub watch: Watch,
    /// Bytes that the kernel gave: `net.core.rmem_max` bounds what an ordinary process may have.
    pub buffer_bytes: u32,
}

/// Another handle of a socket. While it is open the group stays joined.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    /// What was joined, if it is a group.
    joined: Option<(IpAddr, u32, Option<IpAddr>)>,
}

impl Watch {
    /// Datagrams that found no room in the kernel's buffer, modulo 2^32: what `SO_RXQ_OVFL` would tell with each datagram
    /// is told without one too.
    ///
    /// # Errors
    /// The kernel is older than 4.12.
    pub fn dropped(&self) -> io::Result<u32> {
        let mut words = [0u32; MEMINFO_WORDS];
        let mut bytes = size_of_val(&words) as libc::socklen_t;
        // SAFETY: `words` has room for the `bytes` that are announced, and both live through the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                words.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(words.get(MEMINFO_DROPS).copied().unwrap_or_default())
    }

    /// Leaves the group here and now, whoever else has the socket: its last close, wherever that happens, has nothing to
    /// leave any more and waits for no lock of the kernel.
    pub fn leave(&mut self) {
        if let Some((group, interface, source)) = self.joined.take() {
            let left = change(&self.socket, Change::Leave, group, interface, source);
            if left.is_err() && source.is_some() {
                // The interface has gone. The kernel looks for it before it strikes a source off a socket's list, and finds
                // none; it strikes off the group without looking. What stayed on the list, the core's close would have to take
                // off, and wait for the lock.
                let _gone = change(&self.socket, Change::Leave, group, interface, None);
            }
        }
    }
}

/// Opens, binds and joins.
///
/// # Errors
/// The system's, with what was tried in front.
pub fn listen(what: &Listen) -> Result<Listening, ListenFailed> {
    let Listen { address, interface, source, buffer_bytes } = *what;
    let address = scoped(address, interface);
    let at = |step| move |error| ListenFailed { step, error };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP));
    let socket = socket.map_err(at("open a socket"))?;
    let group = address.ip().is_multicast();
    if group {
        // Others on this machine, and other inputs, may listen to the same group.
        socket.set_reuse_address(true).map_err(at("share the port"))?;
    }
    let got = set_buffer(&socket, buffer_bytes);
    // Membership of IPv6 says nothing of the interface that a datagram came on, and neither does an own address.
    if let Some(index) = interface.filter(|_| !group || address.is_ipv6()) {
        let index = index as libc::c_int;
        set(socket.as_fd(), libc::SOL_SOCKET, SO_BINDTOIFINDEX, &index).map_err(at("use the interface"))?;
    }
    socket.bind(&address.into()).map_err(at("bind"))?;
    if group {
        let only_joined = if address.is_ipv4() {
            socket.set_multicast_all_v4(false)
        } else {
            socket.set_multicast_all_v6(false)
        };
        only_joined.map_err(at("keep other groups out"))?;
        change(&socket, Change::Join, address.ip(), interface.unwrap_or(0), source).map_err(at("join"))?;
    }
    let watch = socket.as_fd().try_clone_to_owned().map_err(at("watch the socket"))?;
    let joined = group.then(|| (address.ip(), interface.unwrap_or(0), source));
    Ok(Listening { socket: socket.into(), watch: Watch { socket: watch, joined }, buffer_bytes: got })
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {error}")]
pub struct ListenFailed {
    /// What was tried.
    pub step: &'static str,
    /// The system's answer.
    pub error: io::Error,
}

/// Asks for `bytes` of buffer; who may administrate the network gets them whatever the limit is. Returns what there is.
fn set_buffer(socket: &Socket, bytes: u32) -> u32 {
    let value = bytes.min(i32::MAX as u32) as libc::c_int;
    if set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &value).is_err() {
        // Less than was asked for is told by the number below.
        let _less = socket.set_recv_buffer_size(bytes as usize);
    }
    // The kernel doubles what is set, for its own bookkeeping, and says so.
    let twice = socket.recv_buffer_size().unwrap_or(0);
    u32::try_from(twice / 2).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Join,
    Leave,
}

fn change(
    socket: impl AsFd,
    what: Change,
    group: IpAddr,
    interface: u32,
    source: Option<IpAddr>,
) -> io::Result<()> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let stored = |ip| storage(SocketAddr::new(ip, 0));
    let joins = what == Change::Join;
    match source {
        None => {
            let request = libc::group_req { gr_interface: interface, gr_group: stored(group) };
            set(socket, level, if joins { libc::MCAST_JOIN_GROUP } else { libc::MCAST_LEAVE_GROUP }, &request)
        }
        Some(source) => {
            let request = libc::group_source_req {
                gsr_interface: interface,
                gsr_group: stored(group),
                gsr_source: stored(source),
            };
            let option = if joins { libc::MCAST_JOIN_SOURCE_GROUP } else { libc::MCAST_LEAVE_SOURCE_GROUP };
            set(socket, level, option, &request)
        }
    }
}

fn storage(address: SocketAddr) -> libc::sockaddr_storage {
    let address = SockAddr::from(address);
    // SAFETY: a structure of numbers, for which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: the address is of at most the storage's size, which has room for every kind.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut storage).cast::<u8>(),
            (address.len() as usize).min(size_of::<libc::sockaddr_storage>()),
        );
    }
    storage
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn on(address: &str) -> Listen {
        Listen { address: address.parse().unwrap(), interface: None, source: None, buffer_bytes: 64 << 10 }
    }

    #[test]
    fn a_port_of_this_machine_is_one_listeners() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let first = listen(&on(&free)).unwrap();
        assert!(first.buffer_bytes >= 64 << 10, "{}", first.buffer_bytes);
        let error = listen(&on(&free)).unwrap_err();
        assert_eq!((error.step, error.error.kind()), ("bind", io::ErrorKind::AddrInUse));
        assert_eq!(listen(&on("192.0.2.1:9")).unwrap_err().step, "bind");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listening = listen(&on(&free.to_string())).unwrap();
        assert_eq!(listening.watch.dropped().unwrap(), 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sent = 0;
        while listening.watch.dropped().unwrap() == 0 {
            sender.send_to(&[0x47; 1316], free).unwrap();
            sent += 1;
            assert!(sent < 100_000, "nothing is ever dropped");
        }
    }

    /// The loopback joins groups, and tells itself what it sends; of IPv6 it has no route for that.
    #[test]
    fn groups_are_joined_and_others_stay_out() {
        let lo = super::super::interfaces::list().unwrap().iter().find(|i| i.name == "lo").unwrap().index;
        for (group, source, from, other) in [
            ("239.255.77.1", None, "127.0.0.1:0", "239.255.77.2"),
            ("232.77.1.1", Some("127.0.0.1"), "127.0.0.1:0", "232.77.1.2"),
            ("ff15::7701", None, "[::1]:0", "ff15::7702"),
            ("ff35::7701", Some("::1"), "[::1]:0", "ff35::7702"),
        ] {
            let port = UdpSocket::bind(from).unwrap().local_addr().unwrap().port();
            let ip: IpAddr = group.parse().unwrap();
            let what = Listen {
                address: SocketAddr::new(ip, port),
                interface: Some(lo),
                source: source.map(|source| source.parse().unwrap()),
                buffer_bytes: 64 << 10,
            };
            let listening = listen(&what).unwrap_or_else(|error| panic!("{group}: {error}"));
            if ip.is_ipv6() {
                continue;
            }
            let receiver = UdpSocket::from(listening.socket);
            let sender = Socket::from(UdpSocket::bind(from).unwrap());
            sender.set_multicast_if_v4(&std::net::Ipv4Addr::LOCALHOST).unwrap();
            let sender = UdpSocket::from(sender);
            // Somebody else on this machine is in the other group.
            let elsewhere = Listen { address: SocketAddr::new(other.parse().unwrap(), port), ..what };
            let elsewhere = listen(&elsewhere).unwrap();
            for (to, text) in [(other, b"no"), (group, b"ok")] {
                sender.send_to(text, SocketAddr::new(to.parse().unwrap(), port)).unwrap();
            }
            let mut buffer = [0; 8];
            let (bytes, from) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..bytes], from), (&b"ok"[..], sender.local_addr().unwrap()), "{group}");
            drop(elsewhere);
            // Who has left hears nothing any more, though the socket is open.
            let mut watch = listening.watch;
            watch.leave();
            watch.leave();
            receiver.set_nonblocking(true).unwrap();
            sender.send_to(b"no", SocketAddr::new(ip, port)).unwrap();
            assert!(receiver.recv_from(&mut buffer).is_err(), "{group}");
        }
    }
}
