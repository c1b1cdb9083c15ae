use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use slab::Slab;

use super::link::{Input, Links, Room};
use super::rng::Rng;
use super::{STEP_NS, SimOptions};
use crate::buf::{Buf, BufPool};
use crate::engine::address::Address;
use crate::engine::backend::{Completion, Counters, SocketKey};
use crate::engine::lease::{Lease, Memory};
use crate::time::{Monotonic, Now};

/// Everything there is: sockets, connections, and what will happen when.
pub(super) struct World {
    pub(super) options: SimOptions,
    pub(super) rng: Rng,
    now_ns: u64,
    pub(super) steps: u64,
    pub(super) sockets: Slab<Socket>,
    pub(super) links: Links,
    /// Listeners of scripted peers, and the ends that wait there.
    pub(super) scripted: BTreeMap<String, VecDeque<usize>>,
    /// From where to where, see [`Sim::redirect`](super::Sim::redirect).
    redirects: BTreeMap<String, Address>,
    agenda: BinaryHeap<Reverse<Entry>>,
    /// Orders entries of one time, and tells sockets of one key apart.
    pub(super) sequence: u64,
    pub(super) completions: Vec<Completion>,
    pub(super) leases_len: usize,
    pub(super) bufs: BufPool,
    pub(super) counters: Counters,
}

pub(super) struct Socket {
    pub(super) role: Role,
    /// Where the peer of an accepted connection connected to, or a connection came from.
    pub(super) local: Option<Address>,
    /// Sequence number at its making.
    pub(super) made: u64,
    pub(super) receiving: Receiving,
    pub(super) is_recv_due: bool,
    pub(super) sending: Option<Buf>,
    pub(super) is_send_due: bool,
    /// What this socket does to its own stream stays in order: nothing before this.
    pub(super) output_at: u64,
    pub(super) is_closing: bool,
}

pub(super) enum Role {
    Connecting(Address),
    Stream(usize),
    Listener(Listener),
}

pub(super) struct Listener {
    pub(super) address: Address,
    pub(super) queue: VecDeque<usize>,
    pub(super) is_armed: bool,
    pub(super) is_due: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    Off,
    Armed,
    Stopping,
}

/// Something that will happen, unless its socket is gone by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) at_ns: u64,
    /// Receives that are armed anew come first among those of one time, see
    /// [`Backend::recv`](crate::engine::backend::Backend::recv).
    is_behind: bool,
    pub(super) sequence: u64,
    pub(super) key: SocketKey,
    pub(super) made: u64,
    pub(super) task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Accept,
    AcceptStop,
    Connect,
    Recv,
    RecvStop,
    Send,
    Shutdown,
    Close,
}

impl World {
    pub(super) fn new(options: SimOptions) -> Self {
        let bufs = BufPool::new(options.recv_buf_len, options.recv_buf_count);
        Self {
            rng: Rng::new(options.seed),
            links: Links::new(options.pipe_len),
            options,
            now_ns: 0,
            steps: 0,
            sockets: Slab::new(),
            scripted: BTreeMap::new(),
            redirects: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            sequence: 0,
            completions: Vec::new(),
            leases_len: 0,
            bufs,
            counters: Counters::default(),
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.options.seed
    }

    pub(super) fn now(&self) -> Now {
        Now {
            monotonic: Monotonic::from_ns(self.now_ns),
            wall_s: WALL_START_S + self.now_ns / 1_000_000_000,
        }
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn leases_len(&self) -> usize {
        self.leases_len
    }

    pub(super) fn sockets_len(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn set_sockets_max(&mut self, sockets_max: usize) {
        self.options.sockets_max = sockets_max;
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    // Calls of the back end.

    pub(super) fn listen(&mut self, address: &Address) -> io::Result<SocketKey> {
        let address = match address {
            Address::Ip(ip) if ip.port() == 0 => {
                Address::Ip(SocketAddr::new(ip.ip(), 40_000 + self.sockets.len() as u16))
            }
            _ => address.clone(),
        };
        if self.listener(&address).is_some() || self.scripted.contains_key(&address.to_string()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(self.insert(Role::Listener(Listener {
            address,
            queue: VecDeque::new(),
            is_armed: false,
            is_due: false,
        })))
    }

    pub(super) fn local_address(&self, key: SocketKey) -> io::Result<Address> {
        let socket = &self.sockets[key.0 as usize];
        match (&socket.role, &socket.local) {
            (Role::Listener(listener), _) => Ok(listener.address.clone()),
            (_, Some(local)) => Ok(local.clone()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn accept(&mut self, key: SocketKey) {
        let listener = self.listener_mut(key);
        assert!(!listener.is_armed, "accept while one is armed");
        listener.is_armed = true;
        self.wake_accept(key);
    }

    pub(super) fn accept_stop(&mut self, key: SocketKey) {
        self.schedule(key, Task::AcceptStop);
    }

    pub(super) fn connect(&mut self, address: &Address) -> io::Result<SocketKey> {
        if self.is_exhausted() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let key = self.insert(Role::Connecting(address.clone()));
        if !self.rng.chance(self.options.faults.silent) {
            self.schedule(key, Task::Connect);
        }
        Ok(key)
    }

    pub(super) fn recv(&mut self, key: SocketKey) {
        let socket = self.open_socket(key);
        assert_eq!(socket.receiving, Receiving::Off, "recv while one is armed");
        socket.receiving = Receiving::Armed;
        if self.is_recv_due(key) {
            self.push(key, Task::Recv, self.now_ns, false);
        }
    }

    pub(super) fn recv_stop(&mut self, key: SocketKey) {
        let socket = self.open_socket(key);
        assert_eq!(
            socket.receiving,
            Receiving::Armed,
            "recv_stop while none is armed"
        );
        socket.receiving = Receiving::Stopping;
        self.schedule(key, Task::RecvStop);
    }

    pub(super) fn send(&mut self, key: SocketKey, buf: Buf) {
        let socket = self.open_socket(key);
        assert!(socket.sending.is_none(), "send while one is under way");
        assert!(!buf.is_empty(), "send of nothing");
        socket.sending = Some(buf);
        self.wake_send(key);
    }

    pub(super) fn shutdown(&mut self, key: SocketKey) {
        let socket = self.open_socket(key);
        assert!(
            socket.sending.is_none(),
            "shutdown while a send is under way"
        );
        self.schedule(key, Task::Shutdown);
    }

    pub(super) fn reset(&mut self, key: SocketKey) {
        if let Role::Stream(end) = self.open_socket(key).role {
            self.links.reset(end, false);
            self.reset_other(end);
        }
    }

    pub(super) fn close(&mut self, key: SocketKey) {
        self.open_socket(key).is_closing = true;
        self.schedule(key, Task::Close);
    }

    pub(super) fn recycle(&mut self, lease: Lease) {
        self.leases_len -= 1;
        if let Memory::Heap(buf) = lease.into_memory() {
            self.bufs.give(buf);
        }
    }

    /// Lets time pass up to the first completions, or for `timeout`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) {
        self.counters.enters += 1;
        let until = timeout.map(|timeout| self.now().monotonic.after(timeout).as_ns());
        if self.rng.chance(self.options.faults.spurious) {
            return;
        }
        loop {
            while let Some(Reverse(entry)) = self.agenda.peek().copied() {
                if entry.at_ns > self.now_ns {
                    break;
                }
                self.agenda.pop();
                self.run(entry);
            }
            if !self.completions.is_empty() {
                // What is late comes closer, also where something is there at every wait.
                self.now_ns += if self.agenda.is_empty() { 0 } else { STEP_NS };
                return completions.append(&mut self.completions);
            }
            let next = self.agenda.peek().map(|Reverse(entry)| entry.at_ns);
            let Some(then) = next.into_iter().chain(until).min() else {
                panic!("seed {}: nothing can ever happen again", self.options.seed);
            };
            self.now_ns = then;
            if until == Some(then) && next != Some(then) {
                return;
            }
        }
    }

    // Calls of scripted peers.

    pub(super) fn listen_peer(&mut self, address: &Address) {
        self.scripted.insert(address.to_string(), VecDeque::new());
    }

    pub(super) fn redirect(&mut self, from: &Address, to: &Address) {
        self.redirects.insert(from.to_string(), to.clone());
    }

    pub(super) fn accept_peer(&mut self, address: &Address) -> Option<usize> {
        self.scripted.get_mut(&address.to_string())?.pop_front()
    }

    pub(super) fn connect_peer(&mut self, address: &Address) -> Option<usize> {
        let key = self.reached(address)?;
        let (near, far) = self.links.connect(address);
        self.listener_mut(key).queue.push_back(far);
        self.wake_accept(key);
        Some(near)
    }

    pub(super) fn write(&mut self, end: usize, bytes: &[u8]) -> usize {
        let Room::Bytes(room) = self.links.room(end) else {
            return 0;
        };
        let len = room.min(bytes.len());
        self.links.write(end, &bytes[..len]);
        self.wake_other_recv(end);
        len
    }

    pub(super) fn read(&mut self, end: usize, len_max: usize, bytes: &mut Vec<u8>) {
        if let Input::Bytes(len) = self.links.input(end) {
            let len = len.min(len_max);
            self.links
                .read(end, len, |part| bytes.extend_from_slice(part));
            self.wake_other_send(end);
        }
    }

    pub(super) fn end_stream(&mut self, end: usize) {
        self.links.end_stream(end);
        self.wake_other_recv(end);
    }

    pub(super) fn is_eof(&self, end: usize) -> bool {
        self.links.input(end) == Input::Eof
    }

    pub(super) fn is_reset(&self, end: usize) -> bool {
        self.links.input(end) == Input::Reset
    }

    pub(super) fn reset_other(&mut self, end: usize) {
        let other = self.links.end(end).other;
        if self.links.end(other).is_closed() {
            return;
        }
        let is_lossy = self.rng.chance(500);
        self.links.reset(other, is_lossy);
        self.wake_other_recv(end);
        self.wake_other_send(end);
    }

    pub(super) fn close_end(&mut self, end: usize) {
        let is_alone = self.links.end(self.links.end(end).other).is_closed();
        let is_unread = self.links.close(end);
        if is_alone {
            return;
        }
        if is_unread {
            self.reset_other(end);
        }
        self.wake_other_recv(end);
        self.wake_other_send(end);
    }

    // What happens next.

    pub(super) fn wake_accept(&mut self, key: SocketKey) {
        let listener = self.listener_mut(key);
        if listener.is_armed && !listener.is_due && !listener.queue.is_empty() {
            listener.is_due = true;
            self.schedule(key, Task::Accept);
        }
    }

    pub(super) fn wake_recv(&mut self, key: SocketKey) {
        if self.is_recv_due(key) {
            self.schedule(key, Task::Recv);
        }
    }

    /// Whether a receive is to be run for which that was not asked yet.
    fn is_recv_due(&mut self, key: SocketKey) -> bool {
        let socket = &mut self.sockets[key.0 as usize];
        let Role::Stream(end) = socket.role else {
            return false;
        };
        if socket.receiving == Receiving::Off || socket.is_recv_due {
            return false;
        }
        socket.is_recv_due = self.links.input(end) != Input::Nothing;
        socket.is_recv_due
    }

    pub(super) fn wake_send(&mut self, key: SocketKey) {
        let socket = &mut self.sockets[key.0 as usize];
        if socket.sending.is_some() && !socket.is_send_due {
            socket.is_send_due = true;
            self.schedule(key, Task::Send);
        }
    }

    pub(super) fn wake_other_recv(&mut self, end: usize) {
        if let Some(key) = self.links.end(self.links.end(end).other).socket {
            self.wake_recv(key);
        }
    }

    pub(super) fn wake_other_send(&mut self, end: usize) {
        if let Some(key) = self.links.end(self.links.end(end).other).socket {
            self.wake_send(key);
        }
    }

    fn schedule(&mut self, key: SocketKey, task: Task) {
        let late_steps = self.rng.below(self.options.faults.late_steps_max + 1);
        let socket = &mut self.sockets[key.0 as usize];
        let mut at_ns = self.now_ns + late_steps * STEP_NS;
        if matches!(task, Task::Send | Task::Shutdown | Task::Close) {
            at_ns = at_ns.max(socket.output_at);
            socket.output_at = at_ns;
        }
        self.push(key, task, at_ns, true);
    }

    fn push(&mut self, key: SocketKey, task: Task, at_ns: u64, is_behind: bool) {
        self.sequence += 1;
        self.agenda.push(Reverse(Entry {
            at_ns,
            is_behind,
            sequence: self.sequence,
            key,
            made: self.sockets[key.0 as usize].made,
            task,
        }));
    }

    pub(super) fn insert(&mut self, role: Role) -> SocketKey {
        self.sequence += 1;
        SocketKey(self.sockets.insert(Socket {
            role,
            local: None,
            made: self.sequence,
            receiving: Receiving::Off,
            is_recv_due: false,
            sending: None,
            is_send_due: false,
            output_at: 0,
            is_closing: false,
        }) as u32)
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.sockets.len() >= self.options.sockets_max
    }

    fn open_socket(&mut self, key: SocketKey) -> &mut Socket {
        let socket = &mut self.sockets[key.0 as usize];
        assert!(!socket.is_closing, "a call on a closed socket");
        socket
    }

    /// The listener at which a connection to `address` arrives.
    pub(super) fn reached(&self, address: &Address) -> Option<SocketKey> {
        let redirected = self.redirects.get(&address.to_string());
        self.listener(redirected.unwrap_or(address))
    }

    pub(super) fn listener(&self, address: &Address) -> Option<SocketKey> {
        self.sockets
            .iter()
            .find_map(|(index, socket)| match &socket.role {
                Role::Listener(listener) if listener.address == *address && !socket.is_closing => {
                    Some(SocketKey(index as u32))
                }
                _ => None,
            })
    }

    pub(super) fn listener_mut(&mut self, key: SocketKey) -> &mut Listener {
        match &mut self.sockets[key.0 as usize].role {
            Role::Listener(listener) => listener,
            _ => panic!("not a listener"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("sim: seed {} after {} steps", self.options.seed, self.steps);
        }
    }
}

/// Start of the virtual wall clock, in seconds since 1970: some day in 2025.
const WALL_START_S: u64 = 1_750_000_000;
