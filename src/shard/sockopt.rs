//! Socket options of the kernel that no safe wrapper at hand names.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// How much a TCP socket holds that is not sent yet before it takes no more.
pub(super) fn set_notsent_lowat(socket: &OwnedFd, bytes: u32) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes as libc::c_int)
}

/// Whoever sends by this UDP socket is told of datagrams that the interface's queue drops (`ENOBUFS`); without that they
/// count as sent. Not for hosts: what routers and hosts answer would then fail the datagram that happens to be next.
///
/// # Errors
/// The kernel refuses.
pub fn tell_of_drops(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    match to {
        SocketAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        SocketAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

fn set(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is an int that lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
