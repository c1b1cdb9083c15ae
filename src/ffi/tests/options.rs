//! Versions, suites, resumption, key log, and configurations that are replaced.

use std::ffi::{CStr, c_void};
use std::sync::Mutex;

use super::pki::PKI;
use super::*;
use crate::ffi::config::protocol::*;
use crate::ffi::config::sealwire_config_reload;
use crate::ffi::conn::facts::*;

#[test]
fn versions_are_those_that_were_set() {
    let server = Builder::usual_server();
    ok(sealwire_config_builder_set_max_version(
        server.0,
        SEALWIRE_TLS_1_2,
    ));
    let client = Builder::usual_client();
    let (end, _server) = pair(&client.build(), &server.build());
    assert_eq!(sealwire_conn_version(end.0), SEALWIRE_TLS_1_2);
    ok(sealwire_config_builder_set_min_version(
        client.0,
        SEALWIRE_TLS_1_3,
    ));
    let end = Conn::client(&client.build(), "localhost");
    let other = Conn::server(&server.build());
    assert_eq!(
        shake(&end, &other),
        (SEALWIRE_ERR_TLS_ALERT, SEALWIRE_ERR_TLS_INCOMPATIBLE)
    );
    assert_eq!(sealwire_conn_alert(end.0), 70);
    ok(sealwire_config_builder_set_max_version(
        client.0,
        SEALWIRE_TLS_1_2,
    ));
    assert_eq!(client.refusal().0, SEALWIRE_ERR_CONFIG);
    for version in [0, 0x0302, 0x0305, -1] {
        let set = sealwire_config_builder_set_min_version(client.0, version);
        assert_eq!(set, SEALWIRE_ERR_ARGUMENT);
        let set = sealwire_config_builder_set_max_version(client.0, version);
        assert_eq!(set, SEALWIRE_ERR_ARGUMENT);
    }
}

#[test]
fn suites_that_are_unknown_or_none_are_refused() {
    let client = Builder::usual_client();
    for names in [c"", c":", c"::"] {
        let set = sealwire_config_builder_set_suites(client.0, names.as_ptr());
        assert_eq!(set, SEALWIRE_ERR_ARGUMENT);
    }
    let names = c"TLS_AES_128_GCM_SHA256:AES256-SHA".as_ptr();
    ok(sealwire_config_builder_set_suites(client.0, names));
    let (code, words) = client.refusal();
    assert_eq!(code, SEALWIRE_ERR_CONFIG);
    assert!(words.contains("`AES256-SHA`"), "{words}");
}

#[test]
fn either_end_may_open_records_in_place() {
    for (client_records, server_records) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (client, server) = (Builder::usual_client(), Builder::usual_server());
        ok(sealwire_config_builder_set_records(
            client.0,
            client_records,
        ));
        ok(sealwire_config_builder_set_records(
            server.0,
            server_records,
        ));
        let (client, server) = pair(&client.build(), &server.build());
        talk(&client, &server);
    }
    let client = Builder::usual_client();
    let set = sealwire_config_builder_set_records(client.0, 2);
    assert_eq!(set, SEALWIRE_ERR_ARGUMENT);
}

/// True where the second of two sessions is the first taken up again.
fn resumes(client: &Config, first: &Config, second: &Config) -> bool {
    let (end, server) = pair(client, first);
    talk(&end, &server);
    let (end, server) = pair(client, second);
    talk(&end, &server);
    let is_resumed = sealwire_conn_is_resumed(end.0);
    assert_eq!(is_resumed, sealwire_conn_is_resumed(server.0));
    is_resumed
}

#[test]
fn sessions_are_taken_up_again_unless_that_was_forbidden() {
    let server = Builder::usual_server().build();
    assert!(resumes(&Builder::usual_client().build(), &server, &server));
    let client = Builder::usual_client();
    ok(sealwire_config_builder_disable_resumption(client.0));
    assert!(!resumes(&client.build(), &server, &server));
    let server = Builder::usual_server();
    ok(sealwire_config_builder_disable_resumption(server.0));
    let server = server.build();
    assert!(!resumes(&Builder::usual_client().build(), &server, &server));
}

#[test]
fn tickets_are_good_wherever_keys_and_route_are_the_same() {
    let keys: Vec<u8> = (1..=3).flat_map(|number| [number; 48]).collect();
    let server = |route: &CStr| {
        let server = Builder::usual_server();
        ok(sealwire_config_builder_set_tickets(
            server.0,
            keys.as_ptr(),
            keys.len(),
            route.as_ptr(),
        ));
        server.build()
    };
    let client = || Builder::usual_client().build();
    let without = || Builder::usual_server().build();
    assert!(resumes(&client(), &server(c"a"), &server(c"a")));
    assert!(!resumes(&client(), &server(c"a"), &server(c"b")));
    assert!(!resumes(&client(), &without(), &without()));
    let builder = Builder::usual_server();
    let route = c"a".as_ptr();
    let set = sealwire_config_builder_set_tickets(builder.0, keys.as_ptr(), 143, route);
    assert_eq!(set, SEALWIRE_ERR_CONFIG);
    assert!(builder.error().starts_with("keys: holds 143 bytes"));
}

extern "C" fn keep_line(line: *const c_char, user_data: *mut c_void) {
    // SAFETY: the test gave it a list that outlives the connection.
    let lines = unsafe { &*user_data.cast::<Mutex<Vec<String>>>() };
    // SAFETY: the library ends it by NUL.
    let line = unsafe { CStr::from_ptr(line) };
    lines
        .lock()
        .unwrap()
        .push(line.to_str().unwrap().to_owned());
}

#[test]
fn the_key_log_has_the_secrets_of_a_session() {
    let lines: [Mutex<Vec<String>>; 2] = Default::default();
    let (client, server) = (Builder::usual_client(), Builder::usual_server());
    for (builder, lines) in [&client, &server].into_iter().zip(&lines) {
        let user_data = ptr::from_ref(lines).cast_mut().cast();
        let set = sealwire_config_builder_danger_set_key_log(builder.0, Some(keep_line), user_data);
        ok(set);
    }
    let (client, server) = pair(&client.build(), &server.build());
    talk(&client, &server);
    let [of_client, of_server] = lines.map(|lines| {
        let mut lines = lines.into_inner().unwrap();
        lines.sort();
        lines
    });
    assert_eq!(of_client, of_server);
    let traffic = of_client
        .iter()
        .find(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 "))
        .unwrap();
    let lens: Vec<_> = traffic.split(' ').map(str::len).collect();
    assert_eq!(lens[1], 64);
    assert!([64, 96].contains(&lens[2]));
}

#[test]
fn a_reload_is_for_connections_that_are_made_later() {
    let builder = Builder::usual_server();
    let config = builder.build();
    let client = Builder::usual_client().build();
    let (old_client, old_server) = pair(&client, &config);
    ok(builder.set_identity(&PKI.expired));
    ok(sealwire_config_reload(config.0, builder.0));
    talk(&old_client, &old_server);
    let (end, other) = (Conn::client(&client, "localhost"), Conn::server(&config));
    assert_eq!(shake(&end, &other).0, SEALWIRE_ERR_CERT_EXPIRED);
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let builder = Builder::usual_server();
    let config = builder.build();
    let crl = &PKI.crl;
    ok(sealwire_config_builder_add_crls_pem(
        builder.0,
        crl.as_ptr(),
        crl.len(),
    ));
    assert_eq!(
        sealwire_config_reload(config.0, builder.0),
        SEALWIRE_ERR_CONFIG
    );
    assert!(builder.error().contains("have no effect"));
    let other_end = Builder::usual_client();
    let reloaded = sealwire_config_reload(config.0, other_end.0);
    assert_eq!(reloaded, SEALWIRE_ERR_ARGUMENT);
    assert!(other_end.error().contains("other end"));
    let (client, server) = pair(&Builder::usual_client().build(), &config);
    talk(&client, &server);
}
