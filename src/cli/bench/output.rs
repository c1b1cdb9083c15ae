use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::options::Load;
use super::report::Report;
use super::side::Target;
use super::{hgrm, plot, wrong};
use crate::error::{Error, Result};

/// Where the result goes, opened before anything is measured: nobody waits for minutes to be told
/// that a path is wrong.
pub(super) struct Outputs {
    is_json: bool,
    /// One for each side.
    hgrm: Vec<Output>,
    plot: Option<Output>,
}

struct Output {
    path: PathBuf,
    file: File,
}

impl Outputs {
    pub(super) fn open(load: &Load, targets: &[Target]) -> Result<Self> {
        let mut paths = Vec::new();
        if let Some(path) = &load.hgrm {
            paths.push(path.clone());
            if targets.len() > 1 {
                paths.push(beside(path));
            }
        }
        if load.plot.as_ref().is_some_and(|plot| paths.contains(plot)) {
            return Err(wrong("--plot and --hgrm: one file cannot be both"));
        }
        Ok(Self {
            is_json: load.json,
            hgrm: paths.into_iter().map(Output::open).collect::<Result<_>>()?,
            plot: load.plot.clone().map(Output::open).transpose()?,
        })
    }

    pub(super) fn write(self, report: &Report<'_>) -> Result<()> {
        let text = match self.is_json {
            true => report.json(),
            false => report.text(),
        };
        io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .map_err(|error| Error::io("write the result", &error))?;
        for (output, figures) in self.hgrm.into_iter().zip(report.figures()) {
            output.write(&hgrm::text(&figures.latency_ns))?;
        }
        match self.plot {
            Some(output) => output.write(&plot::svg(&report.curves())),
            None => Ok(()),
        }
    }
}

impl Output {
    /// What is there is left alone until there is something to take its place.
    fn open(path: PathBuf) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        match options.open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(wrong(format!("write {}: {error}", path.display()))),
        }
    }

    fn write(mut self, text: &str) -> Result<()> {
        let truncated = self.file.set_len(0);
        truncated
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(|error| Error::io(format_args!("write {}", self.path.display()), &error))
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".plain");
    name.into()
}
