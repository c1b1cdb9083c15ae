//! PROXY headers: the one with which a client's connection begins where its peer passes streams on,
//! and the one with which the server's begins.

use std::net::SocketAddr;

use super::*;
use crate::frame::proxy::{
    ClientCertificate, ClientTls as TlsFacts, HeaderDecoder, Origin, write_v2,
};
use crate::tls::{Facts, Oneline, Version};

/// What is due of a peer that passes on the streams of others.
pub(in crate::gateway) struct Announcement {
    decoder: HeaderDecoder,
    /// By which the client is to be judged once it is known.
    bounds: Bounds,
}

impl Sessions {
    /// Reads on in the header of the client's connection.
    pub(super) fn read_announcement(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let (Some(id), Some(announcement)) = (session.client.id, &mut session.announcement) else {
            return;
        };
        let bytes = engine.peek(id);
        let mut rest = bytes;
        let result = announcement.decoder.next(&mut rest);
        let len = bytes.len() - rest.len();
        engine.consume(id, len);
        match result {
            Ok(None) => {}
            Ok(Some(origin)) => self.announced(engine, key, origin),
            Err(violation) => self.not_announced(engine, key, violation.into()),
        }
    }

    /// The connection ends, or is to, before its header was whole.
    pub(super) fn not_announced(&mut self, engine: &mut Engine, key: usize, error: Error) {
        if let Some(session) = self.slab.get(key) {
            let error = error.at("PROXY header, which is due from proxy_protocol_from");
            report::handshake_failed(session, Side::Client, &error);
            self.count_failure(key, &error);
            self.abort(engine, key);
            self.forget_if_closed(key);
        }
    }

    pub(super) fn announcement_late(&mut self, engine: &mut Engine, key: usize) {
        if let Some(session) = self.slab.get(key) {
            let limit = session.state.route.handshake_timeout.as_secs();
            let error = Error::new(ErrorKind::Timeout, format!("not whole after {limit} s"));
            self.not_announced(engine, key, error);
        }
    }

    /// It is known who the client is: from here on its session is like any other.
    fn announced(&mut self, engine: &mut Engine, key: usize, origin: Origin) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let (Some(id), Some(announcement)) = (session.client.id, session.announcement.take())
        else {
            return;
        };
        if let Origin::Relayed {
            source,
            destination,
        } = origin
        {
            let source = SocketAddr::new(source.ip().to_canonical(), source.port());
            session.peer = PeerAddress::Ip(source);
            session.destination = Some(destination);
        }
        let is_known = origin != Origin::Unknown;
        session.login = login::of(&session.state, session.peer, is_known);
        session.phase = Phase::Handshake;
        engine.set_timer(id, None);
        let peer = session.peer;
        match self.enter_half_open(peer, announcement.bounds) {
            Ok(half_open) => self.begin_handshake(engine, key, id, half_open),
            Err(error) => self.turn_away_announced(engine, key, id, &error),
        }
    }

    fn begin_handshake(
        &mut self,
        engine: &mut Engine,
        key: usize,
        id: ConnId,
        half_open: Option<AddressSlot>,
    ) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.half_open = half_open;
        session.client.since = Some(engine.now().monotonic);
        match (&session.state.route.client.tls, &session.login) {
            (ClientTls::Terminated { config, .. }, None) => engine.start_tls_server(id, config),
            _ => self.client_ready(engine, key, id),
        }
    }

    /// The client's address has too many connections.
    fn turn_away_announced(&mut self, engine: &mut Engine, key: usize, id: ConnId, error: &Error) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.phase = Phase::Ending;
        match session.login.take() {
            Some(_) => login::say_full(engine, id, error),
            None => engine.abort(id),
        }
        let (peer, state) = (session.peer, Arc::clone(&session.state));
        self.count_failure(key, error);
        let now = engine.now().monotonic;
        self.refusals.report(now, peer, &state, error);
    }
}

/// What is due of this peer before anything else, where it passes on the streams of others.
pub(super) fn due(
    state: &RouteState,
    peer: PeerAddress,
    bounds: Bounds,
) -> Option<Box<Announcement>> {
    let is_due = state.route.client.proxy_protocol_from.contains(peer);
    is_due.then(|| {
        Box::new(Announcement {
            decoder: HeaderDecoder::default(),
            bounds,
        })
    })
}

/// With what the server's connection begins; nothing where the server expects nothing.
///
/// Of a client on a Unix socket the server is to see the gateway itself, as it would without a
/// header: MariaDB refuses a client of no address, and takes one of AF_UNIX for a local one.
pub(super) fn header(session: &Session, engine: &Engine) -> Vec<u8> {
    let mut out = Vec::new();
    let (Some(header), Some(id)) = (session.state.route.server.proxy_header, session.client.id)
    else {
        return out;
    };
    let destination = session.destination.or_else(|| engine.local(id));
    let origin = match (session.peer, destination) {
        (PeerAddress::Ip(source), Some(destination)) => Origin::Relayed {
            source,
            destination,
        },
        _ => Origin::Sender,
    };
    match engine.facts(id) {
        Some(facts) => write_with_tls(&mut out, origin, facts, header.has_subject),
        None => write_v2(&mut out, origin, None),
    }
    out
}

fn write_with_tls(out: &mut Vec<u8>, origin: Origin, facts: &Facts, has_subject: bool) {
    let certificate = facts.peer();
    let certificate = certificate.as_ref();
    let common_name = certificate.and_then(|it| it.common_name());
    let subject = certificate.filter(|_| has_subject);
    let subject = subject.and_then(|it| it.subject(Oneline::default()));
    let tls = TlsFacts {
        version: match facts.version {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        },
        cipher: facts.openssl_suite(),
        is_resumed: facts.resumed,
        certificate: (!facts.peer_chain.is_empty()).then_some(ClientCertificate {
            common_name: common_name.as_deref(),
            subject: subject.as_deref(),
        }),
    };
    write_v2(out, origin, Some(&tls));
}
