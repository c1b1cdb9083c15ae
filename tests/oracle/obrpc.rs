//! Against a server and a client of OB-RPC in Python, with OceanBase's habits and without them: the
//! negotiation, the handshake and the codec of calls, in both roles.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sealwire::buf::Pools;
use sealwire::conn::{Connection, NegotiationClient, NegotiationOptions, NegotiationServer};
use sealwire::frame::obrpc::payload::{
    ClientId, Feedback, FetchLogRequest, FetchLogResponse, FetchStatus, SetConfig, StartLsn,
    StartLsnItem, StartLsnRequest, StartLsnResponse,
};
use sealwire::frame::obrpc::{
    Bypass, Compressor, Flags, Method, Methods, Packet, PacketDecoder, Pcode, ResultCode,
    RpcHeader, ServerPolicy, read_response, write_packet, write_response,
};
use sealwire::tls::{ClientAuth, RecordPath, ServerName, ServerOptions, Version};
use sealwire::wire::{Reader, Writer};

use crate::openssl::FILES;
use crate::process::{Link, Process, has, skip};
use crate::support::{
    End, Kind, NOW, PATHS, PKI, client_options, identity, pattern, roots, server_options,
};

pub(crate) const METHODS: [Method; 3] = [Method::None, Method::SslNoEncrypt, Method::SslIo];

/// Codes that the Python end serves beside the known ones.
pub(crate) const ECHO: Pcode = Pcode(1);
const ERROR: Pcode = Pcode(2);
const PARTS: Pcode = Pcode(3);

pub(crate) const GID: u64 = 0x1_0000_0003;

/// What the Python end is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habits {
    Careful,
    /// OceanBase's, but for its exemption of 127.0.0.1, where all of this runs.
    Incumbent,
    /// All of OceanBase's.
    IncumbentOnLoopback,
}

impl Habits {
    const ALL: [Self; 3] = [Self::Careful, Self::Incumbent, Self::IncumbentOnLoopback];

    pub(crate) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Careful => &[],
            Self::Incumbent => &["--incumbent", "--no-exempts-loopback"],
            Self::IncumbentOnLoopback => &["--incumbent"],
        }
    }

    fn is_exempt(self) -> bool {
        self == Self::IncumbentOnLoopback
    }

    /// The version of TLS that is expected.
    pub(crate) fn version(self, method: Method) -> Option<Version> {
        match (self, method) {
            (Self::IncumbentOnLoopback, _) | (_, Method::None) => None,
            (Self::Careful, Method::SslIo) => Some(Version::Tls13),
            _ => Some(Version::Tls12),
        }
    }
}

pub(crate) fn has_python() -> bool {
    let has = has("python3", "--version");
    if !has {
        skip("there is no python3");
    }
    has
}

/// Calls `check` for every method, habit and record path.
fn each(mut check: impl FnMut(Method, Habits, RecordPath)) {
    for method in METHODS {
        for habits in Habits::ALL {
            for records in PATHS {
                check(method, habits, records);
            }
        }
    }
}

pub(crate) fn python(mode: &str, identity: &str, habits: Habits) -> Command {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/obrpc.py");
    let (cert, key) = (format!("{identity}.pem"), format!("{identity}-key.pem"));
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).arg(mode);
    command.args(["--cert", &cert, "--key", &key, "--ca", "ca.pem"]);
    command.args(habits.flags());
    command
}

/// The Python server and its port.
fn python_server(habits: Habits, flags: &[&str]) -> (Process, String) {
    let mut command = python("serve", "Ecdsa", habits);
    let server = Process::start(command.args(flags), FILES.path());
    let port = server.stdout.line_after("ready ");
    (server, format!("127.0.0.1:{port}"))
}

const OPTIONS: NegotiationOptions = NegotiationOptions {
    timeout: Duration::from_secs(3),
    requires_binding: false,
    danger_end_without_close_notify: true,
};

fn our_client(method: Method, is_exempt: bool, records: RecordPath) -> End {
    let mut tls = client_options(records);
    tls.identity = Some(identity(&PKI.client));
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = NegotiationClient::new(method, GID, Some(&tls), name, OPTIONS).unwrap();
    client.is_exempt = is_exempt;
    let mut pools = Pools::new(8);
    let conn = Connection::negotiated_client(&client, NOW, &mut pools);
    End::new(conn, pools)
}

fn our_server(methods: Methods, is_exempt: bool, records: RecordPath) -> End {
    let tls = ServerOptions {
        client_auth: ClientAuth::Required(roots()),
        ..server_options(records, Kind::Ecdsa)
    };
    let policy = ServerPolicy {
        methods,
        bypass: Bypass::Nobody,
        is_keepalive_admitted: true,
        is_tls_admitted: false,
    };
    let server = NegotiationServer::new(policy, Some(&tls), OPTIONS).unwrap();
    let conn = Connection::negotiated_server(&server, is_exempt, NOW);
    End::new(conn, Pools::new(8))
}

/// Calls on one connection, one at a time.
struct Caller {
    link: Link,
    decoder: PacketDecoder,
    chid: u32,
}

struct Answer {
    header: RpcHeader,
    rcode: ResultCode,
    result: Vec<u8>,
}

impl Caller {
    fn new(link: Link) -> Self {
        Self {
            link,
            decoder: PacketDecoder::default(),
            chid: 100,
        }
    }

    fn call(&mut self, pcode: Pcode, write: impl FnOnce(&mut Writer<'_>)) -> Answer {
        let header = RpcHeader {
            pcode,
            ..RpcHeader::default()
        };
        self.send(&header, write);
        self.answer(pcode)
    }

    fn send(&mut self, header: &RpcHeader, write: impl FnOnce(&mut Writer<'_>)) {
        self.chid += 1;
        let mut out = Vec::new();
        write_packet(&mut out, self.chid, header, write).unwrap();
        self.link.send(&out);
    }

    fn answer(&mut self, pcode: Pcode) -> Answer {
        loop {
            let received = std::mem::take(&mut self.link.end.received);
            if let Some(frame) = self.decoder.next(&mut &received[..]).unwrap() {
                let packet = frame.packet().unwrap();
                assert!(packet.is_response());
                assert_eq!((packet.chid, packet.header.pcode), (self.chid, pcode));
                let content = packet.content(1 << 20).unwrap();
                let (rcode, result) = read_response(&content).unwrap();
                return Answer {
                    header: packet.header,
                    rcode,
                    result: result.to_vec(),
                };
            }
            assert!(!self.link.end.conn.is_peer_closed(), "the server has gone");
            self.link.step().unwrap();
        }
    }

    fn ok(&mut self, pcode: Pcode, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let answer = self.call(pcode, write);
        assert!(answer.rcode.is_ok(), "{:?}", answer.rcode);
        answer.result
    }
}

fn caller(address: &str, end: End, segment_len: usize) -> Caller {
    let mut link = Link::new(end, TcpStream::connect(address).unwrap(), segment_len);
    link.establish().unwrap();
    Caller::new(link)
}

#[test]
fn our_client_calls_a_python_server() {
    if !has_python() {
        return;
    }
    each(|method, habits, records| {
        let (server, address) = python_server(habits, &[]);
        let mut caller = caller(
            &address,
            our_client(method, habits.is_exempt(), records),
            usize::MAX,
        );
        let version = caller.link.end.conn.facts().map(|facts| facts.version);
        assert_eq!(version, habits.version(method), "{method:?} {habits:?}");
        call_everything(&mut caller);
        server.stdout.wait_for(b"config a=1,b=2");
        let sealed = method == Method::SslIo && !habits.is_exempt();
        let how = if sealed { "encrypted" } else { "plain" };
        let began = format!("began {} {GID} {how}", method.name());
        server.stdout.wait_for(began.as_bytes());
        drop(caller);
        server.stdout.wait_for(b"ended");
    });
}

fn call_everything(caller: &mut Caller) {
    assert_eq!(caller.ok(ECHO, |w| w.bytes(b"\0echo")), b"\0echo");
    let long = pattern(100_000);
    assert!(caller.ok(ECHO, |w| w.bytes(&long)) == long);

    // -4012 as a variable-length integer of 32 bits.
    let answer = caller.call(ERROR, |w| w.bytes(&[0xd4, 0xe0, 0xff, 0xff, 0x0f]));
    assert_eq!(answer.rcode.rcode, ResultCode::TIMEOUT);
    assert_eq!(answer.rcode.message, b"as asked for");
    assert_eq!(caller.call(Pcode(0x4321), |_| {}).rcode.rcode, -4118);

    let config = SetConfig {
        settings: "a=1,b=2".into(),
    };
    let result = caller.ok(Pcode::SET_CONFIG, |w| config.write(w));
    assert!(result.is_empty());
    read_a_log(caller);
    read_a_stream(caller);
}

fn client_id() -> ClientId {
    ClientId {
        pid: 42,
        address: Some("127.0.0.1:2882".parse().unwrap()),
    }
}

fn read_a_log(caller: &mut Caller) {
    let request = StartLsnRequest {
        items: [1001, 7]
            .map(|ls_id| StartLsnItem {
                ls_id,
                start_ts_ns: 5,
            })
            .to_vec(),
        client: client_id(),
        flags: 0,
    };
    let result = caller.ok(Pcode::LOG_REQ_START_LSN_BY_TS, |w| request.write(w));
    let response = StartLsnResponse::read(&result).unwrap();
    let errors: Vec<_> = response.items.iter().map(|item| item.error).collect();
    assert_eq!(errors, [0, -4719]);
    let start_lsn = response.items[0].start_lsn;
    assert_eq!(start_lsn, 1_001_000);

    let request = FetchLogRequest {
        ls_id: 1001,
        start_lsn,
        upper_limit_ts_ns: i64::MAX,
        client_pid: 42,
        client: client_id(),
        compressor: Compressor::NONE,
        tenant_id: 1002,
        ..FetchLogRequest::default()
    };
    let result = caller.ok(Pcode::LS_FETCH_LOG2, |w| request.write(w));
    let response = FetchLogResponse::read(&result).unwrap();
    assert_eq!((response.ls_id, response.group_count), (1001, 2));
    assert_eq!(response.feedback, Feedback::NONE);
    assert!(response.status.is_max_lsn_reached);
    assert_eq!(response.server_progress_ns, 12_345);
    let groups: Vec<_> = response.groups(start_lsn).map(Result::unwrap).collect();
    assert_eq!(groups[1].end_lsn(), response.next_lsn);
    let data: Vec<_> = groups
        .iter()
        .flat_map(|group| group.entries())
        .map(|entry| entry.unwrap().data)
        .collect();
    assert_eq!(data, [&b"first"[..], b"second"]);
}

fn read_a_stream(caller: &mut Caller) {
    let mut answer = caller.call(PARTS, |w| w.varint(3));
    let mut parts = Vec::new();
    loop {
        parts.push(Reader::new(&answer.result).varint().unwrap());
        assert!(answer.header.flags.contains(Flags::STREAM));
        if answer.header.flags.contains(Flags::STREAM_LAST) {
            break;
        }
        let header = RpcHeader {
            pcode: PARTS,
            flags: Flags::default() | Flags::STREAM,
            session_id: answer.header.session_id,
            ..RpcHeader::default()
        };
        caller.send(&header, |_| {});
        answer = caller.answer(PARTS);
    }
    assert_eq!(parts, [2, 1, 0]);
}

/// OceanBase closes on a short first segment; a careful server reads on.
#[test]
fn our_first_messages_may_be_cut_anywhere() {
    if !has_python() {
        return;
    }
    let (_server, address) = python_server(Habits::Careful, &["--segment", "1"]);
    for method in METHODS {
        for segment_len in 1..=28 {
            let end = our_client(method, false, RecordPath::InPlace);
            let mut caller = caller(&address, end, segment_len);
            assert_eq!(caller.ok(ECHO, |w| w.bytes(b"cut")), b"cut");
        }
    }
}

#[test]
fn a_compressed_answer_is_read() {
    if !has_python() {
        return;
    }
    let (_server, address) = python_server(Habits::Careful, &["--compress"]);
    let end = our_client(Method::None, false, RecordPath::InPlace);
    let mut caller = caller(&address, end, usize::MAX);
    let answer = caller.call(ECHO, |w| w.bytes(&[7; 10_000]));
    assert_eq!(answer.header.compressor, Compressor::ZLIB);
    assert_eq!(answer.result, [7; 10_000]);
}

#[test]
fn a_server_that_does_not_offer_the_method_is_named() {
    if !has_python() {
        return;
    }
    for method in [Method::SslNoEncrypt, Method::SslIo] {
        let (server, address) = python_server(Habits::Careful, &["--methods", "none"]);
        let end = our_client(method, false, RecordPath::InPlace);
        let mut link = Link::connect(end, &address);
        let error = link.establish().unwrap_err();
        assert!(error.to_string().contains("does not offer it"), "{error}");
        server.stdout.wait_for(b"refused");
    }
}

/// Serves one connection until the client has gone.
fn serve(link: &mut Link) -> sealwire::error::Result<()> {
    let mut decoder = PacketDecoder::default();
    loop {
        let received = std::mem::take(&mut link.end.received);
        let mut input = &received[..];
        let mut answers = Vec::new();
        while let Some(frame) = decoder.next(&mut input)? {
            let packet = frame.packet()?;
            if !packet.is_one_way() {
                answer(&packet, &mut answers);
            }
        }
        link.send(&answers);
        if link.end.conn.is_peer_closed() {
            assert!(!decoder.is_in_mid_packet());
            return Ok(());
        }
        link.step()?;
    }
}

fn answer(packet: &Packet<'_>, out: &mut Vec<u8>) {
    let content = packet.content(1 << 20).unwrap();
    let request = &packet.header;
    let (rcode, result) = match request.pcode {
        ECHO => (ResultCode::OK, content.to_vec()),
        Pcode::SET_CONFIG => {
            assert_eq!(SetConfig::read(&content).unwrap().settings, "a=1");
            (ResultCode::OK, Vec::new())
        }
        Pcode::LOG_REQ_START_LSN_BY_TS => (ResultCode::OK, start_lsn(&content)),
        Pcode::LS_FETCH_LOG2 => (ResultCode::OK, fetch_log(&content)),
        _ => (ResultCode::UNKNOWN_PACKET, Vec::new()),
    };
    let rcode = ResultCode::new(rcode);
    write_response(out, packet.chid, request, &rcode, |w| w.bytes(&result)).unwrap();
}

fn start_lsn(content: &[u8]) -> Vec<u8> {
    let request = StartLsnRequest::read(content).unwrap();
    assert_eq!(request.client, client_id());
    let response = StartLsnResponse {
        error: 0,
        items: request
            .items
            .iter()
            .map(|item| StartLsn {
                error: 0,
                start_lsn: item.ls_id << 20,
                start_ts_ns: item.start_ts_ns,
            })
            .collect(),
    };
    let mut out = Vec::new();
    response.write(&mut Writer::new(&mut out));
    out
}

fn fetch_log(content: &[u8]) -> Vec<u8> {
    let request = FetchLogRequest::read(content).unwrap();
    assert_eq!(request.client, client_id());
    assert_eq!(
        (request.tenant_id, request.upper_limit_ts_ns),
        (1002, 1 << 62)
    );
    let response = FetchLogResponse {
        ls_id: request.ls_id,
        feedback: Feedback::LAGGED_FOLLOWER,
        status: FetchStatus::default(),
        next_lsn: request.start_lsn,
        ..FetchLogResponse::default()
    };
    let mut out = Vec::new();
    response.write(&mut Writer::new(&mut out));
    out
}

fn python_client(port: u16, habits: Habits, flags: &[&str]) -> Process {
    let address = format!("127.0.0.1:{port}");
    let mut command = python("call", "client", habits);
    command.arg(address).args(CALLS).args(flags);
    Process::start(&mut command, FILES.path())
}

const CALLS: &[&str] = &[
    "echo",
    "00ff",
    "one-way",
    "ab",
    "error",
    "1",
    "config",
    "a=1",
    "start-lsn",
    "1",
    "fetch",
    "1",
    "64",
];

#[test]
fn a_python_client_calls_our_server() {
    if !has_python() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    each(|method, habits, records| {
        let client = python_client(port, habits, &["--method", method.name()]);
        let socket = listener.accept().unwrap().0;
        let methods = METHODS.into_iter().collect();
        let end = our_server(methods, habits.is_exempt(), records);
        let mut link = Link::new(end, socket, usize::MAX);
        serve(&mut link).unwrap_or_else(|error| panic!("{method:?} {habits:?}: {error}"));
        for line in [
            "echo 0 00ff",
            "one-way",
            "error -4118",
            "config 0",
            "start-lsn 0 1 0 1 0 1048576 5",
            "fetch 0 1 0 0 1 0",
        ] {
            client.stdout.wait_for(line.as_bytes());
        }
        let beginning = link.end.conn.beginning().unwrap();
        assert_eq!(beginning.message.unwrap().gid, GID);
        let facts = link.end.conn.facts();
        let version = facts.map(|facts| facts.version);
        assert_eq!(version, habits.version(method), "{method:?} {habits:?}");
        assert!(facts.is_none_or(|facts| !facts.peer_chain.is_empty()));
    });
}

#[test]
fn their_first_messages_may_be_cut_anywhere() {
    if !has_python() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for method in METHODS {
        for segment in ["1", "3", "27"] {
            let flags = ["--method", method.name(), "--segment", segment];
            let client = python_client(port, Habits::Careful, &flags);
            let socket = listener.accept().unwrap().0;
            let end = our_server(METHODS.into_iter().collect(), false, RecordPath::InPlace);
            serve(&mut Link::new(end, socket, 1)).unwrap();
            client.stdout.wait_for(b"fetch 0 1 0 0 1 0");
        }
    }
}

#[test]
fn clients_that_may_not_are_refused_in_their_own_protocol() {
    if !has_python() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for (method, told) in [
        ("legacy", "echo -4174"),
        ("none", "failed"),
        ("ssl_no_encrypt", "failed"),
    ] {
        let client = python_client(port, Habits::Careful, &["--method", method]);
        let socket = listener.accept().unwrap().0;
        let end = our_server(Methods::SSL_IO, false, RecordPath::InPlace);
        let error = serve(&mut Link::new(end, socket, usize::MAX)).unwrap_err();
        assert_eq!(error.kind(), sealwire::error::ErrorKind::NotTls, "{error}");
        client.stdout.wait_for(told.as_bytes());
    }
}

/// The peers are tested too: against the documented bytes and against each other.
#[test]
fn the_python_ends_agree_with_each_other() {
    if !has_python() {
        return;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/test_peers.py");
    let output = Command::new("python3")
        .arg("-B")
        .arg(script)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // Newer interpreters fail where no test was found, older ones do not.
    assert!(!text.contains("Ran 0 tests"), "{text}");
}
