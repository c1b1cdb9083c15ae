use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{Context, SHA256};

/// What tells one configuration of a route from another: what is written of it, wherever that
/// stands in its file, and the contents of the files that it names.
pub(crate) type RouteDigest = [u8; 32];

/// Makes a [`RouteDigest`] of whatever can be hashed.
pub(super) struct RouteHasher(Context);

impl RouteHasher {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes a value in.
    pub(super) fn add(&mut self, value: impl Hash) {
        value.hash(self);
    }

    pub(super) fn digest(self) -> RouteDigest {
        let mut digest = RouteDigest::default();
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

impl Hasher for RouteHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finish();
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_ref()[..8]);
        u64::from_ne_bytes(first)
    }
}
