//! What an end does that lies, to see the other survive it.

use super::*;
use crate::frame::obrpc::Compressor;

/// An answer to the first call of a client, as its bytes.
fn answer(header: &RpcHeader, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = RpcHeader {
        flags: Flags::default() | Flags::RESPONSE | header.flags,
        ..*header
    };
    write_packet(&mut out, 1, &header, |w| {
        w.bytes(content);
    })
    .unwrap();
    out
}

fn ok_of(result: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut writer = crate::wire::Writer::new(&mut content);
    ResultCode::new(ResultCode::OK).write(&mut writer);
    writer.bytes(result);
    content
}

fn zlib(payload: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut zlib, payload).unwrap();
    zlib.finish().unwrap()
}

fn compressed(payload: &[u8], original_len: u32) -> (RpcHeader, Vec<u8>) {
    let header = RpcHeader {
        compressor: Compressor::ZLIB,
        original_len,
        ..call(ECHO).header
    };
    (header, zlib(payload))
}

#[test]
fn an_answer_that_lies_ends_the_connection_at_every_cut() {
    let good = answer(&call(ECHO).header, &ok_of(b"result"));
    let edited = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let (bomb, payload) = compressed(&vec![0; 4 << 20], 4 << 20);
    let (liar, lie) = compressed(&vec![0; 4 << 20], 1_000);
    for (what, bytes, kind) in [
        ("damaged", edited(good.len() - 1, b'T'), ErrorKind::Protocol),
        ("checksum", edited(16 + 15, 0), ErrorKind::Protocol),
        ("no header", edited(16 + 4, 0), ErrorKind::Protocol),
        ("long header", edited(16 + 4, 255), ErrorKind::Protocol),
        ("header of 70", edited(16 + 4, 70), ErrorKind::Protocol),
        ("net length of 4", edited(7, 4), ErrorKind::Protocol),
        ("net length of 4 GiB", edited(4, 255), ErrorKind::Limit),
        (
            "no result code",
            answer(&call(ECHO).header, b"\x01"),
            ErrorKind::Protocol,
        ),
        ("a bomb", answer(&bomb, &payload), ErrorKind::Limit),
        ("a bomb that lies", answer(&liar, &lie), ErrorKind::Protocol),
    ] {
        for piece_len in [1, 7, 16, usize::MAX] {
            let mut client = Client::new(ClientLimits {
                packet_len_max: 1 << 20,
                ..ClientLimits::default()
            });
            let id = client.call(at(0), &call(ECHO), |_| {}).unwrap();
            let result = bytes.chunks(piece_len).try_for_each(|mut piece| {
                let reply = client.handle_recv(at(0), &mut piece)?;
                assert!(reply.is_none(), "{what}: {reply:?}");
                Ok::<_, crate::error::Error>(())
            });
            assert_eq!(result.unwrap_err().kind(), kind, "{what}");
            assert!(client.abandon().iter().all(|of| *of == id));
        }
    }
}

/// The server tells the client, and serves what follows.
#[test]
fn a_request_that_lies_is_refused_and_the_next_one_served() {
    let mut good = Vec::new();
    write_packet(&mut good, 8, &call(ECHO).header, |w| w.bytes(b"next")).unwrap();
    let request = |header: &RpcHeader, payload: &[u8]| {
        let mut out = Vec::new();
        write_packet(&mut out, 7, header, |w| w.bytes(payload)).unwrap();
        out
    };
    let mut long_header = request(&call(ECHO).header, b"x");
    long_header[16 + 4] = 255;
    let mut damaged = request(&call(ECHO).header, b"x");
    damaged[16 + 15] ^= 1;
    let (bomb, payload) = compressed(&vec![0; 4 << 20], 4 << 20);
    let (liar, lie) = compressed(&vec![0; 4 << 20], 1_000);
    for (bytes, rcode) in [
        (long_header, ResultCode::RPC_PACKET_INVALID),
        (damaged, ResultCode::PACKET_CHECKSUM_ERROR),
        (request(&bomb, &payload), ResultCode::RPC_PACKET_TOO_LONG),
        (request(&liar, &lie), ResultCode::DESERIALIZE_ERROR),
    ] {
        let limits = ServerLimits {
            packet_len_max: 1 << 20,
            ..ServerLimits::default()
        };
        let mut server = Server::new(limits, false);
        let stream = [&bytes[..], &good].concat();
        let mut input = &stream[..];
        let Some(Incoming::Refused { rcode: told, .. }) =
            server.handle_recv(at(0), &mut input).unwrap()
        else {
            panic!("served")
        };
        assert_eq!(told, rcode);
        let next = server.handle_recv(at(0), &mut input).unwrap();
        let Some(Incoming::Request { content, .. }) = next else {
            panic!("{next:?}")
        };
        assert_eq!(&*content, b"next");
    }
}

/// Requests under one number are two requests: each is answered, once, under that number.
#[test]
fn channels_that_collide_at_a_server_confuse_their_client_alone() {
    let mut server = Server::new(ServerLimits::default(), false);
    let mut stream = Vec::new();
    for n in 0..3 {
        write_packet(&mut stream, 7, &call(ECHO).header, |w| w.u8(n)).unwrap();
    }
    let mut input = &stream[..];
    let mut requests = Vec::new();
    while let Some(incoming) = server.handle_recv(at(0), &mut input).unwrap() {
        let Incoming::Request { request, content } = incoming else {
            panic!("{incoming:?}")
        };
        requests.push((request, content.to_vec()));
    }
    assert_eq!(server.in_hand(), 3);
    let ok = ResultCode::new(ResultCode::OK);
    for (request, content) in requests.into_iter().rev() {
        server.respond(request, &ok, |w| w.bytes(&content)).unwrap();
    }
    assert_eq!(server.in_hand(), 0);
    let mut client = Client::new(ClientLimits::default());
    client.chid = 6;
    let id = client.call(at(0), &call(ECHO), |_| {}).unwrap();
    let heard = hear(&mut client, server.transmit(), usize::MAX);
    assert_eq!(heard, [(id, 0, vec![2], false)], "the first answer counts");
    assert_eq!(client.unmatched(), 2);
}

/// Its client keeps one part and one deadline of it, makes other calls beside it, and can end it.
#[test]
fn a_stream_that_never_ends_costs_no_more_than_its_next_part() {
    let mut client = Client::new(ClientLimits::default());
    let id = client.call(at(0), &call(COUNT), |_| {}).unwrap();
    let part = |chid: u32| {
        let mut out = Vec::new();
        let header = RpcHeader {
            flags: Flags::default() | Flags::RESPONSE | Flags::STREAM,
            session_id: 9,
            ..call(COUNT).header
        };
        write_packet(&mut out, chid, &header, |w| w.bytes(&ok_of(b"more"))).unwrap();
        out
    };
    for n in 0..10_000 {
        // The second one was not asked for.
        let sent = [part(client.chid), part(client.chid)].concat();
        let heard = hear(&mut client, &sent, 1_000);
        assert_eq!(heard, [(id, 0, b"more".to_vec(), true)]);
        assert_eq!((client.calls_len(), client.unmatched()), (1, n + 1));
        client.next_part(at(n), id).unwrap();
        client.transmitted(client.transmit().len());
        assert_eq!(client.poll_timeout(), Some(at(n + 1_000).monotonic));
    }
    let chid = client.chid;
    let other = client.call(at(10_000), &call(ECHO), |_| {}).unwrap();
    let echo = refusal(client.chid, ECHO, -4012);
    assert_eq!(hear(&mut client, &echo, 9), [(other, -4012, vec![], false)]);
    // The part that was asked for last does not come in time.
    assert_eq!(client.handle_timeout(at(11_000)), Some(id));
    assert!(hear(&mut client, &part(chid), 9).is_empty());
    assert_eq!((client.calls_len(), client.poll_timeout()), (0, None));
}
