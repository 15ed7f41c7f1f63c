//! A live group, or a port of this machine.

use super::path::PathReport;
use super::progress::Progress;
use super::source::{Interface, LiveSource};
use super::{Analysis, AnalyzeError, Kind, LiveReport, Request};
use crate::media::Mono;
use crate::monitor::Monitor;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Receive buffer that is asked for, in bytes: half a second of 60 Mbit/s, in case this process has to wait.
const RECEIVE_BYTES: usize = 4 << 20;
/// Bytes of the largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Time after which the monitor is told that nothing came.
const TICK: Duration = Duration::from_millis(20);

pub(super) fn analyze(request: &Request, live: &LiveSource) -> Result<Analysis, AnalyzeError> {
    let socket = open(live)?;
    socket.set_read_timeout(Some(TICK)).map_err(AnalyzeError::io("set a receive timeout"))?;
    let mut monitor = Monitor::new(request.options);
    let (mut progress, mut way) = (Progress::new(request.progress), PathReport::default());
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let (begin, mut datagrams) = (Instant::now(), 0u64);
    while begin.elapsed() < request.listen {
        let received = socket.recv_from(&mut buffer);
        let elapsed = begin.elapsed();
        let now = Mono::from_micros(elapsed.as_micros() as u64);
        match received {
            Ok((bytes, from)) => {
                datagrams += 1;
                way.count(from.ip());
                monitor.handle_datagram(now, buffer.get(..bytes).unwrap_or_default());
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => monitor.handle_timeout(now),
                io::ErrorKind::Interrupted => {}
                _ => return Err(AnalyzeError::io(format!("receive from {}", live.text))(error)),
            },
        }
        progress.update(|| {
            let (done, all) = (elapsed.as_secs(), request.listen.as_secs());
            format!("{}: {done} of {all} s, {datagrams} datagrams", live.text)
        });
    }
    drop(progress);
    let report = monitor.report();
    if report.packets == 0 {
        let seconds = request.listen.as_secs_f64();
        let hint = if live.address.ip().is_multicast() {
            "is the sender on, the group right, the interface (udp://IFACE@GROUP:PORT), a firewall in between?"
        } else {
            "is the sender on, the port right, a firewall in between?"
        };
        return Err(AnalyzeError::Nothing(match datagrams {
            0 => format!("nothing came to {} in {seconds} s\n  = help: {hint}", live.text),
            _ => {
                format!("{datagrams} datagrams came to {}, and none has a transport stream in it", live.text)
            }
        }));
    }
    let told = LiveReport {
        // The kernel doubles what it is asked for, and tells the double.
        receive_buffer_bytes: SockRef::from(&socket).recv_buffer_size().unwrap_or_default() / 2,
        receive_buffer_wanted_bytes: RECEIVE_BYTES,
        receive_drops: receive_drops(&socket),
    };
    let analysis = Analysis::new(request, Kind::Live, report);
    Ok(Analysis { destination: Some(live.address), path: Some(way), live: Some(told), ..analysis })
}

/// Datagrams that this machine has dropped in front of the socket. The kernel's table of sockets has them, by inode.
fn receive_drops(socket: &UdpSocket) -> Option<u64> {
    let inode = std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?.ino();
    let table =
        if socket.local_addr().ok()?.is_ipv4() { "/proc/self/net/udp" } else { "/proc/self/net/udp6" };
    drops_of(&std::fs::read_to_string(table).ok()?, inode)
}

/// The last column of the row with this inode.
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    /// Places in a row (proc_net_udp).
    const INODE: usize = 9;
    const DROPS: usize = 12;
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(INODE).is_some_and(|text| text.parse() == Ok(inode)))?;
    row.get(DROPS)?.parse().ok()
}

/// A bound socket, joined if the address is a group. It is bound to the group, so that other groups on the port stay out.
fn open(live: &LiveSource) -> Result<UdpSocket, AnalyzeError> {
    let address = live.address;
    let failed = |what: &str| AnalyzeError::io(format!("{what} {}", live.text));
    let domain = Domain::for_address(address);
    let socket =
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(failed("open a socket for"))?;
    let multicast = address.ip().is_multicast();
    if multicast {
        // Others on this machine may listen to the same group.
        socket.set_reuse_address(true).map_err(failed("share the port of"))?;
    }
    // The kernel gives what it may; less is no reason to give up.
    let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
    socket.bind(&address.into()).map_err(failed("listen on"))?;
    if multicast {
        join(&socket, live).map_err(failed("join"))?;
    }
    Ok(socket.into())
}

fn join(socket: &Socket, live: &LiveSource) -> io::Result<()> {
    let (mut interface, mut sender) = (Device::Any, live.sender);
    match &live.interface {
        None => {}
        Some(Interface::Name(name)) => {
            let index = rustix::net::netdevice::name_to_index(socket, name);
            let index = index.map_err(|_| not_found(format!("there is no network interface `{name}`")))?;
            interface = Device::Index(index);
        }
        Some(Interface::Local(ip)) => interface = Device::Address(*ip),
        // Who has the address is this machine, and so it means an interface.
        Some(Interface::Address(ip)) if UdpSocket::bind(SocketAddr::new(*ip, 0)).is_ok() => {
            interface = Device::Address(*ip);
        }
        Some(Interface::Address(ip)) => sender = Some(*ip),
    }
    match (live.address.ip(), sender) {
        (IpAddr::V4(group), None) => {
            socket.set_multicast_all_v4(false)?;
            socket.join_multicast_v4_n(&group, &interface.v4()?)
        }
        (IpAddr::V4(group), Some(IpAddr::V4(sender))) => {
            socket.set_multicast_all_v4(false)?;
            let InterfaceIndexOrAddress::Address(address) = interface.v4()? else {
                return Err(not_found(
                    "with a source, the interface is named by its address (localaddr=)".to_owned(),
                ));
            };
            socket.join_ssm_v4(&sender, &group, &address)
        }
        (IpAddr::V6(group), None) => socket.join_multicast_v6(&group, interface.v6()?),
        _ => Err(not_found("a source of IPv6 cannot be chosen".to_owned())),
    }
}

fn not_found(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, what)
}

/// The interface to join on.
#[derive(Clone, Copy, Debug)]
enum Device {
    /// The one that the routing table names.
    Any,
    Index(u32),
    Address(IpAddr),
}

impl Device {
    fn v4(self) -> io::Result<InterfaceIndexOrAddress> {
        match self {
            Device::Any => Ok(InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED)),
            Device::Index(index) => Ok(InterfaceIndexOrAddress::Index(index)),
            Device::Address(IpAddr::V4(address)) => Ok(InterfaceIndexOrAddress::Address(address)),
            Device::Address(_) => {
                Err(not_found("the group is IPv4 and the interface's address is not".to_owned()))
            }
        }
    }

    fn v6(self) -> io::Result<u32> {
        match self {
            Device::Any => Ok(0),
            Device::Index(index) => Ok(index),
            Device::Address(_) => Err(not_found("with IPv6, the interface is given by its name".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What does not fit the receive buffer is this machine's loss, and is counted.
    #[test]
    fn own_drops_are_told() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
        assert_eq!(receive_drops(&socket), Some(0));
        for _ in 0..100 {
            sender.send_to(&[0; 1316], socket.local_addr().unwrap()).unwrap();
        }
        let (mut buffer, mut received) = ([0; 1316], 0);
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut buffer).is_ok() {
            received += 1;
        }
        assert_eq!(receive_drops(&socket), Some(100 - received));
        assert!(received < 100);
    }

    #[test]
    fn tables_of_sockets() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
            7: 0100007F:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 42\n";
        assert_eq!((drops_of(table, 4711), drops_of(table, 4712), drops_of("", 1)), (Some(42), None, None));
    }
}
