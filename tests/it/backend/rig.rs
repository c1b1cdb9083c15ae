//! A back end whose every completion is checked against the contract of the trait.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sealwire::buf::Buf;
use sealwire::engine::backend::{Backend, BackendOptions, Completion, SocketKey};
use sealwire::engine::{Address, Lease, ListenOptions, PeerAddress, SocketOptions};

/// A test that has taken this long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Rig {
    pub(super) backend: Box<dyn Backend>,
    start: Instant,
    seen: VecDeque<Completion>,
    states: HashMap<SocketKey, State>,
}

#[derive(Default)]
struct State {
    is_armed: bool,
    is_stopping: bool,
    is_sending: bool,
    is_closing: bool,
}

impl Rig {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            start: Instant::now(),
            seen: VecDeque::new(),
            states: HashMap::new(),
        }
    }

    /// Waits once and files what came.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) {
        let is_late = self.start.elapsed() > PATIENCE;
        assert!(!is_late, "nothing new beside {:?}", self.seen);
        let mut completions = Vec::new();
        self.backend.wait(timeout, &mut completions).unwrap();
        for completion in completions {
            self.check(&completion);
            self.seen.push_back(completion);
        }
    }

    /// The next completion that `pick` takes; those that it does not take stay for later, in their
    /// order.
    pub(super) fn next<T>(
        &mut self,
        mut pick: impl FnMut(&Completion) -> bool,
        take: impl FnOnce(Completion) -> T,
    ) -> T {
        loop {
            if let Some(at) = self.seen.iter().position(&mut pick) {
                return take(self.seen.remove(at).unwrap());
            }
            self.wait(Some(Duration::from_millis(100)));
        }
    }

    /// The next completion of any kind.
    pub(super) fn any(&mut self) -> Completion {
        self.next(|_| true, |completion| completion)
    }

    /// What is filed and not yet taken.
    pub(super) fn seen(&self) -> &VecDeque<Completion> {
        &self.seen
    }

    pub(super) fn listen(&mut self, address: &Address) -> (SocketKey, Address) {
        let key = self.backend.listen(address, &listen_options()).unwrap();
        self.states.insert(key, State::default());
        (key, self.backend.local_address(key).unwrap())
    }

    pub(super) fn listen_local(&mut self) -> (SocketKey, std::net::SocketAddr) {
        match self.listen(&"127.0.0.1:0".parse().unwrap()) {
            (key, Address::Ip(address)) => (key, address),
            (_, other) => panic!("not an IP address: {other}"),
        }
    }

    pub(super) fn accepted(&mut self) -> (SocketKey, PeerAddress) {
        self.next(
            |completion| matches!(completion, Completion::Accepted { .. }),
            |completion| match completion {
                Completion::Accepted { key, peer, .. } => (key, peer),
                _ => unreachable!(),
            },
        )
    }

    pub(super) fn connect(&mut self, to: &Address) -> SocketKey {
        let key = self.backend.connect(to, &SocketOptions::default()).unwrap();
        self.states.insert(key, State::default());
        key
    }

    pub(super) fn connected(&mut self, key: SocketKey) -> io::Result<()> {
        self.next(
            |completion| matches!(completion, Completion::Connected { key: of, .. } if *of == key),
            |completion| match completion {
                Completion::Connected { result, .. } => result,
                _ => unreachable!(),
            },
        )
    }

    pub(super) fn adopt(&mut self, fd: impl Into<OwnedFd>) -> SocketKey {
        let options = SocketOptions::default();
        let key = self.backend.adopt(fd.into(), &options).unwrap();
        self.states.insert(key, State::default());
        key
    }

    pub(super) fn recv(&mut self, key: SocketKey) {
        let state = self.states.get_mut(&key).unwrap();
        assert!(!state.is_armed, "the test arms twice");
        state.is_armed = true;
        self.backend.recv(key);
    }

    pub(super) fn recv_stop(&mut self, key: SocketKey) {
        self.states.get_mut(&key).unwrap().is_stopping = true;
        self.backend.recv_stop(key);
    }

    pub(super) fn is_armed(&self, key: SocketKey) -> bool {
        self.states[&key].is_armed
    }

    pub(super) fn may_stop(&self, key: SocketKey) -> bool {
        let state = &self.states[&key];
        state.is_armed && !state.is_stopping
    }

    /// The next completion of a receive.
    pub(super) fn received(&mut self, key: SocketKey) -> Completion {
        self.next(
            |completion| recv_key(completion) == Some(key),
            |completion| completion,
        )
    }

    /// Receives `len` bytes, arming as often as needed. The receive stays as it then is.
    pub(super) fn recv_len(&mut self, key: SocketKey, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            if !self.is_armed(key) && !self.seen.iter().any(|of| recv_key(of) == Some(key)) {
                self.recv(key);
            }
            match self.received(key) {
                Completion::Received { lease, .. } => self.keep(&mut bytes, lease),
                Completion::RecvStarved { .. } | Completion::RecvStopped { .. } => {}
                other => panic!("{other:?} after {} of {len} bytes", bytes.len()),
            }
        }
        bytes
    }

    pub(super) fn keep(&mut self, bytes: &mut Vec<u8>, lease: Lease) {
        assert!(!lease.bytes().is_empty(), "an empty lease");
        bytes.extend_from_slice(lease.bytes());
        self.backend.recycle(lease);
    }

    pub(super) fn send(&mut self, key: SocketKey, bytes: &[u8]) {
        let mut buf = Buf::new(bytes.len());
        buf.append(bytes);
        self.send_buf(key, buf);
    }

    pub(super) fn send_buf(&mut self, key: SocketKey, buf: Buf) {
        self.states.get_mut(&key).unwrap().is_sending = true;
        self.backend.send(key, buf);
    }

    pub(super) fn sent(&mut self, key: SocketKey) -> (Buf, io::Result<usize>) {
        self.next(
            |completion| matches!(completion, Completion::Sent { key: of, .. } if *of == key),
            |completion| match completion {
                Completion::Sent { buf, result, .. } => (buf, result),
                _ => unreachable!(),
            },
        )
    }

    pub(super) fn close(&mut self, key: SocketKey) {
        self.states.get_mut(&key).unwrap().is_closing = true;
        self.backend.close(key);
    }

    pub(super) fn closed(&mut self, key: SocketKey) {
        self.next(
            |completion| matches!(completion, Completion::Closed { key: of } if *of == key),
            drop,
        );
    }

    fn check(&mut self, completion: &Completion) {
        if let Completion::Accepted { key, .. } = completion {
            let before = self.states.insert(*key, State::default());
            assert!(
                before.is_none(),
                "the key of an open socket was given again"
            );
        }
        if let Some(key) = recv_key(completion) {
            let state = self.states.get_mut(&key).expect("a key that is open");
            assert!(state.is_armed, "{completion:?} while no receive is armed");
            assert!(!state.is_closing, "{completion:?} after close");
            let more = matches!(completion, Completion::Received { more: true, .. });
            if state.is_stopping {
                let is_allowed = !matches!(
                    completion,
                    Completion::RecvStarved { .. } | Completion::Received { more: false, .. }
                );
                assert!(is_allowed, "{completion:?} after recv_stop");
            }
            if !more {
                state.is_armed = false;
                state.is_stopping = false;
            }
        }
        match completion {
            Completion::Connected { key, .. } => {
                assert!(!self.states[key].is_closing, "{completion:?} after close");
            }
            Completion::Sent { key, .. } => {
                let state = self.states.get_mut(key).expect("a key that is open");
                assert!(state.is_sending, "{completion:?} without a send");
                state.is_sending = false;
            }
            Completion::Closed { key } => {
                let state = self.states.remove(key).expect("a key that is open");
                assert!(
                    state.is_closing && !state.is_sending,
                    "closed unasked, or with its buffer"
                );
            }
            _ => {}
        }
    }
}

pub(super) fn options() -> BackendOptions {
    BackendOptions {
        recv_buf_len: 4096,
        recv_buf_count: 64,
        queue_len: 64,
    }
}

pub(super) fn listen_options() -> ListenOptions {
    ListenOptions {
        backlog: 1024,
        reuse_port: false,
        is_redirected: false,
        socket: SocketOptions::default(),
    }
}

/// `len` bytes of which no two stretches look alike, so that a loss or a swap shows.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    let words = (0_u64..).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(len).collect()
}

fn recv_key(completion: &Completion) -> Option<SocketKey> {
    match completion {
        Completion::Received { key, .. }
        | Completion::Eof { key }
        | Completion::RecvStarved { key }
        | Completion::RecvStopped { key }
        | Completion::RecvFailed { key, .. } => Some(*key),
        _ => None,
    }
}
