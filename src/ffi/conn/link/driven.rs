//! A connection whose bytes an engine moves.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Role, ms_until, negotiates, without_tls};
use crate::buf::Pools;
use crate::conn::Connection;
use crate::engine::{ConnId, Engine, PeerAddress, Stage};
use crate::error::Error;
use crate::ffi::config::{ClientEnd, ServerEnd};
use crate::ffi::engine::{Driving, Shared, core};
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};
use crate::frame::obrpc::Method;
use crate::time::Monotonic;
use crate::tls::Facts;

/// A connection of an engine, which may be gone before it.
pub(in crate::ffi) struct Driven {
    shared: Shared,
    /// Which of the engine's connections it is.
    key: usize,
    role: Role,
    /// Asked of the engine once.
    facts: OnceCell<Arc<Facts>>,
    /// When whoever reads has something else to do.
    wake: Option<Monotonic>,
}

impl Driven {
    /// Has `start` begin the connection on the engine.
    pub(super) fn attach(
        shared: &Shared,
        role: Role,
        is_plain_first: bool,
        start: impl FnOnce(&mut Engine, Connection, u64) -> Result<ConnId, Error>,
    ) -> Result<Self, Failure> {
        let key = core(shared)?.attach(&role, is_plain_first, start)?;
        Ok(Self::accepted(shared, key, role))
    }

    /// A connection that has begun on the engine.
    pub(in crate::ffi) fn accepted(shared: &Shared, key: usize, role: Role) -> Self {
        Self {
            shared: Rc::clone(shared),
            key,
            role,
            facts: OnceCell::new(),
            wake: None,
        }
    }

    pub(super) fn key(&self) -> usize {
        self.key
    }

    pub(super) fn is_plain(&self) -> bool {
        let has_tls = !matches!(self.role, Role::Plain);
        has_tls && self.ask(false, |_, conn| conn.is_plain)
    }

    pub(super) fn start_tls(&mut self, _pools: &mut Pools) -> Outcome {
        let role = self.role.clone();
        self.with(|engine, conn| {
            conn.check_open()?;
            if !conn.is_plain {
                return Err(Failure::state("TLS has begun already"));
            }
            if engine.stage(conn.id) != Some(Stage::Established) {
                return Err(Failure::state("the connection is not in use yet"));
            }
            engine.update_now();
            match &role {
                Role::Client {
                    config: ClientEnd::Tls(config),
                    name,
                } => engine.start_tls_client(conn.id, config, name),
                Role::Server {
                    config: ServerEnd::Tls(config),
                } => engine.start_tls_server(conn.id, config),
                Role::Client { .. } | Role::Server { .. } => return Err(negotiates()),
                Role::Plain => return Err(without_tls()),
            }
            conn.is_plain = false;
            Ok(SEALWIRE_OK)
        })
    }

    pub(super) fn handshake(&mut self, _pools: &mut Pools) -> Outcome {
        self.with(|engine, conn| {
            conn.check_unfailed()?;
            match engine.stage(conn.id) {
                Some(Stage::Connect | Stage::Handshake) => Ok(SEALWIRE_WANT_READ),
                Some(Stage::Established) | None => Ok(SEALWIRE_OK),
            }
        })
    }

    pub(super) fn read(
        &mut self,
        target: &mut [u8],
        _pools: &mut Pools,
    ) -> Result<(sealwire_result, usize), Failure> {
        self.with(|engine, conn| {
            let mut read = 0;
            loop {
                let rest = &mut target[read..];
                let chunk = engine.peek(conn.id);
                let len = chunk.len().min(rest.len());
                if len == 0 {
                    break;
                }
                rest[..len].copy_from_slice(&chunk[..len]);
                engine.consume(conn.id, len);
                read += len;
            }
            match read == 0 && !target.is_empty() {
                true => Ok((conn.end()?, 0)),
                false => Ok((SEALWIRE_OK, read)),
            }
        })
    }

    pub(super) fn write(
        &mut self,
        data: &[u8],
        _pools: &mut Pools,
    ) -> Result<(sealwire_result, usize), Failure> {
        self.with(|engine, conn| {
            conn.check_open()?;
            let written = engine.write(conn.id, data);
            match engine.stage(conn.id) {
                _ if written > 0 || data.is_empty() => Ok((SEALWIRE_OK, written)),
                Some(Stage::Established) => Ok((SEALWIRE_WANT_WRITE, 0)),
                _ => Ok((SEALWIRE_WANT_READ, 0)),
            }
        })
    }

    /// The engine sends by itself: this only tells whether it is done.
    pub(super) fn flush(&mut self, _pools: &mut Pools) -> Outcome {
        self.with(|engine, conn| {
            conn.check_unfailed()?;
            match engine.queued(conn.id) {
                0 => Ok(SEALWIRE_OK),
                _ => Ok(SEALWIRE_WANT_WRITE),
            }
        })
    }

    pub(super) fn shutdown(&mut self, _pools: &mut Pools) -> Outcome {
        self.with(|engine, conn| {
            conn.shutdown(engine)?;
            Ok(SEALWIRE_OK)
        })
    }

    pub(super) fn set_reading(&mut self, on: bool) -> Outcome {
        self.with(|engine, conn| {
            conn.is_reading = on;
            engine.set_reading(conn.id, on);
            Ok(SEALWIRE_OK)
        })
    }

    pub(super) fn peer(&self) -> Option<PeerAddress> {
        self.ask(None, |_, conn| Some(conn.peer))
    }

    pub(super) fn pending(&self) -> usize {
        self.ask(0, |engine, conn| engine.peek(conn.id).len())
    }

    pub(super) fn queued(&self) -> usize {
        self.ask(0, |engine, conn| engine.queued(conn.id))
    }

    pub(super) fn wants_read(&self) -> bool {
        self.ask(false, |engine, conn| {
            conn.is_receiving() && engine.peek(conn.id).is_empty()
        })
    }

    /// Deadlines of the connection are the engine's to judge, those of calls are not.
    pub(super) fn timeout_ms(&self) -> i32 {
        match self.pending() {
            0 => ms_until(self.wake),
            _ => 0,
        }
    }

    pub(super) fn set_wake(&mut self, at: Option<Monotonic>) {
        self.wake = at;
    }

    pub(super) fn obrpc_method(&self) -> Option<Method> {
        let then = self.ask(None, |engine, conn| conn.then(engine));
        self.role.obrpc_method(then, self.facts().is_some())
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        if self.facts.get().is_none() {
            let facts = core(&self.shared).ok()?.facts(self.key)?;
            let _ = self.facts.set(facts);
        }
        self.facts.get().map(|facts| &**facts)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        let stage = self.ask(None, |engine, conn| engine.stage(conn.id));
        stage != Some(Stage::Established)
    }

    pub(super) fn release(&mut self, _pools: &mut Pools) {
        if let Ok(mut core) = core(&self.shared) {
            core.release(self.key);
        }
    }

    fn ask<R>(&self, otherwise: R, question: impl FnOnce(&mut Engine, &mut Driving) -> R) -> R {
        self.with(|engine, conn| Ok(question(engine, conn)))
            .unwrap_or(otherwise)
    }

    fn with<R>(
        &self,
        call: impl FnOnce(&mut Engine, &mut Driving) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut core = core(&self.shared)?;
        let (engine, conn) = core.parts(self.key)?;
        call(engine, conn)
    }
}
