//! What this machine offers to a gateway.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use rustix::thread::{Pid, gettid};

/// The AES instructions of this CPU, best first: `vaes512`, `vaes`, `aesni`, `armv8` or `none`.
pub(crate) fn aes_kind() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("vaes") && has!("avx512f") {
            return "vaes512";
        }
        if has!("vaes") {
            return "vaes";
        }
        if has!("aes") {
            return "aesni";
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("aes") {
        return "armv8";
    }
    "none"
}

/// Seconds since 1970-01-01 UTC.
pub(crate) fn wall_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// One of this process's threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadId(Pid);

/// The thread that calls.
pub(crate) fn this_thread() -> ThreadId {
    ThreadId(gettid())
}

/// How long a thread of this process has been on a processor; `None` where it has ended, or the
/// kernel does not count that (CONFIG_SCHED_INFO).
pub(crate) fn thread_busy(ThreadId(thread): ThreadId) -> Option<Duration> {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = fs::read_to_string(path).ok()?;
    let busy_ns = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(busy_ns))
}

/// The user whose sockets are those of this process.
pub(crate) fn user_id() -> u32 {
    geteuid().as_raw()
}

/// Raises the limit of open descriptors to what this process may have, and says how many that are.
pub(crate) fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where the kernel refuses, the old limit stays, which is read back here.
    let _ = setrlimit(Resource::Nofile, raised);
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Client connections for which `descriptors` suffice in a process of `workers` engines.
pub(crate) fn connections_max(descriptors: usize, workers: usize) -> usize {
    let reserved = RESERVED_PER_PROCESS + workers.saturating_mul(RESERVED_PER_WORKER);
    (descriptors.saturating_sub(reserved) / DESCRIPTORS_PER_CONNECTION).max(1)
}

/// A connection of a client and the one to its server.
const DESCRIPTORS_PER_CONNECTION: usize = 2;

/// Standard streams, signals, the resolver's sockets, files read at a reload.
const RESERVED_PER_PROCESS: usize = 64;

/// Ring, waker, listeners, and sockets that are closing while new ones come.
const RESERVED_PER_WORKER: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_works_is_busy_for_as_long() {
        let busy = || thread_busy(this_thread()).unwrap();
        let before = busy();
        let patience = Instant::now() + Duration::from_secs(20);
        while busy() < before + Duration::from_millis(5) {
            assert!(Instant::now() < patience);
        }
        let ended = std::thread::spawn(this_thread).join().unwrap();
        assert_eq!(thread_busy(ended), None);
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(connections_max(20_000, 2), (20_000 - 64 - 128) / 2);
        assert_eq!(connections_max(64, 8), 1);
    }
}
