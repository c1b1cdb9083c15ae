"""Two nodes that dial each other's address, each with a gateway beside it that nobody knows of."""

import os
import sys
from textwrap import dedent

from harness.case import BACKENDS, Case
from harness.gateway import BINARY
from harness.netns import Namespace
from harness.obrpc import PEER, PrintedGateway, RpcServer, call, printed
from harness.process import Process, run

RPC_PORT, OUT_PORT = 2882, 2892
# By whom the packet filter knows the gateways.
GATEWAYS_USER = "nobody"


class Node:
    """A namespace with a node on its RPC port, and the gateway beside it."""

    def __init__(self, case: "Nodes", address: str):
        self.case = case
        self.namespace = Namespace()
        self.address = address
        self.server = None
        self.gateway = None

    def serve(self) -> None:
        host = "::" if ":" in self.address else "0.0.0.0"
        options = ("--host", host, "--port", RPC_PORT)
        self.server = RpcServer(self.case, *options, launcher=tuple(self.namespace.command()))

    def start_gateway(self) -> None:
        as_user = ("setpriv", f"--reuid={GATEWAYS_USER}", "--regid=nogroup", "--clear-groups")
        launcher = (*self.namespace.command(), *as_user)
        anywhere = {"0.0.0.0": "[::]"} if ":" in self.address else {}
        self.gateway = PrintedGateway(self.case, "out", anywhere, launcher)

    def redirect(self) -> None:
        rules = printed("nft", "redirect").replace("skuid sealwire", f"skuid {GATEWAYS_USER}")
        if ":" in self.address:
            rules = rules.replace("table ip ", "table ip6 ")
        done = run(*self.namespace.command("nft", "-f", "-"), input=rules.encode(), text=False)
        self.case.assertEqual(done.returncode, 0, done.stderr)

    def call(self, other: "Node", *calls):
        return call(RPC_PORT, "legacy", *calls, host=other.address, launcher=tuple(self.namespace.command()))


class HeldClient(Process):
    """A connection that was made before anything is redirected; it echoes whenever it is signalled."""

    SCRIPT = dedent("""
        import signal, socket, sys
        sys.path.insert(0, sys.argv[1])
        import obrpc, ussl
        sock = socket.create_connection((sys.argv[2], int(sys.argv[3])))
        client = obrpc.Client(ussl.Plain(sock))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        while True:
            client.echo("0123")
            signal.sigwait({signal.SIGUSR1})
    """)

    def __init__(self, case: "Nodes", node: Node, other: Node):
        command = node.namespace.command(sys.executable, "-c", self.SCRIPT, PEER.parent, other.address, RPC_PORT)
        super().__init__("held-client", command, case.scratch / f"held-{other.address}.log")

    def echoes(self) -> int:
        return self.log.read_text().splitlines().count("echo 0 0123")

    def wait_ready(self) -> None:
        self.until(lambda: self.echoes() == 1, "its first echo")

    def echo(self) -> None:
        before = self.echoes()
        self.signal(10)
        self.until(lambda: self.echoes() == before + 1, "an echo")


class Nodes(Case):
    variants = BACKENDS
    needs = ("nft", "ip", "setpriv")

    def setUp(self):
        super().setUp()
        # The gateways run as somebody who has to read these.
        os.chmod(self.scratch, 0o755)

    def pair(self, first: str, second: str) -> tuple[Node, Node]:
        nodes = Node(self, first), Node(self, second)
        names = [node.namespace.name for node in nodes]
        ends = [f"swn{os.getpid()}{letter}" for letter in "ab"]
        self.ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for node, end in zip(nodes, ends):
            nodad = ("nodad",) if ":" in node.address else ()
            length = 126 if nodad else 30
            self.ip("-n", node.namespace.name, "addr", "add", f"{node.address}/{length}", "dev", end, *nodad)
            self.ip("-n", node.namespace.name, "link", "set", end, "up")
        names = [word for node in nodes for word in ("--name", node.address)]
        made = run(BINARY, "cert", "init", self.scratch / "certs", *names)
        self.assertEqual(made.returncode, 0, made.stderr)
        for key in (self.scratch / "certs").glob("*-key.pem"):
            os.chmod(key, 0o644)
        for node in nodes:
            self.addCleanup(node.namespace.remove)
            node.serve()
        return nodes

    def ip(self, *words) -> None:
        done = run("ip", *words)
        self.assertEqual(done.returncode, 0, done.stderr)

    def check_enablement(self, first: str, second: str) -> None:
        a, b = self.pair(first, second)
        held = self.start(HeldClient(self, a, b))
        for node in (a, b):
            node.start_gateway()
        self.assertEqual(a.call(b, "echo", "aa").stdout, "connected plain\necho 0 aa\n")
        # Inbound first, then outbound; each node by itself.
        for node in (a, b):
            node.redirect()
        for one, other in ((a, b), (b, a)):
            done = one.call(other, "echo", "bb", "config", f"to={other.address}")
            self.assertEqual(done.stdout, "connected plain\necho 0 bb\nconfig 0\n", done.stderr)
            self.assertEqual(other.server.lines("config"), [f"config to={other.address}"])
        # What was there before is neither cut off nor redirected.
        held.echo()
        held.kill()
        # Each gateway took one connection of its own node, and one of the other gateway: by TLS alone.
        self.assertEqual(self.totals(a), {"out": 1, "in": 1})
        self.assertEqual(self.totals(b), {"out": 1, "in": 1})

    def totals(self, node: Node) -> dict[str, int]:
        """Connections of each route, from the log of a gateway that is asked to stop."""
        node.gateway.stop_and_judge()
        return {event["route"]: event["connections"] for event in node.gateway.events(message="route totals")}

    def test_ipv4(self):
        self.check_enablement("198.19.77.1", "198.19.77.2")

    def test_ipv6(self):
        self.check_enablement("fd5e:a1::1", "fd5e:a1::2")

    def test_whoever_is_not_redirected_has_nowhere_to_go(self):
        a, b = self.pair("198.19.77.5", "198.19.77.6")
        a.start_gateway()
        done = run(*b.namespace.command(sys.executable, PEER, "call", f"{a.address}:{OUT_PORT}", "echo", "01"))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("nowhere to go on to", a.gateway.claimed(message="server unreachable")["reason"])
