use std::ops::{BitOr, BitOrAssign};

/// The flags of an RPC header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags(pub u16);

impl Flags {
    /// A response.
    pub const RESPONSE: Self = Self(1 << 15);
    /// A part of a stream.
    pub const STREAM: Self = Self(1 << 14);
    /// The last part of a stream; from a client: the stream is to end.
    pub const STREAM_LAST: Self = Self(1 << 13);
    /// No debug-sync object follows the arguments.
    pub const DISABLE_DEBUGSYNC: Self = Self(1 << 12);
    /// A runtime context follows the arguments.
    pub const CONTEXT: Self = Self(1 << 11);
    /// The request is not answered.
    pub const UNNEED_RESPONSE: Self = Self(1 << 10);
    /// The request must go to another server.
    pub const REQUIRE_REROUTING: Self = Self(1 << 9);
    /// The traffic is limited in rate.
    pub const ENABLE_RATELIMIT: Self = Self(1 << 8);
    /// The traffic is that of a background task.
    pub const BACKGROUND_FLOW: Self = Self(1 << 7);
    /// A trace object follows the arguments.
    pub const TRACE_INFO: Self = Self(1 << 6);
    /// The request is one of the table API; in a response: its route is stale.
    pub const KV_REQUEST: Self = Self(1 << 5);
    /// No log level is asked for: what clients send.
    pub const NO_LOG_LEVEL: Self = Self(7);

    /// True where all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl Default for Flags {
    fn default() -> Self {
        Self::NO_LOG_LEVEL
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
