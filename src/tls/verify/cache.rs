use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::limits::VERIFIED_CHAINS_MAX;

/// Chains that were found good, so that a peer that connects again costs no signature check of its
/// chain.
///
/// It belongs to one verifier, which has one mode and one set of authorities and revocation lists
/// for life; so neither is part of the key, and new trust begins with nothing.
#[derive(Debug, Default)]
pub(super) struct VerifiedChains {
    entries: Mutex<Entries>,
}

/// A whole presented chain with the name that it was judged for, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChainKey([u8; 32]);

/// When a verdict holds, in seconds since 1970-01-01 UTC, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from_s: u64,
    pub(super) until_s: u64,
}

#[derive(Debug, Default)]
struct Entries {
    spans: HashMap<ChainKey, Span>,
    /// The oldest first.
    order: VecDeque<ChainKey>,
}

impl ChainKey {
    pub(super) fn new(
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
    ) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            // Lengths keep one part from reading as the end of another.
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(
            name.map(|name| name.to_str())
                .unwrap_or_default()
                .as_bytes(),
        );
        part(leaf);
        intermediates
            .iter()
            .for_each(|certificate| part(certificate));
        let mut key = [0; 32];
        key.copy_from_slice(hash.finish().as_ref());
        Self(key)
    }
}

impl VerifiedChains {
    /// True where the verdict is known and holds now.
    pub(super) fn holds(&self, key: &ChainKey, now_s: u64) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let span = entries.spans.get(key);
        span.is_some_and(|span| (span.from_s..=span.until_s).contains(&now_s))
    }

    pub(super) fn insert(&self, key: ChainKey, span: Span) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.spans.insert(key, span).is_none() {
            entries.order.push_back(key);
        }
        if entries.order.len() > VERIFIED_CHAINS_MAX
            && let Some(oldest) = entries.order.pop_front()
        {
            entries.spans.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(leaf: &[u8], rest: &[&[u8]], name: Option<&'static str>) -> ChainKey {
        let rest: Vec<_> = rest.iter().map(|der| CertificateDer::from(*der)).collect();
        let name = name.map(|name| ServerName::try_from(name).unwrap());
        ChainKey::new(&CertificateDer::from(leaf), &rest, name.as_ref())
    }

    #[test]
    fn keys_tell_chains_and_names_apart() {
        let keys = [
            key(b"ab", &[b"c"], None),
            key(b"a", &[b"bc"], None),
            key(b"ab", &[], None),
            key(b"ab", &[b"c", b""], None),
            key(b"ab", &[b"c"], Some("db1")),
            key(b"ab", &[b"c"], Some("db2")),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(one), "{at}");
        }
    }

    #[test]
    fn a_verdict_holds_for_its_span_alone() {
        let (chains, key) = (VerifiedChains::default(), key(b"a", &[], None));
        let (from_s, until_s) = (10, 20);
        chains.insert(key, Span { from_s, until_s });
        let held: Vec<_> = [9, 10, 20, 21]
            .map(|now_s| chains.holds(&key, now_s))
            .into();
        assert_eq!(held, [false, true, true, false]);
    }

    #[test]
    fn the_oldest_make_room() {
        let chains = VerifiedChains::default();
        let (from_s, until_s) = (0, 9);
        let key_of = |number: usize| key(&number.to_be_bytes(), &[], None);
        for number in 0..=VERIFIED_CHAINS_MAX {
            chains.insert(key_of(number), Span { from_s, until_s });
        }
        assert!(!chains.holds(&key_of(0), 5));
        assert!(chains.holds(&key_of(1), 5));
        assert!(chains.holds(&key_of(VERIFIED_CHAINS_MAX), 5));
        assert_eq!(
            chains.entries.lock().unwrap().spans.len(),
            VERIFIED_CHAINS_MAX
        );
    }
}
