//! A back end whose time can be moved on.

use std::cell::Cell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use sealwire::buf::Buf;
use sealwire::engine::backend::{Backend, Completion, Counters, SocketKey};
use sealwire::engine::{Address, Lease, ListenOptions, SocketOptions, Waker};
use sealwire::time::Now;

/// Moves the time of a back end on.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Rc<Cell<Duration>>);

impl Ahead {
    pub(crate) fn set(&self, by: Duration) {
        self.0.set(by);
    }

    /// `backend`, in a time that is ahead.
    pub(crate) fn of(&self, backend: Box<dyn Backend>) -> Box<dyn Backend> {
        Box::new(AheadBackend {
            backend,
            ahead: self.clone(),
        })
    }
}

struct AheadBackend {
    backend: Box<dyn Backend>,
    ahead: Ahead,
}

impl Backend for AheadBackend {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn describe(&self) -> String {
        self.backend.describe()
    }

    fn now(&self) -> Now {
        let now = self.backend.now();
        Now {
            monotonic: now.monotonic.after(self.ahead.0.get()),
            ..now
        }
    }

    fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<SocketKey> {
        self.backend.listen(address, options)
    }

    fn local_address(&self, key: SocketKey) -> io::Result<Address> {
        self.backend.local_address(key)
    }

    fn accept(&mut self, key: SocketKey) {
        self.backend.accept(key);
    }

    fn accept_stop(&mut self, key: SocketKey) {
        self.backend.accept_stop(key);
    }

    fn connect(&mut self, address: &Address, options: &SocketOptions) -> io::Result<SocketKey> {
        self.backend.connect(address, options)
    }

    fn adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> io::Result<SocketKey> {
        self.backend.adopt(fd, options)
    }

    fn recv(&mut self, key: SocketKey) {
        self.backend.recv(key);
    }

    fn recv_stop(&mut self, key: SocketKey) {
        self.backend.recv_stop(key);
    }

    fn send(&mut self, key: SocketKey, buf: Buf) {
        self.backend.send(key, buf);
    }

    fn shutdown(&mut self, key: SocketKey) {
        self.backend.shutdown(key);
    }

    fn reset(&mut self, key: SocketKey) {
        self.backend.reset(key);
    }

    fn close(&mut self, key: SocketKey) {
        self.backend.close(key);
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.backend.wait(timeout, completions)
    }

    fn has_work(&self) -> bool {
        self.backend.has_work()
    }

    fn fd(&self) -> Option<RawFd> {
        self.backend.fd()
    }

    fn recycle(&mut self, lease: Lease) {
        self.backend.recycle(lease);
    }

    fn waker(&self) -> Waker {
        self.backend.waker()
    }

    fn counters(&self) -> Counters {
        self.backend.counters()
    }
}
