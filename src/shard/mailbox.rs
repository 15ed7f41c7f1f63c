//! Commands between cores. Never on the path of a frame within a core; a full box means "again next turn".

use super::ResidentId;
use crate::fanout::directory::{StreamId, StreamName, StreamStats};
use crate::fanout::log::{Feed, LogId, LogKey, LogSnapshot};
use crate::fanout::stream::{CoreId, NoLog, Stream};
use crate::media::Mono;
use crossbeam::queue::ArrayQueue;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Commands that may wait for one core.
const CAPACITY: usize = 8192;

/// A stream with what its home core knows of it.
#[derive(Debug)]
pub struct Hosted {
    /// Its name.
    pub name: StreamName,
    /// Its logs.
    pub stream: Stream,
    /// The newest publisher's number.
    pub epoch: u32,
    /// Shared counters.
    pub stats: Arc<StreamStats>,
    /// When the stream ends if nobody publishes; `Mono::NEVER` while somebody does.
    pub ends_at: Mono,
    /// It made room for another one.
    pub displaced: bool,
    /// Players that came before it was known which tracks there are.
    pub early: Vec<(LogKey, CoreId)>,
}

/// Why a core does not open a log for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// The stream is not here: look it up again.
    Gone,
    /// There is no such log to be had.
    Refused(NoLog),
}

/// A socket of a resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId {
    /// Whose it is.
    pub resident: ResidentId,
    /// Which of its sockets; datagrams are told with it.
    pub number: u32,
    /// How often that one was opened: words about an earlier one may still be on their way.
    pub opening: u32,
}

/// A word from one core to another.
#[derive(Debug)]
pub enum Command {
    /// To the home: `reader` has subscribers for a log.
    Subscribe {
        /// The stream.
        stream: StreamId,
        /// Its name, for the answer.
        name: StreamName,
        /// Which log.
        key: LogKey,
        /// Who asks.
        reader: CoreId,
    },
    /// To the home: `reader` has none any more. To the reader itself: the stream has moved, say it again.
    Unsubscribe {
        /// The stream.
        stream: StreamId,
        /// The log.
        log: LogId,
        /// Who asks.
        reader: CoreId,
    },
    /// To the reader: here it is.
    Opened {
        /// The stream's name.
        name: StreamName,
        /// Which log.
        key: LogKey,
        /// The log as it is.
        snapshot: LogSnapshot,
    },
    /// To the reader: it cannot be had.
    Refused {
        /// The stream's name.
        name: StreamName,
        /// Which log.
        key: LogKey,
        /// Why.
        why: NotOpened,
    },
    /// To the reader: news of a log.
    News {
        /// Whose.
        stream: StreamId,
        /// Which log.
        log: LogId,
        /// In order.
        news: Vec<Feed>,
    },
    /// To all: a name was published for the first time.
    Published(StreamName),
    /// To the old home: a new publisher claimed the stream on core `to`.
    Surrender {
        /// The stream.
        stream: StreamId,
        /// Where it goes.
        to: CoreId,
        /// The new publisher's number.
        epoch: u32,
    },
    /// To the new home: the stream.
    Arrive {
        /// The stream.
        stream: StreamId,
        /// The value.
        hosted: Box<Hosted>,
    },
    /// To a core that sent for a stream: it does not come for this claim, a newer one was met instead.
    Superseded {
        /// The stream.
        stream: StreamId,
        /// The number of the claim.
        epoch: u32,
    },
    /// To the home: the stream made room for another one and is to end.
    Displaced {
        /// The stream.
        stream: StreamId,
    },
    /// To a core with residents: here is a socket that one of them listens to, bound and joined.
    Listen(SocketId, OwnedFd),
    /// To a core with residents: close such a socket.
    Hush(SocketId),
    /// To the clerk: a socket of a resident failed.
    SocketFailed {
        /// Which.
        id: SocketId,
        /// The system's answer, a number.
        error: i32,
        /// It is closed; else it is received from again in a moment.
        closed: bool,
    },
    /// Stop accepting, say goodbye to everybody, end.
    Drain,
}

/// One box for each core, and one for each of the posts behind them that follow no stream.
#[derive(Debug)]
pub struct Mailboxes {
    boxes: Box<[ArrayQueue<Command>]>,
    cores: CoreId,
}

impl Mailboxes {
    /// Boxes for `cores` cores and, behind them, `aside` posts that are told of no stream.
    pub fn new(cores: usize, aside: usize) -> Mailboxes {
        let boxes = (0..cores + aside).map(|_| ArrayQueue::new(CAPACITY)).collect();
        Mailboxes { boxes, cores: cores as CoreId }
    }

    /// Number of cores, and of what is one to them.
    pub fn cores(&self) -> CoreId {
        self.cores
    }

    /// Number of boxes.
    pub fn posts(&self) -> CoreId {
        self.boxes.len() as CoreId
    }

    /// Who opens the residents' sockets: the first post behind the cores, if there is one.
    pub fn clerk(&self) -> Option<CoreId> {
        (self.posts() > self.cores).then_some(self.cores)
    }

    /// Puts a command into the box of `to`; gives it back if the box is full.
    pub fn send(&self, to: CoreId, command: Command) -> Result<(), Command> {
        match self.boxes.get(usize::from(to)) {
            Some(queue) => queue.push(command),
            // Nobody will ever take it.
            None => {
                debug_assert!(false, "no post {to} for {command:?}");
                tracing::error!(to, ?command, "a command for a post that there is not");
                Ok(())
            }
        }
    }

    /// The next command for `core`.
    pub fn take(&self, core: CoreId) -> Option<Command> {
        self.boxes.get(usize::from(core))?.pop()
    }

    /// Whether nothing waits for `core`.
    pub fn is_empty(&self, core: CoreId) -> bool {
        self.boxes.get(usize::from(core)).is_none_or(ArrayQueue::is_empty)
    }
}
