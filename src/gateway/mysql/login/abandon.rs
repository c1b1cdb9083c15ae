//! The end of a login whose client has left, or was refused.
//!
//! A server counts what drops in mid-login against the gateway's address, and after
//! max_connect_errors of them it lets nobody in (ERR 1129); a login that it refuses does not count.
//! So the login goes on without its client, up to the server's verdict.

use super::*;

impl Login {
    /// Goes on without the client, and says what is to be done for it; [`Step::End`] where the
    /// server waits for nothing more.
    pub(in crate::gateway) fn abandon(&mut self) -> Step {
        self.is_abandoned = true;
        if self.is_server_done {
            return Step::End;
        }
        match self.server.sequence {
            Sequence(0) => {
                self.state = State::Greeting;
                Step::Go
            }
            Sequence(1) => self.log_in_nobody(),
            _ if self.is_server_waiting => {
                self.send_to_server(&[]);
                Step::Go
            }
            _ => match self.state {
                State::ServerTls(_) | State::Replies { .. } => Step::Go,
                _ => Step::End,
            },
        }
    }

    /// Takes a packet of the server where there is no client any more.
    pub(super) fn take_server_alone(&mut self, payload: &[u8]) -> Result<Step, Violation> {
        if self.is_greeted() {
            return self.reply_to_nobody(payload);
        }
        let FirstServerPacket::Greeting(greeting) = FirstServerPacket::parse(payload)? else {
            return Ok(Step::End);
        };
        self.kind = ServerKind::of(&greeting);
        self.is_server_tls = self.policy.server_tls != ServerUpgrade::Never
            && greeting.capabilities.contains(Capabilities::SSL);
        Ok(self.log_in_nobody())
    }

    fn reply_to_nobody(&mut self, payload: &[u8]) -> Result<Step, Violation> {
        let plugin = self.passage.plugin();
        match LoginReply::parse(payload, self.kind, plugin, self.capabilities)? {
            LoginReply::Err(_) => return Ok(Step::End),
            LoginReply::Ok(_) => {
                self.server.sequence = Sequence(0);
                self.server.send(&[Command::QUIT.0]);
                return Ok(Step::End);
            }
            LoginReply::MoreData(_) if payload == FAST_AUTH_DONE => {}
            LoginReply::AuthSwitch(switch) | LoginReply::NextFactor(switch) => {
                self.send_to_server(Plugin::named(switch.plugin).wrong_answer());
            }
            LoginReply::OldPasswordSwitch | LoginReply::MoreData(_) => self.send_to_server(&[]),
        }
        Ok(Step::Go)
    }

    fn log_in_nobody(&mut self) -> Step {
        let capabilities = Capabilities::PROTOCOL_41
            .with(Capabilities::SECURE_CONNECTION)
            .with(Capabilities::PLUGIN_AUTH);
        self.capabilities = capabilities;
        let nobody = HandshakeResponse {
            capabilities,
            collation: COLLATION_UTF8,
            user: b"sealwire: the client has left",
            auth_response: Plugin::Native.wrong_answer(),
            plugin: Plugin::Native.name().map(str::as_bytes),
            ..HandshakeResponse::default()
        };
        let mut login = Zeroizing::new(Vec::new());
        nobody.write(&mut Writer::new(&mut login));
        self.pass_login(login).unwrap_or(Step::End)
    }
}

/// utf8_general_ci, which every server has.
const COLLATION_UTF8: u8 = 33;
