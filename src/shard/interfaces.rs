//! The network interfaces of this machine, asked from the kernel (rtnetlink): names, numbers, addresses, whether they
//! are up. What is asked is the namespace that the process is in; `/sys` may show another one.
#![forbid(unsafe_code)]

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// Bytes of one answer: the kernel fills at most 32 KiB of what it is offered.
const ANSWER_BYTES: usize = 32 << 10;
/// Answers of one question; a machine with more interfaces than these describe is not ours.
const ANSWERS_MAX: usize = 4096;

/// Numbers of `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h` and `linux/if.h`.
mod number {
    pub const DUMP_REQUEST: u16 = 0x301;
    pub const ERROR: u16 = 2;
    pub const DONE: u16 = 3;
    pub const NEW_LINK: u16 = 16;
    pub const GET_LINK: u16 = 18;
    pub const NEW_ADDRESS: u16 = 20;
    pub const GET_ADDRESS: u16 = 22;
    pub const LINK_NAME: u16 = 3;
    pub const ADDRESS: u16 = 1;
    pub const LOCAL_ADDRESS: u16 = 2;
    pub const UP: u32 = 1;
    pub const LOOPBACK: u32 = 8;
    pub const MULTICAST: u32 = 0x1000;
    pub const LOWER_UP: u32 = 0x1_0000;
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number, never 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    flags: u32,
}

impl Interface {
    /// Whether it is switched on.
    pub fn is_up(&self) -> bool {
        self.flags & number::UP != 0
    }

    /// Whether there is a link behind it: a cable with somebody at its other end.
    pub fn has_carrier(&self) -> bool {
        self.flags & number::LOWER_UP != 0
    }

    /// Whether groups can be sent to and joined on it.
    pub fn takes_groups(&self) -> bool {
        self.flags & (number::MULTICAST | number::LOOPBACK) != 0
    }
}

/// The interface that `text` means in `interfaces`: its name, or one of its addresses.
pub fn find<'a>(interfaces: &'a [Interface], text: &str) -> Option<&'a Interface> {
    let named = interfaces.iter().find(|interface| interface.name == text);
    let address: Option<IpAddr> = text.parse().ok();
    named
        .or_else(|| interfaces.iter().find(|i| address.is_some_and(|address| i.addresses.contains(&address))))
}

/// All interfaces as of now, by number.
///
/// # Errors
/// The kernel does not answer.
pub fn list() -> io::Result<Vec<Interface>> {
    let mut interfaces: Vec<Interface> = Vec::new();
    ask(number::GET_LINK, |kind, body| {
        if kind == number::NEW_LINK
            && let Some(interface) = link(body)
        {
            interfaces.push(interface);
        }
    })?;
    ask(number::GET_ADDRESS, |kind, body| {
        if kind == number::NEW_ADDRESS
            && let Some((index, address)) = address(body)
            && let Some(interface) = interfaces.iter_mut().find(|interface| interface.index == index)
        {
            interface.addresses.push(address);
        }
    })?;
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}

/// Asks the kernel for all of a kind; `each` gets the kind and body of every message.
fn ask(kind: u16, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // Header, and behind it the body of either question, all zero: of every family, of every interface.
    let mut question = [0; 32];
    let words = [(0, 32u32.to_ne_bytes()), (8, 1u32.to_ne_bytes())];
    let halves = [(4, kind.to_ne_bytes()), (6, number::DUMP_REQUEST.to_ne_bytes())];
    for (at, word) in words {
        question.iter_mut().skip(at).zip(word).for_each(|(place, byte)| *place = byte);
    }
    for (at, half) in halves {
        question.iter_mut().skip(at).zip(half).for_each(|(place, byte)| *place = byte);
    }
    rustix::net::send(&socket, &question, SendFlags::empty())?;
    let mut buffer = vec![0; ANSWER_BYTES];
    for _ in 0..ANSWERS_MAX {
        let (len, _) = rustix::net::recv(&socket, &mut *buffer, RecvFlags::empty())?;
        let mut rest = buffer.get(..len).unwrap_or_default();
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                number::DONE => return Ok(()),
                number::ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(-code));
                }
                kind => each(kind, body),
            }
            rest = next;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Kind and body of the message in front, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    Some((kind, bytes.get(16..len)?, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// Type and value of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Reads `struct ifinfomsg` and its attributes.
fn link(body: &[u8]) -> Option<Interface> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let flags = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let (_, name) = attributes(body.get(16..)?).find(|(kind, _)| *kind == number::LINK_NAME)?;
    let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
    Some(Interface { index, name, addresses: Vec::new(), flags })
}

/// Reads `struct ifaddrmsg` and its attributes.
fn address(body: &[u8]) -> Option<(u32, IpAddr)> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let of = |wanted| attributes(body.get(8..).unwrap_or_default()).find(|(kind, _)| *kind == wanted);
    // On a link between two points the other one is the plain address.
    let (_, value) = of(number::LOCAL_ADDRESS).or_else(|| of(number::ADDRESS))?;
    let address = match value.len() {
        4 => IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>()?)),
        16 => IpAddr::V6(Ipv6Addr::from(*value.first_chunk::<16>()?)),
        _ => return None,
    };
    Some((index, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there() {
        let interfaces = list().unwrap();
        let lo = find(&interfaces, "lo").expect("lo");
        assert!(lo.is_up() && lo.takes_groups() && lo.has_carrier(), "{lo:?}");
        assert_eq!(find(&interfaces, "127.0.0.1"), Some(lo));
        assert_eq!((find(&interfaces, "192.0.2.1"), find(&interfaces, "nothing0")), (None, None));
    }

    #[test]
    fn cut_messages_are_no_messages() {
        let mut whole = [20u32.to_ne_bytes(), [0; 4], [0; 4], [0; 4], [1, 2, 3, 4]].concat();
        whole[4] = 20;
        let (kind, body, rest) = message(&whole).unwrap();
        assert_eq!((kind, body, rest.len()), (20, &[1, 2, 3, 4][..], 0));
        for len in 0..whole.len() {
            assert!(message(&whole[..len]).is_none(), "{len}");
            assert!(link(&whole[..len]).is_none() && address(&whole[..len]).is_none());
        }
        assert_eq!(attributes(&[8, 0, 3, 0, b'a', b'b', 0, 0, 9]).count(), 1);
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
    }
}
