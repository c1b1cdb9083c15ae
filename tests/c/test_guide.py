"""The documentation: its programs run, its fragments compile, its differences are those of the examples."""

import difflib
import re
from pathlib import Path

from harness import certs
from harness.case import free_port
from harness.process import Process, run
from toolchain import EXAMPLES, HEADERS, PLAIN, ROOT, STRICT, CCase, checked, compiled

GUIDE = ROOT / "docs/c-api.md"
DOCUMENTS = [GUIDE, ROOT / "README.md"]

# What a fragment may take as given.
GIVEN = """
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
void fragment(sealwire_conn *conn, const sealwire_config *config, int fd);
void fragment(sealwire_conn *conn, const sealwire_config *config, int fd)
{
    char buf[4096];
    size_t len = 0;
    sealwire_result result = SEALWIRE_OK;
    (void)conn, (void)config, (void)fd, (void)buf, (void)len, (void)result;
"""
GIVEN_CXX = """
#include <iostream>
#include <sealwire.hpp>
void fragment(int fd);
void fragment(int fd)
{
    char buf[4096];
"""


class Guide(CCase):
    needs = ("openssl",)

    def test_every_block_compiles(self):
        for document in DOCUMENTS:
            for number, (language, block) in enumerate(blocks(document)):
                with self.subTest(document.name, number=number):
                    self.compile(language, block)

    def test_twenty_lines_work(self):
        ask = next(block for _, block in blocks(GUIDE))
        body = ask[ask.index("sealwire_config_builder *builder") :]
        self.assertLessEqual(len(body.rstrip("}\n").splitlines()), 20)
        source = self.scratch / "ask.c"
        source.write_text(ask + (ROOT / "tests/c/programs/ask_main.inc").read_text())
        program, own, port = compiled(source), certs.authority(), self.s_server()
        self.assertEqual(checked(program, port, own.cert), "sutats\n\n")
        done = run(program, port, certs.authority("stranger").cert)
        self.assertEqual(done.returncode, 1)
        self.assertIn("test CA", done.stdout)

    def test_the_whole_client_works(self):
        block = next(block for _, block in blocks(GUIDE) if "int main(" in block)
        self.assertLess(len(block.splitlines()), 100)
        source = self.scratch / "client.c"
        source.write_text(block)
        program, port = compiled(source), self.s_server()
        arguments = ("localhost", port, certs.authority().cert, "status\n")
        self.assertEqual(checked(program, *arguments), "sutats\n")
        done = run(program, "127.0.0.1", free_port(), *arguments[2:])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("Connection refused", done.stderr)
        done = run(program, *arguments[:2], certs.authority("stranger").cert, "status\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("SEALWIRE_ERR_CERT_UNKNOWN_ISSUER", done.stderr)

    def test_differences_are_those_of_the_examples(self):
        shown = re.findall(r"```diff\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
        self.assertEqual(shown, [difference(name) for name in ("blocking_tool", "echo_server")])

    def test_names_what_exists(self):
        header = (HEADERS / "sealwire.h").read_text()
        for document in [*DOCUMENTS, ROOT / "packaging/sealwire.3"]:
            for name in re.findall(r"\b(?:sealwire_[a-z0-9_]+[a-z0-9]|SEALWIRE_[A-Z_]+[A-Z])\b", document.read_text()):
                self.assertRegex(header + "SEALWIRE_0", rf"\b{name}\b", document.name)

    def compile(self, language: str, block: str) -> None:
        is_whole = block.startswith("#include")
        source = self.scratch / f"block.{'cc' if language == 'cpp' else 'c'}"
        given = GIVEN_CXX if language == "cpp" else "#include <sealwire.h>" + GIVEN
        source.write_text(block if is_whole else given + block + "}\n")
        compiler = ["g++", "-std=c++11"] if language == "cpp" else ["gcc", "-std=gnu11"]
        checked(*compiler, *PLAIN, *STRICT, f"-I{HEADERS}", "-c", source, "-o", self.scratch / "block.o")

    def s_server(self) -> int:
        own, port = certs.server(), free_port()
        command = ["openssl", "s_server", "-quiet", "-rev", "-accept", f"127.0.0.1:{port}"]
        command += ["-cert", own.cert, "-key", own.key]
        self.start(Process("s_server", command, self.scratch / "s_server.log", port))
        return port


def blocks(document: Path) -> list[tuple[str, str]]:
    return re.findall(r"```(c|cpp)\n(.*?)```", document.read_text(), flags=re.DOTALL)


def difference(name: str) -> str:
    """What changed between the two forms of a program, with a line around it."""
    before, after = ((EXAMPLES / f"legacy/{name}{suffix}.c").read_text().splitlines() for suffix in ("", "_tls"))
    return "\n".join(list(difflib.unified_diff(before, after, n=1, lineterm=""))[2:]) + "\n"
