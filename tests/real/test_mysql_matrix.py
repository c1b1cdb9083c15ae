"""Client side by server side by server by authentication plugin, with our own peer and with every driver."""

from harness import databases, drivers, pki
from harness.databases import PASSWORD
from harness.mysql_case import (
    CLIENT_SIDES,
    PLAIN,
    SERVER_SIDES,
    TLS_1_2,
    TLS_1_3,
    WAYS,
    MysqlCase,
    client_side,
    enter,
    greeted,
    port_of,
    route,
    server_side,
)
from peers import mysql as protocol

# Server sides over which the server's own leg is encrypted.
ENCRYPTED = ("danger-preferred", "verify-ca", "verify-full")


class Matrix(MysqlCase):
    deadline_s = 180

    def start_gateway(self, database) -> dict[tuple[str, str], dict]:
        """One gateway with a route for each legal pair of sides."""
        self.database = database
        sides = [side for side in SERVER_SIDES if side != "unix" or database.socket]
        self.routes = {
            (client, server): route(f"{client} to {server}", client_side(client), self.server_side(client, server))
            for client in CLIENT_SIDES
            for server in sides
            if client != "passthrough" or server == "off"
        }
        proxy = self.gateway(*self.routes.values())
        # Refused logins are part of the matrix, and danger-preferred warns at the start.
        proxy.judges_failures = False
        return self.routes

    def server_side(self, client: str, tls: str) -> dict:
        side = server_side(self.database, tls)
        if self.database.kind == "mysql" and tls == "off" and client in ("preferred", "required"):
            side["server_public_key"] = self.database.public_key
        return side

    def check(self, database):
        """Each way gets in where it may, and the server sees TLS exactly where its leg has it."""
        for (client, server), made in self.start_gateway(database).items():
            for way in (PLAIN, TLS_1_2, TLS_1_3):
                with self.subTest(client=client, server=server, way=way):
                    self.check_cell(port_of(made), client, server, way)

    def check_cell(self, port: int, client: str, server: str, way: str):
        if way not in WAYS[client]:
            self.check_barred(port, client)
            return
        for account in self.database.accounts.values():
            for _ in ("full", "fast"):
                with enter(port, account, way) as session:
                    self.assertEqual(session.query(f"SELECT '{way}'").rows, [(way,)])
                    self.assertEqual(session.tls_version, None if way == PLAIN else way)
                    session.quit()
            self.refused(1045, self.database.refused_state, lambda: enter(port, account, way, "wrong"))
            self.database.forget_passwords()
        is_encrypted = server in ENCRYPTED or client == "passthrough" and way != PLAIN
        if is_encrypted:
            enter(port, "u_ssl", way).quit()
        else:
            self.refused(1045, self.database.refused_state, lambda: enter(port, "u_ssl", way))

    def check_barred(self, port: int, client: str):
        if client == "off":
            with greeted(port) as session:
                self.assertFalse(session.greeting.capabilities & protocol.SSL, "TLS is offered")
        else:
            self.refused(3159, "HY000", lambda: enter(port, "native", PLAIN))

    def test_mariadb(self):
        self.check(databases.mariadb())

    def test_seekdb(self):
        self.check(databases.seekdb())

    def test_mysql(self):
        self.check(databases.mysql())

    def check_drivers(self, database, *chosen):
        """Each driver through each route; those that are barred are told so."""
        routes = self.start_gateway(database)
        for driver in chosen:
            driver.check()
            targets, barred = [], []
            for (client, _), made in routes.items():
                plain = drivers.Target("127.0.0.1", port_of(made), next(iter(database.accounts.values())))
                encrypted = plain.but(ca=database.ca)
                (barred if client == "required" else targets).append(plain)
                (barred if client == "off" else targets).append(encrypted)
                if client == "required":
                    targets += [encrypted.but(version=version) for version in (TLS_1_2, TLS_1_3)]
            if not driver.asks_for_key and database.kind == "mysql":
                targets = [target for target in targets if target.ca]
            for target, found in zip(targets, driver.ask_each(targets, "SELECT 'here'")):
                with self.subTest(driver=driver.name, target=target):
                    self.assertEqual(found, [("here",)])
            for target, found in zip(barred, driver.ask_each(barred, "SELECT 'here'")):
                with self.subTest(driver=driver.name, barred=target):
                    self.assertIsInstance(found, drivers.Refused)
                    if target.ca is None:
                        self.assertEqual(found.code, 3159)

    def test_mariadb_drivers(self):
        chosen = (drivers.MariadbCli(), drivers.PyMysql(), drivers.Connector(), drivers.Mysql2())
        self.check_drivers(databases.mariadb(), *chosen)

    def test_seekdb_drivers(self):
        chosen = (drivers.MariadbCli(), drivers.PyMysql(), drivers.Connector(), drivers.Mysql2())
        self.check_drivers(databases.seekdb(), *chosen)

    def test_mysql_drivers(self):
        chosen = (drivers.MysqlCli(), drivers.PyMysql(), drivers.Connector(), drivers.Mysql2())
        self.check_drivers(databases.mysql(), *chosen)


class PlainServers(MysqlCase):
    """Servers whose greeting offers no TLS."""

    def check(self, database):
        sides = ("off", "danger-preferred", "verify-ca", "verify-full")
        routes = {side: route(side, client_side("preferred"), server_side(database, side)) for side in sides}
        proxy = self.gateway(*routes.values())
        proxy.judges_failures = False
        for side in ("off", "danger-preferred"):
            for way in WAYS["preferred"]:
                with self.subTest(side=side, way=way), enter(port_of(routes[side]), "native", way) as session:
                    self.assertEqual(session.query("SELECT 1").rows, [("1",)])
        for side in ("verify-ca", "verify-full"):
            for way in WAYS["preferred"]:
                # The answer to the server's greeting, so before the client has one, and without an SQLSTATE.
                with self.subTest(side=side, way=way):
                    self.refused(2026, None, lambda: enter(port_of(routes[side]), "native", way))
            event = proxy.wait_event(level="WARN", route=side, message="handshake failed")
            self.assertIn("offers no TLS", event["reason"])

    def test_mariadb(self):
        self.check(databases.plain_mariadb())

    def test_seekdb(self):
        server = databases.seekdb()
        with server.without_tls():
            self.check(server)

    def test_danger_preferred_is_warned_of(self):
        """At the start, by name."""
        made = route("stripped", client_side("preferred"), server_side(databases.plain_mariadb(), "danger-preferred"))
        proxy = self.gateway(made)
        event = proxy.claimed(level="WARN", route="stripped")
        self.assertIn("danger-preferred", str(event))


class Verification(MysqlCase):
    """The server's certificate: a wrong authority and a wrong name are refused by name."""

    def check(self, database):
        other = pki.authority("Other CA").cert
        cases = {
            "another authority, full": (server_side(database, "verify-full", ca=other), True),
            "another authority": (server_side(database, "verify-ca", ca=other), True),
            "another name, full": (server_side(database, "verify-full", server_name="db.example"), True),
            "another name": (server_side(database, "verify-ca", server_name="db.example"), False),
            "its name": (server_side(database, "verify-full", server_name="localhost"), False),
        }
        routes = {title: route(title, client_side("preferred"), side) for title, (side, _) in cases.items()}
        proxy = self.gateway(*routes.values())
        proxy.judges_failures = False
        for title, (_, is_refused) in cases.items():
            for way in (PLAIN, TLS_1_3):
                with self.subTest(title=title, way=way):
                    port = port_of(routes[title])
                    if not is_refused:
                        enter(port, "native", way).quit()
                        continue
                    error = self.refused(2026, "HY000", lambda: enter(port, "native", way))
                    # Whoever has not logged in learns the class of the failure, not what is where.
                    self.assertNotIn("db.example", error.message)
                    self.assertNotIn("Test CA", error.message)
        reasons = {title: str(proxy.events(level="WARN", route=title)) for title in cases}
        self.assertIn("db.example", reasons["another name, full"])
        self.assertRegex(reasons["another authority, full"], "(?i)issuer|authority|ca")

    def test_mariadb(self):
        self.check(databases.mariadb())

    def test_seekdb(self):
        self.check(databases.seekdb())

    def test_client_is_told_of_another_authority(self):
        """And clients refuse the gateway where it is not who it should be."""
        made = route("test", client_side("required"), server_side(databases.mariadb(), "off"))
        proxy = self.gateway(made)
        proxy.judges_failures = False
        target = drivers.Target("127.0.0.1", proxy.port, "native", ca=pki.authority("Other CA").cert)
        for driver in (drivers.MariadbCli(), drivers.PyMysql(), drivers.Connector(), drivers.Mysql2()):
            driver.check()
            with self.subTest(driver=driver.name):
                self.assertIsInstance(driver.ask_each([target], "SELECT 1")[0], drivers.Refused)
        self.assertTrue(enter(proxy.port, "native", password=PASSWORD).query("SELECT 1").rows)
