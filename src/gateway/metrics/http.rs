//! As much of HTTP/1.1 as three pages need: a request without a body, a response, and the end of
//! the connection.

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    method: String,
    /// Without its query.
    pub(super) path: String,
    /// As the client wrote it, port included.
    pub(super) host: String,
}

/// What comes of the bytes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// More are needed.
    Partial,
    Whole(Request),
    /// It is none; the connection is of no further use.
    Refused(Code),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    Timeout,
    Misdirected,
    TooLarge,
    Unavailable,
}

#[derive(Debug)]
pub(super) struct Response {
    code: Code,
    content_type: &'static str,
    /// What the page may load: nothing, or its own style.
    style: Option<[u8; 32]>,
    body: String,
}

impl Request {
    /// Reads the bytes that have come so far.
    pub(super) fn parse(bytes: &[u8]) -> Parsed {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if bytes.len() < REQUEST_LEN_MAX => {
                return Parsed::Partial;
            }
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Parsed::Refused(Code::TooLarge);
            }
            Err(_) => return Parsed::Refused(Code::BadRequest),
        }
        let is_host = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("host");
        let mut hosts = request.headers.iter().filter(is_host);
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Parsed::Refused(Code::BadRequest);
        };
        let (Some(method), Some(target), Ok(host)) = (
            request.method,
            request.path,
            std::str::from_utf8(host.value),
        ) else {
            return Parsed::Refused(Code::BadRequest);
        };
        Parsed::Whole(Self {
            method: method.to_owned(),
            path: target.split('?').next().unwrap_or_default().to_owned(),
            host: host.to_owned(),
        })
    }

    /// True where nothing is asked for but to be shown something.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// True where the client wants no body.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// Whether `host` can only have been written by somebody who means this gateway. A page of a
/// stranger whose name was made to resolve to this machine asks for the stranger's name, and never
/// for an address: those are nobody's to rename.
pub(super) fn is_known_host(host: &str, names: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.split(']').next().unwrap_or_default();
            return address.parse::<Ipv6Addr>().is_ok();
        }
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

impl Response {
    pub(super) fn new(code: Code, content_type: &'static str, body: String) -> Self {
        Self {
            code,
            content_type,
            style: None,
            body,
        }
    }

    pub(super) fn text(code: Code, body: &str) -> Self {
        Self::new(code, "text/plain; charset=utf-8", body.to_owned())
    }

    /// A page whose one style has this SHA-256.
    pub(super) fn page(style: [u8; 32], body: String) -> Self {
        Self {
            style: Some(style),
            ..Self::new(Code::Ok, "text/html; charset=utf-8", body)
        }
    }

    /// The response that says nothing but its code.
    pub(super) fn refusal(code: Code) -> Self {
        let text = format!("{}\n", code.words().1);
        Self::text(code, &text)
    }

    /// As it goes over the wire; without its body for a HEAD. Nothing else comes on the connection.
    pub(super) fn into_bytes(self, is_head: bool) -> Vec<u8> {
        let (number, words) = self.code.words();
        let style = self.style.map_or(String::new(), |hash| {
            format!("style-src 'sha256-{}'; ", BASE64.encode(&hash))
        });
        let allow = match self.code {
            Code::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let mut bytes = format!(
            "HTTP/1.1 {number} {words}\r\n\
             Content-Type: {}\r\n\
             Content-Length: {}\r\n\
             {allow}\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\
             Content-Security-Policy: default-src 'none'; {style}base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\n\
             Referrer-Policy: no-referrer\r\n\
             X-Content-Type-Options: nosniff\r\n\r\n",
            self.content_type,
            self.body.len(),
        )
        .into_bytes();
        if !is_head {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

impl Code {
    fn words(self) -> (u16, &'static str) {
        match self {
            Self::Ok => (200, "OK"),
            Self::BadRequest => (400, "Bad Request"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::Timeout => (408, "Request Timeout"),
            Self::Misdirected => (421, "Misdirected Request"),
            Self::TooLarge => (431, "Request Header Fields Too Large"),
            Self::Unavailable => (503, "Service Unavailable"),
        }
    }
}

/// Bytes of a request: a browser with cookies of other services on this machine sends some 4 KiB.
pub(super) const REQUEST_LEN_MAX: usize = 16 * 1024;

/// Headers of a request; browsers send about 20.
const HEADERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Code {
        match Request::parse(text.as_bytes()) {
            Parsed::Refused(code) => code,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_when_it_is_whole() {
        let text = "GET /metrics?a=b HTTP/1.1\r\nAccept: */*\r\nhOST: gateway:9464\r\n\r\n";
        for len in 0..text.len() {
            let parsed = Request::parse(&text.as_bytes()[..len]);
            assert_eq!(parsed, Parsed::Partial, "{len}");
        }
        let Parsed::Whole(request) = Request::parse(text.as_bytes()) else {
            panic!("not whole");
        };
        assert_eq!(request.path, "/metrics");
        assert_eq!(request.host, "gateway:9464");
        assert!(request.is_read() && !request.is_head());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "\x16\x03\x01\x02\x00\x01\x00",
            "GET / HTTP/3.0\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        ] {
            assert_eq!(refused(text), Code::BadRequest, "{text:?}");
        }
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        let text = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(refused(&text), Code::TooLarge);
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(REQUEST_LEN_MAX));
        assert_eq!(refused(&long), Code::TooLarge);
    }

    #[test]
    fn names_of_strangers_are_not_known() {
        let names = ["gateway.example".to_owned()];
        for host in [
            "127.0.0.1:9464",
            "10.1.2.3",
            "[::1]:9464",
            "[fe80::1]",
            "localhost",
            "LocalHost:1",
            "Gateway.Example:80",
        ] {
            assert!(is_known_host(host, &names), "{host}");
        }
        for host in [
            "",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[evil.example]",
            "a.gateway.example",
            "127.0.0.1@evil.example",
        ] {
            assert!(!is_known_host(host, &names), "{host}");
        }
    }

    #[test]
    fn a_head_has_the_length_of_the_body_and_not_the_body() {
        let bytes = |is_head| {
            let response = Response::text(Code::MethodNotAllowed, "a body");
            String::from_utf8(response.into_bytes(is_head)).unwrap()
        };
        let (get, head) = (bytes(false), bytes(true));
        assert_eq!(get.strip_prefix(&head), Some("a body"));
        assert!(
            head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nContent-Length: 6\r\nAllow: GET, HEAD\r\n"),
            "{head}"
        );
        assert!(
            head.ends_with("\r\nX-Content-Type-Options: nosniff\r\n\r\n"),
            "{head}"
        );
    }
}
