//! Receivers of multicast groups: what came, and when by the kernel's own stamp.
//!
//! The stamp is the moment at which the datagram came out of the network, so a receiver may read late and seldom.

use crate::grid::Arrival;
use std::io;
use std::mem::size_of_val;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

/// What a socket may hold, bytes: many times what comes between two looks at it.
const BUFFER_BYTES: libc::c_int = 8 << 20;
/// Longest datagram that is kept whole.
const DATAGRAM_MAX: usize = 2048;

/// A socket that has joined a group.
#[derive(Debug)]
pub struct Member {
    socket: UdpSocket,
    taken: u64,
    dropped: u64,
    wrong_sizes: u64,
}

impl Member {
    /// Joins `group` on the interface that has the address `interface`.
    ///
    /// # Errors
    /// The address is taken or is no group, there is no such interface, or the kernel does not stamp.
    pub fn join(group: SocketAddrV4, interface: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind(group)?;
        socket.join_multicast_v4(group.ip(), &interface)?;
        socket.set_nonblocking(true)?;
        let set = |option, value: libc::c_int| {
            // SAFETY: an integer of that size, which lives through the call.
            let rc = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    option,
                    (&raw const value).cast(),
                    size_of_val(&value) as libc::socklen_t,
                )
            };
            if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        set(libc::SO_TIMESTAMPNS, 1)?;
        set(libc::SO_RXQ_OVFL, 1)?;
        // Beyond the system's limit, where we may; what is lost for want of it is counted.
        set(libc::SO_RCVBUFFORCE, BUFFER_BYTES).or_else(|_| set(libc::SO_RCVBUF, BUFFER_BYTES))?;
        Ok(Self { socket, taken: 0, dropped: 0, wrong_sizes: 0 })
    }

    /// Datagrams that had another size than `len` in [`Self::drain`].
    pub fn wrong_sizes(&self) -> u64 {
        self.wrong_sizes
    }

    /// Takes all that has come, the time in ns of `CLOCK_REALTIME`. Numbers count what the socket had no room for, too.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn drain(&mut self, len: usize, mut each: impl FnMut(Arrival, &[u8])) -> io::Result<()> {
        let mut bytes = [0u8; DATAGRAM_MAX];
        while let Some((read, at_ns, dropped)) = receive(&self.socket, &mut bytes)? {
            // The count is of 32 bits and stands with datagrams only once there is one.
            let more = dropped.map_or(0, |dropped| dropped.wrapping_sub(self.dropped as u32));
            self.dropped += u64::from(more);
            self.wrong_sizes += u64::from(read != len);
            let arrival = Arrival { index: self.taken + self.dropped, at_ns };
            self.taken += 1;
            each(arrival, bytes.get(..read).unwrap_or_default());
        }
        Ok(())
    }
}

/// The next datagram: its length, its stamp, and how many the socket had no room for.
fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> io::Result<Option<(usize, u64, Option<u32>)>> {
    // Aligned as the kernel wants control messages.
    let mut control = [0u64; 16];
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: integers, and pointers that may be null.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    (head.msg_iov, head.msg_iovlen) = (&raw mut piece, 1);
    (head.msg_control, head.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    // SAFETY: everything that the header names lives until the call is over.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut head, libc::MSG_DONTWAIT) };
    let Ok(read) = usize::try_from(read) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    };
    let (mut at_ns, mut dropped) = (None, None);
    // SAFETY: the kernel has filled the header in; its macros walk what it has written, and values may lie unaligned.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const head);
        while !message.is_null() {
            let value = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let stamp = value.cast::<libc::timespec>().read_unaligned();
                    at_ns = Some(stamp.tv_sec as u64 * 1_000_000_000 + stamp.tv_nsec as u64);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => dropped = Some(value.cast::<u32>().read_unaligned()),
                _ => {}
            }
            message = libc::CMSG_NXTHDR(&raw const head, message);
        }
    }
    let at_ns = at_ns.ok_or_else(|| io::Error::other("the kernel does not stamp datagrams"))?;
    Ok(Some((read, at_ns, dropped)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    fn now_ns() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
    }

    #[test]
    fn datagrams_are_numbered_and_stamped() {
        // Loopback carries groups where it is named.
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 77, 1), 47_101);
        let mut member = Member::join(group, Ipv4Addr::LOCALHOST).unwrap();
        let sender = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        sender.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        let before = now_ns();
        for n in 0..5u8 {
            sender.send_to(&vec![n; 100 + usize::from(n / 4)], &group.into()).unwrap();
        }
        let (mut seen, since) = (Vec::new(), Instant::now());
        while seen.len() < 5 && since.elapsed() < Duration::from_secs(10) {
            member.drain(100, |arrival, bytes| seen.push((arrival, bytes[0]))).unwrap();
        }
        let after = now_ns();
        let numbers: Vec<(u64, u8)> = seen.iter().map(|(arrival, first)| (arrival.index, *first)).collect();
        assert_eq!(numbers, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        assert!(seen.iter().all(|(arrival, _)| (before..=after).contains(&arrival.at_ns)));
        assert_eq!(member.wrong_sizes(), 1);
    }
}
