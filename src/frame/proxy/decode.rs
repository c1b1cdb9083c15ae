use core::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{
    LOCAL, Origin, PREFIX_LEN, PROXY, SIGNATURE, TCP4, TCP6, UDP4, UDP6, UNIX_DATAGRAM,
    UNIX_STREAM, UNSPEC, Violation, kind,
};
use crate::limits::{PROXY_HEADER_LEN_MAX, PROXY_LINE_LEN_MAX};
use crate::wire::Reader;

/// Takes a header of either version from the front of a stream.
#[derive(Debug, Default)]
pub struct HeaderDecoder {
    bytes: Vec<u8>,
}

impl HeaderDecoder {
    /// Takes bytes from the front of `input` up to the end of the header, and not one byte beyond
    /// it. `None` where the header is not whole yet and `input` is used up.
    ///
    /// # Errors
    ///
    /// The stream does not begin with a header; nothing of it can be used.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Origin>, Violation> {
        while let Some(&next) = input.first() {
            let is_binary = *self.bytes.first().unwrap_or(&next) == SIGNATURE[0];
            let len = match is_binary {
                true => self.binary_len_wanted(),
                false => self.line_len_wanted(input),
            };
            let (piece, rest) = input.split_at(len.min(input.len()));
            self.bytes.extend_from_slice(piece);
            *input = rest;
            let origin = match is_binary {
                true => self.binary()?,
                false => self.line()?,
            };
            if origin.is_some() {
                return Ok(origin);
            }
        }
        Ok(None)
    }

    /// True where nothing has come.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn line_len_wanted(&self, input: &[u8]) -> usize {
        let end = input.iter().position(|&byte| byte == b'\n');
        let len_max = PROXY_LINE_LEN_MAX - self.bytes.len();
        end.map_or(len_max, |end| len_max.min(end + 1))
    }

    fn line(&self) -> Result<Option<Origin>, Violation> {
        let begun = self.bytes.len().min(LINE_BEGINNING.len());
        if self.bytes[..begun] != LINE_BEGINNING[..begun] {
            return Err(Violation::Malformed("the beginning of a PROXY header"));
        }
        match self.bytes.strip_suffix(b"\n") {
            Some(line) => read_line(line).map(Some),
            None if self.bytes.len() < PROXY_LINE_LEN_MAX => Ok(None),
            None => Err(Violation::TooLong {
                len: self.bytes.len() + 1,
                len_max: PROXY_LINE_LEN_MAX,
            }),
        }
    }

    fn binary_len_wanted(&self) -> usize {
        self.promised().unwrap_or(PREFIX_LEN) - self.bytes.len()
    }

    fn binary(&self) -> Result<Option<Origin>, Violation> {
        let begun = self.bytes.len().min(SIGNATURE.len());
        if self.bytes[..begun] != SIGNATURE[..begun] {
            return Err(Violation::Malformed("the beginning of a PROXY header"));
        }
        match self.promised() {
            Some(len) if len > PROXY_HEADER_LEN_MAX => Err(Violation::TooLong {
                len,
                len_max: PROXY_HEADER_LEN_MAX,
            }),
            Some(len) if len == self.bytes.len() => read_binary(&self.bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// The length of the whole header of version 2, once it is known.
    fn promised(&self) -> Option<usize> {
        let mut reader = Reader::new(&self.bytes);
        reader.take(PREFIX_LEN - 2)?;
        Some(PREFIX_LEN + usize::from(reader.u16_be()?))
    }
}

/// Reads a header of version 1 without its line feed.
fn read_line(line: &[u8]) -> Result<Origin, Violation> {
    let line = line
        .strip_prefix(LINE_BEGINNING)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(Violation::Malformed("one line from PROXY to CR LF"))?;
    let mut words = line.split(' ');
    let is_v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // What follows is to be ignored.
        Some("UNKNOWN") => return Ok(Origin::Unknown),
        _ => return Err(Violation::Malformed("TCP4, TCP6 or UNKNOWN behind PROXY")),
    };
    let mut word = || words.next().ok_or(LINE_UNREADABLE);
    let source = read_ip(word()?, is_v4)?;
    let destination = read_ip(word()?, is_v4)?;
    let source = SocketAddr::new(source, read_port(word()?)?);
    let destination = SocketAddr::new(destination, read_port(word()?)?);
    match words.next() {
        None => Ok(Origin::Relayed {
            source,
            destination,
        }),
        Some(_) => Err(LINE_UNREADABLE),
    }
}

fn read_ip(word: &str, is_v4: bool) -> Result<IpAddr, Violation> {
    let ip = IpAddr::from_str(word).map_err(|_| LINE_UNREADABLE)?;
    match ip.is_ipv4() == is_v4 {
        true => Ok(ip),
        false => Err(LINE_UNREADABLE),
    }
}

/// Digits without a sign and without a zero in front, which the integers of the standard library
/// may have.
fn read_port(word: &str) -> Result<u16, Violation> {
    let port: u16 = word.parse().map_err(|_| LINE_UNREADABLE)?;
    match port.to_string() == word {
        true => Ok(port),
        false => Err(LINE_UNREADABLE),
    }
}

/// Reads a whole header of version 2.
fn read_binary(header: &[u8]) -> Result<Origin, Violation> {
    let mut reader = Reader::new(header);
    let Some([.., command, family, _, _]) = reader.array::<PREFIX_LEN>() else {
        return Err(Violation::Malformed("a PROXY header"));
    };
    match command {
        // Whatever follows is to be ignored.
        LOCAL => return Ok(Origin::Sender),
        PROXY => {}
        _ => return Err(Violation::Malformed("version 2 with LOCAL or PROXY")),
    }
    let origin = match family {
        UNSPEC => return Ok(Origin::Unknown),
        TCP4 | UDP4 => read_addresses::<4>(&mut reader),
        TCP6 | UDP6 => read_addresses::<16>(&mut reader),
        UNIX_STREAM | UNIX_DATAGRAM => reader.take(2 * UNIX_PATH_LEN).map(|_| Origin::Unknown),
        _ => return Err(Violation::Malformed("a family of addresses")),
    };
    let origin = origin.ok_or(Violation::Malformed("as long as its addresses are"))?;
    check_values(header, reader)?;
    Ok(origin)
}

fn read_addresses<const N: usize>(reader: &mut Reader<'_>) -> Option<Origin>
where
    IpAddr: From<[u8; N]>,
{
    let source: [u8; N] = reader.array()?;
    let destination: [u8; N] = reader.array()?;
    Some(Origin::Relayed {
        source: SocketAddr::new(source.into(), reader.u16_be()?),
        destination: SocketAddr::new(destination.into(), reader.u16_be()?),
    })
}

/// Every value must be whole, and a checksum the right one. What else they say is not believed,
/// since nobody asks for it.
fn check_values(header: &[u8], mut reader: Reader<'_>) -> Result<(), Violation> {
    let malformed = Violation::Malformed("a whole number of values behind its addresses");
    while !reader.is_empty() {
        let kind = reader.u8().ok_or(malformed)?;
        let len = reader.u16_be().ok_or(malformed)?;
        let start = header.len() - reader.len();
        let value = reader.take(len.into()).ok_or(malformed)?;
        if kind == kind::CRC32C {
            let given = value.try_into().map(u32::from_be_bytes);
            let given = given.map_err(|_| Violation::Malformed("a checksum of four bytes"))?;
            if given != checksum_without(header, start) {
                return Err(Violation::Checksum);
            }
        }
    }
    Ok(())
}

/// CRC-32C of a header in which four bytes, from `start` on, count as zero.
fn checksum_without(header: &[u8], start: usize) -> u32 {
    let (before, value) = header.split_at(start);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    crc32c::crc32c_append(checksum, &value[4..])
}

const LINE_BEGINNING: &[u8] = b"PROXY ";

const LINE_UNREADABLE: Violation =
    Violation::Malformed("two addresses of its family and two ports, one space between them");

/// Of a socket's path, padded with zeros, in bytes.
const UNIX_PATH_LEN: usize = 108;
