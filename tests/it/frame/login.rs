//! Packets of a login: read, changed in place, written.

use sealwire::frame::mysql::auth::{Plugin, native, sha2};
use sealwire::frame::mysql::{
    Attributes, AuthSwitch, Capabilities, ChangeUser, EofPacket, ErrPacket, FirstClientPacket,
    FirstServerPacket, Greeting, HandshakeResponse, LoginReply, OkPacket, PacketAssembler,
    SSL_REQUEST_LEN, ServerKind, SslRequest, StatusFlags, Violation,
};
use sealwire::wire::Writer;

use super::capture::{Capture, From};

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

#[test]
fn greetings_of_real_servers_are_read() {
    for (name, version, kind, plugin) in [
        (
            "mariadb-10.11-cli",
            "5.5.5-10.11.19-MariaDB-0+deb12u1",
            ServerKind::MariaDb,
            "mysql_native_password",
        ),
        (
            "mysql-9.7-tour",
            "9.7.4-2",
            ServerKind::MySql,
            "caching_sha2_password",
        ),
        (
            "seekdb-1.3-cli",
            "5.7.25",
            ServerKind::OceanBase,
            "mysql_native_password",
        ),
    ] {
        let capture = Capture::named(name);
        let greeting = capture.greeting();
        assert_eq!(String::from_utf8_lossy(greeting.version), version);
        assert_eq!(ServerKind::of(&greeting), kind);
        assert_eq!(greeting.plugin, Some(plugin.as_bytes()));
        assert!(greeting.nonce.iter().all(|&byte| byte != 0));
        let told = greeting.status.contains(StatusFlags::AUTOCOMMIT);
        assert_eq!(told, kind != ServerKind::OceanBase);
        assert!(greeting.capabilities.contains(Capabilities::SSL));
    }
    let mariadb = Capture::named("mariadb-10.11-cli");
    assert_eq!(mariadb.greeting().capabilities.extended(), 0x1d);
    assert_eq!(mariadb.response().capabilities.extended(), 0x1d);
    let seekdb = Capture::named("seekdb-1.3-cli");
    assert_eq!(seekdb.greeting().capabilities.bits(), 0x309c_ffdf);
}

#[test]
fn a_greeting_is_written_as_mysql_writes_it() {
    let capture = Capture::named("mysql-9.7-tour");
    assert_eq!(
        written(|writer| capture.greeting().write(writer)),
        capture.login[0].1
    );
}

#[test]
fn client_ssl_is_changed_and_nothing_else() {
    for capture in Capture::all() {
        let (greeting, login) = (&capture.login[0].1, &capture.login[1].1);
        let mut edited = greeting.clone();
        let without = capture.greeting().capabilities.without(Capabilities::SSL);
        Greeting::set_capabilities(&mut edited, without).unwrap();
        let low_half = 1 + capture.greeting().version.len() + 1 + 4 + 8 + 1;
        let mut expected = greeting.clone();
        expected[low_half + 1] &= !0x08;
        assert_eq!(edited, expected, "{}", capture.name);
        Greeting::set_capabilities(&mut edited, without.with(Capabilities::SSL)).unwrap();
        assert_eq!(&edited, greeting);

        let mut edited = login.clone();
        let with = capture.response().capabilities.with(Capabilities::SSL);
        HandshakeResponse::set_capabilities(&mut edited, with).unwrap();
        let mut expected = login.clone();
        expected[1] |= 0x08;
        assert_eq!(edited, expected, "{}", capture.name);

        let request = SslRequest::before(login).unwrap();
        assert_eq!(request[..], edited[..SSL_REQUEST_LEN], "{}", capture.name);
        assert_eq!(SslRequest::before(&edited).unwrap(), request);
        let parsed = SslRequest::parse(&request).unwrap();
        assert_eq!(parsed.capabilities, with);
    }
}

#[test]
fn the_extended_half_is_changed_where_there_is_one() {
    let capture = Capture::named("mariadb-10.11-cli");
    let (greeting, login) = (&capture.login[0].1, &capture.login[1].1);
    let reserved = 1 + capture.greeting().version.len() + 1 + 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1;
    for (before, at, set) in [
        (
            greeting,
            reserved + 6,
            Greeting::set_capabilities as fn(&mut [u8], _) -> _,
        ),
        (login, 28, HandshakeResponse::set_capabilities),
    ] {
        let mut edited = before.clone();
        let flags = Capabilities::from_bits(0x18_0000_0000) | Capabilities::PROTOCOL_41;
        assert_eq!(set(&mut edited, flags), Ok(()));
        assert_eq!(edited[at..at + 4], [0x18, 0, 0, 0]);
        assert_eq!(edited.len(), before.len());
    }

    let capture = Capture::named("mysql-9.7-tour");
    for (before, set) in [
        (
            &capture.login[0].1,
            Greeting::set_capabilities as fn(&mut [u8], _) -> _,
        ),
        (&capture.login[1].1, HandshakeResponse::set_capabilities),
    ] {
        let mut edited = before.clone();
        let flags = capture.response().capabilities;
        let same = flags.with(Capabilities::MARIADB_PROGRESS);
        assert_eq!(set(&mut edited, flags), Ok(()));
        let expected = edited.clone();
        assert_eq!(set(&mut edited, same), Ok(()));
        assert_eq!(edited, expected);
    }
}

#[test]
fn bits_that_servers_disagree_about_are_kept() {
    let odd = Capabilities::from_bits(0xf8_0000_0000_0000 | 0x7f << 25 | 1 << 14)
        .with(Capabilities::PROTOCOL_41);
    // Without MySQL's mark there is an extended half; with it there is none.
    for (capabilities, kept) in [
        (odd, odd.bits()),
        (
            odd.with(Capabilities::LONG_PASSWORD),
            u64::from(odd.low()) | 1,
        ),
    ] {
        let greeting = Greeting {
            version: b"5.7.25",
            capabilities,
            plugin: Some(b"mysql_native_password"),
            ..Greeting::default()
        };
        let mut payload = written(|writer| greeting.write(writer));
        let parsed = Greeting::parse(&payload).unwrap().capabilities;
        assert_eq!(parsed.bits(), kept);
        Greeting::set_capabilities(&mut payload, parsed.with(Capabilities::SSL)).unwrap();
        let parsed = Greeting::parse(&payload).unwrap().capabilities;
        assert_eq!(parsed.bits(), kept | Capabilities::SSL.bits());
    }
}

#[test]
fn a_first_packet_with_client_ssl_is_a_request_whatever_its_length() {
    let login = Capture::named("mysql-9.7-tour").login[1].1.clone();
    let mut with_ssl = login.clone();
    with_ssl[1] |= 0x08;
    for len in 0..=with_ssl.len() {
        let parsed = FirstClientPacket::parse(&with_ssl[..len]);
        match (len, parsed) {
            (0..4, parsed) => assert!(parsed.is_err()),
            (4..32, Ok(FirstClientPacket::SslRequest(request))) => {
                assert_eq!(request.settings, None);
            }
            (32.., Ok(FirstClientPacket::SslRequest(request))) => {
                let settings = request.settings.unwrap();
                assert_eq!(
                    (settings.packet_len_max, settings.collation),
                    (0x0100_0000, 45)
                );
            }
            (_, other) => panic!("{len} bytes: {other:?}"),
        }
    }
    assert!(SslRequest::parse(&login[..32]).is_err());
}

/// A plugin and attributes that were announced may be missing whole, and nothing else.
#[test]
fn a_login_that_was_cut_is_refused() {
    let capture = Capture::named("mysql-9.7-cli-full-auth");
    let login = &capture.login[1].1;
    let accepted: Vec<_> = (0..login.len())
        .filter(|&len| HandshakeResponse::parse(&login[..len]).is_ok())
        .collect();
    let behind_auth = 32 + b"cached\0".len() + 1 + 32;
    let behind_plugin = behind_auth + b"caching_sha2_password\0".len();
    assert_eq!(accepted, [behind_auth, behind_plugin]);
}

#[test]
fn what_follows_a_request_for_tls_is_left_alone() {
    for request in [
        &b"\x20\0\0\x01\x85\xaa\x0f\0\0\0\0\x01\x2d"[..],
        b"\x04\0\0\x01\0\x0a\0\0",
    ] {
        let mut segment = request.to_vec();
        segment.resize(4 + usize::from(request[0]), 0);
        segment.extend_from_slice(b"\x16\x03\x01\x02\0");
        let mut input = &segment[..];
        let mut assembler = PacketAssembler::new(1024);
        let packet = assembler.next(&mut input).unwrap().unwrap();
        assert!(matches!(
            FirstClientPacket::parse(packet.payload),
            Ok(FirstClientPacket::SslRequest(_))
        ));
        assert_eq!(input, b"\x16\x03\x01\x02\0");
    }
}

#[test]
fn proofs_of_real_clients_are_of_the_password() {
    let mut proofs = 0;
    for capture in Capture::all() {
        let (nonce, response) = (capture.greeting().nonce, capture.response());
        let auth = response.auth_response;
        let plugin = response.plugin.map_or(Plugin::Native, Plugin::named);
        let is_right = match plugin {
            Plugin::Native => native::verify(&native::stored(b"secret"), &nonce, auth),
            Plugin::CachingSha2 => sha2::verify(&sha2::stored(b"secret"), &nonce, auth),
            // The tours name no plugin, and answer a switch.
            _ => continue,
        };
        assert!(is_right, "{}", capture.name);
        proofs += 1;
    }
    assert_eq!(proofs, 9);
}

#[test]
fn logins_are_written_as_they_are_read_in_each_encoding() {
    let base = Capabilities::PROTOCOL_41 | Capabilities::LONG_PASSWORD;
    let attributes = Attributes::parse(b"\x04_pid\x0242\x03_os\x05Linux").unwrap();
    for encoding in [
        Capabilities::default(),
        Capabilities::SECURE_CONNECTION,
        Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA,
    ] {
        for more in [
            Capabilities::default(),
            Capabilities::CONNECT_WITH_DB,
            Capabilities::PLUGIN_AUTH,
            Capabilities::CONNECT_ATTRS,
            Capabilities::CONNECT_WITH_DB
                | Capabilities::PLUGIN_AUTH
                | Capabilities::CONNECT_ATTRS
                | Capabilities::ZSTD_COMPRESSION_ALGORITHM,
        ] {
            let login = HandshakeResponse {
                capabilities: base | encoding | more,
                packet_len_max: 1 << 24,
                collation: 45,
                user: b"alice",
                auth_response: b"twenty bytes of hash",
                database: more
                    .contains(Capabilities::CONNECT_WITH_DB)
                    .then_some(b"orders"),
                plugin: more
                    .contains(Capabilities::PLUGIN_AUTH)
                    .then_some(b"dialog"),
                attributes: match more.contains(Capabilities::CONNECT_ATTRS) {
                    true => attributes,
                    false => Attributes::default(),
                },
                zstd_level: more
                    .contains(Capabilities::ZSTD_COMPRESSION_ALGORITHM)
                    .then_some(7),
            };
            let payload = written(|writer| login.write(writer));
            assert_eq!(HandshakeResponse::parse(&payload), Ok(login.clone()));
            // MariaDB's library writes four bytes for the level.
            let longer = [&payload[..], &[0; 3]].concat();
            if login.zstd_level.is_some() {
                assert_eq!(HandshakeResponse::parse(&longer), Ok(login));
            }
        }
    }
}

#[test]
fn the_authentication_response_is_replaced_and_nothing_else() {
    for capture in Capture::all() {
        let login = &capture.login[1].1;
        let response = capture.response();
        let same = HandshakeResponse::with_auth_response(login, response.auth_response).unwrap();
        assert_eq!(*same, *login, "{}", capture.name);
        for answer in [&b""[..], &[1], &[7; 255], &[7; 256]] {
            let changed = HandshakeResponse::with_auth_response(login, answer);
            if is_short(response.capabilities) && answer.len() > 255 {
                assert!(changed.is_err(), "{}", capture.name);
                continue;
            }
            let changed = changed.unwrap();
            let expected = HandshakeResponse {
                auth_response: answer,
                ..response.clone()
            };
            assert_eq!(HandshakeResponse::parse(&changed), Ok(expected));
            let again = HandshakeResponse::with_auth_response(&changed, response.auth_response);
            assert_eq!(again.unwrap(), same);
        }
    }
    let old = HandshakeResponse {
        capabilities: Capabilities::PROTOCOL_41,
        ..HandshakeResponse::default()
    };
    let payload = written(|writer| old.write(writer));
    assert!(HandshakeResponse::with_auth_response(&payload, b"1").is_ok());
    assert!(HandshakeResponse::with_auth_response(&payload, b"1\0").is_err());
    assert!(HandshakeResponse::with_auth_response(&payload[..31], b"1").is_err());
}

#[test]
fn the_user_is_replaced_and_nothing_else() {
    for capture in Capture::all() {
        let login = &capture.login[1].1;
        let response = capture.response();
        for user in [&b""[..], b"bob", &[b'x'; 300]] {
            let changed = HandshakeResponse::with_user(login, user).unwrap();
            let expected = HandshakeResponse {
                user,
                ..response.clone()
            };
            assert_eq!(HandshakeResponse::parse(&changed), Ok(expected));
            let again = HandshakeResponse::with_user(&changed, response.user).unwrap();
            assert_eq!(*again, *login, "{}", capture.name);
        }
        assert!(HandshakeResponse::with_user(&login[..32], b"bob").is_err());
    }
    let change = b"\x11alice\0\x01xdb\0";
    let changed = ChangeUser::with_user(change, b"bob").unwrap();
    assert_eq!(&changed[..], b"\x11bob\0\x01xdb\0");
    assert!(ChangeUser::with_user(b"\x03alice\0", b"bob").is_err());
    assert!(ChangeUser::with_user(b"\x11alice", b"bob").is_err());
}

fn is_short(capabilities: Capabilities) -> bool {
    !capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
}

#[test]
fn attributes_are_whole_or_refused() {
    let bytes = b"\x04_pid\x0242\x0b__client_ip\x009\x04_pid\x0243";
    assert!(Attributes::parse(bytes).is_err());
    let bytes = b"\x04_pid\x0242\x0b__client_ip\x00\x04_pid\x0243";
    let attributes = Attributes::parse(bytes).unwrap();
    assert_eq!(attributes.iter().count(), 3);
    assert_eq!(attributes.find(b"_pid"), Some(&b"42"[..]));
    assert_eq!(attributes.find(b"__client_ip"), Some(&b""[..]));
    assert_eq!(attributes.find(b"_PID"), None);

    let capture = Capture::named("mysql-9.7-tour");
    assert_eq!(capture.response().attributes, Attributes::default());
    let capture = Capture::named("mysql-9.7-cli-full-auth");
    let attributes = capture.response().attributes;
    assert_eq!(attributes.find(b"_client_name"), Some(&b"libmysql"[..]));

    // A login whose attributes lie about a length cannot be checked for what they claim.
    let login = &capture.login[1].1;
    assert!(HandshakeResponse::parse(&login[..login.len() - 1]).is_err());
    let first_key = login.len() - 0x72;
    for len in [0, login[first_key] - 1, login[first_key] + 1, 0xfb, 0xff] {
        let mut lying = login.clone();
        lying[first_key] = len;
        assert!(HandshakeResponse::parse(&lying).is_err(), "{len}");
    }
}

#[test]
fn a_refusal_before_the_greeting_has_no_sqlstate() {
    let payload = b"\xff\x69\x04Host '10.0.0.7' is blocked";
    let Ok(FirstServerPacket::Refused(error)) = FirstServerPacket::parse(payload) else {
        panic!("an error packet");
    };
    assert_eq!((error.code, error.sql_state), (1129, None));
    assert_eq!(
        error.to_string(),
        "ERROR 1129: Host \\'10.0.0.7\\' is blocked"
    );
    assert_eq!(written(|writer| error.write(writer)), payload);

    let payload = b"\xff\x15\x04#28000Access denied";
    let error = ErrPacket::parse(payload).unwrap();
    assert_eq!((error.code, error.sql_state), (1045, Some(*b"28000")));
    assert_eq!(error.to_string(), "ERROR 1045 (28000): Access denied");
    assert_eq!(written(|writer| error.write(writer)), payload);

    for garbage in [
        &b""[..],
        b"\x09old",
        b"\x0a",
        b"HTTP/1.1 400 Bad Request",
        b"\xff\x01",
    ] {
        assert!(matches!(
            FirstServerPacket::parse(garbage),
            Err(Violation::Malformed(_))
        ));
    }
}

#[test]
fn replies_to_a_login_are_told_apart() {
    use ServerKind::{MariaDb, MySql};

    let parse =
        |payload, kind, plugin| LoginReply::parse(payload, kind, plugin, Capabilities::default());
    let ok = b"\0\0\0\x02\0\0\0";
    let more = |data| Ok(LoginReply::MoreData(data));
    for kind in [MySql, MariaDb] {
        let plugin = Plugin::CachingSha2;
        assert!(matches!(parse(ok, kind, plugin), Ok(LoginReply::Ok(ok)) if ok.status.bits() == 2));
        assert!(matches!(
            parse(b"\xff\x15\x04#28000no", kind, plugin),
            Ok(LoginReply::Err(error)) if error.code == 1045
        ));
        assert_eq!(
            parse(b"\xfe", kind, plugin),
            Ok(LoginReply::OldPasswordSwitch)
        );
        assert_eq!(parse(b"\x01\x04", kind, plugin), more(b"\x04"));
        assert_eq!(parse(b"\x01", kind, plugin), more(b""));
    }
    // A salt of parsec, marked and not.
    assert_eq!(parse(b"P\0salt", MariaDb, Plugin::Parsec), more(b"P\0salt"));
    assert!(parse(b"P\0salt", MySql, Plugin::Other).is_err());
    assert!(matches!(
        parse(b"\x02more\0data", MySql, Plugin::CachingSha2),
        Ok(LoginReply::NextFactor(AuthSwitch {
            plugin: b"more",
            data: b"data"
        }))
    ));
    assert_eq!(
        parse(b"\x02prompt", MariaDb, Plugin::Dialog),
        more(b"\x02prompt")
    );
    assert_eq!(parse(b"\0token", MariaDb, Plugin::Other), more(b"\0token"));
    assert!(parse(b"\0token", MariaDb, Plugin::Native).is_err());
    assert!(parse(b"\0token", MySql, Plugin::Other).is_err());
    assert!(parse(b"", MySql, Plugin::Other).is_err());

    let switch = AuthSwitch {
        plugin: b"caching_sha2_password",
        data: b"0123456789abcdefghij\0",
    };
    let payload = written(|writer| switch.write(writer));
    assert_eq!(
        parse(&payload, MySql, Plugin::Native),
        Ok(LoginReply::AuthSwitch(switch))
    );
    assert_eq!(switch.nonce(), Some(*b"0123456789abcdefghij"));
}

#[test]
fn a_recorded_full_authentication_is_read() {
    let capture = Capture::named("mysql-9.7-cli-full-auth");
    let replies: Vec<_> = capture
        .login
        .iter()
        .skip(2)
        .map(|(from, payload)| match from {
            From::Client => format!("client {} bytes", payload.len()),
            From::Server => {
                let reply = LoginReply::parse(
                    payload,
                    capture.kind,
                    Plugin::CachingSha2,
                    capture.capabilities,
                );
                match reply.unwrap() {
                    LoginReply::MoreData(data) if data.len() > 1 => {
                        sealwire::frame::mysql::auth::PublicKey::from_pem(data).unwrap();
                        "key".to_owned()
                    }
                    LoginReply::MoreData(data) => format!("more data {data:?}"),
                    LoginReply::Ok(_) => "ok".to_owned(),
                    other => panic!("{other:?}"),
                }
            }
        })
        .collect();
    assert_eq!(
        replies,
        [
            "more data [4]",
            "client 1 bytes",
            "key",
            "client 256 bytes",
            "ok"
        ]
    );
}

#[test]
fn ends_of_results_are_written_as_they_are_read() {
    let tracking = Capabilities::SESSION_TRACK;
    let ok = OkPacket {
        affected_rows: 300,
        last_insert_id: 1 << 40,
        status: StatusFlags::AUTOCOMMIT | StatusFlags::SESSION_STATE_CHANGED,
        warnings: 1,
        info: b"Rows matched: 1",
        session_state: Some(b"\0\x01x"),
    };
    let payload = written(|writer| ok.write(writer));
    assert_eq!(OkPacket::parse(&payload, tracking), Ok(ok));
    let payload = written(|writer| ok.write_end_of_result(writer));
    assert_eq!(payload[0], 0xfe);
    assert_eq!(OkPacket::parse(&payload, tracking), Ok(ok));

    let eof = EofPacket {
        warnings: 7,
        status: StatusFlags::IN_TRANS,
    };
    let payload = written(|writer| eof.write(writer));
    assert_eq!(payload, b"\xfe\x07\0\x01\0");
    assert_eq!(EofPacket::parse(&payload), Ok(eof));
    assert!(EofPacket::parse(b"\xfe\0\0\0\0\0\0\0\0").is_err());
}

#[test]
fn a_change_of_user_is_read() {
    for name in [
        "mariadb-10.11-tour",
        "mysql-9.7-connector",
        "seekdb-1.3-tour",
    ] {
        let capture = Capture::named(name);
        let (_, bytes) = capture
            .session
            .iter()
            .find(|(from, bytes)| *from == From::Client && bytes.get(4) == Some(&0x11))
            .unwrap();
        let change = ChangeUser::parse(&bytes[4..], capture.capabilities).unwrap();
        assert_eq!(change.user, capture.response().user);
        assert_eq!(change.database, b"test");
        let has_attributes = name.ends_with("connector");
        assert_eq!(change.plugin == capture.greeting().plugin, has_attributes);
        assert_eq!(change.attributes.find(b"_os").is_some(), has_attributes);
        assert!(ChangeUser::parse(&bytes[5..], capture.capabilities).is_err());
    }
    let capabilities = Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH;
    for cut in [
        &b"\x11"[..],
        b"\x11bob",
        b"\x11bob\0\x05abc",
        b"\x11bob\0\0db",
        b"\x11bob\0\0db\0\x2d",
    ] {
        assert!(ChangeUser::parse(cut, capabilities).is_err(), "{cut:?}");
    }
    assert!(ChangeUser::parse(b"\x11bob\0\0\0", capabilities).is_ok());
}
