use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::bounded;

use super::join;
use crate::conn::Connection;
use crate::engine::{
    Address, ConnId, Engine, EngineOptions, Event, ListenOptions, SocketOptions, Waker,
};
use crate::error::{Error, ErrorKind, Result};

/// A plain server on an engine of its own that sends back what it is sent.
pub(super) struct Endpoint {
    address: SocketAddr,
    backend: String,
    waker: Waker,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Endpoint {
    pub(super) fn start() -> Result<Self> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let (tell, told) = bounded(1);
        let ends = Arc::clone(&is_ending);
        let thread = thread::spawn(move || {
            let mut engine = Engine::new(&EngineOptions::default())?;
            let address = listen(&mut engine)?;
            // Whoever asked may have given up.
            let _ = tell.send((address, engine.describe(), engine.waker()));
            echo(&mut engine, &ends)
        });
        match told.recv() {
            Ok((address, backend, waker)) => Ok(Self {
                address,
                backend,
                waker,
                is_ending,
                thread: Some(thread),
            }),
            Err(_) => join(thread).and(Err(Error::new(ErrorKind::Internal, "no echo server"))),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn backend(&self) -> &str {
        &self.backend
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
        socket: SocketOptions::default(),
    };
    let listener = engine.listen(&anywhere, &options)?;
    match engine.local_address(listener)? {
        Address::Ip(address) => Ok(address),
        Address::Unix(_) => Err(Error::new(ErrorKind::Internal, "not an IP address")),
    }
}

fn echo(engine: &mut Engine, is_ending: &AtomicBool) -> Result<()> {
    let mut events = Vec::new();
    while !is_ending.load(Ordering::Acquire) {
        engine.wait(None, &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Accepted { id, .. } => engine.start(id, Connection::plain(), 0),
                Event::Readable { id } | Event::Writable { id } => echo_one(engine, id),
                Event::PeerClosed { id } => engine.close(id),
                _ => {}
            }
        }
    }
    Ok(())
}

fn echo_one(engine: &mut Engine, id: ConnId) {
    let mut chunk = Vec::new();
    loop {
        chunk.clear();
        chunk.extend_from_slice(engine.peek(id));
        let taken = engine.write(id, &chunk);
        engine.consume(id, taken);
        if taken == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_sent_comes_back() {
        let endpoint = Endpoint::start().unwrap();
        for _ in 0..2 {
            let mut socket = super::super::connect(endpoint.address()).unwrap();
            for len in [1, 256, 100_000] {
                let sent = vec![7; len];
                let mut received = vec![0; len];
                socket.write_all(&sent).unwrap();
                socket.read_exact(&mut received).unwrap();
                assert_eq!(received, sent);
            }
        }
    }
}
