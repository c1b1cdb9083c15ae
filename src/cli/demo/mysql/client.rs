use std::io::{Read, Write};
use std::sync::Arc;

use crate::cli::login::{Account, Login, Step, refused};
use crate::cli::packets::PacketStream;
use crate::conn::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::ErrPacket;
use crate::stream::Stream;
use crate::tls::{ClientConfig, ServerName};
use crate::wire::Reader;

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
        client.authenticate(account, trust)?;
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

    fn authenticate(&mut self, account: &Account, trust: Option<Trust<'_>>) -> Result<()> {
        let mut login = Login::new(account, trust.is_some());
        loop {
            match (login.take(&self.packets.receive()?)?, trust) {
                (Step::Wait, _) => {}
                (Step::Send(payload), _) => self.packets.send(|writer| writer.bytes(&payload))?,
                (Step::StartTls(payload), Some((config, name))) => {
                    self.packets.start_tls(&payload, config, name)?;
                    self.packets.send(|writer| writer.bytes(&payload))?;
                }
                (Step::StartTls(_), None) => {
                    return Err(Error::new(ErrorKind::Internal, "TLS without trust"));
                }
                (Step::Done, _) => {
                    self.server_version = login.server_version;
                    return Ok(());
                }
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

const COM_QUERY: u8 = 3;

#[cfg(test)]
mod tests {
    use std::io;

    use zeroize::Zeroizing;

    use super::*;
    use crate::buf::Pools;
    use crate::engine::Clock;
    use crate::frame::mysql::{
        Capabilities, Greeting, HEADER_LEN, SSL_REQUEST_LEN, Sequence, write_packet,
    };
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
