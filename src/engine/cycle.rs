//! One cycle of the loop, and what completions mean.

use std::io;
use std::time::Duration;

use super::address::{Address, PeerAddress};
use super::backend::{Completion, SocketKey};
use super::driver::{Engine, Owner};
use super::events::Event;
use super::listener::{ListenerState, is_exhaustion};
use super::slot::Slot;
use crate::error::{Error, Result};
use crate::limits;

impl Engine {
    pub(super) fn cycle(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        events.clear();
        let is_due = self.flush();
        self.reap();
        let timeout = if is_due {
            Some(Duration::ZERO)
        } else {
            self.shorten(timeout)
        };
        let mut completions = std::mem::take(&mut self.completions);
        let result = self.io.backend.wait(timeout, &mut completions);
        self.io.now = self.io.backend.now();
        for completion in completions.drain(..) {
            self.complete(completion, events);
        }
        self.completions = completions;
        self.expire();
        for &index in &self.dirty {
            self.slots[index as usize].advance(&mut self.io, events);
        }
        self.counters.cycles += 1;
        self.counters.events += events.len() as u64;
        result.map_err(|error| Error::io("wait for the back end", &error))
    }

    /// Visits every connection that was touched, and says whether one has something to report at
    /// once. Those stay on the list.
    fn flush(&mut self) -> bool {
        let Self {
            dirty,
            starved,
            slots,
            io,
            timers,
            ..
        } = self;
        // Back ends serve in the order of arming: who had a buffer comes behind who had none.
        for index in starved.drain(..) {
            slots[index as usize].flush(io);
        }
        dirty.retain(|&index| {
            let slot = &mut slots[index as usize];
            slot.flush(io);
            if let Some(at) = slot.next_deadline() {
                timers.schedule(index, at);
            }
            slot.is_dirty = slot.is_due();
            slot.is_dirty
        });
        !dirty.is_empty()
    }

    /// Frees the slots whose end the application has seen.
    fn reap(&mut self) {
        for index in self.dead.drain(..) {
            self.slots.remove(index as usize);
            self.timers.remove(index);
        }
    }

    /// The time to wait: no longer than up to the next deadline.
    pub(super) fn shorten(&self, timeout: Option<Duration>) -> Option<Duration> {
        let deadline = self
            .timers
            .next()
            .into_iter()
            .chain(self.accept_retry_at)
            .min();
        let Some(deadline) = deadline else {
            return timeout;
        };
        let left = deadline.since(self.io.backend.now().monotonic);
        Some(timeout.map_or(left, |timeout| timeout.min(left)))
    }

    fn expire(&mut self) {
        let now = self.io.now.monotonic;
        while let Some(index) = self.timers.pop_due(now) {
            self.slots[index as usize].handle_timeout(&mut self.io);
            self.touch(index);
        }
        if self.accept_retry_at.is_some_and(|at| at <= now) {
            self.retry_accept();
        }
    }

    fn complete(&mut self, completion: Completion, events: &mut Vec<Event>) {
        match completion {
            Completion::Received { key, lease, more } => match self.conn_of(key) {
                Some(index) => {
                    self.slots[index as usize].handle_received(lease, more, &mut self.io);
                    self.touch(index);
                }
                None => self.io.backend.recycle(lease),
            },
            Completion::Sent { key, buf, result } => match self.conn_of(key) {
                Some(index) => {
                    self.slots[index as usize].handle_sent(buf, result, &mut self.io);
                    self.touch(index);
                }
                None => self.io.pools.send.give(buf),
            },
            Completion::Eof { key } => self.update(key, |slot, _| slot.handle_eof()),
            Completion::RecvStarved { key } => {
                if let Some(index) = self.conn_of(key)
                    && self.slots[index as usize].has_no_input()
                {
                    self.starved.push(index);
                }
                self.update(key, |slot, _| slot.handle_recv_stopped());
            }
            Completion::RecvStopped { key } => {
                self.update(key, |slot, _| slot.handle_recv_stopped());
            }
            Completion::RecvFailed { key, error } => {
                self.update(key, |slot, engine| slot.handle_recv_failed(&error, engine));
            }
            Completion::Connected { key, result } => {
                self.update(key, |slot, engine| slot.handle_connected(result, engine));
            }
            Completion::Accepted {
                listener,
                key,
                peer,
            } => self.handle_accepted(listener, key, peer, events),
            Completion::AcceptFailed { listener, error } => {
                self.handle_accept_failed(listener, &error, events);
            }
            Completion::AcceptStopped { listener } => self.io.backend.close(listener),
            Completion::Closed { key } => self.handle_closed(key, events),
            Completion::Woken => events.push(Event::Woken),
        }
    }

    fn handle_accepted(
        &mut self,
        listener: SocketKey,
        key: SocketKey,
        peer: PeerAddress,
        events: &mut Vec<Event>,
    ) {
        let Some(index) = self.listener_of(listener) else {
            return self.io.backend.close(key);
        };
        let listener = &mut self.listeners[index as usize];
        let (listener_id, is_redirected) = (listener.id, listener.is_redirected);
        if listener.state == ListenerState::Retrying {
            listener.state = ListenerState::Accepting;
            events.push(Event::AcceptResumed {
                listener: listener_id,
            });
        }
        let asked = is_redirected.then(|| self.io.backend.local_address(key));
        let redirected_from = match asked {
            Some(Ok(Address::Ip(address))) => Some(address),
            _ => None,
        };
        let slot = self.insert(key, peer);
        slot.redirected_from = redirected_from;
        events.push(Event::Accepted {
            listener: listener_id,
            id: slot.id,
            peer,
        });
    }

    fn handle_accept_failed(
        &mut self,
        listener: SocketKey,
        error: &io::Error,
        events: &mut Vec<Event>,
    ) {
        let Some(index) = self.listener_of(listener) else {
            return;
        };
        let listener = &mut self.listeners[index as usize];
        if listener.state == ListenerState::Stopping {
            return;
        }
        if !is_exhaustion(error) {
            return self.io.backend.accept(listener.key);
        }
        if listener.state == ListenerState::Accepting {
            events.push(Event::AcceptPaused {
                listener: listener.id,
                error: Error::io("accept", error),
            });
        }
        listener.state = ListenerState::Paused;
        let wait = Duration::from_millis(limits::ACCEPT_RETRY_MS);
        self.accept_retry_at = Some(self.io.now.monotonic.after(wait));
    }

    fn retry_accept(&mut self) {
        if self.accept_retry_at.take().is_none() {
            return;
        }
        for (_, listener) in &mut self.listeners {
            if listener.state == ListenerState::Paused {
                listener.state = ListenerState::Retrying;
                self.io.backend.accept(listener.key);
            }
        }
    }

    fn handle_closed(&mut self, key: SocketKey, events: &mut Vec<Event>) {
        let Some(owner) = self.owners.get_mut(key.0 as usize) else {
            return;
        };
        match std::mem::replace(owner, Owner::None) {
            Owner::Conn(index) => {
                self.slots[index as usize].handle_closed(&mut self.io, events);
                self.dead.push(index);
                self.retry_accept();
            }
            Owner::Listener(index) => {
                let listener = self.listeners.remove(index as usize).id;
                events.push(Event::Unlistened { listener });
            }
            Owner::None => {}
        }
    }

    fn update(&mut self, key: SocketKey, change: impl FnOnce(&mut Slot, &mut super::io::Io)) {
        if let Some(index) = self.conn_of(key) {
            change(&mut self.slots[index as usize], &mut self.io);
            self.touch(index);
        }
    }

    fn conn_of(&self, key: SocketKey) -> Option<u32> {
        match self.owners.get(key.0 as usize) {
            Some(Owner::Conn(index)) => Some(*index),
            _ => None,
        }
    }

    fn listener_of(&self, key: SocketKey) -> Option<u32> {
        match self.owners.get(key.0 as usize) {
            Some(Owner::Listener(index)) => Some(*index),
            _ => None,
        }
    }
}
