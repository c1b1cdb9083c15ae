//! The secrets of sessions, told to whoever is to read what passes: for debugging alone.

use std::fmt::{self, Write};
use std::sync::Arc;

use rustls::KeyLog;

/// Is told the secrets of every session. Whoever has them reads what passes, and what has passed.
#[derive(Clone)]
pub struct DangerKeyLog {
    log: Arc<dyn Fn(&str) + Send + Sync>,
}

impl DangerKeyLog {
    /// `log` is given one line at a time without its end, in NSS's key log format, which Wireshark
    /// reads. Any thread that drives a connection may call it.
    pub fn new(log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { log: Arc::new(log) }
    }
}

impl KeyLog for DangerKeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        push_hex(&mut line, client_random);
        line.push(' ');
        push_hex(&mut line, secret);
        (self.log)(&line);
    }
}

impl fmt::Debug for DangerKeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DangerKeyLog")
    }
}

fn push_hex(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(line, "{byte:02x}");
    }
}
