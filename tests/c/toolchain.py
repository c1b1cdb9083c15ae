"""The library as installed, compilers, and the tools that watch programs run."""

import atexit
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.case import Case, Variant
from harness.process import program, run

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
EXAMPLES = ROOT / "c-examples"
HEADERS = ROOT / "include"

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# What watches a program makes its handshake slow, and no test is decided by time.
PLAIN = ["-O1", "-g", "-DHANDSHAKE_TIMEOUT_MS=300000"]

# A cold build, on a machine that is busy with something else.
BUILD_PATIENCE_S = 900


class CCase(Case):
    """A test that needs no gateway."""

    deadline_s = 120

    def __init__(self, method: str = "runTest"):
        super().__init__(method, Variant())

    def id(self) -> str:
        return super().id().replace("[default]", "")

    def run(self, result=None):
        # What is built once for all tests is on nobody's clock.
        if program("make") and program("cargo"):
            installed()
        return super().run(result)


@dataclass(frozen=True)
class Tree:
    """An installed library, staged in `root`."""

    root: Path
    prefix: str = "/usr"
    # The folder of libraries below usr/lib, where there is one for each architecture.
    multiarch: str = ""

    @property
    def include(self) -> Path:
        return self.root / "usr/include"

    @property
    def lib(self) -> Path:
        return self.root / "usr/lib" / self.multiarch

    @property
    def shared(self) -> Path:
        return self.lib / "libsealwire.so"

    def link(self) -> list[str]:
        return [f"-I{self.include}", f"-L{self.lib}", "-lsealwire", f"-Wl,-rpath,{self.lib}"]

    def pkg_config(self, *arguments: str) -> list[str]:
        env = os.environ | {"PKG_CONFIG_SYSROOT_DIR": str(self.root), "PKG_CONFIG_LIBDIR": str(self.lib / "pkgconfig")}
        return checked("pkg-config", *arguments, "sealwire", env=env).split()


@cache
def installed() -> Tree:
    return make_install("install-lib")


def make_install(target: str) -> Tree:
    root = Path(tempfile.mkdtemp(prefix="sealwire-tree-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    checked("make", "-C", ROOT, target, f"DESTDIR={root}", "PREFIX=/usr", timeout_s=BUILD_PATIENCE_S)
    return Tree(root)


@cache
def compiled(source: Path, *flags: str) -> Path:
    """A program of one file, linked with the shared library; made once for each set of flags."""
    folder = Path(tempfile.mkdtemp(prefix="sealwire-program-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = folder / source.stem
    compiler, standard = ("g++", "-std=c++17") if source.suffix == ".cc" else ("gcc", "-std=gnu11")
    checked(compiler, standard, *STRICT, *PLAIN, *flags, source, "-o", target, *installed().link())
    return target


def checked(*command, **options) -> str:
    """Runs a command that has to succeed, and gives its output."""
    done = run(*command, **({"timeout_s": 120} | options))
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise AssertionError(f"exit code {done.returncode} of {words}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Tool:
    """What watches a program run, and ends it with exit code 99 where it finds something."""

    name: str
    flags: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    def program(self, source: Path) -> Path:
        return compiled(source, *self.flags)

    def command(self, source: Path, *arguments) -> list:
        return [*self.launcher, self.program(source), *arguments]

    def environment(self) -> dict:
        return os.environ | dict(self.env)


SANITIZERS = Tool(
    "sanitizers",
    flags=("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
    env=(("ASAN_OPTIONS", "exitcode=99:detect_leaks=1"), ("UBSAN_OPTIONS", "exitcode=99")),
)
VALGRIND = Tool(
    "valgrind",
    launcher=(
        "valgrind",
        "--quiet",
        "--error-exitcode=99",
        "--leak-check=full",
        # A hash table of Rust's is held by a pointer into its middle, which is "possibly lost" to valgrind.
        "--show-leak-kinds=definite,indirect",
        "--errors-for-leak-kinds=definite,indirect",
    ),
)
# The library itself is not instrumented: what is watched is what C programs do with it.
THREADS = Tool(
    "threads",
    flags=("-fsanitize=thread",),
    env=(("TSAN_OPTIONS", "exitcode=99:ignore_noninstrumented_modules=1"),),
)
