use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use crate::buf::Pools;
use crate::cli::demo::connect;
use crate::cli::demo::load::{self, Figures};
use crate::cli::demo::wire::{Wire, value};
use crate::cli::login::Account;
use crate::conn::Connection;
use crate::engine::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Stream;
use crate::tls::{ClientConfig, Facts, ServerName};

/// A session, and what was measured on it.
pub(in super::super) struct Leg {
    pub(in super::super) figures: Figures,
    client: Client<Wire>,
}

impl Leg {
    /// Connects and logs in, over TLS where it is given how.
    pub(in super::super) fn open(
        name: &'static str,
        address: SocketAddr,
        account: &Account,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        let wire = Wire::new(connect(address)?);
        let stream = Stream::new(Connection::plain(), wire, Clock::start(), Pools::new(4));
        let server = ServerName::try_from("localhost")
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let client = Client::login(stream, account, tls.map(|config| (config, &server)))
            .map_err(|error| error.at(format_args!("{name} leg")))?;
        Ok(Self {
            figures: Figures::new(name)?,
            client,
        })
    }

    pub(in super::super) fn server_version(&self) -> &str {
        &self.client.server_version
    }

    pub(in super::super) fn facts(&self) -> Option<&Arc<Facts>> {
        self.client.connection().facts()
    }
}

impl load::Leg for Leg {
    fn request(&mut self) -> Result<()> {
        let statement = [b"SELECT '", &value()[..], b"' AS answer"].concat();
        let cell = self.client.cell(&statement);
        if cell.map_err(|error| error.at(format_args!("{} leg", self.figures.name)))? != value() {
            let text = "the answer is not what was selected";
            return Err(Error::new(ErrorKind::Internal, text));
        }
        Ok(())
    }

    fn drive(&mut self, slice: Duration) -> Result<()> {
        load::one_by_one(self, slice)
    }

    fn wire(&mut self) -> &mut Wire {
        self.client.stream().socket_mut()
    }

    fn figures(&mut self) -> &mut Figures {
        &mut self.figures
    }
}
