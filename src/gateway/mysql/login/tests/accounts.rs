use super::*;
use crate::tls::policy::{Dialect, Requirement, Rule, Rules};
use crate::tls::{Oneline, Version};

/// Alice needs TLS with a certificate, bob TLS, and nobody else is let in.
fn rules(dialect: Option<Dialect>) -> Arc<AccountRules> {
    let rule = |user: &str, host: &str, requirement| Rule {
        user: Some(user.into()),
        host: host.parse().unwrap(),
        tenant: None,
        cluster: None,
        requirement,
    };
    let ssl = Requirement {
        ssl: true,
        ..Requirement::default()
    };
    let x509 = Requirement {
        x509: true,
        ..Requirement::default()
    };
    let rules = vec![
        rule("alice", "%", x509.clone()),
        rule("bob", "%", ssl),
        rule("carol", "%", Requirement::default()),
        rule("dave", "10.9.%", Requirement::default()),
    ];
    Arc::new(AccountRules {
        rules: Rules::new(rules, false, Oneline::OpenSsl3),
        dialect,
    })
}

fn guarded(dialect: Option<Dialect>) -> LoginPolicy {
    LoginPolicy {
        offers_tls: true,
        accounts: Some((rules(dialect), PeerAddress::Ip(([10, 0, 0, 1], 9).into()))),
        ..LoginPolicy::plain()
    }
}

fn named(user: &'static [u8]) -> HandshakeResponse<'static> {
    HandshakeResponse {
        user,
        ..response(NATIVE)
    }
}

fn change_to(user: &[u8]) -> Vec<u8> {
    let mut payload = vec![Command::CHANGE_USER.0];
    payload.extend_from_slice(user);
    payload.extend_from_slice(b"\0\x14aaaaaaaaaaaaaaaaaaaa\0\x2d\0mysql_native_password\0");
    // No attributes.
    payload.push(0);
    payload
}

const WRONG: ErrPacket<'static> = ErrPacket {
    code: 1045,
    sql_state: Some(*b"28000"),
    message: b"Access denied for user 'x'@'gateway' (using password: YES)",
};

fn error_at_client(bench: &mut Bench) -> (u16, Option<[u8; 5]>, String) {
    let payload = bench.at_client();
    let packet = ErrPacket::parse(&payload).unwrap();
    let message = String::from_utf8_lossy(packet.message).into_owned();
    (packet.code, packet.sql_state, message)
}

fn denied(user: &str) -> (u16, Option<[u8; 5]>, String) {
    let text = format!("Access denied for user '{user}'@'10.0.0.1' (using password: YES)");
    (1045, Some(*b"28000"), text)
}

#[test]
fn whoever_is_denied_goes_on_as_nobody_and_is_refused_with_the_server() {
    for user in [&b"alice"[..], b"bob", b"eve"] {
        let mut bench = Bench::greeted(guarded(None));
        let login = named(user);
        assert_eq!(bench.client(|w| login.write(w)), Ok(Step::Go));
        let sent = bench.at_server();
        let sent = HandshakeResponse::parse(&sent).unwrap();
        assert_eq!(sent.user, NOBODY);
        let mut as_was = named(user);
        as_was.user = NOBODY;
        assert_eq!(sent, as_was, "nothing else is changed");

        let mut switch = vec![0xfe];
        switch.extend_from_slice(b"mysql_native_password\0aaaaaaaaaaaaaaaaaaaa\0");
        assert_eq!(bench.server(|w| w.bytes(&switch)), Ok(Step::Go));
        assert_eq!(bench.at_client(), switch);
        assert_eq!(bench.client(|w| w.bytes(&[5; 20])), Ok(Step::Go));
        bench.at_server();
        let refusal = bench.server(|w| WRONG.write(w)).unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::AccountDenied);
        bench.login.refuse(&refusal);
        let name = String::from_utf8_lossy(user);
        assert_eq!(error_at_client(&mut bench), denied(&name));
        assert_eq!(bench.login.abandon(), Step::End);
        assert!(bench.login.out(Side::Server).is_empty());
    }
}

#[test]
fn the_log_says_who_was_denied_by_which_rule_and_why() {
    let reason = |user| {
        let mut bench = Bench::greeted(guarded(None));
        bench.client(|w| named(user).write(w)).unwrap();
        bench.login.denial().unwrap().error.to_string()
    };
    assert_eq!(
        reason(b"alice"),
        "account 'alice' from 10.0.0.1 denied: the client speaks no TLS, and the rule is \
         'alice'@'%' REQUIRE X509"
    );
    assert_eq!(
        reason(b"eve"),
        "account 'eve' from 10.0.0.1 denied: no rule names the account, and such accounts are \
         denied"
    );
    assert!(reason(b"\xe9").contains("charset"));
}

#[test]
fn nobody_who_is_let_in_leaves_at_once() {
    let mut bench = Bench::greeted(guarded(None));
    bench.client(|w| named(b"alice").write(w)).unwrap();
    bench.at_server();
    let refusal = bench.server(|w| OkPacket::default().write(w)).unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::AccountDenied);
    assert_eq!(
        bench.login.out(Side::Server),
        &[1, 0, 0, 0, Command::QUIT.0]
    );
    assert!(bench.login.out(Side::Client).is_empty());
    assert_eq!(bench.login.abandon(), Step::End);
}

#[test]
fn what_the_handshake_agreed_on_counts() {
    for (user, passes) in [(&b"alice"[..], false), (b"bob", true), (b"carol", true)] {
        let mut bench = Bench::greeted(guarded(None));
        let request = request();
        bench.client(|w| w.bytes(&request)).unwrap();
        let facts = Facts {
            version: Version::Tls13,
            suite: "TLS_AES_128_GCM_SHA256",
            group: "X25519",
            resumed: false,
            server_name: None,
            application_protocol: None,
            peer_chain: Vec::new(),
        };
        bench.login.secured(Side::Client, Some(Arc::new(facts)));
        let login = HandshakeResponse {
            capabilities: with_ssl(response(NATIVE).capabilities, true),
            ..named(user)
        };
        bench.client(|w| login.write(w)).unwrap();
        let sent = bench.at_server();
        let sent = HandshakeResponse::parse(&sent).unwrap().user;
        assert_eq!(sent == user, passes, "{user:?}");
    }
}

#[test]
fn a_wrong_password_is_refused_in_the_same_words() {
    let mut bench = Bench::greeted(guarded(None));
    bench.client(|w| named(b"carol").write(w)).unwrap();
    bench.at_server();
    assert_eq!(bench.server(|w| WRONG.write(w)), Ok(Step::End));
    assert_eq!(error_at_client(&mut bench), denied("carol"));
    // Without a password, and what is not about one.
    let mut bench = Bench::greeted(guarded(None));
    let without = HandshakeResponse {
        auth_response: b"",
        ..named(b"carol")
    };
    bench.client(|w| without.write(w)).unwrap();
    bench.at_server();
    bench.server(|w| WRONG.write(w)).unwrap();
    assert!(
        error_at_client(&mut bench)
            .2
            .ends_with("(using password: NO)")
    );
    let mut bench = Bench::greeted(guarded(None));
    bench.client(|w| named(b"carol").write(w)).unwrap();
    bench.at_server();
    let other = ErrPacket {
        code: 1049,
        ..WRONG
    };
    bench.server(|w| other.write(w)).unwrap();
    assert_eq!(error_at_client(&mut bench).0, 1049);
}

#[test]
fn oceanbase_has_its_own_words() {
    let mut bench = Bench::greeted(guarded(Some(Dialect::OceanBase)));
    bench
        .client(|w| named(b"'alice'@sales#c1").write(w))
        .unwrap();
    bench.at_server();
    let refusal = bench.server(|w| WRONG.write(w)).unwrap_err();
    bench.login.refuse(&refusal);
    let text = "Access denied for user 'alice'@'xxx.xxx.xxx.xxx' (using password: YES)";
    let expected = (1045, Some(*b"42000"), text.to_owned());
    assert_eq!(error_at_client(&mut bench), expected);
}

#[test]
fn a_proxy_that_is_trusted_says_where_its_client_is() {
    for (host, passes) in [(&b"10.9.0.1"[..], true), (b"10.8.0.1", false)] {
        let policy = LoginPolicy {
            is_proxy_trusted: true,
            ..guarded(None)
        };
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.lenenc_bytes(b"__client_ip");
        writer.lenenc_bytes(host);
        let login = HandshakeResponse {
            attributes: Attributes::parse(&bytes).unwrap(),
            ..named(b"dave")
        };
        let mut bench = Bench::greeted(policy);
        bench.client(|w| login.write(w)).unwrap();
        let sent = bench.at_server();
        let sent = HandshakeResponse::parse(&sent).unwrap().user;
        assert_eq!(sent == b"dave", passes, "{host:?}");
    }
}

#[test]
fn a_change_of_user_is_judged_anew() {
    for (user, passes) in [(&b"carol"[..], true), (b"alice", false), (b"eve", false)] {
        let mut bench = Bench::greeted(guarded(None));
        bench.client(|w| named(b"carol").write(w)).unwrap();
        bench.at_server();
        bench.server(|w| OkPacket::default().write(w)).unwrap();
        bench.at_client();
        let mut bench = Bench {
            login: bench.login.follow().into_login(),
            client: Sequence::default(),
            server: Sequence::default(),
        };
        let command = change_to(user);
        bench.client(|w| w.bytes(&command)).unwrap();
        let sent = bench.at_server();
        let expected = change_to(if passes { user } else { NOBODY });
        assert_eq!(sent, expected);
        let verdict = bench.server(|w| WRONG.write(w));
        match passes {
            true => assert_eq!(verdict, Ok(Step::Relay)),
            false => bench.login.refuse(&verdict.unwrap_err()),
        }
        let name = String::from_utf8_lossy(user);
        assert_eq!(error_at_client(&mut bench), denied(&name));
    }
}

#[test]
fn a_change_of_user_in_passing_must_be_seen_whole_and_be_allowed() {
    let session = || {
        let mut bench = Bench::greeted(guarded(None));
        bench.client(|w| named(b"carol").write(w)).unwrap();
        bench.login.follow()
    };
    for (user, passes) in [(&b"carol"[..], true), (b"alice", false)] {
        let mut bytes = Vec::new();
        let ping = [Command::PING.0];
        write_packet(&mut bytes, &mut Sequence(0), |w| w.bytes(&ping));
        write_packet(&mut bytes, &mut Sequence(0), |w| w.bytes(&change_to(user)));
        let mut follower = session();
        follower.passed(Side::Client, &bytes);
        assert_eq!(follower.violation().is_none(), passes, "{user:?}");
        // Not whole.
        let mut follower = session();
        follower.passed(Side::Client, &bytes[..bytes.len() - 1]);
        assert!(follower.violation().is_some(), "{user:?}");
    }
    // COM_SLEEP, after which nothing can be told.
    let mut follower = session();
    follower.passed(Side::Client, &[1, 0, 0, 0, 0]);
    assert!(follower.violation().is_some());
}

#[test]
fn framings_that_hide_commands_are_not_agreed_on() {
    let zstd = Capabilities::ZSTD_COMPRESSION_ALGORITHM;
    let mut bench = Bench::new(guarded(None));
    let mut offered = greeting(false);
    offered.capabilities = offered.capabilities.with(zstd);
    bench.server(|w| offered.write(w)).unwrap();
    let shown = bench.at_client();
    assert!(!Greeting::parse(&shown).unwrap().capabilities.contains(zstd));
    let login = HandshakeResponse {
        capabilities: response(NATIVE).capabilities.with(zstd),
        ..named(b"carol")
    };
    let step = bench.client(|w| login.write(w));
    assert_eq!(told_state(&mut bench, step), (3159, Some(*b"HY000")));
    assert!(bench.login.out(Side::Server).is_empty());
}
