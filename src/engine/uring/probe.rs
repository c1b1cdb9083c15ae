//! Whether this machine allows io_uring, and what this back end needs of it.

use std::fs;
use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::error::{Error, ErrorKind, Result};

/// Completion queue entries for each submission queue entry. A multishot receive completes many
/// times, and completions that find no room cost an allocation in the kernel.
const CQ_FACTOR: u32 = 8;

/// The longest submission queue that the kernel accepts (IORING_MAX_ENTRIES).
const SQ_LEN_MAX: u32 = 32_768;

/// Where the system says who may use io_uring.
const SETTING: &str = "/proc/sys/kernel/io_uring_disabled";

/// The opcodes in use.
const OPCODES: [(u8, &str); 8] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Shutdown::CODE, "SHUTDOWN"),
];

/// A ring with a submission queue of `sq_len` entries, and the names of the set-up flags that it
/// has.
///
/// DEFER_TASKRUN (Linux 6.1) is demanded: multishot receive and cancellation by descriptor (6.0),
/// which no probe tells, come with it.
pub(super) fn set_up(sq_len: u32) -> Result<(IoUring, &'static str)> {
    let newest = build(sq_len, true);
    let (ring, flags) = match newest {
        // NO_SQARRAY came with Linux 6.6.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (
            build(sq_len, false),
            "SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL",
        ),
        result => (
            result,
            "SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL, NO_SQARRAY",
        ),
    };
    let ring = ring.map_err(|error| refused("io_uring_setup", &error))?;
    check_opcodes(&ring)?;
    Ok((ring, flags))
}

/// An error that says which call of the set-up was refused and the probable cause.
pub(super) fn refused(call: &str, error: &io::Error) -> Error {
    let cause = match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel has none, or a seccomp filter hides it".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            forbidden_by(&fs::read_to_string(SETTING).unwrap_or_default())
        }
        Some(libc::EINVAL) => "the kernel is older than Linux 6.1".to_owned(),
        Some(libc::ENOMEM) => {
            "memory is short: see ulimit -l and the memory limit of the cgroup".to_owned()
        }
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor is left: see ulimit -n".to_owned(),
        _ => "for an unknown cause".to_owned(),
    };
    Error::io(format!("io_uring cannot be used ({cause}): {call}"), error)
}

fn build(sq_len: u32, no_sqarray: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(sq_len.min(SQ_LEN_MAX) * CQ_FACTOR);
    if no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(sq_len)
}

fn check_opcodes(ring: &IoUring) -> Result<()> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| refused("IORING_REGISTER_PROBE", &error))?;
    let missing = OPCODES
        .iter()
        .filter(|(code, _)| !probe.is_supported(*code))
        .map(|(_, name)| *name)
        .collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "io_uring cannot be used: the kernel does not know {}",
        missing.join(", ")
    );
    Err(Error::new(ErrorKind::Io, text))
}

/// Who forbids io_uring, by what `kernel.io_uring_disabled` holds (nothing before Linux 6.6).
fn forbidden_by(setting: &str) -> String {
    match setting.trim() {
        "" | "0" => "a seccomp filter or a security module forbids it".to_owned(),
        setting => format!("kernel.io_uring_disabled is {setting}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_call_and_its_probable_cause() {
        let cases = [
            (libc::ENOSYS, "seccomp"),
            (libc::EINVAL, "older than Linux 6.1"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EIO, "unknown cause"),
        ];
        for (errno, cause) in cases {
            let error = refused("io_uring_setup", &io::Error::from_raw_os_error(errno));
            assert_eq!(error.os_error(), Some(errno));
            let text = error.to_string();
            assert!(text.contains("io_uring_setup"), "{text}");
            assert!(text.contains(cause), "{text}");
        }
    }

    #[test]
    fn a_setting_of_the_system_is_told_from_a_filter() {
        assert!(forbidden_by("0\n").contains("seccomp"));
        assert!(forbidden_by("").contains("seccomp"));
        assert_eq!(forbidden_by("2\n"), "kernel.io_uring_disabled is 2");
    }
}
