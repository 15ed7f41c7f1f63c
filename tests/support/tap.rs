//! A tap on a box's wire: every frame that its port of a switch lets out, whether somebody there has asked for it or not.

use super::receiver::{INTERFACE, inside, interface};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What the socket holds between two looks.
const BUFFER_BYTES: i32 = 8 << 20;
/// Next headers.
const HOP_BY_HOP: u8 = 0;
const IGMP: u8 = 2;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// What went over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A datagram that came.
    Datagram(Frame),
    /// What the box said of its groups: the type of IGMP or MLD (RFC 3376 section 4, RFC 3810 section 5).
    Membership(u8),
}

/// A frame with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When the kernel had it, on the clock of the day.
    pub at: Duration,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class: DSCP above two bits.
    pub class: u8,
    /// Nobody may cut it in two; always so with IPv6.
    pub whole: bool,
    /// Bytes of the datagram, without headers.
    pub len: usize,
}

/// See the module's description.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// On the interface of the box in this namespace; it hears what comes from now on.
    pub fn new(namespace: &str) -> Tap {
        inside(namespace, || Tap::on(INTERFACE))
    }

    /// On an interface of this thread's namespace.
    pub fn on(name: &str) -> Tap {
        Tap::open(interface(name)).unwrap_or_else(|error| panic!("no tap on {name}: {error}"))
    }

    fn open(interface: u32) -> io::Result<Tap> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: integers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(all)) };
        check(fd)?;
        // SAFETY: it was just opened and belongs to nobody else.
        let tap = Tap(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: a structure of integers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        (address.sll_protocol, address.sll_ifindex) = (all, interface as i32);
        let (pointer, len) = ((&raw const address).cast(), size_of_val(&address) as u32);
        // SAFETY: an address of that size.
        check(unsafe { libc::bind(fd, pointer, len) })?;
        for (option, value) in [(libc::SO_RCVBUFFORCE, BUFFER_BYTES), (libc::SO_TIMESTAMPNS, 1)] {
            let (value, len) = (&raw const value, size_of::<i32>() as u32);
            // SAFETY: an integer of that size.
            check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value.cast(), len) })?;
        }
        // What came between the two calls may be of another interface.
        while tap.read().is_some() {}
        Ok(tap)
    }

    /// What has gone over the wire since the last time, without what is neither.
    pub fn drain(&self) -> Vec<Seen> {
        std::iter::from_fn(|| self.read()).flatten().collect()
    }

    /// Datagrams to groups among that.
    pub fn frames(&self) -> Vec<Frame> {
        let frame = |seen: Seen| match seen {
            Seen::Datagram(frame) => Some(frame),
            Seen::Membership(_) => None,
        };
        self.drain().into_iter().filter_map(frame).collect()
    }

    /// `None`: there is nothing; `Some(None)`: it is of no interest.
    fn read(&self) -> Option<Option<Seen>> {
        let mut bytes = [0; 2048];
        // Aligned as the kernel wants control messages.
        let mut control = [0u64; 8];
        // SAFETY: structures of integers, and pointers that may be null.
        let (mut from, mut head): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
        let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        head.msg_name = (&raw mut from).cast();
        head.msg_namelen = size_of_val(&from) as u32;
        (head.msg_iov, head.msg_iovlen) = (&raw mut piece, 1);
        (head.msg_control, head.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
        // SAFETY: everything that the header names lives until the call is over.
        let len = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut head, 0) };
        if len < 0 {
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the tap: {error}");
            return None;
        }
        let mut at = Duration::ZERO;
        // SAFETY: the kernel has filled the header in; its macros walk what it has written.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const head);
            while !message.is_null() {
                if ((*message).cmsg_level, (*message).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)
                {
                    let time: libc::timespec =
                        libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
                    at = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
                }
                message = libc::CMSG_NXTHDR(&raw const head, message);
            }
        }
        let is_ours = from.sll_pkttype == libc::PACKET_OUTGOING;
        Some(read(&bytes[..len as usize], at, is_ours))
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads a packet of IP.
fn read(bytes: &[u8], at: Duration, is_ours: bool) -> Option<Seen> {
    let version = bytes.first()? >> 4;
    let (protocol, payload) = match version {
        4 => (*bytes.get(9)?, bytes.get(usize::from(bytes[0] & 15) * 4..)?),
        6 if *bytes.get(6)? == HOP_BY_HOP => {
            let options = bytes.get(40..)?;
            (*options.first()?, options.get(8 * (1 + usize::from(*options.get(1)?))..)?)
        }
        6 => (bytes[6], bytes.get(40..)?),
        _ => return None,
    };
    if is_ours {
        let kind = *payload.first()?;
        // Of ICMPv6, reports and leaves only.
        let told = protocol == IGMP || protocol == ICMP_V6 && [131, 132, 143].contains(&kind);
        return told.then_some(Seen::Membership(kind));
    }
    if protocol != UDP {
        return None;
    }
    let v6 =
        |from: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(from..from + 16)?).ok()?).into());
    let v4 = |from: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(from..from + 4)?).ok()?).into());
    let (from, to, ttl, class, whole): (IpAddr, IpAddr, u8, u8, bool) = match version {
        4 => (v4(12)?, v4(16)?, bytes[8], bytes[1], bytes[6] & 0x40 != 0),
        _ => (v6(8)?, v6(24)?, bytes[7], bytes[0] << 4 | bytes[1] >> 4, true),
    };
    let port = |at: usize| Some(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    let (from, to) = (SocketAddr::new(from, port(0)?), SocketAddr::new(to, port(2)?));
    let len = usize::from(port(4)?).checked_sub(8)?;
    to.ip().is_multicast().then_some(Seen::Datagram(Frame { at, from, to, ttl, class, whole, len }))
}
