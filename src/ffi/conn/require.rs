//! Whether an account may log in over a connection.

use std::ffi::c_char;

use super::{call, sealwire_conn};
use crate::ffi::config::Claim;
use crate::ffi::pointer;
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result::{self, *};

/// Judges by the configuration's rules whether an account may log in over this connection: for a
/// server that learns of the account after the handshake. The connection stays as it is, so that
/// the client can be told what it would be told for a wrong password, and nothing else.
///
/// `host` is where the client is: an address as text, or "localhost" for a Unix socket. `tenant`
/// and `cluster` are OceanBase's; NULL where they are not known. Where both are NULL and the
/// dialect is OceanBase's, `user` may have them in it (user@tenant#cluster).
///
/// ::SEALWIRE_ERR_ACCOUNT_DENIED where it may not, and sealwire_conn_error_text() says why, for the
/// log. ::SEALWIRE_ERR_STATE before the handshake is complete, at a client, and with OB-RPC.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_check_require(
    conn: *mut sealwire_conn,
    user: *const c_char,
    host: *const c_char,
    tenant: *const c_char,
    cluster: *const c_char,
) -> sealwire_result {
    call(conn, |conn, _| {
        let claim = Claim {
            user: pointer::text("user", user)?,
            host: pointer::text("host", host)?,
            tenant: pointer::optional_text("tenant", tenant)?,
            cluster: pointer::optional_text("cluster", cluster)?,
        };
        let Some(accounts) = &conn.accounts else {
            return Err(Failure::state(
                "accounts log in at servers of a protocol that has them, and this is none",
            ));
        };
        if conn.link.is_handshaking() {
            return Err(Failure::state("the handshake is not complete"));
        }
        accounts.check(conn.link.facts(), &claim)?;
        Ok(SEALWIRE_OK)
    })
}
