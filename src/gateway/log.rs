//! Structured logs on stderr, written by a thread of their own: a loop that serves connections
//! never waits for whoever reads them.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One line of text for a person.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The running log of this process. What it still holds is written when it is dropped.
pub(crate) struct Log {
    dropped: ErrorCounter,
    dropped_reported: usize,
    _writer: WorkerGuard,
}

impl Log {
    /// Starts it; once per process.
    pub(crate) fn start(format: LogFormat, level: LevelFilter) -> Self {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(LINES_MAX)
            .lossy(true)
            .thread_name("log")
            .finish(io::stderr());
        let dropped = writer.error_counter();
        let builder = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_target(false)
            .with_writer(writer);
        match format {
            LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
        Self {
            dropped,
            dropped_reported: 0,
            _writer: guard,
        }
    }

    /// Says how many lines were dropped since the last call because they were not read fast enough.
    pub(crate) fn report_dropped(&mut self) {
        let dropped = self.dropped.dropped_lines();
        let count = dropped - self.dropped_reported;
        if count > 0 {
            tracing::warn!(count, "log lines dropped");
            self.dropped_reported = dropped;
        }
    }
}

/// The text of something that a peer may have had a hand in, for a field of a log line.
///
/// Both formats quote strings and escape quotes, backslashes and C0 control characters by
/// themselves. JSON passes the rest of what a terminal may obey, which is escaped here.
pub(crate) fn escape(value: impl fmt::Display) -> String {
    let text = value.to_string();
    if !text.chars().any(is_active) {
        return text;
    }
    let escaped = |c: char| match is_active(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// DEL, C1 control characters, line separators, and marks that change the direction of text.
pub(crate) fn is_active(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lines that wait to be written: some seconds of a flood of failed handshakes, at about 200 bytes
/// each.
const LINES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, reason: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let builder = tracing_subscriber::fmt()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let log = || tracing::info!(reason = escape(reason), "handshake failed");
        match format {
            LogFormat::Text => tracing::subscriber::with_default(builder.finish(), log),
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true);
                tracing::subscriber::with_default(builder.finish(), log);
            }
        }
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    const HOSTILE: &str = "a\" level=ERROR\n\x1b[2J\u{9b}2J\u{202e}\\ é";

    #[test]
    fn what_a_peer_wrote_stays_inside_its_quotes_as_text() {
        let line = logged(LogFormat::Text, HOSTILE);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
        let end = r#"reason="a\" level=ERROR\n\u{1b}[2J\\u{9b}2J\\u{202e}\\ é""#;
        assert!(line.trim_end().ends_with(end), "{line}");
    }

    #[test]
    fn what_a_peer_wrote_stays_inside_its_quotes_as_json() {
        let line = logged(LogFormat::Json, HOSTILE);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], "handshake failed");
        assert_eq!(object["level"], "INFO");
        assert_eq!(
            object["reason"],
            "a\" level=ERROR\n\x1b[2J\\u{9b}2J\\u{202e}\\ é"
        );
    }
}
