//! A small HTTP/1 client: one request a connection.

use super::checker::{FlvReader, Tag};
use super::rtmp::PATIENCE;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A response whose head has arrived.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// Body bytes that came with the head.
    pub early: Vec<u8>,
    pub socket: TcpStream,
}

/// Sends a request and reads the response's head.
pub fn request(addr: SocketAddr, method: &str, target: &str) -> Response {
    send(TcpStream::connect(addr).expect("connect"), addr, method, target)
}

/// Like [`request`], on a socket of the caller's.
pub fn send(mut socket: TcpStream, addr: SocketAddr, method: &str, target: &str) -> Response {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).expect("send the request");
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let len = socket.read(&mut buffer).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        assert!(len > 0, "{method} {target}: closed inside the head: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend(&buffer[..len]);
    };
    let early = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).expect("a head in ASCII");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Response { status: status.expect("a status line"), headers, early, socket }
}

/// GET with the whole body.
pub fn get(addr: SocketAddr, target: &str) -> (u16, String) {
    let response = request(addr, "GET", target);
    let status = response.status;
    (status, String::from_utf8_lossy(&response.body()).into_owned())
}

impl Response {
    /// The whole body, by Content-Length or until the connection closes.
    pub fn body(mut self) -> Vec<u8> {
        assert!(!self.headers.contains_key("transfer-encoding"), "not chunked towards HTTP/1.1");
        match self.headers.get("content-length") {
            Some(len) => {
                let len: usize = len.parse().expect("Content-Length");
                let have = self.early.len();
                self.early.resize(len.max(have), 0);
                self.socket.read_exact(&mut self.early[have..]).expect("the body");
            }
            None => {
                self.socket.read_to_end(&mut self.early).expect("the body");
            }
        }
        self.early
    }
}

/// An HTTP-FLV player.
#[derive(Debug)]
pub struct FlvPlayer {
    socket: TcpStream,
    pub reader: FlvReader,
    tags: std::collections::VecDeque<Tag>,
    early: Vec<u8>,
}

impl FlvPlayer {
    /// Asks for `target`; panics unless the answer is 200 with an FLV body.
    pub fn open(addr: SocketAddr, target: &str) -> FlvPlayer {
        Self::on(TcpStream::connect(addr).expect("connect"), addr, target)
    }

    /// Like [`FlvPlayer::open`], on a socket of the caller's.
    pub fn on(socket: TcpStream, addr: SocketAddr, target: &str) -> FlvPlayer {
        let response = send(socket, addr, "GET", target);
        assert_eq!(response.status, 200, "GET {target}");
        assert_eq!(response.headers.get("content-type").map(String::as_str), Some("video/x-flv"), "{target}");
        let Response { early, socket, .. } = response;
        FlvPlayer { socket, reader: FlvReader::default(), tags: Default::default(), early }
    }

    /// The next tag; `None` when the server closed the response, which must be at a tag's end.
    pub fn tag(&mut self) -> Option<Tag> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Some(tag) = self.tags.pop_front() {
                return Some(tag);
            }
            let tags = &mut self.tags;
            if !self.early.is_empty() {
                self.reader.push(&std::mem::take(&mut self.early), |tag| tags.push_back(tag));
                continue;
            }
            let len =
                self.socket.read(&mut buffer).unwrap_or_else(|error| panic!("waiting for a tag: {error}"));
            if len == 0 {
                assert_eq!(self.reader.unfinished(), 0, "the response ends inside a tag");
                return None;
            }
            self.reader.push(&buffer[..len], |tag| tags.push_back(tag));
        }
    }

    /// Everything until the response ends.
    pub fn tags(&mut self) -> Vec<Tag> {
        std::iter::from_fn(|| self.tag()).collect()
    }
}
