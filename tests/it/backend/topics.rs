//! Listeners, connecting, descriptors, wake-ups.

use std::collections::HashSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use sealwire::engine::backend::{BackendOptions, Completion};
use sealwire::engine::{Address, PeerAddress, SocketOptions};
use socket2::{Domain, SockAddr, Socket, Type};

use super::Open;
use super::rig::{PATIENCE, Rig, listen_options, options};
use super::streams::send_until_blocked;

pub(super) fn accepted_connections_name_their_peer(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (listener, address) = rig.listen_local();
    rig.backend.accept(listener);
    let peers = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect::<Vec<_>>();
    let expected = peers.iter().map(|peer| peer.local_addr().unwrap());
    let accepted = (0..3).map(|_| match rig.accepted().1 {
        PeerAddress::Ip(peer) => peer,
        PeerAddress::Unix => panic!("a TCP peer"),
    });
    assert_eq!(
        accepted.collect::<HashSet<SocketAddr>>(),
        expected.collect::<HashSet<SocketAddr>>()
    );
}

/// Whether the listener has one address or all of them, and whoever accepts.
pub(super) fn accepted_connections_know_where_their_peer_connected_to(open: Open) {
    for (listens, connects) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.3"),
        ("[::]:0", "::1"),
    ] {
        for is_stopped in [false, true] {
            let Some(mut rig) = open(&options()).map(Rig::new) else {
                return;
            };
            let (listener, bound) = rig.listen(&listens.parse().unwrap());
            let Address::Ip(bound) = bound else {
                panic!("not an IP address: {bound}");
            };
            let to = SocketAddr::new(connects.parse().unwrap(), bound.port());
            let _peer = TcpStream::connect(to).unwrap();
            match is_stopped {
                true => rig.backend.accept_stop(listener),
                false => rig.backend.accept(listener),
            }
            let (key, _) = rig.accepted();
            let local = rig.backend.local_address(key).unwrap();
            assert_eq!(local, Address::Ip(to), "stopped: {is_stopped}");
        }
    }
}

pub(super) fn accept_stop_empties_the_queue(open: Open) {
    for is_armed in [false, true] {
        let Some(mut rig) = open(&options()).map(Rig::new) else {
            return;
        };
        let (listener, address) = rig.listen_local();
        if is_armed {
            rig.backend.accept(listener);
        }
        let peers = (0..20)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect::<Vec<_>>();
        await_accept_queue(address.port(), peers.len());
        rig.backend.accept_stop(listener);
        for _ in &peers {
            rig.accepted();
        }
        let last = rig.any();
        assert!(
            matches!(last, Completion::AcceptStopped { listener: of } if of == listener),
            "{last:?}"
        );
        rig.close(listener);
        rig.closed(listener);
        assert!(TcpStream::connect(address).is_err());
    }
}

pub(super) fn a_refused_connect_says_so(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let key = rig.connect(&Address::Ip(address));
    let error = rig.connected(key).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    rig.close(key);
    rig.closed(key);
}

pub(super) fn a_socket_closes_while_it_connects(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    // A full queue of backlog 0 makes the kernel ignore further SYN segments.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = "127.0.0.1:0".parse::<SocketAddr>().unwrap();
    listener.bind(&SockAddr::from(any)).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(address).unwrap();
    let keys = [0; 3].map(|_| rig.connect(&Address::Ip(address)));
    rig.wait(Some(Duration::ZERO));
    for key in keys {
        rig.close(key);
    }
    for key in keys {
        rig.closed(key);
    }
    let connected = rig.seen().len();
    assert!(
        connected < keys.len(),
        "a connect was under way: {:?}",
        rig.seen()
    );
}

pub(super) fn adopted_sockets_may_be_of_either_blocking_mode(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    for is_nonblocking in [false, true] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(is_nonblocking).unwrap();
        let key = rig.adopt(ours);
        rig.recv(key);
        // Nothing is there yet: the receive must wait, not fail.
        rig.wait(Some(Duration::ZERO));
        assert!(rig.is_armed(key));
        rig.send(key, b"ping");
        let mut bytes = [0; 4];
        let (_, result) = rig.sent(key);
        assert_eq!(result.unwrap(), 4);
        theirs.read_exact(&mut bytes).unwrap();
        io::Write::write_all(&mut theirs, b"pong").unwrap();
        assert_eq!(rig.recv_len(key, 4), b"pong");
        send_until_blocked(&mut rig, key);
        rig.close(key);
        assert_eq!(
            rig.sent(key).1.unwrap_err().raw_os_error(),
            Some(libc::ECANCELED)
        );
        rig.closed(key);
    }
}

pub(super) fn a_unix_listener_replaces_a_dead_one_only(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = Address::Unix(path.clone());

    fs::write(&path, "a file of someone else").unwrap();
    let error = rig.backend.listen(&address, &listen_options()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(path.exists());
    fs::remove_file(&path).unwrap();

    let live = UnixListener::bind(&path).unwrap();
    let error = rig.backend.listen(&address, &listen_options()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(live);

    let (listener, bound) = rig.listen(&address);
    assert_eq!(bound, address);
    rig.backend.accept(listener);
    let client = rig.connect(&address);
    rig.connected(client).unwrap();
    let (server, peer) = rig.accepted();
    assert_eq!(peer, PeerAddress::Unix);
    rig.send(client, b"over a path");
    assert_eq!(rig.recv_len(server, 11), b"over a path");
}

pub(super) fn a_waker_ends_a_wait_from_another_thread(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    for _ in 0..100 {
        let waker = rig.backend.waker();
        let thread = thread::spawn(move || (0..3).for_each(|_| waker.wake()));
        rig.next(|completion| matches!(completion, Completion::Woken), drop);
        thread.join().unwrap();
    }
    // A call between two waits ends the next one, which would else last for ever.
    while !rig.seen().is_empty() {
        rig.any();
    }
    rig.wait(Some(Duration::ZERO));
    rig.backend.waker().wake();
    while rig.seen().is_empty() {
        rig.wait(None);
    }
    assert!(matches!(rig.any(), Completion::Woken));
}

pub(super) fn more_sends_than_the_queue_holds_all_leave(open: Open) {
    let sizes = BackendOptions {
        recv_buf_count: 512,
        queue_len: 8,
        ..options()
    };
    let Some(mut rig) = open(&sizes).map(Rig::new) else {
        return;
    };
    let pairs = (0..300).map(|_| UnixStream::pair().unwrap());
    let (keys, mut peers): (Vec<_>, Vec<_>) = pairs
        .map(|(ours, theirs)| (rig.adopt(ours), theirs))
        .unzip();
    for (index, key) in keys.iter().enumerate() {
        rig.recv(*key);
        rig.send(*key, &(index as u64).to_le_bytes());
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        assert_eq!(rig.sent(keys[index]).1.unwrap(), 8);
        let mut bytes = [0; 8];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), index as u64);
        io::Write::write_all(peer, &bytes).unwrap();
    }
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(rig.recv_len(*key, 8), (index as u64).to_le_bytes());
    }
}

/// A thread has few places for registered rings: each back end must give its own back.
pub(super) fn back_ends_come_and_go_on_one_thread(open: Open) {
    let descriptions = (0..40).map_while(|_| open(&options()).map(|one| one.describe()));
    assert!(descriptions.collect::<HashSet<_>>().len() <= 1);
}

pub(super) fn timeouts_are_not_cut_short(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let timeout = Duration::from_micros(2_500);
    let start = Instant::now();
    rig.wait(Some(timeout));
    assert!(start.elapsed() >= timeout);
    assert!(rig.seen().is_empty());
}

/// In a process of its own, since other tests open descriptors at the same time.
pub(super) fn descriptors_return_when_sockets_close(open: Open) {
    if !is_alone("4096") {
        return;
    }
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (listener, address) = rig.listen_local();
    rig.backend.accept(listener);
    rig.wait(Some(Duration::ZERO));
    let before = descriptors_len();
    for _ in 0..20 {
        let mut keys = Vec::new();
        let mut peers = Vec::new();
        for _ in 0..100 {
            let client = rig.connect(&Address::Ip(address));
            rig.connected(client).unwrap();
            let (server, _) = rig.accepted();
            rig.recv(server);
            keys.extend([client, server]);
            let peer = TcpStream::connect(address).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peers.push(peer);
            keys.push(rig.accepted().0);
        }
        keys.iter().for_each(|key| rig.close(*key));
        keys.iter().for_each(|key| rig.closed(*key));
        // Each of the accepted was closed, which its peer must see as well.
        for peer in &mut peers {
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        }
    }
    assert_eq!(descriptors_len(), before);
    let counters = rig.backend.counters();
    assert!(counters.enters > 0 && counters.syscalls > 0);
    drop(rig);
    assert!(descriptors_len() < before);
}

pub(super) fn descriptors_that_run_out_fail_the_accept_only(open: Open) {
    if !is_alone("64") {
        return;
    }
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (listener, address) = rig.listen_local();
    rig.backend.accept(listener);
    let mut peers = Vec::new();
    let mut accepted = Vec::new();
    // What is left of the descriptors: one for the peer, none for the accept.
    let mut hoard = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        hoard.push(file);
    }
    hoard.pop();
    peers.push(TcpStream::connect(address).unwrap());
    let error = rig.next(
        |completion| matches!(completion, Completion::AcceptFailed { .. }),
        |completion| match completion {
            Completion::AcceptFailed { error, .. } => error,
            _ => unreachable!(),
        },
    );
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    hoard.clear();
    rig.backend.accept(listener);
    accepted.push(rig.accepted().0);
    let options = SocketOptions::default();
    assert!(rig.backend.connect(&Address::Ip(address), &options).is_ok());
}

/// The table of registered files is as long as the limit on descriptors. Sockets beyond it keep
/// theirs.
pub(super) fn every_socket_works_until_descriptors_run_out(open: Open) {
    if !is_alone("64") {
        return;
    }
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let mut keys = Vec::new();
    while let Ok((ours, mut theirs)) = UnixStream::pair() {
        io::Write::write_all(&mut theirs, b"x").unwrap();
        keys.push(rig.adopt(ours));
    }
    let is_uring = rig.backend.describe().starts_with("io_uring");
    assert!(
        keys.len() > if is_uring { 64 } else { 32 },
        "{}",
        keys.len()
    );
    for key in &keys {
        assert_eq!(rig.recv_len(*key, 1), b"x");
        if rig.is_armed(*key) {
            assert!(matches!(rig.received(*key), Completion::Eof { .. }));
        }
    }
    keys.iter().for_each(|key| rig.close(*key));
    keys.iter().for_each(|key| rig.closed(*key));
    UnixStream::pair().unwrap();
}

/// Whether this process runs one test only, with at most `files_max` descriptors. Where it does
/// not, it starts one that does, and passes its verdict on.
fn is_alone(files_max: &str) -> bool {
    const ALONE: &str = "SEALWIRE_TEST_ALONE";
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let name = thread::current().name().unwrap_or_default().to_owned();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n $0 && exec \"$@\"", files_max])
        .arg(env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Until the kernel has completed `len` connections to `port`: connect returns a little earlier.
fn await_accept_queue(port: u16, len: usize) {
    let start = Instant::now();
    // The local address, the remote one, the state LISTEN, the lengths of the queues to send and to
    // accept.
    let line = format!(":{port:04X} 00000000:0000 0A 00000000:{len:08X} ");
    while !fs::read_to_string("/proc/net/tcp").unwrap().contains(&line) {
        assert!(start.elapsed() < PATIENCE, "no {line}");
        thread::yield_now();
    }
}

fn descriptors_len() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
