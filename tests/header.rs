//! The committed header is what the source says.

use std::fs;
use std::path::{Path, PathBuf};

/// Set in the environment, it writes the header rather than comparing it.
const WRITE: &str = "SEALWIRE_WRITE_HEADER";

#[test]
fn the_header_is_what_the_source_says() {
    let mut generated = Vec::new();
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    // It follows the modules, in their order.
    let builder = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root().join("src/ffi/mod.rs"));
    builder.generate().unwrap().write(&mut generated);
    let path = root().join("include/sealwire.h");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/sealwire.h is not what src/ffi says: run `make header` and commit it"
    );
}

#[test]
fn every_exported_function_is_in_the_header_once() {
    let header = fs::read_to_string(root().join("include/sealwire.h")).unwrap();
    let declared: Vec<&str> = functions(&header, &[" sealwire_", " *sealwire_"]).collect();
    let sources: Vec<String> = sources(&root().join("src/ffi"))
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut exported = 0;
    for source in &sources {
        for function in functions(source, &["pub extern \"C\" fn sealwire_"]) {
            let times = declared.iter().filter(|name| **name == function).count();
            assert_eq!(times, 1, "{function}");
            exported += 1;
        }
    }
    assert_eq!(exported, declared.len());
    assert!(exported > 60, "{exported}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}

/// The names of the functions that are declared on lines with one of these beginnings.
fn functions<'a>(text: &'a str, beginnings: &[&str]) -> impl Iterator<Item = &'a str> {
    let is_code = |line: &&str| !line.starts_with([' ', '/', '*', '#']);
    text.lines().filter(is_code).filter_map(|line| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        let is_one = beginnings
            .iter()
            .any(|beginning| before.contains(beginning));
        is_one.then_some(name)
    })
}
