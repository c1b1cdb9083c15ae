use core::net::{IpAddr, Ipv4Addr};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The host part of an account: MySQL's wildcards `%` and `_` (with `\` before one that is meant
/// literally), an IPv4 network as `10.0.0.0/255.0.0.0` or `10.0.0.0/8`, or a plain address or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Address(IpAddr),
    /// The mask is written in bits.
    Cidr {
        network: u32,
        mask: u32,
    },
    /// The mask is written as an address.
    Netmask {
        network: u32,
        mask: u32,
    },
    Wild,
}

impl HostPattern {
    /// Any host: `%`.
    pub fn any() -> Self {
        Self {
            text: "%".into(),
            kind: Kind::Wild,
        }
    }

    /// True for this host: an address as text, or `localhost` for a Unix socket.
    pub fn matches(&self, host: &str) -> bool {
        let address = address_of(host);
        match (self.kind, address) {
            (Kind::Address(wanted), Some(address)) => wanted == address,
            (Kind::Cidr { network, mask } | Kind::Netmask { network, mask }, Some(address)) => {
                matches!(address, IpAddr::V4(address) if u32::from(address) & mask == network)
            }
            (Kind::Wild, _) => {
                let canonical = address.map(|address| address.to_string());
                wild_matches(&self.text, canonical.as_deref().unwrap_or(host))
            }
            (_, None) => false,
        }
    }

    /// MySQL's order: addresses before networks before the others, the smaller network first, then
    /// whatever has more before its first wildcard. The most specific is the least.
    pub(super) fn by_specificity(&self, other: &Self) -> Ordering {
        let rank = |pattern: &Self| match pattern.kind {
            Kind::Address(_) => (0, 0),
            Kind::Cidr { mask, .. } => (1, !mask),
            Kind::Netmask { mask, .. } => (2, !mask),
            Kind::Wild => (3, 0),
        };
        let by_rank = rank(self).cmp(&rank(other));
        by_rank.then_with(|| sort_value(&other.text).cmp(&sort_value(&self.text)))
    }
}

/// As it was written.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let kind = Kind::Address(address.to_canonical());
            return Ok(Self {
                text: text.into(),
                kind,
            });
        }
        let kind = match text.split_once('/') {
            None => Kind::Wild,
            Some((network, mask)) => network_of(network, mask).ok_or_else(|| {
                format!(
                    "`{text}` is no network: as in 10.0.0.0/255.0.0.0 or 10.0.0.0/8, without bits \
                     outside the mask"
                )
            })?,
        };
        Ok(Self {
            text: text.into(),
            kind,
        })
    }
}

fn network_of(network: &str, mask: &str) -> Option<Kind> {
    let network = u32::from(network.parse::<Ipv4Addr>().ok()?);
    let kind = match mask.parse::<Ipv4Addr>() {
        Ok(mask) => Kind::Netmask {
            network,
            mask: u32::from(mask),
        },
        Err(_) => {
            let bits = mask.parse::<u32>().ok().filter(|bits| *bits <= 32)?;
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Kind::Cidr { network, mask }
        }
    };
    let (Kind::Netmask { mask, .. } | Kind::Cidr { mask, .. }) = kind else {
        return None;
    };
    (network & !mask == 0).then_some(kind)
}

/// IPv4 addresses in IPv6 notation are those addresses.
fn address_of(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

/// `%` is any text, `_` any character; case does not count. The last `%` is the only one to go back
/// to, so that no pattern makes this slow.
fn wild_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<Part> = parts(pattern).collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut part, mut back) = (0, 0, None);
    while at < text.len() {
        match pattern.get(part) {
            Some(Part::Any) => {
                part += 1;
                back = Some((part, at));
            }
            Some(one) if one.is(text[at]) => {
                at += 1;
                part += 1;
            }
            _ => {
                let Some((part_back, at_back)) = back else {
                    return false;
                };
                (part, at) = (part_back, at_back + 1);
                back = Some((part, at));
            }
        }
    }
    pattern
        .iter()
        .skip(part)
        .all(|part| matches!(part, Part::Any))
}

enum Part {
    Any,
    One,
    Char(char),
}

impl Part {
    fn is(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(wanted) => wanted.eq_ignore_ascii_case(&c),
        }
    }
}

fn parts(pattern: &str) -> impl Iterator<Item = Part> {
    let mut chars = pattern.chars();
    std::iter::from_fn(move || {
        Some(match chars.next()? {
            '\\' => Part::Char(chars.next().unwrap_or('\\')),
            '%' => Part::Any,
            '_' => Part::One,
            c => Part::Char(c),
        })
    })
}

/// As MySQL's `get_sort` has it: 128 for text without wildcards, else the place of the first one,
/// counted from one and at most 127; 0 for none at all.
pub(super) fn sort_value(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if at + 1 < bytes.len() => at += 1,
            b'%' | b'_' => return (at + 1).min(127),
            _ => {}
        }
        at += 1;
    }
    if bytes.is_empty() { 0 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_match_as_in_mysql() {
        let good = [
            ("%", "10.0.0.1"),
            ("%", "localhost"),
            ("10.%", "10.1.2.3"),
            ("10.0.0._", "10.0.0.7"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "::ffff:10.0.0.1"),
            ("10.%", "::ffff:10.1.2.3"),
            ("10.0.0.0/255.255.255.0", "10.0.0.9"),
            ("10.0.0.0/8", "10.200.1.1"),
            ("0.0.0.0/0", "9.9.9.9"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("LOCALHOST", "localhost"),
            ("%a%b%", "xxaxxbxx"),
            ("a\\_b", "a_b"),
        ];
        for (text, host) in good {
            assert!(pattern(text).matches(host), "{text} {host}");
        }
        let bad = [
            ("10.%", "110.1.2.3"),
            ("10.0.0._", "10.0.0.17"),
            ("10.0.0.1", "10.0.0.11"),
            ("10.0.0.0/24", "10.0.1.0"),
            ("10.0.0.0/24", "localhost"),
            ("10.0.0.0/24", "fe80::1"),
            ("a\\_b", "axb"),
            ("", "10.0.0.1"),
            ("%a%b", "xxaxxbxx"),
        ];
        for (text, host) in bad {
            assert!(!pattern(text).matches(host), "{text} {host}");
        }
    }

    #[test]
    fn networks_have_no_bits_outside_their_mask() {
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/x", "10.%/8", "::/8"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_most_specific_comes_first() {
        let sorted = [
            "10.0.0.1",
            "10.0.0.0/24",
            "10.0.0.0/8",
            "10.0.0.0/255.255.0.0",
            "10.0.0.0/255.0.0.0",
            "localhost",
            "10.0.0.%",
            "10.%",
            "%",
        ];
        for (at, text) in sorted.iter().enumerate() {
            for later in &sorted[at + 1..] {
                let order = pattern(text).by_specificity(&pattern(later));
                assert_eq!(order, Ordering::Less, "{text} {later}");
            }
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = pattern(&"%a".repeat(200));
        assert!(!pattern.matches(&"a".repeat(199)));
        assert!(pattern.matches("ab".repeat(200).trim_end_matches('b')));
    }
}
