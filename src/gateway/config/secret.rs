//! Passphrases of private keys: from a file or a program, never from the command line or the
//! configuration itself, which others may read.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::document::Given;
use super::files::Files;
use super::source::LegSource;
use crate::error::Result;

/// The passphrase of the private key; `None` where none is given.
pub(super) fn key_passphrase(
    source: &LegSource,
    files: &mut Files,
) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let (file, command) = (&source.key_passphrase_file, &source.key_passphrase_command);
    if source.key.is_none() {
        let keys = ["key_passphrase_file", "key_passphrase_command"];
        source.reject_given(&keys, "no key")?;
    }
    match (file, command.as_slice()) {
        (None, []) => Ok(None),
        (Some(file), []) => files.passphrase(file).map(Some),
        (None, [program, ..]) => output_of(command)
            .map(Some)
            .map_err(|reason| program.place.error(format!("{:?} {reason}", program.value))),
        (Some(file), [..]) => Err(file
            .place
            .error("give key_passphrase_file or key_passphrase_command, not both")),
    }
}

/// The first line that the program prints. What it says on stderr is for the operator.
fn output_of(command: &[Given<String>]) -> Result<Zeroizing<Vec<u8>>, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("is no command".into());
    };
    let mut child = Command::new(&program.value)
        .args(arguments.iter().map(|argument| &argument.value))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let printed = read_in_time(&mut child);
    if printed.is_none() {
        // One that has ended already cannot be killed, and need not be.
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|error| format!("cannot be waited for: {error}"))?;
    let Some(printed) = printed else {
        let seconds = TIMEOUT.as_secs();
        return Err(format!("printed no passphrase within {seconds} seconds"));
    };
    let line = printed
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    match (status.success(), line) {
        (false, _) => Err(format!("failed: {status}")),
        (true, []) => Err("printed no passphrase".into()),
        (true, line) => Ok(Zeroizing::new(line.to_vec())),
    }
}

/// All that the child prints, once it has closed its output; `None` where it takes too long.
fn read_in_time(child: &mut Child) -> Option<Zeroizing<Vec<u8>>> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut printed = Zeroizing::new(Vec::with_capacity(OUTPUT_LEN_MAX));
        let limit = u64::try_from(OUTPUT_LEN_MAX).unwrap_or(u64::MAX);
        let is_read = stdout.take(limit).read_to_end(&mut printed).is_ok();
        // Nobody waits any more where it took too long.
        let _ = sender.send(is_read.then_some(printed));
    });
    receiver.recv_timeout(TIMEOUT).ok().flatten()
}

/// A configuration is not read for longer: a reload waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A passphrase is a line.
const OUTPUT_LEN_MAX: usize = 4_096;
