use std::io::{Read, Write};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cli::packets::PacketStream;
use crate::conn::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::auth::{ClientAuth, KeySource, Plugin, PublicKey};
use crate::frame::mysql::{
    Capabilities, ErrPacket, FirstServerPacket, Greeting, HandshakeResponse, LoginReply, ServerKind,
};
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::stream::Stream;
use crate::tls::{ClientConfig, ServerName};
use crate::wire::{Reader, Writer};

/// Who logs in.
#[derive(Clone)]
pub(in super::super) struct Account {
    pub(in super::super) user: String,
    pub(in super::super) password: Zeroizing<Vec<u8>>,
    /// PEM: to which the password is encrypted on a way without TLS.
    pub(in super::super) server_public_key: Option<Vec<u8>>,
}

/// Whom TLS is begun with.
pub(in super::super) type Trust<'a> = (&'a Arc<ClientConfig>, &'a ServerName<'static>);

/// A client with one statement under way at most.
pub(in super::super) struct Client<S> {
    packets: PacketStream<S>,
    /// What the server calls itself.
    pub(in super::super) server_version: String,
}

impl<S: Read + Write> Client<S> {
    /// Logs in over `stream`, on which nothing has passed yet.
    pub(in super::super) fn login(
        stream: Stream<S>,
        account: &Account,
        trust: Option<Trust<'_>>,
    ) -> Result<Self> {
        let mut client = Self {
            packets: PacketStream::new(stream),
            server_version: String::new(),
        };
        let payload = client.packets.receive()?;
        let greeting = match FirstServerPacket::parse(&payload)? {
            FirstServerPacket::Greeting(greeting) => greeting,
            FirstServerPacket::Refused(error) => return Err(refused("the connection", &error)),
        };
        client.server_version = String::from_utf8_lossy(greeting.version).into_owned();
        client.authenticate(&greeting, account, trust)?;
        Ok(client)
    }

    /// The only cell of the only row that `statement` gives.
    pub(in super::super) fn cell(&mut self, statement: &[u8]) -> Result<Vec<u8>> {
        self.packets.send_command(|writer| {
            writer.u8(COM_QUERY);
            writer.bytes(statement);
        })?;
        // The count of columns, their one definition, and the EOF behind it.
        for _ in 0..3 {
            self.receive_result()?;
        }
        let row = self.receive_result()?;
        let cell = Reader::new(&row).lenenc_bytes().map(<[u8]>::to_vec);
        self.receive_result()?;
        cell.ok_or_else(|| Error::new(ErrorKind::Protocol, "the server sent no row"))
    }

    pub(in super::super) fn stream(&mut self) -> &mut Stream<S> {
        self.packets.stream()
    }

    pub(in super::super) fn connection(&self) -> &Connection {
        self.packets.connection()
    }

    fn authenticate(
        &mut self,
        greeting: &Greeting<'_>,
        account: &Account,
        trust: Option<Trust<'_>>,
    ) -> Result<()> {
        let keys = match &account.server_public_key {
            Some(pem) => KeySource::Known(PublicKey::from_pem(pem)?),
            None => KeySource::Refused,
        };
        let plugin = greeting.plugin.map_or(Plugin::Native, Plugin::named);
        let is_secure = trust.is_some();
        let password = &account.password;
        let mut auth = ClientAuth::new(password, is_secure, keys, plugin, greeting.nonce);
        let answer = auth.answer()?;
        let response = HandshakeResponse {
            capabilities: CAPABILITIES,
            packet_len_max: LOGIN_PACKET_LEN_MAX as u32,
            collation: COLLATION_UTF8MB4,
            user: account.user.as_bytes(),
            auth_response: &answer,
            plugin: auth.plugin().name().map(str::as_bytes),
            ..HandshakeResponse::default()
        };
        let mut login = Vec::new();
        response.write(&mut Writer::new(&mut login));
        if let Some((config, name)) = trust {
            HandshakeResponse::set_capabilities(&mut login, CAPABILITIES.with(Capabilities::SSL))?;
            self.start_tls(greeting, &login, config, name)?;
        }
        self.packets.send(|writer| writer.bytes(&login))?;
        self.settle(ServerKind::of(greeting), &mut auth, &account.user)
    }

    fn start_tls(
        &mut self,
        greeting: &Greeting<'_>,
        login: &[u8],
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<()> {
        if !greeting.capabilities.contains(Capabilities::SSL) {
            let text = "the greeting offers no TLS: somebody on the way took it out";
            return Err(Error::new(ErrorKind::NotTls, text));
        }
        self.packets.start_tls(login, config, name)
    }

    /// Answers the server until it has judged the login.
    fn settle(&mut self, kind: ServerKind, auth: &mut ClientAuth, user: &str) -> Result<()> {
        loop {
            let payload = self.packets.receive()?;
            let reply = LoginReply::parse(&payload, kind, auth.plugin(), CAPABILITIES)?;
            let answer = match reply {
                LoginReply::Ok(_) => return Ok(()),
                LoginReply::Err(error) => {
                    return Err(refused(format_args!("the login of {user:?}"), &error));
                }
                LoginReply::AuthSwitch(switch) => Some(auth.switch(switch.plugin, switch.nonce())?),
                LoginReply::MoreData(data) => auth.more_data(data)?,
                LoginReply::NextFactor(_) | LoginReply::OldPasswordSwitch => {
                    let text = "the server asks for more than a password";
                    return Err(Error::new(ErrorKind::Protocol, text));
                }
            };
            if let Some(answer) = answer {
                self.packets.send(|writer| writer.bytes(&answer))?;
            }
        }
    }

    fn receive_result(&mut self) -> Result<Vec<u8>> {
        let payload = self.packets.receive()?;
        match payload.first() {
            Some(0xff) => Err(refused("the statement", &ErrPacket::parse(&payload)?)),
            _ => Ok(payload),
        }
    }
}

fn refused(what: impl std::fmt::Display, error: &ErrPacket<'_>) -> Error {
    let code = error.code;
    let state = error.sql_state.unwrap_or(*b"HY000");
    let (state, message) = (printable(&state), printable(error.message));
    let text = format!("the server refuses {what}: ERROR {code} ({state}): {message}");
    Error::new(ErrorKind::Protocol, text)
}

/// What a server says goes to a terminal.
fn printable(text: &[u8]) -> String {
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(text).chars().map(blank).collect()
}

const COM_QUERY: u8 = 3;

/// EOF packets are not deprecated here, so that every result ends in the same way.
const CAPABILITIES: Capabilities = Capabilities::PROTOCOL_41
    .with(Capabilities::LONG_PASSWORD)
    .with(Capabilities::TRANSACTIONS)
    .with(Capabilities::SECURE_CONNECTION)
    .with(Capabilities::PLUGIN_AUTH);

/// utf8mb4_general_ci.
const COLLATION_UTF8MB4: u8 = 45;

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::buf::Pools;
    use crate::engine::Clock;
    use crate::frame::mysql::{HEADER_LEN, SSL_REQUEST_LEN, Sequence, write_packet};
    use crate::tls::{ClientOptions, Verify};

    /// A server that says all it has to say at once, and what it is told.
    struct Script<'a> {
        said: &'a [u8],
        told: &'a mut Vec<u8>,
    }

    impl Read for Script<'_> {
        fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
            self.said.read(target)
        }
    }

    impl Write for Script<'_> {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.told.write(data)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// How a login over TLS fails at a server that offers this, with `behind` its greeting, and how
    /// many bytes it was told.
    fn failure(offered: Capabilities, behind: &[u8]) -> (ErrorKind, usize) {
        let greeting = Greeting {
            capabilities: offered,
            ..Greeting::default()
        };
        let (mut said, mut told) = (Vec::new(), Vec::new());
        write_packet(&mut said, &mut Sequence::default(), |writer| {
            greeting.write(writer)
        });
        said.extend_from_slice(behind);
        let script = Script {
            said: &said,
            told: &mut told,
        };
        let stream = Stream::new(Connection::plain(), script, Clock::start(), Pools::new(1));
        let account = Account {
            user: "u".into(),
            password: Zeroizing::new(b"secret".to_vec()),
            server_public_key: None,
        };
        let config = ClientConfig::new(&ClientOptions::new(Verify::DangerNone)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let Err(error) = Client::login(stream, &account, Some((&config, &name))) else {
            panic!("logged in");
        };
        (error.kind(), told.len())
    }

    #[test]
    fn without_tls_in_the_greeting_nothing_is_told() {
        let offered = Capabilities::PROTOCOL_41;
        assert_eq!(failure(offered, b""), (ErrorKind::NotTls, 0));
    }

    #[test]
    fn plaintext_behind_the_greeting_ends_the_login_before_tls() {
        let offered = Capabilities::PROTOCOL_41.with(Capabilities::SSL);
        let request_len = HEADER_LEN + SSL_REQUEST_LEN;
        let smuggled = b"\x07\0\0\x02\0\0\0\x02\0\0\0";
        assert_eq!(
            failure(offered, smuggled),
            (ErrorKind::Protocol, request_len)
        );
    }
}
