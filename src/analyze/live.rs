//! A live group, or a port of this machine.

use super::progress::Progress;
use super::source::{Interface, LiveSource};
use super::{Analysis, AnalyzeError, Kind, Request};
use crate::media::Mono;
use crate::monitor::Monitor;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
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
    let mut progress = Progress::new(request.progress);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let (begin, mut datagrams) = (Instant::now(), 0u64);
    while begin.elapsed() < request.listen {
        let received = socket.recv(&mut buffer);
        let elapsed = begin.elapsed();
        let now = Mono::from_micros(elapsed.as_micros() as u64);
        match received {
            Ok(bytes) => {
                datagrams += 1;
                monitor.handle_datagram(now, buffer.get(..bytes).unwrap_or_default());
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => monitor.handle_timeout(now),
                // Somebody answered "port unreachable" to us, or a signal came.
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => {}
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
    let analysis = Analysis::new(request, Kind::Live, report);
    Ok(Analysis { destination: Some(live.address), ..analysis })
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
