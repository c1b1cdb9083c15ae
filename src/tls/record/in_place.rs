use super::alert::{Alert, Meaning, Refused, unexpected};
use super::header::{ContentType, Header, oversized};
use super::keys::{Protocol, TrafficKeys};
use super::post_handshake::{Fragments, KEY_UPDATE, Message, next_message};
use super::{Opened, Records};
use crate::buf::{BufPool, SendQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::time::Now;
use crate::wire::Reader;

/// Makes the next keys of a TLS 1.3 connection and takes its tickets.
pub(crate) trait KeySchedule: Send {
    fn next_send_keys(&mut self) -> Result<TrafficKeys>;
    fn next_receive_keys(&mut self) -> Result<TrafficKeys>;
    /// Takes the body of a NewSessionTicket; an error on a server, to which nobody sends tickets.
    fn take_ticket(&mut self, now: Now, body: &[u8]) -> Result<()>;
}

/// Records opened where they arrived and sealed where they are sent from.
///
/// Short writes gather in the spare memory of the send queue, where the plaintext of the open
/// record lies at its final place; [`Records::seal`] seals it there.
pub(crate) struct InPlaceRecords {
    send: TrafficKeys,
    receive: TrafficKeys,
    role: Role,
    /// Plaintext bytes of the open record, behind what the send queue has committed.
    gathered: usize,
    owed: Owed,
    fragments: Fragments,
    in_a_row: InARow,
}

/// What the protocol lets the peer ask for.
enum Role {
    /// TLS 1.2, which knows no KeyUpdate and no late tickets.
    Tls12 { is_client: bool },
    /// TLS 1.3. Boxed, since it holds the peer's chain and is touched by few connections.
    Tls13(Box<dyn KeySchedule>),
}

/// Answers that the peer has asked for and that the next [`Records::seal`] gives.
#[derive(Default)]
struct Owed {
    key_update: bool,
    no_renegotiation: bool,
}

/// Records of a kind without application data between them.
#[derive(Default)]
struct InARow {
    empty: u32,
    key_updates: u32,
    warnings: u32,
    /// Never reset: a peer may ask once.
    renegotiations: u32,
}

impl InPlaceRecords {
    /// TLS 1.2 with the keys of a completed handshake.
    pub(crate) fn tls12(send: TrafficKeys, receive: TrafficKeys, is_client: bool) -> Self {
        Self::new(send, receive, Role::Tls12 { is_client })
    }

    /// TLS 1.3 with the keys of a completed handshake.
    pub(crate) fn tls13(
        send: TrafficKeys,
        receive: TrafficKeys,
        schedule: Box<dyn KeySchedule>,
    ) -> Self {
        Self::new(send, receive, Role::Tls13(schedule))
    }

    fn new(send: TrafficKeys, receive: TrafficKeys, role: Role) -> Self {
        Self {
            send,
            receive,
            role,
            gathered: 0,
            owed: Owed::default(),
            fragments: Fragments::default(),
            in_a_row: InARow::default(),
        }
    }

    /// The sending keys, for tests of their limits.
    #[cfg(test)]
    pub(crate) fn send_keys(&mut self) -> &mut TrafficKeys {
        &mut self.send
    }

    fn protocol(&self) -> Protocol {
        match self.role {
            Role::Tls12 { .. } => Protocol::Tls12,
            Role::Tls13(_) => Protocol::Tls13,
        }
    }

    /// Opens a record and says what it holds, or which alert it deserves.
    fn open_record(&mut self, now: Now, record: &mut [u8]) -> Result<Opened, Refused> {
        let range = self.decrypt(record)?;
        if range.len() > self.receive.inner_len_max() {
            return Err(Refused::new(Alert::RECORD_OVERFLOW, oversized(range.len())));
        }
        let (content_type, range) = self.inner_type(record, range)?;
        if content_type != ContentType::Handshake && !self.fragments.is_empty() {
            return Err(unexpected(
                "another record in the middle of a handshake message",
            ));
        }
        match content_type {
            ContentType::ApplicationData => self.application_data(range),
            ContentType::Alert => self.alert(&record[range]),
            ContentType::Handshake => self.handshake(now, &record[range]),
            ContentType::ChangeCipherSpec => {
                Err(unexpected("a ChangeCipherSpec after the handshake"))
            }
        }
    }

    fn decrypt(&mut self, record: &mut [u8]) -> Result<std::ops::Range<usize>, Refused> {
        Header::read(record).map_err(|error| Refused::new(Alert::RECORD_OVERFLOW, error))?;
        let body_len = record.len().saturating_sub(limits::RECORD_HEADER_LEN);
        if self.protocol() == Protocol::Tls13 && body_len > limits::RECORD_CIPHER_LEN_MAX {
            return Err(Refused::new(Alert::RECORD_OVERFLOW, oversized(body_len)));
        }
        let outer_type = record.first().copied().and_then(ContentType::from_wire);
        if self.protocol() == Protocol::Tls13 && outer_type != Some(ContentType::ApplicationData) {
            return Err(unexpected("an unprotected record after the handshake"));
        }
        self.receive.open(record).ok_or_else(|| {
            let text =
                "peer sent a record that does not authenticate: altered, reordered or forged";
            Refused::new(
                Alert::BAD_RECORD_MAC,
                Error::new(ErrorKind::TlsProtocol, text),
            )
        })
    }

    /// The content type: in TLS 1.3 the last byte that is not zero (RFC 8446 section 5.2).
    fn inner_type(
        &self,
        record: &[u8],
        range: std::ops::Range<usize>,
    ) -> Result<(ContentType, std::ops::Range<usize>), Refused> {
        if self.protocol() == Protocol::Tls12 {
            let content_type = record.first().copied().and_then(ContentType::from_wire);
            return content_type
                .map(|content_type| (content_type, range))
                .ok_or_else(|| unexpected("a record of an unknown type"));
        }
        let plain = &record[range.clone()];
        let Some(last) = plain.iter().rposition(|&byte| byte != 0) else {
            return Err(unexpected("a record of nothing but padding"));
        };
        ContentType::from_wire(plain[last])
            .map(|content_type| (content_type, range.start..range.start + last))
            .ok_or_else(|| unexpected("a record of an unknown type"))
    }

    fn application_data(&mut self, range: std::ops::Range<usize>) -> Result<Opened, Refused> {
        if range.is_empty() {
            self.in_a_row.empty += 1;
            bounded(
                self.in_a_row.empty,
                limits::EMPTY_RECORDS_MAX,
                "empty records",
            )?;
            return Ok(Opened::Nothing);
        }
        self.in_a_row = InARow {
            renegotiations: self.in_a_row.renegotiations,
            ..InARow::default()
        };
        Ok(Opened::InRecord(range))
    }

    fn alert(&mut self, body: &[u8]) -> Result<Opened, Refused> {
        match Alert::judge(body, self.protocol())? {
            Meaning::Close => Ok(Opened::Closed),
            Meaning::Warning => {
                self.in_a_row.warnings += 1;
                bounded(
                    self.in_a_row.warnings,
                    limits::WARNING_ALERTS_MAX,
                    "warning alerts",
                )?;
                Ok(Opened::Nothing)
            }
        }
    }

    fn handshake(&mut self, now: Now, body: &[u8]) -> Result<Opened, Refused> {
        // RFC 8446 section 5.1: no zero-length fragments of handshake messages.
        if body.is_empty() {
            return Err(unexpected("an empty handshake record"));
        }
        let bytes = self.fragments.join(body);
        let mut reader = Reader::new(&bytes);
        while let Some(message) = next_message(&mut reader)? {
            self.message(now, message, reader.is_empty())?;
        }
        self.fragments.keep(&bytes[bytes.len() - reader.len()..]);
        Ok(Opened::Nothing)
    }

    fn message(&mut self, now: Now, message: Message<'_>, is_last: bool) -> Result<(), Refused> {
        match (&mut self.role, message) {
            (Role::Tls13(schedule), Message::KeyUpdate { is_requested }) => {
                // RFC 8446 section 5.1: no message may straddle a change of keys.
                if !is_last {
                    return Err(unexpected("a KeyUpdate with more behind it in its record"));
                }
                self.in_a_row.key_updates += 1;
                bounded(
                    self.in_a_row.key_updates,
                    limits::KEY_UPDATES_MAX,
                    "KeyUpdates",
                )?;
                self.receive = schedule
                    .next_receive_keys()
                    .map_err(|error| Refused::new(Alert::INTERNAL_ERROR, error))?;
                self.owed.key_update |= is_requested;
                Ok(())
            }
            (Role::Tls13(schedule), Message::NewSessionTicket(body)) => schedule
                .take_ticket(now, body)
                .map_err(|error| Refused::new(Alert::UNEXPECTED_MESSAGE, error)),
            (Role::Tls12 { is_client: true }, Message::HelloRequest)
            | (Role::Tls12 { is_client: false }, Message::ClientHello) => {
                self.in_a_row.renegotiations += 1;
                bounded(self.in_a_row.renegotiations, 1, "requests to renegotiate")?;
                self.owed.no_renegotiation = true;
                Ok(())
            }
            _ => Err(unexpected(
                "a handshake message that has no place after the handshake",
            )),
        }
    }

    /// Seals the open record, so that what follows comes behind it.
    fn seal_gathered(&mut self, out: &mut SendQueue) -> Result<()> {
        if self.gathered == 0 {
            return Ok(());
        }
        let len = self.send.seal_in_place(
            ContentType::ApplicationData,
            self.gathered,
            out.spare_again(),
        )?;
        self.gathered = 0;
        out.commit(len);
        Ok(())
    }

    /// Queues an alert that ends the connection. Where even that cannot be sealed, what the alert
    /// is about is told all the same.
    pub(crate) fn send_alert(&mut self, alert: Alert, out: &mut SendQueue, pool: &mut BufPool) {
        let _ = self.seal_now(ContentType::Alert, &alert.to_wire(), out, pool);
    }

    /// Seals one record of its own behind everything that was written.
    fn seal_now(
        &mut self,
        content_type: ContentType,
        plain: &[u8],
        out: &mut SendQueue,
        pool: &mut BufPool,
    ) -> Result<()> {
        self.seal_gathered(out)?;
        let spare = out.spare(plain.len() + limits::RECORD_OVERHEAD_MAX, pool);
        let len = self.send.seal(content_type, plain, spare)?;
        out.commit(len);
        Ok(())
    }

    /// Adds a short write to the open record, or to the next where it does not fit.
    fn gather(&mut self, plain: &[u8], out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        let frame_len = self.send.plain_offset() + self.send.trailer_len();
        let room = out
            .spare_len()
            .saturating_sub(frame_len)
            .min(limits::RECORD_PLAIN_LEN_MAX);
        if self.gathered + plain.len() > room {
            self.seal_gathered(out)?;
            // A record that begins here has room for a while: the rest of a nearly full buffer is
            // left.
            out.spare(frame_len + limits::SEAL_DIRECT_LEN_MIN, pool);
        }
        let start = self.send.plain_offset() + self.gathered;
        out.spare_again()[start..start + plain.len()].copy_from_slice(plain);
        self.gathered += plain.len();
        Ok(())
    }

    fn give_what_is_owed(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        if std::mem::take(&mut self.owed.no_renegotiation) {
            self.seal_now(
                ContentType::Alert,
                &Alert::NO_RENEGOTIATION.to_wire(),
                out,
                pool,
            )?;
        }
        if std::mem::take(&mut self.owed.key_update) || self.send.is_worn() {
            self.refresh(out, pool)?;
        }
        Ok(())
    }
}

impl Records for InPlaceRecords {
    fn open(
        &mut self,
        now: Now,
        record: &mut [u8],
        out: &mut SendQueue,
        pool: &mut BufPool,
    ) -> Result<Opened> {
        self.open_record(now, record).map_err(|refused| {
            if let Some(alert) = refused.alert {
                self.send_alert(alert, out, pool);
            }
            refused.error
        })
    }

    /// Nothing is ever held: plaintext lies in the record.
    fn held(&self) -> &[u8] {
        &[]
    }

    fn let_go(&mut self, _pool: &mut BufPool) {}

    fn write(&mut self, plain: &[u8], out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        if plain.is_empty() {
            return Ok(());
        }
        if plain.len() < limits::SEAL_DIRECT_LEN_MIN {
            return self.gather(plain, out, pool);
        }
        for chunk in plain.chunks(limits::RECORD_PLAIN_LEN_MAX) {
            self.seal_now(ContentType::ApplicationData, chunk, out, pool)?;
        }
        Ok(())
    }

    fn seal(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        self.seal_gathered(out)?;
        self.give_what_is_owed(out, pool)
    }

    fn gathered(&self) -> usize {
        self.gathered
    }

    fn close(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        self.seal(out, pool)?;
        self.seal_now(
            ContentType::Alert,
            &Alert::CLOSE_NOTIFY.to_wire(),
            out,
            pool,
        )
    }

    fn refresh(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        if self.protocol() == Protocol::Tls12 {
            return Ok(());
        }
        self.seal_now(ContentType::Handshake, &KEY_UPDATE, out, pool)?;
        if let Role::Tls13(schedule) = &mut self.role {
            self.send = schedule.next_send_keys()?;
        }
        Ok(())
    }
}

fn bounded(count: u32, max: u32, what: &str) -> Result<(), Refused> {
    if count <= max {
        return Ok(());
    }
    let text = format!("peer sent more than {max} {what} with no data between them");
    Err(Refused::new(
        Alert::UNEXPECTED_MESSAGE,
        Error::new(ErrorKind::TlsProtocol, text),
    ))
}
