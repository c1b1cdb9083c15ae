//! A descriptor of the caller as a socket.

use std::ffi::{c_int, c_short};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{SockRef, Type};

use crate::ffi::result::Failure;

/// A socket that stays the caller's.
#[derive(Clone, Copy)]
pub(in crate::ffi) struct Fd(RawFd);

impl Fd {
    pub(in crate::ffi) fn new(fd: RawFd) -> Result<Self, Failure> {
        if fd < 0 {
            return Err(Failure::argument(format!("fd is {fd}")));
        }
        let socket = Self(fd);
        match socket.with(|socket| socket.r#type()) {
            Ok(Type::STREAM) => Ok(socket),
            Ok(_) => Err(Failure::argument(format!(
                "descriptor {fd} is no stream socket"
            ))),
            Err(error) => Err(Failure::argument(format!(
                "descriptor {fd} is no socket: {error}"
            ))),
        }
    }

    /// Another descriptor of the same socket, of our own.
    pub(in crate::ffi) fn duplicate(self) -> io::Result<OwnedFd> {
        // SAFETY: as in `with`.
        unsafe { BorrowedFd::borrow_raw(self.0) }.try_clone_to_owned()
    }

    /// Closes what the caller gave away.
    pub(in crate::ffi) fn close(self) {
        // SAFETY: the caller says that it is nobody else's.
        drop(unsafe { OwnedFd::from_raw_fd(self.0) });
    }

    /// Waits until something can be read, for at most `timeout`; false where it cannot.
    pub(super) fn wait_readable(self, timeout: Duration) -> io::Result<bool> {
        self.wait(libc::POLLIN, timeout)
    }

    /// Waits until something can be written, for at most `timeout`; false where it cannot.
    pub(super) fn wait_writable(self, timeout: Duration) -> io::Result<bool> {
        self.wait(libc::POLLOUT, timeout)
    }

    fn wait(self, events: c_short, timeout: Duration) -> io::Result<bool> {
        let timeout_ms = i32::try_from(timeout.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
        let mut polled = libc::pollfd {
            fd: self.0,
            events,
            revents: 0,
        };
        loop {
            // SAFETY: one pollfd, which lives as long as the call.
            let ready = unsafe { libc::poll(&raw mut polled, 1, timeout_ms) };
            if ready >= 0 {
                return Ok(ready > 0);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    pub(super) fn is_blocking(self) -> io::Result<bool> {
        self.with(|socket| socket.nonblocking())
            .map(|nonblocking| !nonblocking)
    }

    /// Sends as much as goes without waiting, whether or not the descriptor blocks.
    pub(super) fn send_without_waiting(self) -> impl Write {
        WithoutWaiting(self)
    }

    fn send(self, data: &[u8], flags: c_int) -> io::Result<usize> {
        self.with(|socket| socket.send_with_flags(data, flags | libc::MSG_NOSIGNAL))
    }

    fn with<R>(self, call: impl FnOnce(SockRef<'_>) -> io::Result<R>) -> io::Result<R> {
        // SAFETY: not -1; that it is open and the caller's is the contract of sealwire_conn_set_fd.
        let fd = unsafe { BorrowedFd::borrow_raw(self.0) };
        call(SockRef::from(&fd))
    }
}

impl Read for Fd {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.with(|socket| {
            // SAFETY: recv writes to it and nothing else, so that what was initialized stays so.
            let target = unsafe { &mut *(std::ptr::from_mut(target) as *mut [MaybeUninit<u8>]) };
            socket.recv(target)
        })
    }
}

impl Write for Fd {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.send(data, 0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor that blocks, as one that does not.
struct WithoutWaiting(Fd);

impl Write for WithoutWaiting {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.send(data, libc::MSG_DONTWAIT)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
