use std::net::{SocketAddr, TcpStream};
use std::thread;

use super::*;

/// A server that answers each request with its path, `/long` with more than sockets hold.
fn server() -> SocketAddr {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |request: &Request| {
        let body = match request.path.as_str() {
            "/long" => "a".repeat(LONG),
            path => path.to_owned(),
        };
        Response::text(Code::Ok, &body)
    };
    thread::spawn(move || serve(listener, answer));
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    read(&mut stream)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn requests_are_answered_however_they_arrive() {
    let address = server();
    let whole = ask(address, &get("/whole"));
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
    assert!(whole.ends_with("\r\n\r\n/whole"), "{whole}");

    let mut stream = connect(address);
    for byte in get("/bytes").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(read(&mut stream).ends_with("\r\n\r\n/bytes"));

    let head = ask(address, &get("/head").replace("GET", "HEAD"));
    assert!(head.contains("\r\nContent-Length: 5\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn whoever_holds_on_makes_room_for_the_next_one() {
    let address = server();
    let mut holding: Vec<_> = (0..CLIENTS_MAX).map(|_| connect(address)).collect();
    for stream in &mut holding {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    }
    assert!(ask(address, &get("/next")).ends_with("\r\n\r\n/next"));
    // The first one was let go without a word, the last one is still waited for.
    let mut byte = [0];
    let ended = holding[0].read(&mut byte);
    assert!(matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    let last = holding.last_mut().unwrap();
    last.write_all(b"alhost\r\n\r\n").unwrap();
    assert!(read(last).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_request_that_trickles_in_is_ended() {
    let address = server();
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut sender = stream.try_clone().unwrap();
    // Each header is in time; the request is not.
    let trickle = thread::spawn(move || {
        while sender.write_all(b"A: b\r\n").is_ok() {
            thread::sleep(REQUEST_TIMEOUT / 10);
        }
    });
    let text = read(&mut stream);
    assert!(
        text.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{text}"
    );
    stream.shutdown(Shutdown::Both).unwrap();
    trickle.join().unwrap();
}

#[test]
fn a_request_that_is_too_long_is_told_so_though_it_goes_on() {
    let address = server();
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(4 * 16 * 1024));
    let mut stream = connect(address);
    stream.write_all(long.as_bytes()).unwrap();
    let text = read(&mut stream);
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    // The server has gone on to somebody else. A connection that is gone answers by a reset.
    ask(address, &get("/other"));
    stream.write_all(long.as_bytes()).unwrap();
    let text = ask(address, "\x16\x03\x01\x02\x00\x01");
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
}

#[test]
fn a_long_response_reaches_a_client_that_takes_its_time() {
    let address = server();
    let mut slow = connect(address);
    slow.write_all(get("/long").as_bytes()).unwrap();
    // It has not read a byte yet, and keeps nobody.
    assert!(ask(address, &get("/other")).ends_with("/other"));
    let text = read(&mut slow);
    assert_eq!(text.split("\r\n\r\n").nth(1).map(str::len), Some(LONG));
}

const LONG: usize = 16 << 20;

/// Far above what any answer takes; only a failure waits for so long.
const PATIENCE: Duration = Duration::from_secs(30);
