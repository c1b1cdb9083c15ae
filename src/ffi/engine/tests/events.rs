//! What is told, when, and how often.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

use super::*;

pub(super) fn unread_bytes_are_told_by_every_wait(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    assert_eq!(write(client, b"0123456789"), (SEALWIRE_OK, 10));
    let mut got = Vec::new();
    while got.len() < 10 {
        let events = rig.wait();
        for event in events {
            assert_eq!((event.kind, event.conn), (SEALWIRE_EVENT_READABLE, server));
            assert_eq!(event.bytes, 10 - got.len() as u64);
            got.extend(read(server, 1).1);
        }
    }
    assert_eq!(got, b"0123456789");
    assert!(rig.wait_for(50, 8).is_empty());
    free([client, server]);
    sealwire_listener_free(listener);
}

pub(super) fn the_end_of_a_stream_is_told_until_it_is_read(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    assert_eq!(write(client, b"last"), (SEALWIRE_OK, 4));
    assert_eq!(sealwire_conn_shutdown(client), SEALWIRE_OK);
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 64), (SEALWIRE_OK, b"last".to_vec()));
    for _ in 0..3 {
        let event = rig.run_until(SEALWIRE_EVENT_READABLE, server);
        assert_eq!(event.bytes, 0);
    }
    assert_eq!(sealwire_conn_set_reading(server, false), SEALWIRE_OK);
    assert!(rig.wait_for(50, 8).is_empty());
    assert_eq!(sealwire_conn_set_reading(server, true), SEALWIRE_OK);
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 64), (SEALWIRE_EOF, vec![]));
    assert!(!sealwire_conn_wants_read(server));
    assert!(rig.wait_for(50, 8).is_empty());
    // This side may go on.
    assert_eq!(write(server, b"answer"), (SEALWIRE_OK, 6));
    assert_eq!(sealwire_conn_shutdown(server), SEALWIRE_OK);
    rig.run_until(SEALWIRE_EVENT_READABLE, client);
    assert_eq!(read(client, 64), (SEALWIRE_OK, b"answer".to_vec()));
    assert_eq!(
        rig.run_until(SEALWIRE_EVENT_CLOSED, client).result,
        SEALWIRE_OK
    );
    assert_eq!(sealwire_conn_shutdown(client), SEALWIRE_OK);
    free([client, server]);
    rig.settle();
    sealwire_listener_free(listener);
}

pub(super) fn what_is_not_to_be_read_is_not_told(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    assert_eq!(sealwire_conn_set_reading(server, false), SEALWIRE_OK);
    assert_eq!(write(client, b"later"), (SEALWIRE_OK, 5));
    assert!(rig.wait_for(50, 8).is_empty());
    assert_eq!(sealwire_conn_set_reading(server, true), SEALWIRE_OK);
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 64), (SEALWIRE_OK, b"later".to_vec()));
    free([client, server]);
    sealwire_listener_free(listener);
}

pub(super) fn a_full_queue_is_writable_again(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    assert_eq!(sealwire_conn_set_reading(server, false), SEALWIRE_OK);
    let chunk = vec![b'z'; 1_000_000];
    let mut sent = 0;
    let refused = loop {
        let (result, written) = write(client, &chunk);
        sent += written;
        if result != SEALWIRE_OK {
            break result;
        }
        rig.wait_for(0, 8);
    };
    assert_eq!(refused, SEALWIRE_WANT_WRITE);
    // As long as nobody reads, the queue stays full once the kernel's memory is.
    while !rig.wait_for(50, 8).is_empty() {
        while let (SEALWIRE_OK, written) = write(client, &chunk) {
            sent += written;
        }
    }
    let (mut is_writable, mut got) = (false, 0);
    assert_eq!(sealwire_conn_set_reading(server, true), SEALWIRE_OK);
    rig.run(|event| {
        match event.kind {
            SEALWIRE_EVENT_READABLE => got += read(server, 4_000_000).1.len(),
            SEALWIRE_EVENT_WRITABLE => {
                assert_eq!(event.conn, client);
                assert!(!is_writable, "told twice");
                is_writable = true;
                assert_eq!(write(client, b"!"), (SEALWIRE_OK, 1));
                sent += 1;
            }
            _ => {}
        }
        is_writable && got == sent
    });
    free([client, server]);
    sealwire_listener_free(listener);
}

pub(super) fn another_thread_wakes_the_engine(backend: c_int) {
    let rig = Rig::new(backend);
    let engine = AtomicPtr::new(rig.engine);
    thread::scope(|scope| {
        scope.spawn(|| {
            let engine = engine.load(Ordering::Relaxed);
            assert_eq!(sealwire_engine_wake(engine), SEALWIRE_OK);
        });
        let events = rig.wait_for(-1, 8);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind, SEALWIRE_EVENT_WOKEN);
        assert!(events[0].conn.is_null());
    });
    // Before a wait, and as often as one likes: once.
    assert_eq!(sealwire_engine_wake(rig.engine), SEALWIRE_OK);
    assert_eq!(sealwire_engine_wake(rig.engine), SEALWIRE_OK);
    assert_eq!(rig.wait_for(-1, 8).len(), 1);
    assert!(rig.wait_for(0, 8).is_empty());
}

static INTERRUPTED: AtomicPtr<sealwire_engine> = AtomicPtr::new(ptr::null_mut());

extern "C" fn interrupt(signal: c_int) {
    if signal == libc::SIGUSR2 {
        sealwire_engine_wake(INTERRUPTED.load(Ordering::Relaxed));
    }
}

pub(super) fn a_signal_handler_wakes_the_engine(backend: c_int) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let rig = Rig::new(backend);
    INTERRUPTED.store(rig.engine, Ordering::Relaxed);
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        let handler = interrupt as extern "C" fn(c_int);
        // SAFETY: the handler does nothing that a handler may not.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    // SAFETY: a question.
    let waiter = unsafe { libc::pthread_self() };
    thread::scope(|scope| {
        scope.spawn(|| {
            // The first says nothing to the engine, and so must not end its wait.
            for signal in [libc::SIGUSR1, libc::SIGUSR2] {
                thread::sleep(Duration::from_millis(30));
                // SAFETY: the thread waits for this one.
                unsafe { libc::pthread_kill(waiter, signal) };
            }
        });
        let events = rig.wait_for(-1, 8);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind, SEALWIRE_EVENT_WOKEN);
    });
}

pub(super) fn events_that_found_no_room_are_told_later(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let clients = [rig.client(), rig.client(), rig.client()];
    for client in clients {
        rig.connect(client, listener);
    }
    let mut told = HashMap::new();
    let mut servers = Vec::new();
    let begun = Instant::now();
    while told.get(&SEALWIRE_EVENT_CLOSED.name()) != Some(&6) {
        assert!(begun.elapsed() < HANG, "{told:?}");
        let events = rig.wait_for(1_000, 1);
        assert!(events.len() <= 1);
        let Some(event) = events.first() else {
            continue;
        };
        *told.entry(event.kind.name()).or_insert(0) += 1;
        match event.kind {
            SEALWIRE_EVENT_ACCEPTED => servers.push(event.conn),
            SEALWIRE_EVENT_READY => {
                assert_eq!(sealwire_conn_shutdown(event.conn), SEALWIRE_OK);
            }
            SEALWIRE_EVENT_CLOSED => assert_eq!(event.result, SEALWIRE_OK),
            _ => {}
        }
    }
    assert_eq!(told[SEALWIRE_EVENT_ACCEPTED.name()], 3);
    assert_eq!(told[SEALWIRE_EVENT_READY.name()], 6);
    servers.extend(clients);
    servers
        .into_iter()
        .for_each(|conn| sealwire_conn_free(conn));
    sealwire_listener_free(listener);
}

impl sealwire_event_kind {
    fn name(self) -> &'static str {
        match self {
            SEALWIRE_EVENT_ACCEPTED => "accepted",
            SEALWIRE_EVENT_READY => "ready",
            SEALWIRE_EVENT_CLOSED => "closed",
            _ => "other",
        }
    }
}

pub(super) fn a_cut_stream_is_an_error_with_words(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let address = address_of(listener);
    let client = thread::spawn(move || {
        let socket = TcpStream::connect(address).unwrap();
        let config = client_config();
        let conn = new_client(config);
        sealwire_config_free(config);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        assert_eq!(sealwire_conn_set_fd(conn, fd), SEALWIRE_OK);
        assert_eq!(write(conn, b"cut"), (SEALWIRE_OK, 3));
        sealwire_conn_free(conn);
        // No close_notify, an orderly end of the stream of TCP.
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = (&socket).read(&mut [0; 4_096]);
    });
    let mut got = Vec::new();
    let mut server = ptr::null_mut();
    let mut end = None;
    rig.run(|event| {
        match event.kind {
            SEALWIRE_EVENT_ACCEPTED => server = event.conn,
            SEALWIRE_EVENT_READABLE => got.extend(read(server, 64).1),
            SEALWIRE_EVENT_CLOSED => end = Some(*event),
            _ => {}
        }
        end.is_some()
    });
    assert_eq!(got, b"cut");
    let end = end.unwrap();
    assert_eq!(end.result, SEALWIRE_ERR_TRUNCATED);
    assert!(error_text(server).contains("close_notify"));
    assert_eq!(read(server, 1), (SEALWIRE_ERR_TRUNCATED, vec![]));
    assert_eq!(write(server, b"x"), (SEALWIRE_ERR_TRUNCATED, 0));
    assert_eq!(sealwire_conn_shutdown(server), SEALWIRE_ERR_TRUNCATED);
    assert_eq!(sealwire_conn_handshake(server), SEALWIRE_ERR_TRUNCATED);
    sealwire_conn_free(server);
    client.join().unwrap();
    sealwire_listener_free(listener);
}

pub(super) fn a_peer_without_tls_is_an_error_with_words(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let mut client = TcpStream::connect(address_of(listener)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut end = None;
    rig.run(|event| {
        end = (event.kind == SEALWIRE_EVENT_CLOSED).then_some(*event);
        end.is_some()
    });
    let end = end.unwrap();
    assert_eq!(end.result, SEALWIRE_ERR_NOT_TLS);
    assert!(!error_text(end.conn).is_empty());
    sealwire_conn_free(end.conn);
    sealwire_listener_free(listener);
}

pub(super) fn a_refused_connect_is_told(backend: c_int) {
    let rig = Rig::new(backend);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = CString::new(gone.local_addr().unwrap().to_string()).unwrap();
    drop(gone);
    let client = rig.client();
    assert_eq!(
        sealwire_engine_connect(rig.engine, client, address.as_ptr(), 5_000),
        SEALWIRE_OK
    );
    let end = rig.run_until(SEALWIRE_EVENT_CLOSED, client);
    assert_eq!(end.result, SEALWIRE_ERR_IO);
    assert_eq!(sealwire_conn_os_error(client), libc::ECONNREFUSED);
    assert!(error_text(client).contains(address.to_str().unwrap()));
    sealwire_conn_free(client);
}

pub(super) fn an_unanswered_connect_times_out(backend: c_int) {
    use socket2::{Domain, Socket, Type};

    let rig = Rig::new(backend);
    // A listener that accepts nobody: once its queue is full, the kernel answers no SYN.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&any.into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let waiting = [(); 4].map(|()| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let _ = socket.connect(&address);
        socket
    });
    let text = CString::new(address.as_socket().unwrap().to_string()).unwrap();
    let client = rig.client();
    assert_eq!(
        sealwire_engine_connect(rig.engine, client, text.as_ptr(), 100),
        SEALWIRE_OK
    );
    let end = rig.run_until(SEALWIRE_EVENT_CLOSED, client);
    assert_eq!(end.result, SEALWIRE_ERR_TIMEOUT);
    assert!(error_text(client).contains("no answer in time"));
    sealwire_conn_free(client);
    drop(waiting);
}
