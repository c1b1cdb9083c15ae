//! Logins as another user that are not seen as logins: behind another command, or in a framing.

use super::*;

impl Login {
    /// Why a COM_CHANGE_USER may not pass as it is, of which `rest` is at hand behind its first
    /// byte.
    pub(in crate::gateway::mysql) fn objection(
        &self,
        header: Header,
        rest: &[u8],
    ) -> Option<&'static str> {
        if self.passage.is_translating() {
            return Some(PASSWORD_UNSEEN);
        }
        // No other server believes what attributes say of a proxy.
        let checks_claims = self.kind == ServerKind::OceanBase && !self.policy.is_proxy_trusted;
        if self.accounts.is_none() && !checks_claims {
            return None;
        }
        let is_allowed = || {
            let len = (header.payload_len as usize).checked_sub(1)?;
            let mut payload = Zeroizing::new(vec![Command::CHANGE_USER.0]);
            payload.extend_from_slice(rest.get(..len)?);
            let command = ChangeUser::parse(&payload, self.capabilities).ok()?;
            if checks_claims {
                check_attributes(command.attributes).ok()?;
            }
            let judge = |accounts: &Accounts| accounts.judge(&Claimant::of(&command)).ok();
            self.accounts.as_ref().map_or(Some(()), judge)
        };
        match is_allowed() {
            Some(()) => None,
            None => Some(ACCOUNT_UNSEEN),
        }
    }
}

const PASSWORD_UNSEEN: &str = "COM_CHANGE_USER in a compressed frame or behind another command, \
    where a password may have to change its form: use TLS on both legs, or on neither";

const ACCOUNT_UNSEEN: &str = "COM_CHANGE_USER in a compressed frame or behind another command, to \
    an account that its rules deny, by somebody who claims to be a proxy, or not to be read there";
