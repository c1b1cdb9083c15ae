use super::*;

const NONCE: Nonce = *b"0123456789abcdefghij";

/// By Python: sha1(b"secret") ^ sha1(nonce + sha1(sha1(b"secret")))
const NATIVE_PROOF: &str = "f5cac3f3b3df2133feb57db682c71e6ed433a988";
/// By Python: sha256(b"secret") ^ sha256(sha256(sha256(b"secret")) + nonce)
const SHA2_PROOF: &str = "7e4adda2f2d5ef09b4147518becb0cee2939376203650a8c2bb2815959364bd0";

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn key() -> &'static PrivateKey {
    static KEY: std::sync::OnceLock<PrivateKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| PrivateKey::generate().unwrap())
}

fn public() -> PublicKey {
    PublicKey::from_pem(key().public_pem().as_bytes()).unwrap()
}

#[test]
fn proofs_have_their_known_values_and_are_verified() {
    assert_eq!(hex(&native::prove(b"secret", &NONCE)), NATIVE_PROOF);
    assert_eq!(hex(&sha2::prove(b"secret", &NONCE)), SHA2_PROOF);

    let proof = native::prove(b"secret", &NONCE);
    let stored = native::stored(b"secret");
    assert!(native::verify(&stored, &NONCE, &proof));
    assert!(!native::verify(&native::stored(b"Secret"), &NONCE, &proof));
    assert!(!native::verify(&stored, b"0123456789abcdefghiJ", &proof));
    assert!(!native::verify(&stored, &NONCE, &proof[..19]));

    let proof = sha2::prove(b"secret", &NONCE);
    let stored = sha2::stored(b"secret");
    assert!(sha2::verify(&stored, &NONCE, &proof));
    assert!(!sha2::verify(&sha2::stored(b"Secret"), &NONCE, &proof));
    assert!(!sha2::verify(&stored, b"0123456789abcdefghiJ", &proof));
    assert!(!sha2::verify(&stored, &NONCE, b""));
}

#[test]
fn an_encrypted_password_is_for_its_key_and_nonce() {
    for password in [&b""[..], b"secret", &[0xff; 200]] {
        let encrypted = public().encrypt_password(password, &NONCE).unwrap();
        assert_eq!(encrypted.len(), 256);
        let decrypted = key().decrypt_password(&encrypted, &NONCE).unwrap();
        assert_eq!(decrypted.as_slice(), password);
    }
    // OAEP with SHA-1 leaves 214 of 256 bytes, one of which is the NUL.
    assert!(public().encrypt_password(&[1; 213], &NONCE).is_ok());
    assert!(public().encrypt_password(&[1; 214], &NONCE).is_err());

    let encrypted = public().encrypt_password(b"secret", &NONCE).unwrap();
    assert!(
        key()
            .decrypt_password(&encrypted, b"another nonce")
            .is_none()
    );
    assert!(key().decrypt_password(&encrypted[1..], &NONCE).is_none());
    assert!(PublicKey::from_pem(b"-----BEGIN PUBLIC KEY-----").is_err());
}

/// Runs both sides against each other; gives the verdict and how many answers the client has sent.
fn dialogue(
    client: &mut ClientAuth,
    server: &mut ServerAuth<'_>,
    account: &Credentials,
) -> (bool, u32) {
    let mut answer = client.answer().unwrap();
    let mut sent = 1;
    loop {
        let asked = match server.judge(Some(account), &answer) {
            ServerStep::Accept => return (true, sent),
            ServerStep::AcceptAfter(data) => {
                assert_eq!(client.more_data(&data).unwrap(), None);
                return (true, sent);
            }
            ServerStep::Refuse => return (false, sent),
            ServerStep::Ask(data) => data,
        };
        answer = client.more_data(&asked).unwrap().unwrap();
        sent += 1;
    }
}

#[test]
fn every_dialogue_ends_as_the_password_says() {
    for (plugin, is_secure, is_cached, keys, answers) in [
        (Plugin::Native, false, false, KeySource::Refused, 1),
        (Plugin::CachingSha2, false, true, KeySource::Refused, 1),
        (Plugin::CachingSha2, true, false, KeySource::Refused, 2),
        (
            Plugin::CachingSha2,
            false,
            false,
            KeySource::Known(public()),
            2,
        ),
        (
            Plugin::CachingSha2,
            false,
            false,
            KeySource::DangerFetched,
            3,
        ),
    ] {
        let mut client = ClientAuth::new(b"secret", is_secure, keys, plugin, NONCE);
        for (password, is_right) in [(&b"secret"[..], true), (b"other", false), (b"", false)] {
            // A wrong proof for a cached account is followed by the whole dialogue, which needs a
            // key here.
            if is_cached && !is_right {
                continue;
            }
            let mut server = ServerAuth::new(plugin, NONCE, is_secure, is_cached, key());
            let verdict = dialogue(&mut client, &mut server, &Credentials::of(password));
            assert_eq!(
                verdict,
                (is_right, answers),
                "{plugin:?} {is_secure} {is_cached}"
            );
        }
    }
}

#[test]
fn an_empty_password_opens_accounts_without_one_only() {
    for plugin in [Plugin::Native, Plugin::CachingSha2] {
        let mut client = ClientAuth::new(b"", false, KeySource::Refused, plugin, NONCE);
        for (password, is_right) in [(&b""[..], true), (b"secret", false)] {
            let mut server = ServerAuth::new(plugin, NONCE, false, true, key());
            let verdict = dialogue(&mut client, &mut server, &Credentials::of(password));
            assert_eq!(verdict, (is_right, 1));
        }
        let mut server = ServerAuth::new(plugin, NONCE, true, false, key());
        assert_eq!(server.judge(None, b""), ServerStep::Refuse);
    }
}

#[test]
fn a_password_does_not_leave_where_it_may_not() {
    let client = |plugin| ClientAuth::new(b"secret", false, KeySource::Refused, plugin, NONCE);
    assert!(client(Plugin::Sha256).answer().is_err());
    assert!(client(Plugin::CachingSha2).more_data(&[4]).is_err());
    // A server that sends a key nobody asked for gets nothing encrypted to it.
    let pem = key().public_pem().as_bytes();
    assert!(client(Plugin::CachingSha2).more_data(pem).is_err());
    let mut over_tls = ClientAuth::new(
        b"secret",
        true,
        KeySource::DangerFetched,
        Plugin::Sha256,
        NONCE,
    );
    assert!(over_tls.more_data(pem).is_err());
    for plugin in ["mysql_clear_password", "dialog", "unheard_of"] {
        assert!(
            client(Plugin::Native)
                .switch(plugin.as_bytes(), Some(NONCE))
                .is_err()
        );
    }
}

#[test]
fn a_switch_brings_its_own_nonce() {
    let mut client = ClientAuth::new(
        b"secret",
        false,
        KeySource::Refused,
        Plugin::CachingSha2,
        NONCE,
    );
    let nonce = *b"abcdefghij0123456789";
    let answer = client
        .switch(b"mysql_native_password", Some(nonce))
        .unwrap();
    assert_eq!(answer.as_slice(), native::prove(b"secret", &nonce));
    assert_eq!(client.plugin(), Plugin::Native);
    assert!(client.switch(b"mysql_native_password", None).is_err());
}
