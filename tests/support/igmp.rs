//! What hosts tell a switch about groups, read off a link by hand (RFC 3376 section 4.2, RFC 2236).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// IPv4 in an Ethernet frame, and its header's number of IGMP.
const ETH_P_IP: u16 = 0x0800;
const IGMP: u8 = 2;

/// One group of one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Somebody wants it from now on, of all senders or of some.
    Join(Ipv4Addr),
    /// Nobody wants it any more.
    Leave(Ipv4Addr),
}

impl Said {
    /// Which group.
    pub fn group(self) -> Ipv4Addr {
        let (Said::Join(group) | Said::Leave(group)) = self;
        group
    }
}

/// What comes over a link.
#[derive(Debug)]
pub struct Reports(OwnedFd);

impl Reports {
    /// Of our end `device` of a link, from now on; an error where the kernel gives no such socket.
    pub fn of(device: &str) -> io::Result<Reports> {
        let name = std::ffi::CString::new(device).unwrap();
        // SAFETY: plain integers, and a string that ends with a zero.
        let (raw, index) = unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let protocol = i32::from(ETH_P_IP.to_be());
            (libc::socket(libc::AF_PACKET, kind, protocol), libc::if_nametoindex(name.as_ptr()))
        };
        if raw < 0 || index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was opened just now, and is nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: a structure of numbers.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        (to.sll_family, to.sll_protocol, to.sll_ifindex) =
            (libc::AF_PACKET as u16, ETH_P_IP.to_be(), index as i32);
        // SAFETY: an address of that size, which lives through the call.
        let bound = unsafe { libc::bind(raw, (&raw const to).cast(), size_of::<libc::sockaddr_ll>() as u32) };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(Reports(socket)) }
    }

    /// What has come since the last time.
    pub fn all(&self) -> Vec<Said> {
        let mut said = Vec::new();
        let mut frame = [0u8; 2048];
        loop {
            // SAFETY: a buffer of that size.
            let len = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
            match usize::try_from(len) {
                Ok(len) => said.extend(read(&frame[..len])),
                // That the link went down is told once.
                Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(_) => return said,
            }
        }
    }
}

/// The changes that a frame tells of; current states, which answer queries, are none.
fn read(frame: &[u8]) -> Vec<Said> {
    let group = |at: &[u8]| Ipv4Addr::new(at[0], at[1], at[2], at[3]);
    let Some(ip) = frame.get(14..).filter(|ip| ip.len() >= 20 && ip[9] == IGMP) else { return Vec::new() };
    let igmp = &ip[usize::from(ip[0] & 15) * 4..];
    match igmp {
        [0x16, _, _, _, rest @ ..] if rest.len() >= 4 => vec![Said::Join(group(rest))],
        [0x17, _, _, _, rest @ ..] if rest.len() >= 4 => vec![Said::Leave(group(rest))],
        [0x22, _, _, _, _, _, high, low, records @ ..] => {
            let mut said = Vec::new();
            let mut rest = records;
            for _ in 0..u16::from_be_bytes([*high, *low]) {
                let [kind, _, high, low, a, b, c, d, ..] = *rest else { break };
                let (sources, of) = (u16::from_be_bytes([high, low]), Ipv4Addr::new(a, b, c, d));
                match (kind, sources) {
                    // To include nobody; to exclude nobody, to include somebody, to allow somebody.
                    (3, 0) | (6, 1..) => said.push(Said::Leave(of)),
                    (4, _) | (3 | 5, 1..) => said.push(Said::Join(of)),
                    _ => {}
                }
                rest = rest.get(8 + 4 * usize::from(sources)..).unwrap_or_default();
            }
            said
        }
        _ => Vec::new(),
    }
}
