//! A target as a send names it, in less than a cache line: an address of any kind has room for 128 bytes, and there is one for
//! each datagram of a tick.

use super::Target;
use std::net::SocketAddr;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Place {
    pub socket: u32,
    pub address: Address,
}

impl Place {
    pub fn of(target: &Target) -> Place {
        Place { socket: target.socket, address: Address::of(target.address.as_socket()) }
    }
}

/// An address as the kernel reads it.
#[derive(Debug)]
pub(super) enum Address {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
    /// None that can be sent to: the kernel says so.
    Nowhere,
}

impl Address {
    fn of(address: Option<SocketAddr>) -> Address {
        match address {
            Some(SocketAddr::V4(v4)) => Address::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            Some(SocketAddr::V6(v6)) => Address::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
            None => Address::Nowhere,
        }
    }

    /// Good for as long as the address stays where it is.
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        match self {
            Address::V4(v4) => (&raw const *v4).cast(),
            Address::V6(v6) => (&raw const *v6).cast(),
            Address::Nowhere => std::ptr::null(),
        }
    }

    pub fn len(&self) -> libc::socklen_t {
        match self {
            Address::V4(v4) => size_of_val(v4) as libc::socklen_t,
            Address::V6(v6) => size_of_val(v6) as libc::socklen_t,
            Address::Nowhere => 0,
        }
    }
}
