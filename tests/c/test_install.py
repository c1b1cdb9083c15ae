"""Projects that use the installed library, found by pkg-config and by CMake, shared and static, in C and in C++."""

import tomllib

from toolchain import BUILT, ROOT, STRICT, CCase, checked, installed

CONSUMER = ROOT / "tests/c/consumer"


class Consumers(CCase):
    def setUp(self):
        super().setUp()
        self.tree = installed()
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        # Some systems have them in their libc, so that it takes more than a link to see that they are named.
        self.needed = set((BUILT / "c/native-static-libs").read_text().split())
        self.said = f"{version}: a server needs an identity: a certificate and its key\n"

    def test_by_pkg_config(self):
        self.assertTrue(self.said.startswith(self.tree.pkg_config("--modversion")[0]))
        self.assertLessEqual(self.needed, set(self.tree.pkg_config("--static", "--libs")))
        compilers = {"consumer.c": ["gcc", "-std=c11"], "consumer.cc": ["g++", "-std=c++11"]}
        for source, compiler in compilers.items():
            for is_static in (False, True):
                with self.subTest(source, is_static=is_static):
                    self.judge(self.built(compiler, source, is_static), is_static)

    def test_by_cmake(self):
        build = self.scratch / "build"
        checked("cmake", "-S", CONSUMER, "-B", build, f"-DCMAKE_PREFIX_PATH={self.tree.root / 'usr'}")
        checked("cmake", "--build", build)
        for language in ("c", "cxx"):
            linked = (build / f"CMakeFiles/{language}_static.dir/link.txt").read_text()
            self.assertLessEqual(self.needed, set(linked.split()))
            self.judge(build / f"{language}_sealwire", is_static=False)
            self.judge(build / f"{language}_static", is_static=True)

    def built(self, compiler: list[str], source: str, is_static: bool):
        program = self.scratch / f"{source}-{is_static}"
        libraries = self.tree.pkg_config("--libs", *["--static"] * is_static)
        if is_static:
            # The linker would prefer the shared library of the same folder.
            libraries = [word.replace("-lsealwire", "-l:libsealwire.a") for word in libraries]
        flags = [*STRICT, *self.tree.pkg_config("--cflags"), CONSUMER / source, "-o", program, *libraries]
        checked(*compiler, *flags, f"-Wl,-rpath,{self.tree.lib}")
        return program

    def judge(self, program, is_static: bool) -> None:
        self.assertEqual(checked(program), self.said)
        self.assertEqual("libsealwire.so.0" in checked("readelf", "-d", program), not is_static)
