"""Projects that use the installed library, found by pkg-config and by CMake, shared and static, in C and in C++."""

import tomllib

from harness.process import program
from toolchain import BUILD_PATIENCE_S, BUILT, ROOT, STRICT, CCase, Tree, checked, installed

CONSUMER = ROOT / "tests/c/consumer"


class Consumers(CCase):
    # The packages have the command line too, which is built then where it was not.
    deadline_s = BUILD_PATIENCE_S

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

    def test_by_debian_packages(self):
        if program("dpkg-shlibdeps") is None:
            self.skipTest("dpkg-dev is not installed")
        checked("make", "-C", ROOT, "deb", f"DEB={self.scratch}", timeout_s=BUILD_PATIENCE_S)
        library = self.said.split(":")[0]
        depends = {"sealwire": "libc6", "libsealwire0": "libc6", "libsealwire-dev": f"libsealwire0 (= {library})"}
        for name, needed in depends.items():
            (package,) = self.scratch.glob(f"{name}_{library}_*.deb")
            self.assertIn(needed, checked("dpkg-deb", "-f", package, "Depends"))
            checked("dpkg-deb", "-x", package, self.scratch / "root")
        self.tree = Tree(self.scratch / "root", multiarch=checked("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip())
        self.judge(self.built(["gcc", "-std=c11"], "consumer.c", is_static=False), is_static=False)
        self.assertEqual(checked(self.tree.root / "usr/bin/sealwire", "--version"), f"sealwire {library}\n")

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
