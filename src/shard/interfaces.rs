//! The network interfaces of this machine, asked from the kernel (rtnetlink): names, numbers, addresses, whether they
//! are up. What is asked is the namespace that the process is in; `/sys` may show another one.
#![forbid(unsafe_code)]

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Bytes of one answer: the kernel fills at most 32 KiB of what it is offered.
const ANSWER_BYTES: usize = 32 << 10;
/// Answers of one question; a machine with more interfaces than these describe is not ours.
const ANSWERS_MAX: usize = 4096;
/// Questions until an answer comes in one piece: while interfaces come and go by the hundred, none may.
const TRIES_MAX: u32 = 5;
/// Pause between these.
const TRIES_PAUSE: Duration = Duration::from_millis(5);
/// Events read at once; there is another look behind them anyway.
const EVENTS_MAX: usize = 256;

/// Numbers of `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h` and `linux/if.h`.
mod number {
    pub const DUMP_REQUEST: u16 = 0x301;
    pub const ERROR: u16 = 2;
    pub const DONE: u16 = 3;
    /// Flag of a message: what was told before it is of another moment.
    pub const TORN: u16 = 0x10;
    /// What begins the body of an event about a bridge's port: `AF_BRIDGE` of `linux/socket.h`.
    pub const FAMILY_BRIDGE: u8 = 7;
    pub const NEW_LINK: u16 = 16;
    pub const DEL_LINK: u16 = 17;
    pub const GET_LINK: u16 = 18;
    pub const NEW_ADDRESS: u16 = 20;
    pub const GET_ADDRESS: u16 = 22;
    pub const LINK_NAME: u16 = 3;
    pub const CARRIER_CHANGES: u16 = 35;
    pub const ADDRESS: u16 = 1;
    pub const LOCAL_ADDRESS: u16 = 2;
    pub const UP: u32 = 1;
    pub const LOOPBACK: u32 = 8;
    pub const MULTICAST: u32 = 0x1000;
    pub const LOWER_UP: u32 = 0x1_0000;
    /// Groups of events: links, and addresses of IPv4 and IPv6.
    pub const EVENTS: u32 = 0x1 | 0x10 | 0x100;
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
    /// How often its carrier has changed; None where the kernel does not count that.
    carrier_changes: Option<u32>,
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

    /// Whether its carrier has changed since it was as `before`: an interface that works now and then may have fallen between
    /// two looks, and no event of it may have been kept.
    pub fn has_flapped(&self, before: &Interface) -> bool {
        self.carrier_changes != before.carrier_changes
    }

    /// Whether what is sent on it has somewhere to go.
    pub fn works(&self) -> bool {
        self.is_up() && self.has_carrier()
    }

    /// One for tests.
    #[cfg(test)]
    pub(crate) fn of(name: &str, index: u32, works: bool, addresses: &[&str]) -> Interface {
        let flags = number::MULTICAST | if works { number::UP | number::LOWER_UP } else { 0 };
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Interface { index, name: name.to_owned(), addresses, flags, carrier_changes: None }
    }

    /// The same, whose carrier has changed so often.
    #[cfg(test)]
    pub(crate) fn with_changes(self, changes: u32) -> Interface {
        Interface { carrier_changes: Some(changes), ..self }
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

/// `address` as the kernel wants it where it means something on one link alone: with the number of the interface.
pub fn scoped(address: SocketAddr, index: Option<u32>) -> SocketAddr {
    match (address, index) {
        (SocketAddr::V6(mut v6), Some(index)) if is_of_link(*v6.ip()) => {
            v6.set_scope_id(index);
            v6.into()
        }
        _ => address,
    }
}

/// Whether `ip` is a machine's or a group's on one link (RFC 4007 section 4).
fn is_of_link(ip: Ipv6Addr) -> bool {
    let [first, ..] = ip.segments();
    ip.is_unicast_link_local() || matches!(first & 0xFF0F, 0xFF01 | 0xFF02)
}

/// All interfaces as of now, by number.
///
/// # Errors
/// The kernel does not answer, or not in one piece ([`io::ErrorKind::Interrupted`]).
pub fn list() -> io::Result<Vec<Interface>> {
    whole(|| {
        let links = ask(number::GET_LINK)?;
        Ok((links, ask(number::GET_ADDRESS)?))
    })
}

/// What two answers of the kernel say together, asked for again while one of them is torn.
fn whole(mut ask: impl FnMut() -> io::Result<(Dump, Dump)>) -> io::Result<Vec<Interface>> {
    for again in 0..TRIES_MAX {
        if again > 0 {
            std::thread::sleep(TRIES_PAUSE);
        }
        let (links, addresses) = ask()?;
        if links.torn || addresses.torn {
            continue;
        }
        let links = links.messages.iter().filter(|(kind, _)| *kind == number::NEW_LINK);
        let mut interfaces: Vec<Interface> = links.filter_map(|(_, body)| link(body)).collect();
        for (_, body) in addresses.messages.iter().filter(|(kind, _)| *kind == number::NEW_ADDRESS) {
            if let Some((index, address)) = address(body)
                && let Some(interface) = interfaces.iter_mut().find(|interface| interface.index == index)
            {
                interface.addresses.push(address);
            }
        }
        interfaces.sort_by_key(|interface| interface.index);
        return Ok(interfaces);
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// One answer: kind and body of each message.
#[derive(Debug, Default)]
struct Dump {
    messages: Vec<(u16, Vec<u8>)>,
    /// Something changed while it was told: it describes no moment that ever was.
    torn: bool,
}

impl Dump {
    /// Takes one datagram of it; true when it is over.
    fn take(&mut self, mut rest: &[u8]) -> io::Result<bool> {
        while let Some((head, body, next)) = message(rest) {
            self.torn |= head.flags & number::TORN != 0;
            match head.kind {
                number::DONE => return Ok(true),
                number::ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(-code));
                }
                kind => self.messages.push((kind, body.to_vec())),
            }
            rest = next;
        }
        Ok(false)
    }
}

/// Asks the kernel for all of a kind.
fn ask(kind: u16) -> io::Result<Dump> {
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
    let (mut buffer, mut dump) = (vec![0; ANSWER_BYTES], Dump::default());
    for _ in 0..ANSWERS_MAX {
        let (len, _) = rustix::net::recv(&socket, &mut *buffer, RecvFlags::empty())?;
        if dump.take(buffer.get(..len).unwrap_or_default())? {
            return Ok(dump);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Tells when something about interfaces or their addresses changes. What two looks both show as it was may have been
/// otherwise between them: a link that was gone for a moment has lost its memberships at the switch.
#[derive(Debug)]
pub struct Events(OwnedFd);

impl Events {
    /// Of all interfaces, from now on.
    ///
    /// # Errors
    /// The kernel has none to give.
    pub fn new() -> io::Result<Events> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, number::EVENTS))?;
        Ok(Events(socket))
    }

    /// Takes what there is: whether anything changed. `fell` gets the number of each interface that did not work meanwhile.
    pub fn take(&self, mut fell: impl FnMut(u32)) -> bool {
        let mut buffer = vec![0; ANSWER_BYTES];
        let mut changed = false;
        for _ in 0..EVENTS_MAX {
            let len = match rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty()) {
                Ok((len, _)) => len,
                // More than the socket holds have come.
                Err(error) => return changed || error == rustix::io::Errno::NOBUFS,
            };
            changed = true;
            let mut rest = buffer.get(..len).unwrap_or_default();
            while let Some((head, body, next)) = message(rest) {
                if let Some(index) = fallen(head, body) {
                    fell(index);
                }
                rest = next;
            }
        }
        changed
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What stands in front of a message, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    kind: u16,
    flags: u16,
}

/// Head and body of the message in front, and what follows it.
fn message(bytes: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let flags = u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?);
    let next = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((Head { kind, flags }, bytes.get(16..len)?, next))
}

/// The interface that does not work, if the event says that of one.
fn fallen(head: Head, body: &[u8]) -> Option<u32> {
    // A port that is taken off a bridge is deleted there, and goes on by itself.
    let of_bridge = body.first() == Some(&number::FAMILY_BRIDGE);
    let link = link(body).filter(|_| !of_bridge)?;
    let falls = match head.kind {
        number::NEW_LINK => !link.works(),
        kind => kind == number::DEL_LINK,
    };
    falls.then_some(link.index)
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
    let changes = attributes(body.get(16..)?).find(|(kind, _)| *kind == number::CARRIER_CHANGES);
    let carrier_changes = changes.and_then(|(_, count)| Some(u32::from_ne_bytes(*count.first_chunk()?)));
    Some(Interface { index, name, addresses: Vec::new(), flags, carrier_changes })
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
        let (head, body, rest) = message(&whole).unwrap();
        assert_eq!((head.kind, body, rest.len()), (20, &[1, 2, 3, 4][..], 0));
        for len in 0..whole.len() {
            assert!(message(&whole[..len]).is_none(), "{len}");
            assert!(link(&whole[..len]).is_none() && address(&whole[..len]).is_none());
        }
        assert_eq!(attributes(&[8, 0, 3, 0, b'a', b'b', 0, 0, 9]).count(), 1);
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
    }

    /// A message of `kind` with `flags` around `body`.
    fn wrapped(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let len = (16 + body.len() as u32).to_ne_bytes();
        let head = [&len[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
        [head.as_slice(), body].concat()
    }

    fn link_body(index: u32, flags: u32) -> Vec<u8> {
        let name = [7, 0, 3, 0, b'e', b'1', 0, 0];
        [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4], &name].concat()
    }

    /// An answer during which something changed is asked for again; one that never comes whole is none.
    #[test]
    fn a_torn_answer_is_not_believed() {
        let dump = |index: u32, torn: bool| {
            let mut dump = Dump::default();
            let flags = if torn { number::TORN } else { 0 };
            let messages = wrapped(number::NEW_LINK, 2, &link_body(index, number::UP));
            assert!(!dump.take(&messages).unwrap());
            assert!(dump.take(&wrapped(number::DONE, 2 | flags, &[0; 4])).unwrap());
            dump
        };
        let mut asked = 0;
        let found = whole(|| {
            asked += 1;
            Ok((dump(asked, asked == 1), dump(9, asked == 2)))
        });
        let found = found.unwrap();
        assert_eq!((asked, found.len(), found[0].index, found[0].name.as_str()), (3, 1, 3, "e1"));
        let mut asked = 0;
        let never = whole(|| {
            asked += 1;
            Ok((dump(1, true), dump(1, false)))
        });
        assert_eq!((never.unwrap_err().kind(), asked), (io::ErrorKind::Interrupted, TRIES_MAX));
        let mut refused = Dump::default();
        let error = refused.take(&wrapped(number::ERROR, 0, &(-1i32).to_ne_bytes())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn an_event_tells_who_fell() {
        let works = number::UP | number::LOWER_UP;
        for (kind, family, flags, expected) in [
            (number::NEW_LINK, 0, works, None),
            (number::NEW_LINK, 0, number::UP, Some(7)),
            (number::DEL_LINK, 0, works, Some(7)),
            (number::DEL_LINK, number::FAMILY_BRIDGE, works, None),
            (number::NEW_ADDRESS, 0, 0, None),
        ] {
            let mut body = link_body(7, flags);
            body[0] = family;
            assert_eq!(fallen(Head { kind, flags: 0 }, &body), expected, "{kind} {family} {flags:x}");
        }
        let counted = [link_body(7, works), [&[8, 0, 35, 0][..], &9u32.to_ne_bytes()].concat()].concat();
        let (seven, nine) = (link(&link_body(7, works)).unwrap(), link(&counted).unwrap());
        assert_eq!((seven.carrier_changes, nine.carrier_changes), (None, Some(9)));
        assert!(nine.has_flapped(&nine.clone().with_changes(7)) && !nine.has_flapped(&nine));
    }

    #[test]
    fn addresses_of_a_link_have_its_number() {
        for (address, scoped_to) in [
            ("[fe80::1]:9", 7),
            ("[ff02::1]:9", 7),
            ("[ff12::1]:9", 7),
            ("[ff15::1]:9", 0),
            ("[2001:db8::1]:9", 0),
            ("10.0.0.1:9", 0),
        ] {
            let id = |address| if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(
                (id(scoped(address, Some(7))), id(scoped(address, None))),
                (scoped_to, 0),
                "{address}"
            );
        }
    }
}
