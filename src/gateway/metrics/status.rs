use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::gateway::counters::Gauges;
use crate::gateway::machine::{self, ThreadId};
use crate::gateway::service::Service;
use crate::gateway::sessions::Live;
use crate::gateway::worker::{Mailbox, Message};

/// What there is to be shown of a running gateway, between the supervisor, which says it, and the
/// thread that shows it.
pub(in crate::gateway) struct Status {
    pub(in crate::gateway) info: Info,
    pub(in crate::gateway) gauges: Gauges,
    /// In the order of their numbers.
    pub(in crate::gateway) workers: Vec<WorkerPort>,
    shown: Mutex<Shown>,
}

/// What does not change while it runs.
pub(in crate::gateway) struct Info {
    /// The back end, and what it switched on or off.
    pub(in crate::gateway) backend: String,
    /// Why it is not io_uring, where that was tried.
    pub(in crate::gateway) fallback_reason: Option<String>,
    /// Seconds since 1970-01-01 UTC.
    pub(in crate::gateway) started_s: u64,
}

/// A worker, from outside.
pub(in crate::gateway) struct WorkerPort {
    pub(in crate::gateway) mailbox: Mailbox,
    pub(in crate::gateway) thread: ThreadId,
}

/// What changes.
#[derive(Clone)]
pub(in crate::gateway) struct Shown {
    pub(in crate::gateway) service: Arc<Service>,
    pub(in crate::gateway) reloads: Reloads,
    pub(in crate::gateway) is_draining: bool,
}

/// How many reloads there were, whatever brought them about, and how the last one ended.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Reloads {
    pub(in crate::gateway) good: u64,
    pub(in crate::gateway) failed: u64,
    pub(in crate::gateway) last: Option<LastReload>,
    /// When the configuration in service was put there.
    pub(in crate::gateway) last_good_s: u64,
}

#[derive(Clone, Debug)]
pub(in crate::gateway) struct LastReload {
    pub(in crate::gateway) at_s: u64,
    pub(in crate::gateway) trigger: String,
    /// Why it failed, where it did.
    pub(in crate::gateway) error: Option<String>,
}

impl Reloads {
    /// The start of a gateway, which is no reload.
    pub(in crate::gateway) fn started() -> Self {
        Self {
            last_good_s: machine::wall_s(),
            ..Self::default()
        }
    }

    /// Takes note of one that has just ended.
    pub(in crate::gateway) fn note(&mut self, trigger: &str, error: Option<String>) {
        let at_s = machine::wall_s();
        match error {
            None => {
                self.good += 1;
                self.last_good_s = at_s;
            }
            Some(_) => self.failed += 1,
        }
        self.last = Some(LastReload {
            at_s,
            trigger: trigger.to_owned(),
            error,
        });
    }

    /// False from a failed reload on up to a good one.
    pub(super) fn is_last_good(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.error.is_none())
    }
}

impl Status {
    pub(in crate::gateway) fn new(
        info: Info,
        gauges: Gauges,
        workers: Vec<WorkerPort>,
        shown: Shown,
    ) -> Self {
        Self {
            info,
            gauges,
            workers,
            shown: Mutex::new(shown),
        }
    }

    pub(in crate::gateway) fn show(&self, shown: Shown) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    pub(super) fn shown(&self) -> Shown {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// The time that each worker was busy since its start, as far as the kernel tells.
    pub(super) fn busy(&self) -> Vec<Option<Duration>> {
        let times = self.workers.iter();
        times.map(|it| machine::thread_busy(it.thread)).collect()
    }

    /// The newest sessions of all workers, `max` of them at most. One that does not answer in time
    /// has `None`.
    pub(super) fn look(&self, max: usize) -> Vec<Option<Live>> {
        let ask = |worker: &WorkerPort| {
            let (reply, answer) = bounded(1);
            worker.mailbox.send(Message::Look { max, reply });
            answer
        };
        let answers: Vec<_> = self.workers.iter().map(ask).collect();
        let answers = answers.into_iter();
        answers
            .map(|it| it.recv_timeout(LOOK_TIMEOUT).ok())
            .collect()
    }
}

/// For a worker to answer; one in order does within its cycle, which is milliseconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
