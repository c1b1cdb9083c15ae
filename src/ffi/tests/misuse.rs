//! Everything that can be done wrong ends in a code, and changes nothing.

use std::ffi::{c_int, c_void};
use std::sync::Barrier;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

use super::pki::PKI;
use super::*;
use crate::ffi::config::protocol::*;
use crate::ffi::config::require::*;
use crate::ffi::config::sealwire_config_reload;
use crate::ffi::conn::mysql::*;
use crate::ffi::handle;

fn configs() -> (Config, Config) {
    (
        Builder::usual_client().build(),
        Builder::usual_server().build(),
    )
}

#[test]
fn lengths_that_no_memory_has_are_refused() {
    let (client, server) = configs();
    let (client, server) = pair(&client, &server);
    let mut byte = 7u8;
    let mut moved = 99;
    for len in [usize::MAX, isize::MAX as usize + 1] {
        let target = (&raw mut byte).cast();
        let results = [
            sealwire_conn_read(client.0, target, len, &raw mut moved),
            sealwire_conn_write(client.0, target, len, &raw mut moved),
            sealwire_conn_feed(client.0, target.cast(), len, &raw mut moved),
            sealwire_conn_output_sent(client.0, len),
        ];
        assert_eq!(results, [SEALWIRE_ERR_ARGUMENT; 4]);
        let builder = Builder::client();
        let added = sealwire_config_builder_add_roots_pem(builder.0, &raw const byte, len);
        assert_eq!(added, SEALWIRE_ERR_ARGUMENT);
        assert!(builder.error().contains(&len.to_string()));
        let copied = sealwire_conn_error_text(client.0, target.cast(), len);
        assert_eq!(copied, client.error().len());
    }
    assert_eq!((byte, moved), (7, 99));
    talk(&client, &server);
}

#[test]
fn lengths_beyond_2_gib_are_moved_in_parts() {
    const LEN: usize = (2 << 30) + 4_097;
    let (client, server) = configs();
    let (client, server) = pair(&client, &server);
    let memory = Unreserved::new(LEN);
    let (mut written, mut read, mut received) = (0, 0, 0);
    let result = sealwire_conn_write(client.0, memory.0, LEN, &raw mut written);
    assert!(result == SEALWIRE_OK && (1..LEN).contains(&written));
    while received < written {
        pump(&client, &server);
        let result = sealwire_conn_read(server.0, memory.0, LEN, &raw mut read);
        assert!(result == SEALWIRE_OK && read > 0);
        received += read;
    }
    assert_eq!(received, written);
    // No record begins with a zero.
    let fed = sealwire_conn_feed(server.0, memory.0.cast(), LEN, &raw mut read);
    assert!(fed == SEALWIRE_OK && read < LEN);
    assert_eq!(server.read(1).0, SEALWIRE_ERR_TLS_PROTOCOL);
}

/// Zeros that take memory only where they are touched.
struct Unreserved(*mut c_void, usize);

impl Unreserved {
    fn new(len: usize) -> Self {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: asks for fresh memory only.
        let memory = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        Self(memory, len)
    }
}

impl Drop for Unreserved {
    fn drop(&mut self) {
        // SAFETY: mapped above, with this length, and nothing refers to it.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

#[test]
fn packets_whose_payload_cannot_be_are_refused() {
    let (client, server) = configs();
    let (client, server) = pair(&client, &server);
    let payload = b"text".as_ptr();
    for (payload, payload_len, refusal) in [
        (ptr::null(), 1, SEALWIRE_ERR_NULL),
        (payload, usize::MAX, SEALWIRE_ERR_ARGUMENT),
        (payload, isize::MAX as usize + 1, SEALWIRE_ERR_ARGUMENT),
    ] {
        let packet = sealwire_mysql_packet {
            payload,
            payload_len,
            sequence_id: 0,
        };
        let written = sealwire_conn_write_mysql_packet(client.0, &packet);
        assert_eq!(written, refusal);
    }
    assert_eq!(client.output(), b"");
    talk(&client, &server);
}

#[test]
fn nothing_may_be_moved_and_that_is_done() {
    let (client, server) = configs();
    let (client, server) = pair(&client, &server);
    let mut moved = 99;
    ok(sealwire_conn_read(
        client.0,
        ptr::null_mut(),
        0,
        &raw mut moved,
    ));
    assert_eq!(moved, 0);
    moved = 99;
    ok(sealwire_conn_write(
        client.0,
        ptr::null(),
        0,
        &raw mut moved,
    ));
    assert_eq!(moved, 0);
    ok(sealwire_conn_output_sent(client.0, 0));
    // Nothing that is fed is the end of the peer's stream.
    assert_eq!(client.feed(b""), (SEALWIRE_OK, 0));
    assert_eq!(client.read(1).0, SEALWIRE_ERR_TRUNCATED);
    drop(server);
}

#[test]
fn an_end_is_not_the_other() {
    let (client_config, server_config) = configs();
    let mut conn = ptr::null_mut();
    let name = c"localhost".as_ptr();
    let made = sealwire_conn_new_client(server_config.0, name, &raw mut conn);
    assert_eq!(made, SEALWIRE_ERR_ARGUMENT);
    let made = sealwire_conn_new_server(client_config.0, &raw mut conn);
    assert_eq!(made, SEALWIRE_ERR_ARGUMENT);
    for name in [c"", c"a b", c"-", c"999.1.1.1", c"\xff"] {
        let made = sealwire_conn_new_client(client_config.0, name.as_ptr(), &raw mut conn);
        assert_eq!(made, SEALWIRE_ERR_ARGUMENT, "{name:?}");
    }
    let made = sealwire_conn_new_client(client_config.0, ptr::null(), &raw mut conn);
    assert_eq!(made, SEALWIRE_ERR_NULL);
    assert!(conn.is_null());
    let (client, server) = (Builder::client(), Builder::server());
    let pin = c(&"ab".repeat(32));
    let keys: Vec<u8> = (1..=3).flat_map(|number| [number; 48]).collect();
    for result in [
        sealwire_config_builder_set_verify_ca(server.0),
        sealwire_config_builder_allow_cn_name(server.0),
        sealwire_config_builder_add_server_fingerprint(server.0, pin.as_ptr()),
        sealwire_config_builder_danger_accept_any_certificate(server.0),
        sealwire_config_builder_set_client_cert(client.0, SEALWIRE_CLIENT_CERT_NONE),
        sealwire_config_builder_add_client_fingerprint(client.0, pin.as_ptr()),
        sealwire_config_builder_add_allowed_client(client.0, c"cn:a".as_ptr()),
        sealwire_config_builder_set_tickets(client.0, keys.as_ptr(), 144, c"a".as_ptr()),
        sealwire_config_builder_set_require_default_deny(client.0),
        sealwire_config_builder_set_require_dialect(client.0, SEALWIRE_DIALECT_MYSQL),
        sealwire_config_builder_set_require_oneline(client.0, SEALWIRE_ONELINE_OPENSSL3),
    ] {
        assert_eq!(result, SEALWIRE_ERR_STATE);
    }
    let words = "this is an option of servers, and the builder is one of clients";
    assert_eq!(client.error(), words);
    let words = "a server needs an identity: a certificate and its key";
    assert_eq!(server.refusal(), (SEALWIRE_ERR_CONFIG, words.into()));
}

#[test]
fn calls_out_of_their_time_are_refused() {
    let (client, server) = configs();
    let conn = Conn::client(&client, "localhost");
    assert_eq!(sealwire_conn_output_sent(conn.0, 0), SEALWIRE_ERR_STATE);
    assert_eq!(sealwire_conn_start_tls(conn.0), SEALWIRE_ERR_STATE);
    assert_eq!(sealwire_conn_set_plaintext(conn.0), SEALWIRE_ERR_STATE);
    assert!(conn.error().contains("begun"), "{}", conn.error());
    let len = conn.output().len();
    assert_eq!(
        sealwire_conn_output_sent(conn.0, len + 1),
        SEALWIRE_ERR_ARGUMENT
    );
    let server = Conn::server(&server);
    assert_eq!(shake(&conn, &server), (SEALWIRE_OK, SEALWIRE_OK));
    talk(&conn, &server);
}

#[test]
fn a_plain_beginning_is_followed_by_tls() {
    let (client, server) = configs();
    let (client, server) = (Conn::client(&client, "localhost"), Conn::server(&server));
    for conn in [&client, &server] {
        ok(sealwire_conn_set_plaintext(conn.0));
    }
    talk(&client, &server);
    assert_eq!(client.write(b"upgrade"), (SEALWIRE_OK, 7));
    assert_eq!(client.output(), b"upgrade");
    for conn in [&client, &server] {
        if conn.0 == server.0 {
            pump(&client, &server);
            assert_eq!(server.read(7), (SEALWIRE_OK, b"upgrade".to_vec()));
        }
        ok(sealwire_conn_start_tls(conn.0));
        assert_eq!(sealwire_conn_start_tls(conn.0), SEALWIRE_ERR_STATE);
    }
    assert_eq!(shake(&client, &server), (SEALWIRE_OK, SEALWIRE_OK));
    talk(&client, &server);
}

#[test]
fn a_connection_that_failed_stays_failed_with_its_words() {
    let (client, server) = configs();
    let (client, _server) = pair(&client, &server);
    client.feed(b"\x17\x03\x03\x00\x20 this is no record of this peer  ");
    let (code, _) = client.read(10);
    assert_eq!(code, SEALWIRE_ERR_TLS_PROTOCOL);
    let words = client.error();
    assert!(!client.output().is_empty(), "the alert is owed");
    for result in [
        client.read(10).0,
        client.write(b"x").0,
        client.handshake(),
        sealwire_conn_flush(client.0),
        sealwire_conn_shutdown(client.0),
        client.feed(b"x").0,
    ] {
        assert_eq!(result, code);
        assert_eq!(client.error(), words);
    }
}

#[test]
fn handles_may_be_freed_in_any_order() {
    let (client, server) = (Builder::usual_client(), Builder::usual_server());
    let (client_config, server_config) = (client.build(), server.build());
    drop((client, server));
    let (client, server) = pair(&client_config, &server_config);
    drop((client_config, server_config));
    talk(&client, &server);
}

#[test]
fn a_second_thread_is_turned_away_from_a_handle_in_use() {
    let (client, server) = configs();
    let (client, server) = pair(&client, &server);
    let (inside, done) = (Barrier::new(2), Barrier::new(2));
    let address = client.0 as usize;
    thread::scope(|scope| {
        scope.spawn(|| {
            let conn = address as *mut sealwire_conn;
            ok(handle::call(conn, |_| {
                inside.wait();
                done.wait();
                Ok(SEALWIRE_OK)
            }));
        });
        inside.wait();
        let refused = [client.read(1).0, client.write(b"x").0, client.feed(b"x").0];
        // It would be freed under the other thread, and so is not.
        sealwire_conn_free(client.0);
        // Told only now: a failure would leave the other thread waiting for ever.
        done.wait();
        assert_eq!(refused, [SEALWIRE_ERR_THREAD; 3]);
    });
    talk(&client, &server);
}

/// What a callback calls back into, and what it is told.
#[derive(Default)]
struct Reentry {
    conn: AtomicPtr<sealwire_conn>,
    results: std::sync::Mutex<Vec<sealwire_result>>,
}

extern "C" fn reenter(_line: *const c_char, user_data: *mut c_void) {
    // SAFETY: the test gave it one that outlives the connection.
    let reentry = unsafe { &*user_data.cast::<Reentry>() };
    let conn = reentry.conn.load(Ordering::Relaxed);
    let mut moved = 0;
    let mut byte = 0u8;
    let results = [
        sealwire_conn_handshake(conn),
        sealwire_conn_read(conn, (&raw mut byte).cast(), 1, &raw mut moved),
        sealwire_conn_shutdown(conn),
        sealwire_conn_set_fd(conn, 0 as c_int),
    ];
    // It would be freed under the call that this one is made from, and so is not.
    sealwire_conn_free(conn);
    reentry.results.lock().unwrap().extend(results);
}

#[test]
fn a_callback_that_calls_back_is_refused() {
    let reentry = Reentry::default();
    let (builder, (_, server)) = (Builder::usual_client(), configs());
    let user_data = ptr::from_ref(&reentry).cast_mut().cast();
    let set = sealwire_config_builder_danger_set_key_log(builder.0, Some(reenter), user_data);
    ok(set);
    let client = Conn::client(&builder.build(), "localhost");
    reentry.conn.store(client.0, Ordering::Relaxed);
    let server = Conn::server(&server);
    assert_eq!(shake(&client, &server), (SEALWIRE_OK, SEALWIRE_OK));
    talk(&client, &server);
    let results = reentry.results.lock().unwrap();
    assert!(!results.is_empty());
    assert!(results.iter().all(|result| *result == SEALWIRE_ERR_THREAD));
}

#[test]
fn after_its_end_a_connection_is_asked_in_vain() {
    let (client, server) = configs();
    let (client, server) = pair(&client, &server);
    for (from, to) in [(&client, &server), (&server, &client)] {
        ok(sealwire_conn_shutdown(from.0));
        pump(from, to);
    }
    for conn in [&client, &server] {
        for _ in 0..2 {
            assert_eq!(conn.read(1).0, SEALWIRE_EOF);
            assert_eq!(conn.write(b"late").0, SEALWIRE_ERR_STATE);
            assert_eq!(sealwire_conn_start_tls(conn.0), SEALWIRE_ERR_STATE);
            ok(sealwire_conn_shutdown(conn.0));
        }
        assert_eq!(conn.output(), b"");
        assert!(!sealwire_conn_wants_read(conn.0) && !sealwire_conn_wants_write(conn.0));
    }
}

#[test]
fn a_panic_poisons_the_handle_and_goes_no_further() {
    let (client, server) = configs();
    let (client, server) = pair(&client, &server);
    let panicked = handle::call(client.0, |_| panic!("a defect, for the test"));
    assert_eq!(panicked, SEALWIRE_ERR_PANIC);
    assert_eq!(client.read(1).0, SEALWIRE_ERR_PANIC);
    assert_eq!(client.handshake(), SEALWIRE_ERR_PANIC);
    assert_eq!(client.output(), b"");
    assert_eq!(client.error(), "");
    // Others are none the worse for it.
    assert_eq!(server.read(1).0, SEALWIRE_WANT_READ);
}

#[test]
fn a_forked_child_is_refused() {
    let (client, server) = (Builder::usual_client(), Builder::usual_server());
    let (client_config, server_config) = (client.build(), server.build());
    let (conn, other) = pair(&client_config, &server_config);
    // SAFETY: the child calls the library and leaves.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let mut made = ptr::null_mut();
        let refused = [
            conn.read(1).0,
            conn.write(b"x").0,
            sealwire_config_builder_set_verify_ca(client.0),
            sealwire_conn_new_server(server_config.0, &raw mut made),
            sealwire_config_reload(server_config.0, server.0),
        ];
        drop((conn, client, server_config));
        let is_right = refused == [SEALWIRE_ERR_FORKED; 5];
        let own = sealwire_config_builder_new_client(ptr::null_mut());
        let is_right = is_right && own == SEALWIRE_ERR_NULL && made.is_null();
        // SAFETY: leaves at once.
        unsafe { libc::_exit(if is_right { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: the child is this test's.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    talk(&conn, &other);
}

#[test]
fn a_configuration_is_shared_by_threads_while_it_is_replaced() {
    let (client, server) = (Builder::usual_client(), Builder::usual_server());
    let (client_config, server_config) = (client.build(), server.build());
    let (clients, servers) = (client_config.0 as usize, server_config.0 as usize);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let client = std::mem::ManuallyDrop::new(Config(clients as *const _));
                let server = std::mem::ManuallyDrop::new(Config(servers as *const _));
                for _ in 0..5 {
                    let (client, server) = pair(&client, &server);
                    talk(&client, &server);
                }
            });
        }
        for _ in 0..20 {
            ok(server.set_identity(&PKI.server));
            ok(sealwire_config_reload(server_config.0, server.0));
        }
    });
}

#[test]
fn mysql_begins_tls_in_plaintext_only() {
    let connect = |conn: &Conn| sealwire_conn_mysql_connect(conn.0, 0, 45, ptr::null_mut());
    // SAFETY: numbers and text, which may be zero.
    let greeting: sealwire_mysql_greeting = unsafe { std::mem::zeroed() };
    let accept = |conn: &Conn| sealwire_conn_mysql_accept(conn.0, &raw const greeting);
    let (client, server) = (
        Builder::usual_client().build(),
        Builder::usual_server().build(),
    );
    let (unbegun, unmet) = (Conn::client(&client, "localhost"), Conn::server(&server));
    let (begun, met) = pair(&client, &server);
    for (client, server) in [(&unbegun, &unmet), (&begun, &met)] {
        assert_eq!(connect(client), SEALWIRE_ERR_STATE);
        assert_eq!(accept(server), SEALWIRE_ERR_STATE);
        assert!(client.error().contains("plaintext"), "{}", client.error());
        assert_eq!(server.output(), b"", "nothing was sent");
    }
    talk(&begun, &met);
}
