//! Sessions that are taken up again: tickets that every holder of the same keys understands.
//!
//! A ticket is name (16) ‖ nonce (12) ‖ AES-256-GCM(time of issue (8) ‖ session), the name being
//! authenticated. Name and key are made of a shared key, the route and what its clients are trusted
//! by, so that a ticket of another route, or of one that trusted other clients, is as good as none.
//! Nothing is stored here.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::call;
use super::identity::config;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{TICKET_LIFETIME_S, TICKET_SKEW_S};
use crate::wire::Reader;

/// The keys that tickets are sealed with: the current one seals, the previous and the next one are
/// understood as well, so that holders may rotate them one after the other. Rotating moves each key
/// one place to the front: what was current becomes previous, what was next becomes current.
pub struct TicketKeys {
    /// Previous, current, next.
    keys: [Zeroizing<[u8; TICKET_KEY_LEN]>; 3],
}

/// How a server resumes sessions.
#[derive(Clone, Debug)]
pub struct Tickets {
    /// The keys, which may be shared with other processes.
    pub keys: Arc<TicketKeys>,
    /// What tells this route from the others under the same keys. Every process that is to resume
    /// its sessions must call it the same.
    pub route: String,
    /// How long a session may be resumed, in seconds; at most a week (RFC 8446 section 4.6.1).
    pub lifetime_s: u32,
}

impl TicketKeys {
    /// Reads the previous, the current and the next key, 48 random bytes each. `name` is what
    /// errors call them.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Arc<Self>> {
        let len = bytes.len();
        let (keys, rest) = bytes.as_chunks::<TICKET_KEY_LEN>();
        let [previous, current, next] = keys else {
            return Err(wrong_len(name, len));
        };
        if !rest.is_empty() {
            return Err(wrong_len(name, len));
        }
        if previous == current || current == next || previous == next {
            return Err(config(
                name,
                format!("holds the same ticket key twice; {REMEDY}"),
            ));
        }
        let keys = [previous, current, next].map(|key| Zeroizing::new(*key));
        Ok(Arc::new(Self { keys }))
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

impl Tickets {
    /// Tickets with the usual lifetime.
    pub fn new(keys: Arc<TicketKeys>, route: impl Into<String>) -> Self {
        Self {
            keys,
            route: route.into(),
            lifetime_s: TICKET_LIFETIME_S,
        }
    }
}

/// Neither seals nor opens any.
#[derive(Debug)]
pub(super) struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Seals and opens the tickets of one route.
#[derive(Debug)]
pub(super) struct RouteTickets {
    current: RouteKey,
    others: [RouteKey; 2],
    lifetime_s: u32,
}

impl RouteTickets {
    /// `client_trust` is what a session's client was trusted by.
    pub(super) fn new(tickets: &Tickets, client_trust: &[u8]) -> Result<Self> {
        let context = [
            &(tickets.route.len() as u64).to_be_bytes()[..],
            tickets.route.as_bytes(),
            client_trust,
        ];
        let [previous, current, next] = &tickets.keys.keys;
        Ok(Self {
            current: RouteKey::derive(current, &context)?,
            others: [
                RouteKey::derive(next, &context)?,
                RouteKey::derive(previous, &context)?,
            ],
            lifetime_s: tickets.lifetime_s.min(LIFETIME_MAX_S),
        })
    }

    fn is_current(&self, issued_s: u64) -> bool {
        let now_s = call::wall_s();
        let last_s = issued_s.saturating_add(u64::from(self.lifetime_s));
        issued_s <= now_s.saturating_add(TICKET_SKEW_S) && now_s < last_s
    }
}

impl ProducesTickets for RouteTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current.seal(&[&call::wall_s().to_be_bytes(), plain])
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader::new(ticket);
        let name = reader.array::<NAME_LEN>()?;
        let nonce = reader.array::<NONCE_LEN>()?;
        let sealed = reader.take(reader.len())?;
        let mut keys = std::iter::once(&self.current).chain(&self.others);
        let opened = keys.find(|key| key.name == name)?.open(nonce, sealed)?;
        let (issued_s, session) = opened.split_first_chunk::<8>()?;
        self.is_current(u64::from_be_bytes(*issued_s))
            .then(|| session.to_vec())
    }
}

struct RouteKey {
    name: [u8; NAME_LEN],
    key: LessSafeKey,
}

impl RouteKey {
    fn derive(secret: &[u8; TICKET_KEY_LEN], context: &[&[u8]]) -> Result<Self> {
        let mut derived = Zeroizing::new([0; NAME_LEN + KEY_LEN]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, PURPOSE)
            .extract(secret)
            .expand(context, DerivedLen)
            .and_then(|derivation| derivation.fill(derived.as_mut()))
            .map_err(|_| no_key())?;
        let (name, key) = derived.split_first_chunk().ok_or_else(no_key)?;
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| no_key())?;
        Ok(Self {
            name: *name,
            key: LessSafeKey::new(key),
        })
    }

    fn seal(&self, plain: &[&[u8]]) -> Option<Vec<u8>> {
        // 96 random bits: a key is rotated long before 2^32 tickets make a repetition likely.
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = Zeroizing::new(plain.concat());
        let (aad, unique) = (Aad::from(self.name), Nonce::assume_unique_for_key(nonce));
        self.key
            .seal_in_place_append_tag(unique, aad, &mut *sealed)
            .ok()?;
        Some([&self.name[..], &nonce, &sealed].concat())
    }

    fn open(&self, nonce: [u8; NONCE_LEN], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut opened = Zeroizing::new(sealed.to_vec());
        let (aad, nonce) = (Aad::from(self.name), Nonce::assume_unique_for_key(nonce));
        let len = self.key.open_in_place(nonce, aad, &mut opened).ok()?.len();
        opened.truncate(len);
        Some(opened)
    }
}

impl fmt::Debug for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouteKey")
    }
}

struct DerivedLen;

impl hkdf::KeyType for DerivedLen {
    fn len(&self) -> usize {
        NAME_LEN + KEY_LEN
    }
}

fn wrong_len(name: &str, len: usize) -> Error {
    let wanted = 3 * TICKET_KEY_LEN;
    config(
        name,
        format!(
            "holds {len} bytes and not three ticket keys of {TICKET_KEY_LEN}, {wanted} in all; \
             {REMEDY}"
        ),
    )
}

fn no_key() -> Error {
    Error::new(ErrorKind::Internal, "a ticket key cannot be derived")
}

/// Bytes of one shared key.
pub const TICKET_KEY_LEN: usize = 48;

const NAME_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// Keeps these keys apart from whatever else the same bytes may be used for.
const PURPOSE: &[u8] = b"sealwire ticket 1";

/// RFC 8446 section 4.6.1.
const LIFETIME_MAX_S: u32 = 604_800;

const REMEDY: &str = "`sealwire cert tickets FILE` makes a set";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    fn keys(numbers: [u8; 3]) -> Arc<TicketKeys> {
        let bytes: Vec<_> = numbers.iter().flat_map(|n| [*n; TICKET_KEY_LEN]).collect();
        TicketKeys::from_bytes("tickets", &bytes).unwrap()
    }

    fn route(numbers: [u8; 3], route: &str, trust: &[u8]) -> RouteTickets {
        RouteTickets::new(&Tickets::new(keys(numbers), route), trust).unwrap()
    }

    fn at(wall_s: u64) {
        call::begin(Now {
            wall_s,
            ..Now::default()
        });
    }

    #[test]
    fn a_ticket_lives_through_one_rotation_either_way_and_no_further() {
        at(1_000);
        let ticket = route([1, 2, 3], "r", b"").encrypt(b"session").unwrap();
        for numbers in [[1, 2, 3], [2, 3, 4], [0, 1, 2]] {
            let opened = route(numbers, "r", b"").decrypt(&ticket);
            assert_eq!(opened.as_deref(), Some(&b"session"[..]), "{numbers:?}");
        }
        for numbers in [[3, 4, 5], [9, 0, 1]] {
            assert_eq!(
                route(numbers, "r", b"").decrypt(&ticket),
                None,
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn a_ticket_is_for_one_route_and_one_trust() {
        at(1_000);
        let ticket = route([1, 2, 3], "ab", b"c").encrypt(b"session").unwrap();
        for (name, trust) in [("a", &b"bc"[..]), ("ab", b""), ("abc", b""), ("ab", b"d")] {
            assert_eq!(
                route([1, 2, 3], name, trust).decrypt(&ticket),
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn a_ticket_ends_with_its_lifetime() {
        let tickets = route([1, 2, 3], "r", b"");
        at(1_000);
        let ticket = tickets.encrypt(b"session").unwrap();
        let last_s = 1_000 + u64::from(TICKET_LIFETIME_S);
        for (now_s, is_good) in [
            (1_000 - TICKET_SKEW_S - 1, false),
            (1_000 - TICKET_SKEW_S, true),
            (last_s - 1, true),
            (last_s, false),
        ] {
            at(now_s);
            assert_eq!(tickets.decrypt(&ticket).is_some(), is_good, "{now_s}");
        }
    }

    #[test]
    fn a_ticket_that_was_touched_is_none() {
        at(1_000);
        let tickets = route([1, 2, 3], "r", b"");
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[at] ^= 1;
            assert_eq!(tickets.decrypt(&touched), None, "{at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at}");
        }
    }

    #[test]
    fn key_sets_are_three_keys_that_differ() {
        for len in [0, 48, 96, 143, 145, 192] {
            let bytes: Vec<_> = (0..len).map(|at| (at % 251) as u8).collect();
            let error = TicketKeys::from_bytes("t.keys", &bytes).unwrap_err();
            assert!(error.to_string().starts_with("t.keys: holds "), "{error}");
        }
        let error = TicketKeys::from_bytes("t.keys", &[0; 144]).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
    }
}
