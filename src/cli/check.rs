use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::text::{DAY_S, date_utc};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::auth::KeySource;
use crate::frame::obrpc::{Method, Methods};
use crate::gateway::config::{
    self, ClientCert, ClientTls, Expiring, ExpiringKind, Plan, Protocol, Route, ServerAddress,
    ServerTls, VerifyMode,
};
use crate::gateway::machine::wall_s;
use crate::tls::{ServerName, Validity};

/// Check a configuration and its certificates, and say what each route will do
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Check {
    /// The configuration (TOML, docs/gateway.md)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(super) fn run(&self) -> Result<()> {
        let plan = config::load(&self.config)?;
        let now_s = wall_s();
        let mut out = io::stdout().lock();
        write_plan(&mut out, &plan, now_s)
            .map_err(|error| Error::io("write the result", &error))?;
        reject_expired(&plan, now_s)
    }
}

fn write_plan(out: &mut impl Write, plan: &Plan, now_s: u64) -> io::Result<()> {
    if let Some(metrics) = &plan.settings.metrics {
        writeln!(out, "metrics and status page on {}", metrics.address)?;
        if let Some(danger) = metrics.danger() {
            writeln!(out, "  DANGER: {danger}")?;
        }
    }
    for route in &plan.routes {
        writeln!(out, "route {:?} ({})", route.name, route.protocol.name())?;
        for address in &route.listen {
            writeln!(out, "  listens on {address}")?;
        }
        writeln!(out, "  clients: {}", client_words(&route.client.tls))?;
        write_conditions(out, &admission_words(&route.client.tls))?;
        if !route.client.proxy_protocol_from.is_empty() {
            writeln!(
                out,
                "    from proxy_protocol_from only behind a PROXY header, which says who they are"
            )?;
        }
        write_conditions(out, &route.client.conditions)?;
        let address = &route.server.address;
        writeln!(
            out,
            "  server {address}: {}",
            server_words(&route.server.tls)
        )?;
        if let Some(words) = proxy_words(route) {
            writeln!(out, "    is told first by a PROXY header {words}")?;
        }
        write_conditions(out, &route.server.conditions)?;
        if let ServerAddress::Named(name) = address {
            writeln!(out, "  resolves {} at run time", name.host)?;
        }
        if let Some(words) = password_words(route) {
            writeln!(out, "  passwords without TLS: {words}")?;
        }
        if !route.client.trusted_proxies.is_empty() {
            writeln!(out, "  believes what trusted_proxies say of their clients")?;
        }
        writeln!(out, "  {}", bounds_words(route))?;
        for danger in route.dangers() {
            writeln!(out, "  DANGER: {danger}")?;
        }
        for (side, identity) in route.identities() {
            let expiry = expiry_words(identity.not_after_s(), now_s);
            let shown = shown_to(side);
            writeln!(
                out,
                "  shows {shown} {:?}, which {expiry}",
                identity.subject()
            )?;
        }
        for expiring in route.expiring().filter(|it| it.warn_s() <= now_s) {
            if let Some(words) = warning_words(expiring, now_s) {
                writeln!(out, "  WARNING: {words}")?;
            }
        }
    }
    writeln!(out, "configuration is good: {} route(s)", plan.routes.len())
}

fn write_conditions(out: &mut impl Write, conditions: &[String]) -> io::Result<()> {
    conditions
        .iter()
        .try_for_each(|condition| writeln!(out, "    {condition}"))
}

fn client_words(tls: &ClientTls) -> String {
    match tls {
        ClientTls::Off => "no TLS: bytes are taken as they come",
        ClientTls::Passthrough => "their TLS passes unopened and ends at the server",
        ClientTls::Negotiated { policy, .. } => {
            let methods: Vec<_> = policy.methods.names().collect();
            return format!("may negotiate {}", methods.join(", "));
        }
        ClientTls::Terminated {
            is_required: false, ..
        } => "TLS is offered and ends here; clients may do without",
        ClientTls::Terminated { client_cert, .. } => match client_cert {
            ClientCert::None => "TLS is required and ends here; no client certificates",
            ClientCert::Optional => {
                "TLS is required and ends here; a client certificate is checked if there is one"
            }
            ClientCert::Required => "TLS is required and ends here; so is a client certificate",
            ClientCert::Pinned => {
                "TLS is required and ends here; so is one of the pinned client certificates"
            }
        },
    }
    .into()
}

/// Whom a route of OB-RPC lets in beside those who negotiate, one sentence each.
fn admission_words(tls: &ClientTls) -> Vec<String> {
    let ClientTls::Negotiated {
        policy,
        client_cert,
        is_loopback_exempt,
        ..
    } = tls
    else {
        return Vec::new();
    };
    let certificates = match client_cert {
        ClientCert::None => "TLS ends here; no client certificates",
        ClientCert::Optional => "TLS ends here; a client certificate is checked if there is one",
        ClientCert::Required => "TLS ends here; a client certificate is required",
        ClientCert::Pinned => "TLS ends here; one of the pinned client certificates is required",
    };
    let has_tls = policy.is_tls_admitted || policy.methods != Methods::from(Method::None);
    [
        (has_tls, certificates),
        (
            policy.is_tls_admitted,
            "TLS may begin without a negotiation",
        ),
        (
            policy.methods.contains(Method::None),
            "who negotiates nothing is let in, in the clear",
        ),
        (
            policy.is_keepalive_admitted,
            "the net keepalive passes in the clear",
        ),
        (
            *is_loopback_exempt,
            "DANGER: clients at 127.0.0.1 are let in, in the clear",
        ),
    ]
    .into_iter()
    .filter(|(is_so, _)| *is_so)
    .map(|(_, words)| words.to_owned())
    .collect()
}

fn server_words(tls: &ServerTls) -> String {
    match tls {
        ServerTls::Off => "no TLS is added on the way".into(),
        ServerTls::Negotiated {
            method: Method::None,
            ..
        } => "is asked for method none: everything is in the clear".into(),
        ServerTls::Negotiated {
            name, method, mode, ..
        } => {
            let name = name
                .as_ref()
                .map_or("its address".into(), ServerName::to_str);
            let judged = verify_words(*mode, &name);
            format!("is asked for method {}: {judged}", method.name())
        }
        ServerTls::Verify { mode, name, .. } => verify_words(*mode, &name.to_str()),
    }
}

fn verify_words(mode: VerifyMode, name: &str) -> String {
    match mode {
        VerifyMode::Full => {
            format!("TLS; its certificate must come from a trusted authority and be for {name}")
        }
        VerifyMode::Ca => "TLS; its certificate must come from a trusted authority, its name is \
                           not checked"
            .into(),
        VerifyMode::Fingerprint => {
            "TLS; its certificate must be one of those that are pinned".into()
        }
        VerifyMode::DangerNone => {
            "TLS; DANGER: its certificate is not checked, anybody can pose as it".into()
        }
        VerifyMode::DangerPreferred => {
            "TLS if its greeting offers that; its certificate is not checked".into()
        }
    }
}

fn password_words(route: &Route) -> Option<&'static str> {
    if route.protocol != Protocol::Mysql {
        return None;
    }
    match *route.server.public_key {
        KeySource::Refused => None,
        KeySource::Known(_) => {
            Some("encrypted to server_public_key where the server asks for them")
        }
        KeySource::DangerFetched => Some("encrypted to the key that the server sends in clear"),
    }
}

/// What a header for the server can say at the time when it goes out.
fn proxy_words(route: &Route) -> Option<&'static str> {
    let header = route.server.proxy_header?;
    Some(match (route.protocol, &route.client.tls) {
        (Protocol::Tcp, ClientTls::Terminated { .. }) if header.has_subject => {
            "where clients come from, what TLS they speak, and the subject of their certificates"
        }
        (Protocol::Tcp, ClientTls::Terminated { .. }) => {
            "where clients come from and what TLS they speak"
        }
        _ => "where clients come from",
    })
}

fn bounds_words(route: &Route) -> String {
    let connections = match route.connections_max {
        0 => "connections bounded by the gateway's limit".to_owned(),
        max => format!("at most {max} connections"),
    };
    let idle = match route.idle_timeout {
        None => "never closed for being idle".to_owned(),
        Some(idle) => format!("closed when idle for {}", span(idle)),
    };
    let connect = span(route.connect_timeout);
    let handshake = span(route.handshake_timeout);
    format!("{connections}, {idle}; connect within {connect}, handshake within {handshake}")
}

fn span(span: Duration) -> String {
    match span.subsec_millis() {
        0 => format!("{} s", span.as_secs()),
        _ => format!("{} ms", span.as_millis()),
    }
}

fn shown_to(side: &str) -> &'static str {
    match side {
        "client" => "clients",
        _ => "the server",
    }
}

fn expiry_words(not_after_s: u64, now_s: u64) -> String {
    let date = date_utc(not_after_s);
    match not_after_s.checked_sub(now_s) {
        Some(left_s) => format!("expires on {date} (days left: {})", left_s / DAY_S),
        None => format!("expired on {date}"),
    }
}

/// Of what a peer is judged by. Own certificates have a line in any case.
fn warning_words(expiring: Expiring<'_>, now_s: u64) -> Option<String> {
    let Validity { name, file, .. } = expiring.validity;
    let until_s = expiring.validity.until_s;
    match expiring.kind {
        ExpiringKind::Certificate => None,
        ExpiringKind::Authority => {
            let expiry = expiry_words(until_s, now_s);
            Some(format!("the authority {name:?} in {file} {expiry}"))
        }
        ExpiringKind::RevocationList => {
            let tense = if until_s < now_s { "was" } else { "is" };
            let date = date_utc(until_s);
            Some(format!(
                "the revocation list of {name:?} in {file} {tense} due on {date}"
            ))
        }
    }
}

fn reject_expired(plan: &Plan, now_s: u64) -> Result<()> {
    for route in &plan.routes {
        for (side, identity) in route.identities() {
            if identity.not_after_s() < now_s {
                let text = format!(
                    "route {:?}: the certificate {:?} shown to {} expired on {}",
                    route.name,
                    identity.subject(),
                    shown_to(side),
                    date_utc(identity.not_after_s())
                );
                return Err(Error::new(ErrorKind::Config, text));
            }
        }
    }
    Ok(())
}

const EXAMPLE: &str = "\
Exit code 2: the gateway would refuse the configuration, or a certificate that it shows has expired.

Example:
  sealwire check --config /etc/sealwire/gateway.toml";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::cert::Init;

    #[test]
    fn every_full_configuration_of_the_guide_is_good() {
        let dir = tempfile::tempdir().unwrap();
        Init::new(dir.path().join("certs")).run().unwrap();
        let guide = include_str!("../../docs/gateway.md");
        let blocks = guide.split("```toml\n").skip(1);
        let mut count = 0;
        for block in blocks.map(|rest| rest.split("```").next().unwrap_or_default()) {
            let config = dir.path().join("gateway.toml");
            fs::write(&config, block).unwrap();
            let check = Check { config };
            check
                .run()
                .unwrap_or_else(|error| panic!("{error}\n{block}"));
            count += 1;
        }
        assert_eq!(count, 7);
    }

    #[test]
    fn what_a_route_does_is_said_in_words() {
        let dir = tempfile::tempdir().unwrap();
        Init::new(dir.path().join("certs")).run().unwrap();
        let config = dir.path().join("gateway.toml");
        fs::write(&config, REENCRYPTING).unwrap();
        let keys: Vec<u8> = (1..=3).flat_map(|key| [key; 48]).collect();
        fs::write(dir.path().join("tickets.keys"), keys).unwrap();
        let plan = config::load(&config).unwrap();
        let expiry_s = plan.routes[0].identities().next().unwrap().1.not_after_s();
        let mut out = Vec::new();
        write_plan(&mut out, &plan, expiry_s - DAY_S).unwrap();
        let date = date_utc(expiry_s);
        let expected = format!(
            "route \"db\" (tcp)\n  \
             listens on 127.0.0.1:1\n  \
             clients: TLS is required and ends here; so is a client certificate\n    \
             from proxy_protocol_from only behind a PROXY header, which says who they are\n    \
             of those with a good certificate only cn:alice, san:app.example\n    \
             sessions are resumed wherever tickets.keys is the same\n  \
             server db.example:2: TLS; its certificate must come from a trusted authority and be \
             for db.example\n    \
             is told first by a PROXY header where clients come from, what TLS they speak, and the \
             subject of their certificates\n    \
             the common name counts where there is no DNS name\n  \
             resolves db.example at run time\n  \
             at most 7 connections, never closed for being idle; connect within 250 ms, handshake \
             within 10 s\n  \
             shows clients \"CN=localhost\", which expires on {date} (days left: 1)\n\
             configuration is good: 1 route(s)\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(reject_expired(&plan, expiry_s), Ok(()));
        let error = reject_expired(&plan, expiry_s + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "route \"db\": the certificate \"CN=localhost\" shown to clients expired on {date}"
            )
        );
    }

    #[test]
    fn what_lowers_security_is_told_as_a_danger() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("gateway.toml");
        fs::write(&config, DANGEROUS).unwrap();
        let mut out = Vec::new();
        write_plan(&mut out, &config::load(&config).unwrap(), 0).unwrap();
        let expected = "\
route \"db\" (mysql)
  listens on 127.0.0.1:1
  clients: no TLS: bytes are taken as they come
  server 127.0.0.1:2: TLS if its greeting offers that; its certificate is not checked
    is told first by a PROXY header where clients come from
  passwords without TLS: encrypted to the key that the server sends in clear
  believes what trusted_proxies say of their clients
  connections bounded by the gateway's limit, closed when idle for 28800 s; connect within 5 s, \
handshake within 10 s
  DANGER: tls = \"danger-preferred\": the server is not verified, and whoever is on the way can \
take TLS out of its greeting
  DANGER: danger_fetch_server_public_key: passwords are encrypted to the key of whoever answers
configuration is good: 1 route(s)
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn authorities_and_revocation_lists_that_come_to_their_end_are_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        Init::new(dir.path().join("certs")).run().unwrap();
        fs::write(dir.path().join("gateway.toml"), REVOKING).unwrap();
        let (from_s, until_s) = (1_772_366_400, 1_772_366_400 + 20 * DAY_S);
        fs::write(dir.path().join("crl.pem"), empty_list(from_s, until_s)).unwrap();
        let plan = config::load(&dir.path().join("gateway.toml")).unwrap();
        let authority_s = plan.routes[0]
            .expiring()
            .find(|it| it.kind == ExpiringKind::Authority)
            .unwrap()
            .validity
            .until_s;
        let list = "the revocation list of \"CN=Test CA\" in crl.pem";
        for (now_s, expected) in [
            (from_s + 18 * DAY_S - 1, Vec::new()),
            (
                from_s + 18 * DAY_S,
                vec![format!("{list} is due on 2026-03-21 12:00 UTC")],
            ),
            (
                until_s + 1,
                vec![format!("{list} was due on 2026-03-21 12:00 UTC")],
            ),
            (
                authority_s - 30 * DAY_S,
                vec![
                    format!(
                        "the authority \"CN=Sealwire development CA\" in certs/ca.pem expires on \
                         {} (days left: 30)",
                        date_utc(authority_s)
                    ),
                    format!("{list} was due on 2026-03-21 12:00 UTC"),
                ],
            ),
        ] {
            let mut out = Vec::new();
            write_plan(&mut out, &plan, now_s).unwrap();
            let out = String::from_utf8(out).unwrap();
            let out = out.replace(&format!("{}/", dir.path().display()), "");
            let warnings: Vec<_> = out
                .lines()
                .filter_map(|line| line.strip_prefix("  WARNING: "))
                .collect();
            assert_eq!(warnings, expected);
        }
    }

    fn empty_list(from_s: u64, until_s: u64) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Test CA");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let list = rcgen::CertificateRevocationListParams {
            this_update: std::time::UNIX_EPOCH
                .checked_add(Duration::from_secs(from_s))
                .unwrap()
                .into(),
            next_update: std::time::UNIX_EPOCH
                .checked_add(Duration::from_secs(until_s))
                .unwrap()
                .into(),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().pem().unwrap()
    }

    const REVOKING: &str = r#"
[[route]]
name = "db"
protocol = "tcp"
listen = ["127.0.0.1:1"]
[route.client]
cert = "certs/server-cert.pem"
key = "certs/server-key.pem"
ca = "certs/ca.pem"
crl = "crl.pem"
[route.server]
address = "127.0.0.1:2"
tls = "off"
"#;

    const DANGEROUS: &str = r#"
[[route]]
name = "db"
protocol = "mysql"
listen = ["127.0.0.1:1"]
[route.client]
tls = "off"
trusted_proxies = ["10.0.0.0/8"]
[route.server]
address = "127.0.0.1:2"
tls = "danger-preferred"
proxy_protocol = "v2"
danger_fetch_server_public_key = true
"#;

    const REENCRYPTING: &str = r#"
[[route]]
name = "db"
protocol = "tcp"
listen = ["127.0.0.1:1"]
connect_timeout_ms = 250
idle_timeout_s = 0
max_connections = 7
[route.client]
cert = "certs/server-cert.pem"
key = "certs/server-key.pem"
ca = "certs/ca.pem"
allowed_clients = ["cn:alice", "san:app.example"]
tickets = "tickets.keys"
proxy_protocol_from = ["10.0.0.0/8"]
[route.server]
address = "db.example:2"
ca = "certs/ca.pem"
allow_cn_name = true
proxy_protocol = "v2"
proxy_protocol_subject = true
"#;

    #[test]
    fn dates_are_told_in_utc_with_the_days_left() {
        assert_eq!(
            expiry_words(1_772_366_400, 1_772_366_400 - 3 * DAY_S - 1),
            "expires on 2026-03-01 12:00 UTC (days left: 3)"
        );
        assert_eq!(
            expiry_words(1_772_366_400, 1_772_366_401),
            "expired on 2026-03-01 12:00 UTC"
        );
    }
}
