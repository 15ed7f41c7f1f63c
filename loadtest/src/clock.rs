//! The one clock: `CLOCK_MONOTONIC` in nanoseconds, comparable between processes of one machine.

use std::time::Duration;

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
pub fn now_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid, writable timespec for the duration of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    ts.tv_sec as u64 * SECOND_NS + ts.tv_nsec as u64
}

/// Sleeps until `due_ns` on the same clock; returns at once when that has passed.
pub fn sleep_until(due_ns: u64) {
    let ts = libc::timespec {
        tv_sec: (due_ns / SECOND_NS) as libc::time_t,
        tv_nsec: (due_ns % SECOND_NS) as libc::c_long,
    };
    loop {
        // SAFETY: `ts` is a valid timespec; the remainder pointer may be null with TIMER_ABSTIME.
        let rc = unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &ts, std::ptr::null_mut())
        };
        if rc != libc::EINTR {
            return;
        }
    }
}

/// Seconds as nanoseconds; negative and absurd values become 0.
pub fn seconds(value: f64) -> u64 {
    Duration::try_from_secs_f64(value).map(|d| d.as_nanos() as u64).unwrap_or(0)
}

/// Lets the timers of the calling thread fire when they are due: the default slack is 50 us.
pub fn exact_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize) };
}

/// Binds the calling thread to a processor.
///
/// # Errors
/// There is no such processor, or it is not ours.
pub fn pin(cpu: usize) -> std::io::Result<()> {
    // SAFETY: a set of bits, for which zeros are the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is within the set, and the set lives through the call; 0 is the calling thread.
    let rc = unsafe {
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
