use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroizing;

use super::header::{ContentType, header_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The two record protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tls12,
    Tls13,
}

/// How a suite protects records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AeadKind {
    AesGcm,
    ChaCha20Poly1305,
}

/// The keys of one direction with its sequence number, which no two records share.
pub(crate) struct TrafficKeys {
    key: LessSafeKey,
    iv: Zeroizing<[u8; aead::NONCE_LEN]>,
    sequence: u64,
    protocol: Protocol,
    kind: AeadKind,
}

impl TrafficKeys {
    /// Takes over the keys that a handshake or a KeyUpdate made.
    pub(crate) fn new(
        protocol: Protocol,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self> {
        let (algorithm, kind, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&aead::AES_128_GCM, AeadKind::AesGcm, key, iv)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&aead::AES_256_GCM, AeadKind::AesGcm, key, iv)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (
                &aead::CHACHA20_POLY1305,
                AeadKind::ChaCha20Poly1305,
                key,
                iv,
            ),
            _ => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "the suite's records are unknown",
                ));
            }
        };
        let key = UnboundKey::new(algorithm, key.as_ref())
            .map_err(|_| Error::new(ErrorKind::Internal, "the suite's key has a wrong length"))?;
        let mut own_iv = Zeroizing::new([0; aead::NONCE_LEN]);
        own_iv.copy_from_slice(iv.as_ref());
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: own_iv,
            sequence,
            protocol,
            kind,
        })
    }

    /// True from the point on at which a key must be replaced.
    pub(crate) fn is_worn(&self) -> bool {
        self.kind == AeadKind::AesGcm
            && self.sequence >= limits::GCM_RECORDS_MAX - limits::GCM_RECORDS_MARGIN
    }

    /// True where a key may not protect one more record.
    pub(crate) fn is_spent(&self) -> bool {
        self.kind == AeadKind::AesGcm && self.sequence >= limits::GCM_RECORDS_MAX
    }

    /// Where the plaintext of a record begins, from the front of its header.
    pub(crate) fn plain_offset(&self) -> usize {
        limits::RECORD_HEADER_LEN + self.explicit_nonce_len()
    }

    /// What follows the plaintext of a sealed record: the content type of TLS 1.3, and the tag.
    pub(crate) fn trailer_len(&self) -> usize {
        match self.protocol {
            Protocol::Tls12 => TAG_LEN,
            Protocol::Tls13 => 1 + TAG_LEN,
        }
    }

    /// What a record may hold when it is opened: plaintext, and in TLS 1.3 content type and padding
    /// (RFC 8446 section 5.4).
    pub(crate) fn inner_len_max(&self) -> usize {
        limits::RECORD_PLAIN_LEN_MAX + self.trailer_len() - TAG_LEN
    }

    /// Seals `plain` into the front of `record` and returns the record's length.
    pub(crate) fn seal(
        &mut self,
        content_type: ContentType,
        plain: &[u8],
        record: &mut [u8],
    ) -> Result<usize> {
        let layout = self.begin(content_type.to_wire(), plain.len(), record)?;
        self.key
            .seal_out_of_place_scatter(
                layout.nonce,
                layout.aad,
                plain,
                layout.body,
                &layout.inner_type[..layout.inner_type_len],
                layout.trailer,
            )
            .map_err(|_| seal_failed())?;
        Ok(layout.record_len)
    }

    /// Seals the `plain_len` bytes that lie at [`TrafficKeys::plain_offset`] of `record` where they
    /// are, and returns the record's length.
    pub(crate) fn seal_in_place(
        &mut self,
        content_type: ContentType,
        plain_len: usize,
        record: &mut [u8],
    ) -> Result<usize> {
        self.seal_raw_in_place(content_type.to_wire(), plain_len, record)
    }

    fn seal_raw_in_place(
        &mut self,
        content_type: u8,
        plain_len: usize,
        record: &mut [u8],
    ) -> Result<usize> {
        let layout = self.begin(content_type, plain_len, record)?;
        self.key
            .seal_in_place_scatter(
                layout.nonce,
                layout.aad,
                layout.body,
                &layout.inner_type[..layout.inner_type_len],
                layout.trailer,
            )
            .map_err(|_| seal_failed())?;
        Ok(layout.record_len)
    }

    /// Opens a whole record where it is. Returns where its plaintext lies: in TLS 1.3 still with
    /// content type and padding behind it.
    pub(crate) fn open(&mut self, record: &mut [u8]) -> Option<std::ops::Range<usize>> {
        let (head, body) = record.split_at_mut_checked(self.plain_offset())?;
        let plain_len = body.len().checked_sub(TAG_LEN)?;
        let header: [u8; limits::RECORD_HEADER_LEN] = head.first_chunk().copied()?;
        let (aad, nonce) = match self.protocol {
            Protocol::Tls13 => (RecordAad::tls13(header), self.nonce()),
            Protocol::Tls12 => {
                let mut nonce = self.nonce();
                let explicit = &head[limits::RECORD_HEADER_LEN..];
                if !explicit.is_empty() {
                    nonce[..SALT_LEN].copy_from_slice(&self.iv[..SALT_LEN]);
                    nonce[SALT_LEN..].copy_from_slice(explicit);
                }
                (RecordAad::tls12(self.sequence, header[0], plain_len), nonce)
            }
        };
        self.key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body)
            .ok()?;
        self.sequence += 1;
        let start = self.plain_offset();
        Some(start..start + plain_len)
    }

    /// Writes everything of a record but its ciphertext and tag, and takes its sequence number.
    fn begin<'a>(
        &mut self,
        content_type: u8,
        plain_len: usize,
        record: &'a mut [u8],
    ) -> Result<Layout<'a>> {
        // Alerts are few and always let through, as rustls does: a spent key still closes.
        if self.is_spent() && content_type != ContentType::Alert.to_wire() {
            return Err(Error::new(
                ErrorKind::Limit,
                "the key has protected as many records as it may; connect again",
            ));
        }
        let (offset, trailer_len) = (self.plain_offset(), self.trailer_len());
        let record_len = offset + plain_len + trailer_len;
        let record = record.get_mut(..record_len).ok_or_else(seal_failed)?;
        let body_len = record_len - limits::RECORD_HEADER_LEN;
        let nonce = self.nonce();
        let (outer_type, aad, inner_type_len) = match self.protocol {
            Protocol::Tls13 => {
                let outer_type = ContentType::ApplicationData.to_wire();
                (
                    outer_type,
                    RecordAad::tls13(header_bytes(outer_type, body_len)),
                    1,
                )
            }
            Protocol::Tls12 => (
                content_type,
                RecordAad::tls12(self.sequence, content_type, plain_len),
                0,
            ),
        };
        let (head, rest) = record.split_at_mut(offset);
        let (header, explicit) = head.split_at_mut(limits::RECORD_HEADER_LEN);
        header.copy_from_slice(&header_bytes(outer_type, body_len));
        explicit.copy_from_slice(&nonce[aead::NONCE_LEN - explicit.len()..]);
        let (body, trailer) = rest.split_at_mut(plain_len);
        self.sequence += 1;
        Ok(Layout {
            nonce: Nonce::assume_unique_for_key(nonce),
            aad: Aad::from(aad),
            body,
            inner_type: [content_type],
            inner_type_len,
            trailer,
            record_len,
        })
    }

    /// `iv ^ sequence` (RFC 8446 section 5.3; for TLS 1.2 with AES-GCM the explicit part starts
    /// from a random value instead of zero, as rustls does).
    fn nonce(&self) -> [u8; aead::NONCE_LEN] {
        let mut nonce = *self.iv;
        for (byte, sequence) in nonce[SALT_LEN..]
            .iter_mut()
            .zip(self.sequence.to_be_bytes())
        {
            *byte ^= sequence;
        }
        nonce
    }

    /// Only AES-GCM in TLS 1.2 carries a part of its nonce in the record (RFC 5288 section 3).
    fn explicit_nonce_len(&self) -> usize {
        match (self.protocol, self.kind) {
            (Protocol::Tls12, AeadKind::AesGcm) => aead::NONCE_LEN - SALT_LEN,
            _ => 0,
        }
    }

    /// Seals with a content type that may be none, for a peer that knows no rules.
    #[cfg(test)]
    pub(crate) fn seal_typed(
        &mut self,
        content_type: u8,
        plain: &[u8],
        record: &mut [u8],
    ) -> Result<usize> {
        let offset = self.plain_offset();
        record[offset..offset + plain.len()].copy_from_slice(plain);
        self.seal_raw_in_place(content_type, plain.len(), record)
    }

    /// Pretends that this many records were protected, for tests of the limits.
    #[cfg(test)]
    pub(crate) fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}

struct Layout<'a> {
    nonce: Nonce,
    aad: Aad<RecordAad>,
    body: &'a mut [u8],
    inner_type: [u8; 1],
    inner_type_len: usize,
    trailer: &'a mut [u8],
    record_len: usize,
}

/// The additional data of a record: its header in TLS 1.3 (RFC 8446 section 5.2); sequence number,
/// type, version and plaintext length in TLS 1.2 (RFC 5246 section 6.2.3.3).
struct RecordAad {
    bytes: [u8; 13],
    len: usize,
}

impl RecordAad {
    fn tls13(header: [u8; limits::RECORD_HEADER_LEN]) -> Self {
        let mut bytes = [0; 13];
        bytes[..header.len()].copy_from_slice(&header);
        Self {
            bytes,
            len: header.len(),
        }
    }

    fn tls12(sequence: u64, content_type: u8, plain_len: usize) -> Self {
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&sequence.to_be_bytes());
        let [.., high, low] = plain_len.to_be_bytes();
        bytes[8..].copy_from_slice(&[content_type, 3, 3, high, low]);
        Self { bytes, len: 13 }
    }
}

impl AsRef<[u8]> for RecordAad {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn seal_failed() -> Error {
    Error::new(ErrorKind::Internal, "sealing a record failed")
}

const TAG_LEN: usize = 16;
const SALT_LEN: usize = 4;
