use serde_json::{Value, json};

use super::port::{Answer, Attempt, Fault, Port, Way};
use crate::cli::probe::report::Lines;
use crate::cli::text::safe;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{Method, ResultCode};

impl Port {
    /// For a look. `is_believed` as in [`Port::faults`].
    pub(in crate::cli::probe) fn write(&self, lines: &mut Lines, is_believed: bool) {
        for attempt in &self.attempts {
            lines.words(attempt.verb(), &attempt.words());
        }
        if self.is_silent_to_loopback() {
            lines.words("127.0.0.1", SILENT_TO_LOOPBACK);
        }
        match self.is_bound() {
            Some(true) => lines.fact("method bound", "to the handshake (ALPN)"),
            Some(false) => {
                let words = "to nothing: whoever is on the way may edit the negotiation";
                lines.fact("method bound", words);
            }
            None => {}
        }
        let faults = self.faults(is_believed);
        if faults.is_empty() {
            lines.fact(
                "verdict",
                "good: nobody calls but over TLS, with a certificate",
            );
        }
        for (index, fault) in faults.into_iter().enumerate() {
            lines.words(if index == 0 { "verdict" } else { "and" }, fault.words());
        }
    }

    /// For a machine.
    pub(in crate::cli::probe) fn json(&self, is_believed: bool) -> Value {
        let attempts: Vec<_> = self.attempts.iter().map(Attempt::json).collect();
        let faults = self.faults(is_believed);
        let faults: Vec<_> = faults.into_iter().map(Fault::word).collect();
        json!({
            "attempts": attempts,
            "bound": self.is_bound(),
            "ssl_io": self.takes_ssl_io(),
            "ssl_no_encrypt": self.offers_ssl_no_encrypt(),
            "plaintext": self.takes_plaintext(),
            "table_api": self.takes(Way::TableApi),
            "direct_tls": self.takes_direct_tls(),
            "unauthenticated": self.takes_anybody(),
            "net_keepalive": self.takes(Way::NetKeepalive),
            "loopback_exempt": self.takes(Way::Local),
            "faults": faults,
        })
    }

    /// An error where there are faults.
    pub(in crate::cli::probe) fn verdict(&self, is_believed: bool) -> Result<()> {
        let faults = self.faults(is_believed);
        if faults.is_empty() {
            return Ok(());
        }
        let words: Vec<_> = faults.into_iter().map(Fault::words).collect();
        Err(Error::new(ErrorKind::NotTls, words.join("; ")))
    }
}

impl Attempt {
    fn verb(&self) -> &'static str {
        match self.is_taken() {
            Some(true) => "takes",
            Some(false) => "refuses",
            None => "unclear",
        }
    }

    fn words(&self) -> String {
        format!("{}: {}", self.way.words(), self.end_words())
    }

    fn end_words(&self) -> String {
        let end = match &self.outcome {
            Ok(Answer::Called(code)) => return code_words(code),
            Ok(Answer::Alive) => return "answered".into(),
            Ok(Answer::Acknowledged) => return "the method was acknowledged, as to anybody".into(),
            Err(error) if error.kind() == ErrorKind::Timeout => "silent until the timeout".into(),
            Err(_) if self.lacks_certificate() => "a client certificate was demanded".into(),
            Err(error) => safe(&error.to_string()),
        };
        match (self.is_awaited(), self.is_acknowledged()) {
            (true, true) => format!("acknowledged, then {end}"),
            (true, false) => format!("not acknowledged; {end}"),
            (false, _) => end,
        }
    }

    fn json(&self) -> Value {
        let tls = self.tls.as_ref();
        let rcode = match &self.outcome {
            Ok(Answer::Called(code)) => Some(code.rcode),
            _ => None,
        };
        json!({
            "way": self.way.word(),
            "client_certificate": self.way.shows_certificate(),
            "taken": self.is_taken(),
            "how": self.how(),
            "acknowledged": self.is_awaited().then(|| self.is_acknowledged()),
            "rcode": rcode,
            "reason": self.end_words(),
            "version": tls.map(|facts| facts.version.number()),
            "suite": tls.map(|facts| facts.suite),
            "group": tls.map(|facts| facts.group),
            "application_protocol": tls.and_then(|facts| facts.application_protocol.as_deref()),
        })
    }
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Negotiated { method, .. } => method.name(),
            Self::Local => "loopback",
            Self::Plain => "plain",
            Self::Libeasy => "libeasy",
            Self::TableApi => "table_api",
            Self::DirectTls { .. } => "direct_tls",
            Self::NetKeepalive => "net_keepalive",
        }
    }

    fn words(self) -> String {
        match self {
            Self::Negotiated {
                method: Method::None,
                ..
            } => "none".into(),
            Self::Negotiated {
                method,
                shows_certificate: true,
            } => format!("{} with our certificate", method.name()),
            Self::Negotiated { method, .. } => format!("{} without a certificate", method.name()),
            Self::Local => {
                "ssl_io that goes on in the clear, as OceanBase has it at 127.0.0.1".into()
            }
            Self::Plain => "a request in the clear".into(),
            Self::Libeasy => "a request in the clear behind the preamble of libeasy".into(),
            Self::DirectTls {
                shows_certificate: true,
            } => "TLS without a negotiation, with our certificate".into(),
            Self::DirectTls { .. } => "TLS without a negotiation or a certificate".into(),
            Self::TableApi => "a request of the table API in the clear".into(),
            Self::NetKeepalive => "the net keepalive in the clear, which nodes need".into(),
        }
    }
}

/// The code by its name and, of those that are expected here, what it means.
fn code_words(code: &ResultCode) -> String {
    let name = match code.rcode {
        ResultCode::UNKNOWN_CONNECTION => "error packet, UNKNOWN_CONNECTION",
        _ => code.name().unwrap_or("error"),
    };
    let text = match code.message.is_empty() {
        true => String::new(),
        false => format!(", \"{}\"", safe(&String::from_utf8_lossy(&code.message))),
    };
    let meaning = match code.rcode {
        ResultCode::UNKNOWN_PACKET => "; the call was made up, so that is right",
        ResultCode::UNKNOWN_CONNECTION => "; it wants an authenticated connection",
        _ => "",
    };
    format!("{name} ({}){text}{meaning}", code.rcode)
}

const SILENT_TO_LOOPBACK: &str = "\
OceanBase's servers acknowledge no method to whoever comes from there (compat_loopback), but \
answer in the clear; this port answers neither way";
