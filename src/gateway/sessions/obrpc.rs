//! What is particular to sessions of `protocol = "obrpc"`.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::conn::NegotiationClient;
use crate::frame::obrpc::Method;
use crate::gateway::machine;
use crate::gateway::obrpc::{Follower as CallFollower, Onward};

impl Sessions {
    /// Goes on to where the client meant to connect to.
    pub(super) fn connect_to_original(&mut self, engine: &mut Engine, key: usize, id: ConnId) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let original = engine
            .local(id)
            .filter(|original| !listens(session, *original));
        match original {
            Some(_) if engine.is_own(id) => self.came_back(engine, key, id),
            Some(original) => {
                session.targets.set_fixed(Address::Ip(original));
                self.connect(engine, key);
            }
            None => {
                let text = "the client connected to the gateway itself, and was redirected by no \
                            packet filter: there is nowhere to go on to";
                self.unreachable(engine, key, &Error::new(ErrorKind::Misuse, text));
            }
        }
    }

    /// The client is the gateway itself: to go on would bring it here again, without end. Whatever
    /// else may be wrong with it is a consequence.
    pub(super) fn came_back(&mut self, engine: &mut Engine, key: usize, id: ConnId) {
        let to = engine.local(id).map(Address::Ip);
        let to = to.map_or_else(String::new, |to| format!(" to {to}"));
        let text = format!(
            "the packet filter has redirected the gateway's own connection{to} back to it: before \
             its rule for outgoing connections an exception is missing, in nftables \
             \"meta skuid {} return\"",
            machine::user_id()
        );
        self.unreachable(engine, key, &Error::new(ErrorKind::Misuse, text));
    }
}

/// True where the session's own route listens: to go on there would never end.
fn listens(session: &Session, address: SocketAddr) -> bool {
    let listens_at = |listen: &Address| match listen {
        Address::Ip(ip) => {
            ip.port() == address.port() && (ip.ip() == address.ip() || ip.ip().is_unspecified())
        }
        Address::Unix(_) => false,
    };
    session.state.route.listen.iter().any(listens_at)
}

/// True where OceanBase's rule for 127.0.0.1 is kept and the client is there.
pub(super) fn is_client_exempt(state: &RouteState, peer: PeerAddress) -> bool {
    let is_kept = matches!(
        state.route.client.tls,
        ClientTls::Negotiated {
            is_loopback_exempt: true,
            ..
        }
    );
    is_kept && matches!(peer, PeerAddress::Ip(address) if is_exempt(address.ip()))
}

/// The connection to the server, as the client's has begun.
pub(super) fn server_connection(
    session: &Session,
    address: &Address,
    engine: &mut Engine,
) -> Result<Connection> {
    let ServerTls::Negotiated {
        client,
        name,
        method,
        is_loopback_exempt,
        ..
    } = &session.state.route.server.tls
    else {
        return Ok(Connection::plain());
    };
    match onward(session, *method, engine)? {
        Onward::AsItCame => Ok(Connection::plain()),
        Onward::Negotiated { gid, .. } => {
            let mut client = NegotiationClient::clone(client);
            client.gid = gid;
            client.is_exempt = *is_loopback_exempt && is_at_loopback(address);
            if let (None, Address::Ip(address)) = (name, address) {
                client.server_name = address.ip().into();
            }
            let now = engine.now();
            Ok(Connection::negotiated_client(&client, now, engine.pools()))
        }
    }
}

/// Both connections are in use: what follows them from now on, on a route of this protocol. Bytes
/// of the client's that are not to go on are taken off.
pub(super) fn follow(session: &Session, client: ConnId, engine: &mut Engine) -> Option<Follower> {
    let ServerTls::Negotiated { method, .. } = session.state.route.server.tls else {
        return None;
    };
    let onward = onward(session, method, engine).ok()?;
    let mut follower = CallFollower::new(engine.beginning(client)?);
    if let Onward::Negotiated { mut skip, .. } = onward {
        while skip > 0 && !engine.peek(client).is_empty() {
            let chunk = engine.peek(client);
            let skipped = &chunk[..skip.min(chunk.len())];
            follower.passed(Side::Client, skipped);
            let len = skipped.len();
            engine.consume(client, len);
            skip -= len;
        }
    }
    Some(Follower::Obrpc(Box::new(follower)))
}

fn onward(session: &Session, method: Method, engine: &Engine) -> Result<Onward> {
    let beginning = session.client.id.and_then(|id| engine.beginning(id));
    let gone = || Error::new(ErrorKind::Truncated, "the client is gone");
    Onward::new(beginning.ok_or_else(gone)?, method)
}

/// Whoever connects to an address of this network does so from 127.0.0.1.
fn is_at_loopback(address: &Address) -> bool {
    matches!(address, Address::Ip(address) if matches!(
        address.ip().to_canonical(),
        IpAddr::V4(ip) if ip.is_loopback()
    ))
}

/// By the one address alone, as OceanBase has it.
fn is_exempt(ip: IpAddr) -> bool {
    ip.to_canonical() == IpAddr::from([127, 0, 0, 1])
}
