//! Restrictions laid on a child before it starts: a seccomp filter without io_uring, capabilities taken away.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a child may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// `io_uring_setup` answers EPERM, as container runtimes make it.
    NoIoUring,
    /// No low ports, no reading past file modes, even for root.
    NoPrivilege,
}

/// Lays the restriction on the child that `command` will start.
pub fn restrict(command: &mut Command, restriction: Restriction) {
    let install = match restriction {
        Restriction::NoIoUring => refuse_io_uring,
        Restriction::NoPrivilege => drop_privilege,
    };
    // SAFETY: both functions only make system calls with memory of their own stack.
    unsafe {
        command.pre_exec(install);
    }
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn refuse_io_uring() -> io::Result<()> {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    // struct seccomp_data begins with the system call's number.
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: plain integers, and a pointer to a program that outlives the call.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter))
    }
}

fn drop_privilege() -> io::Result<()> {
    // Numbers of linux/capability.h: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_NET_BIND_SERVICE. Out of the bounding
    // set, root does not get them back at exec; anybody else has none of them.
    for capability in [1, 2, 10] {
        // SAFETY: plain integers.
        if unsafe { libc::geteuid() } == 0 {
            // SAFETY: plain integers.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })?;
        }
    }
    Ok(())
}

/// Whether this kernel lets this process set up a ring.
pub fn io_uring_works() -> bool {
    // SAFETY: a null parameter block is refused with EFAULT after the permission checks; nothing is created.
    unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, std::ptr::null_mut::<u8>()) };
    io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
