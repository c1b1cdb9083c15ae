//! Packets, one by one.

use std::ffi::CStr;
use std::io::Write;

use super::*;
use crate::ffi::conn::obrpc::name::*;
use crate::frame::obrpc::{Compressor, Pcode, RpcHeader, write_packet};
use crate::limits::{RPC_PACKET_LEN_MAX, RPC_PACKET_LEN_WIRE_MAX};

/// A packet's bytes.
fn bytes(header: &RpcHeader, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_packet(&mut out, 7, header, |writer| writer.bytes(payload)).unwrap();
    out
}

fn header() -> RpcHeader {
    RpcHeader {
        pcode: Pcode(PCODE),
        ..RpcHeader::default()
    }
}

#[test]
fn every_field_arrives() {
    for method in METHODS {
        let (client, server) = rpc_pair(method);
        let sent = sealwire_obrpc_packet {
            chid: 1,
            pcode: 2,
            flags: 3,
            priority: 4,
            group_id: 5,
            request_level: 6,
            tenant_id: 7,
            priv_tenant_id: 8,
            session_id: 9,
            trace_id: [10, 11, 12, 13],
            timeout_us: 14,
            timestamp_us: 15,
            src_cluster_id: -16,
            dst_cluster_id: -17,
            cluster_name_hash: 18,
            unis_version: 19,
            seq_no: 20,
            data_version: 21,
            payload: b"payload".as_ptr(),
            payload_len: 7,
        };
        ok(client.write_packet(&sent));
        pump(&client, &server);
        let got = server.packet();
        assert_eq!(payload(&got), b"payload");
        let numbers = |it: &sealwire_obrpc_packet| {
            let small = [it.chid, it.pcode, it.flags.into(), it.priority.into()];
            let large = [it.tenant_id, it.priv_tenant_id, it.session_id];
            let times = [it.timeout_us, it.timestamp_us, it.seq_no, it.data_version];
            let clusters = [it.src_cluster_id, it.dst_cluster_id];
            let rest = (it.group_id, it.request_level, it.trace_id);
            let versions = (it.cluster_name_hash, it.unis_version);
            (small, large, times, clusters, rest, versions)
        };
        assert_eq!(numbers(&got), numbers(&sent));
        assert_eq!(server.next_packet().0, SEALWIRE_WANT_READ);
    }
}

#[test]
fn an_answer_is_that_to_its_request() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_SSL_IO);
    let asked = [(1, 0), (2, -4_012), (3, 0)];
    for (chid, _) in asked {
        ok(client.write_packet(&request(chid, b"")));
    }
    pump(&client, &server);
    let requests = asked.map(|_| server.packet());
    // In another order, and by copies whose payload is no longer lent.
    for (request, (_, rcode)) in requests.iter().zip(asked).rev() {
        ok(server.answer(request, rcode, b"result"));
    }
    pump(&server, &client);
    let success = [1, 0x84, 0x80, 0x80, 0x80, 0, 0, 1, 0, 0];
    for (chid, rcode) in asked.into_iter().rev() {
        let answer = client.packet();
        assert_eq!((answer.chid, answer.pcode), (chid, PCODE));
        assert_ne!(answer.flags & SEALWIRE_OBRPC_FLAG_RESPONSE, 0);
        let payload = payload(&answer);
        match rcode {
            0 => assert_eq!(payload, [&success[..], b"result"].concat()),
            _ => assert!(!payload.ends_with(b"result"), "{payload:?}"),
        }
        assert_eq!(server.answer(&answer, 0, b""), SEALWIRE_ERR_ARGUMENT);
    }
}

#[test]
fn who_wants_no_answer_gets_none() {
    let (_client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    let mut request = request(1, b"");
    request.flags |= SEALWIRE_OBRPC_FLAG_NO_RESPONSE;
    ok(server.answer(&request, 0, b"result"));
    assert_eq!(server.output(), b"");
    assert_eq!(sealwire_conn_queued(server.0), 0);
}

#[test]
fn packets_are_given_out_whole_however_they_arrive() {
    let server = plain_server();
    let sent = [bytes(&header(), b"first"), bytes(&header(), b"second")].concat();
    let mut got = Vec::new();
    for byte in &sent {
        let (result, packet) = server.next_packet();
        match result {
            SEALWIRE_OK => got.push(payload(&packet)),
            other => assert_eq!(other, SEALWIRE_WANT_READ),
        }
        assert_eq!(server.feed(&[*byte]), (SEALWIRE_OK, 1));
    }
    got.push(payload(&server.packet()));
    assert_eq!(got, [&b"first"[..], b"second"]);
    assert_eq!(server.feed(b""), (SEALWIRE_OK, 0));
    assert_eq!(server.next_packet().0, SEALWIRE_EOF);
}

#[test]
fn keepalives_are_skipped() {
    let server = plain_server();
    let first = bytes(&header(), b"first");
    let sent = [
        &first[..],
        KEEPALIVE,
        KEEPALIVE,
        &bytes(&header(), b"second"),
    ]
    .concat();
    server.feed(&sent);
    assert_eq!(payload(&server.packet()), b"first");
    assert_eq!(payload(&server.packet()), b"second");
}

#[test]
fn a_compressed_payload_is_inflated() {
    let payload_sent = vec![b'x'; 100_000];
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&payload_sent).unwrap();
    let compressed = encoder.finish().unwrap();
    let header = |original_len| RpcHeader {
        compressor: Compressor::ZLIB,
        original_len,
        ..header()
    };
    let server = plain_server();
    let sent = bytes(&header(100_000), &compressed);
    assert!(sent.len() < 1_000);
    server.feed(&sent);
    assert_eq!(payload(&server.packet()), payload_sent);
    for (original_len, expected) in [
        (99_999, SEALWIRE_ERR_FRAME),
        (RPC_PACKET_LEN_MAX as u32 + 1, SEALWIRE_ERR_FRAME_TOO_LARGE),
    ] {
        let server = plain_server();
        server.feed(&bytes(&header(original_len), &compressed));
        assert_eq!(server.next_packet().0, expected, "{}", server.error());
    }
}

#[test]
fn a_damaged_packet_is_the_end() {
    let server = plain_server();
    let mut sent = bytes(&header(), b"payload");
    *sent.last_mut().unwrap() ^= 1;
    sent.extend(bytes(&header(), b"good"));
    server.feed(&sent);
    for _ in 0..2 {
        assert_eq!(server.next_packet().0, SEALWIRE_ERR_FRAME);
        assert!(server.error().contains("checksum"), "{}", server.error());
    }
}

#[test]
fn what_is_no_packet_is_refused_by_its_head() {
    let mut long = bytes(&header(), b"");
    long[4..8].copy_from_slice(&(RPC_PACKET_LEN_MAX as u32 + 1).to_be_bytes());
    let mut short = bytes(&header(), b"");
    short[4..8].copy_from_slice(&10u32.to_be_bytes());
    for (sent, expected) in [
        (&long[..20], SEALWIRE_ERR_FRAME_TOO_LARGE),
        (&short[..26], SEALWIRE_ERR_FRAME),
        (b"\x16\x03\x01 that is TLS.", SEALWIRE_ERR_FRAME),
    ] {
        let server = plain_server();
        server.feed(sent);
        for _ in 0..2 {
            assert_eq!(server.next_packet().0, expected, "{}", server.error());
        }
    }
}

#[test]
fn an_end_within_a_packet_is_none() {
    let sent = bytes(&header(), b"payload");
    for len in [21, sent.len() - 1] {
        let server = plain_server();
        server.feed(&sent[..len]);
        server.feed(b"");
        assert_eq!(server.next_packet().0, SEALWIRE_ERR_TRUNCATED);
    }
}

#[test]
fn a_length_that_is_a_lie_costs_no_memory() {
    let server = plain_server();
    let mut sent = bytes(&header(), b"");
    sent[4..8].copy_from_slice(&(RPC_PACKET_LEN_MAX as u32).to_be_bytes());
    server.feed(&sent);
    assert_eq!(server.next_packet().0, SEALWIRE_WANT_READ);
}

#[test]
fn what_the_wire_does_not_allow_is_not_taken() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    // Never touched, and so never there.
    let endless = vec![0u8; RPC_PACKET_LEN_WIRE_MAX];
    let long = request(1, &endless);
    assert_eq!(client.write_packet(&long), SEALWIRE_ERR_FRAME_TOO_LARGE);
    let answered = client.answer(&request(1, b""), 0, &endless);
    assert_eq!(answered, SEALWIRE_ERR_FRAME_TOO_LARGE);
    let lost = sealwire_obrpc_packet {
        payload: ptr::null(),
        ..long
    };
    assert_eq!(client.write_packet(&lost), SEALWIRE_ERR_NULL);
    ok(client.write_packet(&request(1, b"goes on")));
    pump(&client, &server);
    assert_eq!(payload(&server.packet()), b"goes on");
}

#[test]
fn packets_and_calls_do_not_mix() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    client.call(b"", 0);
    assert_eq!(client.next_packet().0, SEALWIRE_ERR_STATE);
    assert_eq!(client.write_packet(&request(1, b"")), SEALWIRE_ERR_STATE);
    assert_eq!(client.answer(&request(1, b""), 0, b""), SEALWIRE_ERR_STATE);
    pump(&client, &server);
    let request = server.packet();
    assert_eq!(server.reply(), Err(SEALWIRE_ERR_STATE));
    assert_eq!(server.call_with(&zeroed_call()).0, SEALWIRE_ERR_STATE);
    ok(server.answer(&request, 0, b"still there"));
    pump(&server, &client);
    assert_eq!(client.reply().unwrap().result, b"still there");
}

#[test]
fn codes_have_names() {
    // SAFETY: they live for ever.
    let text = |name| unsafe { CStr::from_ptr(name) }.to_str().unwrap();
    let rcode = |rcode| text(sealwire_obrpc_rcode_name(rcode));
    let pcode = |pcode| text(sealwire_obrpc_pcode_name(pcode));
    assert_eq!(rcode(0), "OB_SUCCESS");
    assert_eq!(rcode(-4_012), "OB_TIMEOUT");
    assert_eq!(rcode(1), "unknown result code");
    assert_eq!(pcode(0x106), "OB_SET_CONFIG");
    assert_eq!(pcode(0x853), "OB_LS_FETCH_LOG2");
    assert_eq!(pcode(0), "unknown call");
}
