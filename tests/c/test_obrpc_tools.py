"""admin_tool and log_reader against peers that are written from OceanBase's protocol alone."""

import hashlib
import random
import socket
import subprocess

from harness import certs
from harness.case import free_port
from harness.obrpc import INCUMBENT, RpcServer
from harness.process import run
from peers import oblog, rpc, ussl
from peers.oblog import GROUP, Log, LogServer, Part, header
from toolchain import EXAMPLES, ROOT, SANITIZERS, VALGRIND, CCase, Tool

UNWATCHED = Tool("unwatched")
METHODS = ("none", "ssl_no_encrypt", "ssl_io")

# What watches a program makes its handshake slow.
PATIENT = ("--timeout-ms", 300_000)


class AdminTool(CCase):
    deadline_s = 300
    needs = ("valgrind",)

    def admin(self, port: int, *arguments, tool=SANITIZERS, flags=PATIENT, ca=None):
        own = certs.client()
        trust = ("--ca", ca or certs.authority().cert, "--cert", own.cert, "--key", own.key)
        command = tool.command(EXAMPLES / "admin_tool.c", *trust, *flags, "localhost", port, *arguments)
        return run(*command, env=tool.environment(), timeout_s=120)

    def check(self, done, code: int, *words: str):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def check_set(self, method: str, *options, tool=SANITIZERS):
        server = RpcServer(self, *options, methods=method)
        done = self.admin(server.port, "a=1", "b=2", tool=tool, flags=("--method", method, *PATIENT))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "OB_SUCCESS\n", ""))
        encrypted = "encrypted" if method == "ssl_io" else "plain"
        self.assertEqual(server.lines("began"), [f"began {method} {1 << 32} {encrypted}"])
        self.assertEqual(server.lines("config"), ["config a=1,b=2"])

    def test_every_method(self):
        for method in METHODS:
            with self.subTest(method):
                self.check_set(method)
        self.check_set("ssl_io", tool=VALGRIND)

    def test_every_method_of_an_incumbent(self):
        for method in METHODS:
            with self.subTest(method):
                self.check_set(method, *INCUMBENT)

    def test_a_server_that_says_no(self):
        server = RpcServer(self)
        for tool, method in ((SANITIZERS, "ssl_io"), (VALGRIND, "none")):
            done = self.admin(server.port, "no_such_thing=1", tool=tool, flags=("--method", method, *PATIENT))
            self.check(done, 1, "the server said no: OB_INVALID_CONFIG (-4147): no such parameter")

    def test_a_server_that_does_not_answer(self):
        # The beginning needs no time of the server's where nothing is negotiated.
        server = RpcServer(self, "--mute")
        done = self.admin(server.port, "a=1", flags=("--method", "none", "--timeout-ms", 500))
        self.check(done, 4, "SEALWIRE_ERR_TIMEOUT", "whether anything was changed is not known")

    def test_a_server_that_does_not_even_negotiate(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            done = self.admin(silent.getsockname()[1], "a=1", flags=("--timeout-ms", 300))
        self.check(done, 3, "SEALWIRE_ERR_TIMEOUT")

    def test_a_server_that_is_not_believed(self):
        server = RpcServer(self)
        done = self.admin(server.port, "a=1", ca=certs.authority("stranger").cert)
        self.check(done, 3, "SEALWIRE_ERR_CERT_UNKNOWN_ISSUER")
        self.assertEqual(server.lines("config"), [])

    def test_the_name_of_a_server(self):
        server = RpcServer(self)
        other = ("--server-name", "db.example", *PATIENT)
        self.check(self.admin(server.port, "a=1", flags=other), 3, "SEALWIRE_ERR_CERT_NAME")
        self.check(self.admin(server.port, "a=1", flags=(*other, "--verify", "ca")), 0)

    def test_a_server_that_refuses_plaintext(self):
        server = RpcServer(self, methods="ssl_io")
        done = self.admin(server.port, "a=1", flags=("--method", "none", *PATIENT))
        # The call has left together with the negotiation.
        self.check(done, 4, "whether anything was changed is not known")
        self.assertEqual(server.lines("config"), [])

    def test_nobody_is_judged_where_all_is_in_the_clear(self):
        server = RpcServer(self, methods="none")
        command = SANITIZERS.command(EXAMPLES / "admin_tool.c", "--method", "none", "localhost", server.port, "a=1")
        self.check(run(*command, env=SANITIZERS.environment(), timeout_s=60), 0)

    def test_a_server_that_refuses_tls(self):
        server = RpcServer(self, methods="none")
        self.check(self.admin(server.port, "a=1"), 3)
        self.assertEqual(server.lines("began"), [])

    def test_nobody_listens(self):
        self.check(self.admin(free_port(), "a=1"), 3, "Connection refused")

    def test_help_and_mistakes(self):
        program = SANITIZERS.program(EXAMPLES / "admin_tool.c")
        shown = run(program, "--help")
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        for words in ("usage: admin_tool", "--timeout-ms MS", "  4  no answer"):
            self.assertIn(words, shown.stdout)
        address = ("localhost", 1)
        for arguments, words in (
            ((), "HOST and PORT are missing"),
            (("--colour", "red", *address, "a=1"), "there is no flag --colour"),
            (("--timeout-ms", "soon", *address, "a=1"), '"soon" is no number'),
            ((*address, "a=1"), "--ca is missing"),
            (("--ca", "/nowhere", *address, "a=1"), "/nowhere"),
            (("--ca", certs.authority().cert, *address, "a"), '"a" is not NAME=VALUE'),
            (("--ca", certs.authority().cert, *address), "what is to be set?"),
            (("--ca", certs.authority().cert, *address, "a=" + "x" * 5000), "4096 bytes"),
            (("--ca", certs.authority().cert, "--cert", certs.client().cert, *address, "a=1"), "go together"),
            (("--method", "rot13", *address, "a=1"), 'no method "rot13"'),
            (("--ca", certs.authority().cert, "--verify", "never", *address, "a=1"), "full or ca"),
            (("--verify",), "has no value"),
        ):
            with self.subTest(words):
                self.check(run(program, *arguments), 2, words)


class LogReader(CCase):
    deadline_s = 300
    needs = ("valgrind",)

    def serve(self, log, **options) -> LogServer:
        habits = options.get("habits", ussl.CAREFUL)
        own = certs.server()
        context = ussl.server_context(own.cert, own.key, certs.authority().cert, habits)
        server = LogServer(log, context, **options)
        self.addCleanup(lambda: self.assertEqual(server.complaints, []))
        return server

    def command(self, tool, server, *flags, begin=("--from-ns", 1)) -> list:
        own = certs.client()
        trust = ("--ca", certs.authority().cert, "--cert", own.cert, "--key", own.key)
        which = ("--ls", 1001, "--tenant", 1002, *begin, *PATIENT)
        command = tool.command(EXAMPLES / "log_reader.c", *trust, *which, *flags, server.host, server.port)
        return list(map(str, command))

    def read(self, tool, server, *flags, **options):
        """Exit code, output and words of a reader of little log."""
        command = self.command(tool, server, *flags, **options)
        done = run(*command, env=tool.environment(), text=False, timeout_s=120)
        return done.returncode, done.stdout, done.stderr.decode()

    def check_whole(self, tool, server, log, *flags):
        """Reads to the end and judges digest, counts and where the server was asked to go on from."""
        words = (self.scratch / "stderr").open("w+")
        digest = hashlib.sha256()
        command = self.command(tool, server, *flags)
        with words, server, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=words, env=tool.environment(), bufsize=0
        ) as reader:
            while data := reader.stdout.read(1 << 20):
                digest.update(data)
            code = reader.wait()
            words.seek(0)
            said = words.read()
        self.assertEqual(code, 0, f"{tool.name}\n{said[-3000:]}")
        self.assertEqual(digest.hexdigest(), log.digest(), said[-3000:])
        self.assertEqual(said.splitlines()[-1], counts(log, breaks=server.broken))
        self.assertEqual(server.starts, sorted(server.starts))

    def test_a_gib_over_connections_that_break(self):
        log = Log(seed=1, size=1 << 30)
        server = self.serve(log, breaks=plan(seed=2, mean_len=16 << 20, count=40))
        self.check_whole(UNWATCHED, server, log, "--attempts", 20)
        self.assertGreater(server.broken, 20)

    def test_watched(self):
        for tool, size, count in ((SANITIZERS, 16 << 20, 10), (VALGRIND, 1 << 19, 2)):
            log = Log(seed=3, size=size, body_len_max=size >> 8)
            breaks = plan(seed=4, mean_len=size // 8, count=count)
            server = self.serve(log, breaks=breaks, reply_len=size >> 6)
            self.check_whole(tool, server, log, "--attempts", 20)
            self.assertEqual(server.broken, count)

    def test_an_incumbent(self):
        log = Log(seed=5, size=1 << 20, body_len_max=20_000)
        habits = ussl.Habits(*[True] * 9)
        server = self.serve(log, habits=habits, host="::1", breaks=plan(seed=6, mean_len=300_000, count=3))
        self.check_whole(SANITIZERS, server, log)

    def test_another_run_goes_on_where_one_gave_up(self):
        log = Log(seed=7, size=1 << 20, body_len_max=20_000)
        with self.serve(log, breaks=[(400_000, False)], reply_len=65_536) as server:
            code, first, said = self.read(SANITIZERS, server, "--attempts", 1)
            self.assertEqual(code, 3, said)
            self.assertIn("nothing new came; attempts in a row: 1", said)
            lsn = int(said.split()[-1])
            code, second, said = self.read(SANITIZERS, server, begin=("--from-lsn", lsn))
            self.assertEqual(code, 0, said)
        self.assertTrue(first and second)
        self.assertEqual(hashlib.sha256(first + second).hexdigest(), log.digest())

    def test_a_server_that_says_no(self):
        log = Log(seed=7, size=10_000, body_len_max=1_000)
        with self.serve(log) as server:
            code, output, said = self.read(SANITIZERS, server, "--ls", 5)
        self.assertEqual((code, output), (1, b""), said)
        self.assertIn("the server said no: OB_LS_NOT_EXIST (-4719): no log of that time", said)
        for changes, words in (
            ({"error": -4012}, "the server said no: OB_TIMEOUT (-4012): the log cannot be fetched"),
            ({"log": [], "group_count": 0, "next_lsn": log.BEGIN_LSN, "feedback": 1}, "not on this server"),
            ({"log": [], "group_count": 0, "next_lsn": log.BEGIN_LSN, "feedback": 2}, "offline"),
        ):
            with self.serve(log, spoil=changing(**changes)) as server:
                code, output, said = self.read(SANITIZERS, server)
            self.assertEqual((code, output), (1, b""), said)
            self.assertIn(words, said)

    def test_an_end_before_that_of_the_log(self):
        log = Log(seed=8, size=30_000, body_len_max=2_000)
        with self.serve(log, spoil=second(changing(is_limit=True)), reply_len=10_000) as server:
            code, output, said = self.read(SANITIZERS, server, "--until-ns", 77)
        self.assertEqual(code, 0, said)
        self.assertEqual((len(server.starts), set(server.limits)), (2, {77}))
        self.assertEqual(len(output), written_before(log, int(said.split()[-1])))
        self.assertLess(int(said.split()[-1]), log.end_lsn)

    def test_output_that_cannot_be_written(self):
        log = Log(seed=7, size=10_000, body_len_max=1_000)
        with self.serve(log) as server, open("/dev/full", "wb") as full:
            done = subprocess.run(
                self.command(SANITIZERS, server), stdout=full, stderr=subprocess.PIPE, env=SANITIZERS.environment(),
                timeout=120,
            )
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn(b"No space left on device", done.stderr)
        self.assertIn(f"next LSN {log.BEGIN_LSN}\n".encode(), done.stderr)

    def test_lies(self):
        log = Log(seed=8, size=30_000, body_len_max=2_000)
        output = b"".join(group.body.part.data for group in log.groups if not group.is_padding)
        for name, (spoil, words) in LIES.items():
            with self.subTest(name):
                with self.serve(log, spoil=spoil, reply_len=10_000) as server:
                    code, got, said = self.read(SANITIZERS, server)
                self.assertEqual(code, 5, said)
                self.assertIn(words, said)
                # What was written before is good, and it is known where that ends.
                self.assertTrue(output.startswith(got), f"{len(got)} bytes")
                self.assertEqual(len(got), written_before(log, int(said.split()[-1])), said)

    def test_each_bit_of_a_log_counts(self):
        # Without padding, of which nobody looks at the contents.
        log = Log(seed=4, size=4_000, body_len_max=600)
        raw = b"".join(group.header.data + group.body.part.data for group in log.groups)
        program = SANITIZERS.program(ROOT / "tests/c/programs/flipped_log.c")
        done = run(program, input=raw, text=False, env=SANITIZERS.environment(), timeout_s=60)
        count = len(log.groups)
        self.assertEqual(done.stdout.decode(), f"{count} groups, {count} cuts between them\n", done.stderr.decode())


# --- what is expected ---


def counts(log, breaks: int) -> str:
    with_entries = [group.body for group in log.groups if not group.is_padding]
    entries = sum(body.entry_count for body in with_entries)
    length = sum(len(body.part.data) for body in with_entries)
    return f"groups {len(log.groups)}, entries {entries}, bytes {length}, breaks {breaks}, next LSN {log.end_lsn}"


def written_before(log, lsn: int) -> int:
    return sum(len(group.body.part.data) for group in log.groups if group.end_lsn <= lsn and not group.is_padding)


def plan(seed: int, mean_len: int, count: int) -> list:
    """After how many bytes connections break, and how: within the handshake, and at any byte behind it."""
    dice = random.Random(seed)
    longest = [3_000 if number % 4 == 0 else 2 * mean_len for number in range(count)]
    return [(dice.randrange(1, length), dice.random() < 0.5) for length in longest]


# --- lies, of which each replaces the second reply ---


def second(change):
    """Leaves the first reply as it is, so that something has been written before."""

    def spoil(server, request, reply):
        return change(server, request, reply) if len(server.starts) == 2 else None

    return spoil


def changing(**members):
    def change(_server, _request, reply):
        for name, value in members.items():
            setattr(reply, name, value(reply) if callable(value) else value)

    return change


def payload(change):
    """Other bytes of the payload, with the checksum that belongs to them."""
    return lambda server, request, reply: server.encoded(request, Part.of(change(reply.payload().data)))


def packet(change):
    return lambda server, request, reply: change(bytearray(server.encoded(request, reply.payload())))


def log_of(change):
    """Other log, about which the reply itself is right."""

    def replace(_server, request, reply):
        lsn = reply.next_lsn - sum(len(part.data) for part in reply.log)
        reply.log = [Part.of(change(b"".join(part.data for part in reply.log)))]
        reply.next_lsn = lsn + len(reply.log[0].data)

    return replace


def first_group(**members):
    """The first group with another header, whose check is right."""

    def change(log: bytes) -> bytes:
        names = ("magic", "version", "size", "proposal", "end", "scn", "checksum", "number", "flags")
        fields = dict(zip(names, GROUP.unpack_from(log))) | members
        fields["flags"] &= ~0xFFFF
        return header(GROUP, *fields.values()) + log[GROUP.size:]

    return log_of(change)


def first_body(body: bytes):
    """One group with another body, whose header is right about its length."""

    def change(_log: bytes) -> bytes:
        return header(GROUP, b"GR", 1, len(body), 3, 0, 7, 0, 1, 0) + body

    return log_of(change)


def flipped(at: int):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def cut(length: int):
    return lambda data: data[:length]


def entry_of(size: int, data: bytes, version: int = 1, checksum: int | None = None) -> bytes:
    checksum = rpc.checksum(data) if checksum is None else checksum
    return header(oblog.ENTRY, b"LH", version, size, 7, checksum, 0) + data


def swapped(_server, _request, reply):
    reply.log[0:2], reply.log[2:4] = reply.log[2:4], reply.log[0:2]


def repeated(_server, _request, reply):
    reply.log += reply.log[-2:]
    reply.group_count += 1
    reply.next_lsn += sum(len(part.data) for part in reply.log[-2:])


def lost(_server, _request, reply):
    reply.next_lsn -= sum(len(part.data) for part in reply.log[:2])
    del reply.log[:2]
    reply.group_count -= 1


UNREADABLE = "the reply with the log cannot be read"
ELSEWHERE = "the reply is about another place"
CHECKSUM = "the checksum of the log is wrong"
TOO_LONG = "a header promises more than there is"
NO_HEADER = "there is no header where one should be"
HALF_HEADER = "the log ends within a header"
FRAME = "SEALWIRE_ERR_FRAME"

LIES = {
    name: (second(change), words)
    for name, change, words in (
        ("more log is promised than there is", changing(log_len=1 << 20), UNREADABLE),
        ("far more log is promised", changing(log_len=(1 << 64) - 1), UNREADABLE),
        ("less log is promised", changing(log_len=100), ELSEWHERE),
        ("another number of groups", changing(group_count=lambda reply: reply.group_count + 1), "not as many groups"),
        ("another place to go on from", changing(next_lsn=lambda reply: reply.next_lsn + 1), ELSEWHERE),
        ("another log stream", changing(ls_id=1002), ELSEWHERE),
        ("another version of the call", changing(rpc_version=2), UNREADABLE),
        ("groups in another order", swapped, CHECKSUM),
        ("a group twice", repeated, CHECKSUM),
        ("a group too few", lost, CHECKSUM),
        ("a group that is longer than the reply", first_group(size=1 << 20), TOO_LONG),
        ("a group of less than no bytes", first_group(size=-1), TOO_LONG),
        ("a group of another version", first_group(version=3), NO_HEADER),
        ("a group of something else", first_group(magic=b"GQ"), NO_HEADER),
        ("a group with another checksum", first_group(checksum=1), CHECKSUM),
        ("a group that ends with an entry's header", log_of(cut(GROUP.size + 32)), TOO_LONG),
        ("a log that ends within a group's header", log_of(lambda log: log + bytes(20)), HALF_HEADER),
        ("a group's header with another check", log_of(flipped(GROUP.size - 20)), "a header's check is wrong"),
        ("an entry that is longer than its group", first_body(entry_of(100, b"short")), TOO_LONG),
        ("an entry of less than no bytes", first_body(entry_of(-2, b"short")), TOO_LONG),
        ("an entry of another version", first_body(entry_of(5, b"short", version=0)), NO_HEADER),
        ("an entry with another checksum", first_body(entry_of(5, b"short", checksum=5)), "the checksum of an entry"),
        ("half a header of an entry", first_body(entry_of(5, b"short") + bytes(31)), HALF_HEADER),
        ("other data", log_of(flipped(GROUP.size + 40)), "the checksum of an entry"),
        ("a payload that ends early", payload(cut(60)), UNREADABLE),
        ("a payload that ends within its result code", payload(cut(4)), FRAME),
        ("an empty payload", payload(cut(0)), FRAME),
        ("an object without end", payload(lambda data: data[:11] + b"\xff" * 11 + data[22:]), UNREADABLE),
        ("an object of another version", payload(lambda data: data[:10] + b"\2" + data[11:]), UNREADABLE),
        ("a packet with another checksum", packet(lambda data: data[:-1] + bytes([data[-1] ^ 1])), FRAME),
        ("a packet without end", packet(lambda data: data[:4] + b"\x7f\xff\xff\xff" + data[8:]), FRAME),
        ("another packet altogether", packet(lambda data: b"HTTP/1.1 200 OK\r\n\r\n" + bytes(data)), FRAME),
    )
}
