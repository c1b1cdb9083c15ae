//! Handles that are freed: in any order, and with operations under way.

use std::io::Read;
use std::thread;

use super::*;

pub(super) fn handles_are_freed_in_any_order(backend: c_int) {
    for order in orders() {
        let rig = Rig::new(backend);
        let listener = rig.listen();
        let (client, server) = rig.pair(listener);
        // Under way: a receive on either side, a send, an accept, a handshake, a connect.
        assert_eq!(write(client, &[1; 200_000]).0, SEALWIRE_OK);
        let other = rig.client();
        rig.connect(other, listener);
        rig.wait_for(0, 1);
        let mut is_engine_there = true;
        for handle in order {
            match handle {
                0 => {
                    sealwire_engine_free(rig.engine);
                    is_engine_there = false;
                }
                1 => sealwire_conn_free(client),
                2 => sealwire_conn_free(server),
                _ => sealwire_listener_free(listener),
            }
            if is_engine_there {
                rig.wait_for(0, 1);
            }
        }
        assert_eq!(write(other, b"x"), (SEALWIRE_ERR_STATE, 0));
        assert!(error_text(other).contains("freed"));
        sealwire_conn_free(other);
        sealwire_config_free(rig.server_config);
        sealwire_config_free(rig.client_config);
        std::mem::forget(rig);
    }
}

/// Every order of four.
fn orders() -> Vec<[u8; 4]> {
    let all = (0..256_u16).map(|number| [0, 2, 4, 6].map(|shift| (number >> shift & 3) as u8));
    let is_order = |order: &[u8; 4]| (0..4).all(|handle| order.contains(&handle));
    let orders = all.filter(is_order).collect::<Vec<_>>();
    assert_eq!(orders.len(), 24);
    orders
}

pub(super) fn what_was_shut_down_is_sent_after_its_handle(backend: c_int) {
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
        let mut got = 0;
        let end = loop {
            let (result, data) = read(conn, 64 * 1024);
            got += data.len();
            if result != SEALWIRE_OK {
                break result;
            }
        };
        sealwire_conn_free(conn);
        (end, got)
    });
    let mut server = ptr::null_mut();
    rig.run(|event| {
        server = event.conn;
        event.kind == SEALWIRE_EVENT_READY
    });
    assert_eq!(write(server, &[7; 200_000]), (SEALWIRE_OK, 200_000));
    assert_eq!(sealwire_conn_shutdown(server), SEALWIRE_OK);
    sealwire_conn_free(server);
    assert_eq!(sealwire_engine_conn_count(rig.engine), 1);
    rig.settle();
    assert_eq!(client.join().unwrap(), (SEALWIRE_EOF, 200_000));
    sealwire_listener_free(listener);
}

pub(super) fn what_was_cut_off_is_no_orderly_end(backend: c_int) {
    let rig = Rig::new(backend);
    let (mut mine, theirs) = sockets();
    let server = new_server(rig.server_config);
    assert_eq!(
        sealwire_engine_attach(rig.engine, server, theirs.into_raw_fd()),
        SEALWIRE_OK
    );
    rig.wait_for(0, 1);
    sealwire_conn_free(server);
    rig.settle();
    // The socket is closed, and by a reset.
    let error = mine.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

pub(super) fn events_of_a_freed_connection_are_dropped(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    let (client, server) = rig.pair(listener);
    assert_eq!(write(client, b"unheard"), (SEALWIRE_OK, 7));
    assert_eq!(write(server, b"heard"), (SEALWIRE_OK, 5));
    // Both are readable, and there is room for one.
    let mut first = rig.wait_for(1_000, 1);
    while first.is_empty() {
        first = rig.wait_for(1_000, 1);
    }
    let (told, freed) = match first[0].conn == client {
        true => (client, server),
        false => (server, client),
    };
    sealwire_conn_free(freed);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < HANG, "the reset did not arrive");
        let events = rig.wait_for(1_000, 1);
        assert!(events.iter().all(|event| event.conn == told), "{events:?}");
        if events
            .iter()
            .any(|event| event.kind == SEALWIRE_EVENT_CLOSED)
        {
            break;
        }
        read(told, 64);
    }
    sealwire_conn_free(told);
    rig.settle();
    sealwire_listener_free(listener);
}

pub(super) fn a_freed_listener_tells_what_it_accepted(backend: c_int) {
    let rig = Rig::new(backend);
    let mut word = 7_u64;
    let options = sealwire_listen_options {
        user_data: (&raw mut word).cast(),
        ..Default::default()
    };
    let listener = rig.listen_with(rig.server_config, &options);
    let address = address_of(listener);
    let _client = TcpStream::connect(&address).unwrap();
    sealwire_listener_free(listener);
    let mut server = ptr::null_mut();
    rig.run(|event| {
        assert!(event.listener.is_null());
        assert_eq!(event.user_data, options.user_data);
        if event.kind == SEALWIRE_EVENT_ACCEPTED {
            server = event.conn;
        }
        event.kind == SEALWIRE_EVENT_UNLISTENED
    });
    assert!(!server.is_null());
    assert!(TcpStream::connect(&address).is_err());
    sealwire_conn_free(server);
    rig.settle();
}
