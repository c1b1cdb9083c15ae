#!/usr/bin/env python3
"""Makes Debian packages of what `make install` has staged, by dpkg-dev's own programs.

    deb.py STAGED OUT VERSION SOVERSION

Each file of STAGED is in one package; what a package needs is what its programs and libraries are linked with.
"""

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Package:
    name: str
    section: str
    description: str
    # Of the paths of its files.
    pattern: str
    depends: str = ""


def packages(version: str, soversion: str) -> list[Package]:
    """The first one whose pattern fits has a file."""
    library = f"libsealwire{soversion}"
    return [
        Package("sealwire", "net", "encrypted transport for database connections", r"usr/bin/|.*/man1/"),
        Package(library, "libs", "encrypted transport for database connections, as a library",
                r".*/libsealwire\.so\.\d"),
        Package("libsealwire-dev", "libdevel", "headers of Sealwire's library", r".*", f"{library} (= {version})"),
    ]


def main(staged: str, out: str, version: str, soversion: str) -> int:
    # dpkg-deb refuses folders that others cannot read.
    os.umask(0o022)
    staged, out = Path(staged), Path(out)
    wanted = packages(version, soversion)
    licences = [ROOT / "LICENSE-MIT", ROOT / "LICENSE-APACHE", staged / "usr/share/doc/sealwire/THIRD-PARTY.txt"]
    copyright = "\n".join(path.read_text() for path in licences)
    for path in sorted(staged.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        relative = path.relative_to(staged)
        package = next(package for package in wanted if re.match(package.pattern, str(relative)))
        target = out / package.name / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for package in wanted:
        print(build(package, out, version, soversion, copyright))
    return 0


def build(package: Package, out: Path, version: str, soversion: str, copyright: str) -> Path:
    tree = out / package.name
    doc = tree / "usr/share/doc" / package.name
    doc.mkdir(parents=True, exist_ok=True)
    (doc / "copyright").write_text(copyright)
    control = tree / "DEBIAN"
    control.mkdir()
    if package.section == "libs":
        (control / "shlibs").write_text(f"libsealwire {soversion} {package.name} (>= {version})\n")
        (control / "triggers").write_text("activate-noawait ldconfig\n")
    architecture = said("dpkg", "--print-architecture")
    fields = {
        "Package": package.name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": maintainer(),
        "Section": package.section,
        "Priority": "optional",
        "Depends": package.depends or needed(tree, out),
        "Description": package.description,
    }
    (control / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    made = out / f"{package.name}_{version}_{architecture}.deb"
    # The archive for static linking is large, and the strongest compression takes a minute.
    said("dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree, made)
    shutil.rmtree(tree)
    return made


def maintainer() -> str:
    """Whoever makes the package, as Debian's own tools are told."""
    user = getpass.getuser()
    address = os.environ.get("DEBEMAIL") or f"{user}@{socket.gethostname()}"
    return f"{os.environ.get('DEBFULLNAME') or user} <{address}>"


def needed(tree: Path, out: Path) -> str:
    """The packages of what the files of a package are linked with."""
    linked = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink() and is_elf(path)]
    # dpkg-shlibdeps wants to be where a package's source is.
    source = out / "debian/control"
    source.parent.mkdir(exist_ok=True)
    source.write_text("Source: sealwire\n\nPackage: sealwire\nArchitecture: any\n")
    words = (f"-e{path.relative_to(out)}" for path in linked)
    depends = said("dpkg-shlibdeps", "-O", *words, cwd=out)
    shutil.rmtree(source.parent)
    return depends.removeprefix("shlibs:Depends=")


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def said(*command, **options) -> str:
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, **options)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
