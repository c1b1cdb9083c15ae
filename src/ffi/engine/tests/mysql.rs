//! MySQL's upgrade to TLS, both ends of it.

use super::*;
use crate::ffi::conn::mysql::*;

pub(super) fn mysql_begins_tls_in_its_stream(backend: c_int) {
    let rig = Rig::new(backend);
    let options = sealwire_listen_options {
        plaintext_first: 1,
        ..Default::default()
    };
    let listener = rig.listen_with(rig.server_config, &options);
    let client = rig.client();
    assert_eq!(sealwire_conn_set_plaintext(client), SEALWIRE_OK);
    rig.connect(client, listener);
    let (said, mut heard) = (greeting(), greeting());
    heard.thread_id = 0;
    let mut server = ptr::null_mut();
    let mut done = (SEALWIRE_WANT_READ, SEALWIRE_WANT_READ);
    rig.run(|event| {
        match event.kind {
            SEALWIRE_EVENT_ACCEPTED => server = event.conn,
            SEALWIRE_EVENT_READY | SEALWIRE_EVENT_READABLE if event.conn == server => {
                done.1 = sealwire_conn_mysql_accept(server, &said);
            }
            SEALWIRE_EVENT_READY | SEALWIRE_EVENT_READABLE => {
                done.0 = sealwire_conn_mysql_connect(client, 0, 45, &raw mut heard);
            }
            _ => panic!("{event:?}: {} / {}", error_text(client), error_text(server)),
        }
        done == (SEALWIRE_OK, SEALWIRE_OK)
    });
    assert_eq!(heard.thread_id, said.thread_id);
    assert_eq!(heard.nonce, said.nonce);
    // Only under TLS there is a version.
    assert!(sealwire_conn_version(client) > 0 && sealwire_conn_version(server) > 0);

    let login = sealwire_mysql_packet {
        payload: b"login".as_ptr(),
        payload_len: 5,
        sequence_id: 2,
    };
    assert_eq!(
        sealwire_conn_write_mysql_packet(client, &login),
        SEALWIRE_OK
    );
    rig.run_until(SEALWIRE_EVENT_READABLE, server);
    let mut packet = sealwire_mysql_packet {
        payload: ptr::null(),
        payload_len: 0,
        sequence_id: 0,
    };
    let next = sealwire_conn_next_mysql_packet(server, &raw mut packet);
    assert_eq!(
        (next, packet.payload_len, packet.sequence_id),
        (SEALWIRE_OK, 5, 2)
    );
    free([client, server]);
    sealwire_listener_free(listener);
}

fn greeting() -> sealwire_mysql_greeting {
    sealwire_mysql_greeting {
        capabilities: 1 << 9 | 1 << 15 | 1 << 19,
        thread_id: 7,
        status: 2,
        collation: 45,
        nonce: *b"abcdefghijklmnopqrst",
        server_version: [0; 64],
        plugin: [0; 64],
    }
}
