#!/usr/bin/env python3
"""A server and a client of OB-RPC with the negotiation in front of it, to set against the library's.

    obrpc.py serve --methods ssl_io,none --cert C --key K --ca CA [--incumbent]
    obrpc.py call HOST:PORT --method ssl_io --ca CA [--incumbent] CALL…
    obrpc.py batch

`serve` prints `ready PORT`, then a line for each connection, and serves until its standard input ends. `call` makes
the calls one after the other on one connection and prints a line for each.

`batch` reads the arguments of one `call` from each line of its standard input, until that ends, and prints `end` behind
each. The calls are:

    echo HEX | error RCODE | one-way HEX | parts N | abort N | config TEXT | start-lsn LS_ID | fetch LS_ID LSN
"""

import argparse
import dataclasses
import functools
import itertools
import socket
import ssl
import struct
import sys
import threading

import rpc
import ussl
from rpc import Packet, Reader, obj, result_code, string, varint, vi32

ECHO, ERROR, PARTS, SET_CONFIG, FETCH_LOG, START_LSN = 0x001, 0x002, 0x003, 0x106, 0x853, 0x855
BYPASS = {0x851, 0x853, 0x855, *range(0x1101, 0x1125)}
INVALID_CONFIG, UNKNOWN_PACKET, UNKNOWN_CONNECTION = -4147, -4118, -4174

KEEPALIVE_PREAMBLE = bytes.fromhex("1234567877668833" "0009" "6683221dd298cc23" "00")
# With which libeasy's preambles begin, those of calls among them.
EASY_HEAD = KEEPALIVE_PREAMBLE[:10]


def main():
    args = parser().parse_args()
    return {"serve": serve, "call": call, "batch": batch}[args.command](args)


# --- the server ---


def serve(args):
    habits = habits_of(args)
    methods = sum(ussl.METHODS[name] for name in args.methods.split(","))
    contexts = {}
    if args.cert:
        both = [ussl.server_context(args.cert, args.key, args.ca, habits) for _ in range(2)]
        contexts = {"ssl_io": both[0], "ssl_no_encrypt": ussl.only_tls_1_2(both[1])}
    listener = listen(args)
    say("ready", listener.getsockname()[1])
    threading.Thread(target=accept_all, args=(listener, methods, contexts, habits, args), daemon=True).start()
    sys.stdin.read()
    return 0


def listen(args):
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    return socket.create_server((args.host, args.port), family=family, backlog=128)


def accept_all(listener, methods, contexts, habits, args):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_one, args=(sock, methods, contexts, habits, args), daemon=True).start()


def serve_one(sock, methods, contexts, habits, args):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        stream, beginning = ussl.accept(sock, methods, contexts, habits, args.bypass)
    except ussl.Refused as reason:
        say("refused", reason)
        return sock.close()
    except (EOFError, OSError, ssl.SSLError) as error:
        say("failed", type(error).__name__, error)
        return sock.close()
    stream.segment = args.segment
    say("began", beginning.method, beginning.gid, "encrypted" if beginning.is_encrypted else "plain")
    try:
        if beginning.method is None:
            first = sock.recv(len(KEEPALIVE_PREAMBLE), socket.MSG_PEEK)
            if first == KEEPALIVE_PREAMBLE:
                answer_keepalive(stream)
            elif first.startswith(EASY_HEAD):
                stream.read(len(KEEPALIVE_PREAMBLE))
        Session(stream, beginning, args).run()
    except EOFError:
        say("ended")
    except (rpc.Malformed, OSError, ssl.SSLError) as error:
        say("failed", type(error).__name__, error)
    stream.close()


def answer_keepalive(stream):
    stream.read(len(KEEPALIVE_PREAMBLE))
    while True:
        stream.read(1)
        data = b"\0" + vi32(1) + varint(1_700_000_000_000_000)
        stream.write(struct.pack(">ii", 0x2C15C364, len(data)) + data)


class Session:
    """One connection that is served."""

    def __init__(self, stream, beginning, args):
        self.stream = stream
        self.beginning = beginning
        self.args = args
        self.streams = {}
        self.session_ids = itertools.count(1)

    def run(self):
        while True:
            request = rpc.read_packet(self.stream)
            if self.args.mute:
                continue
            response = self.answer(request)
            if not request.flags & rpc.ONE_WAY:
                self.stream.write(response.encode())

    def answer(self, request):
        if self.beginning.is_restricted and request.pcode not in BYPASS:
            return respond(request, UNKNOWN_CONNECTION)
        handlers = {
            ECHO: self.echo, ERROR: self.error, PARTS: self.parts, SET_CONFIG: self.config,
            START_LSN: self.start_lsn, FETCH_LOG: self.fetch_log,
        }
        handler = handlers.get(request.pcode)
        return handler(request) if handler else respond(request, UNKNOWN_PACKET)

    def echo(self, request):
        if request.flags & rpc.ONE_WAY:
            say("heard", request.payload.hex())
        response = respond(request, 0, request.payload)
        return response.compressed() if self.args.compress else response

    def error(self, request):
        return respond(request, Reader(request.payload).vi32(), text=b"as asked for")

    def parts(self, request):
        if not request.flags & rpc.STREAM:
            session_id = next(self.session_ids)
            self.streams[session_id] = iter(range(Reader(request.payload).varint() - 1, -1, -1))
        else:
            session_id = request.session_id
            if request.flags & rpc.STREAM_LAST:
                del self.streams[session_id]
                say("aborted", session_id)
                return respond(request, 0, flags=rpc.STREAM | rpc.STREAM_LAST)
        left = next(self.streams[session_id])
        flags = rpc.STREAM | (rpc.STREAM_LAST if left == 0 else 0)
        response = respond(request, 0, varint(left), flags=flags)
        response.session_id = session_id
        return response

    def config(self, request):
        settings = Reader(request.payload).string()
        say("config", settings.decode())
        if settings.startswith(b"no_such_"):
            return respond(request, INVALID_CONFIG, text=b"no such parameter")
        return respond(request, 0)

    def start_lsn(self, request):
        members = Reader(request.payload).obj()
        assert members.varint() == 1
        items = []
        for _ in range(members.varint()):
            item = members.obj()
            ls_id, ts = item.u64(), item.varint()
            items.append(obj(vi32(0 if ls_id == 1 or ls_id > 1000 else -4719), be64(ls_id * 1000), varint(ts)))
        say("client", *read_client(members))
        return respond(request, 0, obj(varint(1), vi32(0), varint(len(items)), *items))

    def fetch_log(self, request):
        members = Reader(request.payload).obj()
        assert members.varint() == 1
        ls_id, lsn = members.u64(), members.u64()
        log = log_group(b"first") + log_group(b"second")
        status = obj(b"\1", b"\0", *[varint(number) for number in range(5)])
        return respond(request, 0, obj(
            varint(1), vi32(0), vi32(0), be64(ls_id), vi32(-1), status, be64(lsn + len(log)), varint(2),
            varint(len(log)), log, varint(12345),
        ))


def respond(request, rcode, result=b"", text=b"", flags=0):
    return Packet(
        request.pcode, result_code(rcode, text) + (result if rcode == 0 else b""), request.chid,
        flags=rpc.RESPONSE | rpc.NO_LOG_LEVEL | flags, tenant_id=request.tenant_id,
        rest={"dst_cluster_id": request.rest["src_cluster_id"]},
    )


def be64(number):
    return struct.pack(">Q", number)


def log_group(data):
    entry = struct.pack(">2shiQqq", b"LH", 1, len(data), 7, 0, 0) + data
    return struct.pack(">2shiqQQqqq", b"GR", 1, len(entry), 1, 0, 7, 0, 1, 0) + entry


def read_client(members):
    client = members.obj()
    pid, address = client.varint(), client.obj()
    version, words = address.vi32(), [address.varint(32) & 0xFFFFFFFF for _ in range(4)]
    return pid, version, ".".join(str(byte) for byte in words[0].to_bytes(4, "big")), address.vi32()


# --- the client ---


def batch(_args):
    for line in iter(sys.stdin.readline, ""):
        call(parser().parse_args(["call", *line.split()]))
        say("end")
    return 0


def call(args):
    habits = habits_of(args)
    host, _, port = args.address.rpartition(":")
    context = None
    if args.method != "none":
        context = ussl.client_context(args.cert, args.key, args.ca, habits)
        if args.method == "ssl_no_encrypt":
            ussl.only_tls_1_2(context)
    sock = socket.create_connection((host, int(port)), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if args.method == "legacy":
            stream = ussl.Plain(sock, args.segment)
        else:
            stream = ussl.connect(sock, args.method, args.gid, context, habits, args.server_name, args.segment)
        say("connected", stream.tls.version() if stream.tls else "plain")
        client = Client(stream)
        words = iter(args.calls)
        for word in words:
            getattr(client, word.replace("-", "_"))(*itertools.islice(words, 2 if word == "fetch" else 1))
        stream.close()
        return 0
    except (EOFError, OSError, ssl.SSLError, ussl.Refused, rpc.Malformed) as error:
        say("failed", type(error).__name__, error)
        return 1


class Client:
    """Calls on one connection, one at a time."""

    def __init__(self, stream):
        self.stream = stream
        self.chids = itertools.count(1)

    def send(self, pcode, payload, flags=0, session_id=0):
        request = Packet(
            pcode, payload, next(self.chids), flags=rpc.NO_LOG_LEVEL | flags, session_id=session_id,
        )
        self.stream.write(request.encode())
        return request

    def ask(self, pcode, payload, flags=0, session_id=0):
        request = self.send(pcode, payload, flags, session_id)
        response = rpc.read_packet(self.stream)
        assert response.chid == request.chid, f"an answer to {response.chid}, not to {request.chid}"
        assert response.flags & rpc.RESPONSE, "an answer that is none"
        assert response.pcode == pcode, f"an answer of {response.pcode:#x}"
        return response, *rpc.read_result(response.payload)

    def echo(self, hexadecimal):
        _, rcode, text, result = self.ask(ECHO, bytes.fromhex(hexadecimal))
        say("echo", rcode, result.hex())

    def error(self, rcode):
        _, got, text, _ = self.ask(ERROR, vi32(int(rcode)))
        say("error", got, text.decode())

    def one_way(self, hexadecimal):
        self.send(ECHO, bytes.fromhex(hexadecimal), rpc.ONE_WAY)
        say("one-way")

    def read_parts(self, parts, stop_after=None):
        response, rcode, _, result = self.ask(PARTS, varint(int(parts)))
        got = [Reader(result).varint()]
        while not response.flags & rpc.STREAM_LAST and len(got) != stop_after:
            response, rcode, _, result = self.ask(PARTS, b"", rpc.STREAM, response.session_id)
            got.append(Reader(result).varint())
        if stop_after:
            self.ask(PARTS, b"", rpc.STREAM | rpc.STREAM_LAST, response.session_id)
        return rcode, got

    def parts(self, parts):
        say("parts", *self.read_parts(parts))

    def abort(self, parts):
        say("abort", *self.read_parts(parts, stop_after=2))

    def config(self, text):
        _, rcode, _, _ = self.ask(SET_CONFIG, string(text.encode()))
        say("config", rcode)

    def start_lsn(self, ls_id):
        address = obj(vi32(4), vi32(0x7F000001), vi32(0), vi32(0), vi32(0), vi32(2882))
        client = obj(varint(42), address)
        items = obj(be64(int(ls_id)), varint(5))
        _, rcode, _, result = self.ask(START_LSN, obj(varint(1), varint(1), items, client, b"\0"))
        members = Reader(result).obj()
        version, error, count = members.varint(), members.vi32(), members.varint()
        item = members.obj()
        say("start-lsn", rcode, version, error, count, item.vi32(), item.u64(), item.varint())

    def fetch(self, ls_id, lsn):
        address = obj(vi32(4), vi32(0x7F000001), vi32(0), vi32(0), vi32(0), vi32(2882))
        _, rcode, _, result = self.ask(FETCH_LOG, obj(
            varint(1), be64(int(ls_id)), be64(int(lsn)), varint(1 << 62), varint(42), obj(varint(42), address),
            varint(0), b"\0", vi32(1), varint(1002),
        ))
        members = Reader(result).obj()
        say("fetch", rcode, members.varint(), members.vi32(), members.vi32(), members.u64(), members.vi32())


# --- the command line ---


@functools.cache
def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve")
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--port", type=int, default=0)
    server.add_argument("--methods", default="none,ssl_no_encrypt,ssl_io")
    server.add_argument("--bypass", action="store_true", help="admit anyone, for some requests only")
    server.add_argument("--compress", action="store_true", help="answer echoes with zlib")
    server.add_argument("--mute", action="store_true", help="take calls and answer none")
    client = commands.add_parser("call")
    client.add_argument("address")
    client.add_argument("--method", choices=["legacy", *ussl.METHODS], default="none")
    client.add_argument("--gid", type=lambda text: int(text, 0), default=0x1_0000_0003)
    client.add_argument("--server-name", default="localhost")
    client.add_argument("calls", nargs="*")
    for command in (server, client):
        command.add_argument("--cert")
        command.add_argument("--key")
        command.add_argument("--ca")
        command.add_argument("--segment", type=int, help="send at most so many bytes at a time")
        command.add_argument("--incumbent", action="store_true", help="all of the following")
        for habit in dataclasses.fields(ussl.Habits):
            command.add_argument(f"--{habit.name.replace('_', '-')}", action=argparse.BooleanOptionalAction)
    commands.add_parser("batch")
    return parser


def habits_of(args):
    names = [habit.name for habit in dataclasses.fields(ussl.Habits)]
    chosen = {name: getattr(args, name) for name in names}
    return ussl.Habits(**{name: args.incumbent if value is None else value for name, value in chosen.items()})


def say(*words):
    print(*words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
