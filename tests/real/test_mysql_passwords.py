"""Full authentication at a real MySQL by the clients that people use, whichever leg is encrypted."""

from pathlib import Path

from harness import databases, drivers
from harness.mysql_case import MysqlCase, client_side, port_of, route, server_side

# How the client comes, and how the gateway goes on.
PLAIN, TLS = "plain", "TLS"
SIDES = ("off", "unix", "danger-preferred", "verify-full")
LEGS = [(client, side) for client in (PLAIN, TLS) for side in SIDES]


class Passwords(MysqlCase):
    deadline_s = 180

    def start_gateway(self, **changes) -> dict[str, int]:
        """One route for each server side: its port."""
        self.database = databases.mysql()
        routes = {side: self.route(side, changes) for side in SIDES}
        proxy = self.gateway(*routes.values())
        # Refused logins are part of the test, and danger-preferred warns at the start.
        proxy.judges_failures = False
        return {side: port_of(route) for side, route in routes.items()}

    def route(self, side: str, changes: dict) -> dict:
        is_plain = side in ("off", "danger-preferred")
        return route(side, client_side("preferred"), server_side(self.database, side, **(changes if is_plain else {})))

    def check(self, driver, accounts=("caching", "sha256"), **changes):
        driver.check()
        ports = self.start_gateway(**(changes or {"server_public_key": self.key()}))
        for client, side in LEGS:
            if client == PLAIN and not driver.asks_for_key:
                continue
            for account in accounts:
                target = drivers.Target("127.0.0.1", ports[side], account)
                if client == TLS:
                    target = target.but(ca=self.database.ca)
                with self.subTest(client=client, server=side, account=account):
                    self.check_logins(driver, target)

    def check_logins(self, driver, target: drivers.Target):
        self.database.forget_passwords()
        for _ in ("full", "fast"):
            self.assertEqual(driver.ask_each([target], "SELECT 'in'"), [[("in",)]])
        self.database.forget_passwords()
        (refused,) = driver.ask_each([target.but(password="wrong")], "SELECT 'in'")
        self.assertIsInstance(refused, drivers.Refused)
        self.assertEqual(refused.code, 1045, refused)

    @staticmethod
    def key() -> Path:
        return databases.mysql().public_key

    def test_mysql_cli(self):
        self.check(drivers.MysqlCli())

    def test_mysql_cli_with_a_key_that_is_fetched(self):
        self.check(drivers.MysqlCli(), danger_fetch_server_public_key=True)

    def test_pymysql(self):
        self.check(drivers.PyMysql())

    def test_connector_python(self):
        self.check(drivers.Connector(), accounts=("caching",))

    def test_mysql2(self):
        self.check(drivers.Mysql2(), accounts=("caching",))

    def test_clients_that_have_the_servers_key(self):
        """They can log in where the server takes what they encrypt, and are told so where the gateway has to read it."""
        driver = drivers.MysqlCli()
        driver.check()
        ports = self.start_gateway()
        pinned = f"--server-public-key-path=/{self.key().relative_to(databases.mysql_tree())}"
        for account in ("caching", "sha256"):
            for side, passes in (("off", True), ("verify-full", False)):
                target = drivers.Target("127.0.0.1", ports[side], account)
                self.database.forget_passwords()
                with self.subTest(account=account, side=side):
                    if passes:
                        self.assertEqual(driver.ask(target, "SELECT 'in'", pinned), [("in",)])
                        continue
                    with self.assertRaises(drivers.Refused) as found:
                        driver.ask(target, "SELECT 'in'", pinned)
                    self.assertEqual(found.exception.code, 3159)
                    self.assertIn("the gateway's key", found.exception.message)

    def test_without_a_key(self):
        """Each client shows what is missing."""
        ports = self.start_gateway()
        for driver in (drivers.MysqlCli(), drivers.PyMysql(), drivers.Connector()):
            driver.check()
            self.database.forget_passwords()
            target = drivers.Target("127.0.0.1", ports["off"], "caching", ca=self.database.ca)
            (refused,) = driver.ask_each([target], "SELECT 'in'")
            with self.subTest(driver.name):
                self.assertIsInstance(refused, drivers.Refused)
                self.assertEqual(refused.code, 3159)
                self.assertIn("danger_fetch_server_public_key", refused.message)
