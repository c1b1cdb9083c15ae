//! Dialogues made by hand: contents that look like something else, and what only some servers do.

use sealwire::frame::mysql::{
    Activity, Capabilities, ColumnDefinition, Command, CommandTracker, PAYLOAD_LEN_MAX, Sequence,
    ServerKind, StatusFlags, write_packet, write_text_row,
};
use sealwire::limits::COMMANDS_IN_FLIGHT_MAX;
use sealwire::wire::Writer;

/// Both ends of a session, and its tracker.
struct Talk {
    tracker: CommandTracker,
    sequence: Sequence,
}

impl Talk {
    fn new(kind: ServerKind, capabilities: Capabilities) -> Self {
        Self {
            tracker: CommandTracker::new(capabilities, kind, StatusFlags::AUTOCOMMIT),
            sequence: Sequence::default(),
        }
    }

    fn mysql() -> Self {
        Self::new(ServerKind::MySql, Capabilities::PROTOCOL_41)
    }

    fn client(&mut self, payload: &[u8]) -> &mut Self {
        let bytes = self.packet(payload);
        self.tracker.client(&bytes);
        self
    }

    fn server(&mut self, payload: &[u8]) -> &mut Self {
        let bytes = self.packet(payload);
        self.tracker.server(&bytes);
        self
    }

    /// The server's packets `payloads`, with nothing idle before the last.
    fn answer(&mut self, payloads: &[&[u8]]) -> &mut Self {
        let (last, before) = payloads.split_last().expect("an answer");
        for payload in before {
            self.server(payload).is(Activity::InFlight);
        }
        self.server(last)
    }

    fn is(&mut self, activity: Activity) -> &mut Self {
        assert_eq!(self.tracker.activity(), activity);
        self
    }

    fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_packet(&mut out, &mut self.sequence, |writer| writer.bytes(payload));
        out
    }
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn column() -> Vec<u8> {
    written(|writer| ColumnDefinition::text(b"c").write(writer))
}

fn row(value: &[u8]) -> Vec<u8> {
    written(|writer| write_text_row(writer, [Some(value), None]))
}

const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const OK_IN_TRANS: &[u8] = b"\0\0\0\x03\0\0\0";
const OK_MORE: &[u8] = b"\0\0\0\x0a\0\0\0";
const EOF: &[u8] = b"\xfe\0\0\x02\0";
const EOF_MORE: &[u8] = b"\xfe\0\0\x0a\0";
const EOF_CURSOR: &[u8] = b"\xfe\0\0\x42\0";
const OK_AS_EOF: &[u8] = b"\xfe\0\0\x02\0\0\0";
const ERR: &[u8] = b"\xff\x28\x04#42000You have an error";
const QUERY: &[u8] = b"\x03SELECT 1";
const CHANGE_USER: &[u8] = b"\x11bob\0\0\0";

#[test]
fn rows_that_look_like_ends_are_rows() {
    let column = column();
    let long = row(&vec![b'x'; PAYLOAD_LEN_MAX + 1]);
    assert_eq!(long[0], 0xfe);
    let short_but_fe = [&[0xfe][..], &[0; 8]].concat();
    for capabilities in [Capabilities::PROTOCOL_41, Capabilities::DEPRECATE_EOF] {
        let is_deprecated = capabilities == Capabilities::DEPRECATE_EOF;
        let mut talk = Talk::new(ServerKind::MySql, capabilities);
        talk.client(QUERY).is(Activity::InFlight);
        talk.answer(&[b"\x02", &column, &column])
            .is(Activity::InFlight);
        if !is_deprecated {
            talk.server(EOF).is(Activity::InFlight);
            talk.server(&short_but_fe);
        }
        let rows = [
            row(b""),
            row(b"\xfe"),
            row(b"\xff"),
            row(b"\0\0\0\x02\0\0\0"),
            long.clone(),
        ];
        for row in &rows {
            talk.server(row).is(Activity::InFlight);
        }
        talk.server(&[0xfb, 0xfb]).is(Activity::InFlight);
        talk.server(if is_deprecated { OK_AS_EOF } else { EOF });
        talk.is(Activity::Idle);
    }
}

#[test]
fn several_results_are_one_answer() {
    let column = column();
    let mut talk = Talk::mysql();
    talk.client(QUERY);
    talk.answer(&[
        b"\x01",
        &column,
        EOF,
        &row(b"1"),
        EOF_MORE,
        OK_MORE,
        b"\x01",
        &column,
    ]);
    talk.is(Activity::InFlight)
        .answer(&[EOF, EOF_MORE, OK])
        .is(Activity::Idle);

    // An error ends them all.
    talk.client(QUERY)
        .answer(&[OK_MORE, ERR])
        .is(Activity::Idle);
}

#[test]
fn a_file_is_no_command_whatever_it_holds() {
    let mut talk = Talk::mysql();
    talk.client(b"\x03LOAD DATA LOCAL INFILE 'f' INTO TABLE t");
    talk.server(b"\xfbf").is(Activity::InFlight);
    for part in [
        &b"\x01"[..],
        b"\x11root\0",
        b"\xff",
        &vec![b'\n'; 2 * PAYLOAD_LEN_MAX],
    ] {
        talk.client(part).is(Activity::InFlight);
    }
    talk.client(b"").is(Activity::InFlight);
    talk.server(OK).is(Activity::Idle);
    talk.client(QUERY).server(OK).is(Activity::Idle);

    // A server that gives up early is followed by the rest of the file.
    talk.client(QUERY)
        .server(b"\xfbf")
        .server(ERR)
        .is(Activity::InFlight);
    talk.client(b"more").is(Activity::InFlight);
    talk.client(b"").is(Activity::Idle);
}

#[test]
fn what_was_sent_behind_a_query_that_asks_for_a_file_is_not_guessed() {
    for behind in [QUERY, b"\x19\x01\0\0\0"] {
        let mut talk = Talk::mysql();
        talk.client(QUERY)
            .client(behind)
            .server(b"\xfbf")
            .is(Activity::Unknown);
    }
    let mut talk = Talk::mysql();
    talk.client(b"\x19\x01\0\0\0")
        .client(QUERY)
        .server(b"\xfbf");
    talk.is(Activity::InFlight)
        .client(b"")
        .server(OK)
        .is(Activity::Idle);
}

#[test]
fn commands_without_an_answer_get_none() {
    let mut talk = Talk::mysql();
    talk.client(b"\x18\x01\0\0\0\0\0\x03DROP")
        .is(Activity::Idle);
    talk.client(b"\x19\x01\0\0\0").is(Activity::Idle);
    talk.client(b"\x01").is(Activity::Leaving);
}

#[test]
fn a_statement_is_prepared_run_and_fetched_from() {
    let column = column();
    let prepared = |params: u8, columns: u8| [0, 1, 0, 0, 0, columns, 0, params, 0, 0, 0, 0];
    let mut talk = Talk::mysql();
    for (params, columns, packets) in [
        (0, 0, vec![]),
        (1, 0, vec![&column[..], EOF]),
        (0, 2, vec![&column, &column, EOF]),
        (2, 1, vec![&column, &column, EOF, &column, EOF]),
    ] {
        talk.client(b"\x16SELECT ?");
        let head = prepared(params, columns);
        talk.answer(&[&[&head[..]], &packets[..]].concat())
            .is(Activity::Idle);
    }
    talk.client(b"\x16SELECT").server(ERR).is(Activity::Idle);

    // With a cursor the columns are the whole answer, whatever a query's status says.
    talk.client(b"\x17\x01\0\0\0\x01")
        .answer(&[b"\x01", &column, EOF_CURSOR])
        .is(Activity::Idle);
    talk.client(b"\x1c\x01\0\0\0")
        .answer(&[b"\0\0\x01a", b"\0\0\x01b", EOF])
        .is(Activity::Idle);
    talk.client(b"\x1c\x01\0\0\0")
        .answer(&[ERR])
        .is(Activity::Idle);
    talk.client(QUERY)
        .answer(&[b"\x01", &column, EOF_CURSOR])
        .is(Activity::InFlight);
    talk.server(EOF).is(Activity::Idle);

    let mut talk = Talk::new(ServerKind::MySql, Capabilities::DEPRECATE_EOF);
    talk.client(b"\x16SELECT ?")
        .answer(&[&prepared(1, 1), &column, &column])
        .is(Activity::Idle);
    talk.client(b"\x17\x01\0\0\0\x01");
    talk.answer(&[b"\x01", &column, b"\xfe\0\0\x42\0\0\0"])
        .is(Activity::Idle);
}

#[test]
fn columns_may_be_left_out_where_that_was_agreed() {
    let column = column();
    let optional = Capabilities::OPTIONAL_RESULTSET_METADATA | Capabilities::DEPRECATE_EOF;
    let mut talk = Talk::new(ServerKind::MySql, optional);
    talk.client(QUERY)
        .answer(&[b"\x02\x01", &column, &column, &row(b"a"), OK_AS_EOF]);
    talk.is(Activity::Idle);
    talk.client(QUERY)
        .answer(&[b"\x02\x00", &row(b"a"), OK_AS_EOF])
        .is(Activity::Idle);
    talk.client(b"\x16SELECT ?");
    talk.answer(&[b"\0\x01\0\0\0\x01\0\x01\0\0\0\0\0"])
        .is(Activity::Idle);

    let cached = Capabilities::MARIADB_CACHE_METADATA;
    let mut talk = Talk::new(ServerKind::MariaDb, cached);
    talk.client(b"\x17\x01\0\0\0")
        .answer(&[b"\x02\x00", EOF, &row(b"a"), EOF]);
    talk.is(Activity::Idle);
    talk.client(QUERY)
        .answer(&[b"\x01\x01", &column, EOF, EOF])
        .is(Activity::Idle);

    // Where it was not, a byte behind the number of columns is no such number.
    let mut talk = Talk::mysql();
    talk.client(QUERY).server(b"\x02\x00").is(Activity::Unknown);
}

#[test]
fn reports_of_progress_are_no_errors() {
    let report = b"\xff\xff\xff\x01\x01\x02\0\0\0\x05stage";
    let mut talk = Talk::new(ServerKind::MariaDb, Capabilities::MARIADB_PROGRESS);
    talk.client(QUERY)
        .answer(&[report, report, OK])
        .is(Activity::Idle);
    talk.client(QUERY).server(ERR).is(Activity::Idle);
    let mut talk = Talk::new(ServerKind::MySql, Capabilities::CAPABILITY_EXTENSION);
    talk.client(QUERY).server(report).is(Activity::Idle);
}

#[test]
fn pipelined_commands_are_answered_in_their_order() {
    let column = column();
    let mut talk = Talk::mysql();
    talk.client(b"\x0e")
        .client(QUERY)
        .client(b"\x09")
        .client(b"\x19\x01\0\0\0")
        .client(b"\x0e");
    talk.answer(&[OK, b"\x01", &column, EOF, EOF, b"\0\0 no OK, but text", OK])
        .is(Activity::Idle);

    let mut talk = Talk::mysql();
    for _ in 0..COMMANDS_IN_FLIGHT_MAX {
        talk.client(b"\x0e").is(Activity::InFlight);
    }
    talk.client(b"\x0e").is(Activity::Unknown);
}

#[test]
fn a_change_of_user_is_a_dialogue() {
    let switch = b"\xfecaching_sha2_password\x000123456789abcdefghij\0";
    let mut talk = Talk::mysql();
    talk.client(CHANGE_USER)
        .is(Activity::InFlight)
        .server(OK_IN_TRANS)
        .is(Activity::Idle);
    assert!(talk.tracker.status().contains(StatusFlags::IN_TRANS));
    talk.client(CHANGE_USER)
        .server(switch)
        .client(b"\x11a proof")
        .server(b"\x01\x03");
    talk.is(Activity::InFlight).server(OK).is(Activity::Idle);
    talk.client(CHANGE_USER)
        .server(switch)
        .client(b"\x03proof")
        .server(b"\x01\x04");
    talk.client(b"\x02")
        .server(b"\x01-----BEGIN")
        .client(b"\x01encrypted")
        .is(Activity::InFlight);
    talk.server(OK).is(Activity::Idle);
    talk.client(CHANGE_USER)
        .server(switch)
        .client(b"")
        .server(ERR)
        .is(Activity::Idle);
    talk.client(QUERY).server(OK).is(Activity::Idle);

    // Whether the server takes these for answers or for commands cannot be told.
    talk.client(CHANGE_USER).client(QUERY).is(Activity::Unknown);
    let mut talk = Talk::mysql();
    talk.client(CHANGE_USER)
        .server(switch)
        .client(b"proof")
        .client(QUERY)
        .is(Activity::Unknown);
    let mut talk = Talk::mysql();
    talk.client(CHANGE_USER)
        .server(b"\x01\x03")
        .client(QUERY)
        .is(Activity::Unknown);
    let mut talk = Talk::mysql();
    talk.client(CHANGE_USER)
        .server(b"P\0salt")
        .is(Activity::Unknown);
    let mut talk = Talk::new(ServerKind::MariaDb, Capabilities::PROTOCOL_41);
    talk.client(CHANGE_USER)
        .server(b"P\0salt")
        .client(b"signature")
        .server(OK)
        .is(Activity::Idle);
}

#[test]
fn a_replica_is_served_until_the_end() {
    let mut talk = Talk::mysql();
    talk.client(b"\x15\x01")
        .server(OK)
        .client(b"\x12\x04\0\0\0")
        .is(Activity::InFlight);
    talk.server(b"\0event")
        .client(b"\xefacknowledged")
        .server(b"\0\xef\x01event");
    talk.is(Activity::InFlight).server(EOF).is(Activity::Idle);
    talk.client(b"\x1e").server(ERR).is(Activity::Idle);
}

#[test]
fn an_unknown_command_is_never_forgotten() {
    for command in [0x00, 0x0b, 0x13, 0x1d, 0x20, 0x99, 0xa1, 0xfe] {
        let mut talk = Talk::mysql();
        assert_eq!(Command(command).name(), None);
        talk.client(&[command]).is(Activity::Unknown);
        talk.server(OK).is(Activity::Unknown);
        talk.client(QUERY).server(OK).is(Activity::Unknown);
        assert!(!talk.tracker.is_safe_to_close());
    }
    let mut talk = Talk::mysql();
    talk.client(b"").is(Activity::Unknown);
}

#[test]
fn only_an_error_may_come_unasked() {
    let mut talk = Talk::mysql();
    talk.server(b"\xff\xbf\x0f#HY000The client was disconnected")
        .is(Activity::Idle);
    talk.server(OK).is(Activity::Unknown);
}

#[test]
fn a_transaction_forbids_to_close() {
    let mut talk = Talk::mysql();
    assert!(talk.tracker.is_safe_to_close());
    talk.client(b"\x03BEGIN");
    assert!(!talk.tracker.is_safe_to_close());
    talk.server(OK_IN_TRANS).is(Activity::Idle);
    assert!(!talk.tracker.is_safe_to_close());
    talk.client(b"\x03COMMIT").server(OK);
    assert!(talk.tracker.is_safe_to_close());

    // A procedure may have opened one before it failed.
    talk.client(b"\x03CALL p()").server(ERR).is(Activity::Idle);
    assert!(!talk.tracker.is_safe_to_close());
    talk.client(b"\x0e").server(OK);
    assert!(talk.tracker.is_safe_to_close());
    // What cannot open one leaves no doubt.
    talk.client(b"\x02nowhere").server(ERR);
    assert!(talk.tracker.is_safe_to_close());
}

#[test]
fn half_a_packet_is_in_flight() {
    let mut talk = Talk::mysql();
    let query = talk.packet(QUERY);
    for len in 1..query.len() {
        let mut talk = Talk::mysql();
        talk.tracker.client(&query[..len]);
        talk.is(Activity::InFlight);
    }
    talk.client(QUERY);
    let answer = talk.packet(OK);
    for byte in &answer {
        talk.is(Activity::InFlight);
        talk.tracker.server(&[*byte]);
    }
    talk.is(Activity::Idle);
}

#[test]
fn a_command_is_told_of_at_its_first_byte() {
    let mut talk = Talk::mysql();
    let change = talk.packet(CHANGE_USER);
    let both = [talk.packet(QUERY), change.clone()].concat();
    let mut input = &both[..];
    let query = talk.tracker.next_command(&mut input).unwrap();
    assert_eq!(
        (query.command, query.header.payload_len),
        (Command::QUERY, 9)
    );
    let start = talk.tracker.next_command(&mut input).unwrap();
    assert_eq!(start.command, Command::CHANGE_USER);
    assert_eq!(input, &change[5..]);
    assert_eq!(talk.tracker.next_command(&mut input), None);
    assert_eq!(start.command.to_string(), "COM_CHANGE_USER");
    assert_eq!(Command(0x2a).to_string(), "command 0x2a");
}
