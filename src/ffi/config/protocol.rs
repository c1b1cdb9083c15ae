//! How an end speaks TLS: versions, suites, resumption, time.

use std::ffi::{CString, c_char, c_int, c_void};
use std::time::Duration;

use super::builder::{End, one_of, sealwire_config_builder, set};
use crate::ffi::pointer;
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result;
use crate::tls::{DangerKeyLog, RecordPath, TicketKeys, Tickets, Version};

/// TLS 1.2 (RFC 5246): the number it has on the wire, and in OpenSSL.
pub const SEALWIRE_TLS_1_2: c_int = 0x0303;
/// TLS 1.3 (RFC 8446): the number it has on the wire, and in OpenSSL.
pub const SEALWIRE_TLS_1_3: c_int = 0x0304;

/// rustls opens and seals records, which are copied on their way. The default.
pub const SEALWIRE_RECORDS_RUSTLS: c_int = 0;
/// Records are opened where they arrived and sealed where they are sent from.
pub const SEALWIRE_RECORDS_IN_PLACE: c_int = 1;

/// Is told one secret of a session: a line of NSS's key log format, which Wireshark reads, without
/// its end. `line` is the library's, and gone when the call returns.
///
/// It is called on any thread that drives a connection, on several at once, and must not call
/// sealwire_* or leave by longjmp() or an exception.
pub type sealwire_key_log_callback =
    Option<extern "C" fn(line: *const c_char, user_data: *mut c_void)>;

/// Sets the oldest version that is spoken, SEALWIRE_TLS_1_2 or SEALWIRE_TLS_1_3; by default the
/// former.
///
/// ::SEALWIRE_ERR_ARGUMENT where `version` is neither.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_min_version(
    builder: *mut sealwire_config_builder,
    version: c_int,
) -> sealwire_result {
    set(builder, |builder| {
        builder.min_version = one_of("version", version, VERSIONS)?;
        Ok(())
    })
}

/// Sets the newest version that is spoken, SEALWIRE_TLS_1_2 or SEALWIRE_TLS_1_3; by default the
/// latter.
///
/// ::SEALWIRE_ERR_ARGUMENT where `version` is neither.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_max_version(
    builder: *mut sealwire_config_builder,
    version: c_int,
) -> sealwire_result {
    set(builder, |builder| {
        builder.max_version = one_of("version", version, VERSIONS)?;
        Ok(())
    })
}

/// Sets the cipher suites by OpenSSL's or IANA's names, with `:` between them, those of TLS 1.2 and
/// of TLS 1.3 in one list. A client offers them in this order; a server takes the first of the
/// client's that is among them. By default all that the library speaks, which are safe ones only.
///
/// Unknown names are ::SEALWIRE_ERR_CONFIG when the configuration is built;
/// ::SEALWIRE_ERR_ARGUMENT where there is no name.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_suites(
    builder: *mut sealwire_config_builder,
    names: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        let names = pointer::text("names", names)?.split(':');
        let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            return Err(Failure::argument("names has no suite in it"));
        }
        builder.suites = names.into_iter().map(str::to_owned).collect();
        Ok(())
    })
}

/// Sets who opens and seals records once the handshake is done: SEALWIRE_RECORDS_RUSTLS or
/// SEALWIRE_RECORDS_IN_PLACE. What is on the wire is the same.
///
/// ::SEALWIRE_ERR_ARGUMENT where `records` is neither.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_records(
    builder: *mut sealwire_config_builder,
    records: c_int,
) -> sealwire_result {
    set(builder, |builder| {
        builder.records = one_of("records", records, RECORDS)?;
        Ok(())
    })
}

/// Sets the time from the first use of a connection to the end of its handshake, in milliseconds.
/// 10,000 where it is not set; 0 is ::SEALWIRE_ERR_ARGUMENT.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_handshake_timeout_ms(
    builder: *mut sealwire_config_builder,
    timeout_ms: u32,
) -> sealwire_result {
    set(builder, |builder| {
        if timeout_ms == 0 {
            return Err(Failure::argument(
                "timeout_ms is 0: no handshake could end in time",
            ));
        }
        builder.handshake_timeout = Duration::from_millis(timeout_ms.into());
        Ok(())
    })
}

/// Resumes sessions by tickets that every server with the same keys and the same `route` takes up:
/// several processes, or one that was restarted. For servers only; without it a session is taken up
/// by the configuration that it began with alone.
///
/// `keys` are three keys of 48 random bytes, the previous, the current and the next one, as
/// `sealwire cert tickets` makes them: rotating moves each one place to the front. They are as
/// secret as a private key. `route` is any text that tells what is served.
///
/// ::SEALWIRE_ERR_CONFIG where they are fewer, more, or not different.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_tickets(
    builder: *mut sealwire_config_builder,
    keys: *const u8,
    keys_len: usize,
    route: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        let keys = pointer::bytes("keys", keys.cast::<c_void>(), keys_len)?;
        let route = pointer::text("route", route)?;
        let keys = TicketKeys::from_bytes("keys", keys)?;
        builder.tickets = Some(Tickets::new(keys, route));
        Ok(())
    })
}

/// Makes every session begin with a full handshake: none is kept, offered or taken up again.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_disable_resumption(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| {
        builder.resumes = false;
        Ok(())
    })
}

/// Tells `callback` the secrets of every session. Whoever has them reads all that passes, and all
/// that has passed: for debugging, on a machine where nothing is secret.
///
/// `user_data` is given back to the callback, may be NULL, and has to live as long as the
/// configurations that are built and their connections. ::SEALWIRE_ERR_NULL where `callback` is.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_danger_set_key_log(
    builder: *mut sealwire_config_builder,
    callback: sealwire_key_log_callback,
    user_data: *mut c_void,
) -> sealwire_result {
    set(builder, |builder| {
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        let user_data = UserData(user_data);
        builder.key_log = Some(DangerKeyLog::new(move |line| {
            // A line has no NUL in it: labels and hexadecimal digits.
            if let Ok(line) = CString::new(line) {
                callback(line.as_ptr(), user_data.get());
            }
        }));
        Ok(())
    })
}

/// What a callback is given back.
struct UserData(*mut c_void);

// SAFETY: it is never looked at here, and the callback's contract is to be called on any thread.
unsafe impl Send for UserData {}
// SAFETY: the same.
unsafe impl Sync for UserData {}

impl UserData {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

const VERSIONS: &[(c_int, Version)] = &[
    (SEALWIRE_TLS_1_2, Version::Tls12),
    (SEALWIRE_TLS_1_3, Version::Tls13),
];

const RECORDS: &[(c_int, RecordPath)] = &[
    (SEALWIRE_RECORDS_RUSTLS, RecordPath::Rustls),
    (SEALWIRE_RECORDS_IN_PLACE, RecordPath::InPlace),
];
