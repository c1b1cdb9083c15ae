"""What tests of MySQL routes have in common: their routes, logins through them, and what the log says of a peer."""

import re
import socket
import ssl
from collections import Counter

from peers.mysql import Client, ServerError

from . import clients, pki
from .case import Case, free_port
from .databases import PASSWORD, Database
from .gateway import Gateway

# What the two sides of a route may be. A server side of `unix` is a plain one over a socket of that kind.
CLIENT_SIDES = ("off", "preferred", "required", "passthrough")
SERVER_SIDES = ("off", "unix", "danger-preferred", "verify-ca", "verify-full")

# The ways in which a client comes, and on which client sides it gets in.
PLAIN, TLS_1_2, TLS_1_3 = "plain", "TLSv1.2", "TLSv1.3"
VERSIONS = {TLS_1_2: ssl.TLSVersion.TLSv1_2, TLS_1_3: ssl.TLSVersion.TLSv1_3}
WAYS = {
    "off": (PLAIN,),
    "preferred": (PLAIN, TLS_1_2, TLS_1_3),
    "required": (TLS_1_2, TLS_1_3),
    "passthrough": (PLAIN, TLS_1_2, TLS_1_3),
}


class MysqlCase(Case):
    def gateway(self, *routes: dict, **settings) -> Gateway:
        """Peers of this protocol close without a close_notify, and without reading the tickets that came meanwhile."""
        # Judged when the gateway has stopped, since cleanups run in reverse.
        reporting: list[Gateway] = []
        self.addCleanup(lambda: [self.check_counters(gateway) for gateway in reporting])
        gateway = super().gateway(*routes, **settings)
        reporting.append(gateway)
        gateway.tolerated = {"truncated", "io"}
        return gateway

    def check_counters(self, gateway: Gateway) -> None:
        """Each failure that has a line in the log is counted, by its class, in what its route says at the end."""
        for totals in gateway.events(message="route totals"):
            lines = Counter(event["class"] for event in gateway.failures(route=totals["route"]))
            counted = Counter({name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", totals["failures"])})
            # Refusals for want of room have one line for many.
            lines["limit"], counted["limit"] = min(lines["limit"], counted["limit"]), lines["limit"]
            self.assertEqual(+lines, +counted, totals)

    def refused(self, code: int, state: str | None, attempt) -> ServerError:
        """The ERR packet that answers an attempt."""
        with self.assertRaises(ServerError) as found:
            attempt().close()
        error = found.exception
        self.assertEqual((error.code, error.state), (code, state), error.message)
        return error

    def reported(self, gateway: Gateway, peer: str, words: str) -> dict:
        """The one line about the failed connection of this peer: a warning that says what the pattern asks for."""
        gateway.until(lambda: gateway.failures(peer=peer), f"a failure of {peer}")
        event = gateway.claimed(peer=peer, number=gateway.failures(peer=peer)[0]["number"])
        self.assertEqual(len(gateway.failures(peer=peer)), 1, gateway.failures(peer=peer))
        self.assertEqual(event.get("route"), gateway.routes[0]["name"], event)
        self.assertTrue(event.get("reason"), event)
        text = " ".join(str(event.get(field, "")) for field in ("message", "class", "reason", "stage"))
        self.assertRegex(text, re.compile(words, re.IGNORECASE))
        self.assertEqual(event["level"], "WARN", event)
        return event


def route(name: str, client: dict, server: dict, **changes) -> dict:
    listen = [f"127.0.0.1:{free_port()}"]
    return {"name": name, "protocol": "mysql", "listen": listen, "client": client, "server": server} | changes


def client_side(tls: str, **changes) -> dict:
    if tls in ("off", "passthrough"):
        return {"tls": tls} | changes
    own = pki.server()
    return {"tls": tls, "cert": own.cert, "key": own.key} | changes


def server_side(database: Database, tls: str, **changes) -> dict:
    if tls == "unix":
        return {"tls": "off", "address": f"unix:{database.socket}"} | changes
    side = {"tls": tls, "address": database.address}
    if tls.startswith("verify"):
        side["ca"] = database.ca
    return side | changes


def to_address(address: str, tls: str = "off", **changes) -> dict:
    """A server side for a server of the tests' own."""
    side = {"tls": tls, "address": address}
    return side | ({"ca": pki.authority().cert} if tls.startswith("verify") else {}) | changes


def port_of(route: dict) -> int:
    return int(route["listen"][0].rsplit(":", 1)[1])


def context_of(way: str, identity: pki.Pair | None = None) -> ssl.SSLContext | None:
    return None if way == PLAIN else pki.context(identity, VERSIONS.get(way))


def enter(port: int, user: str, way: str = TLS_1_3, password: str = PASSWORD, **options) -> Client:
    """A session through the gateway."""
    return Client.connect("127.0.0.1", port, user, password, context_of(way), **options)


def greeted(port: int, timeout_s: float = 20) -> Client:
    """A client that has read the greeting and done nothing yet."""
    client = Client(clients.plain(port, timeout_s=timeout_s))
    client.greet()
    return client


def name(client: Client) -> str:
    """Its own address, as the gateway logs it."""
    return clients.name(client.wire.socket)


def read_whole(connection: socket.socket) -> bytes:
    """Everything up to the end, which is a reset where something that we sent was left unread."""
    data = b""
    try:
        while more := connection.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


def reset(connection: socket.socket) -> None:
    """Ends by a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
