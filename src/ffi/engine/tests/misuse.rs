//! Mistakes of the caller: each ends in a result code, and changes nothing.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;

use super::*;

pub(super) fn of_null_nothing_is_known(_backend: c_int) {
    let nobody = ptr::null_mut();
    assert_eq!(sealwire_engine_backend(nobody), -1);
    assert_eq!(sealwire_engine_fd(nobody), -1);
    assert_eq!(sealwire_engine_timeout_ms(nobody), -1);
    assert_eq!(sealwire_engine_conn_count(nobody), 0);
    assert_eq!(sealwire_engine_os_error(nobody), 0);
    assert_eq!(sealwire_engine_error_text(nobody, ptr::null_mut(), 0), 0);
    assert_eq!(sealwire_engine_describe(nobody, ptr::null_mut(), 0), 0);
    assert_eq!(sealwire_listener_port(ptr::null()), 0);
    assert_eq!(
        sealwire_listener_address(ptr::null(), ptr::null_mut(), 0),
        0
    );
    assert_eq!(
        sealwire_conn_peer_address(ptr::null(), ptr::null_mut(), 0),
        0
    );
    assert!(sealwire_conn_user_data(ptr::null()).is_null());
    sealwire_engine_free(nobody);
    sealwire_listener_free(ptr::null_mut());
}

pub(super) fn arguments_are_looked_at(backend: c_int) {
    let mut engine = ptr::null_mut();
    let good = options(backend);
    let bad = [
        sealwire_engine_options { size: 0, ..good },
        sealwire_engine_options { size: 23, ..good },
        sealwire_engine_options {
            size: usize::MAX,
            ..good
        },
        sealwire_engine_options { backend: 3, ..good },
        sealwire_engine_options {
            backend: -1,
            ..good
        },
        sealwire_engine_options {
            recv_buf_count: 3,
            ..good
        },
        sealwire_engine_options {
            recv_buf_count: 65_536,
            ..good
        },
        sealwire_engine_options {
            recv_buf_len: u32::MAX,
            ..good
        },
    ];
    for options in &bad {
        assert_eq!(
            sealwire_engine_new(options, &raw mut engine),
            SEALWIRE_ERR_ARGUMENT
        );
    }
    assert!(engine.is_null());
    // A later header may know more options: those that are not used cannot matter.
    #[repr(C)]
    struct Later(sealwire_engine_options, u64);
    let mut later = Later(good, 0);
    later.0.size = size_of::<Later>();
    let pointer = (&raw const later).cast();
    assert_eq!(sealwire_engine_new(pointer, &raw mut engine), SEALWIRE_OK);
    sealwire_engine_free(engine);
    later.1 = 1;
    let pointer = (&raw const later).cast();
    assert_eq!(
        sealwire_engine_new(pointer, &raw mut engine),
        SEALWIRE_ERR_ARGUMENT
    );

    let rig = Rig::new(backend);
    let mut event = sealwire_event::new(SEALWIRE_EVENT_WOKEN);
    let mut count = 77;
    let wait = |room| sealwire_engine_wait(rig.engine, 0, &raw mut event, room, &raw mut count);
    assert_eq!([0, usize::MAX].map(wait), [SEALWIRE_ERR_ARGUMENT; 2]);
    let unaligned = (&raw mut event).cast::<u8>().wrapping_add(1).cast();
    let result = sealwire_engine_wait(rig.engine, 0, unaligned, 1, &raw mut count);
    assert_eq!((result, count), (SEALWIRE_ERR_ARGUMENT, 77));
    let client = rig.client();
    for address in [c"localhost:1", c"", c"127.0.0.1", c"unix:"] {
        let address = address.as_ptr();
        let result = sealwire_engine_connect(rig.engine, client, address, 1);
        assert_eq!(result, SEALWIRE_ERR_ARGUMENT);
        assert!(!rig.error().is_empty());
    }
    let any = c"127.0.0.1:1".as_ptr();
    assert_eq!(
        sealwire_engine_connect(rig.engine, client, any, 0),
        SEALWIRE_ERR_ARGUMENT
    );
    let mut listener = ptr::null_mut();
    let config = rig.client_config;
    let result = sealwire_engine_listen(rig.engine, config, any, ptr::null(), &raw mut listener);
    assert_eq!(result, SEALWIRE_ERR_ARGUMENT);
    let reserved = sealwire_listen_options {
        reserved: 1,
        ..Default::default()
    };
    let config = rig.server_config;
    let result = sealwire_engine_listen(rig.engine, config, any, &reserved, &raw mut listener);
    assert_eq!(result, SEALWIRE_ERR_ARGUMENT);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = CString::new(taken.local_addr().unwrap().to_string()).unwrap();
    let result = sealwire_engine_listen(
        rig.engine,
        config,
        address.as_ptr(),
        ptr::null(),
        &raw mut listener,
    );
    assert_eq!(result, SEALWIRE_ERR_IO);
    assert_eq!(sealwire_engine_os_error(rig.engine), libc::EADDRINUSE);
    assert!(listener.is_null());
    sealwire_conn_free(client);
}

pub(super) fn a_descriptor_stays_the_callers_on_failure(backend: c_int) {
    let rig = Rig::new(backend);
    let conn = rig.client();
    let attach = |fd| sealwire_engine_attach(rig.engine, conn, fd);
    let (read_end, _write_end) = std::io::pipe().unwrap();
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().into_raw_fd();
    // SAFETY: this test's own.
    drop(unsafe { OwnedFd::from_raw_fd(closed) });
    // A number that no descriptor of this process, whose other threads open some, ever has.
    assert_eq!(attach(1 << 30), SEALWIRE_ERR_ARGUMENT);
    assert_eq!(attach(-1), SEALWIRE_ERR_ARGUMENT);
    assert_eq!(attach(read_end.as_raw_fd()), SEALWIRE_ERR_ARGUMENT);
    assert_eq!(attach(datagram.as_raw_fd()), SEALWIRE_ERR_ARGUMENT);
    assert_eq!(attach(listener.as_raw_fd()), SEALWIRE_ERR_IO);
    assert_eq!(sealwire_engine_os_error(rig.engine), libc::ENOTCONN);
    assert!(listener.local_addr().is_ok() && datagram.local_addr().is_ok());
    // Nothing of that has begun the connection.
    let (mine, theirs) = sockets();
    let fd = theirs.into_raw_fd();
    assert_eq!(attach(fd), SEALWIRE_OK);
    assert_eq!(sealwire_engine_conn_count(rig.engine), 1);
    drop(mine);
    let end = rig.run_until(SEALWIRE_EVENT_CLOSED, conn);
    assert!(end.result == SEALWIRE_ERR_TRUNCATED || end.result == SEALWIRE_ERR_IO);
    sealwire_conn_free(conn);
}

pub(super) fn a_connection_has_one_transport(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    let address = CString::new(address_of(listener)).unwrap();
    let (mine, theirs) = sockets();
    let mut count = 0;
    let results = [
        sealwire_engine_attach(rig.engine, client, theirs.as_raw_fd()),
        sealwire_engine_connect(rig.engine, client, address.as_ptr(), 1_000),
        sealwire_engine_attach(rig.engine, server, theirs.as_raw_fd()),
        sealwire_conn_set_fd(client, theirs.as_raw_fd()),
        sealwire_conn_set_plaintext(client),
        sealwire_conn_start_tls(client),
        sealwire_conn_feed(client, [0].as_ptr(), 1, &raw mut count),
        sealwire_conn_output_sent(client, 0),
    ];
    assert_eq!(results, [SEALWIRE_ERR_STATE; 8]);
    assert_eq!(sealwire_conn_output(client, &mut ptr::null()), 0);
    // One with a descriptor, and one that has begun in memory.
    let own = rig.client();
    assert_eq!(sealwire_conn_set_fd(own, mine.as_raw_fd()), SEALWIRE_OK);
    let attach = |conn| sealwire_engine_attach(rig.engine, conn, theirs.as_raw_fd());
    assert_eq!(attach(own), SEALWIRE_ERR_STATE);
    let begun = rig.client();
    assert!(sealwire_conn_output(begun, &mut ptr::null()) > 0);
    assert_eq!(attach(begun), SEALWIRE_ERR_STATE);
    assert_eq!(sealwire_conn_set_reading(own, true), SEALWIRE_ERR_STATE);
    assert!(theirs.peer_addr().is_ok());
    // All of that has left the connection in use.
    assert_eq!(write(client, b"well"), (SEALWIRE_OK, 4));
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 64), (SEALWIRE_OK, b"well".to_vec()));
    free([client, server, own, begun]);
    sealwire_listener_free(listener);
}

/// Handles that other threads have no business with.
#[derive(Clone, Copy)]
struct Foreign {
    engine: *mut sealwire_engine,
    listener: *mut sealwire_listener,
    conn: *mut sealwire_conn,
    unbegun: *mut sealwire_conn,
    server_config: *const sealwire_config,
}

// SAFETY: what these tests are about.
unsafe impl Send for Foreign {}

impl Foreign {
    /// Calls everything that returns a result.
    fn call_all(self) -> Vec<sealwire_result> {
        let Self {
            engine,
            listener: _,
            conn,
            unbegun,
            server_config,
        } = self;
        let any = c"127.0.0.1:0".as_ptr();
        let mut event = sealwire_event::new(SEALWIRE_EVENT_WOKEN);
        let mut count = 0;
        let mut listener = ptr::null_mut();
        let none = ptr::null();
        vec![
            sealwire_engine_listen(engine, server_config, any, none, &raw mut listener),
            sealwire_engine_connect(engine, unbegun, any, 1),
            sealwire_engine_attach(engine, unbegun, 0),
            sealwire_engine_wait(engine, 0, &raw mut event, 1, &raw mut count),
            read(conn, 1).0,
            write(conn, b"x").0,
            sealwire_conn_handshake(conn),
            sealwire_conn_flush(conn),
            sealwire_conn_shutdown(conn),
            sealwire_conn_start_tls(conn),
            sealwire_conn_set_plaintext(conn),
            sealwire_conn_set_fd(conn, 0),
            sealwire_conn_set_reading(conn, false),
            sealwire_conn_set_user_data(conn, ptr::null_mut()),
            sealwire_conn_feed(conn, [0].as_ptr(), 1, &raw mut count),
            sealwire_conn_output_sent(conn, 0),
        ]
    }

    /// Calls everything that returns something else, and frees.
    fn ask_all_and_free(self) {
        assert_eq!(sealwire_engine_backend(self.engine), -1);
        assert_eq!(sealwire_engine_fd(self.engine), -1);
        assert_eq!(sealwire_engine_timeout_ms(self.engine), -1);
        assert_eq!(sealwire_engine_conn_count(self.engine), 0);
        assert_eq!(sealwire_engine_os_error(self.engine), 0);
        let texts = [
            text(|buf, len| sealwire_engine_error_text(self.engine, buf, len)),
            text(|buf, len| sealwire_engine_describe(self.engine, buf, len)),
            text(|buf, len| sealwire_listener_address(self.listener, buf, len)),
            text(|buf, len| sealwire_conn_peer_address(self.conn, buf, len)),
            text(|buf, len| sealwire_conn_error_text(self.conn, buf, len)),
        ];
        assert_eq!(texts.concat(), "");
        assert_eq!(sealwire_listener_port(self.listener), 0);
        assert_eq!(sealwire_conn_pending(self.conn), 0);
        assert_eq!(sealwire_conn_queued(self.conn), 0);
        assert_eq!(sealwire_conn_timeout_ms(self.conn), -1);
        assert_eq!(sealwire_conn_alert(self.conn), -1);
        assert_eq!(sealwire_conn_os_error(self.conn), 0);
        assert!(!sealwire_conn_wants_read(self.conn) && !sealwire_conn_wants_write(self.conn));
        assert!(sealwire_conn_user_data(self.conn).is_null());
        sealwire_conn_free(self.conn);
        sealwire_listener_free(self.listener);
        sealwire_engine_free(self.engine);
    }
}

pub(super) fn another_thread_is_refused_by_every_function(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    let mut word = 7_u64;
    for conn in [client, server] {
        sealwire_conn_set_user_data(conn, (&raw mut word).cast());
    }
    let unbegun = rig.client();
    for conn in [client, server] {
        let foreign = Foreign {
            engine: rig.engine,
            listener,
            conn,
            unbegun,
            server_config: rig.server_config,
        };
        let stranger = thread::spawn(move || {
            let results = foreign.call_all();
            foreign.ask_all_and_free();
            results
        });
        let results = stranger.join().unwrap();
        assert_eq!(results, vec![SEALWIRE_ERR_THREAD; results.len()]);
    }
    // Nothing was freed or changed.
    assert_eq!(write(client, b"well"), (SEALWIRE_OK, 4));
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 64), (SEALWIRE_OK, b"well".to_vec()));
    free([client, server, unbegun]);
    sealwire_listener_free(listener);
}

pub(super) fn a_child_of_fork_is_refused(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    let foreign = Foreign {
        engine: rig.engine,
        listener,
        conn: client,
        unbegun: client,
        server_config: rig.server_config,
    };
    // SAFETY: the child calls what is tested and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut results = foreign.call_all();
        results.push(sealwire_engine_wake(rig.engine));
        // Nothing of the parent's is ended.
        sealwire_conn_free(client);
        sealwire_listener_free(listener);
        sealwire_engine_free(rig.engine);
        let is_refused = results.iter().all(|result| *result == SEALWIRE_ERR_FORKED);
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!is_refused)) };
    }
    let mut status = -1;
    // SAFETY: `status` is what the call writes to.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    assert!(rig.wait_for(0, 8).is_empty());
    assert_eq!(write(client, b"well"), (SEALWIRE_OK, 4));
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 64), (SEALWIRE_OK, b"well".to_vec()));
    free([client, server]);
    sealwire_listener_free(listener);
}
