use super::session::Side;
use super::{mysql, obrpc};
use crate::error::Error;

/// What follows a session that relays, where its protocol can be followed.
pub(super) enum Follower {
    Mysql(Box<mysql::Follower>),
    Obrpc(Box<obrpc::Follower>),
}

impl Follower {
    /// Takes note of bytes that `from` has sent to the other side.
    pub(super) fn passed(&mut self, from: Side, bytes: &[u8]) {
        match self {
            Self::Mysql(follower) => follower.passed(from, bytes),
            Self::Obrpc(follower) => follower.passed(from, bytes),
        }
    }

    /// Something has passed that must not: what the client is told, and why. It has not left yet.
    pub(super) fn violation(&self) -> Option<(Vec<u8>, Error)> {
        match self {
            Self::Mysql(follower) => follower.violation().map(|error| (Vec::new(), error)),
            Self::Obrpc(follower) => follower.violation(),
        }
    }

    /// True where `bytes`, the next of the client, begin a login that passes packet by packet.
    pub(super) fn begins_login(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Mysql(follower) => follower.begins_login(bytes),
            Self::Obrpc(_) => false,
        }
    }

    /// True where nothing is lost if the session ends now.
    pub(super) fn is_safe_to_close(&self) -> bool {
        match self {
            Self::Mysql(follower) => follower.is_safe_to_close(),
            Self::Obrpc(follower) => follower.is_safe_to_close(),
        }
    }

    /// True where an end of a connection by `error` breaks nothing off.
    pub(super) fn is_end_in_order(&self, error: &Error) -> bool {
        match self {
            Self::Mysql(follower) => follower.is_end_in_order(error),
            Self::Obrpc(follower) => follower.is_end_in_order(error),
        }
    }

    /// As whom the client has logged in, where its protocol has logins.
    pub(super) fn user(&self) -> Option<&[u8]> {
        match self {
            Self::Mysql(follower) => Some(follower.user()),
            Self::Obrpc(_) => None,
        }
    }

    /// What `to` is told at a safe moment where the gateway ends the session.
    pub(super) fn farewell(&self, to: Side) -> Vec<u8> {
        match self {
            Self::Mysql(follower) => follower.farewell(to),
            Self::Obrpc(_) => Vec::new(),
        }
    }
}
