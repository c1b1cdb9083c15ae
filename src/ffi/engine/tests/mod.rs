//! The engine as C uses it, on each back end.

mod echo;
mod events;
mod lives;
mod misuse;
mod mysql;
mod nest;
mod obrpc;

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::net::{TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::ptr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::event::sealwire_event;
use super::event::sealwire_event_kind::{self, *};
use super::listener::*;
use super::options::*;
use super::*;
use crate::ffi::config::builder::*;
use crate::ffi::config::identity::*;
use crate::ffi::config::protocol::*;
use crate::ffi::config::trust::*;
use crate::ffi::config::*;
use crate::ffi::conn::facts::*;
use crate::ffi::conn::*;

/// Runs every topic on both back ends.
macro_rules! on_both {
    ($($file:ident: $($topic:ident)*;)*) => {
        mod on_uring {
            $($(#[test] fn $topic() {
                if super::is_there(super::SEALWIRE_BACKEND_IO_URING) {
                    super::$file::$topic(super::SEALWIRE_BACKEND_IO_URING);
                }
            })*)*
        }
        mod on_epoll {
            $($(#[test] fn $topic() { super::$file::$topic(super::SEALWIRE_BACKEND_EPOLL); })*)*
        }
    };
}

on_both! {
    echo:
        a_blocking_peer_is_served
        a_reload_holds_for_what_is_accepted_later
        a_thousand_connections_are_served
        both_ends_share_an_engine
        facts_outlive_the_connection
        many_records_are_read_at_once
        tls_begins_in_mid_stream
        unix_sockets_are_served
        without_a_configuration_all_is_plain;
    events:
        a_cut_stream_is_an_error_with_words
        a_full_queue_is_writable_again
        a_peer_without_tls_is_an_error_with_words
        a_refused_connect_is_told
        a_signal_handler_wakes_the_engine
        another_thread_wakes_the_engine
        events_that_found_no_room_are_told_later
        the_end_of_a_stream_is_told_until_it_is_read
        unread_bytes_are_told_by_every_wait
        what_is_not_to_be_read_is_not_told
        an_unanswered_connect_times_out;
    lives:
        a_freed_listener_tells_what_it_accepted
        events_of_a_freed_connection_are_dropped
        handles_are_freed_in_any_order
        what_was_cut_off_is_no_orderly_end
        what_was_shut_down_is_sent_after_its_handle;
    misuse:
        a_child_of_fork_is_refused
        a_connection_has_one_transport
        a_descriptor_stays_the_callers_on_failure
        another_thread_is_refused_by_every_function
        arguments_are_looked_at
        of_null_nothing_is_known;
    mysql:
        mysql_begins_tls_in_its_stream;
    nest:
        another_loop_never_hangs
        the_timeout_is_that_of_the_next_deadline;
    obrpc:
        a_call_without_an_answer_ends_the_wait
        a_negotiation_leaves_no_room_for_plaintext_in_front
        calls_are_answered_by_each_method;
}

/// False where the machine forbids io_uring, unless REQUIRE_ALL demands it.
fn is_there(backend: c_int) -> bool {
    let mut engine = ptr::null_mut();
    let result = sealwire_engine_new(&options(backend), &raw mut engine);
    sealwire_engine_free(engine);
    assert!(result == SEALWIRE_OK || std::env::var_os("REQUIRE_ALL").is_none());
    result == SEALWIRE_OK
}

fn options(backend: c_int) -> sealwire_engine_options {
    sealwire_engine_options {
        backend,
        ..Default::default()
    }
}

/// Longer than anything here takes: what has not happened by then never will.
const HANG: Duration = Duration::from_secs(60);

/// An engine, and what it has told.
struct Rig {
    engine: *mut sealwire_engine,
    server_config: *const sealwire_config,
    client_config: *const sealwire_config,
}

impl Rig {
    fn new(backend: c_int) -> Self {
        let mut engine = ptr::null_mut();
        assert_eq!(
            sealwire_engine_new(&options(backend), &raw mut engine),
            SEALWIRE_OK
        );
        assert_eq!(sealwire_engine_backend(engine), backend);
        Self {
            engine,
            server_config: server_config(),
            client_config: client_config(),
        }
    }

    fn listen(&self) -> *mut sealwire_listener {
        self.listen_with(self.server_config, &sealwire_listen_options::default())
    }

    fn listen_with(
        &self,
        config: *const sealwire_config,
        options: &sealwire_listen_options,
    ) -> *mut sealwire_listener {
        let mut listener = ptr::null_mut();
        let address = c"127.0.0.1:0".as_ptr();
        let result =
            sealwire_engine_listen(self.engine, config, address, options, &raw mut listener);
        assert_eq!(result, SEALWIRE_OK, "{}", self.error());
        listener
    }

    fn client(&self) -> *mut sealwire_conn {
        new_client(self.client_config)
    }

    fn connect(&self, conn: *mut sealwire_conn, listener: *mut sealwire_listener) {
        let address = CString::new(address_of(listener)).unwrap();
        let result = sealwire_engine_connect(self.engine, conn, address.as_ptr(), 5_000);
        assert_eq!(result, SEALWIRE_OK, "{}", self.error());
    }

    /// A client and a server that are ready.
    fn pair(&self, listener: *mut sealwire_listener) -> (*mut sealwire_conn, *mut sealwire_conn) {
        let client = self.client();
        self.connect(client, listener);
        let mut server = ptr::null_mut();
        let mut ready = Vec::new();
        self.run(|event| {
            match event.kind {
                SEALWIRE_EVENT_ACCEPTED => server = event.conn,
                SEALWIRE_EVENT_READY => ready.push(event.conn),
                _ => {}
            }
            ready.len() == 2
        });
        assert!(ready.contains(&client) && ready.contains(&server));
        (client, server)
    }

    fn wait_for(&self, timeout_ms: c_int, room: usize) -> Vec<sealwire_event> {
        let mut events = vec![sealwire_event::new(SEALWIRE_EVENT_WOKEN); room];
        let mut count = usize::MAX;
        let result = sealwire_engine_wait(
            self.engine,
            timeout_ms,
            events.as_mut_ptr(),
            room,
            &raw mut count,
        );
        assert_eq!(result, SEALWIRE_OK, "{}", self.error());
        events.truncate(count);
        events
    }

    fn wait(&self) -> Vec<sealwire_event> {
        self.wait_for(10_000, 64)
    }

    /// Waits until `is_done` says so of an event.
    fn run(&self, mut is_done: impl FnMut(&sealwire_event) -> bool) {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < HANG, "a hang");
            let mut done = false;
            for event in self.wait() {
                done |= is_done(&event);
            }
            if done {
                return;
            }
        }
    }

    /// Waits for an event of one kind about `conn`.
    fn run_until(&self, kind: sealwire_event_kind, conn: *mut sealwire_conn) -> sealwire_event {
        let mut found = None;
        self.run(|event| {
            let is_it = event.kind == kind && event.conn == conn;
            found = found.or(is_it.then_some(*event));
            is_it
        });
        found.unwrap()
    }

    /// Waits until nothing happens any more.
    fn settle(&self) {
        let begun = Instant::now();
        while sealwire_engine_conn_count(self.engine) > 0 {
            assert!(begun.elapsed() < HANG, "a connection does not end");
            self.wait_for(100, 64);
        }
    }

    fn error(&self) -> String {
        text(|buf, len| sealwire_engine_error_text(self.engine, buf, len))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        sealwire_engine_free(self.engine);
        sealwire_config_free(self.server_config);
        sealwire_config_free(self.client_config);
    }
}

fn new_client(config: *const sealwire_config) -> *mut sealwire_conn {
    let mut conn = ptr::null_mut();
    let name = c"localhost".as_ptr();
    assert_eq!(
        sealwire_conn_new_client(config, name, &raw mut conn),
        SEALWIRE_OK
    );
    conn
}

fn new_server(config: *const sealwire_config) -> *mut sealwire_conn {
    let mut conn = ptr::null_mut();
    assert_eq!(sealwire_conn_new_server(config, &raw mut conn), SEALWIRE_OK);
    conn
}

fn free(conns: impl IntoIterator<Item = *mut sealwire_conn>) {
    for conn in conns {
        sealwire_conn_free(conn);
    }
}

fn address_of(listener: *mut sealwire_listener) -> String {
    text(|buf, len| sealwire_listener_address(listener, buf, len))
}

/// What a function that follows snprintf's rule says.
fn text(say: impl Fn(*mut c_char, usize) -> usize) -> String {
    let mut buf = vec![0_u8; say(ptr::null_mut(), 0) + 1];
    let len = say(buf.as_mut_ptr().cast(), buf.len());
    buf.truncate(len);
    String::from_utf8(buf).unwrap()
}

fn error_text(conn: *mut sealwire_conn) -> String {
    text(|buf, len| sealwire_conn_error_text(conn, buf, len))
}

fn read(conn: *mut sealwire_conn, len: usize) -> (sealwire_result, Vec<u8>) {
    let mut buf = vec![0_u8; len];
    let mut read = 0;
    let result = sealwire_conn_read(conn, buf.as_mut_ptr().cast(), len, &raw mut read);
    buf.truncate(read);
    (result, buf)
}

fn write(conn: *mut sealwire_conn, data: &[u8]) -> (sealwire_result, usize) {
    let mut written = 0;
    let result = sealwire_conn_write(conn, data.as_ptr().cast(), data.len(), &raw mut written);
    (result, written)
}

/// Two ends of one connection over TCP.
fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn client_config() -> *const sealwire_config {
    build(client_builder())
}

fn client_builder() -> *mut sealwire_config_builder {
    let mut builder = ptr::null_mut();
    assert_eq!(
        sealwire_config_builder_new_client(&raw mut builder),
        SEALWIRE_OK
    );
    let ca = PKI.ca.as_bytes();
    let result = sealwire_config_builder_add_roots_pem(builder, ca.as_ptr(), ca.len());
    assert_eq!(result, SEALWIRE_OK);
    builder
}

fn server_config() -> *const sealwire_config {
    build(server_builder())
}

fn server_builder() -> *mut sealwire_config_builder {
    let mut builder = ptr::null_mut();
    assert_eq!(
        sealwire_config_builder_new_server(&raw mut builder),
        SEALWIRE_OK
    );
    let (chain, key) = (PKI.chain.as_bytes(), PKI.key.as_bytes());
    let result = sealwire_config_builder_set_identity_pem(
        builder,
        chain.as_ptr(),
        chain.len(),
        key.as_ptr(),
        key.len(),
    );
    assert_eq!(result, SEALWIRE_OK);
    builder
}

fn build(builder: *mut sealwire_config_builder) -> *const sealwire_config {
    let mut config = ptr::null();
    let result = sealwire_config_builder_build(builder, &raw mut config);
    assert_eq!(result, SEALWIRE_OK);
    sealwire_config_builder_free(builder);
    config
}

struct Pki {
    ca: String,
    chain: String,
    key: String,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    Pki {
        ca,
        chain: params.signed_by(&key, &issuer).unwrap().pem(),
        key: key.serialize_pem(),
    }
});

#[test]
fn a_client_of_the_header_needs_64_bytes_for_an_event() {
    assert_eq!(size_of::<sealwire_event>(), 64);
    assert_eq!(align_of::<sealwire_event>(), 8);
}
