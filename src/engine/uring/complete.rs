use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;
use socket2::SockRef;

use super::{FileRef, Multishot, UringBackend, op};
use crate::engine::backend::{Backend, Completion, SocketKey};
use crate::engine::lease::Lease;
use crate::engine::socket;

impl UringBackend {
    /// Translates one completion of the ring.
    pub(super) fn complete(&mut self, cqe: &cqueue::Entry, completions: &mut Vec<Completion>) {
        let key = SocketKey(cqe.user_data() as u32);
        let more = cqueue::more(cqe.flags());
        match cqe.user_data() >> 32 {
            op::RECV => self.on_recv(key, cqe, more, completions),
            op::SEND => self.on_send(key, cqe.result(), completions),
            op::ACCEPT => self.on_accept(key, cqe.result(), more, completions),
            op::CONNECT => self.on_connect(key, cqe.result(), completions),
            op::WAKE => return self.on_wake(more, completions),
            // The end of a cancellation, a close or a shutdown says nothing that is not known or
            // would help.
            _ => {}
        }
        if !more {
            self.settle(key, completions);
        }
    }

    /// Counts the end of an operation, which may be the end of its socket.
    fn settle(&mut self, key: SocketKey, completions: &mut Vec<Completion>) {
        let socket = self.socket_mut(key);
        socket.in_flight -= 1;
        if socket.is_closing && socket.in_flight == 0 {
            let socket = self.sockets.remove(key.0 as usize);
            let is_descriptor = matches!(socket.file, FileRef::Descriptor(_));
            self.counters.syscalls += u64::from(is_descriptor);
            completions.push(Completion::Closed { key });
        }
    }

    fn on_recv(
        &mut self,
        key: SocketKey,
        cqe: &cqueue::Entry,
        more: bool,
        completions: &mut Vec<Completion>,
    ) {
        let result = cqe.result();
        let len = usize::try_from(result).unwrap_or(0);
        let buf = cqueue::buffer_select(cqe.flags()).map(|id| self.bufs.take(id, len));
        let socket = self.socket_mut(key);
        let is_stopping = socket.multishot == Multishot::Stopping;
        if !more {
            socket.multishot = Multishot::Idle;
        }
        let is_wanted = !socket.is_closing;
        if let Some(buf) = buf {
            if len == 0 || !is_wanted {
                self.bufs.recycle(&buf);
            } else {
                self.counters.recvs += 1;
                self.counters.recv_bytes += len as u64;
                completions.push(Completion::Received {
                    key,
                    lease: Lease::from_ring(buf),
                    more: more || is_stopping,
                });
            }
        }
        if !more && is_wanted {
            completions.extend(self.recv_end(key, result, is_stopping));
        }
    }

    /// The end notice of a receive, where the last bytes were not it.
    fn recv_end(&mut self, key: SocketKey, result: i32, is_stopping: bool) -> Option<Completion> {
        let is_starved = result == -libc::ENOBUFS;
        self.counters.starved += u64::from(is_starved);
        match result {
            0 => Some(Completion::Eof { key }),
            _ if is_stopping && (result > 0 || is_starved || result == -libc::ECANCELED) => {
                Some(Completion::RecvStopped { key })
            }
            1.. => None,
            _ if is_starved => Some(Completion::RecvStarved { key }),
            _ => Some(Completion::RecvFailed {
                key,
                error: io::Error::from_raw_os_error(-result),
            }),
        }
    }

    fn on_send(&mut self, key: SocketKey, result: i32, completions: &mut Vec<Completion>) {
        let Some(buf) = self.socket_mut(key).send.take() else {
            return;
        };
        let result = to_result(result).map(|len| len as usize);
        self.counters.sends += 1;
        self.counters.sent_bytes += *result.as_ref().unwrap_or(&0) as u64;
        completions.push(Completion::Sent { key, buf, result });
    }

    fn on_connect(&mut self, key: SocketKey, result: i32, completions: &mut Vec<Completion>) {
        let result = to_result(result).map(drop);
        let socket = &mut self.sockets[key.0 as usize];
        socket.connect_to = None;
        if !socket.is_closing {
            if let (Ok(()), FileRef::Descriptor(fd)) = (&result, &socket.file) {
                self.counters.syscalls += 1;
                socket.local = socket::own_address(&SockRef::from(fd));
            }
            completions.push(Completion::Connected { key, result });
        }
    }

    fn on_accept(
        &mut self,
        listener: SocketKey,
        result: i32,
        more: bool,
        completions: &mut Vec<Completion>,
    ) {
        let accepted = to_result(result).map(|fd| {
            // SAFETY: the kernel made the descriptor for this completion; it is no one else's.
            unsafe { OwnedFd::from_raw_fd(fd as i32) }
        });
        let socket = self.socket_mut(listener);
        if socket.is_closing {
            return;
        }
        let was = socket.multishot;
        if !more {
            socket.multishot = Multishot::Idle;
        }
        let error = match accepted {
            Ok(fd) => {
                self.report_accepted(listener, fd, completions);
                None
            }
            Err(error) => Some(error),
        };
        match (was, error) {
            _ if more => {}
            (Multishot::Stopping, _) => self.empty_queue(listener, completions),
            (_, Some(error)) => completions.push(Completion::AcceptFailed { listener, error }),
            // The kernel ended the multishot for reasons of its own (a full completion queue).
            (_, None) => self.accept(listener),
        }
    }

    fn report_accepted(
        &mut self,
        listener: SocketKey,
        fd: OwnedFd,
        completions: &mut Vec<Completion>,
    ) {
        self.counters.syscalls += 1;
        // A peer that has reset its connection already has no address: nothing is left to report.
        let Ok(sockaddr) = SockRef::from(&fd).peer_addr() else {
            return;
        };
        completions.push(Completion::Accepted {
            listener,
            key: self.add_accepted(listener, fd),
            peer: socket::peer(&sockaddr),
        });
    }

    fn on_wake(&mut self, more: bool, completions: &mut Vec<Completion>) {
        if !more {
            self.arm_waker();
        }
        if self.waker.take() {
            completions.push(Completion::Woken);
        }
    }
}

fn to_result(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
