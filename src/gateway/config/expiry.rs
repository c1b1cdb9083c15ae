use super::plan::{ClientTls, Route, ServerTls};
use crate::tls::{Identity, Roots, Validity};

/// Something of a route that comes to an end by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiring<'a> {
    /// The side of the route that it belongs to: `client` or `server`.
    pub(crate) side: &'static str,
    pub(crate) kind: ExpiringKind,
    pub(crate) validity: &'a Validity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpiringKind {
    /// The certificate that is shown.
    Certificate,
    /// An authority that peers are judged by. Those of the operating system are its own matter.
    Authority,
    /// What one of these has revoked.
    RevocationList,
}

impl Route {
    /// Everything of this route that comes to an end by itself.
    pub(crate) fn expiring(&self) -> impl Iterator<Item = Expiring<'_>> {
        let client = match &self.client.tls {
            ClientTls::Terminated {
                identity, config, ..
            } => Some((Some(identity), config.roots())),
            ClientTls::Negotiated {
                identity, server, ..
            } => Some((identity.as_ref(), server.roots())),
            ClientTls::Off | ClientTls::Passthrough => None,
        };
        let server = match &self.server.tls {
            ServerTls::Verify {
                identity, config, ..
            } => Some((identity.as_ref(), config.roots())),
            ServerTls::Negotiated {
                identity, client, ..
            } => Some((identity.as_ref(), client.roots())),
            ServerTls::Off => None,
        };
        [("client", client), ("server", server)]
            .into_iter()
            .filter_map(|(side, leg)| leg.map(|(identity, roots)| (side, identity, roots)))
            .flat_map(|(side, identity, roots)| {
                of_leg(identity.map(|it| &**it), roots.map(|it| &**it)).map(
                    move |(kind, validity)| Expiring {
                        side,
                        kind,
                        validity,
                    },
                )
            })
    }
}

impl ExpiringKind {
    /// What it is, for tables and labels.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Authority => "authority",
            Self::RevocationList => "revocation_list",
        }
    }
}

impl Expiring<'_> {
    /// When somebody is to be told, in seconds since 1970-01-01 UTC.
    pub(crate) fn warn_s(&self) -> u64 {
        let Validity {
            from_s, until_s, ..
        } = *self.validity;
        let ahead_s = match self.kind {
            ExpiringKind::Certificate | ExpiringKind::Authority => CERTIFICATE_WARNING_S,
            ExpiringKind::RevocationList => until_s.saturating_sub(from_s) / LIST_WARNING_PART,
        };
        until_s.saturating_sub(ahead_s)
    }
}

fn of_leg<'a>(
    identity: Option<&'a Identity>,
    roots: Option<&'a Roots>,
) -> impl Iterator<Item = (ExpiringKind, &'a Validity)> {
    let own = identity.map(|it| (ExpiringKind::Certificate, it.validity()));
    let authorities = roots.into_iter().flat_map(Roots::validities);
    let crls = roots.and_then(Roots::crls);
    let lists = crls.into_iter().flat_map(|crls| crls.validities());
    own.into_iter()
        .chain(authorities.map(|it| (ExpiringKind::Authority, it)))
        .chain(lists.map(|it| (ExpiringKind::RevocationList, it)))
}

/// A third of the life of certificates that are renewed by themselves.
const CERTIFICATE_WARNING_S: u64 = 30 * 86_400;

/// Lists are issued anew on a schedule, before they are due. Where no more than a tenth of the time
/// is left, that has not happened.
const LIST_WARNING_PART: u64 = 10;
