//! Accounts over connections: the verdict, and that the connection lives on.

use super::pki::{ALICE_NAME, CA_NAME, PKI};
use super::*;
use crate::ffi::config::require::*;
use crate::ffi::conn::require::*;

pub(super) const NOTHING: sealwire_require = sealwire_require {
    size: size_of::<sealwire_require>(),
    user: ptr::null(),
    host: ptr::null(),
    tenant: ptr::null(),
    cluster: ptr::null(),
    ssl: 0,
    x509: 0,
    cipher: ptr::null(),
    issuer: ptr::null(),
    subject: ptr::null(),
};

fn add(server: &Builder, require: &sealwire_require) -> sealwire_result {
    sealwire_config_builder_add_require(server.0, require)
}

fn server_with_rules() -> Builder {
    let server = Builder::usual_server();
    server.add_roots(&PKI.ca);
    let (alice, ca) = (c(ALICE_NAME), c(CA_NAME));
    let cipher = c"TLS_CHACHA20_POLY1305_SHA256".as_ptr();
    for require in [
        sealwire_require {
            user: c"reader".as_ptr(),
            ssl: 1,
            ..NOTHING
        },
        sealwire_require {
            user: c"writer".as_ptr(),
            x509: 1,
            ..NOTHING
        },
        sealwire_require {
            user: c"batch".as_ptr(),
            cipher,
            ..NOTHING
        },
        sealwire_require {
            user: c"auditor".as_ptr(),
            issuer: ca.as_ptr(),
            ..NOTHING
        },
        sealwire_require {
            user: c"alice".as_ptr(),
            subject: alice.as_ptr(),
            ..NOTHING
        },
    ] {
        ok(add(&server, &require));
    }
    server
}

fn judge(conn: &Conn, user: &str) -> sealwire_result {
    let user = c(user);
    let host = c"10.0.0.7".as_ptr();
    sealwire_conn_check_require(conn.0, user.as_ptr(), host, ptr::null(), ptr::null())
}

#[test]
fn accounts_are_judged_by_what_they_come_with() {
    let server = server_with_rules().build();
    for (identity, denied) in [
        (None, &["writer", "batch", "auditor", "alice"][..]),
        (Some(&PKI.alice), &["batch"]),
        (Some(&PKI.bob), &["batch", "alice"]),
    ] {
        let client = Builder::usual_client();
        if let Some(identity) = identity {
            ok(client.set_identity(identity));
        }
        let (client, server) = pair(&client.build(), &server);
        for user in ["reader", "writer", "batch", "auditor", "alice", "root"] {
            let expected = match denied.contains(&user) {
                true => SEALWIRE_ERR_ACCOUNT_DENIED,
                false => SEALWIRE_OK,
            };
            assert_eq!(judge(&server, user), expected, "{user}: {}", server.error());
        }
        talk(&client, &server);
    }
}

#[test]
fn a_denial_has_its_reason_and_leaves_the_connection_alone() {
    let (client, server) = (Builder::usual_client(), server_with_rules());
    ok(sealwire_config_builder_set_require_default_deny(server.0));
    let (client, server) = pair(&client.build(), &server.build());
    assert_eq!(judge(&server, "writer"), SEALWIRE_ERR_ACCOUNT_DENIED);
    assert_eq!(
        server.error(),
        "account 'writer' from 10.0.0.7 denied: the client has shown no certificate, and the rule \
         is 'writer'@'%' REQUIRE X509"
    );
    assert_eq!(judge(&server, "root"), SEALWIRE_ERR_ACCOUNT_DENIED);
    assert!(server.error().contains("no rule names the account"));
    talk(&client, &server);
    assert_eq!(judge(&client, "reader"), SEALWIRE_ERR_STATE);
    let fresh = Conn::server(&server_with_rules().build());
    assert_eq!(judge(&fresh, "reader"), SEALWIRE_ERR_STATE);
}

#[test]
fn tenants_are_oceanbases() {
    let server = Builder::usual_server();
    let of = |tenant: *const c_char| sealwire_require {
        user: c"root".as_ptr(),
        tenant,
        x509: 1,
        ..NOTHING
    };
    server.add_roots(&PKI.ca);
    ok(add(&server, &of(c"mysql_t".as_ptr())));
    let (_client, conn) = pair(&Builder::usual_client().build(), &server.build());
    let tenant_says = |tenant: *const c_char| {
        let (user, host) = (c"root".as_ptr(), c"localhost".as_ptr());
        sealwire_conn_check_require(conn.0, user, host, tenant, ptr::null())
    };
    assert_eq!(
        tenant_says(c"mysql_t".as_ptr()),
        SEALWIRE_ERR_ACCOUNT_DENIED
    );
    assert_eq!(tenant_says(c"other".as_ptr()), SEALWIRE_OK);
    assert_eq!(tenant_says(ptr::null()), SEALWIRE_ERR_ACCOUNT_DENIED);
    assert_eq!(judge(&conn, "root@mysql_t#c1"), SEALWIRE_ERR_ACCOUNT_DENIED);
    assert_eq!(judge(&conn, "root@other"), SEALWIRE_OK);
    ok(sealwire_config_builder_set_require_dialect(
        server.0,
        SEALWIRE_DIALECT_MYSQL,
    ));
    let (code, words) = server.refusal();
    assert_eq!(code, SEALWIRE_ERR_CONFIG);
    assert!(words.contains("OceanBase's"), "{words}");
}

#[test]
fn rules_that_cannot_be_met_or_read_are_refused() {
    for (require, words) in [
        (sealwire_require { x509: 1, ..NOTHING }, "none is asked for"),
        (
            sealwire_require {
                cipher: c"AES256-SHA".as_ptr(),
                ..NOTHING
            },
            "AES256-SHA is no suite",
        ),
        (
            sealwire_require {
                subject: c"CN=alice".as_ptr(),
                ..NOTHING
            },
            "none is asked for",
        ),
    ] {
        let server = Builder::usual_server();
        ok(sealwire_config_builder_set_require_dialect(
            server.0,
            SEALWIRE_DIALECT_MARIADB,
        ));
        ok(add(&server, &require));
        let (code, found) = server.refusal();
        assert_eq!(code, SEALWIRE_ERR_CONFIG);
        assert!(found.contains(words), "{found}");
    }
    let server = Builder::usual_server();
    server.add_roots(&PKI.ca);
    ok(add(
        &server,
        &sealwire_require {
            subject: c"CN=alice".as_ptr(),
            ..NOTHING
        },
    ));
    assert!(server.refusal().1.contains("nameopt compat"));
    assert_eq!(add(&server, &NOTHING), SEALWIRE_ERR_CONFIG);
    assert!(
        server.error().contains("there is a rule"),
        "{}",
        server.error()
    );
    for (require, code) in [
        (
            sealwire_require {
                host: c"10.0.0.0/99".as_ptr(),
                ..NOTHING
            },
            SEALWIRE_ERR_CONFIG,
        ),
        (
            sealwire_require {
                host: c"".as_ptr(),
                ..NOTHING
            },
            SEALWIRE_ERR_CONFIG,
        ),
        (
            sealwire_require {
                user: c"\xff".as_ptr(),
                ..NOTHING
            },
            SEALWIRE_ERR_ARGUMENT,
        ),
        (
            sealwire_require { size: 0, ..NOTHING },
            SEALWIRE_ERR_ARGUMENT,
        ),
        (
            sealwire_require {
                size: NOTHING.size + 8,
                ..NOTHING
            },
            SEALWIRE_ERR_ARGUMENT,
        ),
    ] {
        assert_eq!(add(&server, &require), code, "{}", server.error());
    }
    for (dialect, oneline) in [(3, 2), (-1, -1)] {
        let set = sealwire_config_builder_set_require_dialect(server.0, dialect);
        assert_eq!(set, SEALWIRE_ERR_ARGUMENT);
        let set = sealwire_config_builder_set_require_oneline(server.0, oneline);
        assert_eq!(set, SEALWIRE_ERR_ARGUMENT);
    }
}
