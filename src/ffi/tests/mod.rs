//! Calls as C makes them: two ends in memory or over a socket, and everything that can be misused.

mod facts;
mod fd;
mod misuse;
mod nulls;
mod obrpc;
mod options;
mod pki;
mod require;
mod trust;

use std::ffi::{CString, c_char};
use std::ptr;

use super::config::builder::*;
use super::config::identity::*;
use super::config::trust::*;
use super::config::{sealwire_config, sealwire_config_free};
use super::conn::*;
use super::result::sealwire_result::{self, *};

/// A builder that is freed.
struct Builder(*mut sealwire_config_builder);

/// A configuration that is freed.
struct Config(*const sealwire_config);

/// A connection that is freed.
struct Conn(*mut sealwire_conn);

// SAFETY: a configuration is for any number of threads.
unsafe impl Send for Config {}

impl Builder {
    fn client() -> Self {
        let mut builder = ptr::null_mut();
        ok(sealwire_config_builder_new_client(&raw mut builder));
        Self(builder)
    }

    fn server() -> Self {
        let mut builder = ptr::null_mut();
        ok(sealwire_config_builder_new_server(&raw mut builder));
        Self(builder)
    }

    /// A client that verifies in full, by the usual authority.
    fn usual_client() -> Self {
        let builder = Self::client();
        builder.add_roots(&pki::PKI.ca);
        builder
    }

    /// A server with the usual certificate, which asks for none.
    fn usual_server() -> Self {
        Self::server_with(&pki::PKI.server)
    }

    fn server_with(identity: &pki::Pair) -> Self {
        let builder = Self::server();
        ok(builder.set_identity(identity));
        builder
    }

    fn set_identity(&self, (chain, key): &pki::Pair) -> sealwire_result {
        sealwire_config_builder_set_identity_pem(
            self.0,
            chain.as_ptr(),
            chain.len(),
            key.as_ptr(),
            key.len(),
        )
    }

    fn add_roots(&self, pem: &str) {
        ok(sealwire_config_builder_add_roots_pem(
            self.0,
            pem.as_ptr(),
            pem.len(),
        ));
    }

    fn build(&self) -> Config {
        let mut config = ptr::null();
        let built = sealwire_config_builder_build(self.0, &raw mut config);
        assert_eq!(built, SEALWIRE_OK, "{}", self.error());
        Config(config)
    }

    /// What keeps it from being built.
    fn refusal(&self) -> (sealwire_result, String) {
        let mut config = ptr::null();
        let built = sealwire_config_builder_build(self.0, &raw mut config);
        assert!(config.is_null());
        (built, self.error())
    }

    fn error(&self) -> String {
        text_of(|buf, len| sealwire_config_builder_error_text(self.0, buf, len))
    }
}

impl Conn {
    fn client(config: &Config, name: &str) -> Self {
        let mut conn = ptr::null_mut();
        let name = c(name);
        ok(sealwire_conn_new_client(
            config.0,
            name.as_ptr(),
            &raw mut conn,
        ));
        Self(conn)
    }

    fn server(config: &Config) -> Self {
        let mut conn = ptr::null_mut();
        ok(sealwire_conn_new_server(config.0, &raw mut conn));
        Self(conn)
    }

    fn handshake(&self) -> sealwire_result {
        sealwire_conn_handshake(self.0)
    }

    fn write(&self, data: &[u8]) -> (sealwire_result, usize) {
        let mut written = 0;
        let result =
            sealwire_conn_write(self.0, data.as_ptr().cast(), data.len(), &raw mut written);
        (result, written)
    }

    fn read(&self, len: usize) -> (sealwire_result, Vec<u8>) {
        let (mut target, mut read) = (vec![0; len], 0);
        let result = sealwire_conn_read(self.0, target.as_mut_ptr().cast(), len, &raw mut read);
        target.truncate(read);
        (result, target)
    }

    fn error(&self) -> String {
        text_of(|buf, len| sealwire_conn_error_text(self.0, buf, len))
    }

    /// What is to be sent.
    fn output(&self) -> Vec<u8> {
        let mut tls = ptr::null();
        let len = sealwire_conn_output(self.0, &raw mut tls);
        if len == 0 {
            return Vec::new();
        }
        // SAFETY: borrowed until the next call, and copied at once.
        unsafe { std::slice::from_raw_parts(tls, len) }.to_vec()
    }

    fn feed(&self, tls: &[u8]) -> (sealwire_result, usize) {
        let mut consumed = 0;
        let result = sealwire_conn_feed(self.0, tls.as_ptr(), tls.len(), &raw mut consumed);
        (result, consumed)
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        sealwire_config_builder_free(self.0);
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        sealwire_config_free(self.0);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        sealwire_conn_free(self.0);
    }
}

/// Moves what one end has for the other, as far as that takes it.
fn pump(from: &Conn, to: &Conn) {
    loop {
        let tls = from.output();
        if tls.is_empty() {
            return;
        }
        let (result, consumed) = to.feed(&tls);
        if result != SEALWIRE_OK || consumed == 0 {
            return;
        }
        ok(sealwire_conn_output_sent(from.0, consumed));
    }
}

/// Lets both ends shake hands as far as they get, and says how far that is.
fn shake(client: &Conn, server: &Conn) -> (sealwire_result, sealwire_result) {
    let mut results = (SEALWIRE_WANT_READ, SEALWIRE_WANT_READ);
    for _ in 0..10 {
        results.0 = client.handshake();
        pump(client, server);
        results.1 = server.handshake();
        pump(server, client);
    }
    results
}

/// A client and a server that have shaken hands.
fn pair(client: &Config, server: &Config) -> (Conn, Conn) {
    let (client, server) = (Conn::client(client, "localhost"), Conn::server(server));
    let shaken = shake(&client, &server);
    let errors = format!("{} / {}", client.error(), server.error());
    assert_eq!(shaken, (SEALWIRE_OK, SEALWIRE_OK), "{errors}");
    (client, server)
}

/// Passes bytes both ways.
fn talk(client: &Conn, server: &Conn) {
    for (from, to) in [(client, server), (server, client)] {
        assert_eq!(from.write(b"hello"), (SEALWIRE_OK, 5));
        pump(from, to);
        assert_eq!(to.read(100), (SEALWIRE_OK, b"hello".to_vec()));
    }
}

fn ok(result: sealwire_result) {
    assert_eq!(result, SEALWIRE_OK);
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Text by snprintf's rule: asked for its length first.
fn text_of(copy: impl Fn(*mut c_char, usize) -> usize) -> String {
    let len = copy(ptr::null_mut(), 0);
    let mut buf = vec![1; len + 1];
    assert_eq!(copy(buf.as_mut_ptr().cast(), buf.len()), len);
    assert_eq!(buf.pop(), Some(0));
    String::from_utf8(buf).unwrap()
}
