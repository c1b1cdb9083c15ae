//! Sockets as both back ends open them: close-on-exec, not blocking, without Nagle's delay, with
//! the options asked for. (io_uring waits on a socket that does not block just as well.)

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::address::{Address, PeerAddress};
use super::backend::{ListenOptions, SocketOptions};

/// What a listener is bound to.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) address: Address,
    /// See [`ListenOptions::is_redirected`].
    is_redirected: bool,
}

/// A listening socket, and what it is bound to. Adds the system calls made to
/// `syscalls`.
///
/// Its stream options are those of the accepted sockets, which Linux copies from it
/// (`inet_csk_clone_lock`), so that accepting costs no further call.
pub(super) fn listen(
    address: &Address,
    options: &ListenOptions,
    syscalls: &mut u64,
) -> io::Result<(Socket, Bound)> {
    let (socket, sockaddr) = open(address, &options.socket, syscalls)?;
    match address {
        Address::Ip(_) => bind_ip(&socket, &sockaddr, options, syscalls)?,
        Address::Unix(path) => bind_unix(&socket, &sockaddr, path, syscalls)?,
    }
    *syscalls += 2;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let bound = Bound {
        address: match socket.local_addr()?.as_socket() {
            Some(ip) => Address::Ip(ip),
            None => address.clone(),
        },
        is_redirected: options.is_redirected,
    };
    Ok((socket, bound))
}

/// A socket that is to be connected to `address`, and that address for the kernel. Adds the system
/// calls made to `syscalls`.
pub(super) fn open(
    address: &Address,
    options: &SocketOptions,
    syscalls: &mut u64,
) -> io::Result<(Socket, SockAddr)> {
    let sockaddr = match address {
        Address::Ip(ip) => SockAddr::from(*ip),
        Address::Unix(path) => SockAddr::unix(path)?,
    };
    *syscalls += 1;
    let socket = Socket::new(sockaddr.domain(), Type::STREAM.nonblocking(), None)?;
    if !sockaddr.is_unix() {
        configure_tcp(&socket, options, syscalls)?;
    }
    Ok((socket, sockaddr))
}

/// Gives a socket that was opened elsewhere what those opened here have. Adds the system calls
/// made to `syscalls`.
pub(super) fn adopt(
    socket: &Socket,
    options: &SocketOptions,
    syscalls: &mut u64,
) -> io::Result<()> {
    *syscalls += 5;
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    if socket.domain()? == Domain::UNIX {
        return Ok(());
    }
    configure_tcp(socket, options, syscalls)
}

/// Accepts all that waits on a listener. Adds the system calls made to `syscalls`.
///
/// The result is an error where the system ran out of descriptors or memory before the queue was
/// empty.
pub(super) fn empty_queue(
    listener: &Socket,
    syscalls: &mut u64,
) -> (Vec<(Socket, SockAddr)>, io::Result<()>) {
    let mut streams = Vec::new();
    loop {
        *syscalls += 1;
        match accept(listener) {
            Ok(stream) => streams.push(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (streams, Ok(())),
            Err(error) if is_exhausted(&error) => return (streams, Err(error)),
            // That one connection broke while it waited.
            Err(_) => {}
        }
    }
}

/// Accepts one connection.
pub(super) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
}

/// The other end of an accepted connection.
pub(super) fn peer(sockaddr: &SockAddr) -> PeerAddress {
    sockaddr
        .as_socket()
        .map_or(PeerAddress::Unix, PeerAddress::Ip)
}

/// The address that the peer of an accepted connection connected to, by what its listener is
/// `bound` to; none on a Unix socket, and none where a redirection is to tell it and there was
/// none. Adds the system calls made to `syscalls`.
pub(super) fn local(
    accepted: &SockRef<'_>,
    bound: Option<&Bound>,
    syscalls: &mut u64,
) -> Option<SocketAddr> {
    match &bound?.address {
        Address::Ip(ip) if bound?.is_redirected => {
            *syscalls += 1;
            let original = match ip {
                SocketAddr::V4(_) => accepted.original_dst_v4(),
                SocketAddr::V6(_) => accepted.original_dst_v6(),
            };
            original.ok()?.as_socket()
        }
        Address::Ip(ip) if ip.ip().is_unspecified() => {
            *syscalls += 1;
            accepted.local_addr().ok()?.as_socket()
        }
        Address::Ip(ip) => Some(*ip),
        Address::Unix(_) => None,
    }
}

/// Where a connected socket's connection comes from.
pub(super) fn own_address(connected: &SockRef<'_>) -> Option<SocketAddr> {
    connected.local_addr().ok()?.as_socket()
}

/// The answer to a question that only a socket can answer that listens, was accepted, or was
/// connected so that it is recognized.
pub(super) fn unknown_address() -> io::Error {
    let text = "the socket's address was not asked for";
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Whether the system ran out of something that others may free.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
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
        // So that 0.0.0.0 and [::] can be listened on side by side, whatever net.ipv6.bindv6only
        // says.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_have_the_options_of_their_listener() {
        let options = ListenOptions {
            backlog: 1,
            reuse_port: true,
            is_redirected: false,
            socket: SocketOptions {
                keepalive: Some(Duration::from_millis(1)),
                user_timeout: Some(Duration::from_millis(1_234)),
                congestion: Some("reno".into()),
                is_recognized: false,
            },
        };
        let mut syscalls = 0;
        let any = "127.0.0.1:0".parse().unwrap();
        let (listener, bound) = listen(&any, &options, &mut syscalls).unwrap();
        let plain = SocketOptions::default();
        let (client, to) = open(&bound.address, &plain, &mut syscalls).unwrap();
        client.set_nonblocking(false).unwrap();
        client.connect(&to).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = accept(&listener).unwrap();
        assert!(accepted.nonblocking().unwrap());
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        let second = Duration::from_secs(1);
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), second);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), second);
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            options.socket.user_timeout
        );
        assert!(accepted.tcp_congestion().unwrap().starts_with(b"reno"));
        assert!(client.tcp_nodelay().unwrap());
        assert!(!client.keepalive().unwrap());
        // socket, nodelay, keepalive 3, timeout, congestion, address, port, bind, listen, name;
        // socket, nodelay.
        assert_eq!(syscalls, 12 + 2);
    }

    #[test]
    fn both_families_listen_on_one_port() {
        let options = ListenOptions {
            backlog: 1,
            reuse_port: false,
            is_redirected: false,
            socket: SocketOptions::default(),
        };
        let mut syscalls = 0;
        let v6 = "[::]:0".parse().unwrap();
        let (_v6, bound) = listen(&v6, &options, &mut syscalls).unwrap();
        let Address::Ip(ip) = bound.address else {
            panic!("not an IP address: {bound:?}");
        };
        let v4 = format!("0.0.0.0:{}", ip.port()).parse().unwrap();
        listen(&v4, &options, &mut syscalls).unwrap();
    }

    #[test]
    fn an_unknown_congestion_control_is_an_error() {
        let options = SocketOptions {
            congestion: Some("carrier-pigeon".into()),
            ..SocketOptions::default()
        };
        let to = "127.0.0.1:1".parse().unwrap();
        let error = open(&to, &options, &mut 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
