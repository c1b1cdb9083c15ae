use std::net::SocketAddr;
use std::sync::Arc;

use super::counters::{AddressSlot, Slot};
use super::follower::Follower;
use super::mysql::{Login, Step};
use super::service::RouteState;
use super::sessions::Announcement;
use crate::engine::{Address, ConnId, Engine, PeerAddress};
use crate::error::Error;
use crate::time::Monotonic;

/// One connection of a client with the one to its server.
pub(super) struct Session {
    pub(super) state: Arc<RouteState>,
    /// Who is at the other end: as a PROXY header says where one is due, else whoever connected.
    pub(super) peer: PeerAddress,
    /// Where it connected to, as a PROXY header says.
    pub(super) destination: Option<SocketAddr>,
    pub(super) phase: Phase,
    pub(super) client: Leg,
    pub(super) server: Leg,
    pub(super) targets: Targets,
    /// Until it has come, the PROXY header with which the connection begins.
    pub(super) announcement: Option<Box<Announcement>>,
    /// Until it is over, where the route's protocol has one.
    pub(super) login: Option<Box<LoginRun>>,
    /// While it relays, where its protocol can be followed.
    pub(super) follower: Option<Follower>,
    /// Plaintext bytes that came from the client and from the server.
    pub(super) moved: [u64; 2],
    /// It is to end at its first safe moment.
    pub(super) leaving: Option<Leaving>,
    /// How the last address that was tried failed.
    pub(super) last_error: Option<Error>,
    /// Until it relays, the part of its address of the bound on those that do not.
    pub(super) half_open: Option<AddressSlot>,
    /// The session's part of the bounds of its route and of the gateway.
    pub(super) _slots: [Slot; 2],
}

/// A login with what it wants done next, once all that it said before was taken.
pub(super) struct LoginRun {
    pub(super) login: Login,
    pub(super) step: Step,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The PROXY header of the client is to come.
    Announcing,
    /// The client's handshake is under way.
    Handshake,
    /// The server's name is being resolved.
    Resolving,
    /// The server is being connected to, its handshake included.
    Connecting,
    /// The login passes, packet by packet.
    Login,
    /// The client was told or has left; the server is still to end the login.
    Abandoning,
    /// Bytes go both ways.
    Relaying,
    /// Both ends are being closed.
    Ending,
}

/// One of the two connections of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leg {
    /// Its connection; `None` before it is made and after it is closed.
    pub(super) id: Option<ConnId>,
    /// When what is counted of it next began, its connection or its TLS handshake; `None` where
    /// that was counted.
    pub(super) since: Option<Monotonic>,
    /// Its peer has ended its side of the stream.
    pub(super) is_ended: bool,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// That a session is to end at its first safe moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Or then, whatever is under way in it; `None`: it is waited for.
    pub(super) by: Option<Monotonic>,
}

/// The addresses of a server that are still to be tried.
#[derive(Default)]
pub(super) struct Targets {
    fixed: Option<Address>,
    named: Option<Arc<[SocketAddr]>>,
    next: usize,
    /// What an earlier resolution gave; all of it was tried.
    tried: Option<Arc<[SocketAddr]>>,
}

impl Session {
    pub(super) fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ConnId> + use<> {
        self.client.id.into_iter().chain(self.server.id)
    }

    /// Ends both connections behind what they are still to be told.
    pub(super) fn end(&mut self, engine: &mut Engine) {
        self.phase = Phase::Ending;
        self.ids().for_each(|id| engine.close(id));
    }

    /// True where an end of a connection by `error` breaks nothing off.
    pub(super) fn is_end_in_order(&self, error: &Error) -> bool {
        let follower = self.follower.as_ref();
        self.phase == Phase::Relaying && follower.is_some_and(|it| it.is_end_in_order(error))
    }

    pub(super) fn server_name(&self) -> String {
        self.state.route.server.address.to_string()
    }
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Targets {
    pub(super) fn set_fixed(&mut self, address: Address) {
        self.fixed = Some(address);
    }

    /// Takes the addresses of a name; those of an earlier call are not given out again.
    pub(super) fn set_named(&mut self, addresses: Arc<[SocketAddr]>) {
        self.tried = self.named.replace(addresses);
        self.next = 0;
    }

    /// True once [`Targets::set_named`] was called twice.
    pub(super) fn is_second(&self) -> bool {
        self.tried.is_some()
    }

    pub(super) fn pop(&mut self) -> Option<Address> {
        if let Some(address) = self.fixed.take() {
            return Some(address);
        }
        let named = self.named.as_deref()?;
        let tried = self.tried.as_deref().unwrap_or_default();
        let offset = named[self.next..].iter().position(|a| !tried.contains(a))?;
        let address = named[self.next + offset];
        self.next += offset + 1;
        Some(Address::Ip(address))
    }
}

/// What an engine keeps for each connection: the key of its session and its side. Never zero, which
/// is what a connection has that was refused and belongs to no session.
pub(super) fn to_user_data(key: usize, side: Side) -> u64 {
    (key as u64 + 1) << 1 | u64::from(side == Side::Server)
}

/// The inverse of [`to_user_data`].
pub(super) fn from_user_data(user_data: u64) -> Option<(usize, Side)> {
    let side = match user_data & 1 {
        0 => Side::Client,
        _ => Side::Server,
    };
    let key = (user_data >> 1).checked_sub(1)?;
    Some((key as usize, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(last: &[u8]) -> Arc<[SocketAddr]> {
        last.iter().map(|n| ([10, 0, 0, *n], 1).into()).collect()
    }

    fn drain(targets: &mut Targets) -> Vec<String> {
        std::iter::from_fn(|| targets.pop())
            .map(|address| address.to_string())
            .collect()
    }

    #[test]
    fn every_address_is_tried_once_in_order() {
        let mut targets = Targets::default();
        targets.set_named(addresses(&[1, 2]));
        assert!(!targets.is_second());
        assert_eq!(drain(&mut targets), ["10.0.0.1:1", "10.0.0.2:1"]);
        targets.set_named(addresses(&[2, 3, 1, 4]));
        assert!(targets.is_second());
        assert_eq!(drain(&mut targets), ["10.0.0.3:1", "10.0.0.4:1"]);
    }

    #[test]
    fn user_data_goes_there_and_back_and_zero_is_nobody() {
        for key in [0, 12_345] {
            for side in [Side::Client, Side::Server] {
                assert_eq!(from_user_data(to_user_data(key, side)), Some((key, side)));
            }
        }
        assert_eq!(from_user_data(0), None);
    }
}
