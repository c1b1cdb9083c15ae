use std::sync::LazyLock;

use super::*;
use crate::tls::Version;

/// Alice's and Bob's certificates, of one authority.
static CERTIFICATES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let named = |name: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let attributes = [
            (rcgen::DnType::CountryName, "CN"),
            (rcgen::DnType::OrganizationName, "Test Org"),
            (rcgen::DnType::CommonName, name),
        ];
        for (kind, value) in attributes {
            params.distinguished_name.push(kind, value);
        }
        params
    };
    let mut ca = named("Test CA");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(ca, rcgen::KeyPair::generate().unwrap());
    ["alice", "bob"].map(|name| {
        let key = rcgen::KeyPair::generate().unwrap();
        named(name).signed_by(&key, &issuer).unwrap().der().to_vec()
    })
});

const ISSUER: &str = "/C=CN/O=Test Org/CN=Test CA";
const ALICE: &str = "/C=CN/O=Test Org/CN=alice";
const DIALECTS: [Dialect; 3] = [Dialect::MySql, Dialect::MariaDb, Dialect::OceanBase];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Plain,
    Tls,
    Alice,
    Bob,
}

fn facts(client: Client, suite: &'static str) -> Option<Facts> {
    let peer_chain = match client {
        Client::Plain => return None,
        Client::Tls => Vec::new(),
        Client::Alice => vec![CERTIFICATES[0].clone()],
        Client::Bob => vec![CERTIFICATES[1].clone()],
    };
    Some(Facts {
        version: Version::Tls12,
        suite,
        group: "X25519",
        resumed: false,
        server_name: None,
        application_protocol: None,
        peer_chain,
    })
}

fn rule(user: &str, host: &str, requirement: Requirement) -> Rule {
    Rule {
        user: Some(user.into()),
        host: host.parse().unwrap(),
        tenant: None,
        cluster: None,
        requirement,
    }
}

fn x509() -> Requirement {
    Requirement {
        x509: true,
        ..Requirement::default()
    }
}

fn allowing(rules: Vec<Rule>) -> Rules {
    Rules::new(rules, true, Oneline::OpenSsl3)
}

fn denying(rules: Vec<Rule>) -> Rules {
    Rules::new(rules, false, Oneline::OpenSsl3)
}

fn login(user: &str, dialect: Dialect) -> Login {
    Login::parse(user.as_bytes(), UTF8, "10.0.0.1", dialect).unwrap()
}

/// True where a login without a certificate is let through.
fn passes(user: &str, rules: &Rules, dialect: Dialect) -> bool {
    let facts = facts(Client::Tls, "TLS_AES_128_GCM_SHA256");
    check(facts.as_ref(), &login(user, dialect), dialect, rules) == Verdict::Allowed
}

fn refusal_of<'v>(verdict: &'v Verdict<'_>) -> Option<&'v Refusal> {
    match verdict {
        Verdict::Allowed => None,
        Verdict::Refused { refusal, .. } => Some(refusal),
    }
}

/// utf8mb4_general_ci.
const UTF8: u16 = 45;

/// Every combination of the options, against every client, for every dialect: what MariaDB, MySQL
/// and seekdb answered, and the formula behind it.
#[test]
fn every_combination_of_options_against_every_client() {
    let suites = [
        (
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ),
        ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ];
    let clients = [Client::Plain, Client::Tls, Client::Alice, Client::Bob];
    let mut count = 0;
    for options in 0..8 {
        let (cipher, issuer, subject) = (options & 1 != 0, options & 2 != 0, options & 4 != 0);
        let requirement = Requirement {
            cipher: cipher.then(|| "ECDHE-RSA-AES256-GCM-SHA384".into()),
            issuer: issuer.then(|| ISSUER.into()),
            subject: subject.then(|| ALICE.into()),
            ..Requirement::default()
        };
        let rules = allowing(vec![rule("u", "%", requirement)]);
        for dialect in DIALECTS {
            for client in clients {
                for (iana, openssl) in suites {
                    let has_certificate = matches!(client, Client::Alice | Client::Bob);
                    let needs_certificate =
                        issuer || subject || cipher && dialect != Dialect::MariaDb;
                    let expected = options == 0
                        || client != Client::Plain
                            && (!cipher || openssl == "ECDHE-RSA-AES256-GCM-SHA384")
                            && (!needs_certificate || has_certificate)
                            && (!subject || client == Client::Alice);
                    let facts = facts(client, iana);
                    let verdict = check(facts.as_ref(), &login("u", dialect), dialect, &rules);
                    let row =
                        format!("{options:03b} {dialect:?} {client:?} {openssl}: {verdict:?}");
                    assert_eq!(verdict == Verdict::Allowed, expected, "{row}");
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 8 * 3 * 4 * 3);
}

#[test]
fn ssl_and_x509_as_the_servers_have_them() {
    let ssl = Requirement {
        ssl: true,
        ..Requirement::default()
    };
    let cases = [
        (Requirement::default(), [true, true, true, true]),
        (ssl, [false, true, true, true]),
        (x509(), [false, false, true, true]),
    ];
    for (requirement, expected) in cases {
        let rules = allowing(vec![rule("u", "%", requirement)]);
        for dialect in DIALECTS {
            let clients = [Client::Plain, Client::Tls, Client::Alice, Client::Bob];
            let verdicts = clients.map(|client| {
                let facts = facts(client, "TLS_AES_128_GCM_SHA256");
                check(facts.as_ref(), &login("u", dialect), dialect, &rules) == Verdict::Allowed
            });
            assert_eq!(verdicts, expected, "{rules:?} {dialect:?}");
        }
    }
}

#[test]
fn the_order_of_the_tests_is_the_dialects() {
    let requirement = Requirement {
        cipher: Some("AES".into()),
        ..x509()
    };
    let rules = allowing(vec![rule("u", "%", requirement)]);
    let facts = facts(Client::Tls, "TLS_AES_128_GCM_SHA256");
    let refusal = |dialect| check(facts.as_ref(), &login("u", dialect), dialect, &rules);
    for dialect in [Dialect::MySql, Dialect::MariaDb] {
        let verdict = refusal(dialect);
        assert!(
            matches!(refusal_of(&verdict), Some(Refusal::Cipher { .. })),
            "{verdict:?}"
        );
    }
    let verdict = refusal(Dialect::OceanBase);
    assert_eq!(refusal_of(&verdict), Some(&Refusal::NoCertificate));
}

#[test]
fn issuer_and_subject_are_compared_whole_and_as_they_are_written() {
    for subject in [
        "/C=CN/O=Test Org/CN=alic",
        "/C=CN/O=Test Org/CN=Alice",
        "CN=alice",
        "/CN=alice",
    ] {
        let requirement = Requirement {
            subject: Some(subject.into()),
            ..Requirement::default()
        };
        let rules = allowing(vec![rule("u", "%", requirement)]);
        let facts = facts(Client::Alice, "TLS_AES_128_GCM_SHA256");
        let dialect = Dialect::MySql;
        let verdict = check(facts.as_ref(), &login("u", dialect), dialect, &rules);
        let expected = Refusal::Subject {
            required: subject.into(),
            found: Some(ALICE.into()),
        };
        assert_eq!(refusal_of(&verdict), Some(&expected));
    }
}

#[test]
fn the_most_specific_host_wins_then_the_most_specific_user() {
    let rules = allowing(vec![
        rule("", "10.0.0.1", x509()),
        rule("alice", "%", Requirement::default()),
        rule("bob", "10.%", Requirement::default()),
        rule("bob", "10.0.0.1", Requirement::default()),
    ]);
    assert!(
        !passes("alice", &rules, Dialect::MySql),
        "the address comes before the user"
    );
    assert!(
        passes("bob", &rules, Dialect::MySql),
        "the user comes before everybody"
    );
    let elsewhere = Login::parse(b"alice", UTF8, "10.0.0.2", Dialect::MySql).unwrap();
    assert_eq!(
        check(None, &elsewhere, Dialect::MySql, &rules),
        Verdict::Allowed
    );
}

#[test]
fn accounts_without_a_rule_are_allowed_or_denied_as_configured() {
    let rules = || vec![rule("alice", "%", Requirement::default())];
    assert!(passes("bob", &allowing(rules()), Dialect::MySql));
    assert!(!passes("bob", &denying(rules()), Dialect::MySql));
    assert!(passes("alice", &denying(rules()), Dialect::MySql));
    assert!(
        !passes("Alice", &denying(rules()), Dialect::MySql),
        "case counts"
    );
    assert!(allowing(Vec::new()).is_empty());
    assert!(!denying(Vec::new()).is_empty());
}

#[test]
fn no_spelling_of_an_oceanbase_login_gets_around_its_rule() {
    let account = Rule {
        tenant: Some("sales".into()),
        cluster: Some("c1".into()),
        ..rule("alice", "%", x509())
    };
    let rules = allowing(vec![account]);
    let spellings = [
        "alice@sales#c1",
        "alice@sales#c1:7",
        "c1:sales:alice",
        "c1:sales:alice:7",
        "c1-sales-alice",
        "c1.sales.alice",
        "c1.sales.alice:7",
        "'alice'@sales#c1",
        "c1:sales:'alice'",
        "\"alice\"@sales#c1",
        "ALICE@SALES#C1",
        // What is left out may be this tenant, or this cluster.
        "alice@sales",
        "alice#c1",
        "alice",
        "'alice'",
        "alice@",
        "alice@#",
    ];
    for spelling in spellings {
        assert!(!passes(spelling, &rules, Dialect::OceanBase), "{spelling}");
    }
    for other in [
        "bob@sales#c1",
        "alice@hr#c1",
        "alice@sales#c2",
        "c1:hr:alice",
        "c1:sales:bob",
    ] {
        assert!(passes(other, &rules, Dialect::OceanBase), "{other}");
    }
}

#[test]
fn a_lax_rule_for_one_tenant_does_not_open_another() {
    let of = |tenant: &str, requirement| Rule {
        tenant: Some(tenant.into()),
        ..rule("alice", "%", requirement)
    };
    let rules = denying(vec![
        of("lax", Requirement::default()),
        of("strict", x509()),
    ]);
    assert!(passes("alice@lax", &rules, Dialect::OceanBase));
    assert!(!passes("alice@strict", &rules, Dialect::OceanBase));
    assert!(
        !passes("alice", &rules, Dialect::OceanBase),
        "it may be strict's"
    );
    assert!(
        !passes("alice@other", &rules, Dialect::OceanBase),
        "no rule names it"
    );
    let everywhere = rule("alice", "%", Requirement::default());
    let rules = denying(vec![everywhere, of("strict", x509())]);
    assert!(passes("alice@other", &rules, Dialect::OceanBase));
    assert!(!passes("alice@strict", &rules, Dialect::OceanBase));
}

#[test]
fn logins_that_cannot_be_told_apart_are_refused() {
    for user in ["a@b@c", "a@b#c#d", "a#b@c", "a@b#c@d"] {
        let parsed = Login::parse(user.as_bytes(), UTF8, "10.0.0.1", Dialect::OceanBase);
        assert_eq!(parsed, Err(LoginFault::Ambiguous), "{user}");
    }
}

#[test]
fn quotes_and_overlong_names_do_not_make_another_account() {
    let rules = allowing(vec![rule("alice", "%", x509())]);
    for dialect in DIALECTS {
        assert!(!passes("'alice'", &rules, dialect), "{dialect:?}");
        assert!(
            passes("''alice''", &rules, dialect),
            "only one pair is taken off"
        );
    }
    let long = |len| Login::parse(&vec![b'a'; len], UTF8, "h", Dialect::MySql);
    assert!(long(32).is_ok());
    assert_eq!(long(33), Err(LoginFault::Length));
}

#[test]
fn a_user_name_is_utf8_and_says_so() {
    let parse = |user: &[u8], charset| Login::parse(user, charset, "h", Dialect::MySql).is_ok();
    let (latin1, gbk) = (8, 28);
    for charset in [latin1, gbk, UTF8, 33, 255] {
        assert!(parse(b"alice", charset), "{charset}");
    }
    assert!(parse("测试".as_bytes(), UTF8));
    assert!(!parse("测试".as_bytes(), gbk));
    assert!(!parse("é".as_bytes(), latin1));
    assert!(!parse(b"\xe9", UTF8));
    assert!(!parse(b"alice\0", UTF8));
}

#[test]
fn refusals_have_the_dialects_sqlstate() {
    let states = DIALECTS.map(|dialect| (dialect.refusal_code(), dialect.refusal_sqlstate()));
    assert_eq!(states, [(1045, "28000"), (1045, "28000"), (1045, "42000")]);
}

#[test]
fn a_refusal_says_which_rule_is_not_met_and_what_was_found() {
    let requirement = Requirement {
        issuer: Some(ISSUER.into()),
        subject: Some("/CN=x".into()),
        ..Requirement::default()
    };
    let account = Rule {
        tenant: Some("sales".into()),
        cluster: Some("c1".into()),
        ..rule("alice", "10.%", requirement)
    };
    let rules = denying(vec![account, rule("bob", "%", x509())]);
    let told = |user, client| {
        let facts = facts(client, "TLS_AES_128_GCM_SHA256");
        let login = login(user, Dialect::OceanBase);
        match check(facts.as_ref(), &login, Dialect::OceanBase, &rules) {
            Verdict::Refused { refusal, rule } => (refusal.to_string(), rule.map(Rule::to_string)),
            Verdict::Allowed => panic!("{user}"),
        }
    };
    let strict = format!(
        "'alice'@'10.%' of tenant sales of cluster c1 REQUIRE ISSUER '{ISSUER}' AND SUBJECT '/CN=x'"
    );
    let found = format!("the certificate's subject is {ALICE}");
    assert_eq!(told("alice@sales#c1", Client::Alice), (found, Some(strict)));
    let (reason, rule) = told("bob", Client::Tls);
    assert_eq!(reason, "the client has shown no certificate");
    assert_eq!(rule.as_deref(), Some("'bob'@'%' REQUIRE X509"));
    assert_eq!(told("eve", Client::Alice).1, None);
}
