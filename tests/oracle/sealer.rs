//! A peer that seals what it is told to, right or wrong: its record layer and key schedule are its
//! own, only the handshake is rustls'.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{aead, hkdf};
use rustls::pki_types::ServerName;
use rustls::{Connection, ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

use crate::support::End;

/// What a sealed record held: its content type and its plaintext without padding.
pub(crate) type Record = (u8, Vec<u8>);

pub(crate) struct Sealer {
    pub(crate) send: Keys,
    receive: Keys,
    pub(crate) is_tls13: bool,
}

/// Keeps the traffic secrets, from which KeyUpdates are derived.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Mutex<Vec<(String, Vec<u8>)>>);

impl rustls::KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        self.0
            .lock()
            .expect("one thread")
            .push((label.into(), secret.into()));
    }
}

impl Sealer {
    /// Shakes hands with `ours`.
    pub(crate) fn establish(ours: &mut End, config: Config) -> Self {
        let secrets = Arc::new(Secrets::default());
        let (mut conn, mine, theirs) = match config {
            Config::Client(mut config) => {
                config.key_log = secrets.clone();
                let name = ServerName::try_from("localhost").expect("a name");
                let conn = rustls::ClientConnection::new(Arc::new(config), name);
                let conn = Connection::from(conn.expect("a client"));
                (conn, "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0")
            }
            Config::Server(mut config) => {
                config.key_log = secrets.clone();
                let conn = rustls::ServerConnection::new(Arc::new(config));
                let conn = Connection::from(conn.expect("a server"));
                (conn, "SERVER_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0")
            }
        };
        for _ in 0..4 {
            let mut output = Vec::new();
            while conn.wants_write() {
                conn.write_tls(&mut output).expect("memory");
            }
            ours.feed(&output).expect("a handshake");
            let output = ours.take_output().expect("a handshake");
            let mut output = &output[..];
            while !output.is_empty() {
                conn.read_tls(&mut output).expect("memory");
                conn.process_new_packets().expect("a handshake");
            }
        }
        let is_tls13 = conn.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let secret = |label: &str| {
            let secrets = secrets.0.lock().expect("one thread");
            let found = secrets.iter().find(|(known, _)| known == label);
            found.map(|(_, secret)| secret.clone())
        };
        let (mine, theirs) = (secret(mine), secret(theirs));
        let extracted = match conn {
            Connection::Client(client) => client.dangerous_extract_secrets(),
            Connection::Server(server) => server.dangerous_extract_secrets(),
        };
        let ExtractedSecrets { tx, rx } = extracted.expect("secrets");
        Self {
            send: Keys::new(is_tls13, tx, mine),
            receive: Keys::new(is_tls13, rx, theirs),
            is_tls13,
        }
    }

    /// Opens everything our end has sent; its KeyUpdates are followed.
    pub(crate) fn open_all(&mut self, mut wire: &[u8]) -> Vec<Record> {
        let mut records = Vec::new();
        while !wire.is_empty() {
            let body_len = usize::from(u16::from_be_bytes([wire[3], wire[4]]));
            let (record, rest) = wire.split_at(5 + body_len);
            let (content_type, plain) = self.receive.open(record);
            if self.is_tls13 && content_type == HANDSHAKE && plain.first() == Some(&KEY_UPDATE) {
                self.receive.update();
            }
            records.push((content_type, plain));
            wire = rest;
        }
        records
    }
}

pub(crate) enum Config {
    Client(rustls::ClientConfig),
    Server(rustls::ServerConfig),
}

/// One direction.
pub(crate) struct Keys {
    is_tls13: bool,
    algorithm: &'static aead::Algorithm,
    key: aead::LessSafeKey,
    iv: [u8; 12],
    pub(crate) sequence: u64,
    secret: Option<Vec<u8>>,
}

impl Keys {
    fn new(
        is_tls13: bool,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        secret: Option<Vec<u8>>,
    ) -> Self {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => panic!("an unknown suite"),
        };
        Self {
            is_tls13,
            algorithm,
            key: key_of(algorithm, key.as_ref()),
            iv: iv.as_ref().try_into().expect("12 bytes"),
            sequence,
            secret,
        }
    }

    /// The keys behind a KeyUpdate (RFC 8446 section 7.2).
    pub(crate) fn update(&mut self) {
        let Some(secret) = &self.secret else {
            return;
        };
        let hash = match secret.len() {
            48 => hkdf::HKDF_SHA384,
            _ => hkdf::HKDF_SHA256,
        };
        let next = expand(hash, secret, b"tls13 traffic upd", secret.len());
        let key = expand(hash, &next, b"tls13 key", self.algorithm.key_len());
        self.key = key_of(self.algorithm, &key);
        let iv = expand(hash, &next, b"tls13 iv", 12);
        self.iv = iv.try_into().expect("12 bytes");
        self.secret = Some(next);
        self.sequence = 0;
    }

    /// Seals `plain`. In TLS 1.3 `padding` zeros follow the content type; TLS 1.2 knows none.
    pub(crate) fn seal(&mut self, content_type: u8, plain: &[u8], padding: usize) -> Vec<u8> {
        let mut body = plain.to_vec();
        let outer_type = if self.is_tls13 {
            body.push(content_type);
            body.resize(body.len() + padding, 0);
            APPLICATION_DATA
        } else {
            content_type
        };
        let explicit = self.explicit(self.sequence.to_be_bytes());
        let record_len = body.len() + explicit.len() + 16;
        let [.., high, low] = record_len.to_be_bytes();
        let header = [outer_type, 3, 3, high, low];
        let aad = self.aad(header, body.len());
        self.key
            .seal_in_place_append_tag(self.nonce(&explicit), aead::Aad::from(aad), &mut body)
            .expect("a seal");
        self.sequence = self.sequence.wrapping_add(1);
        [&header[..], &explicit, &body].concat()
    }

    fn open(&mut self, record: &[u8]) -> Record {
        let header: [u8; 5] = record[..5].try_into().expect("a header");
        let explicit_len = self.explicit([0; 8]).len();
        let (explicit, body) = record[5..].split_at(explicit_len);
        let aad = self.aad(header, body.len() - 16);
        let mut body = body.to_vec();
        let plain = self
            .key
            .open_in_place(self.nonce(explicit), aead::Aad::from(aad), &mut body)
            .expect("our end seals what can be opened");
        self.sequence += 1;
        if !self.is_tls13 {
            return (header[0], plain.to_vec());
        }
        let last = plain.iter().rposition(|&byte| byte != 0);
        let last = last.expect("a content type");
        (plain[last], plain[..last].to_vec())
    }

    /// The part of the nonce that AES-GCM in TLS 1.2 carries in the record (RFC 5288 section 3).
    fn explicit(&self, bytes: [u8; 8]) -> Vec<u8> {
        let is_gcm = self.algorithm != &aead::CHACHA20_POLY1305;
        if is_gcm && !self.is_tls13 {
            bytes.to_vec()
        } else {
            Vec::new()
        }
    }

    fn nonce(&self, explicit: &[u8]) -> aead::Nonce {
        let mut nonce = self.iv;
        if explicit.is_empty() {
            for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
                *byte ^= sequence;
            }
        } else {
            nonce[4..].copy_from_slice(explicit);
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }

    fn aad(&self, header: [u8; 5], plain_len: usize) -> Vec<u8> {
        if self.is_tls13 {
            return header.to_vec();
        }
        let [.., high, low] = plain_len.to_be_bytes();
        let mut aad = self.sequence.to_be_bytes().to_vec();
        aad.extend([header[0], 3, 3, high, low]);
        aad
    }
}

fn key_of(algorithm: &'static aead::Algorithm, key: &[u8]) -> aead::LessSafeKey {
    aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key).expect("a key"))
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand(hash: hkdf::Algorithm, secret: &[u8], label: &[u8], len: usize) -> Vec<u8> {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let [.., high, low] = len.to_be_bytes();
    let label_len = u8::try_from(label.len()).expect("a short label");
    let info = [&[high, low, label_len][..], label, &[0]];
    let mut out = vec![0; len];
    hkdf::Prk::new_less_safe(hash, secret)
        .expand(&info, Len(len))
        .and_then(|okm| okm.fill(&mut out))
        .expect("a length that HKDF allows");
    out
}

pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;
const KEY_UPDATE: u8 = 24;
