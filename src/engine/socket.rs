//! Sockets as both back ends open them: close-on-exec, without Nagle's delay, with the options asked for.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::address::{Address, PeerAddress};
use super::backend::{ListenOptions, SocketOptions};

/// A listening socket, and the address that it is bound to. Adds the system calls made to `syscalls`.
///
/// Its stream options are those of the accepted sockets, which Linux copies from it
/// (`inet_csk_clone_lock`), so that accepting costs no further call.
pub(super) fn listen(
    address: &Address,
    options: &ListenOptions,
    kind: Type,
    syscalls: &mut u64,
) -> io::Result<(Socket, Address)> {
    let (socket, sockaddr) = open(address, &options.socket, kind, syscalls)?;
    match address {
        Address::Ip(_) => bind_ip(&socket, &sockaddr, options, syscalls)?,
        Address::Unix(path) => bind_unix(&socket, &sockaddr, path, syscalls)?,
    }
    *syscalls += 2;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let bound = match socket.local_addr()?.as_socket() {
        Some(ip) => Address::Ip(ip),
        None => address.clone(),
    };
    Ok((socket, bound))
}

/// A socket that is to be connected to `address`, and that address for the kernel. Adds the system
/// calls made to `syscalls`.
pub(super) fn open(
    address: &Address,
    options: &SocketOptions,
    kind: Type,
    syscalls: &mut u64,
) -> io::Result<(Socket, SockAddr)> {
    let sockaddr = match address {
        Address::Ip(ip) => SockAddr::from(*ip),
        Address::Unix(path) => SockAddr::unix(path)?,
    };
    *syscalls += 1;
    let socket = Socket::new(sockaddr.domain(), kind, None)?;
    if !sockaddr.is_unix() {
        configure_tcp(&socket, options, syscalls)?;
    }
    Ok((socket, sockaddr))
}

/// Gives a socket that was opened elsewhere its options and its blocking mode. Adds the system calls
/// made to `syscalls`.
pub(super) fn adopt(
    socket: &Socket,
    options: &SocketOptions,
    is_nonblocking: bool,
    syscalls: &mut u64,
) -> io::Result<()> {
    *syscalls += 4;
    socket.set_cloexec(true)?;
    socket.set_nonblocking(is_nonblocking)?;
    if socket.domain()? == Domain::UNIX {
        return Ok(());
    }
    configure_tcp(socket, options, syscalls)
}

/// The other end of an accepted connection.
pub(super) fn peer(sockaddr: &SockAddr) -> PeerAddress {
    sockaddr
        .as_socket()
        .map_or(PeerAddress::Unix, PeerAddress::Ip)
}

/// Whether the system ran out of something that others may free.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// The answer to a question that only a listening socket can answer.
pub(super) fn not_listening() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen")
}

fn configure_tcp(socket: &Socket, options: &SocketOptions, syscalls: &mut u64) -> io::Result<()> {
    *syscalls += 1;
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = options.keepalive {
        // The kernel counts whole seconds and refuses zero.
        let idle = idle.max(Duration::from_secs(1));
        *syscalls += 3;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle))?;
    }
    if options.user_timeout.is_some() {
        *syscalls += 1;
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    if let Some(name) = &options.congestion {
        *syscalls += 1;
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    Ok(())
}

fn bind_ip(
    socket: &Socket,
    sockaddr: &SockAddr,
    options: &ListenOptions,
    syscalls: &mut u64,
) -> io::Result<()> {
    *syscalls += 2;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        *syscalls += 1;
        socket.set_reuse_port(true)?;
    }
    if sockaddr.is_ipv6() {
        // So that 0.0.0.0 and [::] can be listened on side by side, whatever net.ipv6.bindv6only says.
        *syscalls += 1;
        socket.set_only_v6(true)?;
    }
    socket.bind(sockaddr)
}

/// Binds to a path. A socket file that a listener left behind when it died is replaced.
fn bind_unix(
    socket: &Socket,
    sockaddr: &SockAddr,
    path: &Path,
    syscalls: &mut u64,
) -> io::Result<()> {
    *syscalls += 1;
    let refused = match socket.bind(sockaddr) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        result => return result,
    };
    if !is_stale(sockaddr, path, syscalls)? {
        return Err(refused);
    }
    fs::remove_file(path)?;
    *syscalls += 1;
    socket.bind(sockaddr)
}

/// Whether the file is a socket on which nobody listens.
fn is_stale(sockaddr: &SockAddr, path: &Path, syscalls: &mut u64) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    *syscalls += 2;
    // Not blocking, as a live listener's queue may be full.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let result = probe.connect(sockaddr);
    Ok(result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}
