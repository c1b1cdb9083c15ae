//! `sealwire bench`: how long a server takes to answer, and how much it answers.

mod figures;
mod hgrm;
mod mysql;
mod obrpc;
mod options;
mod output;
mod plot;
mod report;
mod schedule;
mod side;
mod talk;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::figures::Figures;
use self::options::{Load, Mysql, Obrpc, Tls};
use self::output::Outputs;
use self::report::Report;
use self::side::Side;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::machine::raise_descriptor_limit;

/// Measure how long a server takes to answer, over TLS and in the clear
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, subcommand_required = true)]
pub(super) struct Bench {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    Mysql(Mysql),
    Obrpc(Obrpc),
    Tls(Tls),
}

impl Bench {
    pub(super) fn run(self) -> Result<()> {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&is_interrupted))
                .map_err(|error| Error::io("watch for signals", &error))?;
        }
        let (load, targets) = match &self.protocol {
            Protocol::Mysql(flags) => (&flags.load, flags.targets()?),
            Protocol::Obrpc(flags) => (&flags.load, flags.targets()?),
            Protocol::Tls(flags) => (&flags.load, flags.targets()?),
        };
        let outputs = Outputs::open(load, &targets)?;
        raise_descriptor_limit();
        let mut sides = targets
            .iter()
            .map(|target| Side::open(target, load, &is_interrupted))
            .collect::<Result<Vec<_>>>()?;
        let figures = measure(&mut sides, load, &is_interrupted)?;
        let is_interrupted = is_interrupted.load(Ordering::Acquire);
        let report = Report::new(load, &sides, figures, is_interrupted);
        outputs.write(&report)?;
        report.verdict()
    }
}

/// Drives the sides in turn, so that whatever else the machine does falls on both.
fn measure(
    sides: &mut [Side<'_>],
    load: &Load,
    is_interrupted: &AtomicBool,
) -> Result<Vec<Figures>> {
    let mut progress = Progress::new(load);
    for side in &mut *sides {
        let mut ignored = Figures::new()?;
        side.drive(load.warmup(), &mut ignored, |_| {})?;
    }
    let mut figures = Vec::new();
    figures.resize_with(sides.len(), Figures::new);
    let mut figures = figures.into_iter().collect::<Result<Vec<_>>>()?;
    let rounds = match sides.len() {
        1 => 1,
        _ => ROUNDS_MIN.max(load.duration().as_secs() as u32),
    };
    for _ in 0..rounds {
        for (side, figures) in sides.iter_mut().zip(&mut figures) {
            if is_interrupted.load(Ordering::Acquire) {
                break;
            }
            let name = side.name();
            let slice = load.duration() / rounds;
            side.drive(slice, figures, |figures| progress.show(name, figures))?;
        }
    }
    progress.end();
    Ok(figures)
}

/// A line that tells how far it is, on a terminal alone.
struct Progress {
    is_shown: bool,
    total: Duration,
}

impl Progress {
    fn new(load: &Load) -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
            total: load.duration(),
        }
    }

    fn show(&mut self, name: &str, figures: &Figures) {
        if self.is_shown {
            eprint!("\r\x1b[K{name}: {}", figures.progress(self.total));
        }
    }

    fn end(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}

fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, text)
}

/// Turns of each side at least.
const ROUNDS_MIN: u32 = 5;

const EXAMPLE: &str = "\
Without --rate every connection asks again as soon as it is answered. With it requests begin at
fixed times, and the time that one has to wait for a slow server counts. Exit code 0: every request
was answered; 1: some were not, the rate was not reached, or it was interrupted; 2: wrong usage.

Examples:
  sealwire bench mysql db.example:3306 --user app --password-file app.password --ca ca.pem
  sealwire bench tls 10.0.0.7:7000 --rate 20000 --plot latency.svg
  sealwire bench obrpc 10.0.0.7:2882 --ca ca.pem --compare-plain --json";
