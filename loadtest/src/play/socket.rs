//! A subscriber's socket before it connects: its options, and the address it comes from.

use super::Pace;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

/// Receive buffer of a subscriber that will stall: the kernel grows that of a reading one to megabytes, and a stall that
/// begins then reaches the server a minute later.
const STALLED_RECEIVE_BYTES: usize = 32 * 1024;

/// A socket that can connect to `address`, bound to `from` if that is given.
pub fn open(address: &SockAddr, from: Option<IpAddr>, pace: Pace) -> io::Result<Socket> {
    let domain = if address.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    // Blocking on purpose: io_uring waits by itself, and would return EAGAIN on a non-blocking socket.
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    if matches!(pace, Pace::Stalls(_)) {
        socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES)?;
    }
    if let Some(from) = from {
        port_at_connect(&socket)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok(socket)
}

/// Lets the kernel choose the port at connect(2), where it knows the peer (IP_BIND_ADDRESS_NO_PORT, ip(7)): at bind(2) a
/// port must be free towards everybody, and an address would have no more than 28 000 connections, old ones included.
fn port_at_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option's value is an int that lives through the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
