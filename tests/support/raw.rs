//! Bytes that no honest client sends: RTMP written by hand, without a state machine that would forbid it.

use super::amf::{self, Value};
use super::rtmp::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Chunk size before anybody announces another.
const CHUNK: usize = 128;
/// Bytes of S0, S1 and S2.
const ANSWER: usize = 1 + 2 * 1536;

/// C0, C1 and a C2 that echoes nothing.
pub fn hello() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.extend([0; 8]);
    bytes.extend((0..1528u32 + 1536).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
    bytes
}

/// A chunk with header type 0 that announces `len` bytes and carries `piece`.
pub fn chunk0(csid: u32, kind: u8, stream: u32, time_ms: u32, len: usize, piece: &[u8]) -> Vec<u8> {
    let mut out = basic(0, csid);
    out.extend(&time_ms.min(0xff_ffff).to_be_bytes()[1..]);
    out.extend(&(len as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend(stream.to_le_bytes());
    if time_ms >= 0xff_ffff {
        out.extend(time_ms.to_be_bytes());
    }
    out.extend(piece);
    out
}

/// The first bytes of a chunk.
pub fn basic(form: u8, csid: u32) -> Vec<u8> {
    match csid {
        ..64 => vec![form << 6 | csid as u8],
        64..320 => vec![form << 6, (csid - 64) as u8],
        _ => vec![form << 6 | 1, (csid - 64) as u8, ((csid - 64) >> 8) as u8],
    }
}

/// A whole message in chunks of 128 bytes.
pub fn message(csid: u32, kind: u8, stream: u32, time_ms: u32, body: &[u8]) -> Vec<u8> {
    let mut pieces = body.chunks(CHUNK);
    let mut out = chunk0(csid, kind, stream, time_ms, body.len(), pieces.next().unwrap_or_default());
    for piece in pieces {
        out.extend(basic(3, csid));
        if time_ms >= 0xff_ffff {
            out.extend(time_ms.to_be_bytes());
        }
        out.extend(piece);
    }
    out
}

/// A command on message stream `stream`.
pub fn command(stream: u32, name: &str, transaction: f64, arguments: &[Value]) -> Vec<u8> {
    let mut values = vec![Value::text(name), Value::Number(transaction)];
    values.extend(arguments.iter().cloned());
    message(3, 20, stream, 0, &amf::encode(&values))
}

/// The command connect.
pub fn connect(app: &str) -> Vec<u8> {
    let object = Value::Object(vec![("app".to_owned(), Value::text(app))]);
    command(0, "connect", 1.0, &[object])
}

/// createStream, and publish or play of `name`.
pub fn ask(verb: &str, name: &str) -> Vec<u8> {
    let arguments = [Value::Null, Value::text(name)];
    [command(0, "createStream", 2.0, &[Value::Null]), command(1, verb, 3.0, &arguments)].concat()
}

/// How far an attacker goes in good manners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// A bare connection to the RTMP port.
    Rtmp,
    /// Handshake done.
    Shaken,
    /// connect answered, in the app `open`.
    Connected,
    /// Publishes a name of its own.
    Publishing,
    /// A bare connection to the HTTP port.
    Http,
}

/// A connection that writes and reads bytes, and nothing else.
#[derive(Debug)]
pub struct Raw {
    socket: TcpStream,
    /// Everything read so far.
    pub heard: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub fn open(address: SocketAddr) -> Raw {
        Self::on(TcpStream::connect(address).expect("connect"))
    }

    /// Likewise, from an address of the caller's.
    fn open_from(own: Ipv4Addr, address: SocketAddr) -> Raw {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((own, 0)).into()).expect("bind");
        socket.connect(&address.into()).expect("connect");
        Self::on(socket.into())
    }

    fn on(socket: TcpStream) -> Raw {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Raw { socket, heard: Vec::new() }
    }

    /// A connection whose kernel keeps little for it, and whose reads do not wait.
    pub fn open_narrow(address: SocketAddr) -> Raw {
        let socket = Self::narrow(address);
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        Raw { socket, heard: Vec::new() }
    }

    /// A socket whose kernel keeps little for it.
    pub fn narrow(address: SocketAddr) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).expect("connect");
        socket.into()
    }

    /// Connects to the RTMP port and goes as far as `stage`, in the app `open`; a publisher is called `name`.
    pub fn at(stage: Stage, rtmp: SocketAddr, name: &str) -> Raw {
        // Logs tell connections apart by their addresses, and the kernel may give one port to two of them that go to two
        // ports of the server.
        let mut raw = match stage {
            Stage::Http => Raw::open_from(Ipv4Addr::new(127, 0, 0, 2), rtmp),
            _ => Raw::open(rtmp),
        };
        if matches!(stage, Stage::Shaken | Stage::Connected | Stage::Publishing) {
            raw.write(&hello());
            raw.read_until(|heard| heard.len() >= ANSWER);
        }
        if matches!(stage, Stage::Connected | Stage::Publishing) {
            raw.write(&connect("open"));
            raw.read_to("NetConnection.Connect.Success");
        }
        if stage == Stage::Publishing {
            raw.write(&ask("publish", name));
            raw.read_to("NetStream.Publish.Start");
        }
        raw
    }

    /// Writes as much as the other side takes. That it hangs up in the middle is its right.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Reads on until `text` was heard.
    pub fn read_to(&mut self, text: &str) {
        self.read_until(|heard| contains(heard, text.as_bytes()));
    }

    /// Reads on until one of two texts was heard; whether it was the first.
    pub fn reads_either(&mut self, one: &str, other: &str) -> bool {
        self.read_until(|heard| contains(heard, one.as_bytes()) || contains(heard, other.as_bytes()));
        self.has_heard(one)
    }

    /// Reads on until `text` was heard, or to the end, or as long as anything comes.
    pub fn waits_for(&mut self, text: &str) {
        while !self.has_heard(text) && self.try_read() == Some(true) {}
    }

    /// How often `text` was heard.
    pub fn times_heard(&self, text: &str) -> usize {
        self.heard.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    }

    fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) {
        while !enough(&self.heard) {
            assert!(self.read(), "closed early: {:?}", String::from_utf8_lossy(&self.heard));
        }
    }

    /// Reads to the end of the connection; `false` if it does not come.
    pub fn read_to_end(&mut self) -> bool {
        while let Some(more) = self.try_read() {
            if !more {
                return true;
            }
        }
        false
    }

    /// Says that nothing more comes.
    pub fn end(&self) {
        // Fails if the other side has hung up already.
        let _gone = self.socket.shutdown(Shutdown::Write);
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    fn read(&mut self) -> bool {
        self.try_read().expect("an answer, or the end")
    }

    /// Whether there was more; `None` if nothing came in time.
    fn try_read(&mut self) -> Option<bool> {
        let mut buffer = [0; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(len) => {
                self.heard.extend(&buffer[..len]);
                Some(len > 0)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(false),
            Err(_) => None,
        }
    }

    /// Whether `text` was heard.
    pub fn has_heard(&self, text: &str) -> bool {
        contains(&self.heard, text.as_bytes())
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
