//! What moves the bytes of a connection, and how far it has come.

mod driven;
mod own;

use std::os::fd::RawFd;
use std::sync::OnceLock;

pub(super) use self::driven::Driven;
use self::own::Own;
use crate::buf::Pools;
use crate::conn::Connection;
use crate::engine::{Clock, ConnId, Engine, PeerAddress};
use crate::error::Error;
use crate::ffi::config::{ClientEnd, ServerEnd};
use crate::ffi::engine::Shared;
use crate::ffi::pointer;
use crate::ffi::result::sealwire_result;
use crate::ffi::result::{Failure, Outcome};
use crate::frame::obrpc::{Method, Then};
use crate::time::{Monotonic, Now};
use crate::tls::{Facts, ServerName};

/// Which end it is.
#[derive(Clone)]
pub(in crate::ffi) enum Role {
    Client {
        config: ClientEnd,
        name: ServerName<'static>,
    },
    Server {
        config: ServerEnd,
    },
    /// Either one, without TLS.
    Plain,
}

/// A connection, by what moves its bytes.
pub(super) enum Link {
    /// A descriptor of the caller, or the caller itself.
    Own(Box<Own>),
    /// An engine.
    Driven(Driven),
}

/// The same call on either kind.
macro_rules! on {
    ($self:ident, $link:ident => $call:expr) => {
        match $self {
            Link::Own($link) => $call,
            Link::Driven($link) => $call,
        }
    };
}

impl Link {
    pub(super) fn new(role: Role) -> Self {
        Self::Own(Box::new(Own::new(role)))
    }

    /// Gives a connection that has not begun to an engine, whose `start` begins it; the key is what
    /// it is known by there.
    pub(super) fn attach(
        &mut self,
        shared: &Shared,
        start: impl FnOnce(&mut Engine, Connection, u64) -> Result<ConnId, Error>,
    ) -> Result<usize, Failure> {
        let (role, is_plain_first) = self.own()?.unbegun_parts()?;
        let link = Driven::attach(shared, role, is_plain_first, start)?;
        let key = link.key();
        *self = Self::Driven(link);
        Ok(key)
    }

    /// Sets when whoever reads has something else to do, if nothing has come by then.
    pub(super) fn set_wake(&mut self, at: Option<Monotonic>) {
        on!(self, link => link.set_wake(at));
    }

    /// By which method a connection of OB-RPC is protected, once that is certain.
    pub(super) fn obrpc_method(&self) -> Option<Method> {
        on!(self, link => link.obrpc_method())
    }

    pub(super) fn set_fd(&mut self, fd: RawFd) -> Outcome {
        self.own()?.set_fd(fd)
    }

    pub(super) fn set_plaintext(&mut self) -> Outcome {
        self.own()?.set_plaintext()
    }

    /// Refuses a connection on which TLS cannot begin, in the midst of a stream.
    pub(super) fn check_plain(&self) -> Result<(), Failure> {
        match on!(self, link => link.is_plain()) {
            true => Ok(()),
            false => Err(Failure::state("the connection is not in plaintext")),
        }
    }

    pub(super) fn start_tls(&mut self, pools: &mut Pools) -> Outcome {
        on!(self, link => link.start_tls(pools))
    }

    pub(super) fn handshake(&mut self, pools: &mut Pools) -> Outcome {
        on!(self, link => link.handshake(pools))
    }

    pub(super) fn read(
        &mut self,
        target: &mut [u8],
        pools: &mut Pools,
    ) -> Result<(sealwire_result, usize), Failure> {
        on!(self, link => link.read(target, pools))
    }

    pub(super) fn write(
        &mut self,
        data: &[u8],
        pools: &mut Pools,
    ) -> Result<(sealwire_result, usize), Failure> {
        on!(self, link => link.write(data, pools))
    }

    pub(super) fn flush(&mut self, pools: &mut Pools) -> Outcome {
        on!(self, link => link.flush(pools))
    }

    pub(super) fn shutdown(&mut self, pools: &mut Pools) -> Outcome {
        on!(self, link => link.shutdown(pools))
    }

    pub(super) fn feed(&mut self, bytes: &[u8], pools: &mut Pools) -> Result<usize, Failure> {
        self.own()?.feed(bytes, pools)
    }

    pub(super) fn output(&mut self, pools: &mut Pools) -> Result<&[u8], Failure> {
        self.own()?.output(pools)
    }

    pub(super) fn output_sent(&mut self, len: usize, pools: &mut Pools) -> Outcome {
        self.own()?.output_sent(len, pools)
    }

    pub(super) fn set_reading(&mut self, on: bool) -> Outcome {
        self.driven()?.set_reading(on)
    }

    pub(super) fn peer(&self) -> Option<PeerAddress> {
        match self {
            Self::Own(_) => None,
            Self::Driven(link) => link.peer(),
        }
    }

    pub(super) fn pending(&self) -> usize {
        on!(self, link => link.pending())
    }

    pub(super) fn queued(&self) -> usize {
        on!(self, link => link.queued())
    }

    pub(super) fn wants_read(&self) -> bool {
        on!(self, link => link.wants_read())
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        on!(self, link => link.timeout_ms())
    }

    /// What the handshake agreed on, once it is complete; none in plaintext.
    pub(super) fn facts(&self) -> Option<&Facts> {
        on!(self, link => link.facts())
    }

    /// True before the connection was used, and from then until application data can be written.
    pub(super) fn is_handshaking(&self) -> bool {
        on!(self, link => link.is_handshaking())
    }

    pub(super) fn release(&mut self, pools: &mut Pools) {
        on!(self, link => link.release(pools))
    }

    fn own(&mut self) -> Result<&mut Own, Failure> {
        match self {
            Self::Own(link) => Ok(link),
            Self::Driven(_) => Err(Failure::state("the connection belongs to an engine")),
        }
    }

    fn driven(&mut self) -> Result<&mut Driven, Failure> {
        match self {
            Self::Driven(link) => Ok(link),
            Self::Own(_) => Err(Failure::state("the connection belongs to no engine")),
        }
    }
}

impl Role {
    /// The connection, as it begins.
    pub(in crate::ffi) fn begin(
        &self,
        is_plain_first: bool,
        now: Now,
        pools: &mut Pools,
    ) -> Result<Connection, Error> {
        match self {
            _ if is_plain_first => Ok(Connection::plain()),
            Self::Client {
                config: ClientEnd::Tls(config),
                name,
            } => Connection::client(config, name, now, pools),
            Self::Client {
                config: ClientEnd::Obrpc(client),
                name,
            } => {
                let client = client.named(name.clone());
                Ok(Connection::negotiated_client(&client, now, pools))
            }
            Self::Server {
                config: ServerEnd::Tls(config),
            } => Ok(Connection::server(config, now)),
            Self::Server {
                config: ServerEnd::Obrpc(server),
            } => Ok(Connection::negotiated_server(server, false, now)),
            Self::Plain => Ok(Connection::plain()),
        }
    }

    /// Refuses to begin in plaintext where a negotiation decides that.
    fn check_plain_first(&self) -> Result<(), Failure> {
        match self {
            Self::Client {
                config: ClientEnd::Obrpc(_),
                ..
            }
            | Self::Server {
                config: ServerEnd::Obrpc(_),
            } => Err(negotiates()),
            _ => Ok(()),
        }
    }

    /// By which method a connection of OB-RPC is protected, once that is certain: what a
    /// negotiation only promised, a handshake has to keep.
    fn obrpc_method(&self, then: Option<Then>, has_facts: bool) -> Option<Method> {
        let method = match self {
            Self::Client {
                config: ClientEnd::Obrpc(client),
                ..
            } => client.method(),
            Self::Server {
                config: ServerEnd::Obrpc(_),
            } => then?.into(),
            _ => return None,
        };
        (method == Method::None || has_facts).then_some(method)
    }
}

/// The time now, of the one clock by which the deadlines of a process are judged.
pub(super) fn now() -> Now {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(Clock::start).now()
}

/// How long until a moment, as poll() takes it; -1 where there is none.
fn ms_until(deadline: Option<Monotonic>) -> i32 {
    deadline.map_or(-1, |deadline| {
        pointer::poll_ms(deadline.since(now().monotonic))
    })
}

fn without_tls() -> Failure {
    Failure::state("the connection has no configuration for TLS")
}

fn negotiates() -> Failure {
    Failure::state("the connection negotiates how it begins, by its configuration")
}
