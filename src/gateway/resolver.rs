//! Names of servers, resolved off the loop: threads ask the system's resolver, each worker keeps
//! what it learnt.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::config::HostPort;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Monotonic;

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) name: HostPort,
    pub(crate) result: Result<Arc<[SocketAddr]>>,
}

/// The threads that ask. They end when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Resolver {
    requests: Sender<Request>,
}

struct Request {
    name: HostPort,
    reply: Reply,
}

/// Takes an answer to whoever asked, from a thread of the resolver.
pub(crate) type Reply = Box<dyn FnOnce(Answer) + Send>;

/// How a name becomes addresses: [`ToSocketAddrs`], or a table in tests.
pub(crate) type Lookup = fn(&HostPort) -> io::Result<Vec<SocketAddr>>;

impl Resolver {
    /// Starts the threads.
    pub(crate) fn start(lookup: Lookup) -> Result<Self> {
        let (requests, queue) = bounded(REQUESTS_MAX);
        for index in 0..THREADS {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("resolver-{index}"))
                .spawn(move || serve(&queue, lookup))
                .map_err(|error| Error::io("start a resolver thread", &error))?;
        }
        Ok(Self { requests })
    }

    /// Asks; an error where too many requests wait already.
    fn ask(&self, name: HostPort, reply: Reply) -> Result<()> {
        let request = Request { name, reply };
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                TrySendError::Full(_) => Error::new(
                    ErrorKind::Limit,
                    format!("{REQUESTS_MAX} names wait to be resolved already"),
                ),
                TrySendError::Disconnected(_) => {
                    Error::new(ErrorKind::Internal, "the resolver threads have ended")
                }
            })
    }
}

/// The system's own answer, in the order of RFC 6724.
pub(crate) fn system_lookup(name: &HostPort) -> io::Result<Vec<SocketAddr>> {
    (&*name.host, name.port)
        .to_socket_addrs()
        .map(Iterator::collect)
}

fn serve(queue: &Receiver<Request>, lookup: Lookup) {
    for Request { name, reply } in queue {
        let result = match lookup(&name) {
            Ok(addresses) if addresses.is_empty() => Err(Error::new(
                ErrorKind::Io,
                format!("resolve {}: no address", name.host),
            )),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(Error::io(format_args!("resolve {}", name.host), &error)),
        };
        reply(Answer { name, result });
    }
}

/// What one worker knows of names.
pub(crate) struct Names {
    resolver: Resolver,
    known: HashMap<HostPort, Known>,
}

#[derive(Default)]
struct Known {
    /// As last resolved, and when.
    addresses: Option<(Arc<[SocketAddr]>, Monotonic)>,
    /// An answer is on its way.
    is_asked: bool,
}

impl Names {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            known: HashMap::new(),
        }
    }

    /// The addresses of a name where they are known; otherwise an answer is on its way, to be given
    /// to [`Names::learn`]. Addresses that have become old are still given out while new ones are
    /// asked for.
    pub(crate) fn lookup(
        &mut self,
        name: &HostPort,
        now: Monotonic,
        reply: impl FnOnce() -> Reply,
    ) -> Result<Option<Arc<[SocketAddr]>>> {
        let addresses = self
            .known
            .get(name)
            .and_then(|known| known.addresses.clone());
        match addresses {
            Some((addresses, at)) if now.since(at) < REFRESH_AFTER => Ok(Some(addresses)),
            Some((addresses, _)) => {
                // Where the resolver is too busy, the old addresses serve until the next
                // connection.
                let _ = self.ask(name, reply);
                Ok(Some(addresses))
            }
            None => self.ask(name, reply).map(|()| None),
        }
    }

    /// Asks for a name whose addresses all failed. Returns false where they are so fresh that the
    /// answer would be the same.
    pub(crate) fn refresh(
        &mut self,
        name: &HostPort,
        now: Monotonic,
        reply: impl FnOnce() -> Reply,
    ) -> bool {
        let known = self.known.get(name);
        let is_fresh = known
            .and_then(|known| known.addresses.as_ref())
            .is_some_and(|(_, at)| now.since(*at) < FRESH_FOR);
        !is_fresh && self.ask(name, reply).is_ok()
    }

    /// Takes note of an answer. One that failed does not make older addresses unknown.
    pub(crate) fn learn(&mut self, answer: &Answer, now: Monotonic) {
        let known = self.known.entry(answer.name.clone()).or_default();
        known.is_asked = false;
        if let Ok(addresses) = &answer.result {
            known.addresses = Some((addresses.clone(), now));
        }
    }

    fn ask(&mut self, name: &HostPort, reply: impl FnOnce() -> Reply) -> Result<()> {
        let known = self.known.entry(name.clone()).or_default();
        if !known.is_asked {
            self.resolver.ask(name.clone(), reply())?;
            known.is_asked = true;
        }
        Ok(())
    }
}

/// A name that does not answer holds up one thread only.
const THREADS: usize = 4;

/// Requests that wait. Each worker has at most one per name under way.
const REQUESTS_MAX: usize = 1_024;

/// Age from which on addresses are asked for anew: the shortest time to live in common use.
const REFRESH_AFTER: Duration = Duration::from_secs(30);

/// Age up to which addresses that failed are not asked for again.
const FRESH_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str) -> HostPort {
        HostPort {
            host: host.into(),
            port: 80,
        }
    }

    fn lookup(name: &HostPort) -> io::Result<Vec<SocketAddr>> {
        match &*name.host {
            "two" => Ok(vec![
                ([10, 0, 0, 1], name.port).into(),
                ([10, 0, 0, 2], name.port).into(),
            ]),
            "none" => Ok(Vec::new()),
            _ => Err(io::Error::other("no such host")),
        }
    }

    fn at_s(s: u64) -> Monotonic {
        Monotonic::from_ns(s * 1_000_000_000)
    }

    /// For threads of the resolver, which answer at once.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Asker {
        names: Names,
        replies: Sender<Answer>,
        answers: Receiver<Answer>,
    }

    impl Asker {
        fn new() -> Self {
            let (replies, answers) = bounded(8);
            Self {
                names: Names::new(Resolver::start(lookup).unwrap()),
                replies,
                answers,
            }
        }

        fn reply(&self) -> impl FnOnce() -> Reply + use<> {
            let replies = self.replies.clone();
            move || Box::new(move |answer| replies.send(answer).unwrap())
        }

        fn lookup(&mut self, host: &str, now_s: u64) -> Option<Arc<[SocketAddr]>> {
            let reply = self.reply();
            self.names.lookup(&name(host), at_s(now_s), reply).unwrap()
        }

        fn learn(&mut self, now_s: u64) -> Answer {
            let answer = self.answers.recv_timeout(PATIENCE).unwrap();
            self.names.learn(&answer, at_s(now_s));
            answer
        }
    }

    #[test]
    fn a_name_is_asked_for_once_and_then_known() {
        let mut asker = Asker::new();
        assert!(asker.lookup("two", 0).is_none());
        assert!(asker.lookup("two", 0).is_none());
        asker.learn(0);
        assert!(asker.answers.is_empty());
        let addresses = asker.lookup("two", 29).unwrap();
        assert_eq!(addresses.len(), 2);
        assert_eq!(addresses[1].to_string(), "10.0.0.2:80");
    }

    #[test]
    fn old_addresses_serve_while_new_ones_are_asked_for() {
        let mut asker = Asker::new();
        asker.lookup("two", 0);
        asker.learn(0);
        assert!(asker.lookup("two", 30).is_some());
        asker.learn(31);
        assert!(asker.lookup("two", 60).is_some());
        assert!(asker.answers.is_empty());
    }

    #[test]
    fn failed_addresses_are_asked_for_again_unless_fresh() {
        let mut asker = Asker::new();
        asker.lookup("two", 0);
        asker.learn(0);
        let reply = asker.reply();
        assert!(!asker.names.refresh(&name("two"), at_s(0), reply));
        let reply = asker.reply();
        assert!(asker.names.refresh(&name("two"), at_s(1), reply));
        asker.learn(1);
    }

    #[test]
    fn names_without_an_address_are_errors() {
        let mut asker = Asker::new();
        asker.lookup("none", 0);
        let answer = asker.learn(0);
        let error = answer.result.unwrap_err();
        assert_eq!(error.to_string(), "resolve none: no address");
        asker.lookup("unknown", 0);
        let error = asker.learn(0).result.unwrap_err();
        assert_eq!(error.to_string(), "resolve unknown: no such host");
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
