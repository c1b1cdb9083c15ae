//! Servers that send back what they get.

use std::thread;

use super::*;

/// Reads all there is and sends it back; ends with the peer.
fn echo(conn: *mut sealwire_conn) {
    loop {
        match read(conn, 64 * 1024) {
            (SEALWIRE_OK, data) => {
                assert_eq!(write(conn, &data), (SEALWIRE_OK, data.len()));
            }
            (SEALWIRE_EOF, _) => {
                assert_eq!(sealwire_conn_shutdown(conn), SEALWIRE_OK);
                return;
            }
            (result, _) => return assert_eq!(result, SEALWIRE_WANT_READ),
        }
    }
}

/// Serves until so many connections have ended in order; `client` gets the events of the others.
fn serve(rig: &Rig, mut count: usize, mut client: impl FnMut(&sealwire_event)) {
    let mut served = Vec::new();
    rig.run(|event| {
        match event.kind {
            SEALWIRE_EVENT_ACCEPTED => served.push(event.conn),
            _ if !served.contains(&event.conn) => client(event),
            SEALWIRE_EVENT_READABLE => echo(event.conn),
            SEALWIRE_EVENT_CLOSED => {
                assert_eq!(event.result, SEALWIRE_OK, "{}", error_text(event.conn));
                served.retain(|conn| *conn != event.conn);
                sealwire_conn_free(event.conn);
                count -= 1;
            }
            _ => {}
        }
        count == 0
    });
}

pub(super) fn both_ends_share_an_engine(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let client = rig.client();
    let mut word = 7_u64;
    let word = (&raw mut word).cast::<c_void>();
    assert_eq!(sealwire_conn_set_user_data(client, word), SEALWIRE_OK);
    rig.connect(client, listener);
    assert_eq!(write(client, b"too early"), (SEALWIRE_WANT_READ, 0));
    let mut got = Vec::new();
    let mut is_closed = false;
    serve(&rig, 1, |event| {
        assert_eq!((event.conn, event.user_data), (client, word));
        match event.kind {
            SEALWIRE_EVENT_READY => {
                assert_eq!(sealwire_conn_handshake(client), SEALWIRE_OK);
                assert_eq!(write(client, b"hello"), (SEALWIRE_OK, 5));
                assert_eq!(sealwire_conn_flush(client), SEALWIRE_WANT_WRITE);
                assert!(sealwire_conn_queued(client) > 0 && sealwire_conn_wants_write(client));
            }
            SEALWIRE_EVENT_READABLE => match read(client, 64) {
                (SEALWIRE_OK, data) => {
                    got.extend(data);
                    assert_eq!(sealwire_conn_flush(client), SEALWIRE_OK);
                    assert_eq!(sealwire_conn_shutdown(client), SEALWIRE_OK);
                    assert_eq!(write(client, b"late"), (SEALWIRE_ERR_STATE, 0));
                }
                (result, _) => assert_eq!(result, SEALWIRE_EOF),
            },
            SEALWIRE_EVENT_CLOSED => is_closed = true,
            _ => {}
        }
    });
    assert_eq!(got, b"hello");
    if !is_closed {
        let end = rig.run_until(SEALWIRE_EVENT_CLOSED, client);
        assert_eq!(end.result, SEALWIRE_OK);
    }
    assert_eq!(read(client, 1), (SEALWIRE_EOF, vec![]));
    sealwire_conn_free(client);
    assert_eq!(sealwire_engine_conn_count(rig.engine), 0);
    sealwire_listener_free(listener);
}

pub(super) fn a_blocking_peer_is_served(backend: c_int) {
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
        let sent = vec![b'x'; 300_000];
        let mut got = Vec::new();
        for chunk in sent.chunks(30_000) {
            assert_eq!(write(conn, chunk), (SEALWIRE_OK, chunk.len()));
            let begun = got.len();
            while got.len() < begun + chunk.len() {
                got.extend(read(conn, 16 * 1024).1);
            }
        }
        assert_eq!(got, sent);
        assert_eq!(sealwire_conn_shutdown(conn), SEALWIRE_OK);
        assert_eq!(read(conn, 1), (SEALWIRE_EOF, vec![]));
        sealwire_conn_free(conn);
    });
    serve(&rig, 1, |_| {});
    client.join().unwrap();
    sealwire_listener_free(listener);
}

pub(super) fn a_thousand_connections_are_served(backend: c_int) {
    raise_descriptor_limit();
    let rig = Rig::new(backend);
    let options = sealwire_listen_options::default();
    let listener = rig.listen_with(ptr::null(), &options);
    for _ in 0..1_000 {
        let client = rig.client();
        assert_eq!(sealwire_conn_set_plaintext(client), SEALWIRE_OK);
        rig.connect(client, listener);
    }
    let mut got = HashMap::new();
    let mut closed = 0;
    serve(&rig, 1_000, |event| {
        let client = event.conn;
        match event.kind {
            SEALWIRE_EVENT_READY => assert_eq!(write(client, b"ping"), (SEALWIRE_OK, 4)),
            SEALWIRE_EVENT_READABLE => match read(client, 4) {
                (SEALWIRE_OK, data) => {
                    let got: &mut Vec<u8> = got.entry(client).or_default();
                    got.extend(data);
                    if got == b"ping" {
                        assert_eq!(sealwire_conn_shutdown(client), SEALWIRE_OK);
                    }
                }
                (result, _) => assert_eq!(result, SEALWIRE_EOF),
            },
            SEALWIRE_EVENT_CLOSED => {
                assert_eq!(event.result, SEALWIRE_OK);
                sealwire_conn_free(client);
                closed += 1;
            }
            _ => {}
        }
    });
    assert!(got.len() == 1_000 && got.values().all(|got| got == b"ping"));
    while closed < 1_000 {
        for event in rig.wait() {
            if event.kind == SEALWIRE_EVENT_CLOSED {
                sealwire_conn_free(event.conn);
                closed += 1;
            }
        }
    }
    sealwire_listener_free(listener);
}

pub(super) fn many_records_are_read_at_once(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    // More than a record, and so several of them.
    let sent = vec![b'y'; 100_000];
    assert_eq!(write(client, &sent), (SEALWIRE_OK, sent.len()));
    let mut reads = 0;
    let mut got = Vec::new();
    rig.run(|event| {
        if (event.kind, event.conn) == (SEALWIRE_EVENT_READABLE, server) {
            assert_eq!(event.bytes, sealwire_conn_pending(server) as u64);
            assert_eq!(sealwire_conn_timeout_ms(server), 0);
            got.extend(read(server, 200_000).1);
            reads += 1;
            assert_eq!(read(server, 1), (SEALWIRE_WANT_READ, vec![]));
        }
        got.len() == sent.len()
    });
    assert_eq!(got, sent);
    // Seven records, in receive buffers of two of them.
    assert!(reads <= 5, "{reads}");
    free([client, server]);
    sealwire_listener_free(listener);
}

pub(super) fn tls_begins_in_mid_stream(backend: c_int) {
    let rig = Rig::new(backend);
    let options = sealwire_listen_options {
        plaintext_first: 1,
        ..Default::default()
    };
    let listener = rig.listen_with(rig.server_config, &options);
    let client = rig.client();
    assert_eq!(sealwire_conn_set_plaintext(client), SEALWIRE_OK);
    rig.connect(client, listener);
    assert_eq!(sealwire_conn_start_tls(client), SEALWIRE_ERR_STATE);
    let mut server = ptr::null_mut();
    rig.run(|event| {
        if event.kind == SEALWIRE_EVENT_ACCEPTED {
            server = event.conn;
            assert_eq!(write(server, b"greeting"), (SEALWIRE_OK, 8));
        }
        (event.kind, event.conn) == (SEALWIRE_EVENT_READABLE, client)
    });
    assert_eq!(read(client, 64), (SEALWIRE_OK, b"greeting".to_vec()));
    // The request and the ClientHello leave together: the server must not take one for the other.
    assert_eq!(write(client, b"request"), (SEALWIRE_OK, 7));
    assert_eq!(sealwire_conn_start_tls(client), SEALWIRE_OK);
    assert_eq!(sealwire_conn_start_tls(client), SEALWIRE_ERR_STATE);
    assert_eq!(write(client, b"secret"), (SEALWIRE_WANT_READ, 0));
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 7), (SEALWIRE_OK, b"request".to_vec()));
    assert_eq!(sealwire_conn_start_tls(server), SEALWIRE_OK);
    assert_eq!(sealwire_conn_handshake(server), SEALWIRE_WANT_READ);
    rig.run_until(SEALWIRE_EVENT_READY, client);
    assert_eq!(write(client, b"secret"), (SEALWIRE_OK, 6));
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    assert_eq!(read(server, 64), (SEALWIRE_OK, b"secret".to_vec()));
    free([client, server]);
    sealwire_listener_free(listener);
}

pub(super) fn without_a_configuration_all_is_plain(backend: c_int) {
    let rig = Rig::new(backend);
    let mut word = 7_u64;
    let options = sealwire_listen_options {
        user_data: (&raw mut word).cast(),
        ..Default::default()
    };
    let listener = rig.listen_with(ptr::null(), &options);
    let address = address_of(listener);
    let port = sealwire_listener_port(listener);
    assert_eq!(address, format!("127.0.0.1:{port}"));
    let mut client = TcpStream::connect(address).unwrap();
    let mut server = ptr::null_mut();
    std::io::Write::write_all(&mut client, b"plain").unwrap();
    rig.run(|event| {
        if event.kind == SEALWIRE_EVENT_ACCEPTED {
            server = event.conn;
            assert_eq!(
                (event.listener, event.user_data),
                (listener, options.user_data)
            );
            let peer = text(|buf, len| sealwire_conn_peer_address(server, buf, len));
            assert_eq!(peer, client.local_addr().unwrap().to_string());
        }
        event.kind == SEALWIRE_EVENT_READABLE
    });
    assert_eq!(read(server, 64), (SEALWIRE_OK, b"plain".to_vec()));
    assert_eq!(sealwire_conn_start_tls(server), SEALWIRE_ERR_STATE);
    sealwire_conn_free(server);
    sealwire_listener_free(listener);
}

pub(super) fn unix_sockets_are_served(backend: c_int) {
    let rig = Rig::new(backend);
    let folder = tempfile::tempdir().unwrap();
    let path = format!("unix:{}/echo.sock", folder.path().display());
    let address = CString::new(path.clone()).unwrap();
    let mut listener = ptr::null_mut();
    let result = sealwire_engine_listen(
        rig.engine,
        rig.server_config,
        address.as_ptr(),
        ptr::null(),
        &raw mut listener,
    );
    assert_eq!(result, SEALWIRE_OK);
    assert_eq!(address_of(listener), path);
    assert_eq!(sealwire_listener_port(listener), 0);
    let (client, server) = rig.pair(listener);
    let peer = text(|buf, len| sealwire_conn_peer_address(server, buf, len));
    assert_eq!(peer, "unix");
    free([client, server]);
    sealwire_listener_free(listener);
}

pub(super) fn facts_outlive_the_connection(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    let version = sealwire_conn_version(client);
    assert!(version > 0);
    assert_eq!(sealwire_conn_shutdown(client), SEALWIRE_OK);
    assert_eq!(sealwire_conn_shutdown(server), SEALWIRE_OK);
    rig.run_until(SEALWIRE_EVENT_CLOSED, server);
    rig.settle();
    // Of the server they were not asked for before.
    assert_eq!(sealwire_conn_version(server), version);
    assert_eq!(sealwire_conn_version(client), version);
    free([client, server]);
    sealwire_listener_free(listener);
}

pub(super) fn a_reload_holds_for_what_is_accepted_later(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (before, peer_before) = rig.pair(listener);
    let builder = server_builder();
    let older = SEALWIRE_TLS_1_2;
    assert_eq!(
        sealwire_config_builder_set_max_version(builder, older),
        SEALWIRE_OK
    );
    assert_eq!(
        sealwire_config_reload(rig.server_config, builder),
        SEALWIRE_OK
    );
    sealwire_config_builder_free(builder);
    let (after, peer_after) = rig.pair(listener);
    assert!(sealwire_conn_version(before) > older);
    assert_eq!(sealwire_conn_version(after), older);
    free([before, peer_before, after, peer_after]);
    sealwire_listener_free(listener);
}

fn raise_descriptor_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is what the call writes to.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is what the call reads.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}
