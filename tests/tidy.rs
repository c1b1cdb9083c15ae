//! The rules of CONTRIBUTING.md that the compiler does not check.
//!
//! Each rule is a function from a file to findings (`file:line: what is wrong`), has one test over
//! the whole tree, and one over a few lines that break it.

#[path = "tidy/markdown.rs"]
mod markdown;
#[path = "tidy/rust.rs"]
mod rust;

use std::fs;
use std::path::{Path, PathBuf};

use rust::{Source, Token};

/// A room of `src/`, the rooms that it may import, and whether it belongs to the core.
struct Room {
    name: &'static str,
    imports: &'static [&'static str],
    is_core: bool,
}

const BASE: &[&str] = &["error", "limits", "time"];
const BELOW_TLS: &[&str] = &["error", "limits", "time", "wire", "buf"];
const BELOW_CONN: &[&str] = &["error", "limits", "time", "wire", "buf", "frame", "tls"];
const BELOW_RPC: &[&str] = &["error", "limits", "time", "wire", "buf", "frame"];
const BELOW_ENGINE: &[&str] = &[
    "error", "limits", "time", "wire", "buf", "frame", "tls", "conn",
];
const BELOW_GATEWAY: &[&str] = &[
    "error", "limits", "time", "wire", "buf", "frame", "tls", "conn", "rpc", "engine",
];
const BELOW_STREAM: &[&str] = &[
    "error", "limits", "time", "wire", "buf", "frame", "tls", "conn", "endpoint", "engine",
];
const BELOW_FFI: &[&str] = &[
    "error", "limits", "time", "wire", "buf", "frame", "tls", "conn", "endpoint", "rpc", "engine",
    "stream",
];
const BELOW_CLI: &[&str] = &[
    "error", "limits", "time", "wire", "buf", "frame", "tls", "conn", "rpc", "engine", "stream",
    "gateway",
];

const ROOMS: &[Room] = &[
    Room::core("error", BASE),
    Room::core("limits", BASE),
    Room::core("time", BASE),
    Room::core("wire", BASE),
    Room::core("buf", BASE),
    Room::core("frame", BELOW_TLS),
    Room::core("tls", BELOW_TLS),
    Room::core("conn", BELOW_CONN),
    Room::core("endpoint", BELOW_ENGINE),
    Room::core("rpc", BELOW_RPC),
    Room::shell("engine", BELOW_ENGINE),
    Room::shell("stream", BELOW_STREAM),
    Room::shell("ffi", BELOW_FFI),
    Room::shell("gateway", BELOW_GATEWAY),
    Room::shell("cli", BELOW_CLI),
    Room::shell("bin", &["cli"]),
];

/// Paths that the core may not name: input, output, clocks and threads are the engine's.
const CORE_BANNED: &[&[&str]] = &[
    &["std", "net"],
    &["std", "os"],
    &["std", "fs"],
    &["libc"],
    &["mio"],
    &["io_uring"],
    &["socket2"],
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["thread", "spawn"],
    &["thread", "sleep"],
    &["unsafe"],
];

/// Where `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &["src/engine/uring/", "src/engine/uring.rs", "src/ffi/"];

/// The only place that names what rustls calls a connection.
const SESSION: &[&str] = &["src/tls/session.rs", "src/tls/session/"];
const SESSION_TYPES: &[&str] = &[
    "ClientConnection",
    "ServerConnection",
    "UnbufferedClientConnection",
    "UnbufferedServerConnection",
    "UnbufferedConnectionCommon",
    "UnbufferedStatus",
    "ConnectionCommon",
    "KernelConnection",
];

/// Notes of work to be done, and ways to hide that it was not. Split, since this file is searched
/// too.
const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("#[ig", "nore"),
    concat!("allow(dead", "_code)"),
];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 100;
const COLUMNS_MAX: usize = 100;

impl Room {
    const fn core(name: &'static str, imports: &'static [&'static str]) -> Self {
        Self {
            name,
            imports,
            is_core: true,
        }
    }

    const fn shell(name: &'static str, imports: &'static [&'static str]) -> Self {
        Self {
            name,
            imports,
            is_core: false,
        }
    }

    /// The room of a file; none for `src/lib.rs` and for what is outside `src/`.
    fn of(path: &str) -> Option<&'static Self> {
        let first = path.strip_prefix("src/")?.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        ROOMS.iter().find(|room| room.name == name)
    }
}

#[test]
fn rooms_import_downwards() {
    check(&["src"], imports);
}

#[test]
fn the_core_has_no_io_no_clock_and_no_thread() {
    check(&["src"], core_words);
}

#[test]
fn the_core_forbids_unsafe_code() {
    check(&["src"], core_forbids_unsafe);
}

#[test]
fn every_file_is_in_a_room() {
    check(&["src"], known_room);
}

#[test]
fn rustls_stays_in_its_room() {
    check(&["src"], rustls_paths);
}

#[test]
fn unsafe_stands_where_it_may_and_says_why() {
    check(&["src", "tests", "benches"], unsafe_blocks);
}

#[test]
fn files_functions_and_lines_are_short() {
    check(&["src", "tests", "benches", "fuzz"], lengths);
}

#[test]
fn nothing_is_left_to_be_done() {
    let found = files(&["src", "tests", "benches", "c-examples", "fuzz"])
        .filter(|path| has_extension(path, &["rs", "py", "c", "h", "cc", "sh", "toml"]))
        .flat_map(|path| markers(&relative(&path), &read(&path)))
        .collect::<Vec<_>>();
    assert_none(&found);
}

#[test]
fn markdown_has_one_title_and_whole_links() {
    let found = files(&["."])
        .filter(|path| has_extension(path, &["md"]))
        .flat_map(|path| markdown::findings(&path, &relative(&path), &read(&path)))
        .collect::<Vec<_>>();
    assert_none(&found);
}

fn imports(source: &Source<'_>) -> Vec<String> {
    let Some(room) = Room::of(&source.path) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in source.paths_from_crate_root() {
        let (line, name) = (path.line, path.segments[0]);
        if name == room.name || room.imports.contains(&name) {
            continue;
        }
        found.push(match ROOMS.iter().any(|room| room.name == name) {
            true => format!(
                "{}:{line}: room {} may not import {name}",
                source.path, room.name
            ),
            false => format!(
                "{}:{line}: {name} is no room: import it from one",
                source.path
            ),
        });
    }
    found.dedup();
    found
}

fn core_words(source: &Source<'_>) -> Vec<String> {
    let Some(room) = Room::of(&source.path).filter(|room| room.is_core) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in &source.paths {
        for banned in CORE_BANNED {
            if path
                .segments
                .windows(banned.len())
                .any(|window| window == *banned)
            {
                let banned = banned.join("::");
                found.push(format!(
                    "{}:{}: the core room {} may not name {banned}",
                    source.path, path.line, room.name
                ));
            }
        }
    }
    found
}

/// `lib.rs` puts the attribute on each core room: one place to read, and no file can leave it out.
fn core_forbids_unsafe(source: &Source<'_>) -> Vec<String> {
    if source.path != "src/lib.rs" {
        return Vec::new();
    }
    let texts = source
        .tokens
        .iter()
        .map(|token| token.text)
        .collect::<Vec<_>>();
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let is_core = ROOMS
            .iter()
            .any(|room| room.is_core && room.name == token.text);
        if !is_core || at < 2 || texts[at - 1] != "mod" {
            continue;
        }
        let before = texts[..at - 1].concat();
        if !before
            .trim_end_matches("pub")
            .ends_with("#[forbid(unsafe_code)]")
        {
            found.push(format!(
                "{}:{}: mod {} lacks #[forbid(unsafe_code)]",
                source.path, token.line, token.text
            ));
        }
    }
    found
}

fn known_room(source: &Source<'_>) -> Vec<String> {
    if source.path == "src/lib.rs" || Room::of(&source.path).is_some() {
        return Vec::new();
    }
    vec![format!(
        "{}:1: this file is in no room of design",
        source.path
    )]
}

fn rustls_paths(source: &Source<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for path in &source.paths {
        let is_rustls = path.segments[0] == "rustls";
        let is_public_type = path.segments.get(1) == Some(&"pki_types");
        if is_rustls && !is_public_type && !source.path.starts_with("src/tls/") {
            found.push(format!(
                "{}:{}: outside tls, rustls is named as rustls::pki_types only",
                source.path, path.line
            ));
        }
    }
    if !is_in(&source.path, SESSION) {
        let named = source
            .tokens
            .iter()
            .filter(|token| SESSION_TYPES.contains(&token.text));
        found.extend(named.map(|token| {
            format!(
                "{}:{}: only tls/session names {}",
                source.path, token.line, token.text
            )
        }));
    }
    found
}

fn unsafe_blocks(source: &Source<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if token.text != "unsafe" {
            continue;
        }
        if source.path.starts_with("src/") && !is_in(&source.path, UNSAFE_ROOMS) {
            found.push(format!(
                "{}:{}: unsafe stands in engine/uring and ffi only",
                source.path, token.line
            ));
        }
        let next = source.tokens.get(at + 1).map(|token| token.text);
        if matches!(next, Some("{" | "impl")) && !source.has_note_above(token.line, "SAFETY:") {
            found.push(format!(
                "{}:{}: unsafe without a SAFETY note",
                source.path, token.line
            ));
        }
    }
    found
}

fn lengths(source: &Source<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!(
            "{}:1: {lines} lines, {FILE_LINES_MAX} at most",
            source.path
        ));
    }
    for (name, first, last) in source.functions() {
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            found.push(format!(
                "{}:{first}: fn {name} has {lines} lines, {FUNCTION_LINES_MAX} at most",
                source.path
            ));
        }
    }
    for (at, line) in source.text.lines().enumerate() {
        // An address is one word and cannot be broken.
        let columns = line.chars().count();
        if source.path.starts_with("src/") && columns > COLUMNS_MAX && !line.contains("https://") {
            found.push(format!(
                "{}:{}: {columns} columns, {COLUMNS_MAX} at most",
                source.path,
                at + 1
            ));
        }
    }
    found
}

fn markers(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for marker in MARKERS {
            if rust::contains_word(line, marker) {
                found.push(format!("{path}:{}: {marker} is left in the tree", at + 1));
            }
        }
    }
    found
}

fn check(roots: &[&str], rule: fn(&Source<'_>) -> Vec<String>) {
    let mut found = Vec::new();
    let mut seen = 0;
    for path in files(roots).filter(|path| has_extension(path, &["rs"])) {
        let text = read(&path);
        found.extend(rule(&Source::new(&relative(&path), &text)));
        seen += 1;
    }
    assert!(seen > 0, "no file was looked at");
    assert_none(&found);
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under these folders of the package, without what is built or hidden.
fn files(folders: &[&str]) -> impl Iterator<Item = PathBuf> {
    let mut todo = folders
        .iter()
        .map(|folder| root().join(folder))
        .collect::<Vec<_>>();
    let mut found = Vec::new();
    while let Some(folder) = todo.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.map(|entry| entry.expect("folder entry")) {
            let name = entry.file_name();
            let is_left_out = name == "target" || name.as_encoded_bytes().starts_with(b".");
            match entry.file_type().expect("file type") {
                kind if kind.is_dir() && !is_left_out => todo.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found.into_iter()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("inside the package");
    path.to_string_lossy().trim_start_matches("./").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

mod each_rule_can_fail {
    use super::*;

    fn finding(rule: fn(&Source<'_>) -> Vec<String>, path: &str, text: &str) -> String {
        let found = rule(&Source::new(path, text));
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    fn passes(rule: fn(&Source<'_>) -> Vec<String>, path: &str, text: &str) {
        assert_none(&rule(&Source::new(path, text)));
    }

    #[test]
    fn imports_upwards() {
        let wanted = "src/conn/mod.rs:2: room conn may not import engine";
        for text in [
            "\nuse crate::engine::Engine;",
            "\nuse crate::{tls, engine};",
            "\nuse crate::{tls::{Facts, Version}, engine::{self, Engine}};",
            "\nfn f() -> crate::engine::Engine {}",
            "\nuse super::engine::Engine;",
            "mod tests {\n use super::super::engine::Engine; }",
        ] {
            assert_eq!(finding(imports, "src/conn/mod.rs", text), wanted);
        }
        let wanted = "src/conn/io.rs:1: room conn may not import engine";
        assert_eq!(
            finding(imports, "src/conn/io.rs", "use super::super::engine::E;"),
            wanted
        );
        let wanted = "src/bin/sealwire.rs:1: room bin may not import engine";
        assert_eq!(
            finding(imports, "src/bin/sealwire.rs", "use sealwire::engine::E;"),
            wanted
        );
        let wanted = "src/conn/io.rs:1: Error is no room: import it from one";
        assert_eq!(
            finding(imports, "src/conn/io.rs", "use crate::Error;"),
            wanted
        );
    }

    #[test]
    fn imports_downwards_pass() {
        for text in [
            "use crate::{error::{Error, Result}, tls};",
            "// use crate::engine::Engine;",
            "/* crate::engine /* nested */ crate::engine */ const A: &str = \"crate::engine\";",
            "const A: &str = r#\"\"crate::engine\"#; const B: char = '\"'; fn f<'a>(_: &'a u8) {}",
            "use super::engine::Own;",
        ] {
            passes(imports, "src/conn/io.rs", text);
        }
        passes(imports, "src/cli/demo.rs", "use crate::gateway::Gateway;");
    }

    #[test]
    fn words_of_the_shell_in_the_core() {
        for text in [
            "use std::net::TcpStream;",
            "use std::{fmt, net::TcpStream};",
            "fn f() { std::time::Instant::now(); }",
            "fn f() { Instant::now(); }",
            "fn f() { std::thread::spawn(|| ()); }",
            "fn f() { unsafe { g() } }",
            "use libc::c_int;",
        ] {
            finding(core_words, "src/buf/pool.rs", text);
            passes(core_words, "src/engine/mod.rs", text);
        }
        passes(
            core_words,
            "src/buf/pool.rs",
            "use std::time::Instant; // Instant::now",
        );
    }

    #[test]
    fn core_rooms_without_forbid() {
        finding(core_forbids_unsafe, "src/lib.rs", "pub mod buf;");
        finding(
            core_forbids_unsafe,
            "src/lib.rs",
            "#[forbid(unsafe_code)] mod tls; mod buf;",
        );
        passes(
            core_forbids_unsafe,
            "src/lib.rs",
            "#[forbid(unsafe_code)]\npub mod buf;",
        );
    }

    #[test]
    fn files_without_a_room() {
        finding(known_room, "src/util.rs", "");
        passes(known_room, "src/engine/uring/ring.rs", "");
    }

    #[test]
    fn rustls_elsewhere() {
        finding(
            rustls_paths,
            "src/conn/mod.rs",
            "use rustls::version::TLS13;",
        );
        finding(
            rustls_paths,
            "src/conn/mod.rs",
            "use rustls::{pki_types::ServerName, version};",
        );
        passes(
            rustls_paths,
            "src/conn/mod.rs",
            "use rustls::pki_types::ServerName;",
        );
        let text = "use rustls::server::UnbufferedServerConnection;";
        finding(rustls_paths, "src/tls/config.rs", text);
        passes(rustls_paths, "src/tls/session.rs", text);
    }

    #[test]
    fn unsafe_elsewhere_or_without_a_note() {
        finding(
            unsafe_blocks,
            "src/gateway/mod.rs",
            "// SAFETY: so\nunsafe { f() }",
        );
        finding(
            unsafe_blocks,
            "src/ffi/conn.rs",
            "fn g() {\n// why\nunsafe { f() } }",
        );
        finding(
            unsafe_blocks,
            "src/ffi/conn.rs",
            "// SAFETY: so\nf();\nunsafe { f() }",
        );
        finding(
            unsafe_blocks,
            "tests/alloc.rs",
            "unsafe impl GlobalAlloc for A {}",
        );
        let text = "// SAFETY: the first\n// and second line\nlet x =\n    unsafe { f() };";
        passes(unsafe_blocks, "src/ffi/conn.rs", text);
    }

    #[test]
    fn lengths_over_the_limit() {
        finding(lengths, "src/buf/pool.rs", &"\n".repeat(FILE_LINES_MAX + 1));
        let body = "f();\n".repeat(FUNCTION_LINES_MAX - 1);
        finding(
            lengths,
            "src/buf/pool.rs",
            &format!("fn g(a: [u8; 1])\n{{\n{body}}}\n"),
        );
        passes(
            lengths,
            "src/buf/pool.rs",
            &format!("fn g() {{\n{}}}\n", &body[5..]),
        );
        finding(
            lengths,
            "src/buf/pool.rs",
            &format!("//{}", "é".repeat(COLUMNS_MAX - 1)),
        );
        passes(
            lengths,
            "src/buf/pool.rs",
            &format!("//{}", "é".repeat(COLUMNS_MAX - 2)),
        );
    }

    #[test]
    fn markers_left() {
        for marker in MARKERS {
            assert_eq!(markers("src/a.rs", &format!("// {marker}: later")).len(), 1);
        }
        assert_none(&markers("src/a.rs", &format!("let A{}B = 0;", MARKERS[2])));
    }

    #[test]
    fn markdown_broken() {
        let path = root().join("README.md");
        let broken = |text| markdown::findings(&path, "README.md", text).len();
        assert_eq!(
            broken("# A\n\n[tidy](tests/tidy.rs) [here](#a) [far](https://x.invalid/y)\n"),
            0
        );
        assert_eq!(broken("# A\n\n# B\n"), 1);
        assert_eq!(broken("no title\n"), 1);
        assert_eq!(broken("# A\n\n```sh\n# a comment\n```\n"), 0);
        assert_eq!(broken("# A\n[b](no/such/file.md)\n"), 1);
        assert_eq!(broken("# A\n[b](#nowhere)\n"), 1);
        assert_eq!(broken("# A\n`[b](no/such/file.md)`\n"), 0);
    }

    #[test]
    fn tokens_keep_their_lines() {
        let source = Source::new("src/a.rs", "/*\n*/ a\n\"\n\" b");
        let lines = source
            .tokens
            .iter()
            .map(|t: &Token<'_>| t.line)
            .collect::<Vec<_>>();
        assert_eq!(lines, [2, 3, 4]);
    }
}
