use std::fmt::Write;

use serde_json::{Value, json};

use super::mysql::{Account, Answer, Server};
use super::tls::{Examiner, Resumption, Verdict};
use super::{Findings, Probe};
use crate::cli::text::{DAY_S, date_utc, safe};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::{Capabilities, ServerKind};
use crate::gateway::machine::{aes_kind, wall_s};
use crate::tls::{Certificate, Facts, Fingerprint, Oneline};

/// What was found out, in words or as JSON.
pub(super) struct Report<'a> {
    probe: &'a Probe,
    examiner: &'a Examiner,
    findings: Findings,
    now_s: u64,
}

impl<'a> Report<'a> {
    pub(super) fn new(probe: &'a Probe, examiner: &'a Examiner, findings: Findings) -> Self {
        Self {
            probe,
            examiner,
            findings,
            now_s: wall_s(),
        }
    }

    /// For a look; nothing where there is nothing to look at.
    pub(super) fn text(&self) -> String {
        let mut lines = Lines::default();
        if self.protocol().is_none() {
            return lines.text;
        }
        lines.heading(&self.title());
        if let Some(facts) = &self.findings.tls {
            write_tls(&mut lines, facts);
        }
        if let Some(words) = self.signature() {
            lines.fact("signed with", words);
        }
        if let Some(resumption) = &self.findings.resumption {
            lines.words("resumption", &resumption.words());
        }
        if let Some(words) = self.client_certificate() {
            lines.fact("client cert", words);
        }
        if let Some(verdict) = &self.findings.verdict {
            self.write_verdict(&mut lines, verdict);
        }
        lines.fact("this machine", &format!("aes = {}", aes_kind()));
        if let Some(server) = &self.findings.mysql {
            write_server(&mut lines, server);
        }
        if let Some(port) = &self.findings.obrpc {
            port.write(&mut lines, self.is_believed());
        }
        let chain = &self.findings.seen.chain;
        for (index, der) in chain.iter().enumerate() {
            lines.heading(&format!("certificate {} of {}", index + 1, chain.len()));
            match Certificate::from_der(der) {
                Some(certificate) => self.write_certificate(&mut lines, &certificate),
                None => lines.fact("unreadable", &format!("{} bytes", der.len())),
            }
        }
        lines.text
    }

    /// For a machine. The keys are those of docs/trust.md and, of `obrpc`, docs/obrpc.md.
    pub(super) fn json(&self) -> String {
        let findings = &self.findings;
        let chain = findings.seen.chain.iter();
        let certificates: Vec<_> = chain
            .map(|der| Certificate::from_der(der).map(|c| self.certificate_json(&c)))
            .collect();
        let report = json!({
            "target": self.probe.server.to_string(),
            "address": findings.address.as_ref().map(ToString::to_string),
            "protocol": self.protocol(),
            "aes": aes_kind(),
            "tls": findings.tls.as_ref().map(|facts| self.tls_json(facts)),
            "client_certificate": {
                "requested": findings.seen.requests_certificate,
                "presented": findings.seen.requests_certificate && self.examiner.identity.is_some(),
            },
            "certificates": certificates,
            "verify": findings.verdict.as_ref().map(|verdict| self.verdict_json(verdict)),
            "mysql": findings.mysql.as_ref().map(server_json),
            "obrpc": findings.obrpc.as_ref().map(|port| port.json(self.is_believed())),
            "error": findings.failure.as_ref().map(error_json),
        });
        ascii(&format!("{report:#}\n"))
    }

    /// An error where not all is well.
    pub(super) fn verdict(&self) -> Result<()> {
        if let Some(failure) = &self.findings.failure {
            let error = Error::new(failure.kind(), safe(&self.failure_words(failure)));
            return Err(error.at(&self.probe.server));
        }
        if let Some(port) = &self.findings.obrpc {
            let verdict = port.verdict(self.is_believed());
            return verdict.map_err(|fault| fault.at(&self.probe.server));
        }
        match &self.findings.verdict {
            Some(verdict) => verdict.full.clone().map_err(|refusal| {
                let text = "tls = \"verify-full\" would not believe the server";
                Error::new(refusal.kind(), text).at(&self.probe.server)
            }),
            None => Ok(()),
        }
    }

    fn is_believed(&self) -> bool {
        let verdict = self.findings.verdict.as_ref();
        verdict.is_some_and(|verdict| verdict.full.is_ok())
    }

    /// What the server's alert cannot say.
    fn failure_words(&self, failure: &Error) -> String {
        let lacks_certificate =
            self.findings.seen.requests_certificate && self.examiner.identity.is_none();
        match failure.kind() {
            ErrorKind::TlsAlert(HANDSHAKE_FAILURE | CERTIFICATE_REQUIRED) if lacks_certificate => {
                "the server demands a client certificate; give one with --cert and --key".into()
            }
            _ => failure.to_string(),
        }
    }

    fn title(&self) -> String {
        let (target, findings) = (self.probe.server.to_string(), &self.findings);
        let mut title = target.clone();
        let address = findings.address.as_ref().map(ToString::to_string);
        if let Some(address) = address.filter(|address| *address != target) {
            title += &format!(" ({address})");
        }
        match &findings.mysql {
            Some(server) => {
                title + &format!(", {} {}", kind_name(server.kind), safe(&server.version))
            }
            None => title,
        }
    }

    fn protocol(&self) -> Option<&'static str> {
        match &self.findings {
            Findings { mysql: Some(_), .. } => Some("mysql"),
            Findings { obrpc: Some(_), .. } => Some("obrpc"),
            Findings { seen, .. } => (!seen.chain.is_empty()).then_some("tls"),
        }
    }

    fn signature(&self) -> Option<&'static str> {
        Some(self.findings.seen.signature).filter(|name| !name.is_empty())
    }

    fn client_certificate(&self) -> Option<&'static str> {
        let port = self.findings.obrpc.as_ref();
        let is_over = self.findings.failure.is_none() && port.is_none_or(|port| port.is_through());
        let (is_asked, is_given) = (
            self.findings.seen.requests_certificate,
            self.examiner.identity.is_some(),
        );
        Some(match (is_asked, is_given) {
            (true, true) if is_over => "asked for, and ours was taken",
            (true, true) => "asked for, and ours was shown",
            (true, false) if is_over => "asked for, and not demanded",
            (true, false) => "asked for, and none was given",
            (false, true) => "not asked for: ours was not shown",
            (false, false) => return None,
        })
    }

    fn write_verdict(&self, lines: &mut Lines, verdict: &Verdict) {
        let name = self.examiner.name.to_str();
        let refusal = match &verdict.full {
            Ok(()) => {
                let ca = &self.examiner.ca;
                lines.fact(
                    "verify-full",
                    &format!("would pass: for {name}, judged by {ca}"),
                );
                return;
            }
            Err(refusal) => safe(&refusal.to_string()),
        };
        lines.words("verify-full", &format!("WOULD FAIL: {refusal}"));
        if self.probe.trust.ca.is_none() {
            lines.fact("", "--ca names the authorities to judge it by instead");
        }
        for (index, (setting, more)) in verdict.settings_that_pass().into_iter().enumerate() {
            lines.fact(if index == 0 { "would pass" } else { "or" }, setting);
            if let Some(more) = more {
                lines.fact("", &more);
            }
        }
    }

    fn write_certificate(&self, lines: &mut Lines, certificate: &Certificate<'_>) {
        let readable = |name: Option<String>| match name {
            Some(name) if name.is_empty() => "no name".into(),
            Some(name) => safe(&name),
            None => "unreadable".into(),
        };
        lines.fact("subject", &readable(certificate.subject(Oneline::OpenSsl3)));
        lines.fact("issuer", &readable(certificate.issuer(Oneline::OpenSsl3)));
        let names: Vec<_> = certificate
            .alt_names()
            .iter()
            .map(|n| safe(&n.to_string()))
            .collect();
        let names = if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        };
        lines.fact("names", &names);
        let bits = certificate.key_bits().map(|bits| format!(", {bits} bits"));
        let (kind, algorithm) = (certificate.key_kind(), certificate.signature_algorithm());
        let key = format!(
            "{kind}{}; signed with {algorithm}",
            bits.unwrap_or_default()
        );
        lines.fact("key", &key);
        let (from_s, until_s) = (certificate.not_before_s(), certificate.not_after_s());
        let days = days_words(self.now_s, from_s, until_s);
        let span = format!("{} to {} ({days})", date_utc(from_s), date_utc(until_s));
        lines.fact("valid", &span);
        lines.fact("sha256", &hex(&certificate.fingerprint()));
        let kinds = kinds(certificate);
        if !kinds.is_empty() {
            lines.fact("kind", &kinds.join(", "));
        }
    }

    fn tls_json(&self, facts: &Facts) -> Value {
        json!({
            "version": facts.version.number(),
            "suite": facts.suite,
            "openssl_suite": facts.openssl_suite(),
            "group": facts.group,
            "post_quantum": is_post_quantum(facts.group),
            "signature": self.signature(),
            "resumption": self.findings.resumption.as_ref().map(Resumption::word),
        })
    }

    fn certificate_json(&self, certificate: &Certificate<'_>) -> Value {
        let (from_s, until_s) = (certificate.not_before_s(), certificate.not_after_s());
        let names: Vec<_> = certificate
            .alt_names()
            .iter()
            .map(ToString::to_string)
            .collect();
        json!({
            "subject": certificate.subject(Oneline::OpenSsl3),
            "issuer": certificate.issuer(Oneline::OpenSsl3),
            "common_name": certificate.common_name(),
            "names": names,
            "key": certificate.key_kind(),
            "key_bits": certificate.key_bits(),
            "signature_algorithm": certificate.signature_algorithm(),
            "not_before_s": from_s,
            "not_after_s": until_s,
            "days_left": days_left(self.now_s, until_s),
            "sha256": hex(&certificate.fingerprint()),
            "is_v1": certificate.is_v1(),
            "is_authority": certificate.is_authority(),
            "is_self_issued": certificate.is_self_issued(),
        })
    }

    fn verdict_json(&self, verdict: &Verdict) -> Value {
        json!({
            "server_name": self.examiner.name.to_str(),
            "ca": self.examiner.ca,
            "verify_full": verdict.full.is_ok(),
            "allow_cn_name": verdict.allow_cn_name.is_ok(),
            "verify_ca": verdict.ca.is_ok(),
            "refusal": verdict.full.as_ref().err().map(error_json),
        })
    }
}

impl Verdict {
    /// What to write in `[route.server]`, the strictest first, each on one line or on two.
    fn settings_that_pass(&self) -> Vec<(&'static str, Option<String>)> {
        let mut settings = Vec::new();
        if self.allow_cn_name.is_ok() {
            settings.push(("allow_cn_name = true", None));
        }
        if self.ca.is_ok() {
            let words = "tls = \"verify-ca\"  # any certificate of that authority will do";
            settings.push((words, None));
        }
        if let Some(fingerprint) = &self.fingerprint {
            let pins = format!("fingerprints = [\"{}\"]", hex(fingerprint));
            let words = "tls = \"fingerprint\"  # compare it with the file at the server";
            settings.push((words, Some(pins)));
        }
        settings
    }
}

impl Resumption {
    fn word(&self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Fails(_) => "fails",
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Fails(error) => format!("fails: {}", safe(&error.to_string())),
            known => known.word().into(),
        }
    }
}

impl Answer {
    fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// Lines of a name and what is to be said of it.
#[derive(Default)]
pub(super) struct Lines {
    text: String,
}

impl Lines {
    fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    pub(super) fn fact(&mut self, name: &str, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "  {name:<NAME_LEN$}  {text}");
    }

    /// A fact of many words, which is broken where it grows too long.
    pub(super) fn words(&mut self, name: &str, text: &str) {
        let (mut name, mut line) = (name, String::new());
        for word in text.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WORDS_LEN_MAX {
                self.fact(name, &line);
                (name, line) = ("", String::new());
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.fact(name, &line);
    }
}

fn write_tls(lines: &mut Lines, facts: &Facts) {
    let version = facts.version.number();
    lines.fact("tls", &format!("{version}, {}", facts.suite));
    let kind = match is_post_quantum(facts.group) {
        true => "post-quantum",
        false => "not post-quantum",
    };
    lines.fact("key exchange", &format!("{}, {kind}", facts.group));
}

fn write_server(lines: &mut Lines, server: &Server) {
    let plugin = server.plugin.as_deref().map_or_else(|| "none".into(), safe);
    lines.fact("plugin", &format!("{plugin}, by default"));
    lines.fact("offers", &offers(server.capabilities).join(", "));
    let Some(account) = &server.account else {
        return;
    };
    let user = safe(&account.user);
    let plugin = match &account.plugin {
        Some(plugin) => format!("{user}, by {}", safe(plugin)),
        None => user,
    };
    lines.fact("account", &plugin);
    let answer = account.without_tls.word();
    lines.words(
        "without TLS",
        &format!("{answer}: {}", safe(&account.reason)),
    );
}

fn server_json(server: &Server) -> Value {
    let account = server.account.as_ref().map(account_json);
    json!({
        "kind": kind_name(server.kind),
        "version": server.version,
        "offers_tls": server.capabilities.contains(Capabilities::SSL),
        "default_plugin": server.plugin,
        "capabilities": server.capabilities.to_string().split('|').collect::<Vec<_>>(),
        "account": account,
    })
}

fn account_json(account: &Account) -> Value {
    json!({
        "user": account.user,
        "plugin": account.plugin,
        "without_tls": account.without_tls.word(),
        "reason": account.reason,
    })
}

fn error_json(error: &Error) -> Value {
    json!({ "class": error.kind().class(), "reason": error.to_string() })
}

fn kind_name(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::MySql => "MySQL",
        ServerKind::MariaDb => "MariaDB",
        ServerKind::OceanBase => "OceanBase",
    }
}

/// What decides how clients come and what a gateway can follow.
fn offers(capabilities: Capabilities) -> Vec<&'static str> {
    let notable = [
        (Capabilities::SSL, "TLS"),
        (Capabilities::COMPRESS, "zlib"),
        (Capabilities::ZSTD_COMPRESSION_ALGORITHM, "zstd"),
        (Capabilities::CONNECT_ATTRS, "connection attributes"),
        (Capabilities::SESSION_TRACK, "session tracking"),
        (Capabilities::LOCAL_FILES, "LOAD DATA LOCAL"),
    ];
    let offered: Vec<_> = notable
        .into_iter()
        .filter_map(|(flag, name)| capabilities.contains(flag).then_some(name))
        .collect();
    if offered.is_empty() {
        vec!["nothing of note"]
    } else {
        offered
    }
}

fn kinds(certificate: &Certificate<'_>) -> Vec<&'static str> {
    [
        (certificate.is_v1(), "X.509 v1"),
        (certificate.is_authority(), "authority (CA:TRUE)"),
        (certificate.is_self_issued(), "self-issued"),
    ]
    .into_iter()
    .filter_map(|(is_so, name)| is_so.then_some(name))
    .collect()
}

fn is_post_quantum(group: &str) -> bool {
    group.contains("MLKEM")
}

fn days_words(now_s: u64, from_s: u64, until_s: u64) -> String {
    match days_left(now_s, until_s) {
        _ if now_s < from_s => "NOT YET VALID".into(),
        days if now_s > until_s => format!("EXPIRED, {} days ago", -days),
        days => format!("days left: {days}"),
    }
}

/// Whole days; below zero for one that has expired.
fn days_left(now_s: u64, until_s: u64) -> i64 {
    let day_s = DAY_S as i64;
    let seconds = i64::try_from(until_s).unwrap_or(i64::MAX) - now_s as i64;
    seconds / day_s
}

/// As `openssl x509 -fingerprint` writes it, and as `fingerprints` takes it.
fn hex(fingerprint: &Fingerprint) -> String {
    let bytes: Vec<_> = fingerprint
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    bytes.join(":")
}

/// The same JSON in ASCII: what a peer chose must not reach a terminal as it is, and no reader of
/// JSON sees a difference.
fn ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~' | '\n') {
            ascii.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii
}

/// Columns of the names of facts.
const NAME_LEN: usize = 12;

/// Columns of what is said of them in many words.
const WORDS_LEN_MAX: usize = 84;

/// The alert by which TLS 1.2 refuses a client without a certificate, among others.
const HANDSHAKE_FAILURE: u8 = 40;

/// The alert by which TLS 1.3 does.
const CERTIFICATE_REQUIRED: u8 = 116;
