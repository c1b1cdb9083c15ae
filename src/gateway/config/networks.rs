use std::net::IpAddr;

use super::document::Given;
use crate::engine::PeerAddress;
use crate::error::Result;

/// Networks of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    networks: Vec<Network>,
    has_unix: bool,
}

/// Of IPv6, in which IPv4 is `::ffff:0:0/96`, as sockets that serve both have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: u128,
    prefix_len: u8,
}

impl Networks {
    /// Reads `10.0.0.0/8`, `fd00::/8`, single addresses, and `unix`.
    pub(super) fn parse(key: &str, list: &[Given<String>]) -> Result<Self> {
        let mut networks = Self::default();
        for given in list {
            if given.value == "unix" {
                networks.has_unix = true;
                continue;
            }
            let network = Network::parse(&given.value).map_err(|reason| {
                let value = &given.value;
                given.place.error(format!("{key}: {value:?} {reason}"))
            })?;
            networks.networks.push(network);
        }
        Ok(networks)
    }

    #[cfg(test)]
    pub(crate) fn of(list: &[&str]) -> Self {
        let given = |text: &&str| Given {
            value: (*text).to_owned(),
            place: super::document::Place::Flag("--list"),
        };
        let list: Vec<_> = list.iter().map(given).collect();
        Self::parse("list", &list).expect("networks")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.has_unix
    }

    pub(crate) fn contains(&self, peer: PeerAddress) -> bool {
        match peer {
            PeerAddress::Unix => self.has_unix,
            PeerAddress::Ip(address) => {
                let bits = bits(address.ip());
                self.networks.iter().any(|network| network.contains(bits))
            }
        }
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| UNREADABLE)?;
        let len_max = if address.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) => len.parse().map_err(|_| UNREADABLE)?,
            None => len_max,
        };
        if len > len_max {
            return Err(UNREADABLE);
        }
        let network = Self {
            address: bits(address),
            prefix_len: 128 - len_max + len,
        };
        match network.address & network.mask() == network.address {
            true => Ok(network),
            false => Err("has bits set behind its prefix"),
        }
    }

    fn contains(self, bits: u128) -> bool {
        bits & self.mask() == self.address
    }

    fn mask(self) -> u128 {
        let host_len = 128 - u32::from(self.prefix_len);
        u128::MAX.checked_shl(host_len).unwrap_or(0)
    }
}

fn bits(address: IpAddr) -> u128 {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.to_bits()
}

const UNREADABLE: &str = "is neither a network like 10.0.0.0/8 or fd00::/8, an address, nor unix";

#[cfg(test)]
mod tests {
    use super::super::document::Place;
    use super::*;

    fn parse(list: &[&str]) -> Result<Networks> {
        let given = |text: &&str| Given {
            value: (*text).to_owned(),
            place: Place::Flag("--list"),
        };
        Networks::parse("list", &list.iter().map(given).collect::<Vec<_>>())
    }

    fn tcp(address: &str) -> PeerAddress {
        PeerAddress::Ip((address.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[test]
    fn peers_are_inside_or_outside() {
        let networks = parse(&["10.0.0.0/8", "192.168.1.7", "fd00::/8"]).unwrap();
        for (address, is_inside) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("::ffff:10.1.2.3", true),
            ("192.168.1.7", true),
            ("192.168.1.6", false),
            ("fdff::1", true),
            ("fe00::1", false),
            ("::1", false),
        ] {
            assert_eq!(networks.contains(tcp(address)), is_inside, "{address}");
        }
        assert!(!networks.contains(PeerAddress::Unix));
        assert!(parse(&["unix"]).unwrap().contains(PeerAddress::Unix));
        assert!(!parse(&["unix"]).unwrap().contains(tcp("127.0.0.1")));
        assert!(parse(&["0.0.0.0/0"]).unwrap().contains(tcp("1.2.3.4")));
        assert!(!parse(&["0.0.0.0/0"]).unwrap().contains(tcp("fd00::1")));
        assert!(parse(&["::/0"]).unwrap().contains(tcp("fd00::1")));
        assert!(parse(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, reason) in [
            ("10.0.0.1/8", "has bits set behind its prefix"),
            ("10.0.0.0/33", UNREADABLE),
            ("fd00::/129", UNREADABLE),
            ("10.0.0.0/", UNREADABLE),
            ("localhost", UNREADABLE),
            ("", UNREADABLE),
        ] {
            let error = parse(&["10.0.0.0/8", text]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("--list: list: {text:?} {reason}")
            );
        }
    }
}
