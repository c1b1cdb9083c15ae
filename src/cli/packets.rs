//! MySQL's packets over a blocking stream, for commands that are a client.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::conn::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::{Packet, PacketAssembler, Sequence, SslRequest, write_packet};
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::stream::Stream;
use crate::tls::{ClientConfig, ServerName};
use crate::wire::Writer;

/// Whole packets of bounded length, in the order of their sequence ids.
pub(super) struct PacketStream<S> {
    stream: Stream<S>,
    packets: PacketAssembler,
    received: Vec<u8>,
    sequence: Sequence,
    out: Vec<u8>,
}

impl<S: Read + Write> PacketStream<S> {
    /// Packets over `stream`, on which nothing has passed yet.
    pub(super) fn new(stream: Stream<S>) -> Self {
        Self {
            stream,
            packets: PacketAssembler::new(LOGIN_PACKET_LEN_MAX),
            received: Vec::new(),
            sequence: Sequence::default(),
            out: Vec::new(),
        }
    }

    /// The payload of the next packet.
    pub(super) fn receive(&mut self) -> Result<Vec<u8>> {
        let mut chunk = [0; 4_096];
        loop {
            let mut rest = &self.received[..];
            let packet = self
                .packets
                .next(&mut rest)?
                .map(|Packet { sequence, payload }| (sequence, payload.to_vec()));
            let taken = self.received.len() - rest.len();
            self.received.drain(..taken);
            if let Some((sequence, payload)) = packet {
                self.sequence.expect(sequence)?;
                return Ok(payload);
            }
            let len = self.stream.read(&mut chunk).map_err(lost)?;
            if len == 0 {
                return Err(Error::new(ErrorKind::Truncated, "the server hung up"));
            }
            self.received.extend_from_slice(&chunk[..len]);
        }
    }

    /// Sends the packet whose payload `write` writes.
    pub(super) fn send(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Result<()> {
        self.out.clear();
        write_packet(&mut self.out, &mut self.sequence, write);
        let sent = self.stream.write_all(&self.out);
        sent.and_then(|()| self.stream.flush()).map_err(lost)
    }

    /// Sends the first packet of a command.
    pub(super) fn send_command(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Result<()> {
        self.sequence = Sequence(0);
        self.send(write)
    }

    /// Asks for TLS in front of `login`, the payload of the packet that is to follow, and completes
    /// the handshake.
    pub(super) fn start_tls(
        &mut self,
        login: &[u8],
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<()> {
        let request = SslRequest::before(login)?;
        self.send(|writer| writer.bytes(&request))?;
        if !self.received.is_empty() {
            let text = "the server sent plaintext behind its greeting";
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        self.stream.start_tls_client(config, name)?;
        self.stream.handshake()
    }

    /// True where nothing has been received that was not given out.
    pub(super) fn is_empty(&self) -> bool {
        self.received.is_empty() && self.packets.is_empty()
    }

    pub(super) fn stream(&mut self) -> &mut Stream<S> {
        &mut self.stream
    }

    pub(super) fn into_stream(self) -> Stream<S> {
        self.stream
    }

    pub(super) fn connection(&self) -> &Connection {
        self.stream.connection()
    }
}

/// The error of the stream, where it was one.
pub(super) fn lost(error: std::io::Error) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| Error::io("talk to the server", &error))
}
