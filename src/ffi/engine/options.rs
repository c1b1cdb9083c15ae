//! The options of an engine and of a listener, as C gives them.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::time::Duration;

use crate::engine::{BackendChoice, EngineOptions, ListenOptions, SocketOptions};
use crate::ffi::pointer::Options;
use crate::ffi::result::Failure;
use crate::limits;

/// io_uring where the kernel allows it, else epoll. The environment variable SEALWIRE_BACKEND
/// ("uring" or "epoll") decides in its place.
pub const SEALWIRE_BACKEND_AUTO: c_int = 0;
/// io_uring, or an error.
pub const SEALWIRE_BACKEND_IO_URING: c_int = 1;
/// epoll.
pub const SEALWIRE_BACKEND_EPOLL: c_int = 2;

/// Options of an engine. All zero but for `size` are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sealwire_engine_options {
    /// sizeof (sealwire_engine_options): what tells later versions which fields there are.
    pub size: usize,
    /// What moves the bytes: one of SEALWIRE_BACKEND_*.
    pub backend: c_int,
    /// Length of one receive buffer, in bytes; 0: 32 KiB. 1 MiB at most.
    pub recv_buf_len: u32,
    /// Number of receive buffers that all connections share, a power of two; 0: 256.
    pub recv_buf_count: u32,
    /// Unused buffers of each kind that are kept for the next use; 0: 256.
    pub pool_free_max: u32,
}

/// Options of a listener. All zero but for `size` are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sealwire_listen_options {
    /// sizeof (sealwire_listen_options): what tells later versions which fields there are.
    pub size: usize,
    /// A word of the caller, which the listener's events carry.
    pub user_data: *mut c_void,
    /// Connections that the kernel lets wait to be accepted; 0: 1,024.
    pub backlog: u32,
    /// 1: other engines may listen on the same port, and the kernel spreads the connections
    /// (SO_REUSEPORT); 0: no.
    pub reuse_port: c_int,
    /// 1: accepted connections begin in plaintext, for sealwire_conn_start_tls(); 0: with TLS.
    pub plaintext_first: c_int,
    /// Idle time before TCP probes the peer, and between two probes, in seconds; 0: never.
    pub keepalive_s: u32,
    /// How long what was sent may stay unacknowledged before the connection fails, in milliseconds;
    /// 0: as the system says.
    pub user_timeout_ms: u32,
    /// 0.
    pub reserved: u32,
}

impl sealwire_engine_options {
    pub(super) fn check(&self) -> Result<EngineOptions, Failure> {
        let mut options = EngineOptions {
            backend: match self.backend {
                SEALWIRE_BACKEND_AUTO => BackendChoice::Auto,
                SEALWIRE_BACKEND_IO_URING => BackendChoice::Uring,
                SEALWIRE_BACKEND_EPOLL => BackendChoice::Epoll,
                other => {
                    let text = format!("backend is {other}, which is none of SEALWIRE_BACKEND_*");
                    return Err(Failure::argument(text));
                }
            },
            ..EngineOptions::default()
        };
        if self.recv_buf_len > 0 {
            options.recv_buf_len = self.recv_buf_len as usize;
        }
        if options.recv_buf_len > limits::RECV_BUF_LEN_MAX {
            return Err(Failure::argument("recv_buf_len is over 1 MiB"));
        }
        if self.recv_buf_count > 0 {
            let count = u16::try_from(self.recv_buf_count).ok();
            options.recv_buf_count =
                count
                    .filter(|count| count.is_power_of_two())
                    .ok_or_else(|| {
                        Failure::argument("recv_buf_count is no power of two, or over 32,768")
                    })?;
        }
        if self.pool_free_max > 0 {
            options.pool_free_max = self.pool_free_max as usize;
        }
        Ok(options)
    }
}

impl sealwire_listen_options {
    pub(super) fn check(&self) -> Result<ListenOptions, Failure> {
        let keepalive = Duration::from_secs(self.keepalive_s.into());
        let user_timeout = Duration::from_millis(self.user_timeout_ms.into());
        if self.reserved != 0 {
            return Err(Failure::argument("reserved is not 0"));
        }
        Ok(ListenOptions {
            backlog: match self.backlog {
                0 => BACKLOG,
                backlog => backlog,
            },
            reuse_port: self.reuse_port != 0,
            is_redirected: false,
            socket: SocketOptions {
                keepalive: Some(keepalive).filter(|keepalive| !keepalive.is_zero()),
                user_timeout: Some(user_timeout).filter(|timeout| !timeout.is_zero()),
                ..SocketOptions::default()
            },
        })
    }
}

impl Default for sealwire_engine_options {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            backend: SEALWIRE_BACKEND_AUTO,
            recv_buf_len: 0,
            recv_buf_count: 0,
            pool_free_max: 0,
        }
    }
}

impl Default for sealwire_listen_options {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            user_data: ptr::null_mut(),
            backlog: 0,
            reuse_port: 0,
            plaintext_first: 0,
            keepalive_s: 0,
            user_timeout_ms: 0,
            reserved: 0,
        }
    }
}

// SAFETY: integers and a pointer, without gaps; the size comes first.
unsafe impl Options for sealwire_engine_options {
    const LEN_MIN: usize = 24;
}

// SAFETY: as above.
unsafe impl Options for sealwire_listen_options {
    const LEN_MIN: usize = 40;
}

/// Connections that wait to be accepted, where nothing else is asked for.
const BACKLOG: u32 = 1_024;
