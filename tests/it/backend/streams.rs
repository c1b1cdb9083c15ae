//! Receiving, sending and the end of a stream.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use sealwire::buf::Buf;
use sealwire::engine::backend::{BackendOptions, Completion, SocketKey};
use sealwire::engine::{Address, Lease};
use socket2::SockRef;

use super::Open;
use super::rig::{PATIENCE, Rig, options, pattern};

pub(super) fn streams_are_echoed(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (listener, address) = rig.listen_local();
    rig.backend.accept(listener);
    let client = rig.connect(&Address::Ip(address));
    rig.connected(client).unwrap();
    let (server, _) = rig.accepted();
    for len in [1, 100, 4096, 50_000] {
        let bytes = pattern(len);
        rig.send(client, &bytes);
        let there = rig.recv_len(server, len);
        rig.send(server, &there);
        assert_eq!(rig.recv_len(client, len), bytes);
        assert_eq!(rig.sent(client).1.unwrap(), len);
        assert_eq!(rig.sent(server).1.unwrap(), len);
    }
    let counters = rig.backend.counters();
    assert_eq!(counters.recv_bytes, 2 * (1 + 100 + 4096 + 50_000));
    assert_eq!(counters.sent_bytes, counters.recv_bytes);
    assert_eq!(counters.sends, 8);
}

pub(super) fn short_sends_are_reported_and_lose_nothing(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (ours, mut theirs) = tcp_pair();
    let key = rig.adopt(ours);
    let bytes = pattern(8 << 20);
    let mut buf = Buf::new(bytes.len());
    buf.append(&bytes);
    rig.send_buf(key, buf);
    let (mut buf, result) = rig.sent(key);
    let first = result.unwrap();
    assert!(
        first > 0 && first < bytes.len(),
        "{first} of {}",
        bytes.len()
    );

    // Nobody reads: the rest must wait, and report nothing, until room is made.
    buf.advance(first);
    rig.send_buf(key, buf);
    rig.wait(Some(Duration::ZERO));
    let mut sent = first;
    let reader = thread::spawn(move || {
        let mut there = Vec::new();
        theirs.read_to_end(&mut there).unwrap();
        there
    });
    while sent < bytes.len() {
        let (mut buf, result) = rig.sent(key);
        let len = result.unwrap();
        assert!(len > 0);
        sent += len;
        buf.advance(len);
        if !buf.is_empty() {
            rig.send_buf(key, buf);
        }
    }
    rig.close(key);
    rig.closed(key);
    assert!(reader.join().unwrap() == bytes);
}

pub(super) fn stopped_receives_lose_nothing(open: Open) {
    // Small buffers and many, so that it is the stop that ends most receives, not starvation; and a
    // short queue, which more completions than it holds must not break.
    let sizes = BackendOptions {
        recv_buf_len: 512,
        recv_buf_count: 4096,
        queue_len: 1,
    };
    let Some(mut rig) = open(&sizes).map(Rig::new) else {
        return;
    };
    let (ours, mut theirs) = tcp_pair();
    let key = rig.adopt(ours);
    let bytes = pattern(4 << 20);
    let expected = bytes.clone();
    let writer = thread::spawn(move || theirs.write_all(&bytes));

    // Stopped before it was submitted, and then after every third completion.
    rig.recv(key);
    rig.recv_stop(key);
    let mut there = Vec::new();
    let mut stops = 0;
    for turn in 0.. {
        match rig.received(key) {
            Completion::Received { lease, .. } => rig.keep(&mut there, lease),
            Completion::RecvStopped { .. } => stops += 1,
            Completion::RecvStarved { .. } => {}
            Completion::Eof { .. } => break,
            other => panic!("{other:?}"),
        }
        if turn % 3 == 0 && rig.may_stop(key) {
            rig.recv_stop(key);
        }
        if !rig.is_armed(key) && rig.seen().is_empty() {
            rig.recv(key);
        }
    }
    writer.join().unwrap().unwrap();
    assert!(stops > 10, "{stops} stops");
    assert!(there == expected);
}

pub(super) fn a_stop_and_the_end_of_the_stream_give_one_notice(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    // The rig counts the notices. The end comes before the receive, before the stop, and after it.
    for end_at in 0..4 {
        let (ours, theirs) = tcp_pair();
        let mut theirs = Some(theirs);
        let mut step = |at| {
            if at == end_at {
                theirs = None;
            }
        };
        let key = rig.adopt(ours);
        step(0);
        rig.recv(key);
        step(1);
        if end_at == 2 {
            rig.wait(Some(Duration::ZERO));
        }
        step(2);
        rig.recv_stop(key);
        step(3);
        let notice = rig.received(key);
        assert!(
            matches!(
                notice,
                Completion::RecvStopped { .. } | Completion::Eof { .. }
            ),
            "{notice:?}"
        );
        rig.wait(Some(Duration::ZERO));
        assert!(rig.seen().is_empty(), "{:?}", rig.seen());
        if matches!(notice, Completion::RecvStopped { .. }) {
            rig.recv(key);
            assert!(matches!(rig.received(key), Completion::Eof { .. }));
        }
        rig.close(key);
        rig.closed(key);
    }
}

pub(super) fn starved_receives_lose_nothing(open: Open) {
    let sizes = BackendOptions {
        recv_buf_len: 1024,
        recv_buf_count: 2,
        ..options()
    };
    let Some(mut rig) = open(&sizes).map(Rig::new) else {
        return;
    };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let key = rig.adopt(ours);
    let bytes = pattern(64 * 1024);
    theirs.write_all(&bytes).unwrap();
    let mut there = Vec::new();
    let mut held = Vec::new();
    while there.len() < bytes.len() {
        if !rig.is_armed(key) && rig.seen().is_empty() {
            rig.recv(key);
        }
        match rig.received(key) {
            Completion::Received { lease, .. } => {
                there.extend_from_slice(lease.bytes());
                held.push(lease);
            }
            Completion::RecvStarved { .. } => {
                assert_eq!(held.len(), 2);
                held.drain(..).for_each(|lease| rig.backend.recycle(lease));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(there == bytes);
    assert!(rig.backend.counters().starved >= 31);
}

pub(super) fn leases_go_back_in_any_order(open: Open) {
    let sizes = BackendOptions {
        recv_buf_len: 512,
        recv_buf_count: 8,
        ..options()
    };
    let Some(mut rig) = open(&sizes).map(Rig::new) else {
        return;
    };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let key = rig.adopt(ours);
    let bytes = pattern(512 * 8 * 200);
    let expected = bytes.clone();
    let writer = thread::spawn(move || theirs.write_all(&bytes));
    let mut there = Vec::new();
    let mut held = Vec::new();
    let mut turn = 0;
    while there.len() < expected.len() {
        if !rig.is_armed(key) && rig.seen().is_empty() {
            rig.recv(key);
        }
        match rig.received(key) {
            Completion::Received { mut lease, .. } => {
                there.extend_from_slice(lease.bytes());
                lease.bytes_mut().fill(0xee);
                held.push(lease);
            }
            Completion::RecvStarved { .. } => {}
            other => panic!("{other:?}"),
        }
        // Last first, first first, or from the middle; some are kept for longer.
        turn += 1;
        while held.len() > turn % 6 {
            let at = [held.len() - 1, 0, held.len() / 2][turn % 3];
            let lease = held.remove(at);
            assert!(lease.bytes().iter().all(|byte| *byte == 0xee), "lent twice");
            rig.backend.recycle(lease);
        }
    }
    writer.join().unwrap().unwrap();
    assert!(there == expected);
}

pub(super) fn leases_outlive_their_back_end(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let mut lease = lease_of(&mut rig, b"kept").unwrap();
    drop(rig);
    lease.bytes_mut()[0] = b'K';
    assert_eq!(lease.bytes(), b"Kept");
}

/// Or one buffer would be lent twice.
pub(super) fn leases_of_another_back_end_are_let_go(open: Open) {
    let sizes = BackendOptions {
        recv_buf_count: 1,
        ..options()
    };
    let (Some(mut rig), Some(mut other)) = (open(&sizes).map(Rig::new), open(&sizes).map(Rig::new))
    else {
        return;
    };
    let own = lease_of(&mut rig, b"kept").unwrap();
    let foreign = lease_of(&mut other, b"sent").unwrap();
    rig.backend.recycle(foreign);
    let next = lease_of(&mut rig, b"next");
    assert_eq!(own.bytes(), b"kept");
    assert!(next.is_none_or(|lease| lease.bytes() == b"next"));
}

pub(super) fn close_gives_the_buffer_of_a_send_back(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (ours, _theirs) = tcp_pair();
    let key = rig.adopt(ours);
    rig.recv(key);
    let (len, _) = send_until_blocked(&mut rig, key);
    rig.close(key);
    let (buf, result) = rig.sent(key);
    assert_eq!(buf.len(), len);
    assert!(result.is_err(), "{result:?}");
    rig.closed(key);
    assert!(rig.seen().is_empty(), "{:?}", rig.seen());
}

/// Between fork and exec every child holds the descriptors of its parent.
pub(super) fn a_closed_socket_that_is_held_elsewhere_is_heard_no_more(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (ours, mut theirs) = tcp_pair();
    let held = ours.try_clone().unwrap();
    let key = rig.adopt(ours);
    rig.recv(key);
    rig.wait(Some(Duration::ZERO));
    rig.close(key);
    rig.closed(key);
    theirs.write_all(b"late").unwrap();
    // It has arrived.
    held.peek(&mut [0; 4]).unwrap();
    rig.wait(Some(Duration::ZERO));
    assert!(rig.seen().is_empty(), "{:?}", rig.seen());
}

/// When the drop returns, the kernel has let go of everything: no peer has to wait for its end.
pub(super) fn a_dropped_back_end_leaves_nothing_under_way(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (listener, address) = rig.listen_local();
    rig.backend.accept(listener);
    let mut peers = Vec::new();
    for _ in 0..10 {
        // Unix sockets, whose bytes are with the peer when the send returns.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let key = rig.adopt(ours);
        rig.recv(key);
        let (_, sent) = send_until_blocked(&mut rig, key);
        theirs.set_nonblocking(true).unwrap();
        peers.push((theirs, sent));
    }
    drop(rig);
    assert!(TcpStream::connect(address).is_err());
    for (mut peer, sent) in peers {
        let mut there = Vec::new();
        peer.read_to_end(&mut there).unwrap();
        assert!(there == sent);
    }
}

pub(super) fn shutdown_ends_one_direction(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (ours, mut theirs) = tcp_pair();
    let key = rig.adopt(ours);
    rig.recv(key);
    rig.backend.shutdown(key);
    rig.wait(Some(Duration::ZERO));
    assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0);
    theirs.write_all(b"still heard").unwrap();
    assert_eq!(rig.recv_len(key, 11), b"still heard");
    drop(theirs);
    assert!(matches!(rig.received(key), Completion::Eof { .. }));
}

pub(super) fn a_reset_fails_the_receive(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (ours, theirs) = tcp_pair();
    let key = rig.adopt(ours);
    rig.recv(key);
    rig.wait(Some(Duration::ZERO));
    SockRef::from(&theirs)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(theirs);
    match rig.received(key) {
        Completion::RecvFailed { error, .. } => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        other => panic!("{other:?}"),
    }
    rig.send(key, b"too late");
    let (_, result) = rig.sent(key);
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

pub(super) fn a_reset_reaches_the_peer(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    for is_armed in [false, true] {
        let (ours, mut theirs) = tcp_pair();
        let key = rig.adopt(ours);
        if is_armed {
            rig.recv(key);
            rig.wait(Some(Duration::ZERO));
        }
        rig.backend.reset(key);
        rig.close(key);
        rig.closed(key);
        let error = theirs.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

pub(super) fn a_unix_socket_that_is_reset_just_ends(open: Open) {
    let Some(mut rig) = open(&options()).map(Rig::new) else {
        return;
    };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let key = rig.adopt(ours);
    rig.backend.reset(key);
    rig.close(key);
    rig.closed(key);
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs)
}

/// A lease of `bytes`, or none where the back end has none to give.
fn lease_of(rig: &mut Rig, bytes: &[u8]) -> Option<Lease> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let key = rig.adopt(ours);
    theirs.write_all(bytes).unwrap();
    rig.recv(key);
    match rig.received(key) {
        Completion::Received { lease, .. } => Some(lease),
        Completion::RecvStarved { .. } => None,
        other => panic!("{other:?}"),
    }
}

/// Fills a socket whose peer does not read. The last send is under way; its length, and all that
/// was sent.
pub(super) fn send_until_blocked(rig: &mut Rig, key: SocketKey) -> (usize, Vec<u8>) {
    let bytes = pattern(1 << 20);
    let mut sent = Vec::new();
    loop {
        rig.send(key, &bytes);
        // The first submits, and on io_uring the second brings what the first could not wait for.
        rig.wait(Some(Duration::ZERO));
        rig.wait(Some(Duration::ZERO));
        if rig.seen().is_empty() {
            return (bytes.len(), sent);
        }
        let (_, result) = rig.sent(key);
        sent.extend_from_slice(&bytes[..result.unwrap()]);
    }
}
