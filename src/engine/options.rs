use super::own::OwnConnections;

/// Options of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What moves the bytes.
    pub backend: BackendChoice,
    /// Length of one receive buffer, in bytes.
    pub recv_buf_len: usize,
    /// Number of receive buffers that all connections of the engine share; a power of two.
    pub recv_buf_count: u16,
    /// Unused buffers of each kind that are kept for the next use.
    pub pool_free_max: usize,
    /// Connections that [`Engine::is_own`](super::Engine::is_own) knows, shared by engines whose
    /// connections may come to each other.
    pub own: OwnConnections,
}

/// What moves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendChoice {
    /// io_uring where the kernel allows it, else epoll. The environment variable `SEALWIRE_BACKEND`
    /// (`uring` or
    /// `epoll`) decides in its place.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// epoll.
    Epoll,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            // Two full TLS records: bulk data arrives in few completions, and 256 of them are 8
            // MiB.
            recv_buf_len: 32 * 1024,
            recv_buf_count: 256,
            pool_free_max: 256,
            own: OwnConnections::default(),
        }
    }
}
