"""The header: every standard of C and C++, its macros, and its binary interface over time."""

import os
import re
import shutil
from pathlib import Path

from harness.process import program, run
from toolchain import HEADERS, ROOT, STRICT, CCase, checked, compiled

C_STANDARDS = ["c99", "c11", "c17", "c2x"]
CXX_STANDARDS = ["c++11", "c++14", "c++17", "c++20"]
# What `make abi` wrote of the header as it was committed.
DESCRIPTION = ROOT / "tests/c/sealwire.abi"
# Set in the environment, it writes the description rather than comparing it.
WRITE = "SEALWIRE_WRITE_ABI"


class Header(CCase):
    def test_compiles_alone_in_every_standard(self):
        sheets = [(["gcc", "clang"], C_STANDARDS, "c", "sealwire.h")]
        sheets += [(["g++", "clang++"], CXX_STANDARDS, "cc", name) for name in ("sealwire.h", "sealwire.hpp")]
        for compilers, standards, suffix, name in sheets:
            source = self.scratch / f"alone.{suffix}"
            source.write_text(f"#include <{name}>\n#include <{name}>\n")
            for compiler in filter(program, compilers):
                for standard in standards:
                    command = [compiler, f"-std={standard}", *STRICT, "-Wredundant-decls", "-Wundef"]
                    checked(*command, "-fsyntax-only", f"-I{HEADERS}", source)

    def test_says_the_version_of_the_library(self):
        checked(compiled(ROOT / "tests/c/programs/version.c"))

    def test_documents_every_function(self):
        text = (HEADERS / "sealwire.h").read_text()
        bare = re.findall(r"(?<!\*/\n)^SEALWIRE_API\s+[^;]*?(\w+)\(", text, flags=re.MULTILINE)
        self.assertEqual(bare, [])


class BinaryInterface(CCase):
    """The header is compiled to a library of empty functions, whose types are described and compared.

    The real library would not do: its debug information has Rust's types, which the header does not promise.
    """

    needs = ("abidw", "abidiff")

    def setUp(self):
        super().setUp()
        self.header = (HEADERS / "sealwire.h").read_text()

    def test_is_the_one_that_is_described(self):
        if os.environ.get(WRITE):
            shutil.copy(self.described(self.header), DESCRIPTION)
        changes = self.changes(DESCRIPTION, self.described(self.header), "--no-added-syms")
        self.assertEqual(changes, "", "an incompatible change: it needs a new soname; then `make abi`")
        added = self.changes(DESCRIPTION, self.described(self.header))
        self.assertEqual(added, "", "there are functions that are not described: `make abi`")

    def test_a_change_is_told_from_an_addition(self):
        compatible = {
            "a function more": ("\nSEALWIRE_API\n", "\nSEALWIRE_API int sealwire_more(int);\nSEALWIRE_API\n"),
            "a result more": ("SEALWIRE_ERR_PANIC = -902,", "SEALWIRE_ERR_PANIC = -902, SEALWIRE_ERR_MORE = -999,"),
        }
        incompatible = {
            "a function less": ("SEALWIRE_API size_t sealwire_conn_queued", "size_t sealwire_conn_queued"),
            "another number": ("SEALWIRE_EOF = 3", "SEALWIRE_EOF = 4"),
            "another parameter": ("uint32_t timeout_ms", "uint64_t timeout_ms"),
            "another handle": ("_flush(sealwire_conn *conn)", "_flush(sealwire_config *conn)"),
            "another return": ("bool sealwire_conn_wants_read", "int sealwire_conn_wants_read"),
            "another field": ("uint64_t reserved[3]", "uint64_t reserved[4]"),
        }
        before = self.described(self.header)
        for cases, is_change in ((compatible, False), (incompatible, True)):
            for name, (old, new) in cases.items():
                with self.subTest(name):
                    changed = self.header.replace(old, new, 1)
                    self.assertNotEqual(changed, self.header)
                    found = self.changes(before, self.described(changed), "--no-added-syms")
                    self.assertEqual(bool(found), is_change, found)

    def described(self, header: str) -> Path:
        folder = self.scratch / str(len(list(self.scratch.iterdir())))
        folder.mkdir()
        return describe(header, folder)

    def changes(self, old: Path, new: Path, *flags: str) -> str:
        done = run("abidiff", *flags, old, new, timeout_s=60)
        # Bits 1 and 2: it could not compare.
        self.assertEqual(done.returncode & 3, 0, done.stderr)
        return done.stdout if done.returncode else ""


def describe(header: str, folder: Path) -> Path:
    """The description of the binary interface that a header promises. As C++ knows it, where results have a type."""
    (folder / "sealwire.h").write_text(header)
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    prototypes = re.findall(r"^SEALWIRE_API\s+([^;]+?);", text, flags=re.MULTILINE)
    bodies = "".join(f"{prototype}\n{{\n    __builtin_trap();\n}}\n" for prototype in prototypes)
    source, library, description = folder / "empty.cc", folder / "empty.so", folder / "sealwire.abi"
    source.write_text(f'#include "sealwire.h"\nextern "C" {{\n{bodies}}}\n')
    command = ["g++", "-g", "-O0", "-shared", "-fPIC", f"-ffile-prefix-map={folder}=.", "-Wl,-soname,libsealwire.so.0"]
    checked(*command, source, "-o", library)
    checked("abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--out-file", description, library)
    return description
