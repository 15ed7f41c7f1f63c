//! A sender by the clock: datagrams that leave at their times, on a thread of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs until it is dropped or has nothing more to send.
#[derive(Debug)]
pub struct Paced {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// When the last one left, in microseconds of the day's clock.
    last_us: Arc<AtomicU64>,
    /// How late it was at most, in microseconds: what the machine has held it up.
    late_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Paced {
    /// Sends each datagram so long after the start, or as soon as the machine lets it.
    pub fn start(
        socket: UdpSocket,
        to: SocketAddr,
        datagrams: impl Iterator<Item = (Duration, Vec<u8>)> + Send + 'static,
    ) -> Paced {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let [last_us, late_us] = [0; 2].map(|zero| Arc::new(AtomicU64::new(zero)));
        let (is_over, count) = (over.clone(), sent.clone());
        let (last, late) = (last_us.clone(), late_us.clone());
        let send = move || {
            let begun = Instant::now();
            for (at, bytes) in datagrams {
                std::thread::sleep(at.saturating_sub(begun.elapsed()));
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let behind = begun.elapsed().saturating_sub(at);
                late.fetch_max(behind.as_micros() as u64, Ordering::Relaxed);
                // Nobody listens yet, or no more: what is lost then is for the receiver to say.
                let _refused = socket.send_to(&bytes, to);
                last.store(now().as_micros() as u64, Ordering::Relaxed);
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        Paced { over, sent, last_us, late_us, thread: Some(std::thread::spawn(send)) }
    }

    /// Sends `bytes` over and over at this rate in bits a second, seven packets a datagram.
    pub fn over_and_over(socket: UdpSocket, to: SocketAddr, bytes: Vec<u8>, rate: u64) -> Paced {
        let all: Vec<Vec<u8>> = bytes.chunks(7 * 188).map(<[u8]>::to_vec).collect();
        let each = Duration::from_nanos(7 * 188 * 8 * 1_000_000_000 / rate);
        let datagrams = (0..).map(move |n: u32| (each * n, all[n as usize % all.len()].clone()));
        Paced::start(socket, to, datagrams)
    }

    /// Sends no more; when the last one left, on the clock of the day.
    pub fn stop(mut self) -> Duration {
        self.end();
        Duration::from_micros(self.last_us.load(Ordering::Relaxed))
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Its panic, if it had one, has been printed.
        let _panicked = self.thread.take().map(JoinHandle::join);
    }

    /// How late a datagram was at most.
    pub fn late_max(&self) -> Duration {
        Duration::from_micros(self.late_us.load(Ordering::Relaxed))
    }

    /// Datagrams so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.end();
    }
}

/// The clock of the day, which logs and the kernel's stamps go by.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
