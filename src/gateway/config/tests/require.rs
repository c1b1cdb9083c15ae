use super::*;
use crate::engine::Address;
use crate::tls::policy::Dialect;

/// A MySQL route whose client side, from line 6 on, has these keys.
fn with(client: &str) -> String {
    format!(
        r#"[[route]]
name = "db"
protocol = "mysql"
listen = ["127.0.0.1:3307"]
[route.client]
{client}
[route.server]
address = "127.0.0.1:3306"
tls = "off"
"#
    )
}

const OWN: &str = "cert = \"server-cert.pem\"\nkey = \"server-key.pem\"\nca = \"ca.pem\"\n";
const RULE: &str = "[[route.client.require]]\n";

fn conditions(dir: &tempfile::TempDir, client: &str) -> Vec<String> {
    let plan = load_in(dir, &with(client)).unwrap();
    plan.routes[0].client.conditions.clone()
}

#[track_caller]
fn check_error(dir: &tempfile::TempDir, client: &str, expected: &str) {
    let error = load_in(dir, &with(client)).unwrap_err().to_string();
    let error = error.replace(&format!("{}/", dir.path().display()), "");
    assert!(error.contains(expected), "{error}");
}

#[test]
fn rules_are_told_in_the_order_in_which_they_are_looked_through() {
    let dir = certificates();
    let rules = "[[route.client.require]]
user = \"alice\"
x509 = true
[[route.client.require]]
user = \"alice\"
host = \"10.%\"
issuer = \"/CN=CA\"
subject = \"/CN=alice\"
[[route.client.require]]
ssl = true
";
    assert_eq!(
        conditions(&dir, &format!("{OWN}{rules}")),
        [
            "account 'alice'@'10.%' REQUIRE ISSUER '/CN=CA' AND SUBJECT '/CN=alice'",
            "account 'alice'@'%' REQUIRE X509",
            "account ''@'%' REQUIRE SSL",
            "accounts that no rule names are allowed as they come; rules are judged as the server \
             does that greets",
        ]
    );
    let settings = "require_default = \"deny\"\nrequire_dialect = \"mariadb\"\n";
    let told = conditions(&dir, &format!("{OWN}{settings}{RULE}user = \"a\"\n"));
    assert_eq!(
        told,
        [
            "account 'a'@'%' REQUIRE NONE",
            "accounts that no rule names are denied; rules are judged as MariaDB does",
        ]
    );
}

#[test]
fn a_rule_that_names_a_tenant_is_judged_as_oceanbase_does() {
    let dir = certificates();
    let rule = format!("{OWN}{RULE}user = \"a\"\ntenant = \"sales\"\ncluster = \"c1\"\n");
    let plan = load_in(&dir, &with(&rule)).unwrap();
    let rules = plan.routes[0].client.require.clone().unwrap();
    assert_eq!(rules.dialect, Some(Dialect::OceanBase));
    let told = rules.rules.iter().next().unwrap().to_string();
    assert_eq!(told, "'a'@'%' of tenant sales of cluster c1 REQUIRE NONE");
    let mysql = format!("{OWN}require_dialect = \"mysql\"\n{RULE}tenant = \"sales\"\n");
    check_error(&dir, &mysql, "gateway.toml:11: tenant has no effect unless");
}

#[test]
fn on_mysql_routes_the_account_decides_whether_a_certificate_is_shown() {
    let dir = certificates();
    for (keys, expected) in [
        ("", ClientCert::Optional),
        ("client_cert = \"required\"", ClientCert::Required),
        ("allowed_clients = [\"cn:alice\"]", ClientCert::Required),
    ] {
        let plan = load_in(&dir, &with(&format!("{OWN}{keys}"))).unwrap();
        let ClientTls::Terminated { client_cert, .. } = &plan.routes[0].client.tls else {
            panic!("{keys}");
        };
        assert_eq!(*client_cert, expected, "{keys}");
    }
    let tcp = with(OWN).replace("\"mysql\"", "\"tcp\"");
    let plan = load_in(&dir, &tcp).unwrap();
    let tls = &plan.routes[0].client.tls;
    let expected = ClientCert::Required;
    assert!(matches!(tls, ClientTls::Terminated { client_cert, .. } if *client_cert == expected));
    assert_eq!(
        plan.routes[0].listen,
        [Address::Ip(([127, 0, 0, 1], 3307).into())]
    );
}

#[test]
fn rules_that_nobody_can_meet_are_errors() {
    let dir = certificates();
    let bare = "cert = \"server-cert.pem\"\nkey = \"server-key.pem\"\n";
    let none = format!("{bare}client_cert = \"none\"\n");
    let cases = [
        (
            &none,
            "x509 = true",
            "gateway.toml:9: never met: REQUIRE X509 needs a client",
        ),
        (
            &none,
            "subject = \"/CN=a\"",
            "gateway.toml:9: never met: REQUIRE SUBJECT '/CN=a' needs",
        ),
        (
            &none,
            "issuer = \"/CN=a\"",
            "never met: REQUIRE ISSUER '/CN=a' needs a client",
        ),
        (
            &"tls = \"off\"\n".to_owned(),
            "ssl = true",
            "gateway.toml:7: never met: REQUIRE SSL, and tls = \"off\"",
        ),
        (
            &OWN.to_owned(),
            "cipher = \"AES256-SHA\"",
            "gateway.toml:10: never met: cipher = \"AES256-SHA\" is no suite",
        ),
        (
            &OWN.to_owned(),
            "cipher = \"ecdhe-ecdsa-aes256-gcm-sha384\"",
            "did you mean \"ECDHE-ECDSA-AES256-GCM-SHA384\"?",
        ),
        // The key is on an elliptic curve.
        (
            &OWN.to_owned(),
            "cipher = \"ECDHE-RSA-AES256-GCM-SHA384\"",
            "never met: cipher = \"ECDHE-RSA-AES256-GCM-SHA384\" is no suite that this route and",
        ),
        (
            &format!("{OWN}min_version = \"1.3\"\n"),
            "cipher = \"ECDHE-ECDSA-AES256-GCM-SHA384\"",
            "never met: cipher",
        ),
        (
            &OWN.to_owned(),
            "subject = \"CN=alice\"",
            "never met: subject = \"CN=alice\" is not as `openssl x509 -in CERT -noout -subject",
        ),
    ];
    for (client, rule, expected) in cases {
        check_error(&dir, &format!("{client}{RULE}{rule}\n"), expected);
    }
    // To MariaDB a cipher alone needs no certificate, and the server may be one.
    let cipher = format!("{none}{RULE}cipher = \"TLS_AES_128_GCM_SHA256\"\n");
    load_in(&dir, &with(&cipher)).unwrap();
    let forced = format!("require_dialect = \"mysql\"\n{cipher}");
    check_error(&dir, &forced, "needs a client certificate");
    // What asks for nothing is met without TLS as well.
    load_in(&dir, &with(&format!("tls = \"off\"\n{RULE}user = \"a\"\n"))).unwrap();
}

#[test]
fn rules_that_say_nothing_new_or_nothing_at_all_are_errors() {
    let dir = certificates();
    let cases = [
        (
            format!("{RULE}subjct = \"/CN=a\"\n"),
            "unknown key \"subjct\" in [[route.client.require]]; did you mean \"subject\"?",
        ),
        (
            format!("{RULE}ssl = \"yes\"\n"),
            "ssl in [[route.client.require]] must be true or false",
        ),
        (
            format!("{RULE}host = \"\"\n"),
            "gateway.toml:10: host is empty; \"%\" is any host",
        ),
        (
            format!("{RULE}host = \"10.0.0.1/8\"\n"),
            "gateway.toml:10: `10.0.0.1/8` is no network",
        ),
        (
            format!("{RULE}user = \"a\"\n{RULE}user = \"a\"\nhost = \"%\"\nssl = true\n"),
            "gateway.toml:11: the same account as line 9",
        ),
        (
            "require_default = \"deny\"\n".into(),
            "require_default has no effect without [[route",
        ),
        (
            format!("require_default = \"denny\"\n{RULE}ssl = true\n"),
            "require_default = \"denny\" is not one of allow, deny; did you mean \"deny\"?",
        ),
        (
            format!("require_dialect = \"oceanbase\"\n{RULE}user = \"a@b\"\n"),
            "user cannot have `@` or `#` in OceanBase",
        ),
        (
            format!(
                "require_dialect = \"mysql\"\n{RULE}user = \"{}\"\n",
                "a".repeat(33)
            ),
            "user is longer than the 32 characters",
        ),
        (
            "[route.client.require]\nssl = true\n".into(),
            "must be a list of tables",
        ),
    ];
    for (keys, expected) in cases {
        check_error(&dir, &format!("{OWN}{keys}"), expected);
    }
}

#[test]
fn rules_need_a_login_to_be_read() {
    let dir = certificates();
    let rule = format!("{RULE}user = \"a\"\n");
    let passthrough = with(&format!("tls = \"passthrough\"\n{rule}"));
    let error = load_in(&dir, &passthrough).unwrap_err().to_string();
    assert!(
        error.contains(":7: require has no effect with tls = \"passthrough\""),
        "{error}"
    );
    let tcp = with(&format!("{OWN}{rule}")).replace("\"mysql\"", "\"tcp\"");
    let error = load_in(&dir, &tcp).unwrap_err().to_string();
    assert!(
        error.contains(":9: require has no effect without protocol = \"mysql\""),
        "{error}"
    );
}
