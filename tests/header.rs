//! The committed header is what the source says.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of `src/ffi` with something for C, in the order of the header.
const SOURCES: &[&str] = &[
    "version.rs",
    "result.rs",
    "config/mod.rs",
    "conn/mod.rs",
    "engine/options.rs",
    "engine/event.rs",
    "engine/mod.rs",
];

/// Set in the environment, it writes the header rather than comparing it.
const WRITE: &str = "SEALWIRE_WRITE_HEADER";

#[test]
fn the_header_is_what_the_source_says() {
    let mut generated = Vec::new();
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = SOURCES.iter().fold(builder, |builder, source| {
        builder.with_src(root().join("src/ffi").join(source))
    });
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
fn every_exported_function_is_in_the_header() {
    let header = fs::read_to_string(root().join("include/sealwire.h")).unwrap();
    let exported: Vec<String> = sources(&root().join("src/ffi"))
        .iter()
        .flat_map(|path| exports(&fs::read_to_string(path).unwrap()))
        .collect();
    assert!(exported.len() > 20);
    for function in exported {
        assert!(
            header.contains(&format!(" {function}(")) || header.contains(&format!("*{function}(")),
            "{function}"
        );
    }
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

fn exports(source: &str) -> Vec<String> {
    let after = source.split("extern \"C\" fn ").skip(1);
    after
        .filter_map(|text| Some(text.split_once('(')?.0.to_owned()))
        .collect()
}
