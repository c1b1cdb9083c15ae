//! What happens when its time has come.

use std::io;

use super::link::{Input, Links, Room};
use super::world::{Entry, Receiving, Role, Task, World};
use crate::buf::Buf;
use crate::engine::address::{Address, PeerAddress};
use crate::engine::backend::{Completion, SocketKey};
use crate::engine::lease::Lease;

impl World {
    pub(super) fn run(&mut self, entry: Entry) {
        let socket = self.sockets.get_mut(entry.key.0 as usize);
        let Some(socket) = socket.filter(|socket| socket.made == entry.made) else {
            return;
        };
        if socket.is_closing && !matches!(entry.task, Task::Send | Task::Shutdown | Task::Close) {
            return;
        }
        self.steps += 1;
        let key = entry.key;
        match entry.task {
            Task::Accept => self.run_accept(key),
            Task::AcceptStop => self.run_accept_stop(key),
            Task::Connect => self.run_connect(key),
            Task::Recv => self.run_recv(key),
            Task::RecvStop => self.run_recv_stop(key),
            Task::Send => self.run_send(key),
            Task::Shutdown => {
                if let Role::Stream(end) = self.sockets[key.0 as usize].role {
                    self.end_stream(end);
                }
            }
            Task::Close => self.run_close(key),
        }
    }

    fn run_accept(&mut self, key: SocketKey) {
        let faults = self.options.faults;
        let (no_descriptor, is_broken) = (
            self.is_exhausted() || self.rng.chance(faults.accept_exhausted),
            self.rng.chance(faults.accept_broken),
        );
        let listener = self.listener_mut(key);
        listener.is_due = false;
        if !listener.is_armed || listener.queue.is_empty() {
            return;
        }
        if no_descriptor {
            listener.is_armed = false;
            return self.fail_accept(key, libc::EMFILE);
        }
        let Some(end) = listener.queue.pop_front() else {
            return;
        };
        if is_broken {
            listener.is_armed = false;
            self.break_end(end);
            self.close_end(end);
            return self.fail_accept(key, libc::ECONNABORTED);
        }
        self.complete_accept(key, end);
        self.wake_accept(key);
    }

    fn run_accept_stop(&mut self, key: SocketKey) {
        self.listener_mut(key).is_armed = false;
        while !self.listener_mut(key).queue.is_empty() {
            if self.is_exhausted() {
                self.fail_accept(key, libc::EMFILE);
                break;
            }
            if let Some(end) = self.listener_mut(key).queue.pop_front() {
                self.complete_accept(key, end);
            }
        }
        self.completions
            .push(Completion::AcceptStopped { listener: key });
    }

    fn run_connect(&mut self, key: SocketKey) {
        let Role::Connecting(address) = &self.sockets[key.0 as usize].role else {
            return;
        };
        let address = address.clone();
        let is_refused = self.rng.chance(self.options.faults.refused);
        let listener = self.reached(&address).filter(|_| !is_refused);
        let scripted = self
            .scripted
            .get_mut(&address.to_string())
            .filter(|_| !is_refused);
        let result = if listener.is_none() && scripted.is_none() {
            Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
        } else {
            let (near, far) = self.links.connect(&address);
            if let Some(queue) = scripted {
                queue.push_back(far);
            } else if let Some(listener) = listener {
                self.listener_mut(listener).queue.push_back(far);
                self.wake_accept(listener);
            }
            self.links.end_mut(near).socket = Some(key);
            let socket = &mut self.sockets[key.0 as usize];
            socket.role = Role::Stream(near);
            socket.local = Some(Address::Ip(Links::source(near)));
            Ok(())
        };
        self.completions.push(Completion::Connected { key, result });
    }

    /// Takes as much as there is, and as there are buffers for.
    fn run_recv(&mut self, key: SocketKey) {
        self.sockets[key.0 as usize].is_recv_due = false;
        while self.recv_one(key) {
            if self.rng.chance(self.options.faults.recv_pause) {
                return self.wake_recv(key);
            }
        }
    }

    /// One receive, and whether it brought bytes and goes on.
    fn recv_one(&mut self, key: SocketKey) -> bool {
        let faults = self.options.faults;
        let is_exhausted = self.leases_len == self.options.recv_buf_count;
        let is_starved = is_exhausted || self.rng.chance(faults.starved);
        let is_short = self.rng.chance(faults.short_recv);
        let is_ended = self.rng.chance(faults.recv_end);
        let is_broken = self.rng.chance(faults.broken);

        let socket = &mut self.sockets[key.0 as usize];
        let (Role::Stream(end), true) = (&socket.role, socket.receiving != Receiving::Off) else {
            return false;
        };
        let end = *end;
        if is_broken {
            self.break_end(end);
        }
        let socket = &mut self.sockets[key.0 as usize];
        match self.links.input(end) {
            Input::Nothing => {}
            Input::Eof => {
                socket.receiving = Receiving::Off;
                self.completions.push(Completion::Eof { key });
            }
            Input::Reset => {
                socket.receiving = Receiving::Off;
                let error = io::Error::from_raw_os_error(libc::ECONNRESET);
                self.completions.push(Completion::RecvFailed { key, error });
            }
            // A receive that was told to stop ends by that alone.
            Input::Bytes(_) if is_starved && socket.receiving == Receiving::Stopping => {}
            Input::Bytes(_) if is_starved => {
                socket.receiving = Receiving::Off;
                self.counters.starved += 1;
                self.completions.push(Completion::RecvStarved { key });
            }
            Input::Bytes(len) => {
                let mut len = len.min(self.options.recv_buf_len);
                if is_short {
                    len = 1 + self.rng.below(len as u64) as usize;
                }
                let more = !is_ended || socket.receiving == Receiving::Stopping;
                if !more {
                    socket.receiving = Receiving::Off;
                }
                self.complete_recv(key, end, len, more);
                return more;
            }
        }
        false
    }

    fn run_recv_stop(&mut self, key: SocketKey) {
        let socket = &mut self.sockets[key.0 as usize];
        if socket.receiving == Receiving::Stopping {
            socket.receiving = Receiving::Off;
            self.completions.push(Completion::RecvStopped { key });
        }
    }

    fn run_send(&mut self, key: SocketKey) {
        let is_short = self.rng.chance(self.options.faults.short_send);
        let is_broken = self.rng.chance(self.options.faults.broken);
        let socket = &mut self.sockets[key.0 as usize];
        socket.is_send_due = false;
        let (Role::Stream(end), Some(buf)) = (&socket.role, socket.sending.take()) else {
            return;
        };
        let end = *end;
        if is_broken {
            self.break_end(end);
        }
        let errno = match self.links.room(end) {
            Room::Bytes(0) => {
                self.sockets[key.0 as usize].sending = Some(buf);
                return;
            }
            Room::Bytes(room) => {
                let mut len = room.min(buf.len());
                if is_short {
                    len = 1 + self.rng.below(len as u64) as usize;
                }
                self.links.write(end, &buf.filled()[..len]);
                self.wake_other_recv(end);
                return self.complete_send(key, buf, Ok(len));
            }
            Room::Reset => libc::ECONNRESET,
            Room::Gone => {
                self.links.reset(end, false);
                self.wake_recv(key);
                libc::EPIPE
            }
        };
        self.complete_send(key, buf, Err(io::Error::from_raw_os_error(errno)));
    }

    fn run_close(&mut self, key: SocketKey) {
        if let Some(buf) = self.sockets[key.0 as usize].sending.take() {
            let error = io::Error::from_raw_os_error(libc::ECANCELED);
            self.complete_send(key, buf, Err(error));
        }
        match self.sockets.remove(key.0 as usize).role {
            Role::Connecting(_) => {}
            Role::Stream(end) => self.close_end(end),
            Role::Listener(listener) => {
                for end in listener.queue {
                    self.reset_other(end);
                    self.close_end(end);
                }
            }
        }
        self.completions.push(Completion::Closed { key });
    }

    fn complete_accept(&mut self, listener: SocketKey, end: usize) {
        let key = self.insert(Role::Stream(end));
        let accepted = self.links.end_mut(end);
        accepted.socket = Some(key);
        let source = Links::source(accepted.other);
        self.sockets[key.0 as usize].local = accepted.meant_for.clone();
        self.completions.push(Completion::Accepted {
            listener,
            key,
            peer: PeerAddress::Ip(source),
        });
    }

    fn fail_accept(&mut self, listener: SocketKey, errno: i32) {
        let error = io::Error::from_raw_os_error(errno);
        self.completions
            .push(Completion::AcceptFailed { listener, error });
    }

    fn complete_recv(&mut self, key: SocketKey, end: usize, len: usize, more: bool) {
        let mut buf = self.bufs.take();
        self.links.read(end, len, |part| {
            buf.append(part);
        });
        self.wake_other_send(end);
        self.leases_len += 1;
        self.counters.recvs += 1;
        self.counters.recv_bytes += len as u64;
        let lease = Lease::from_buf(buf);
        self.completions
            .push(Completion::Received { key, lease, more });
    }

    fn complete_send(&mut self, key: SocketKey, buf: Buf, result: io::Result<usize>) {
        self.counters.sends += 1;
        self.counters.sent_bytes += *result.as_ref().unwrap_or(&0) as u64;
        self.completions.push(Completion::Sent { key, buf, result });
    }

    /// Breaks a connection for both of its ends.
    fn break_end(&mut self, end: usize) {
        let other = self.links.end(end).other;
        self.reset_other(end);
        self.reset_other(other);
    }
}
