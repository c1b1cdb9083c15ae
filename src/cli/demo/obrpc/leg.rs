use std::time::{Duration, Instant};

use super::client::Client;
use super::tour::{self, result, wrong};
use super::{ECHO, LOOK, Seen};
use crate::cli::demo::load::{self, Figures};
use crate::cli::demo::wire::{Wire, value};
use crate::error::{Error, Result};

/// How a leg reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Way {
    /// In the clear, without a negotiation.
    Plain,
    /// By a negotiation for SSL_IO.
    SslIo,
    /// In the clear to a gateway beside the client, and from there by a negotiation for SSL_IO.
    Sidecar,
}

/// A connection, and what was called and measured on it.
pub(in super::super) struct Leg {
    pub(in super::super) figures: Figures,
    pub(in super::super) way: Way,
    /// What this end knows of its own connection.
    pub(in super::super) own: Seen,
    /// What the server knows of the connection that its calls come by.
    pub(in super::super) seen: Seen,
    /// What was called and answered.
    pub(in super::super) answers: Vec<String>,
    pub(in super::super) in_flight: InFlight,
    client: Client,
}

/// What was measured with many calls in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct InFlight {
    calls: u64,
    sends: u64,
    took: Duration,
}

impl Way {
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plaintext",
            Self::SslIo => "SSL_IO",
            Self::Sidecar => "sidecar",
        }
    }
}

impl Leg {
    /// Makes a call of each kind on a connection that reaches the server by this `way`.
    pub(in super::super) fn open(way: Way, client: Result<Client>) -> Result<Self> {
        let at = |error: Error| error.at(format_args!("{} leg", way.name()));
        let mut client = client.map_err(at)?;
        let seen = look(&mut client).map_err(at)?;
        Ok(Self {
            figures: Figures::new(way.name())?,
            way,
            own: Seen::of(client.facts()),
            seen,
            answers: tour::take(&mut client).map_err(at)?,
            in_flight: InFlight::default(),
            client,
        })
    }

    /// An error where it was not encrypted and is shown as if it had been, or where what its wire
    /// shows proves nothing.
    pub(in super::super) fn verdict(&self) -> Result<()> {
        let (name, readable) = (self.way.name(), self.figures.readable);
        let is_encrypted = match self.way {
            Way::Plain if readable.messages == readable.of && !self.seen.is_encrypted => {
                return Ok(());
            }
            Way::Plain => {
                let text = "the plaintext leg could not be read on the wire: the proof proves \
                            nothing";
                return Err(wrong(text).at("OB-RPC"));
            }
            Way::SslIo => self.own.is_encrypted && readable.messages == 0,
            // The wire that counts is the gateway's, which the server's end alone knows.
            Way::Sidecar => true,
        };
        match is_encrypted && self.seen.is_encrypted {
            true => Ok(()),
            false => {
                let at = format_args!("OB-RPC, {name} leg, {}", self.seen.text);
                Err(wrong("what is shown as encrypted was not").at(at))
            }
        }
    }

    /// Makes many calls together, again and again for as long as `slice`.
    fn burst(&mut self, slice: Duration) -> Result<()> {
        let (begin, sends) = (Instant::now(), self.client.wire().sends());
        while begin.elapsed() < slice {
            for _ in 0..IN_FLIGHT {
                self.client.queue(ECHO, |writer| writer.bytes(&value()))?;
            }
            let mut good = 0;
            self.client.answers(IN_FLIGHT, |answer| {
                good += usize::from(answer.result == value());
            })?;
            if good != IN_FLIGHT {
                return Err(wrong("an echo is not what was sent"));
            }
            self.in_flight.calls += IN_FLIGHT as u64;
        }
        self.in_flight.sends += self.client.wire().sends() - sends;
        self.in_flight.took += begin.elapsed();
        Ok(())
    }
}

impl InFlight {
    pub(in super::super) fn calls_per_s(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    pub(in super::super) fn sends_per_call(&self) -> f64 {
        self.sends as f64 / self.calls as f64
    }
}

impl load::Leg for Leg {
    fn request(&mut self) -> Result<()> {
        let answer = self.client.call(ECHO, |writer| writer.bytes(&value()));
        let answer = answer.map_err(|error| error.at(format_args!("{} leg", self.way.name())))?;
        match result(&answer)? == value() {
            true => Ok(()),
            false => Err(wrong("an echo is not what was sent")),
        }
    }

    fn drive(&mut self, slice: Duration) -> Result<()> {
        let of_bursts = slice / 4;
        load::one_by_one(self, slice - of_bursts)?;
        self.burst(of_bursts)
    }

    fn wire(&mut self) -> &mut Wire {
        self.client.wire()
    }

    fn figures(&mut self) -> &mut Figures {
        &mut self.figures
    }
}

fn look(client: &mut Client) -> Result<Seen> {
    let answer = client.call(LOOK, |_| {})?;
    Seen::read(result(&answer)?).ok_or_else(|| wrong("the server did not say what it sees"))
}

/// Calls that are under way at once where there are many.
pub(in super::super) const IN_FLIGHT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::endpoint::Endpoint;
    use crate::cli::demo::load::Leg as _;
    use crate::cli::demo::obrpc::{negotiation_client, negotiation_server, serve};
    use crate::conn::NegotiationClient;
    use crate::tls::{ClientOptions, Identity, Pem, Roots, ServerOptions, Verify, Version};

    fn ends() -> (Endpoint, NegotiationClient) {
        let lone = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (chain, key) = (lone.cert.pem(), lone.signing_key.serialize_pem());
        let pem = |text| Pem {
            name: "test.pem",
            text,
        };
        let identity = Identity::from_pem(pem(chain.as_bytes()), pem(key.as_bytes())).unwrap();
        let server = negotiation_server(&ServerOptions::new(identity)).unwrap();
        let roots = Roots::from_pem(&[pem(chain.as_bytes())]).unwrap();
        let client = ClientOptions {
            min_version: Version::Tls13,
            ..ClientOptions::new(Verify::Full(roots))
        };
        let endpoint = Endpoint::start(move |engine, ends| serve(engine, &server, ends));
        (endpoint.unwrap(), negotiation_client(&client).unwrap())
    }

    fn proved(endpoint: &Endpoint, way: Way, negotiation: Option<&NegotiationClient>) -> Leg {
        let mut leg = Leg::open(way, Client::connect(endpoint.address(), negotiation)).unwrap();
        leg.prove().unwrap();
        leg
    }

    #[test]
    fn every_way_is_answered_the_same_and_measured() {
        let (endpoint, negotiation) = ends();
        for (way, negotiation) in [(Way::Plain, None), (Way::SslIo, Some(&negotiation))] {
            let mut leg = proved(&endpoint, way, negotiation);
            assert_eq!(leg.answers, ANSWERS);
            leg.drive(Duration::from_millis(8)).unwrap();
            assert!(!leg.figures.latency_ns.is_empty());
            assert!(leg.in_flight.calls_per_s() > 0.0);
            assert!(leg.in_flight.sends_per_call() < 0.1);
            leg.verdict().unwrap();
        }
    }

    /// The exit code of the demo hangs on it.
    #[test]
    fn what_is_shown_as_encrypted_and_was_not_is_an_error() {
        let (endpoint, negotiation) = ends();
        for way in [Way::SslIo, Way::Sidecar] {
            let error = proved(&endpoint, way, None).verdict().unwrap_err();
            let text = format!(
                "OB-RPC, {} leg, plaintext: what is shown as encrypted was not",
                way.name()
            );
            assert_eq!(error.to_string(), text);
            let encrypted = proved(&endpoint, way, Some(&negotiation));
            encrypted.verdict().unwrap();
        }
        let error = proved(&endpoint, Way::Plain, Some(&negotiation)).verdict();
        assert!(error.unwrap_err().to_string().contains("proves nothing"));
    }

    #[test]
    fn a_wire_that_can_be_read_is_not_encrypted_whatever_the_ends_say() {
        let (endpoint, negotiation) = ends();
        let mut leg = proved(&endpoint, Way::SslIo, Some(&negotiation));
        leg.figures.readable.messages = 1;
        assert!(leg.verdict().is_err());
    }

    const ANSWERS: [&str; 4] = [
        "echo (0x1): the same 200 bytes",
        "SET_CONFIG (0x106) of rpc_timeout=3s: NOT_SUPPORTED (-4007), the demo's server has no \
         parameters",
        "LS_FETCH_LOG2 (0x853), log stream 1001: 10 groups, 30 entries in 3 calls, LSN 0 to 2080, \
         last \"transfer 29 commits\"",
        "a stream (0x3): 5 parts, STREAM in each and STREAM_LAST in the last",
    ];
}
