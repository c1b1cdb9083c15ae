//! Encrypted transport for database connections: TLS 1.3 and 1.2 by rustls on aws-lc, moved by
//! io_uring.
//!
//! ```text
//!                      application
//!                 plaintext  │  events
//!   ┌────────────────────────┴───────────────────────┐
//!   │ engine    one per thread: sockets, timers,     │   the only room that does I/O
//!   │           io_uring or epoll                    │
//!   ├────────────────────────────────────────────────┤
//!   │ conn      one state machine per connection     │   bytes and time in,
//!   │ tls       handshake, records, trust            │   bytes and events out
//!   │ buf       memory, lent and given back          │
//!   └────────────────────────┬───────────────────────┘
//!                 records    │
//!                         the wire
//! ```
//!
//! [`conn::Connection`] is one end of a connection without a socket; whoever has one may drive it.
//! Two drivers are here: [`engine::Engine`] for thousands of connections on a thread,
//! [`stream::Stream`] for one that blocks. The gateway and the command line stand on the engine,
//! behind the feature `cli`.
//!
//! What this is not: a TLS implementation (rustls does the handshake), a database driver, or a
//! network stack. TCP stays in the kernel; what is spared is the call into it per message.
//!
//! # Example
//!
//! A TLS client over a blocking socket:
//!
//! ```no_run
//! use std::io::{Read, Write};
//!
//! use sealwire::buf::Pools;
//! use sealwire::conn::Connection;
//! use sealwire::engine::Clock;
//! use sealwire::stream::Stream;
//! use sealwire::tls::{ClientConfig, ClientOptions, Pem, Roots, ServerName, Verify};
//!
//! let ca = std::fs::read("ca.pem")?;
//! let roots = Roots::from_pem(&[Pem { name: "ca.pem", text: &ca }])?;
//! let config = ClientConfig::new(&ClientOptions::new(Verify::Full(roots)))?;
//!
//! let (clock, mut pools) = (Clock::start(), Pools::new(4));
//! let name = ServerName::try_from("localhost")?;
//! let conn = Connection::client(&config, &name, clock.now(), &mut pools)?;
//! let socket = std::net::TcpStream::connect("127.0.0.1:8443")?;
//! let mut stream = Stream::new(conn, socket, clock, pools);
//! stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
//! stream.flush()?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[forbid(unsafe_code)]
pub mod buf;
#[cfg(feature = "cli")]
pub mod cli;
#[forbid(unsafe_code)]
pub mod conn;
#[forbid(unsafe_code)]
pub mod endpoint;
pub mod engine;
#[forbid(unsafe_code)]
pub mod error;
mod ffi;
#[forbid(unsafe_code)]
pub mod frame;
#[cfg(feature = "cli")]
mod gateway;
#[forbid(unsafe_code)]
pub mod limits;
#[forbid(unsafe_code)]
pub mod rpc;
pub mod stream;
#[forbid(unsafe_code)]
pub mod time;
#[forbid(unsafe_code)]
pub mod tls;
#[forbid(unsafe_code)]
pub mod wire;
