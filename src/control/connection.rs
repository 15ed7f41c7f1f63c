//! HTTP connections of the control thread: accepted here or handed over by a core; one request each, bounded in
//! number and time.

use crate::edge::admission::Visit;
use crate::observe::RefuseReason;
use crate::proto::http::HEAD_BYTES_MAX;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Handed-over connections that may wait for the control thread. It takes them at once unless it makes a page.
const QUEUE_MAX: usize = 64;
/// Open connections of the media port: each costs up to `HEAD_MAX_BYTES` and a response; more are closed.
const PAGES_MAX: usize = 256;
/// Of these one address has at most this part, so that it takes several to fill them, ...
const PAGES_PER_ADDRESS_PART: usize = 4;
/// ... and no fewer and no more than so many: a browser asks for two things at once, and a page takes each of an address's
/// people some milliseconds a second.
const PAGES_PER_ADDRESS: std::ops::RangeInclusive<usize> = 2..=8;
/// Open connections of the admin port: scrapers and people.
const ADMIN_MAX: usize = 64;
/// Each of both gets this part of the descriptors that connections leave to the rest of the process, if that is less.
const DESCRIPTORS_PART: usize = 8;
/// But so many at least.
const PLACES_MIN: usize = 4;
/// Bytes of a request head: what a core hands over fits.
const HEAD_MAX_BYTES: usize = HEAD_BYTES_MAX;
/// Time for a complete request head on the media port, whose viewers may be far away.
const PAGE_HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// The same on the admin port, whose clients are near.
const ADMIN_HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// Time for request and response together; a slow reader ends here.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pause after a failed accept: out of descriptors, which time alone can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Hands connections of the media HTTP port that ask for a page to the control thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MediaPages {
    queue: mpsc::Sender<HandedOver>,
    places: Arc<Semaphore>,
    per_address: u32,
}

/// A connection, what was already read from it, and what it holds.
pub(super) struct HandedOver(StdStream, Vec<u8>, Held);

/// What a page's connection holds to its end: its place among [`PAGES_MAX`], and what it counts for at the door.
type Held = (OwnedSemaphorePermit, Visit);

/// Open connections of the media port and of the admin port, by the descriptors that there are for the rest of the
/// process.
pub(super) fn places(descriptors_kept: u64) -> (usize, usize) {
    let part = usize::try_from(descriptors_kept).unwrap_or(usize::MAX) / DESCRIPTORS_PART;
    (part.clamp(PLACES_MIN, PAGES_MAX), part.clamp(PLACES_MIN, ADMIN_MAX))
}

/// Pages that one address may read at once, of `places` in all.
pub(super) fn pages_per_address(places: usize) -> u32 {
    let part = places / PAGES_PER_ADDRESS_PART;
    part.clamp(*PAGES_PER_ADDRESS.start(), *PAGES_PER_ADDRESS.end()) as u32
}

impl MediaPages {
    pub(super) fn new(places: usize) -> (Self, mpsc::Receiver<HandedOver>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let per_address = pages_per_address(places);
        (Self { queue: sender, places: Arc::new(Semaphore::new(places)), per_address }, receiver)
    }

    /// One that nobody serves.
    #[cfg(test)]
    pub(crate) fn unserved() -> Self {
        Self::new(PLACES_MIN).0
    }

    /// Takes over `stream`, from which `already_read` was read: the request head, complete or not, from its first
    /// byte. Keeps `visit` to its end. Never blocks.
    ///
    /// # Errors
    /// `Pages`, and the connection is closed: too many wait or are open, in all or of its address, or the thread has
    /// stopped.
    pub fn serve(
        &self,
        stream: StdStream,
        already_read: Vec<u8>,
        mut visit: Visit,
    ) -> Result<(), RefuseReason> {
        visit.page(self.per_address)?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| RefuseReason::Pages)?;
        let handed_over = HandedOver(stream, already_read, (place, visit));
        self.queue.try_send(handed_over).map_err(|_| RefuseReason::Pages)
    }
}

/// Serves the connections of the admin listener, for ever. When all places are taken, the connection that has been
/// silent for longest gives up its own: whoever holds connections open must not lock the operator out.
pub(super) async fn accept(listener: TcpListener, places: usize, routes: Router) {
    let places = Arc::new(Semaphore::new(places));
    // The oldest first; at most one for each place.
    let mut silent: VecDeque<Serving> = VecDeque::new();
    let mut failures = 0u64;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if failures > 0 {
                    tracing::info!(failures, "admin port: accepting again");
                    failures = 0;
                }
                silent.retain(Serving::is_silent);
                let place = match places.clone().try_acquire_owned() {
                    Ok(place) => Some(place),
                    Err(_) => match silent.pop_front() {
                        Some(oldest) => {
                            oldest.task.abort();
                            // The task gives its place back when the runtime drops it, which is at once.
                            places.clone().acquire_owned().await.ok()
                        }
                        None => None,
                    },
                };
                // Without a place it is closed.
                if let Some(place) = place {
                    let io = Replay { head: Vec::new(), at: 0, stream };
                    silent.push_back(spawn(place, io, &routes, ADMIN_HEAD_DEADLINE));
                }
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(%error, "admin port: accept failed; trying again and again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves handed-over connections until the last [`MediaPages`] is gone.
pub(super) async fn take_over(mut queue: mpsc::Receiver<HandedOver>, routes: Router) {
    while let Some(HandedOver(stream, head, held)) = queue.recv().await {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        match stream {
            Ok(stream) => {
                spawn(held, Replay { head, at: 0, stream }, &routes, PAGE_HEAD_DEADLINE);
            }
            Err(error) => tracing::debug!(%error, "page: connection lost in hand-over"),
        }
    }
}

/// A connection's task.
struct Serving {
    /// A complete request head has come.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Serving {
    fn is_silent(&self) -> bool {
        !self.task.is_finished() && !self.asked.load(Ordering::Relaxed)
    }
}

/// Serves one request in its own task, which keeps what it `held` until its end.
fn spawn(held: impl Send + 'static, io: Replay, routes: &Router, head_deadline: Duration) -> Serving {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_deadline);
    // Probes written in a shell close their side behind the request.
    builder.keep_alive(false).half_close(true).max_buf_size(HEAD_MAX_BYTES);
    let asked = Arc::new(AtomicBool::new(false));
    let (routes, mark) = (TowerToHyperService::new(routes.clone()), asked.clone());
    let service = service_fn(move |request| {
        mark.store(true, Ordering::Relaxed);
        routes.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(io), service);
    let task = tokio::spawn(async move {
        // A peer's broken request or early goodbye is its own affair.
        let _ = tokio::time::timeout(DEADLINE, connection).await;
        drop(held);
    });
    Serving { asked, task: task.abort_handle() }
}

/// A connection that first gives back what somebody else has read from it.
struct Replay {
    head: Vec<u8>,
    at: usize,
    stream: TcpStream,
}

impl AsyncRead for Replay {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.head.get(this.at..).filter(|rest| !rest.is_empty()) {
            Some(rest) => {
                let taken = rest.len().min(out.remaining());
                out.put_slice(rest.get(..taken).unwrap_or_default());
                this.at += taken;
                Poll::Ready(Ok(()))
            }
            None => Pin::new(&mut this.stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Replay {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_descriptors() {
        for (kept, expected) in
            [(64, (8, 8)), (102, (12, 12)), (1000, (125, 64)), (1 << 20, (256, 64)), (0, (4, 4))]
        {
            assert_eq!(places(kept), expected, "{kept}");
        }
    }

    #[test]
    fn an_address_has_its_part_of_the_places() {
        for (places, part) in [(4, 2), (8, 2), (12, 3), (31, 7), (32, 8), (PAGES_MAX, 8)] {
            assert_eq!(pages_per_address(places), part, "{places}");
        }
    }
}
