//! What the end-to-end tests share.

pub mod amf;
pub mod broadcast;
pub mod checker;
pub mod control;
pub mod engine;
pub mod held;
pub mod http;
pub mod igmp;
#[allow(
    dead_code,
    unused_imports,
    reason = "what no channel has needed yet is shown to work in tests/judge.rs"
)]
pub mod judge;
pub mod lan;
pub mod limits;
pub mod media;
pub mod metrics;
pub mod network;
pub mod paced;
pub mod process;
pub mod publisher;
pub mod raw;
pub mod receiver;
pub mod rtmp;
pub mod sandbox;
pub mod server;
mod skips;
pub mod switch;
pub mod tap;
pub mod trial;
pub mod ts;
pub mod viewer;

pub use skips::skip;

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Most tests share the machine; a test that fills it takes it alone. Both guards survive a failed test.
static MACHINE: RwLock<()> = RwLock::new(());

/// For a test that can run beside others.
pub fn share_machine() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// For a test that needs the whole machine.
pub fn own_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Asks again until the answer is there; for state that no event announces (metrics, probes).
pub fn poll<T>(what: &str, limit: Duration, ask: impl FnMut() -> Option<T>) -> T {
    poll_for(limit, ask, Option::is_some).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// The first answer that fits, or the last one within the limit: the caller says what is wrong with it.
pub fn poll_for<T>(limit: Duration, mut ask: impl FnMut() -> T, fits: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let answer = ask();
        if fits(&answer) || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
