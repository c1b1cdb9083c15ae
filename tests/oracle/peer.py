"""A TLS end on Python's ssl module (OpenSSL in memory), for what s_client and s_server cannot do.

It receives until the peer's close_notify, answers with all it received, then closes (`echo`); or it sends its
data, closes, and prints what it still received (`first`).
"""

import argparse
import hashlib
import socket
import ssl


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["echo", "first"])
    parser.add_argument("--connect", type=int, help="port of a server; without it, listen")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--version", choices=["1.2", "1.3"], required=True)
    parser.add_argument("--segment", type=int, default=65536)
    parser.add_argument("--data", type=int, default=0, help="bytes to send in mode `first`")
    args = parser.parse_args()
    if args.connect:
        sock = socket.create_connection(("127.0.0.1", args.connect))
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        print("ready", listener.getsockname()[1], flush=True)
        sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end = End(sock, context(args), bool(args.connect), args.segment)
    end.run(end.tls.do_handshake)
    print("version", end.tls.version(), flush=True)
    {"echo": echo, "first": first}[args.mode](end, args)


def context(args):
    version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[args.version]
    if args.connect:
        made = ssl.create_default_context(cafile=args.ca)
    else:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(args.cert, args.key)
    made.minimum_version = made.maximum_version = version
    return made


def echo(end, _args):
    received = end.receive_all()
    end.send(received)
    end.close()


def first(end, args):
    end.send(bytes(i % 251 for i in range(args.data)))
    end.close()
    print("received", hashlib.sha256(end.receive_all()).hexdigest(), flush=True)


class End:
    def __init__(self, sock, made, is_client, segment):
        self.sock, self.segment = sock, segment
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = "localhost" if is_client else None
        self.tls = made.wrap_bio(self.incoming, self.outgoing, not is_client, name)

    def run(self, step, *given):
        while True:
            try:
                return step(*given)
            except ssl.SSLWantReadError:
                self.flush()
                arrived = self.sock.recv(self.segment)
                if arrived:
                    self.incoming.write(arrived)
                else:
                    self.incoming.write_eof()
            finally:
                self.flush()

    def flush(self):
        output = self.outgoing.read()
        for at in range(0, len(output), self.segment):
            self.sock.sendall(output[at : at + self.segment])

    def send(self, data):
        for at in range(0, len(data), 16384):
            self.run(self.tls.write, data[at : at + 16384])

    def receive_all(self):
        received = bytearray()
        while True:
            try:
                chunk = self.run(self.tls.read, 65536)
            except ssl.SSLZeroReturnError:
                return bytes(received)
            if not chunk:
                return bytes(received)
            received += chunk

    def close(self):
        """Sends close_notify without waiting for the peer's."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()


main()
