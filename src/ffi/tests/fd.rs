//! Connections over a descriptor of the caller.

use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::ffi::config::protocol::sealwire_config_builder_set_handshake_timeout_ms;

fn configs() -> (Config, Config) {
    (
        Builder::usual_client().build(),
        Builder::usual_server().build(),
    )
}

fn over(conn: Conn, socket: &UnixStream) -> Conn {
    ok(sealwire_conn_set_fd(conn.0, socket.as_raw_fd()));
    conn
}

/// Two ends over sockets that do not block, after their handshake.
fn ready_pair(near: &UnixStream, far: &UnixStream) -> (Conn, Conn) {
    for socket in [near, far] {
        socket.set_nonblocking(true).unwrap();
    }
    let (client, server) = configs();
    let client = over(Conn::client(&client, "localhost"), near);
    let server = over(Conn::server(&server), far);
    assert_eq!(client.handshake(), SEALWIRE_WANT_READ);
    let mut shaken = (SEALWIRE_WANT_READ, SEALWIRE_WANT_READ);
    for _ in 0..10 {
        shaken = (client.handshake(), server.handshake());
    }
    assert_eq!(shaken, (SEALWIRE_OK, SEALWIRE_OK));
    (client, server)
}

/// Waits as the connection says to; false where nothing would ever have woken it.
fn poll(conn: &Conn, fd: RawFd) -> bool {
    let mut events = 0;
    if sealwire_conn_wants_read(conn.0) {
        events |= libc::POLLIN;
    }
    if sealwire_conn_wants_write(conn.0) {
        events |= libc::POLLOUT;
    }
    let mut polled = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let timeout_ms = sealwire_conn_timeout_ms(conn.0);
    let patience_ms = if timeout_ms < 0 { 5_000 } else { timeout_ms };
    // SAFETY: one pollfd, which lives as long as the call.
    let ready = unsafe { libc::poll(&raw mut polled, 1, patience_ms) };
    ready > 0 || timeout_ms >= 0
}

#[test]
fn calls_on_a_blocking_descriptor_wait() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, server) = configs();
    let echo = thread::spawn(move || {
        let server = over(Conn::server(&server), &far);
        let (mut received, mut result) = (Vec::new(), SEALWIRE_OK);
        while result == SEALWIRE_OK {
            let (next, bytes) = server.read(10_000);
            received.extend(bytes);
            result = next;
        }
        assert_eq!(result, SEALWIRE_EOF);
        assert_eq!(server.write(&received), (SEALWIRE_OK, received.len()));
        ok(sealwire_conn_shutdown(server.0));
    });
    let client = over(Conn::client(&client, "localhost"), &near);
    let data: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
    assert_eq!(client.write(&data), (SEALWIRE_OK, data.len()));
    ok(sealwire_conn_shutdown(client.0));
    assert_eq!(client.write(b"late").0, SEALWIRE_ERR_STATE);
    let mut echoed = Vec::new();
    loop {
        let (result, bytes) = client.read(7_777);
        echoed.extend(bytes);
        if result != SEALWIRE_OK {
            assert_eq!(result, SEALWIRE_EOF);
            break;
        }
    }
    assert!(echoed == data);
    echo.join().unwrap();
}

#[test]
fn a_handshake_on_a_blocking_descriptor_ends_at_its_deadline() {
    let (near, _silent) = UnixStream::pair().unwrap();
    let builder = Builder::usual_client();
    ok(sealwire_config_builder_set_handshake_timeout_ms(
        builder.0, 50,
    ));
    let client = over(Conn::client(&builder.build(), "localhost"), &near);
    // Nothing comes before the first call, so nobody is to wait for it.
    assert_eq!(sealwire_conn_timeout_ms(client.0), 0);
    assert_eq!(client.handshake(), SEALWIRE_ERR_TIMEOUT);
    assert!(client.error().contains("deadline"), "{}", client.error());
    assert_eq!(client.read(1).0, SEALWIRE_ERR_TIMEOUT);
    let unset = sealwire_config_builder_set_handshake_timeout_ms(builder.0, 0);
    assert_eq!(unset, SEALWIRE_ERR_ARGUMENT);
}

#[test]
fn a_handshake_on_a_nonblocking_descriptor_says_when_to_look_again() {
    let (near, _silent) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let builder = Builder::usual_client();
    ok(sealwire_config_builder_set_handshake_timeout_ms(
        builder.0, 60,
    ));
    let client = over(Conn::client(&builder.build(), "localhost"), &near);
    assert_eq!(client.handshake(), SEALWIRE_WANT_READ);
    let timeout_ms = sealwire_conn_timeout_ms(client.0);
    assert!((0..=60).contains(&timeout_ms), "{timeout_ms}");
    assert!(poll(&client, near.as_raw_fd()));
    assert_eq!(client.handshake(), SEALWIRE_ERR_TIMEOUT);
}

#[test]
fn a_receive_timeout_of_the_socket_ends_a_read() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, _server) = ready_pair(&near, &far);
    near.set_nonblocking(false).unwrap();
    near.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert_eq!(client.read(1), (SEALWIRE_WANT_READ, Vec::new()));
}

#[test]
fn a_loop_that_polls_never_hangs_on_records_that_came_together() {
    for chunk_len in [1, 3, 64] {
        let (near, far) = UnixStream::pair().unwrap();
        let (client, server) = ready_pair(&near, &far);
        // Whatever follows the handshake first, so that the records are all that comes.
        assert_eq!(client.read(1).0, SEALWIRE_WANT_READ);
        for number in 0..50 {
            assert_eq!(server.write(&[number; 2]), (SEALWIRE_OK, 2));
        }
        let mut received = Vec::new();
        while received.len() < 100 {
            assert!(
                poll(&client, near.as_raw_fd()),
                "hung at {}",
                received.len()
            );
            let (result, bytes) = client.read(chunk_len);
            assert!(result == SEALWIRE_OK || bytes.is_empty());
            received.extend(bytes);
        }
        let expected: Vec<u8> = (0..50).flat_map(|number| [number; 2]).collect();
        assert_eq!(received, expected);
        assert_eq!(sealwire_conn_timeout_ms(client.0), -1);
    }
}

#[test]
fn a_full_socket_is_waited_for_and_nothing_is_lost() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, server) = ready_pair(&near, &far);
    let data: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number >> 3) as u8)
        .collect();
    let (mut sent, mut received) = (0, Vec::new());
    let mut result = SEALWIRE_OK;
    while result == SEALWIRE_OK {
        let (next, written) = client.write(&data[sent..]);
        sent += written;
        result = next;
    }
    assert_eq!(result, SEALWIRE_WANT_WRITE);
    assert_eq!(sealwire_conn_flush(client.0), SEALWIRE_WANT_WRITE);
    assert!(sealwire_conn_wants_write(client.0));
    while received.len() < data.len() {
        sent += client.write(&data[sent..]).1;
        sealwire_conn_flush(client.0);
        received.extend(server.read(1_000_000).1);
    }
    assert!(received == data);
    assert_eq!(sealwire_conn_queued(client.0), 0);
}

#[test]
fn a_stream_that_is_cut_is_not_its_end() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, server) = ready_pair(&near, &far);
    assert_eq!(server.write(b"half"), (SEALWIRE_OK, 4));
    drop(server);
    drop(far);
    assert_eq!(client.read(10), (SEALWIRE_OK, b"half".to_vec()));
    for _ in 0..2 {
        assert_eq!(client.read(10).0, SEALWIRE_ERR_TRUNCATED);
        assert!(client.error().contains("close_notify"));
    }
    assert_eq!(client.write(b"more").0, SEALWIRE_ERR_TRUNCATED);
}

#[test]
fn a_peer_that_speaks_something_else_is_named() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    let client = over(Conn::client(&configs().0, "localhost"), &near);
    assert_eq!(client.handshake(), SEALWIRE_ERR_NOT_TLS);
    assert!(client.error().contains("SSH-2.0"), "{}", client.error());
}

#[test]
fn a_descriptor_that_was_closed_is_an_error_of_the_system() {
    let (near, _far) = UnixStream::pair().unwrap();
    let fd = number_of_its_own(&near, 700);
    let client = Conn::client(&configs().0, "localhost");
    ok(sealwire_conn_set_fd(client.0, fd));
    // SAFETY: it is this test's, and closing it is the misuse to be seen.
    unsafe { libc::close(fd) };
    assert_eq!(client.handshake(), SEALWIRE_ERR_IO);
    assert_eq!(sealwire_conn_os_error(client.0), libc::EBADF);
    assert_eq!(sealwire_conn_alert(client.0), -1);
}

/// A number that no other test is given meanwhile, for a copy of the socket.
fn number_of_its_own(socket: &UnixStream, least: RawFd) -> RawFd {
    // SAFETY: makes a descriptor that is this test's.
    let fd = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    assert!(fd >= least);
    fd
}

#[test]
fn a_number_that_was_given_to_another_stream_is_a_peer_that_breaks_the_protocol() {
    let (near, far) = UnixStream::pair().unwrap();
    let (other, mut stranger) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let fd = number_of_its_own(&near, 800);
    let (client, server) = configs();
    let client = Conn::client(&client, "localhost");
    ok(sealwire_conn_set_fd(client.0, fd));
    let server = over(Conn::server(&server), &far);
    far.set_nonblocking(true).unwrap();
    for _ in 0..10 {
        client.handshake();
        server.handshake();
    }
    assert_eq!(client.write(b"secret"), (SEALWIRE_OK, 6));
    // SAFETY: both are this test's, and that one takes the other's number is the misuse to be seen.
    assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), fd) }, fd);
    stranger.write_all(&[b'x'; 64]).unwrap();
    assert_eq!(client.read(10).0, SEALWIRE_ERR_TLS_PROTOCOL);
    assert_eq!(client.write(b"secret").0, SEALWIRE_ERR_TLS_PROTOCOL);
    assert_eq!(server.read(10), (SEALWIRE_OK, b"secret".to_vec()));
    // SAFETY: it is this test's.
    unsafe { libc::close(fd) };
}

#[test]
fn a_number_that_was_given_to_a_file_is_an_error_of_the_system() {
    let (near, _far) = UnixStream::pair().unwrap();
    let fd = number_of_its_own(&near, 900);
    let client = Conn::client(&configs().0, "localhost");
    ok(sealwire_conn_set_fd(client.0, fd));
    let file = tempfile::tempfile().unwrap();
    // SAFETY: both are this test's, and that one takes the other's number is the misuse to be seen.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), fd) }, fd);
    assert_eq!(client.handshake(), SEALWIRE_ERR_IO);
    assert_eq!(sealwire_conn_os_error(client.0), libc::ENOTSOCK);
    assert_eq!(file.metadata().unwrap().len(), 0);
    // SAFETY: it is this test's.
    unsafe { libc::close(fd) };
}

#[test]
fn only_stream_sockets_are_taken_and_once() {
    let client = Conn::client(&configs().0, "localhost");
    let file = tempfile::tempfile().unwrap();
    let datagrams = UnixDatagram::unbound().unwrap();
    for fd in [
        -1,
        i32::MIN,
        i32::MAX,
        file.as_raw_fd(),
        datagrams.as_raw_fd(),
    ] {
        assert_eq!(
            sealwire_conn_set_fd(client.0, fd),
            SEALWIRE_ERR_ARGUMENT,
            "{fd}"
        );
        assert!(!client.error().is_empty());
    }
    let (near, _far) = UnixStream::pair().unwrap();
    ok(sealwire_conn_set_fd(client.0, near.as_raw_fd()));
    assert_eq!(
        sealwire_conn_set_fd(client.0, near.as_raw_fd()),
        SEALWIRE_ERR_STATE
    );
    assert_eq!(client.feed(b"x").0, SEALWIRE_ERR_STATE);
    assert_eq!(client.output(), b"");
    assert_eq!(sealwire_conn_output_sent(client.0, 0), SEALWIRE_ERR_STATE);
    let begun = Conn::client(&configs().0, "localhost");
    assert!(!begun.output().is_empty());
    assert_eq!(
        sealwire_conn_set_fd(begun.0, near.as_raw_fd()),
        SEALWIRE_ERR_STATE
    );
}

#[test]
fn an_alert_of_a_peer_that_left_is_not_hidden_by_its_leaving() {
    let (near, far) = UnixStream::pair().unwrap();
    for socket in [&near, &far] {
        socket.set_nonblocking(true).unwrap();
    }
    let strict = Builder::usual_server();
    strict.add_roots(&pki::PKI.ca);
    let required = sealwire_config_builder_set_client_cert(strict.0, SEALWIRE_CLIENT_CERT_REQUIRED);
    assert_eq!(required, SEALWIRE_OK);
    let client = over(Conn::client(&configs().0, "localhost"), &near);
    let server = over(Conn::server(&strict.build()), &far);
    let mut refused = SEALWIRE_WANT_READ;
    while refused == SEALWIRE_WANT_READ {
        client.handshake();
        refused = server.handshake();
    }
    assert_eq!(refused, SEALWIRE_ERR_CERT_MISSING);
    drop((server, far));
    // The client's own handshake was complete, and nothing was read since.
    assert_eq!(client.write(b"hello").0, SEALWIRE_ERR_TLS_ALERT);
    assert!(sealwire_conn_alert(client.0) > 0);
}
