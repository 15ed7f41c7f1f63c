//! The limit of open descriptors, of this process and so of the servers that it starts.

use super::skip;

/// Descriptors for what else is open meanwhile: other tests' sockets, pipes of children, the server's own files.
const BESIDE: u64 = 2000;

/// Makes room for `needed` descriptors of one test in this process and in the servers it starts, which take what the hard
/// limit allows. Debian's shells allow 1024 until somebody asks for more. `false` (and a reported skip) where the hard
/// limit is too low.
pub fn raise_descriptor_limit(needed: u64) -> bool {
    let needed = needed + BESIDE;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live rlimit, read and written by the kernel.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        if limit.rlim_max >= needed && limit.rlim_cur < needed {
            // All of it: another test may need more, and must not be given less by this one.
            limit.rlim_cur = limit.rlim_max;
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
    }
    if limit.rlim_max < needed {
        let least = format!("{needed} descriptors needed, the hard limit (ulimit -Hn) is {}", limit.rlim_max);
        skip("few-descriptors", &least);
        return false;
    }
    true
}
