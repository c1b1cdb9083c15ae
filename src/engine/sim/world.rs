use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use slab::Slab;

use super::link::{Input, Links, Room};
use super::rng::Rng;
use super::{STEP_NS, SimOptions};
use crate::buf::{Buf, BufPool};
use crate::engine::address::{Address, PeerAddress};
use crate::engine::backend::{Completion, Counters, SocketKey};
use crate::engine::lease::{Lease, Memory};
use crate::time::{Monotonic, Now};

/// Everything there is: sockets, connections, and what will happen when.
pub(super) struct World {
    options: SimOptions,
    rng: Rng,
    now_ns: u64,
    steps: u64,
    sockets: Slab<Socket>,
    links: Links,
    /// Listeners of scripted peers, and the ends that wait there.
    scripted: BTreeMap<String, VecDeque<usize>>,
    agenda: BinaryHeap<Reverse<Entry>>,
    /// Orders entries of one time, and tells sockets of one key apart.
    sequence: u64,
    completions: Vec<Completion>,
    leases_len: usize,
    bufs: BufPool,
    counters: Counters,
}

struct Socket {
    role: Role,
    /// Sequence number at its making.
    made: u64,
    receiving: Receiving,
    is_recv_due: bool,
    sending: Option<Buf>,
    is_send_due: bool,
    /// What this socket does to its own stream stays in order: nothing before this.
    output_at: u64,
    is_closing: bool,
}

enum Role {
    Connecting(Address),
    Stream(usize),
    Listener(Listener),
}

struct Listener {
    address: Address,
    queue: VecDeque<usize>,
    is_armed: bool,
    is_due: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    Off,
    Armed,
    Stopping,
}

/// Something that will happen, unless its socket is gone by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at_ns: u64,
    sequence: u64,
    key: SocketKey,
    made: u64,
    task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
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
        match &self.sockets[key.0 as usize].role {
            Role::Listener(listener) => Ok(listener.address.clone()),
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
        self.wake_recv(key);
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

    pub(super) fn accept_peer(&mut self, address: &Address) -> Option<usize> {
        self.scripted.get_mut(&address.to_string())?.pop_front()
    }

    pub(super) fn connect_peer(&mut self, address: &Address) -> Option<usize> {
        let key = self.listener(address)?;
        let (near, far) = self.links.connect();
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

    // What happens when its time has come.

    fn run(&mut self, entry: Entry) {
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
        let listener = self.listener(&address).filter(|_| !is_refused);
        let scripted = self
            .scripted
            .get_mut(&address.to_string())
            .filter(|_| !is_refused);
        let result = if listener.is_none() && scripted.is_none() {
            Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
        } else {
            let (near, far) = self.links.connect();
            if let Some(queue) = scripted {
                queue.push_back(far);
            }
            if let Some(listener) = listener {
                self.listener_mut(listener).queue.push_back(far);
                self.wake_accept(listener);
            }
            self.links.end_mut(near).socket = Some(key);
            self.sockets[key.0 as usize].role = Role::Stream(near);
            Ok(())
        };
        self.completions.push(Completion::Connected { key, result });
    }

    fn run_recv(&mut self, key: SocketKey) {
        let faults = self.options.faults;
        let is_exhausted = self.leases_len == self.options.recv_buf_count;
        let is_starved = is_exhausted || self.rng.chance(faults.starved);
        let is_short = self.rng.chance(faults.short_recv);
        let is_ended = self.rng.chance(faults.recv_end);
        let is_broken = self.rng.chance(faults.broken);

        let socket = &mut self.sockets[key.0 as usize];
        socket.is_recv_due = false;
        let (Role::Stream(end), true) = (&socket.role, socket.receiving != Receiving::Off) else {
            return;
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
                self.wake_recv(key);
            }
        }
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
        self.links.end_mut(end).socket = Some(key);
        let port = 1_024 + (self.sequence % 60_000) as u16;
        self.completions.push(Completion::Accepted {
            listener,
            key,
            peer: PeerAddress::Ip(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
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

    // What happens next.

    fn wake_accept(&mut self, key: SocketKey) {
        let listener = self.listener_mut(key);
        if listener.is_armed && !listener.is_due && !listener.queue.is_empty() {
            listener.is_due = true;
            self.schedule(key, Task::Accept);
        }
    }

    fn wake_recv(&mut self, key: SocketKey) {
        let socket = &mut self.sockets[key.0 as usize];
        let Role::Stream(end) = socket.role else {
            return;
        };
        if socket.receiving == Receiving::Off || socket.is_recv_due {
            return;
        }
        if self.links.input(end) != Input::Nothing {
            socket.is_recv_due = true;
            self.schedule(key, Task::Recv);
        }
    }

    fn wake_send(&mut self, key: SocketKey) {
        let socket = &mut self.sockets[key.0 as usize];
        if socket.sending.is_some() && !socket.is_send_due {
            socket.is_send_due = true;
            self.schedule(key, Task::Send);
        }
    }

    fn wake_other_recv(&mut self, end: usize) {
        if let Some(key) = self.links.end(self.links.end(end).other).socket {
            self.wake_recv(key);
        }
    }

    fn wake_other_send(&mut self, end: usize) {
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
        self.sequence += 1;
        self.agenda.push(Reverse(Entry {
            at_ns,
            sequence: self.sequence,
            key,
            made: socket.made,
            task,
        }));
    }

    fn insert(&mut self, role: Role) -> SocketKey {
        self.sequence += 1;
        SocketKey(self.sockets.insert(Socket {
            role,
            made: self.sequence,
            receiving: Receiving::Off,
            is_recv_due: false,
            sending: None,
            is_send_due: false,
            output_at: 0,
            is_closing: false,
        }) as u32)
    }

    fn is_exhausted(&self) -> bool {
        self.sockets.len() >= self.options.sockets_max
    }

    fn open_socket(&mut self, key: SocketKey) -> &mut Socket {
        let socket = &mut self.sockets[key.0 as usize];
        assert!(!socket.is_closing, "a call on a closed socket");
        socket
    }

    fn listener(&self, address: &Address) -> Option<SocketKey> {
        self.sockets
            .iter()
            .find_map(|(index, socket)| match &socket.role {
                Role::Listener(listener) if listener.address == *address && !socket.is_closing => {
                    Some(SocketKey(index as u32))
                }
                _ => None,
            })
    }

    fn listener_mut(&mut self, key: SocketKey) -> &mut Listener {
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
