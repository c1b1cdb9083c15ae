//! Engines against OB-RPC ends in Python: each role, method and policy, on both back ends, with
//! what arrives cut at every byte of the first message.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sealwire::conn::{Connection, NegotiationClient, NegotiationOptions, NegotiationServer};
use sealwire::engine::{
    Address, BackendChoice, ConnId, Engine, EngineOptions, Event, ListenOptions, ListenerId,
    SocketOptions,
};
use sealwire::frame::obrpc::{
    Bypass, Method, Methods, PacketDecoder, ResultCode, RpcHeader, ServerPolicy, USSL_MESSAGE_LEN,
    read_response, write_packet,
};
use sealwire::rpc::{Incoming, Server, ServerLimits};
use sealwire::tls::{ClientAuth, ClientOptions, RecordPath, ServerName, ServerOptions, Version};

use crate::obrpc::{ECHO, GID, Habits, METHODS, has_python, python};
use crate::openssl::FILES;
use crate::process::{Process, skip};
use crate::support::{Kind, PKI, client_options, identity, roots, server_options};

/// What a server offers, and whom else it admits.
#[derive(Clone, Copy, Debug)]
struct Policy {
    methods: &'static [Method],
    /// Everybody is admitted, for some requests only.
    is_bypassed: bool,
}

const POLICIES: [Policy; 6] = [
    offer(&[Method::None]),
    offer(&[Method::SslNoEncrypt]),
    offer(&[Method::SslIo]),
    offer(&[Method::SslNoEncrypt, Method::SslIo]),
    offer(&METHODS),
    Policy {
        methods: &[Method::SslIo],
        is_bypassed: true,
    },
];

const fn offer(methods: &'static [Method]) -> Policy {
    Policy {
        methods,
        is_bypassed: false,
    }
}

/// What a client asks for: nothing, or a method.
const ASKED: [Option<Method>; 4] = [
    None,
    Some(Method::None),
    Some(Method::SslNoEncrypt),
    Some(Method::SslIo),
];

/// What becomes of an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is answered, over this version of TLS.
    Echoed(Option<Version>),
    /// The request is refused by an error packet.
    Refused,
    /// The connection is closed without one.
    Closed,
}

/// One end's rules written down a second time, from what is documented of them.
fn expected(policy: Policy, asked: Option<Method>, habits: Habits, is_ussl: bool) -> Outcome {
    let offers = |method| policy.methods.contains(&method);
    let (auth, io) = (Method::SslNoEncrypt, Method::SslIo);
    // OceanBase's server admits either method of TLS where it offers one of them.
    let takes_either = is_ussl && habits != Habits::Careful;
    let is_admitted = match asked {
        None | Some(Method::None) => offers(Method::None),
        Some(_) if takes_either => offers(auth) || offers(io),
        Some(method) => offers(method),
    };
    match asked {
        _ if is_admitted => Outcome::Echoed(habits.version(asked.unwrap_or(Method::None))),
        None | Some(Method::None) if policy.is_bypassed => Outcome::Refused,
        // The library answers a request that it does not admit; OceanBase's server just closes.
        None if !is_ussl => Outcome::Refused,
        _ => Outcome::Closed,
    }
}

#[test]
fn each_role_method_and_policy_at_every_cut_on_uring() {
    cross(BackendChoice::Uring);
}

#[test]
fn each_role_method_and_policy_at_every_cut_on_epoll() {
    cross(BackendChoice::Epoll);
}

fn cross(backend: BackendChoice) {
    if !has_python() {
        return;
    }
    let servers: Vec<_> = each_policy()
        .map(|(policy, habits)| PythonServer::start(policy, habits, habits.flags()))
        .collect();
    let client = Process::start(Command::new("python3").args(batch()), FILES.path());
    for cut in 1..=USSL_MESSAGE_LEN {
        let Some(mut ends) = Ends::open(backend, cut) else {
            return;
        };
        let of_habits = |server: &&PythonServer| server.habits == habits_at(cut);
        check_our_clients(&mut ends, servers.iter().filter(of_habits));
        let calls = POLICIES.into_iter().flat_map(|policy| {
            let habits = habits_at(cut);
            ASKED.map(|asked| (policy, asked, habits, habits.flags()))
        });
        check_python_clients(&mut ends, &client, &calls.collect::<Vec<_>>());
    }
}

/// Each habit by itself, but for the exemption of 127.0.0.1, which two ends have or have not.
#[test]
fn each_habit_of_oceanbase_is_got_along_with() {
    if !has_python() {
        return;
    }
    let all = offer(&METHODS);
    let servers: Vec<_> = HABITS
        .iter()
        .map(|(flag, like)| PythonServer::start(all, *like, std::slice::from_ref(flag)))
        .collect();
    let client = Process::start(Command::new("python3").args(batch()), FILES.path());
    let mut ends = Ends::open(BackendChoice::Auto, 4_096).unwrap();
    check_our_clients(&mut ends, servers.iter());
    let calls = HABITS.iter().flat_map(|(flag, like)| {
        ASKED.map(|asked| (all, asked, *like, std::slice::from_ref(flag)))
    });
    check_python_clients(&mut ends, &client, &calls.collect::<Vec<_>>());
}

/// A habit, and whose version of TLS it leads to.
const HABITS: [(&str, Habits); 8] = [
    ("--closes-on-short-first-segment", Habits::Careful),
    ("--tls-1-2-at-most", Habits::Incumbent),
    ("--sends-no-close-notify", Habits::Careful),
    ("--demands-client-certificate", Habits::Careful),
    ("--leaves-garbage", Habits::Careful),
    ("--offers-legacy-ciphers", Habits::Careful),
    ("--takes-either-ssl-method", Habits::Careful),
    ("--verifies-no-server", Habits::Careful),
];

/// OceanBase's habits at every other cut: what they change begins behind the first message.
fn habits_at(cut: usize) -> Habits {
    match cut % 2 {
        0 => Habits::Incumbent,
        _ => Habits::Careful,
    }
}

fn each_policy() -> impl Iterator<Item = (Policy, Habits)> {
    POLICIES
        .into_iter()
        .flat_map(|policy| [Habits::Careful, Habits::Incumbent].map(|habits| (policy, habits)))
}

/// A server in Python.
struct PythonServer {
    policy: Policy,
    habits: Habits,
    address: Address,
    _process: Process,
}

impl PythonServer {
    fn start(policy: Policy, habits: Habits, flags: &[&str]) -> Self {
        let mut command = python("serve", "Ecdsa", Habits::Careful);
        let methods: Vec<_> = policy.methods.iter().map(|method| method.name()).collect();
        command.args(["--methods", &methods.join(",")]).args(flags);
        if policy.is_bypassed {
            command.arg("--bypass");
        }
        let process = Process::start(&mut command, FILES.path());
        let port = process.stdout.line_after("ready ");
        Self {
            policy,
            habits,
            address: format!("127.0.0.1:{port}").parse().unwrap(),
            _process: process,
        }
    }
}

/// Our clients call each server at once.
fn check_our_clients<'a>(ends: &mut Ends, servers: impl Iterator<Item = &'a PythonServer>) {
    let mut calls = HashMap::new();
    for server in servers {
        for asked in ASKED {
            calls.insert(ends.connect(&server.address, asked), (server, asked));
        }
    }
    while ends.outcomes.len() < calls.len() {
        ends.turn();
    }
    for (id, outcome) in ends.outcomes.drain() {
        let (server, asked) = calls[&id];
        let expected = expected(server.policy, asked, server.habits, true);
        assert_eq!(
            outcome, expected,
            "our client that asks for {asked:?} of {:?} {:?}, cut at {}",
            server.habits, server.policy, ends.cut
        );
    }
}

/// Clients in Python call our servers, one after the other.
fn check_python_clients(
    ends: &mut Ends,
    client: &Process,
    calls: &[(Policy, Option<Method>, Habits, &[&str])],
) {
    let before = client.stdout.so_far().len();
    for (policy, asked, _, flags) in calls {
        let address = &ends.listener(*policy).address;
        let method = asked.map_or("legacy", Method::name);
        let flags = flags.join(" ");
        client.say(
            format!("{address} echo 00ff --method {method} {CREDENTIALS} {flags}\n").as_bytes(),
        );
    }
    let said = loop {
        let said = client.stdout.so_far().split_off(before);
        if said.matches("end\n").count() == calls.len() {
            break said;
        }
        ends.turn();
    };
    for ((policy, asked, habits, flags), said) in calls.iter().zip(said.split("end\n")) {
        let outcome = read_outcome(said);
        let expected = match expected(*policy, *asked, *habits, false) {
            // By then it is over, and the client does not tell.
            Outcome::Echoed(_) if *asked != Some(Method::SslIo) => Outcome::Echoed(None),
            expected => expected,
        };
        assert_eq!(
            outcome, expected,
            "Python client that asks for {asked:?} of {policy:?} with {flags:?}, cut at {}: {said}",
            ends.cut
        );
    }
}

fn read_outcome(said: &str) -> Outcome {
    let version = match said.lines().next() {
        Some("connected TLSv1.3") => Some(Version::Tls13),
        Some("connected TLSv1.2") => Some(Version::Tls12),
        _ => None,
    };
    match said.lines().last() {
        Some("echo 0 00ff") => Outcome::Echoed(version),
        Some("echo -4174 ") => Outcome::Refused,
        Some(line) if line.starts_with("failed ") => Outcome::Closed,
        _ => panic!("{said}"),
    }
}

fn batch() -> [PathBuf; 3] {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/obrpc.py");
    ["-B".into(), script, "batch".into()]
}

/// Our ends of all connections, on one engine.
struct Ends {
    engine: Engine,
    events: Vec<Event>,
    /// Bytes that each receive brings at most.
    cut: usize,
    listeners: Vec<Listener>,
    servers: HashMap<ConnId, Server>,
    clients: HashMap<ConnId, PacketDecoder>,
    outcomes: HashMap<ConnId, Outcome>,
    last_news: Instant,
}

struct Listener {
    id: ListenerId,
    address: Address,
    server: Arc<NegotiationServer>,
}

impl Ends {
    /// None where the machine forbids io_uring.
    fn open(backend: BackendChoice, cut: usize) -> Option<Self> {
        let options = EngineOptions {
            backend,
            recv_buf_len: cut,
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(&options)
            .inspect_err(|reason| skip(&reason.to_string()))
            .ok()?;
        let listeners = POLICIES.map(|policy| Listener::open(&mut engine, policy));
        Some(Self {
            engine,
            events: Vec::new(),
            cut,
            listeners: listeners.into(),
            servers: HashMap::new(),
            clients: HashMap::new(),
            outcomes: HashMap::new(),
            last_news: Instant::now(),
        })
    }

    fn listener(&self, policy: Policy) -> &Listener {
        let is_it =
            |of: &Policy| (of.methods, of.is_bypassed) == (policy.methods, policy.is_bypassed);
        &self.listeners[POLICIES.iter().position(is_it).unwrap()]
    }

    fn connect(&mut self, to: &Address, asked: Option<Method>) -> ConnId {
        let (now, pools) = (self.engine.now(), self.engine.pools());
        let conn = match asked {
            None => Connection::plain(),
            Some(method) => Connection::negotiated_client(&CLIENTS[&method], now, pools),
        };
        let options = SocketOptions::default();
        let id = self
            .engine
            .connect(to, conn, &options, PATIENCE, 0)
            .unwrap();
        self.clients.insert(id, PacketDecoder::default());
        id
    }

    fn turn(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        let timeout = Some(Duration::from_millis(10));
        self.engine.wait(timeout, &mut events).unwrap();
        if !events.is_empty() {
            self.last_news = Instant::now();
        }
        assert!(
            self.last_news.elapsed() < PATIENCE,
            "nothing happens any more"
        );
        for event in events.drain(..) {
            self.handle(event);
        }
        self.events = events;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { listener, id, .. } => {
                let listener = self.listeners.iter().find(|of| of.id == listener).unwrap();
                let now = self.engine.now();
                let conn = Connection::negotiated_server(&listener.server, false, now);
                self.engine.start(id, conn, 0);
            }
            Event::Connected { id } if self.clients.contains_key(&id) => {
                let mut request = Vec::new();
                let header = RpcHeader {
                    pcode: ECHO,
                    ..RpcHeader::default()
                };
                write_packet(&mut request, 7, &header, |w| w.bytes(b"\0\xff")).unwrap();
                assert_eq!(self.engine.write(id, &request), request.len());
            }
            Event::Connected { id } => {
                let is_restricted = self.engine.beginning(id).unwrap().is_restricted;
                let server = Server::new(ServerLimits::default(), is_restricted);
                self.servers.insert(id, server);
            }
            Event::Readable { id } if self.clients.contains_key(&id) => self.hear(id),
            Event::Readable { id } => self.serve(id),
            Event::PeerClosed { id } => self.engine.close(id),
            Event::Closed { id, .. } => {
                self.servers.remove(&id);
                if self.clients.remove(&id).is_some() {
                    self.outcomes.entry(id).or_insert(Outcome::Closed);
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, id: ConnId) {
        let version = self.engine.facts(id).map(|facts| facts.version);
        let decoder = self.clients.get_mut(&id).unwrap();
        loop {
            let chunk = self.engine.peek(id);
            let len = chunk.len();
            if len == 0 {
                return;
            }
            if let Some(frame) = decoder.next(&mut &chunk[..]).unwrap() {
                let packet = frame.packet().unwrap();
                let content = packet.content(100).unwrap();
                let (rcode, result) = read_response(&content).unwrap();
                let outcome = match (rcode.rcode, result) {
                    (ResultCode::OK, b"\0\xff") => Outcome::Echoed(version),
                    (ResultCode::UNKNOWN_CONNECTION, b"") => Outcome::Refused,
                    other => panic!("{other:?}"),
                };
                self.outcomes.insert(id, outcome);
                return self.engine.close(id);
            }
            self.engine.consume(id, len);
        }
    }

    fn serve(&mut self, id: ConnId) {
        let server = self.servers.get_mut(&id).unwrap();
        let ok = ResultCode::new(ResultCode::OK);
        loop {
            let now = self.engine.now();
            let bytes = self.engine.peek(id).to_vec();
            if bytes.is_empty() {
                break;
            }
            let mut input = &bytes[..];
            while let Some(incoming) = server.handle_recv(now, &mut input).unwrap() {
                if let Incoming::Request { request, content } = incoming {
                    let content = content.into_owned();
                    server.respond(request, &ok, |w| w.bytes(&content)).unwrap();
                }
            }
            self.engine.consume(id, bytes.len());
        }
        let answers = server.transmit().to_vec();
        assert_eq!(self.engine.write(id, &answers), answers.len());
        server.transmitted(answers.len());
    }
}

impl Listener {
    fn open(engine: &mut Engine, policy: Policy) -> Self {
        let options = ListenOptions {
            backlog: 128,
            reuse_port: false,
            is_redirected: false,
            socket: SocketOptions::default(),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let id = engine.listen(&any, &options).unwrap();
        let server_policy = ServerPolicy {
            methods: policy.methods.iter().copied().collect::<Methods>(),
            bypass: match policy.is_bypassed {
                true => Bypass::Everybody,
                false => Bypass::Nobody,
            },
            is_keepalive_admitted: true,
            is_tls_admitted: false,
        };
        let tls = ServerOptions {
            client_auth: ClientAuth::Required(roots()),
            handshake_timeout: PATIENCE,
            ..server_options(RecordPath::InPlace, Kind::Ecdsa)
        };
        Self {
            id,
            address: engine.local_address(id).unwrap(),
            server: NegotiationServer::new(server_policy, Some(&tls), OPTIONS).unwrap(),
        }
    }
}

static CLIENTS: LazyLock<HashMap<Method, NegotiationClient>> = LazyLock::new(|| {
    let tls = ClientOptions {
        identity: Some(identity(&PKI.client)),
        handshake_timeout: PATIENCE,
        ..client_options(RecordPath::InPlace)
    };
    let client = |method| {
        let name = ServerName::try_from("localhost").unwrap();
        let client = NegotiationClient::new(method, GID, Some(&tls), name, OPTIONS);
        (method, client.unwrap())
    };
    METHODS.map(client).into()
});

const OPTIONS: NegotiationOptions = NegotiationOptions {
    timeout: PATIENCE,
    requires_binding: false,
    danger_end_without_close_notify: true,
};

/// What a client in Python presents, and whom it trusts.
const CREDENTIALS: &str = "--cert client.pem --key client-key.pem --ca ca.pem";

/// A test in which nothing has happened for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
