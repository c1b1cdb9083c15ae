use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::bounded;

use super::join;
use super::mysql::{Accounts, Session};
use crate::conn::Connection;
use crate::engine::{
    Address, ConnId, Engine, EngineOptions, Event, ListenOptions, SocketOptions, Waker,
};
use crate::error::{Error, ErrorKind, Result};

/// A plain MySQL server on an engine of its own.
pub(super) struct Endpoint {
    address: SocketAddr,
    waker: Waker,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Endpoint {
    /// Starts it with `accounts`, and waits until it listens.
    pub(super) fn start(accounts: Accounts) -> Result<Self> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let (tell, told) = bounded(1);
        let ends = Arc::clone(&is_ending);
        let thread = thread::spawn(move || {
            let mut engine = Engine::new(&EngineOptions::default())?;
            let address = listen(&mut engine)?;
            // Whoever asked may have given up.
            let _ = tell.send((address, engine.waker()));
            serve(&mut engine, &accounts, &ends)
        });
        match told.recv() {
            Ok((address, waker)) => Ok(Self {
                address,
                waker,
                is_ending,
                thread: Some(thread),
            }),
            Err(_) => join(thread).and(Err(Error::new(ErrorKind::Internal, "no MySQL server"))),
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

fn serve(engine: &mut Engine, accounts: &Accounts, is_ending: &AtomicBool) -> Result<()> {
    let mut sessions = HashMap::new();
    let (mut events, mut thread_id) = (Vec::new(), 0);
    while !is_ending.load(Ordering::Acquire) {
        engine.wait(None, &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Accepted { id, .. } => {
                    thread_id += 1;
                    let mut session = Session::new(accounts, thread_id)?;
                    engine.start(id, Connection::plain(), 0);
                    flush(engine, id, &mut session);
                    sessions.insert(id, session);
                }
                Event::Readable { id } | Event::Writable { id } => {
                    if let Some(session) = sessions.get_mut(&id) {
                        take(engine, id, session);
                    }
                }
                Event::PeerClosed { id } => engine.close(id),
                Event::Closed { id, .. } => drop(sessions.remove(&id)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn take(engine: &mut Engine, id: ConnId, session: &mut Session<'_>) {
    let bytes = engine.peek(id);
    let (len, fed) = (bytes.len(), session.feed(bytes));
    engine.consume(id, len);
    flush(engine, id, session);
    if fed.is_err() || session.is_over() && session.out.is_empty() {
        engine.close(id);
    }
}

fn flush(engine: &mut Engine, id: ConnId, session: &mut Session<'_>) {
    let taken = engine.write(id, &session.out);
    session.out.drain(..taken);
}

#[cfg(test)]
mod tests {
    use super::super::connect;
    use super::super::mysql::{Account, Client, NATIVE_USER, SHA2_USER};
    use super::*;
    use crate::buf::Pools;
    use crate::engine::Clock;
    use crate::stream::Stream;

    #[test]
    fn both_accounts_log_in_with_their_password_alone() {
        let accounts = Accounts::new(b"right").unwrap();
        let public_key: Option<Vec<u8>> = Some(accounts.public_pem().into());
        let endpoint = Endpoint::start(accounts).unwrap();
        let log_in = |user: &str, password: &str, has_key: bool| {
            let account = Account {
                user: user.into(),
                password: password.as_bytes().to_vec().into(),
                server_public_key: public_key.clone().filter(|_| has_key),
            };
            let socket = connect(endpoint.address()).unwrap();
            let stream = Stream::new(Connection::plain(), socket, Clock::start(), Pools::new(4));
            Client::login(stream, &account, None)
        };
        for user in [SHA2_USER, NATIVE_USER] {
            let mut client = log_in(user, "right", true).unwrap();
            assert_eq!(
                client.cell(b"SELECT 'a', b'").unwrap_err().to_string(),
                UNKNOWN
            );
            assert_eq!(client.cell(b"SELECT 'here'").unwrap(), b"here");
            // By now a proof of the password is enough for caching_sha2_password too.
            log_in(user, "right", false).unwrap();
            for password in ["wrong", ""] {
                let Err(error) = log_in(user, password, true) else {
                    panic!("{user} got in with {password:?}");
                };
                assert!(error.to_string().contains("ERROR 1045 (28000)"), "{error}");
            }
        }
        assert!(log_in("nobody", "right", true).is_err());
    }

    const UNKNOWN: &str = "the server refuses the statement: ERROR 1064 (42000): the demo's server \
                           does not know this statement, at 'b''";
}
