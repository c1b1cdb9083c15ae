//! Calls, their deadlines, and streams.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::*;
use crate::ffi::conn::sealwire_conn_set_fd;
use crate::frame::obrpc::{ResultCode, Warning};
use crate::limits::{RPC_CALLS_MAX, SEND_QUEUE_LEN_HIGH};
use crate::wire::Writer;

const STREAM: u16 = SEALWIRE_OBRPC_FLAG_STREAM;
const STREAM_LAST: u16 = SEALWIRE_OBRPC_FLAG_STREAM_LAST;

#[test]
fn answers_come_in_any_order() {
    for method in METHODS {
        let (client, server) = rpc_pair(method);
        let ids = [b"a", b"b", b"c"].map(|args| client.call(args, 0));
        assert!(ids[0] > 0 && ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
        assert_eq!(client.reply(), Err(SEALWIRE_WANT_READ));
        pump(&client, &server);
        let requests = ids.map(|_| {
            let request = server.packet();
            (request, payload(&request))
        });
        for (request, args) in requests.iter().rev() {
            ok(server.answer(request, 0, args));
        }
        pump(&server, &client);
        for (id, args) in ids.into_iter().zip([b"a", b"b", b"c"]).rev() {
            assert_eq!(client.reply(), Ok(Reply::done(id, args)));
        }
        assert_eq!(client.reply(), Err(SEALWIRE_WANT_READ));
        assert_eq!(sealwire_conn_timeout_ms(client.0), -1);
    }
}

#[test]
fn a_call_may_come_first() {
    // Negotiation and handshake are the calls' to do.
    let client = Conn::client(&client_builder(SEALWIRE_OBRPC_SSL_IO).build(), "localhost");
    let server = Conn::server(&server_builder(ALL).build());
    let id = client.call(b"early", 300_000);
    assert!(sealwire_conn_wants_write(client.0));
    let mut answered = Err(SEALWIRE_WANT_READ);
    while answered == Err(SEALWIRE_WANT_READ) {
        pump(&client, &server);
        if let (SEALWIRE_OK, request) = server.next_packet() {
            ok(server.answer(&request, 0, &payload(&request)));
        }
        pump(&server, &client);
        answered = client.reply();
    }
    assert_eq!(answered, Ok(Reply::done(id, b"early")));
    assert_eq!(client.method(), SEALWIRE_OBRPC_SSL_IO);
}

#[test]
fn a_zeroed_call_has_the_defaults() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    assert_eq!(client.call_with(&zeroed_call()).0, SEALWIRE_OK);
    let (result, _) = client.call_with(&sealwire_obrpc_call {
        pcode: PCODE,
        timeout_ms: 7,
        flags: SEALWIRE_OBRPC_FLAG_NO_RESPONSE,
        priority: 9,
        group_id: 10,
        tenant_id: 11,
        priv_tenant_id: 0,
        dst_cluster_id: 12,
        trace_id: [13, 14, 15, 16],
        ..zeroed_call()
    });
    assert_eq!(result, SEALWIRE_OK);
    pump(&client, &server);
    let it = server.packet();
    assert_eq!((it.flags, it.priority, it.timeout_us), (7, 5, 2_000_000));
    assert_eq!((it.tenant_id, it.priv_tenant_id), (1, 1));
    assert_eq!((it.src_cluster_id, it.dst_cluster_id), (-1, -1));
    assert!(
        it.timestamp_us > 1_700_000_000_000_000,
        "{}",
        it.timestamp_us
    );
    let it = server.packet();
    assert_eq!((it.pcode, it.timeout_us, it.priority), (PCODE, 7_000, 9));
    assert_eq!(it.flags, 7 | SEALWIRE_OBRPC_FLAG_NO_RESPONSE);
    assert_eq!((it.tenant_id, it.priv_tenant_id), (11, 11));
    assert_eq!((it.group_id, it.dst_cluster_id), (10, 12));
    assert_eq!(it.trace_id, [13, 14, 15, 16]);
}

#[test]
fn errors_come_with_their_words() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_SSL_IO);
    let ids = [client.call(b"", 0), client.call(b"", 0)];
    pump(&client, &server);
    let (first, second) = (server.packet(), server.packet());
    let mut body = Vec::new();
    let said = ResultCode {
        rcode: -4_147,
        message: b"no such parameter".to_vec(),
        warnings: vec![Warning::default()],
    };
    said.write(&mut Writer::new(&mut body));
    let answer = sealwire_obrpc_packet {
        flags: 7 | SEALWIRE_OBRPC_FLAG_RESPONSE,
        payload: body.as_ptr(),
        payload_len: body.len(),
        ..first
    };
    ok(server.write_packet(&answer));
    ok(server.answer(&second, -4_012, b"left out"));
    pump(&server, &client);
    let expected = Reply {
        message: "no such parameter".to_owned(),
        ..Reply::error(ids[0], -4_147)
    };
    assert_eq!(client.reply(), Ok(expected));
    assert_eq!(client.reply(), Ok(Reply::error(ids[1], -4_012)));
}

#[test]
fn a_call_is_over_at_its_deadline() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_SSL_IO);
    let patient = client.call(b"patient", 600_000);
    let hasty = client.call(b"hasty", 20);
    assert!(sealwire_conn_timeout_ms(client.0) <= 20);
    pump(&client, &server);
    let requests = [server.packet(), server.packet()];
    let mut reply = Err(SEALWIRE_WANT_READ);
    while reply == Err(SEALWIRE_WANT_READ) {
        let wait_ms = sealwire_conn_timeout_ms(client.0);
        assert!((0..=20).contains(&wait_ms), "{wait_ms}");
        thread::sleep(Duration::from_millis(wait_ms as u64));
        reply = client.reply();
    }
    assert_eq!(reply, Ok(Reply::timed_out(hasty)));
    let wait_ms = sealwire_conn_timeout_ms(client.0);
    assert!((1_000..=600_000).contains(&wait_ms), "{wait_ms}");
    // The late answer is dropped, and the one behind it is not.
    for request in requests.iter().rev() {
        ok(server.answer(request, 0, b"late"));
    }
    pump(&server, &client);
    assert_eq!(client.reply(), Ok(Reply::done(patient, b"late")));
    assert_eq!(client.reply(), Err(SEALWIRE_WANT_READ));
}

#[test]
fn keepalives_keep_nobody_beyond_a_deadline() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let builder = client_builder(SEALWIRE_OBRPC_NONE);
    let client = Conn::client(&builder.build(), "localhost");
    ok(sealwire_conn_set_fd(client.0, near.as_raw_fd()));
    let sender = thread::spawn(move || while far.write_all(KEEPALIVE).is_ok() {});
    let id = client.call(b"", 20);
    assert_eq!(client.reply(), Ok(Reply::timed_out(id)));
    drop(client);
    drop(near);
    sender.join().unwrap();
}

#[test]
fn a_stream_is_read_part_by_part() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_SSL_IO);
    let next_part = |id| sealwire_conn_obrpc_next_part(client.0, id);
    let id = client.call(b"", 0);
    assert_eq!(next_part(id), SEALWIRE_ERR_STATE, "no part has come");
    for part in 0..3u8 {
        pump(&client, &server);
        let mut request = server.packet();
        let asks_on = if part == 0 { 0 } else { STREAM };
        assert_eq!(request.flags & (STREAM | STREAM_LAST), asks_on);
        request.session_id = 77;
        request.flags |= STREAM | if part == 2 { STREAM_LAST } else { 0 };
        ok(server.answer(&request, 0, &[part]));
        pump(&server, &client);
        if part == 2 {
            assert_eq!(client.reply(), Ok(Reply::done(id, &[2])));
            continue;
        }
        assert_eq!(client.reply(), Ok(Reply::part(id, &[part])));
        assert!(sealwire_conn_timeout_ms(client.0) > 0);
        ok(next_part(id));
        assert_eq!(next_part(id), SEALWIRE_ERR_STATE, "asked twice");
    }
    assert_eq!(next_part(id), SEALWIRE_ERR_STATE, "it is over");
    assert_eq!(sealwire_conn_timeout_ms(client.0), -1);
}

#[test]
fn a_stream_that_is_given_up_ends_at_the_server_too() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_SSL_IO);
    let id = client.call(b"", 0);
    pump(&client, &server);
    let mut asked = server.packet();
    asked.session_id = 78;
    asked.flags |= STREAM;
    ok(server.answer(&asked, 0, b"part"));
    pump(&server, &client);
    assert_eq!(client.reply(), Ok(Reply::part(id, b"part")));
    ok(sealwire_conn_obrpc_cancel(client.0, id));
    ok(sealwire_conn_obrpc_cancel(client.0, id));
    pump(&client, &server);
    let end = server.packet();
    assert_eq!(end.flags & (STREAM | STREAM_LAST), STREAM | STREAM_LAST);
    assert_eq!(end.session_id, 78);
    ok(server.answer(&end, 0, b""));
    pump(&server, &client);
    assert_eq!(client.reply(), Err(SEALWIRE_WANT_READ));
    assert_eq!(server.next_packet().0, SEALWIRE_WANT_READ);
}

#[test]
fn a_blocking_descriptor_wakes_at_the_deadline() {
    for method in METHODS {
        let (near, far) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let server = Conn::server(&server_builder(ALL).build());
            ok(sealwire_conn_set_fd(server.0, far.as_raw_fd()));
            // One is answered and the other is not, until the client is done.
            let first = server.packet();
            ok(server.answer(&first, 0, &payload(&first)));
            let second = server.packet();
            assert_eq!(server.next_packet().0, SEALWIRE_EOF);
            ok(server.answer(&second, 0, b"late"));
            ok(sealwire_conn_shutdown(server.0));
        });
        let client = Conn::client(&client_builder(method).build(), "localhost");
        ok(sealwire_conn_set_fd(client.0, near.as_raw_fd()));
        let answered = client.call(b"answered", 600_000);
        assert_eq!(client.reply(), Ok(Reply::done(answered, b"answered")));
        let unheard = client.call(b"unheard", 50);
        assert_eq!(client.reply(), Ok(Reply::timed_out(unheard)));
        // Nothing is under way, so that nothing is waited for.
        assert_eq!(client.reply(), Err(SEALWIRE_WANT_READ));
        ok(sealwire_conn_shutdown(client.0));
        near.shutdown(Shutdown::Write).unwrap();
        server.join().unwrap();
        assert_eq!(client.reply(), Err(SEALWIRE_EOF));
    }
}

#[test]
fn a_server_that_does_not_read_blocks_nobody_for_ever() {
    let (near, _deaf) = UnixStream::pair().unwrap();
    let client = Conn::client(&client_builder(SEALWIRE_OBRPC_NONE).build(), "localhost");
    ok(sealwire_conn_set_fd(client.0, near.as_raw_fd()));
    let args = vec![b'x'; 10_000_000];
    let unheard = client.call(&args, 50);
    assert!(sealwire_conn_wants_write(client.0));
    assert_eq!(client.reply(), Ok(Reply::timed_out(unheard)));
}

#[test]
fn the_end_of_a_connection_is_that_of_its_calls() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_SSL_IO);
    client.call(b"", 600_000);
    ok(sealwire_conn_shutdown(server.0));
    pump(&server, &client);
    for _ in 0..2 {
        assert_eq!(client.reply(), Err(SEALWIRE_EOF));
    }
    assert_eq!(sealwire_conn_timeout_ms(client.0), -1);
}

#[test]
fn a_damaged_answer_is_the_end() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    client.call(b"", 600_000);
    client.call(b"", 600_000);
    pump(&client, &server);
    for request in [server.packet(), server.packet()] {
        ok(server.answer(&request, 0, b"result"));
    }
    let mut sent = server.output();
    let first_end = sent.len() / 2 - 1;
    sent[first_end] ^= 1;
    client.feed(&sent);
    for _ in 0..2 {
        assert_eq!(client.reply(), Err(SEALWIRE_ERR_FRAME));
        assert!(client.error().contains("checksum"), "{}", client.error());
    }
    assert_eq!(client.call_with(&zeroed_call()).0, SEALWIRE_ERR_FRAME);
}

#[test]
fn too_many_calls_wait_for_answers() {
    let (client, _server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    let mut ids = Vec::new();
    let refused = loop {
        let (result, id) = client.call_with(&zeroed_call());
        if result != SEALWIRE_OK {
            break result;
        }
        ids.push(id);
        let sent = client.output().len();
        ok(sealwire_conn_output_sent(client.0, sent));
    };
    assert_eq!((refused, ids.len()), (SEALWIRE_WANT_READ, RPC_CALLS_MAX));
    ok(sealwire_conn_obrpc_cancel(client.0, ids[0]));
    assert_eq!(client.call_with(&zeroed_call()).0, SEALWIRE_OK);
}

#[test]
fn too_many_bytes_wait_to_be_sent() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    let args = vec![b'x'; SEND_QUEUE_LEN_HIGH];
    let call = sealwire_obrpc_call {
        args: args.as_ptr().cast(),
        args_len: args.len(),
        ..zeroed_call()
    };
    let mut taken = 0;
    let refused = loop {
        match client.call_with(&call) {
            (SEALWIRE_OK, _) => taken += 1,
            (other, _) => break other,
        }
    };
    assert_eq!(refused, SEALWIRE_WANT_WRITE);
    assert!((1..10).contains(&taken), "{taken}");
    assert!(sealwire_conn_queued(client.0) > args.len());
    for _ in 0..taken {
        while server.next_packet().0 == SEALWIRE_WANT_READ {
            pump(&client, &server);
            sealwire_conn_flush(client.0);
        }
    }
    assert_eq!(sealwire_conn_queued(client.0), 0);
    assert_eq!(client.call_with(&call).0, SEALWIRE_OK);
}

#[test]
fn what_is_no_call_is_not_taken() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    for flags in [STREAM, STREAM_LAST, SEALWIRE_OBRPC_FLAG_RESPONSE] {
        let call = sealwire_obrpc_call {
            flags,
            ..zeroed_call()
        };
        assert_eq!(client.call_with(&call).0, SEALWIRE_ERR_ARGUMENT);
    }
    let call = sealwire_obrpc_call {
        args_len: 1,
        ..zeroed_call()
    };
    assert_eq!(client.call_with(&call).0, SEALWIRE_ERR_NULL);
    assert_eq!(
        sealwire_conn_obrpc_next_part(client.0, 99),
        SEALWIRE_ERR_STATE
    );
    ok(sealwire_conn_obrpc_cancel(client.0, 99));
    assert_eq!(client.output(), b"");
    assert_eq!(server.next_packet().0, SEALWIRE_WANT_READ);
}
