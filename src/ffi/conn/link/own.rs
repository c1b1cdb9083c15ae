//! A connection whose bytes a descriptor of the caller moves, or the caller itself.

use std::os::fd::RawFd;
use std::time::Duration;

use super::{Role, ms_until, negotiates, now, without_tls};
use crate::buf::Pools;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::ffi::config::{ClientEnd, ServerEnd};
use crate::ffi::conn::fd::Fd;
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};
use crate::frame::obrpc::Method;
use crate::stream::{self, Moved};
use crate::time::Monotonic;
use crate::tls::Facts;

/// A connection whose bytes a descriptor of the caller moves, or the caller itself.
pub(in crate::ffi::conn) struct Own {
    role: Role,
    is_plain_first: bool,
    fd: Option<Fd>,
    /// None before the first use.
    end: Option<Endpoint>,
    /// Whoever reads has been told of the end, or of the error that is the end.
    is_end_told: bool,
    /// When whoever reads has something else to do.
    wake: Option<Monotonic>,
    /// Why nothing can be sent any more: what a call had given before it failed is on its way, and
    /// would be sent twice by one that tries again.
    send_failure: Option<Error>,
}

impl Own {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            is_plain_first: false,
            fd: None,
            end: None,
            is_end_told: false,
            wake: None,
            send_failure: None,
        }
    }

    /// What an engine needs to begin it.
    pub(super) fn unbegun_parts(&self) -> Result<(Role, bool), Failure> {
        self.check_unbegun()?;
        match self.fd {
            Some(_) => Err(Failure::state("the connection has a descriptor already")),
            None => Ok((self.role.clone(), self.is_plain_first)),
        }
    }

    pub(super) fn set_fd(&mut self, fd: RawFd) -> Outcome {
        self.check_unbegun()?;
        if self.fd.is_some() {
            return Err(Failure::state("the connection has a descriptor already"));
        }
        self.fd = Some(Fd::new(fd)?);
        Ok(SEALWIRE_OK)
    }

    pub(super) fn set_plaintext(&mut self) -> Outcome {
        self.check_unbegun()?;
        self.role.check_plain_first()?;
        self.is_plain_first = true;
        Ok(SEALWIRE_OK)
    }

    pub(super) fn is_plain(&self) -> bool {
        let conn = self.end.as_ref().map(Endpoint::connection);
        self.is_plain_first
            && conn.is_none_or(|conn| !conn.is_handshaking() && conn.facts().is_none())
    }

    pub(super) fn start_tls(&mut self, pools: &mut Pools) -> Outcome {
        self.begin(pools)?;
        let Some(end) = &mut self.end else {
            return Err(unbegun());
        };
        match &self.role {
            Role::Client {
                config: ClientEnd::Tls(config),
                name,
            } => end.start_tls_client(config, name, now(), pools)?,
            Role::Server {
                config: ServerEnd::Tls(config),
            } => end.start_tls_server(config, now())?,
            Role::Client { .. } | Role::Server { .. } => return Err(negotiates()),
            Role::Plain => return Err(without_tls()),
        }
        Ok(SEALWIRE_OK)
    }

    pub(super) fn handshake(&mut self, pools: &mut Pools) -> Outcome {
        self.begin(pools)?;
        while self.end()?.connection().is_handshaking() {
            let sent = self.send(pools)?;
            if sent != SEALWIRE_OK {
                return Ok(sent);
            }
            if !self.receive(pools)? {
                return Ok(SEALWIRE_WANT_READ);
            }
        }
        self.send(pools)
    }

    pub(super) fn read(
        &mut self,
        target: &mut [u8],
        pools: &mut Pools,
    ) -> Result<(sealwire_result, usize), Failure> {
        self.begin(pools)?;
        loop {
            let read = self.end()?.read(now(), target, pools);
            self.is_end_told |= read.is_err();
            let read = read.inspect_err(|_| self.send_alert(pools))?;
            if read > 0 || target.is_empty() {
                return Ok((SEALWIRE_OK, read));
            }
            if self.end()?.is_ended() {
                self.is_end_told = true;
                return Ok((SEALWIRE_EOF, 0));
            }
            // What the handshake or a key update owes the peer, which may wait for it.
            self.send(pools)?;
            if !self.receive(pools)? {
                return Ok((SEALWIRE_WANT_READ, 0));
            }
        }
    }

    pub(super) fn write(
        &mut self,
        data: &[u8],
        pools: &mut Pools,
    ) -> Result<(sealwire_result, usize), Failure> {
        if let Some(error) = &self.send_failure {
            return Err(error.clone().into());
        }
        let ready = self.handshake(pools)?;
        if self.end()?.connection().is_handshaking() {
            return Ok((ready, 0));
        }
        let mut written = 0;
        loop {
            written += self.end()?.write(&data[written..], pools)?;
            let sent = self.send(pools)?;
            if written == data.len() || sent != SEALWIRE_OK || self.fd.is_none() {
                break;
            }
        }
        match written == 0 && !data.is_empty() {
            true => Ok((SEALWIRE_WANT_WRITE, 0)),
            false => Ok((SEALWIRE_OK, written)),
        }
    }

    pub(super) fn flush(&mut self, pools: &mut Pools) -> Outcome {
        self.begin(pools)?;
        self.send(pools)
    }

    pub(super) fn shutdown(&mut self, pools: &mut Pools) -> Outcome {
        self.begin(pools)?;
        self.end()?.close(pools)?;
        self.send(pools)
    }

    pub(super) fn feed(&mut self, bytes: &[u8], pools: &mut Pools) -> Result<usize, Failure> {
        self.check_memory()?;
        self.begin(pools)?;
        let end = self.end()?;
        if bytes.is_empty() {
            end.received_eof(pools);
            return Ok(0);
        }
        let mut consumed = 0;
        loop {
            let len = end.feed(&bytes[consumed..], pools);
            consumed += len;
            // An error is told to whoever reads, behind the plaintext that came before it.
            let failed = end.advance(now(), pools).is_err();
            if failed || len == 0 || consumed == bytes.len() {
                return Ok(consumed);
            }
        }
    }

    pub(super) fn output(&mut self, pools: &mut Pools) -> Result<&[u8], Failure> {
        self.check_memory()?;
        // What has failed may still owe the peer an alert.
        let begun = self.begin(pools);
        match &mut self.end {
            Some(end) => Ok(end.output(pools)),
            None => Err(begun.err().unwrap_or_else(unbegun)),
        }
    }

    pub(super) fn output_sent(&mut self, len: usize, pools: &mut Pools) -> Outcome {
        self.check_memory()?;
        let end = self.end()?;
        if len > end.output(pools).len() {
            return Err(Failure::argument(format!("{len} bytes were sent of fewer")));
        }
        end.output_sent(len, pools);
        Ok(SEALWIRE_OK)
    }

    pub(super) fn pending(&self) -> usize {
        self.end.as_ref().map_or(0, Endpoint::pending)
    }

    pub(super) fn queued(&self) -> usize {
        self.end.as_ref().map_or(0, Endpoint::queued)
    }

    pub(super) fn wants_read(&self) -> bool {
        let end = self.end.as_ref();
        end.is_none_or(|end| end.pending() == 0 && !end.is_ended() && end.failure().is_none())
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        // The first call begins it, and nothing comes on a descriptor before that.
        let Some(end) = &self.end else {
            return 0;
        };
        let has_end_to_tell = (end.is_ended() || end.failure().is_some()) && !self.is_end_told;
        if end.pending() > 0 || has_end_to_tell {
            return 0;
        }
        ms_until(earlier(end.poll_timeout(), self.wake))
    }

    pub(super) fn set_wake(&mut self, at: Option<Monotonic>) {
        self.wake = at;
    }

    pub(super) fn obrpc_method(&self) -> Option<Method> {
        let conn = self.end.as_ref()?.connection();
        let then = conn.beginning().map(|beginning| beginning.then);
        self.role.obrpc_method(then, conn.facts().is_some())
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        let facts = self.end.as_ref()?.connection().facts();
        facts.map(|facts| &**facts)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        let end = self.end.as_ref();
        end.is_none_or(|end| end.connection().is_handshaking())
    }

    pub(super) fn release(&mut self, pools: &mut Pools) {
        if let Some(end) = &mut self.end {
            end.release(pools);
        }
    }

    fn check_unbegun(&self) -> Result<(), Failure> {
        match self.end {
            Some(_) => Err(Failure::state("the connection has begun already")),
            None => Ok(()),
        }
    }

    fn check_memory(&self) -> Result<(), Failure> {
        match self.fd {
            Some(_) => Err(Failure::state(
                "the connection's descriptor moves its bytes",
            )),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<&mut Endpoint, Failure> {
        self.end.as_mut().ok_or_else(unbegun)
    }

    /// Makes the connection, and judges its deadline ever after.
    fn begin(&mut self, pools: &mut Pools) -> Result<(), Failure> {
        let now = now();
        if let Some(end) = &mut self.end {
            return Ok(end.handle_timeout(now)?);
        }
        let conn = self.role.begin(self.is_plain_first, now, pools)?;
        self.end = Some(Endpoint::new(conn));
        Ok(())
    }

    /// Sends what waits, where a descriptor moves the bytes.
    fn send(&mut self, pools: &mut Pools) -> Outcome {
        let (Some(end), Some(fd)) = (&mut self.end, self.fd) else {
            return Ok(SEALWIRE_OK);
        };
        match send_by(end, fd, self.wake, pools) {
            Ok(Moved::All) => Ok(SEALWIRE_OK),
            Ok(Moved::WouldBlock) => Ok(SEALWIRE_WANT_WRITE),
            Err(error) => {
                self.send_failure = Some(error.clone());
                // A peer that has left may have said why: its alert tells more than EPIPE.
                hear_last_words(end, fd, pools)?;
                Err(error.into())
            }
        }
    }

    /// Goes as far as what has arrived goes, having received once where nothing has and a
    /// descriptor moves the bytes; false where nothing came.
    fn receive(&mut self, pools: &mut Pools) -> Result<bool, Failure> {
        let Some(end) = &mut self.end else {
            return Ok(false);
        };
        // Bytes of a handshake may have come together with the plaintext in front of it.
        if !end.has_input() {
            let Some(mut fd) = self.fd else {
                return Ok(false);
            };
            if !wait_for_deadline(end, fd, self.wake)? {
                return Ok(false);
            }
            if stream::receive(end, &mut fd, pools)? == Moved::WouldBlock {
                return Ok(false);
            }
        }
        end.advance(now(), pools)
            .inspect_err(|_| self.send_alert(pools))?;
        Ok(true)
    }

    /// The error is what counts, not whether the peer still hears of it.
    fn send_alert(&mut self, pools: &mut Pools) {
        let _ = self.send(pools);
    }
}

/// Waits for the peer on a descriptor that blocks, up to the deadline of the handshake or of
/// whoever reads: nothing may come. False where the latter has passed.
fn wait_for_deadline(end: &mut Endpoint, fd: Fd, wake: Option<Monotonic>) -> Result<bool, Failure> {
    let Some(deadline) = earlier(end.poll_timeout(), wake) else {
        return Ok(true);
    };
    let failed = |error| Error::io("wait for the peer", &error);
    if !fd.is_blocking().map_err(failed)? {
        return Ok(true);
    }
    let is_readable = fd
        .wait_readable(deadline.since(now().monotonic))
        .map_err(failed)?;
    end.handle_timeout(now())?;
    Ok(is_readable)
}

/// Sends what waits; on a descriptor that blocks, no longer than whoever reads has time for.
fn send_by(
    end: &mut Endpoint,
    mut fd: Fd,
    wake: Option<Monotonic>,
    pools: &mut Pools,
) -> Result<Moved, Error> {
    let Some(wake) = wake else {
        return stream::send(end, &mut fd, pools);
    };
    let failed = |error| Error::io("wait for the peer", &error);
    let is_blocking = fd.is_blocking().map_err(failed)?;
    loop {
        let moved = stream::send(end, &mut fd.send_without_waiting(), pools)?;
        let left = wake.since(now().monotonic);
        if moved == Moved::All || !is_blocking || !fd.wait_writable(left).map_err(failed)? {
            return Ok(moved);
        }
    }
}

/// Takes what the peer sent before it left; an error where that was one.
fn hear_last_words(end: &mut Endpoint, mut fd: Fd, pools: &mut Pools) -> Result<(), Error> {
    let is_there = |fd: Fd| matches!(fd.wait_readable(Duration::ZERO), Ok(true));
    while end.pending() == 0 && !end.is_ended() && (end.has_input() || is_there(fd)) {
        if !end.has_input() && stream::receive(end, &mut fd, pools).is_err() {
            break;
        }
        end.advance(now(), pools)?;
    }
    Ok(())
}

fn earlier(one: Option<Monotonic>, other: Option<Monotonic>) -> Option<Monotonic> {
    one.into_iter().chain(other).min()
}

fn unbegun() -> Failure {
    Failure::state("the connection has not begun")
}
