#!/usr/bin/env python3
"""Prints the licences of everything that is inside the C library: its crates, and the parts of Rust's own library.

What is inside is asked of cargo, and the words are those of the files that each crate brings.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

CARGO = os.environ.get("CARGO", "cargo")
RULE = "=" * 79


def main() -> int:
    texts: dict[str, list[str]] = {}
    lines = []
    for package in linked_packages():
        title = f"{package['name']} {package['version']}"
        found = licence_files(Path(package["manifest_path"]).parent)
        if not found:
            lines.append(f"{title}: {package['license']}; the crate brings no text, see {package['repository']}")
            continue
        lines.append(f"{title}: {package['license']}")
        for path in found:
            texts.setdefault(path.read_text(errors="replace").strip(), []).append(f"{title} ({path.name})")
    texts |= rust_itself()
    print("The Sealwire library contains the following software.\n")
    print("\n".join(lines))
    for text, owners in texts.items():
        print(f"\n{RULE}\n{', '.join(owners)}\n{RULE}\n\n{text}")
    return 0


def linked_packages() -> list[dict]:
    """Every package that is linked, and none that only runs while something is built."""
    tree = ["tree", "--no-default-features", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
    names = {tuple(line.split()[:2]) for line in output(CARGO, *tree).splitlines()}
    metadata = json.loads(output(CARGO, "metadata", "--format-version", "1"))
    root = metadata["resolve"]["root"]
    packages = [package for package in metadata["packages"] if package["id"] != root]
    return [package for package in packages if (package["name"], f"v{package['version']}") in names]


def licence_files(folder: Path) -> list[Path]:
    is_licence = re.compile(r"(licen[cs]e|copying|copyright|notice)([-._].*)?$", re.IGNORECASE)
    return sorted(path for path in folder.iterdir() if path.is_file() and is_licence.match(path.name))


def rust_itself() -> dict[str, list[str]]:
    """Rust's own library and what is in it."""
    path = Path(output("rustc", "--print", "sysroot").strip()) / "share/doc/rust/COPYRIGHT-library.html"
    return {path.read_text(): [f"Rust ({path.name})"]} if path.exists() else {}


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
