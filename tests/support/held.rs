//! A thread of another process that hangs.

/// A thread that a debugger holds: for its process it hangs, while the others go on.
#[derive(Debug)]
pub struct Held(libc::pid_t);

impl Held {
    /// The thread of process `pid` with this name; an error where nobody may debug.
    pub fn thread(pid: u32, name: &str) -> std::io::Result<Held> {
        let named = |tid: &String| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_default();
            comm.trim() == name
        };
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
        let mut tids = tasks.filter_map(|task| task.ok()?.file_name().into_string().ok());
        let tid: libc::pid_t = tids.find(named).and_then(|tid| tid.parse().ok()).expect("such a thread");
        // SAFETY: neither request reads or writes memory of ours.
        let held = unsafe {
            libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) == 0
                && libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) == 0
        };
        if held { Ok(Held(tid)) } else { Err(std::io::Error::last_os_error()) }
    }
}

impl Drop for Held {
    /// Lets it go on, also when the test fails: its process could not even be killed while it is held.
    fn drop(&mut self) {
        // It can be let go once it is seen to have stopped. That it goes on is for the test to see.
        // SAFETY: no status is written, and nothing of ours is read or written.
        unsafe {
            libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
            libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0);
        }
    }
}
