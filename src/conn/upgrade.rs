//! Where TLS begins and ends within the stream of a connection.

use std::sync::Arc;
use std::time::Duration;

use super::{Connection, Layer, failed_before};
use crate::buf::Pools;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Now;
use crate::tls::record::Records;
use crate::tls::session::Handshake;
use crate::tls::{ClientConfig, Facts, ServerConfig, ServerName, Version};

impl Connection {
    /// Begins TLS, as its client, in the midst of a plain connection. The ClientHello follows what
    /// was written.
    ///
    /// What was used of the peer's stream so far was plain; everything after it belongs to TLS. So
    /// whoever moves the bytes gives to [`Connection::handle_recv`] once more what that call gave
    /// out and nobody used, from the first such byte on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misuse`] where the connection is not plain or has been closed;
    /// [`ErrorKind::Truncated`] where the peer has ended its stream.
    pub fn start_tls_client(
        &mut self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        now: Now,
        pools: &mut Pools,
    ) -> Result<()> {
        self.check_plain()?;
        let mut handshake = Box::new(Handshake::client(config, name, now)?);
        handshake.advance(now, &[], &mut self.out, &mut pools.send)?;
        self.begin_tls(
            Layer::Handshaking(handshake),
            now,
            config.handshake_timeout(),
        );
        Ok(())
    }

    /// Begins TLS, as its server, in the midst of a plain connection: the counterpart of
    /// [`Connection::start_tls_client`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_tls_server(&mut self, config: &Arc<ServerConfig>, now: Now) -> Result<()> {
        self.check_plain()?;
        let layer = Layer::Accepting(Arc::clone(config));
        self.begin_tls(layer, now, config.handshake_timeout());
        Ok(())
    }

    /// Ends TLS with the handshake: both ends are authenticated, and every byte after the last one
    /// of the handshake is plain, in both directions. Whoever is on the path can read and change
    /// it.
    ///
    /// The handshake must agree on TLS 1.2, whose last message is the last byte of TLS; later
    /// versions send more of it at any time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misuse`] where no handshake is under way.
    pub fn danger_plain_after_handshake(&mut self) -> Result<()> {
        if !self.is_handshaking() {
            return Err(Error::new(ErrorKind::Misuse, "no handshake is under way"));
        }
        self.is_plain_after_handshake = true;
        Ok(())
    }

    /// Takes the end of the peer's stream for a clean one although no close_notify came before it,
    /// as some peers never send one. An attacker can then cut the stream behind any record.
    pub fn danger_end_without_close_notify(&mut self) {
        self.is_eof_an_end = true;
    }

    /// The layer that a completed handshake leads to.
    pub(super) fn layer_behind(&self, facts: &Facts, records: Box<dyn Records>) -> Result<Layer> {
        if !self.is_plain_after_handshake {
            return Ok(Layer::Established(records));
        }
        if facts.version != Version::Tls12 {
            let text = format!(
                "TLS {} was agreed on, but only TLS 1.2 can end with the handshake",
                facts.version.number()
            );
            return Err(Error::new(ErrorKind::TlsIncompatible, text));
        }
        Ok(Layer::Plain)
    }

    fn check_plain(&self) -> Result<()> {
        match self.layer {
            Layer::Plain if self.is_closing => {
                Err(Error::new(ErrorKind::Misuse, "TLS begun after close"))
            }
            Layer::Plain if self.is_peer_closed => Err(Error::new(
                ErrorKind::Truncated,
                "peer closed the connection before it began TLS",
            )),
            Layer::Plain => Ok(()),
            Layer::Failed => Err(failed_before()),
            Layer::Negotiating(_) => Err(Error::new(
                ErrorKind::Misuse,
                "TLS begun in mid-negotiation",
            )),
            Layer::Accepting(_) | Layer::Handshaking(_) | Layer::Established(_) => {
                Err(Error::new(ErrorKind::Misuse, "TLS has begun already"))
            }
        }
    }

    fn begin_tls(&mut self, layer: Layer, now: Now, timeout: Duration) {
        self.layer = layer;
        self.is_upgraded = true;
        // A negotiation in front of TLS has a deadline for both.
        let deadline = now.monotonic.after(timeout);
        self.deadline = Some(self.deadline.map_or(deadline, |first| first.min(deadline)));
    }
}
