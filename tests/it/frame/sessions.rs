//! Recorded sessions, followed.

use sealwire::frame::mysql::{
    Activity, Capabilities, Framing, Ob20Header, SessionWatch, StatusFlags,
};

use super::capture::{Capture, From};

/// What a watch tells of a session: each command with what went on before it, and the end.
#[derive(Debug, PartialEq, Eq)]
struct Followed {
    commands: Vec<String>,
    /// Commands that began while nothing was in flight.
    began_idle: usize,
    /// Commands that began inside of a transaction.
    began_in_transaction: usize,
    end: Activity,
}

fn follow(capture: &Capture, piece_len: usize) -> Followed {
    let mut watch = SessionWatch::new(
        capture.kind,
        capture.capabilities,
        capture.framing,
        capture.status,
    );
    let mut commands = Vec::new();
    let mut began_idle = 0;
    let mut began_in_transaction = 0;
    for (from, bytes) in &capture.session {
        let was_idle = watch.activity() == Activity::Idle;
        let before = commands.len();
        for piece in bytes.chunks(piece_len) {
            match from {
                From::Client => watch.client(piece, |start, _| commands.push(start.command)),
                From::Server => watch.server(piece),
            }
        }
        if commands.len() > before {
            began_idle += usize::from(was_idle);
            began_in_transaction += usize::from(watch.status().contains(StatusFlags::IN_TRANS));
        }
    }
    Followed {
        commands: commands
            .iter()
            .map(|command| command.name().unwrap_or("unknown").to_lowercase())
            .collect(),
        began_idle,
        began_in_transaction,
        end: watch.activity(),
    }
}

#[test]
fn every_recorded_session_is_followed_to_its_end() {
    for (name, commands, began_idle, began_in_transaction) in [
        ("mariadb-10.11-cli", MARIADB_CLI, 7, 2),
        ("mariadb-10.11-cli-compressed", MARIADB_CLI, 7, 2),
        ("mariadb-10.11-connector", CONNECTOR, 28, 4),
        ("mariadb-10.11-tour", TOUR, 33, 2),
        ("mysql-9.7-cli-compressed", MYSQL_CLI, 9, 2),
        ("mysql-9.7-cli-full-auth", MYSQL_CLI, 9, 2),
        ("mysql-9.7-cli-sha256", MYSQL_CLI, 9, 2),
        ("mysql-9.7-connector", CONNECTOR, 28, 4),
        ("mysql-9.7-tour", TOUR, 33, 2),
        ("seekdb-1.3-cli", MARIADB_CLI, 7, 2),
        ("seekdb-1.3-ob20", OB20, 9, 3),
        ("seekdb-1.3-tour", TOUR, 33, 2),
    ] {
        let capture = Capture::named(name);
        let expected = Followed {
            commands: commands.split_whitespace().map(str::to_owned).collect(),
            began_idle,
            began_in_transaction,
            end: Activity::Leaving,
        };
        for piece_len in [usize::MAX, 1, 2, 3, 5, 21, 33] {
            assert_eq!(
                follow(&capture, piece_len),
                expected,
                "{name}, pieces of {piece_len}"
            );
        }
    }
}

/// Of a session of one query after the other, every point is known: it is idle where the client
/// speaks next.
#[test]
fn idle_is_claimed_where_it_is_so_and_nowhere_else() {
    for name in [
        "mariadb-10.11-cli",
        "mariadb-10.11-cli-compressed",
        "mysql-9.7-cli-compressed",
        "mysql-9.7-cli-full-auth",
        "seekdb-1.3-cli",
        "seekdb-1.3-ob20",
    ] {
        let capture = Capture::named(name);
        let mut watch = SessionWatch::new(
            capture.kind,
            capture.capabilities,
            capture.framing,
            capture.status,
        );
        assert_eq!(watch.activity(), Activity::Idle);
        let turns = capture.session.len();
        for (turn, (from, bytes)) in capture.session.iter().enumerate().take(turns - 1) {
            let next = capture.session[turn + 1].0;
            for (at, byte) in bytes.iter().enumerate() {
                match from {
                    From::Client => watch.client(&[*byte], |_, _| {}),
                    From::Server => watch.server(&[*byte]),
                }
                let is_idle = at + 1 == bytes.len() && next == From::Client;
                let expected = match is_idle {
                    true => Activity::Idle,
                    false => Activity::InFlight,
                };
                assert_eq!(watch.activity(), expected, "{name}, turn {turn}, byte {at}");
                assert!(is_idle || !watch.is_safe_to_close());
            }
        }
    }
}

/// A relay has to see a change of user before it passes it on, in whatever framing it comes.
#[test]
fn a_command_comes_with_what_is_at_hand_behind_it() {
    let change = b"\x09\0\0\0\x11bob\0\0db\0";
    let both = [&b"\x01\0\0\0\x0e"[..], change].concat();
    let capture = Capture::named("mariadb-10.11-cli");
    for held in 0..both.len() {
        for framing in [Framing::Plain, Framing::Ob20OrPlain] {
            let mut watch =
                SessionWatch::new(capture.kind, capture.capabilities, framing, capture.status);
            watch.client(&both[..held], |_, _| {});
            let mut begins = Vec::new();
            let input = &both[held..];
            watch.client(input, |start, behind| {
                assert!(input.ends_with(behind));
                begins.push((start.command.name(), both.len() - behind.len() - 1));
            });
            let all = [(Some("PING"), 4), (Some("CHANGE_USER"), 9)];
            let expected: Vec<_> = all.into_iter().filter(|(_, at)| *at >= held).collect();
            assert_eq!(begins, expected, "{held} {framing:?}");
        }
    }

    let mut frame = Vec::new();
    let header = Ob20Header::default();
    header
        .write_frame(&mut frame, Some(b"extra"), change)
        .expect("it fits");
    let mut watch = SessionWatch::new(
        capture.kind,
        capture.capabilities,
        Framing::Ob20OrPlain,
        capture.status,
    );
    let mut seen = Vec::new();
    watch.client(&frame, |start, behind| {
        seen.push((start.command.name(), behind.to_vec()));
    });
    assert_eq!(seen, [(Some("CHANGE_USER"), change[5..].to_vec())]);
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let capture = Capture::named("mysql-9.7-cli-zstd");
    assert_eq!(capture.framing, Framing::Unreadable);
    let followed = follow(&capture, usize::MAX);
    assert_eq!(
        (followed.commands.len(), followed.end),
        (0, Activity::Unknown)
    );

    // A compressed session that is taken for a plain one does not pass for idle.
    for (name, framing) in [
        ("mysql-9.7-cli-compressed", Framing::Plain),
        ("mariadb-10.11-cli-compressed", Framing::Plain),
        ("mariadb-10.11-cli", Framing::Zlib),
        ("seekdb-1.3-ob20", Framing::Plain),
    ] {
        let mistaken = Capture {
            framing,
            ..Capture::named(name)
        };
        let followed = follow(&mistaken, usize::MAX);
        assert!(followed.began_idle <= 1, "{name}: {followed:?}");
        assert!(followed.end != Activity::Idle);
    }
}

#[test]
fn framings_are_agreed_on_as_the_servers_do() {
    use Framing::{Ob20OrPlain, Plain, Unreadable, Zlib};
    use sealwire::frame::mysql::{Attributes, ServerKind};

    const NONE: Capabilities = Capabilities::PROTOCOL_41;
    const ZLIB: Capabilities = Capabilities::COMPRESS;
    const ZSTD: Capabilities = Capabilities::ZSTD_COMPRESSION_ALGORITHM;
    const PROXY: &[u8] = b"\x13__mysql_client_type\x0a__ob_proxy";
    let plain_driver = b"\x0c_client_name\x08libmysql".as_slice();
    for (kind, capabilities, client, flags, framing) in [
        (ServerKind::MySql, NONE, plain_driver, "", Plain),
        (ServerKind::MySql, ZLIB, plain_driver, "", Zlib),
        (ServerKind::MySql, ZSTD, plain_driver, "", Unreadable),
        (ServerKind::MySql, ZLIB | ZSTD, plain_driver, "", Zlib),
        (ServerKind::MySql, NONE, PROXY, "256", Plain),
        (ServerKind::OceanBase, NONE, plain_driver, "256", Plain),
        (ServerKind::OceanBase, ZLIB, plain_driver, "256", Zlib),
        (ServerKind::OceanBase, NONE, PROXY, "", Plain),
        (ServerKind::OceanBase, NONE, PROXY, "256", Ob20OrPlain),
        (ServerKind::OceanBase, ZLIB, PROXY, "256", Unreadable),
        (ServerKind::OceanBase, NONE, PROXY, "264", Unreadable),
        (ServerKind::OceanBase, NONE, PROXY, "4194560", Unreadable),
        (ServerKind::OceanBase, NONE, PROXY, "many", Unreadable),
        (ServerKind::OceanBase, NONE, PROXY, "\u{ff}", Unreadable),
    ] {
        let mut bytes = client.to_vec();
        if !flags.is_empty() {
            bytes.extend_from_slice(b"\x17__proxy_capability_flag");
            bytes.push(flags.len() as u8);
            bytes.extend_from_slice(flags.as_bytes());
        }
        let attributes = Attributes::parse(&bytes).unwrap();
        assert_eq!(
            Framing::agreed(kind, capabilities, attributes),
            framing,
            "{kind:?} {flags}"
        );
    }
}

const TOUR: &str =
    "query query query query query query query query query statistics ping set_option
    init_db field_list stmt_prepare stmt_send_long_data stmt_send_long_data stmt_execute stmt_reset
    stmt_close stmt_prepare stmt_execute stmt_fetch stmt_fetch stmt_fetch stmt_close stmt_prepare
    stmt_execute stmt_close reset_connection query ping query change_user query quit";

const CONNECTOR: &str =
    "query query ping query ping stmt_prepare stmt_reset stmt_execute stmt_reset
    stmt_execute stmt_close ping query query query query ping query change_user query query ping
    query reset_connection query query ping quit";

const MARIADB_CLI: &str = "query query query query query query quit";

const MYSQL_CLI: &str = "query query query query query query query query quit";

const OB20: &str = "query query query query query query ping query quit";
