"""Gateways whose own connections the packet filter redirects to them again, and clients that nothing redirects."""

import re
import sys
from textwrap import dedent

from harness.obrpc import printed
from harness.process import run
from test_obrpc import KEEPALIVE, request
from test_obrpc_nodes import GATEWAYS_USER, OUT_PORT, RPC_PORT, Node, Nodes

EXCEPTION = "meta skuid sealwire return"
# A client that says something and waits for the answer.
SCRIPT = dedent("""
    import socket, sys
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
        sock.sendall(bytes.fromhex(sys.argv[3]))
        try:
            print(len(sock.recv(100)))
        except ConnectionResetError:
            print("reset")
""")


class Loops(Nodes):
    def redirect(self, node: Node, exception: str) -> None:
        """Loads the rules of the guide, with something else in the place of their exception for the gateway."""
        rules = printed("nft", "redirect")
        self.assertIn(EXCEPTION, rules)
        rules = rules.replace(EXCEPTION, exception)
        if ":" in node.address:
            rules = rules.replace("table ip ", "table ip6 ")
        (table,) = re.findall(r"^table \w+ \w+", rules, re.MULTILINE)
        # Declared first, so that it can be deleted whether it was there or not.
        rules = f"{table}\ndelete {table}\n{rules}"
        done = run(*node.namespace.command("nft", "-f", "-"), input=rules.encode(), text=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def say(self, node: Node, address: str, port: int, first: bytes) -> str:
        """What becomes of a client that begins with these bytes."""
        done = run(*node.namespace.command(sys.executable, "-c", SCRIPT, address, port, first.hex()))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def check_loop(self, addresses: tuple[str, str], first: bytes, stage: str) -> None:
        a, b = self.pair(*addresses)
        for node in (a, b):
            node.start_gateway()
        self.redirect(a, exception="")
        self.redirect(b, exception=f"meta skuid {GATEWAYS_USER} return")
        before = a.gateway.descriptors()
        self.assertEqual(self.say(a, b.address, RPC_PORT, first), "reset")
        # One connection came back. None was made for it, and it was the end of the one that it came from.
        reason = a.gateway.claimed(message="server unreachable")["reason"]
        host = f"[{b.address}]" if ":" in b.address else b.address
        self.assertIn(f"has redirected the gateway's own connection to {host}:{RPC_PORT} back to it", reason)
        a.gateway.claimed(stage=stage)
        a.gateway.until_descriptors(before, "nothing of a loop is left")
        # With the rule that the log names everything is served.
        (mended,) = re.findall(r'"(meta skuid \d+ return)"', reason)
        self.redirect(a, exception=mended)
        for one, other in ((a, b), (b, a)):
            done = one.call(other, "echo", "bb")
            self.assertEqual(done.stdout, "connected plain\necho 0 bb\n", done.stderr)
        self.assertEqual(self.totals(a), {"out": 3, "in": 1})
        self.assertEqual(self.totals(b), {"out": 1, "in": 1})

    def test_ipv4(self):
        self.check_loop(("198.19.78.1", "198.19.78.2"), request(0x106, b"\x03a=b\0", chid=1), "server_handshake")

    def test_ipv6(self):
        """The net keepalive, which no difference of methods keeps from going around."""
        self.check_loop(("fd5e:a2::1", "fd5e:a2::2"), KEEPALIVE + b"o", "server_relay")

    def test_whoever_is_not_redirected_has_nowhere_to_go_where_others_are(self):
        a, b = self.pair("198.19.78.5", "198.19.78.6")
        a.start_gateway()
        self.redirect(a, exception=f"meta skuid {GATEWAYS_USER} return")
        self.assertEqual(self.say(b, a.address, OUT_PORT, KEEPALIVE + b"o"), "reset")
        self.assertIn("nowhere to go on to", a.gateway.claimed(message="server unreachable")["reason"])
        self.assertEqual(self.totals(a), {"out": 1, "in": 0})
