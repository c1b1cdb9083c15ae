//! A server for a few clients at a time, none of which can keep it from the others: it waits for
//! nobody, and whoever is slow or in the way is let go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, Shutdown};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::http::{Code, Parsed, Request, Response};

/// Answers every request by `answer`; one per connection.
///
/// # Errors
///
/// The kernel refuses to watch sockets, at the start or later on.
pub(super) fn serve(
    listener: net::TcpListener,
    mut answer: impl FnMut(&Request) -> Response,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS_LEN);
    (poll.registry()).register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients = Clients::default();
    loop {
        let accepted_all = clients.accept(&listener, &poll);
        let wait = match accepted_all {
            true => clients.wait(Instant::now()),
            false => Some(ACCEPT_INTERVAL),
        };
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter().filter(|event| event.token() != LISTENER) {
            clients.advance(event.token().0, &mut answer);
        }
        clients.expire(Instant::now());
    }
}

#[derive(Default)]
struct Clients(Slab<Client>);

struct Client {
    stream: TcpStream,
    phase: Phase,
    /// When it is let go.
    deadline: Instant,
}

enum Phase {
    /// With what has come of the request.
    Reading(Vec<u8>),
    /// With the response, and how much of it has gone.
    Writing(Vec<u8>, usize),
    /// All is said. What the client still sends is read, since a reset in answer to it could
    /// destroy what the client has not read yet.
    Lingering,
}

impl Clients {
    /// Lets in who waits, at the cost of who has been here longest; false where the kernel cannot
    /// give out a socket now.
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> bool {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.enter(stream, poll),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => return false,
            }
        }
    }

    fn enter(&mut self, mut stream: TcpStream, poll: &Poll) {
        if self.0.len() == CLIENTS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, client)| client.deadline);
            if let Some((key, _)) = oldest {
                self.0.remove(key);
            }
        }
        let entry = self.0.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(entry.key());
        // A socket that cannot be watched is dropped, which ends the connection.
        if poll
            .registry()
            .register(&mut stream, token, interest)
            .is_ok()
        {
            entry.insert(Client {
                stream,
                phase: Phase::Reading(Vec::new()),
                deadline: Instant::now() + REQUEST_TIMEOUT,
            });
        }
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        let deadlines = self.0.iter().map(|(_, client)| client.deadline);
        let next = deadlines.min()?;
        Some(next.saturating_duration_since(now))
    }

    fn advance(&mut self, key: usize, answer: &mut impl FnMut(&Request) -> Response) {
        let Some(client) = self.0.get_mut(key) else {
            return;
        };
        let goes_on = client.advance(answer);
        if !matches!(goes_on, Ok(true)) {
            self.0.remove(key);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, client| {
            if now < client.deadline {
                return true;
            }
            if matches!(client.phase, Phase::Reading(_)) {
                client.respond(Response::refusal(Code::Timeout).into_bytes(false));
                return matches!(client.write(), Ok(true));
            }
            false
        });
    }
}

impl Client {
    /// Goes on as far as the socket allows; false where the connection has ended.
    fn advance(&mut self, answer: &mut impl FnMut(&Request) -> Response) -> io::Result<bool> {
        if let Phase::Reading(_) = self.phase
            && !self.read(answer)?
        {
            return Ok(false);
        }
        match self.phase {
            Phase::Reading(_) => Ok(true),
            Phase::Writing(..) => self.write(),
            Phase::Lingering => self.drain(),
        }
    }

    fn read(&mut self, answer: &mut impl FnMut(&Request) -> Response) -> io::Result<bool> {
        let mut chunk = [0; CHUNK_LEN];
        while let Phase::Reading(request) = &mut self.phase {
            match again(|| self.stream.read(&mut chunk))? {
                None => return Ok(true),
                Some(0) => return Ok(false),
                Some(len) => request.extend_from_slice(&chunk[..len]),
            }
            let bytes = match Request::parse(request) {
                Parsed::Partial => continue,
                Parsed::Whole(request) => answer(&request).into_bytes(request.is_head()),
                Parsed::Refused(code) => Response::refusal(code).into_bytes(false),
            };
            self.respond(bytes);
        }
        Ok(true)
    }

    fn respond(&mut self, bytes: Vec<u8>) {
        self.phase = Phase::Writing(bytes, 0);
        self.deadline = Instant::now() + RESPONSE_TIMEOUT;
    }

    fn write(&mut self) -> io::Result<bool> {
        while let Phase::Writing(bytes, sent) = &mut self.phase {
            if *sent == bytes.len() {
                self.stream.shutdown(Shutdown::Write)?;
                self.phase = Phase::Lingering;
                self.deadline = Instant::now() + LINGER;
                return self.drain();
            }
            match again(|| self.stream.write(&bytes[*sent..]))? {
                None => return Ok(true),
                Some(len) => *sent += len,
            }
        }
        Ok(true)
    }

    fn drain(&mut self) -> io::Result<bool> {
        let mut chunk = [0; CHUNK_LEN];
        // Bounded, since the next client is not to wait for one that sends without end.
        for _ in 0..DRAIN_CHUNKS_MAX {
            match again(|| self.stream.read(&mut chunk))? {
                None => return Ok(true),
                Some(0) => return Ok(false),
                Some(_) => {}
            }
        }
        Ok(false)
    }
}

/// What a call that does not wait gave; nothing where it would have had to.
fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(len) => return Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

const LISTENER: Token = Token(usize::MAX);

/// Clients at a time: a few scrapers and browsers, and room for those that only hold on.
const CLIENTS_MAX: usize = 64;

const EVENTS_LEN: usize = CLIENTS_MAX + 1;

/// For the whole of a request, however it trickles in.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// For the whole of a response to be taken; what scrapers give a scrape by default.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// For the client to end its side when all is said.
const LINGER: Duration = Duration::from_secs(5);

/// Between two attempts to accept where there is no descriptor.
const ACCEPT_INTERVAL: Duration = Duration::from_secs(1);

const CHUNK_LEN: usize = 4_096;

/// Of what a client sends behind its request, 1 MiB.
const DRAIN_CHUNKS_MAX: usize = 256;

#[cfg(test)]
mod tests;
