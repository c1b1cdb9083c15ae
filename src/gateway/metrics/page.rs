//! The status page: one document without scripts, pictures or anything else from elsewhere.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::exposition::version_name;
use super::status::{Reloads, Shown, Status};
use super::words::{Bytes, Text, count, moment, size, span};
use crate::gateway::config::{ClientTls, Expiring, ExpiringKind, Route, ServerTls};
use crate::gateway::counters::RouteTotals;
use crate::gateway::machine;
use crate::gateway::session::Phase;
use crate::gateway::sessions::{Live, LiveSession};
use crate::tls::{Facts, Oneline, Validity};

/// What was seen of the workers at one moment.
pub(super) struct Look {
    /// In the order of the workers; `None` where one did not answer.
    live: Vec<Option<Live>>,
    busy: Vec<Option<Duration>>,
    /// What part of the time since the look before each worker was busy.
    utilisation: Vec<Option<f64>>,
}

impl Look {
    /// Looks now. `before` is the previous look and how long ago it was.
    pub(super) fn at(status: &Status, before: Option<(Duration, Self)>) -> Self {
        let busy = status.busy();
        let started = Duration::from_secs(status.info.started_s);
        let age = Duration::from_secs(machine::wall_s()).saturating_sub(started);
        let zero = vec![Some(Duration::ZERO); busy.len()];
        let (passed, past) = before.map_or((age, zero), |(passed, look)| (passed, look.busy));
        let part = |(now, past): (&Option<Duration>, Option<Duration>)| {
            let busy = (*now)?.saturating_sub(past?);
            (!passed.is_zero()).then(|| busy.as_secs_f64() / passed.as_secs_f64())
        };
        Self {
            live: status.look(ROWS_MAX),
            utilisation: busy.iter().zip(past).map(part).collect(),
            busy,
        }
    }
}

/// The page, as HTML.
pub(super) fn write(status: &Status, look: &Look) -> String {
    let mut page = Page(String::new());
    let shown = status.shown();
    let now_s = machine::wall_s();
    page.push(format_args!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">\n\
         <title>Sealwire gateway</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    ));
    write_head(&mut page, status, &shown, now_s);
    write_figures(&mut page, status, &shown, look);
    write_reload(&mut page, &shown.reloads, now_s);
    write_routes(&mut page, &shown);
    write_certificates(&mut page, &shown, now_s);
    write_sessions(&mut page, look);
    page.push(format_args!("</body>\n</html>\n"));
    page.0
}

/// The SHA-256 of the page's style.
pub(super) fn style_hash() -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, STYLE.as_bytes()).as_ref());
    hash
}

fn write_head(page: &mut Page, status: &Status, shown: &Shown, now_s: u64) {
    let (class, state) = match shown.is_draining {
        false => ("good", "serving"),
        true => ("warn", "draining"),
    };
    let info = &status.info;
    let up = span(Duration::from_secs(now_s.saturating_sub(info.started_s)));
    let (version, aes) = (env!("CARGO_PKG_VERSION"), machine::aes_kind());
    page.push(format_args!(
        "<header><h1>Sealwire gateway</h1><span class=\"mark {class}\">{state}</span></header>\n\
         <p class=\"faint\">version {version} · up {up} · AES {aes} · {}</p>\n",
        Text(&info.backend)
    ));
    if let Some(reason) = &info.fallback_reason {
        let reason = Text(reason);
        page.push(format_args!(
            "<p class=\"note warn\">epoll is used, io_uring is not: {reason}</p>\n"
        ));
    }
}

fn write_figures(page: &mut Page, status: &Status, shown: &Shown, look: &Look) {
    let totals: Vec<_> = (shown.service.routes.iter())
        .map(|state| state.counters.totals())
        .collect();
    let sum = |of: fn(&RouteTotals) -> u64| totals.iter().map(of).sum::<u64>();
    let open = status.gauges.open.taken() as u64;
    let max = shown.service.bounds.connections_max as u64;
    page.push(format_args!("<dl>\n"));
    page.figure(
        "open connections",
        format_args!("{} of {}", count(open), count(max)),
    );
    page.figure("connections so far", count(sum(|it| it.connections)));
    page.figure(
        "failed or refused",
        count(sum(|it| it.failures.0.values().sum())),
    );
    page.figure("to servers", size(sum(|it| it.to_server_bytes)));
    page.figure("to clients", size(sum(|it| it.to_client_bytes)));
    for (worker, part) in look.utilisation.iter().enumerate() {
        let part = part.map_or("unknown".into(), |part| format!("{:.0} %", part * 100.0));
        page.figure(format_args!("worker {worker} busy"), part);
    }
    page.push(format_args!("</dl>\n"));
}

fn write_reload(page: &mut Page, reloads: &Reloads, now_s: u64) {
    page.push(format_args!("<h2>Configuration</h2>\n"));
    let since = moment(reloads.last_good_s);
    let (good, failed) = (count(reloads.good), count(reloads.failed));
    page.push(format_args!(
        "<p>In service since {since}. Reloads: {good} good, {failed} failed.</p>\n"
    ));
    let Some(last) = &reloads.last else {
        return;
    };
    let ago = span(Duration::from_secs(now_s.saturating_sub(last.at_s)));
    let (trigger, at) = (Text(&last.trigger), moment(last.at_s));
    match &last.error {
        None => page.push(format_args!(
            "<p>The last reload ({trigger}, {at}, {ago} ago) was good.</p>\n"
        )),
        Some(error) => page.push(format_args!(
            "<p class=\"note bad\">The last reload ({trigger}, {at}, {ago} ago) failed, and what \
             was in service before still is: {}</p>\n",
            Text(error)
        )),
    }
}

fn write_routes(page: &mut Page, shown: &Shown) {
    page.push(format_args!("<h2>Routes</h2>\n"));
    let columns = [
        "Route",
        "Listens on",
        "Clients",
        "Server",
        "Open",
        "So far",
        "Failed",
        "Bytes",
    ];
    page.begin_table(&columns, 4);
    for state in &shown.service.routes {
        let (route, totals) = (&*state.route, state.counters.totals());
        let protocol = route.protocol.name();
        page.push(format_args!("<tr>"));
        page.cell(
            columns[0],
            format_args!("{}<small>{protocol}</small>", Text(&route.name)),
        );
        page.cell(columns[1], Lines(&route.listen));
        page.cell(columns[2], client_words(&route.client.tls));
        page.cell(columns[3], ServerCell(route));
        page.number(columns[4], count(state.counters.open.taken() as u64));
        page.number(columns[5], count(totals.connections));
        page.number(columns[6], FailuresCell(&totals));
        page.number(
            columns[7],
            BytesCell(totals.to_server_bytes, totals.to_client_bytes),
        );
        page.push(format_args!("</tr>\n"));
    }
    page.end_table();
}

fn write_certificates(page: &mut Page, shown: &Shown, now_s: u64) {
    let routes = shown.service.routes.iter();
    let mut rows: Vec<_> = routes
        .flat_map(|state| (state.route.expiring()).map(move |it| (&state.route.name, it)))
        .collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by_key(|(_, it)| it.validity.until_s);
    page.push(format_args!("<h2>Certificates</h2>\n"));
    let columns = ["Subject", "Route", "Use", "Expires"];
    page.begin_table(&columns, 0);
    for (route, it) in rows {
        let Validity { name, until_s, .. } = it.validity;
        page.push(format_args!("<tr>"));
        page.cell(columns[0], Text(name));
        page.cell(columns[1], Text(route));
        page.cell(columns[2], use_words(it));
        page.cell(columns[3], ExpiryCell(*until_s, now_s));
        page.push(format_args!("</tr>\n"));
    }
    page.end_table();
}

fn use_words(it: Expiring<'_>) -> &'static str {
    match (it.kind, it.side) {
        (ExpiringKind::Certificate, "client") => "shown to clients",
        (ExpiringKind::Certificate, _) => "shown to the server",
        (ExpiringKind::Authority, "client") => "authority of clients",
        (ExpiringKind::Authority, _) => "authority of the server",
        (ExpiringKind::RevocationList, "client") => "revoked clients",
        (ExpiringKind::RevocationList, _) => "revoked servers",
    }
}

fn write_sessions(page: &mut Page, look: &Look) {
    let answered = look.live.iter().flatten();
    let total: usize = answered.clone().map(|live| live.count).sum();
    let mut sessions: Vec<_> = answered.flat_map(|live| &live.sessions).collect();
    sessions.sort_by_key(|session| session.age);
    sessions.truncate(ROWS_MAX);
    let (len, all) = (sessions.len(), count(total as u64));
    page.push(format_args!("<h2>Connections</h2>\n"));
    match total {
        0 => page.push(format_args!("<p class=\"faint\">There are none.</p>\n")),
        total if total > len => page.push(format_args!(
            "<p class=\"faint\">The newest {len} of {all}; {} more are open.</p>\n",
            count((total - len) as u64)
        )),
        _ => page.push(format_args!(
            "<p class=\"faint\">{all}, the newest first.</p>\n"
        )),
    }
    for (worker, live) in look.live.iter().enumerate() {
        if live.is_none() {
            let text = "did not say in time which connections it has";
            page.push(format_args!(
                "<p class=\"note warn\">Worker {worker} {text}.</p>\n"
            ));
        }
    }
    if !sessions.is_empty() {
        write_session_rows(page, &sessions);
    }
}

fn write_session_rows(page: &mut Page, sessions: &[&LiveSession]) {
    let columns = [
        "Client",
        "Account",
        "Certificate",
        "Client TLS",
        "Server TLS",
        "Route",
        "Age",
        "Bytes",
    ];
    page.begin_table(&columns, 2);
    for session in sessions {
        page.push(format_args!("<tr>"));
        let (peer, phase) = (session.peer, phase_words(session.phase));
        page.cell(columns[0], format_args!("{peer}<small>{phase}</small>"));
        page.cell(
            columns[1],
            Bytes(session.user.as_deref().unwrap_or(NOTHING.as_bytes())),
        );
        page.cell(columns[2], Subject(session.client.as_deref()));
        page.cell(columns[3], FactsCell(session.client.as_deref()));
        page.cell(columns[4], FactsCell(session.server.as_deref()));
        page.cell(columns[5], Text(&session.route));
        page.number(columns[6], span(session.age));
        page.number(
            columns[7],
            BytesCell(session.to_server_bytes, session.to_client_bytes),
        );
        page.push(format_args!("</tr>\n"));
    }
    page.end_table();
}

fn client_words(tls: &ClientTls) -> String {
    match tls {
        ClientTls::Off => "no TLS".into(),
        ClientTls::Terminated {
            is_required: true, ..
        } => "TLS required".into(),
        ClientTls::Terminated {
            is_required: false, ..
        } => "TLS preferred".into(),
        ClientTls::Passthrough => "their TLS passes".into(),
        ClientTls::Negotiated { policy, .. } => {
            let methods: Vec<_> = policy.methods.names().collect();
            methods.join(" or ")
        }
    }
}

fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Announcing => "PROXY header",
        Phase::Handshake => "TLS handshake",
        Phase::Resolving => "resolving the server's name",
        Phase::Connecting => "connecting to the server",
        Phase::Login => "logging in",
        Phase::Abandoning => "left in its login",
        Phase::Relaying => "in use",
        Phase::Ending => "ending",
    }
}

/// The document, which is only appended to.
struct Page(String);

impl Page {
    fn push(&mut self, html: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(html);
    }

    fn figure(&mut self, name: impl Display, value: impl Display) {
        self.push(format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
    }

    /// Begins a table, whose last columns are numbers.
    fn begin_table(&mut self, columns: &[&str], numbers_len: usize) {
        self.push(format_args!("<table>\n<thead><tr>"));
        let (texts, numbers) = columns.split_at(columns.len() - numbers_len);
        for column in texts {
            self.push(format_args!("<th>{column}</th>"));
        }
        for column in numbers {
            self.push(format_args!("<th class=\"number\">{column}</th>"));
        }
        self.push(format_args!("</tr></thead>\n<tbody>\n"));
    }

    /// A cell; on a narrow screen its column's name stands before it, or nothing where it has
    /// nothing to say.
    fn cell(&mut self, column: &str, html: impl Display) {
        let html = html.to_string();
        let class = if html == NOTHING { "none" } else { "text" };
        self.push(format_args!(
            "<td class=\"{class}\" data-label=\"{column}\"><div>{html}</div></td>"
        ));
    }

    fn number(&mut self, column: &str, html: impl Display) {
        self.push(format_args!(
            "<td class=\"number\" data-label=\"{column}\"><div>{html}</div></td>"
        ));
    }

    fn end_table(&mut self) {
        self.push(format_args!("</tbody>\n</table>\n"));
    }
}

/// Values one below the other.
struct Lines<'v, T>(&'v [T]);

impl<T: Display> Display for Lines<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "<br>" };
            write!(f, "{gap}{}", Text(&value.to_string()))?;
        }
        Ok(())
    }
}

struct ServerCell<'r>(&'r Route);

impl Display for ServerCell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(route) = self;
        let tls = match route.server.tls {
            ServerTls::Off => "no TLS",
            ServerTls::Verify { .. } => "TLS",
            ServerTls::Negotiated { method, .. } => method.name(),
        };
        let address = route.server.address.to_string();
        write!(f, "{}<small>{tls}</small>", Text(&address))?;
        for danger in route.dangers() {
            write!(f, "<small class=\"note bad\">{}</small>", Text(danger))?;
        }
        Ok(())
    }
}

struct FailuresCell<'t>(&'t RouteTotals);

impl Display for FailuresCell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = &self.0.failures.0;
        write!(f, "{}", count(failures.values().sum()))?;
        for (class, number) in failures {
            write!(f, "<small>{class} {}</small>", count(*number))?;
        }
        Ok(())
    }
}

/// Bytes to the server and to the client.
struct BytesCell(u64, u64);

impl Display for BytesCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "↑ {}<br>↓ {}", size(self.0), size(self.1))
    }
}

/// The last second at which a certificate is valid, and the present one.
struct ExpiryCell(u64, u64);

impl Display for ExpiryCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(not_after_s, now_s) = *self;
        let at = moment(not_after_s);
        match not_after_s.checked_sub(now_s) {
            None => write!(f, "{at} <span class=\"mark bad\">expired</span>"),
            Some(left_s) => {
                let class = if left_s < WARNING_S { "warn" } else { "good" };
                let left = span(Duration::from_secs(left_s));
                write!(f, "{at} <span class=\"mark {class}\">{left} left</span>")
            }
        }
    }
}

struct FactsCell<'f>(Option<&'f Facts>);

impl Display for FactsCell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(facts) = self.0 else {
            return f.write_str(NOTHING);
        };
        let resumed = if facts.resumed { " resumed" } else { "" };
        let (version, suite) = (version_name(facts.version), facts.suite);
        write!(f, "{version}{resumed}<small>{suite}</small>")
    }
}

/// The subject of a peer's certificate, however long the peer made it.
struct Subject<'f>(Option<&'f Facts>);

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(certificate) = self.0.and_then(Facts::peer) else {
            return f.write_str(NOTHING);
        };
        let subject = certificate.subject(Oneline::OpenSsl3);
        let subject = subject.as_deref().unwrap_or("unreadable");
        let end = subject
            .char_indices()
            .nth(SUBJECT_LEN_MAX)
            .map(|(at, _)| at);
        let more = if end.is_some() { " …" } else { "" };
        write!(
            f,
            "{}{more}",
            Text(&subject[..end.unwrap_or(subject.len())])
        )
    }
}

const STYLE: &str = include_str!("style.css");

const NOTHING: &str = "–";

/// Between two loads of the page by itself.
const REFRESH_S: u64 = 10;

/// Connections on a page: about what a person looks through. Those beyond are counted.
const ROWS_MAX: usize = 200;

/// Characters of a subject on the page.
const SUBJECT_LEN_MAX: usize = 256;

/// Time before the expiry of a certificate from which on it stands out, as in the log.
const WARNING_S: u64 = 30 * 86_400;

#[cfg(test)]
impl Look {
    /// Of one worker that has these sessions.
    pub(super) fn of(live: Live) -> Self {
        Self {
            live: vec![Some(live)],
            busy: vec![None],
            utilisation: vec![None],
        }
    }
}
