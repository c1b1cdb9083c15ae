use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::server::{Accounts, Session};
use crate::conn::Connection;
use crate::engine::{ConnId, Engine, Event};
use crate::error::Result;

/// Serves those who connect to `engine`, until `is_ending`.
pub(in super::super) fn serve(
    engine: &mut Engine,
    accounts: &Accounts,
    is_ending: &AtomicBool,
) -> Result<()> {
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
    use super::super::client::Client;
    use super::super::{NATIVE_USER, SHA2_USER};
    use super::*;
    use crate::buf::Pools;
    use crate::cli::demo::connect;
    use crate::cli::demo::endpoint::Endpoint;
    use crate::cli::login::Account;
    use crate::engine::Clock;
    use crate::stream::Stream;

    #[test]
    fn both_accounts_log_in_with_their_password_alone() {
        let accounts = Accounts::new(b"right").unwrap();
        let public_key: Option<Vec<u8>> = Some(accounts.public_pem().into());
        let endpoint = Endpoint::start(move |engine, ends| serve(engine, &accounts, ends)).unwrap();
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
