//! Waiting: for a signal to stop, or for a core that fails.

use crate::fanout::stream::CoreId;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the ends of cores are looked at, and what is done now and then is done.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for SIGTERM or SIGINT, calling `reload` at each SIGHUP. Returns the core that failed, if one did. `listening` is
/// called when signals are heard: one that comes before would end the process on the spot; `beat` at every look.
pub fn wait(
    ends: &Receiver<(CoreId, io::Result<()>)>,
    listening: impl FnOnce(),
    reload: impl Fn(),
    beat: impl Fn(),
) -> io::Result<Option<(CoreId, io::Error)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut look = tokio::time::interval(LOOK);
        listening();
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(None),
                _ = interrupt.recv() => return Ok(None),
                _ = hang_up.recv() => reload(),
                _ = look.tick() => match ends.try_recv() {
                    Ok((id, Err(error))) => return Ok(Some((id, error))),
                    Ok((id, Ok(()))) => {
                        return Ok(Some((id, io::Error::other("it ended without being told to"))));
                    }
                    Err(TryRecvError::Empty) => beat(),
                    Err(TryRecvError::Disconnected) => {
                        return Ok(Some((0, io::Error::other("every core's thread is gone"))));
                    }
                },
            }
        }
    })
}
