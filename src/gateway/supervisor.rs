use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use crossbeam_utils::sync::WaitGroup;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use socket2::{Domain, Socket, Type};

use super::config::{self, MetricsSettings, Plan};
use super::counters::Gauges;
use super::expiry;
use super::log::{Log, escape};
use super::machine;
use super::metrics::{self, Info, Reloads, Shown, Status, WorkerPort};
use super::resolver::{Resolver, system_lookup};
use super::service::Service;
use super::watch::Watch;
use super::worker::{Bound, Mailbox, Message, Worker};
use crate::engine::{Address, Counters, Engine, EngineOptions, OwnConnections};
use crate::error::{Error, ErrorKind, Result};

/// Runs a gateway by `plan` until signals have ended it. `load` gives the next plan on SIGHUP.
///
/// # Errors
///
/// A back end that was demanded and is refused, an address that cannot be
/// listened on, a thread that failed.
pub(crate) fn run(
    plan: Arc<Plan>,
    load: &dyn Fn() -> Result<Arc<Plan>>,
    mut log: Log,
) -> Result<()> {
    let (notices, inbox) = unbounded();
    watch_signals(notices.clone())?;
    let mut gateway = Supervisor::start(plan, &notices, &inbox)?;
    gateway.start_metrics()?;
    gateway.announce();
    let outcome = gateway.serve(load, &inbox, &mut log);
    gateway.report();
    log.report_dropped();
    outcome
}

/// What is told to the supervisor.
enum Notice {
    Signal(i32),
    Started(Started),
    Ended(Result<Counters>),
}

/// A worker's engine exists.
struct Started {
    worker: usize,
    mailbox: Mailbox,
    thread: machine::ThreadId,
    backend: String,
    fallback_reason: Option<String>,
}

/// The main thread's part: it owns the workers and changes what they serve.
struct Supervisor {
    mailboxes: Vec<Mailbox>,
    threads: Vec<machine::ThreadId>,
    backend: String,
    fallback_reason: Option<String>,
    descriptors: usize,
    service: Option<Arc<Service>>,
    /// The files of the plan in service.
    watch: Watch,
    /// When certificates and revocation lists are next looked at for their expiry.
    next_expiry_check: Instant,
    reloads: Reloads,
    /// Where metrics are served.
    status: Option<Arc<Status>>,
    bound: Bound,
    gauges: Gauges,
    running: usize,
    drain: Drain,
    counters: Counters,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    Not,
    /// Until then, where there is a bound.
    Until(Option<Instant>),
    Stopping,
}

impl Supervisor {
    fn start(plan: Arc<Plan>, notices: &Sender<Notice>, inbox: &Receiver<Notice>) -> Result<Self> {
        let workers = match plan.settings.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let mut gateway = Self {
            mailboxes: Vec::with_capacity(workers),
            threads: Vec::with_capacity(workers),
            backend: String::new(),
            fallback_reason: None,
            descriptors: machine::raise_descriptor_limit(),
            service: None,
            watch: Watch::new(&[], Instant::now()),
            next_expiry_check: Instant::now(),
            reloads: Reloads::started(),
            status: None,
            bound: Bound::new(),
            gauges: Gauges::default(),
            running: workers,
            drain: Drain::Not,
            counters: Counters::default(),
        };
        gateway.spawn(&plan, workers, notices, inbox)?;
        gateway.put_into_service(plan)?;
        Ok(gateway)
    }

    fn spawn(
        &mut self,
        plan: &Plan,
        workers: usize,
        notices: &Sender<Notice>,
        inbox: &Receiver<Notice>,
    ) -> Result<()> {
        let resolver = Resolver::start(system_lookup)?;
        let own = OwnConnections::default();
        for index in 0..workers {
            let options = EngineOptions {
                backend: plan.settings.backend,
                own: own.clone(),
                ..EngineOptions::default()
            };
            let (resolver, gauges) = (resolver.clone(), self.gauges.clone());
            let farewell = Farewell {
                notices: notices.clone(),
                outcome: None,
            };
            thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || work(index, &options, resolver, gauges, farewell))
                .map_err(|error| Error::io("start a worker thread", &error))?;
        }
        let mut started = Vec::with_capacity(workers);
        while started.len() < workers {
            match next(inbox)? {
                Notice::Started(worker) => started.push(worker),
                Notice::Ended(outcome) => return outcome.and(Err(ended_early())),
                Notice::Signal(SIGHUP) => {}
                Notice::Signal(_) => return Err(interrupted()),
            }
        }
        started.sort_by_key(|started| started.worker);
        for worker in started {
            self.mailboxes.push(worker.mailbox);
            self.threads.push(worker.thread);
            self.backend = worker.backend;
            self.fallback_reason = worker.fallback_reason;
        }
        Ok(())
    }

    /// Makes every worker serve by `plan`, or none. When it returns, they do.
    fn put_into_service(&mut self, plan: Arc<Plan>) -> Result<()> {
        let workers = self.mailboxes.len();
        let connections_max = match plan.settings.connections_max {
            0 => machine::connections_max(self.descriptors, workers),
            max => max,
        };
        let previous = self.service.as_deref();
        let service = Arc::new(Service::new(plan, previous, workers, connections_max)?);
        let bound = self
            .prepare(&service)
            .inspect_err(|_| self.tell(|| Message::Rollback))?;
        let committed = WaitGroup::new();
        self.tell(|| Message::Commit(committed.clone()));
        committed.wait();
        warn_of_dangers(&service.plan);
        self.watch = Watch::new(&service.plan.files, Instant::now());
        let is_new = |address: &Address| !self.bound.contains_key(address);
        for state in &service.routes {
            let route = &*state.route.name;
            for address in state.route.listen.iter().filter(|a| is_new(a)) {
                let address = bound.get(address).unwrap_or(address);
                tracing::info!(%address, route, "listening");
            }
        }
        let listens = |address: &Address| {
            let mut addresses = service.routes.iter().flat_map(|state| &state.route.listen);
            addresses.any(|other| other == address)
        };
        self.bound = bound;
        self.bound.retain(|address, _| listens(address));
        self.service = Some(service);
        self.check_expiry();
        Ok(())
    }

    fn prepare(&self, service: &Arc<Service>) -> Result<Bound> {
        let mut bound = self.bound.clone();
        for state in &service.routes {
            for address in &state.route.listen {
                if !bound.contains_key(address) {
                    check_free(address)
                        .map_err(|error| error.at(format_args!("route {:?}", state.route.name)))?;
                }
            }
        }
        for mailbox in &self.mailboxes {
            let (reply, answer) = bounded(1);
            mailbox.send(Message::Prepare {
                service: service.clone(),
                bound,
                reply,
            });
            bound = answer.recv().map_err(|_| ended_early())??;
        }
        Ok(bound)
    }

    fn tell(&self, message: impl Fn() -> Message) {
        for mailbox in &self.mailboxes {
            mailbox.send(message());
        }
    }

    fn announce(&self) {
        if let Some(reason) = &self.fallback_reason {
            tracing::warn!(reason = escape(reason), "io_uring is not used, epoll is");
        }
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            backend = self.backend,
            aes = %machine::aes_kind(),
            workers = self.mailboxes.len(),
            connections_max = self.service.as_ref().map_or(0, |it| it.bounds.connections_max),
            "ready"
        );
    }

    fn serve(
        &mut self,
        load: &dyn Fn() -> Result<Arc<Plan>>,
        inbox: &Receiver<Notice>,
        log: &mut Log,
    ) -> Result<()> {
        while self.running > 0 {
            match inbox.recv_timeout(self.wait_max()) {
                Ok(Notice::Signal(SIGHUP)) => self.reload("SIGHUP", load),
                Ok(Notice::Signal(_)) => self.end(),
                Ok(Notice::Ended(outcome)) => self.ended(outcome)?,
                Ok(Notice::Started(_)) | Err(_) => {}
            }
            log.report_dropped();
            self.reread_changed_files();
            if Instant::now() >= self.next_expiry_check {
                self.check_expiry();
            }
            self.end_overdue_drain();
            self.show();
        }
        Ok(())
    }

    fn start_metrics(&mut self) -> Result<()> {
        let Some(service) = &self.service else {
            return Ok(());
        };
        let Some(settings) = &service.plan.settings.metrics else {
            return Ok(());
        };
        let info = Info {
            backend: self.backend.clone(),
            fallback_reason: self.fallback_reason.clone(),
            started_s: machine::wall_s(),
        };
        let ports = self.mailboxes.iter().cloned().zip(&self.threads);
        let ports = ports.map(|(mailbox, &thread)| WorkerPort { mailbox, thread });
        let (gauges, shown) = (self.gauges.clone(), self.shown(service.clone()));
        let status = Arc::new(Status::new(info, gauges, ports.collect(), shown));
        metrics::start(settings, status.clone())?;
        self.status = Some(status);
        Ok(())
    }

    /// Has the present state shown to whoever asks.
    fn show(&self) {
        if let (Some(status), Some(service)) = (&self.status, &self.service) {
            status.show(self.shown(service.clone()));
        }
    }

    fn shown(&self, service: Arc<Service>) -> Shown {
        Shown {
            service,
            reloads: self.reloads.clone(),
            is_draining: self.drain != Drain::Not,
        }
    }

    fn wait_max(&self) -> Duration {
        match self.drain {
            Drain::Until(Some(at)) => at.saturating_duration_since(Instant::now()).min(TICK),
            _ => TICK,
        }
    }

    /// Takes up files that were replaced, unless the gateway is about to end.
    fn reread_changed_files(&mut self) {
        if self.drain != Drain::Not || !self.watch.is_due(Instant::now()) {
            return;
        }
        if let Some(service) = self.service.clone() {
            self.reload("files", &|| config::reread(&service.plan));
        }
    }

    fn reload(&mut self, trigger: &str, load: &dyn Fn() -> Result<Arc<Plan>>) {
        if self.drain != Drain::Not {
            let reason = "the gateway is draining";
            return tracing::warn!(trigger, reason, "reload failed");
        }
        let before = self.service.clone();
        match load().and_then(|plan| self.put_into_service(plan)) {
            Ok(()) => {
                let mut routes_changed = 0;
                if let (Some(before), Some(after)) = (before, &self.service) {
                    warn_of_restart(&before.plan, &after.plan);
                    routes_changed = after.changes_since(&before);
                }
                self.reloads.note(trigger, None);
                tracing::info!(trigger, routes_changed, "reloaded");
            }
            Err(error) => {
                self.reloads.note(trigger, Some(error.to_string()));
                let class = error.kind().class();
                let count = self.reloads.failed;
                tracing::error!(%class, trigger, reason = escape(&error), count, "reload failed");
            }
        }
    }

    fn check_expiry(&mut self) {
        if let Some(service) = &self.service {
            let now_s = machine::wall_s();
            expiry::warn(&service.plan, now_s);
            self.next_expiry_check = Instant::now() + expiry::next_check(&service.plan, now_s);
        }
    }

    /// Answers SIGTERM and SIGINT: the first one drains, the second one ends.
    fn end(&mut self) {
        if self.drain != Drain::Not {
            tracing::warn!(sessions = self.gauges.open.taken(), "ending at once");
            return self.stop();
        }
        let settings = self.service.as_ref().map(|service| &service.plan.settings);
        let timeout = settings.and_then(|settings| settings.drain_timeout);
        self.drain = Drain::Until(timeout.map(|timeout| Instant::now() + timeout));
        let timeout_s = timeout.map_or(0, |timeout| timeout.as_secs());
        tracing::info!(sessions = self.gauges.open.taken(), timeout_s, "draining");
        self.tell(|| Message::Drain);
    }

    fn end_overdue_drain(&mut self) {
        if let Drain::Until(Some(at)) = self.drain
            && Instant::now() >= at
            && self.running > 0
        {
            tracing::warn!(sessions = self.gauges.open.taken(), "drain timed out");
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.drain = Drain::Stopping;
        self.tell(|| Message::Stop);
    }

    fn ended(&mut self, outcome: Result<Counters>) -> Result<()> {
        self.running -= 1;
        let counters = outcome?;
        add(&mut self.counters, &counters);
        match self.drain {
            Drain::Not => Err(ended_early()),
            Drain::Until(_) | Drain::Stopping => Ok(()),
        }
    }

    /// The figures of the whole run.
    fn report(&self) {
        for state in self.service.iter().flat_map(|service| &service.routes) {
            let totals = state.counters.totals();
            tracing::info!(
                route = &*state.route.name,
                connections = totals.connections,
                to_server_bytes = totals.to_server_bytes,
                to_client_bytes = totals.to_client_bytes,
                failures = totals.failures.to_string(),
                "route totals"
            );
        }
        let Counters { backend, .. } = &self.counters;
        let records = self.counters.relayed_records;
        let enters_per_record = backend.enters as f64 / records.max(1) as f64;
        let enters_per_record = (enters_per_record * 1e3).round() / 1e3;
        tracing::info!(
            enters = backend.enters,
            syscalls = backend.syscalls,
            recvs = backend.recvs,
            sends = backend.sends,
            recv_bytes = backend.recv_bytes,
            sent_bytes = backend.sent_bytes,
            cycles = self.counters.cycles,
            relayed_records = records,
            relayed_bytes = self.counters.relayed_bytes,
            enters_per_record,
            "engine totals"
        );
        let Reloads { good, failed, .. } = self.reloads;
        tracing::info!(good, failed, "reload totals");
        tracing::info!("stopped");
    }
}

/// Tells the supervisor how a worker ended, a panic included.
struct Farewell {
    notices: Sender<Notice>,
    outcome: Option<Result<Counters>>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let panicked = || Err(Error::new(ErrorKind::Internal, "a worker thread panicked"));
        let outcome = self.outcome.take().unwrap_or_else(panicked);
        // Nobody listens once the supervisor has ended.
        let _ = self.notices.send(Notice::Ended(outcome));
    }
}

fn work(
    index: usize,
    options: &EngineOptions,
    resolver: Resolver,
    gauges: Gauges,
    mut farewell: Farewell,
) {
    let outcome = Engine::new(options).and_then(|engine| {
        let backend = engine.describe();
        let fallback_reason = engine.fallback_reason().map(str::to_owned);
        let (mut worker, mailbox) = Worker::new(index, engine, resolver, gauges);
        let started = Notice::Started(Started {
            worker: index,
            mailbox,
            thread: machine::this_thread(),
            backend,
            fallback_reason,
        });
        // Where the supervisor has given up there is nothing to serve, and no message will come.
        match farewell.notices.send(started) {
            Ok(()) => worker.run(),
            Err(_) => Ok(Counters::default()),
        }
    });
    farewell.outcome = Some(outcome);
}

fn watch_signals(notices: Sender<Notice>) -> Result<()> {
    let failed = |error| Error::io("watch signals", &error);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let watch = move || {
        for signal in signals.forever() {
            if notices.send(Notice::Signal(signal)).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("signals".into()).spawn(watch);
    thread.map(drop).map_err(failed)
}

/// An error where somebody else listens on `address`. The workers share their ports (SO_REUSEPORT),
/// and so could a second gateway that was started by mistake.
fn check_free(address: &Address) -> Result<()> {
    let Address::Ip(ip) = address else {
        return Ok(());
    };
    let bind = || {
        let socket = Socket::new(Domain::for_address(*ip), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&(*ip).into())
    };
    bind().map_err(|error| Error::io(format_args!("listen on {ip}"), &error))
}

fn warn_of_dangers(plan: &Plan) {
    let metrics = plan.settings.metrics.as_ref();
    if let Some(danger) = metrics.and_then(MetricsSettings::danger) {
        tracing::warn!(danger, "danger");
    }
    for route in &plan.routes {
        for danger in route.dangers() {
            tracing::warn!(route = &*route.name, danger, "danger");
        }
    }
}

fn warn_of_restart(before: &Plan, after: &Plan) {
    if before.settings.workers != after.settings.workers {
        tracing::warn!(key = "workers", "takes effect at the next start");
    }
    if before.settings.metrics != after.settings.metrics {
        tracing::warn!(key = "metrics", "takes effect at the next start");
    }
    if before.settings.backend != after.settings.backend {
        tracing::warn!(key = "backend", "takes effect at the next start");
    }
}

fn add(sum: &mut Counters, part: &Counters) {
    sum.backend.enters += part.backend.enters;
    sum.backend.syscalls += part.backend.syscalls;
    sum.backend.recvs += part.backend.recvs;
    sum.backend.sends += part.backend.sends;
    sum.backend.recv_bytes += part.backend.recv_bytes;
    sum.backend.sent_bytes += part.backend.sent_bytes;
    sum.backend.starved += part.backend.starved;
    sum.cycles += part.cycles;
    sum.events += part.events;
    sum.relayed_records += part.relayed_records;
    sum.relayed_bytes += part.relayed_bytes;
}

fn next(inbox: &Receiver<Notice>) -> Result<Notice> {
    inbox.recv().map_err(|_| ended_early())
}

fn ended_early() -> Error {
    Error::new(ErrorKind::Internal, "a worker thread ended unasked")
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Io, "interrupted by a signal before it was ready")
}

/// How often lost log lines are looked for.
const TICK: Duration = Duration::from_secs(1);
