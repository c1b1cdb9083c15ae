//! Connections to an OB-RPC port on an engine.

use std::sync::Arc;

use sealwire::conn::{Connection, NegotiationClient, NegotiationOptions, NegotiationServer};
use sealwire::engine::{Event, Stage};
use sealwire::error::ErrorKind;
use sealwire::frame::obrpc::{Bypass, Method, Methods, Pcode, ResultCode, ServerPolicy, refusal};
use sealwire::tls::ServerName;

use super::Open;
use super::pair::Pair;
use super::tls::{HANDSHAKE_TIMEOUT, client_options, server_options};

const METHODS: [Method; 3] = [Method::None, Method::SslNoEncrypt, Method::SslIo];

const OPTIONS: NegotiationOptions = NegotiationOptions {
    timeout: HANDSHAKE_TIMEOUT,
    requires_binding: true,
    danger_end_without_close_notify: false,
};

fn client(method: Method) -> NegotiationClient {
    let name = ServerName::try_from("localhost").unwrap();
    NegotiationClient::new(method, 7, Some(&client_options()), name, OPTIONS).unwrap()
}

fn server(methods: Methods) -> Arc<NegotiationServer> {
    let policy = ServerPolicy {
        methods,
        bypass: Bypass::Nobody,
        is_keepalive_admitted: true,
        is_tls_admitted: false,
    };
    NegotiationServer::new(policy, Some(&server_options()), OPTIONS).unwrap()
}

pub(super) fn connections_negotiate_each_method(open: Open) {
    for method in METHODS {
        let Some(engine) = open() else { return };
        let mut pair = Pair::started(
            engine,
            |now, pools| Connection::negotiated_client(&client(method), now, pools),
            |now| {
                let server = server(METHODS.into_iter().collect());
                Connection::negotiated_server(&server, false, now)
            },
        );
        for id in [pair.client, pair.server] {
            pair.until(|event| matches!(event, Event::Connected { id: of } if *of == id));
            assert_eq!(pair.engine.facts(id).is_some(), method != Method::None);
        }
        let beginning = *pair.engine.beginning(pair.server).unwrap();
        assert_eq!(beginning.message.map(|message| message.gid), Some(7));
        let (client, server) = (pair.client, pair.server);
        pair.engine.write(client, b"request");
        assert_eq!(pair.read(server, 7), b"request");
        pair.engine.write(server, b"response");
        assert_eq!(pair.read(client, 8), b"response");
    }
}

pub(super) fn a_refused_request_is_answered_and_closed(open: Open) {
    let Some(engine) = open() else { return };
    let mut pair = Pair::started(
        engine,
        |_, _| Connection::plain(),
        |now| Connection::negotiated_server(&server(Methods::SSL_IO), false, now),
    );
    let (client, server) = (pair.client, pair.server);
    pair.until(|event| matches!(event, Event::Connected { id } if *id == client));
    let request = refusal(5, Pcode::SET_CONFIG, 0);
    pair.engine.write(client, &request);
    let answer = refusal(5, Pcode::SET_CONFIG, ResultCode::UNKNOWN_CONNECTION);
    assert_eq!(pair.read(client, answer.len()), answer);
    pair.peer_closed(client);
    pair.engine.close(client);
    let Event::Closed { error, stage, .. } = pair.closed(server) else {
        unreachable!()
    };
    assert_eq!(error.unwrap().kind(), ErrorKind::NotTls);
    assert_eq!(stage, Stage::Handshake);
}
