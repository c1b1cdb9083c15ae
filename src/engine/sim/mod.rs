//! The back end of tests: a network in memory that does everything a kernel may do, at the worst
//! time.
//!
//! Time is virtual and jumps to the next thing that happens; one seed always gives the same run.
//! What breaks the order stated in [`backend`](super::backend) panics, so that every run is also a
//! test of the caller.

mod link;
mod peer;
mod rng;
mod tasks;
mod world;

use std::cell::RefCell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::address::Address;
use super::backend::{Backend, Completion, Counters, ListenOptions, SocketKey, SocketOptions};
use super::lease::Lease;
use super::waker::Waker;
use crate::buf::Buf;
use crate::time::Now;
use world::World;

pub use peer::SimPeer;
pub use rng::Rng;

/// A simulated network with one back end and any number of scripted peers.
#[derive(Clone)]
pub struct Sim {
    world: Rc<RefCell<World>>,
}

/// What a simulated network is like.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// Length of one receive buffer, in bytes.
    pub recv_buf_len: usize,
    /// Number of receive buffers.
    pub recv_buf_count: usize,
    /// Bytes that one direction of a connection holds between its two ends.
    pub pipe_len: usize,
    /// Sockets that the back end may have open at once.
    pub sockets_max: usize,
}

/// How often what goes wrong, in cases of 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The most by which an operation is late, in steps of [`STEP_NS`]; not a frequency.
    pub late_steps_max: u64,
    /// A send that takes less than it could.
    pub short_send: u32,
    /// A receive that brings less than there is.
    pub short_recv: u32,
    /// A receive that ends by itself.
    pub recv_end: u32,
    /// A receive that lets others go first though there is more.
    pub recv_pause: u32,
    /// A receive that finds no buffer.
    pub starved: u32,
    /// An accept that finds no descriptor.
    pub accept_exhausted: u32,
    /// A connection that breaks before it is accepted.
    pub accept_broken: u32,
    /// A connect that is refused.
    pub refused: u32,
    /// A connect that is never answered.
    pub silent: u32,
    /// A send or receive at which the connection breaks.
    pub broken: u32,
    /// A wait that returns early, with nothing.
    pub spurious: u32,
}

/// The granularity of virtual time, in nanoseconds: coarse, so that completions meet in one batch.
pub const STEP_NS: u64 = 10_000;

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            faults: Faults::default(),
            recv_buf_len: 4_096,
            recv_buf_count: 64,
            pipe_len: 64 * 1024,
            sockets_max: usize::MAX,
        }
    }
}

impl Faults {
    /// Everything that loses nothing: late, short, ended, paused, starved and spurious.
    pub fn harmless() -> Self {
        Self {
            late_steps_max: 20,
            short_send: 200,
            short_recv: 200,
            recv_end: 50,
            recv_pause: 500,
            starved: 30,
            spurious: 20,
            ..Self::default()
        }
    }

    /// The same, and everything that breaks connections.
    pub fn harmful() -> Self {
        Self {
            accept_exhausted: 50,
            accept_broken: 50,
            refused: 20,
            silent: 20,
            broken: 2,
            ..Self::harmless()
        }
    }
}

impl Sim {
    /// An empty network.
    pub fn new(options: SimOptions) -> Self {
        Self {
            world: Rc::new(RefCell::new(World::new(options))),
        }
    }

    /// The back end. There is one: its completions are taken by whoever waits.
    pub fn backend(&self) -> Box<dyn Backend> {
        Box::new(SimBackend {
            world: Rc::clone(&self.world),
            waker: Waker::from_flag(Arc::new(AtomicBool::new(false))),
        })
    }

    /// A scripted peer connected to the listener at `address`; none where nobody listens.
    pub fn connect(&self, address: &Address) -> Option<SimPeer> {
        let end = self.world.borrow_mut().connect_peer(address)?;
        Some(SimPeer::new(Rc::clone(&self.world), end))
    }

    /// Has connections to `from` arrive at the listener at `to`, as a packet filter does; there
    /// they say that they were meant for `from`. Where scripted peers listen at `from`, the back
    /// end's own connections are excepted.
    pub fn redirect(&self, from: &Address, to: &Address) {
        self.world.borrow_mut().redirect(from, to);
    }

    /// Lets the back end connect to `address`, where scripted peers take the other end by
    /// [`Sim::accept`].
    pub fn listen(&self, address: &Address) {
        self.world.borrow_mut().listen_peer(address);
    }

    /// The other end of a connection made to [`Sim::listen`].
    pub fn accept(&self, address: &Address) -> Option<SimPeer> {
        let end = self.world.borrow_mut().accept_peer(address)?;
        Some(SimPeer::new(Rc::clone(&self.world), end))
    }

    /// Operations that were carried out so far.
    pub fn steps(&self) -> u64 {
        self.world.borrow().steps()
    }

    /// Receive buffers that were not given back.
    pub fn leases_len(&self) -> usize {
        self.world.borrow().leases_len()
    }

    /// Sockets of the back end that are open.
    pub fn sockets_len(&self) -> usize {
        self.world.borrow().sockets_len()
    }

    /// Sets how many sockets the back end may have open at once.
    pub fn set_sockets_max(&self, sockets_max: usize) {
        self.world.borrow_mut().set_sockets_max(sockets_max);
    }
}

struct SimBackend {
    world: Rc<RefCell<World>>,
    waker: Waker,
}

impl Backend for SimBackend {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn describe(&self) -> String {
        format!("sim: seed {}", self.world.borrow().seed())
    }

    fn now(&self) -> Now {
        self.world.borrow().now()
    }

    fn listen(&mut self, address: &Address, _options: &ListenOptions) -> io::Result<SocketKey> {
        self.world.borrow_mut().listen(address)
    }

    fn local_address(&self, key: SocketKey) -> io::Result<Address> {
        self.world.borrow().local_address(key)
    }

    fn accept(&mut self, key: SocketKey) {
        self.world.borrow_mut().accept(key);
    }

    fn accept_stop(&mut self, key: SocketKey) {
        self.world.borrow_mut().accept_stop(key);
    }

    fn connect(&mut self, address: &Address, _options: &SocketOptions) -> io::Result<SocketKey> {
        self.world.borrow_mut().connect(address)
    }

    fn adopt(&mut self, _fd: OwnedFd, _options: &SocketOptions) -> io::Result<SocketKey> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn recv(&mut self, key: SocketKey) {
        self.world.borrow_mut().recv(key);
    }

    fn recv_stop(&mut self, key: SocketKey) {
        self.world.borrow_mut().recv_stop(key);
    }

    fn send(&mut self, key: SocketKey, buf: Buf) {
        self.world.borrow_mut().send(key, buf);
    }

    fn shutdown(&mut self, key: SocketKey) {
        self.world.borrow_mut().shutdown(key);
    }

    fn reset(&mut self, key: SocketKey) {
        self.world.borrow_mut().reset(key);
    }

    fn close(&mut self, key: SocketKey) {
        self.world.borrow_mut().close(key);
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        if self.waker.take() {
            completions.push(Completion::Woken);
            return Ok(());
        }
        self.world.borrow_mut().wait(timeout, completions);
        Ok(())
    }

    fn has_work(&self) -> bool {
        true
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn recycle(&mut self, lease: Lease) {
        self.world.borrow_mut().recycle(lease);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn counters(&self) -> Counters {
        self.world.borrow().counters()
    }
}
