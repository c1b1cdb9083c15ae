use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::figures::Figures;
use super::mysql::{Session, Statement};
use super::obrpc::Calls;
use super::options::Load;
use super::schedule::Schedule;
use super::talk::{Echo, Happening, Talk};
use crate::cli::login::Account;
use crate::conn::{Connection, NegotiationClient};
use crate::engine::{Address, ConnId, Engine, EngineOptions, Event, SocketOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::Pcode;
use crate::time::{Monotonic, Now};
use crate::tls::{ClientConfig, Facts, ServerName};

/// A server, and how it is spoken to.
pub(super) struct Target {
    /// In the order in which they are tried.
    pub(super) addresses: Vec<Address>,
    pub(super) transport: Transport,
    pub(super) protocol: Protocol,
}

pub(super) enum Transport {
    Plain,
    Tls(Arc<ClientConfig>, ServerName<'static>),
    /// TLS behind the negotiation of OB-RPC.
    Negotiated(Box<NegotiationClient>),
}

#[derive(Clone)]
pub(super) enum Protocol {
    Mysql(Account, Statement),
    Obrpc {
        pcode: Pcode,
        /// Of the arguments, in bytes.
        len: usize,
    },
    /// Messages of so many bytes.
    Echo(usize),
}

/// All connections to one target, on an engine of their own: while another one is driven they rest.
pub(super) struct Side<'a> {
    target: &'a Target,
    load: &'a Load,
    is_interrupted: &'a AtomicBool,
    engine: Engine,
    clients: Vec<Client<'a>>,
    /// Clients that may have room for a request, once for each; looked at again when taken.
    free: VecDeque<usize>,
    /// Clients without a connection, and when they may have the next one; in that order.
    unconnected: VecDeque<(Monotonic, usize)>,
    facts: Option<Arc<Facts>>,
    was_ready: bool,
    /// Connections that failed before the first one was ready.
    failures: usize,
}

struct Client<'a> {
    id: Option<ConnId>,
    talk: Option<Box<dyn Talk + 'a>>,
    /// What the connection has not taken yet.
    out: Vec<u8>,
    /// The request that this connection is made for, where each has its own.
    pending: Option<Monotonic>,
}

impl<'a> Side<'a> {
    pub(super) fn open(
        target: &'a Target,
        load: &'a Load,
        is_interrupted: &'a AtomicBool,
    ) -> Result<Self> {
        let engine = Engine::new(&EngineOptions::default())?;
        let now = engine.now().monotonic;
        let count = load.connections as usize;
        let client = || Client {
            id: None,
            talk: None,
            out: Vec::new(),
            pending: None,
        };
        let (free, unconnected) = match load.reconnect {
            true => ((0..count).collect(), VecDeque::new()),
            false => (
                VecDeque::new(),
                (0..count).map(|index| (now, index)).collect(),
            ),
        };
        Ok(Self {
            target,
            load,
            is_interrupted,
            engine,
            clients: std::iter::repeat_with(client).take(count).collect(),
            free,
            unconnected,
            facts: None,
            was_ready: false,
            failures: 0,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self.target.transport {
            Transport::Plain => "plaintext",
            Transport::Tls(..) | Transport::Negotiated(_) => "TLS",
        }
    }

    pub(super) fn address(&self) -> String {
        self.address_at(self.failures).to_string()
    }

    pub(super) fn backend(&self) -> String {
        self.engine.describe()
    }

    /// What the latest handshake agreed on.
    pub(super) fn facts(&self) -> Option<&Facts> {
        self.facts.as_deref()
    }

    /// Asks for as long as `slice`, then waits for what is not answered. `show` is called now and
    /// then.
    ///
    /// # Errors
    ///
    /// Where no connection has ever been of use.
    pub(super) fn drive(
        &mut self,
        slice: Duration,
        figures: &mut Figures,
        mut show: impl FnMut(&Figures),
    ) -> Result<()> {
        let begin = self.engine.update_now().monotonic;
        let (mut end, before) = (begin.after(slice), figures.elapsed);
        let mut schedule = Schedule::new(begin, self.load.rate);
        let (mut events, mut show_at) = (Vec::new(), begin);
        loop {
            let now = self.engine.update_now();
            if self.is_interrupted.load(Ordering::Acquire) {
                end = end.min(now.monotonic);
                break;
            }
            figures.elapsed = before + now.monotonic.min(end).since(begin);
            if now.monotonic >= show_at {
                show(figures);
                show_at = now.monotonic.after(SHOW_INTERVAL);
            }
            let timeout = if now.monotonic < end {
                self.connect(now, figures)?;
                self.begin_requests(now, &mut schedule, figures)?;
                self.next_wait(now.monotonic, end, &schedule)
            } else if self.in_flight() == 0 || now.monotonic.since(end) > self.load.timeout() {
                break;
            } else {
                TICK
            };
            self.engine.wait(Some(timeout), &mut events)?;
            self.engine.update_now();
            for event in events.drain(..) {
                self.handle(event, figures)?;
            }
        }
        figures.missed += schedule.missed(end);
        self.give_up(figures);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.clients.iter().map(Client::in_flight).sum()
    }

    fn next_wait(&self, now: Monotonic, end: Monotonic, schedule: &Schedule) -> Duration {
        let connect_at = self.unconnected.front().map(|(at, _)| *at);
        // What is due already waits for an answer.
        let due = schedule.next_due().filter(|due| *due > now);
        let next = [Some(end), connect_at, due].into_iter().flatten().min();
        let wait = next.unwrap_or(end).since(now);
        // epoll counts in milliseconds.
        match due.is_some() && wait < EPOLL_TICK && self.engine.backend_name() == "epoll" {
            true => Duration::ZERO,
            false => wait.min(TICK),
        }
    }

    fn connect(&mut self, now: Now, figures: &mut Figures) -> Result<()> {
        while let Some((at, index)) = self.unconnected.front().copied() {
            if at > now.monotonic {
                break;
            }
            self.unconnected.pop_front();
            match self.load.reconnect {
                true => self.free.push_back(index),
                false => self.open_connection(index, figures)?,
            }
        }
        Ok(())
    }

    fn open_connection(&mut self, index: usize, figures: &mut Figures) -> Result<()> {
        let (address, timeout) = (self.address_at(self.failures), self.load.timeout());
        let now = self.engine.update_now();
        let conn = match (&self.target.transport, &self.target.protocol) {
            (Transport::Tls(config, name), Protocol::Echo(_)) => {
                Connection::client(config, name, now, self.engine.pools())?
            }
            (Transport::Negotiated(client), _) => {
                Connection::negotiated_client(client, now, self.engine.pools())
            }
            _ => Connection::plain(),
        };
        let options = SocketOptions::default();
        let connected = self
            .engine
            .connect(address, conn, &options, timeout, index as u64);
        match connected {
            Ok(id) => {
                self.clients[index].id = Some(id);
                self.clients[index].talk = Some(self.target.talk(timeout));
                Ok(())
            }
            Err(error) => self.lose(index, &error, figures),
        }
    }

    fn address_at(&self, failures: usize) -> &'a Address {
        let addresses = &self.target.addresses;
        &addresses[failures / self.clients.len() % addresses.len()]
    }

    fn begin_requests(
        &mut self,
        now: Now,
        schedule: &mut Schedule,
        figures: &mut Figures,
    ) -> Result<()> {
        while let Some(index) = self.free.front().copied() {
            if !self.clients[index].has_room(self.load) {
                self.free.pop_front();
                continue;
            }
            let Some(due) = schedule.begin_request(now.monotonic) else {
                break;
            };
            self.free.pop_front();
            if self.load.reconnect {
                self.clients[index].pending = Some(due);
                self.open_connection(index, figures)?;
            } else {
                self.request(index, due, figures)?;
            }
        }
        Ok(())
    }

    fn request(&mut self, index: usize, due: Monotonic, figures: &mut Figures) -> Result<()> {
        let now = self.engine.now();
        let client = &mut self.clients[index];
        let Some(talk) = &mut client.talk else {
            return Ok(());
        };
        match talk.request(now, due, &mut client.out) {
            Ok(()) => {
                self.flush(index);
                Ok(())
            }
            Err(error) => self.lose(index, &error, figures),
        }
    }

    fn flush(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(id) = client.id {
            let taken = self.engine.write(id, &client.out);
            client.out.drain(..taken);
        }
    }

    fn handle(&mut self, event: Event, figures: &mut Figures) -> Result<()> {
        let (Event::Connected { id }
        | Event::Readable { id }
        | Event::Writable { id }
        | Event::PeerClosed { id }
        | Event::Closed { id, .. }) = event
        else {
            return Ok(());
        };
        let index = self.engine.user_data(id) as usize;
        // The end of a connection that this side has given up is not told of.
        if self
            .clients
            .get(index)
            .is_none_or(|client| client.id != Some(id))
        {
            return Ok(());
        }
        match event {
            Event::Connected { .. } => {
                if let Some(facts) = self.engine.facts(id) {
                    self.facts = Some(Arc::clone(facts));
                }
                self.flush(index);
                let is_ready = self.clients[index]
                    .talk
                    .as_ref()
                    .is_some_and(|t| t.is_ready());
                if is_ready {
                    self.ready(index, figures)?;
                }
                Ok(())
            }
            Event::Readable { .. } => match self.receive(index, id, figures) {
                Ok(()) => Ok(()),
                Err(error) => self.lose(index, &error, figures),
            },
            Event::Writable { .. } => {
                self.flush(index);
                Ok(())
            }
            Event::Closed {
                error: Some(error), ..
            } => self.lose(index, &error, figures),
            _ => {
                let text = "the server closed the connection";
                self.lose(index, &Error::new(ErrorKind::Truncated, text), figures)
            }
        }
    }

    fn receive(&mut self, index: usize, id: ConnId, figures: &mut Figures) -> Result<()> {
        let now = self.engine.now();
        loop {
            let client = &mut self.clients[index];
            let (Some(talk), true) = (&mut client.talk, client.id == Some(id)) else {
                return Ok(());
            };
            let mut input = self.engine.peek(id);
            let len = input.len();
            if len == 0 {
                self.flush(index);
                return Ok(());
            }
            let happening = talk.receive(now, &mut input, &mut client.out)?;
            let taken = len - input.len();
            self.engine.consume(id, taken);
            match happening {
                Some(Happening::Ready) => self.ready(index, figures)?,
                Some(Happening::Answered(due, refusal)) => {
                    self.answered(index, now.monotonic.since(due), refusal, figures);
                }
                Some(Happening::StartTls(behind)) => self.start_tls(index, id, behind),
                None => {}
            }
        }
    }

    fn start_tls(&mut self, index: usize, id: ConnId, behind: Vec<u8>) {
        self.flush(index);
        if let Transport::Tls(config, name) = &self.target.transport {
            self.engine.start_tls_client(id, config, name);
        }
        self.clients[index].out.extend(behind);
    }

    fn ready(&mut self, index: usize, figures: &mut Figures) -> Result<()> {
        self.was_ready = true;
        if let Some(due) = self.clients[index].pending.take() {
            return self.request(index, due, figures);
        }
        let room = std::iter::repeat_n(index, self.load.depth as usize);
        self.free.extend(room);
        Ok(())
    }

    fn answered(
        &mut self,
        index: usize,
        latency: Duration,
        refusal: Option<String>,
        figures: &mut Figures,
    ) {
        match refusal {
            Some(refusal) => figures.failed(&refusal, 1),
            None => figures.answered(latency),
        }
        if self.load.reconnect {
            self.forget(index);
        }
        self.free.push_back(index);
    }

    /// Takes note that a connection has failed, with the requests that were under way on it.
    fn lose(&mut self, index: usize, error: &Error, figures: &mut Figures) -> Result<()> {
        if !self.was_ready {
            self.failures += 1;
            if self.failures >= self.clients.len() * self.target.addresses.len() {
                return Err(error.clone());
            }
        }
        let lost = self.clients[index].in_flight().max(1);
        figures.failed(&error.to_string(), lost as u64);
        self.forget(index);
        let retry_at = self.engine.now().monotonic.after(RETRY_WAIT);
        self.unconnected.push_back((retry_at, index));
        Ok(())
    }

    /// Lets go of the connection of a client.
    fn forget(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(id) = client.id.take() {
            self.engine.close(id);
        }
        client.talk = None;
        client.pending = None;
        client.out.clear();
    }

    /// Ends what is not answered, which would otherwise be taken for the next slice's.
    fn give_up(&mut self, figures: &mut Figures) {
        let is_late = !self.is_interrupted.load(Ordering::Acquire);
        for index in 0..self.clients.len() {
            let count = self.clients[index].in_flight() as u64;
            if count == 0 {
                continue;
            }
            if is_late {
                let text = format!("no answer within {} s", self.load.timeout().as_secs());
                figures.failed(&text, count);
            }
            self.forget(index);
            self.unconnected.push_back((Monotonic::default(), index));
        }
    }
}

impl Client<'_> {
    fn in_flight(&self) -> usize {
        let under_way = self.talk.as_ref().map_or(0, |talk| talk.in_flight());
        under_way + usize::from(self.pending.is_some())
    }

    fn has_room(&self, load: &Load) -> bool {
        match (&self.talk, load.reconnect) {
            (None, is_reconnecting) => is_reconnecting,
            (Some(_), true) => false,
            (Some(talk), false) => talk.is_ready() && talk.in_flight() < load.depth as usize,
        }
    }
}

impl Target {
    fn talk(&self, timeout: Duration) -> Box<dyn Talk + '_> {
        let is_secure = !matches!(self.transport, Transport::Plain);
        match &self.protocol {
            Protocol::Mysql(account, statement) => {
                Box::new(Session::new(account, is_secure, statement))
            }
            Protocol::Obrpc { pcode, len } => Box::new(Calls::new(*pcode, *len, timeout)),
            Protocol::Echo(len) => Box::new(Echo::new(*len)),
        }
    }
}

/// How long a signal may go unnoticed.
const TICK: Duration = Duration::from_millis(50);

const SHOW_INTERVAL: Duration = Duration::from_millis(500);

/// What epoll's waits are rounded up to.
const EPOLL_TICK: Duration = Duration::from_millis(1);

/// A server that refuses connections is not overrun with them.
const RETRY_WAIT: Duration = Duration::from_millis(100);
