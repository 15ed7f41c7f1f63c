//! Socket options of the kernel that no safe wrapper at hand names.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const ON: libc::c_int = 1;

/// How much a TCP socket holds that is not sent yet before it takes no more.
pub(super) fn set_notsent_lowat(socket: &OwnedFd, bytes: u32) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &(bytes as libc::c_int))
}

/// Whoever sends by this UDP socket is told of datagrams that the interface's queue drops (`ENOBUFS`); without that they
/// count as sent. Not for hosts: what routers and hosts answer would then fail the datagram that happens to be next.
///
/// # Errors
/// The kernel refuses.
pub fn tell_of_drops(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    match to {
        SocketAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &ON),
        SocketAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &ON),
    }
}

/// What this UDP socket sends to hosts of the family of `to` goes out on interface `index`, whatever the routes say. Unlike
/// `SO_BINDTODEVICE`, which a socket is given once, it can be changed without rights.
///
/// # Errors
/// There is no such interface.
pub fn set_unicast_interface(socket: &OwnedFd, to: SocketAddr, index: u32) -> io::Result<()> {
    // The kernel takes it as it stands in a packet.
    let index = index.to_be() as libc::c_int;
    match to {
        SocketAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_UNICAST_IF, &index),
        SocketAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF, &index),
    }
}

/// Sets an option to `value`, laid out as the kernel wants it.
pub(super) fn set<T>(socket: impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn hosts_are_sent_to_on_a_chosen_interface() {
        let loopback =
            crate::shard::interfaces::list().unwrap().into_iter().find(|i| i.name == "lo").unwrap();
        for any in ["0.0.0.0:0", "[::]:0"] {
            let to: SocketAddr = any.parse().unwrap();
            let Ok(socket) = UdpSocket::bind(to) else { continue };
            let socket: OwnedFd = socket.into();
            // As often as it has to be.
            for _ in 0..2 {
                set_unicast_interface(&socket, to, loopback.index).unwrap();
            }
            assert!(set_unicast_interface(&socket, to, u32::MAX >> 1).is_err(), "{any}");
            tell_of_drops(&socket, to).unwrap();
        }
        let socket: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        set_unicast_interface(&socket, ([127, 0, 0, 1], 0).into(), loopback.index).unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        UdpSocket::from(socket).send_to(b"it goes", receiver.local_addr().unwrap()).unwrap();
        assert_eq!(receiver.recv(&mut [0; 16]).unwrap(), 7);
    }
}
