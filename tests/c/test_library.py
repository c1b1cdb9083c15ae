"""What is in the library, and what of it can be seen."""

import re
import tomllib

from harness.process import run
from toolchain import BUILT, HEADERS, ROOT, CCase, checked, installed, make_install


def functions_of_header() -> set[str]:
    text = re.sub(r"/\*.*?\*/", "", (HEADERS / "sealwire.h").read_text(), flags=re.DOTALL)
    return set(re.findall(r"\b(sealwire_\w+)\(", text))


class SharedLibrary(CCase):
    def test_exports_the_functions_of_the_header_and_nothing_else(self):
        lines = checked("nm", "-D", "--defined-only", "--with-symbol-versions", installed().shared).splitlines()
        symbols = [line.split()[-1] for line in lines if " A " not in line]
        self.assertEqual({symbol.removesuffix("@@SEALWIRE_0") for symbol in symbols}, functions_of_header())
        self.assertEqual([symbol for symbol in symbols if not symbol.endswith("@@SEALWIRE_0")], [])

    def test_has_a_soname_and_links_that_lead_to_it(self):
        tree = installed()
        self.assertIn("Library soname: [libsealwire.so.0]", checked("readelf", "-d", tree.shared))
        self.assertEqual((tree.lib / "libsealwire.so").readlink().name, "libsealwire.so.0")
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        self.assertEqual((tree.lib / "libsealwire.so.0").readlink().name, f"libsealwire.so.{version}")

    def test_needs_the_system_only(self):
        needed = re.findall(r"Shared library: \[(.*?)\]", checked("readelf", "-d", installed().shared))
        self.assertLessEqual(set(needed), {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"})

    def test_holds_nothing_of_the_command_line(self):
        names = checked("nm", "-C", BUILT / "release/libsealwire.a", timeout_s=60)
        self.assertNotIn("clap_builder::", names)
        self.assertNotIn("sealwire::gateway::", names)


class Package(CCase):
    # The command line is built too.
    deadline_s = 900

    def test_unwinds_on_panic(self):
        """A panic becomes a result only where it unwinds, and every profile has to leave it so."""
        profiles = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]
        self.assertEqual(profiles["release"]["panic"], "unwind")
        for name, profile in profiles.items():
            self.assertEqual(profile.get("panic", "unwind"), "unwind", name)

    def test_brings_the_licences_of_what_it_contains(self):
        text = (installed().root / "usr/share/doc/sealwire/THIRD-PARTY.txt").read_text()
        for crate in ("aws-lc-sys", "rustls", "io-uring", "libc"):
            self.assertIn(f"\n{crate} ", text)
        self.assertNotIn("\nclap ", text)
        self.assertIn("Permission to use, copy, modify, and/or distribute", text)

    def test_brings_manual_pages_and_a_command_line(self):
        tree = installed()
        pages = [tree.root / "usr/share/man/man3/sealwire.3"]
        binaries = make_install("install-bin")
        pages.append(binaries.root / "usr/share/man/man1/sealwire.1")
        for page in pages:
            done = run("man", "--warnings", "-Tascii", "-l", page)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        help_text = checked(binaries.root / "usr/bin/sealwire", "--help")
        commands = re.findall(r"^  ([a-z]+) ", help_text.split("Commands:")[1].split("Options:")[0], re.MULTILINE)
        page = pages[1].read_text()
        for command in set(commands) - {"help"}:
            self.assertIn(f"\n.B {command}\n", page)
