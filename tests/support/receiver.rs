//! A set-top box's socket, in whatever network namespace the box is.

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The interface of every box, and of every gateway whose channels are received.
pub const INTERFACE: &str = "eth1";
/// A receiver that hears nothing for this long has lost its channel.
const SILENCE: Duration = Duration::from_secs(20);
/// What a receiver's socket holds while the test looks elsewhere: seconds of a channel, as far as the kernel allows.
const BUFFER_BYTES: i32 = 8 << 20;

/// Does something in a network namespace: a thread of its own, because which namespace it is in ends with it. A socket stays
/// where it was made.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    let there = move || {
        // SAFETY: no memory is passed.
        let entered = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(entered, 0, "setns: {}", io::Error::last_os_error());
        work()
    };
    std::thread::spawn(there).join().unwrap()
}

/// The number of an interface in this thread's namespace.
pub fn interface(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a string that ends with a zero.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
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
    /// A socket in this namespace that receives what is sent to `to`: joined if that is a group, and then to one source if there
    /// is one.
    pub fn open(namespace: &str, to: &str, source: Option<IpAddr>) -> Receiver {
        let to: SocketAddr = to.parse().unwrap();
        let socket = inside(namespace, move || Self::socket(to, source));
        Receiver { socket: socket.unwrap_or_else(|error| panic!("{to}: {error}")), to }
    }

    fn socket(to: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
        // Others may listen to the same.
        socket.set_reuse_address(true)?;
        socket.bind(&to.into())?;
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
        let eth1 = interface(INTERFACE);
        match (to.ip(), source) {
            (group, Some(source)) if group.is_multicast() => join_source(&socket, eth1, group, source)?,
            (IpAddr::V4(group), _) if group.is_multicast() => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(eth1))?;
            }
            (IpAddr::V6(group), _) if group.is_multicast() => socket.join_multicast_v6(&group, eth1)?,
            _ => {}
        }
        let socket: UdpSocket = socket.into();
        socket.set_read_timeout(Some(SILENCE))?;
        Ok(socket)
    }

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

    /// What has come and was not read yet.
    pub fn waiting(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| (!self.is_empty()).then(|| self.next())).collect()
    }

    /// Whether nothing has come that was not read yet.
    pub fn is_empty(&self) -> bool {
        let mut ready = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut ready, 1, 0) == 0 }
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

/// Joins a group of one source (RFC 3678 section 5.1.2), of either family.
fn join_source(socket: &Socket, interface: u32, group: IpAddr, source: IpAddr) -> io::Result<()> {
    /// `struct group_source_req`.
    #[repr(C)]
    struct Request {
        interface: u32,
        group: libc::sockaddr_storage,
        source: libc::sockaddr_storage,
    }
    const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
    let storage = |ip: IpAddr| {
        let address = socket2::SockAddr::from(SocketAddr::new(ip, 0));
        // SAFETY: a storage of zeros is one, and every address fits into it.
        unsafe {
            let mut storage: libc::sockaddr_storage = std::mem::zeroed();
            let (from, to) = (address.as_ptr().cast::<u8>(), (&raw mut storage).cast::<u8>());
            std::ptr::copy_nonoverlapping(from, to, address.len() as usize);
            storage
        }
    };
    let request = Request { interface, group: storage(group), source: storage(source) };
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let (pointer, len) = ((&raw const request).cast(), size_of::<Request>() as u32);
    // SAFETY: the structure that this option takes.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, MCAST_JOIN_SOURCE_GROUP, pointer, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
