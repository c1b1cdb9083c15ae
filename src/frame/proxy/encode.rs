use core::net::{IpAddr, SocketAddr};

use super::{LOCAL, Origin, PROXY, SIGNATURE, TCP4, TCP6, UNSPEC, kind};
use crate::limits::PROXY_TEXT_LEN_MAX;
use crate::wire::Writer;

/// What a header tells of the TLS that the client spoke with whoever sends it.
#[derive(Clone, Copy, Debug)]
pub struct ClientTls<'a> {
    /// The version as OpenSSL writes it: `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite by OpenSSL's name.
    pub cipher: &'a str,
    /// True where the session began on an earlier connection.
    pub is_resumed: bool,
    /// The client's certificate, which was found good; `None` where it showed none.
    pub certificate: Option<ClientCertificate<'a>>,
}

/// What a header tells of the client's certificate.
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate<'a> {
    /// The subject's common name, where it has one.
    pub common_name: Option<&'a str>,
    /// The whole subject on one line, where the receiver is to have it: in a value of its own,
    /// 0xE5, which this program has chosen.
    pub subject: Option<&'a str>,
}

/// Writes a header of version 2. Of somebody whose address is not known it tells nothing else
/// either, since receivers are to ignore it.
///
/// A text of more than [`PROXY_TEXT_LEN_MAX`] bytes is left out rather than cut: the beginning of a
/// name is another name.
pub fn write_v2(out: &mut Vec<u8>, origin: Origin, tls: Option<&ClientTls<'_>>) {
    let mut writer = Writer::new(out);
    writer.bytes(SIGNATURE);
    let (source, destination) = match origin {
        Origin::Sender => return writer.bytes(&[LOCAL, UNSPEC, 0, 0]),
        Origin::Unknown => return writer.bytes(&[PROXY, UNSPEC, 0, 0]),
        Origin::Relayed {
            source,
            destination,
        } => (source, destination),
    };
    let mut body = Vec::new();
    let family = write_addresses(&mut body, source, destination);
    if let Some(tls) = tls {
        write_tls(&mut body, tls);
    }
    writer.bytes(&[PROXY, family]);
    writer.u16_be(len_u16(&body));
    writer.bytes(&body);
}

/// Both addresses are of one family: where just one is of IPv4, it is written as one of IPv6.
fn write_addresses(body: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) -> u8 {
    let mut writer = Writer::new(body);
    let ips = (source.ip().to_canonical(), destination.ip().to_canonical());
    let family = match ips {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            writer.bytes(&source.octets());
            writer.bytes(&destination.octets());
            TCP4
        }
        (source, destination) => {
            writer.bytes(&to_v6(source));
            writer.bytes(&to_v6(destination));
            TCP6
        }
    };
    writer.u16_be(source.port());
    writer.u16_be(destination.port());
    family
}

fn to_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn write_tls(body: &mut Vec<u8>, tls: &ClientTls<'_>) {
    let mut ssl = Vec::new();
    let mut writer = Writer::new(&mut ssl);
    writer.u8(match (&tls.certificate, tls.is_resumed) {
        (None, _) => CLIENT_SSL,
        (Some(_), true) => CLIENT_SSL | CLIENT_CERT_SESS,
        (Some(_), false) => CLIENT_SSL | CLIENT_CERT_SESS | CLIENT_CERT_CONN,
    });
    writer.u32_be(u32::from(tls.certificate.is_none()));
    write_text(&mut ssl, kind::SSL_VERSION, Some(tls.version));
    write_text(&mut ssl, kind::SSL_CIPHER, Some(tls.cipher));
    let certificate = tls.certificate.as_ref();
    write_text(
        &mut ssl,
        kind::SSL_CN,
        certificate.and_then(|it| it.common_name),
    );
    write_value(body, kind::SSL, &ssl);
    write_text(body, kind::SUBJECT, certificate.and_then(|it| it.subject));
}

fn write_text(out: &mut Vec<u8>, kind: u8, text: Option<&str>) {
    if let Some(text) = text.filter(|text| text.len() <= PROXY_TEXT_LEN_MAX) {
        write_value(out, kind, text.as_bytes());
    }
}

fn write_value(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let mut writer = Writer::new(out);
    writer.u8(kind);
    writer.u16_be(len_u16(value));
    writer.bytes(value);
}

/// What is written here is far shorter, since every text in it is bounded.
fn len_u16(bytes: &[u8]) -> u16 {
    bytes.len() as u16
}

/// The client spoke TLS.
const CLIENT_SSL: u8 = 1;
/// It showed a certificate on this connection.
const CLIENT_CERT_CONN: u8 = 2;
/// It showed one when the TLS session began.
const CLIENT_CERT_SESS: u8 = 4;
