use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::bounded;

use super::join;
use crate::engine::{Address, Engine, EngineOptions, ListenOptions, SocketOptions, Waker};
use crate::error::{Error, ErrorKind, Result};

/// A server on an engine and a thread of its own.
pub(super) struct Endpoint {
    address: SocketAddr,
    waker: Waker,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Endpoint {
    /// Has the engine served by `serve`, which returns when it is told to, and waits until it
    /// listens.
    pub(super) fn start<F>(serve: F) -> Result<Self>
    where
        F: FnOnce(&mut Engine, &AtomicBool) -> Result<()> + Send + 'static,
    {
        let is_ending = Arc::new(AtomicBool::new(false));
        let (tell, told) = bounded(1);
        let ends = Arc::clone(&is_ending);
        let thread = thread::spawn(move || {
            let mut engine = Engine::new(&EngineOptions::default())?;
            let address = listen(&mut engine)?;
            // Whoever asked may have given up.
            let _ = tell.send((address, engine.waker()));
            serve(&mut engine, &ends)
        });
        match told.recv() {
            Ok((address, waker)) => Ok(Self {
                address,
                waker,
                is_ending,
                thread: Some(thread),
            }),
            Err(_) => join(thread).and(Err(Error::new(ErrorKind::Internal, "no server"))),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // The demo is over; its result stands.
            let _ = join(thread);
        }
    }
}

fn listen(engine: &mut Engine) -> Result<SocketAddr> {
    let anywhere = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
    let options = ListenOptions {
        backlog: 64,
        reuse_port: false,
        is_redirected: false,
        socket: SocketOptions::default(),
    };
    let listener = engine.listen(&anywhere, &options)?;
    match engine.local_address(listener)? {
        Address::Ip(address) => Ok(address),
        Address::Unix(_) => Err(Error::new(ErrorKind::Internal, "not an IP address")),
    }
}
