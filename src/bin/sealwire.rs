//! The `sealwire` program: it parses the command line and sets the exit code.

use std::process::ExitCode;

use clap::Parser;
use sealwire::cli::{Cli, exit_code};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealwire: {error}");
            ExitCode::from(exit_code(&error))
        }
    }
}
