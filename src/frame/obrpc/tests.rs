//! Whole packets: those that are documented, one as captured, every way to cut them, and lies.

use super::*;
use crate::wire::{Reader, Writer};

/// Documented byte by byte: TABLE_API_LOGIN with a payload that is none.
fn worked_packet() -> Vec<u8> {
    let header = RpcHeader {
        pcode: Pcode::TABLE_API_LOGIN,
        trace_id: [1, 2, 0, 0],
        timeout_us: 10_000_000,
        timestamp_us: 1_700_000_000_000_000,
        ..RpcHeader::default()
    };
    let mut out = Vec::new();
    write_packet(&mut out, 0x2a, &header, |w| w.bytes(b"123456789")).unwrap();
    out
}

/// The login of a client in Go or Java, as it was on the wire.
const LOGIN: &[u8] = include_bytes!("../../../tests/data/obkv_login.bin");

fn decode_all(decoder: &mut PacketDecoder, mut input: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next(&mut input).unwrap() {
        frames.push((frame.header.chid, frame.body.to_vec()));
    }
    assert!(input.is_empty());
    frames
}

#[test]
fn the_worked_packet_is_written_byte_for_byte() {
    #[rustfmt::skip]
    let expected: [&[u8]; 15] = [
        &[0x01, 0xdb, 0xdb, 0xce, 0, 0, 0, 0xc9, 0, 0, 0, 0x2a, 0, 0, 0, 0],
        &[0, 0, 0x11, 0x01, 0xc0, 5, 0, 7, 0, 0, 0, 0, 0x58, 0xe3, 0xfa, 0x20],
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0x98, 0x96, 0x80],
        &[0, 0x06, 0x0a, 0x24, 0x18, 0x1e, 0x40, 0, 0, 0, 0, 0x28, 0, 0, 0, 0],
        &[0; 16],
        &[0; 16],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0; 16],
        &[0; 16],
        &[0; 16],
        b"123456789",
        &[],
    ];
    assert_eq!(worked_packet(), expected.concat());
}

#[test]
fn the_worked_packet_is_read() {
    let bytes = worked_packet();
    let mut input = &bytes[..];
    let mut decoder = PacketDecoder::default();
    let frame = decoder.next(&mut input).unwrap().unwrap();
    let packet = frame.packet().unwrap();
    assert_eq!(packet.chid, 0x2a);
    assert_eq!(packet.header.pcode, Pcode::TABLE_API_LOGIN);
    assert_eq!(packet.header.trace_id, [1, 2, 0, 0]);
    assert_eq!(packet.header.timeout_us, 10_000_000);
    assert_eq!(packet.header.dst_cluster_id, ANY_CLUSTER);
    assert_eq!(packet.header.src_cluster_id, ANY_CLUSTER);
    assert!(!packet.is_response() && !packet.is_one_way());
    assert_eq!(&*packet.content(100).unwrap(), b"123456789");
    let borrowed = bytes.as_ptr_range();
    assert!(borrowed.contains(&packet.payload.as_ptr()), "no copy");
}

#[test]
fn a_captured_login_is_read() {
    let told = FirstBytes::classify(LOGIN);
    let pcode = Some(Pcode::TABLE_API_LOGIN);
    assert!(matches!(told, FirstBytes::ObRpc { pcode: told, .. } if told == pcode));
    let mut decoder = PacketDecoder::default();
    let mut input = LOGIN;
    let frame = decoder.next(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    let packet = frame.packet().unwrap();
    packet.check().unwrap();
    assert_eq!(packet.header.pcode, Pcode::TABLE_API_LOGIN);
    assert_eq!(packet.header.tenant_id, 1);
    assert!(packet.header.compressor.is_none());
    assert!(!packet.is_response());
}

#[test]
fn headers_of_every_length_are_read_and_written() {
    let full = RpcHeader {
        pcode: Pcode::SET_CONFIG,
        priority: 10,
        flags: Flags::default() | Flags::STREAM,
        tenant_id: 3,
        priv_tenant_id: 4,
        session_id: 5,
        trace_id: [6, 7, 8, 9],
        timeout_us: 10,
        timestamp_us: 11,
        dst_cluster_id: 12,
        compressor: Compressor::NONE,
        original_len: 13,
        src_cluster_id: 14,
        unis_version: 15,
        request_level: 16,
        seq_no: 17,
        group_id: 18,
        cluster_name_hash: 19,
        data_version: 20,
        ..RpcHeader::default()
    };
    for len in RPC_HEADER_LEN_MIN..=u8::MAX {
        let header = RpcHeader { len, ..full };
        let mut out = Vec::new();
        write_packet(&mut out, 1, &header, |w| w.bytes(b"payload")).unwrap();
        assert_eq!(out.len(), 16 + usize::from(len) + 7);
        let packet = Packet::decode(1, &out[16..]).unwrap();
        assert_eq!(packet.payload, b"payload");
        let read = packet.header;
        assert_eq!(read.original_len, 13);
        for (end, is_read) in [
            (136, read.src_cluster_id == 14),
            (144, read.unis_version == 15),
            (148, read.request_level == 16),
            (156, read.seq_no == 17),
            (160, read.group_id == 18),
            (168, read.trace_id[2] == 8),
            (176, read.trace_id[3] == 9),
            (184, read.cluster_name_hash == 19),
            (192, read.data_version == 20),
        ] {
            assert_eq!(is_read, len >= end, "field that ends at {end} of {len}");
        }
    }
}

#[test]
fn a_header_longer_than_its_packet_or_shorter_than_any_is_refused() {
    let packet = worked_packet();
    for len in [0, 5, 71, 202, 255] {
        let mut body = packet[16..].to_vec();
        body[4] = len;
        let error = Packet::decode(1, &body).unwrap_err();
        assert_eq!(error, Violation::Malformed("an RPC header"), "{len}");
    }
    for cut in 0..192 {
        assert!(Packet::decode(1, &packet[16..16 + cut]).is_err());
    }
    // All that is payload may be missing.
    assert!(
        Packet::decode(1, &packet[16..208])
            .unwrap()
            .payload
            .is_empty()
    );
}

#[test]
fn packets_are_found_however_the_stream_is_cut() {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for chid in 0..4 {
        let start = stream.len();
        let header = RpcHeader::default();
        write_packet(&mut stream, chid, &header, |w| w.zeros(chid as usize * 3)).unwrap();
        expected.push((chid, stream[start + 16..].to_vec()));
    }
    for len in 1..=stream.len() {
        let mut decoder = PacketDecoder::default();
        let frames: Vec<_> = stream
            .chunks(len)
            .flat_map(|piece| decode_all(&mut decoder, piece))
            .collect();
        assert_eq!(frames, expected, "pieces of {len}");
        assert!(!decoder.is_in_mid_packet());
    }
    for cut in 0..=stream.len() {
        let mut decoder = PacketDecoder::default();
        let (head, tail) = stream.split_at(cut);
        let mut frames = decode_all(&mut decoder, head);
        frames.extend(decode_all(&mut decoder, tail));
        assert_eq!(frames, expected, "cut at {cut}");
    }
}

#[test]
fn an_idle_decoder_holds_nothing() {
    let packet = worked_packet();
    let mut decoder = PacketDecoder::default();
    decode_all(&mut decoder, &packet[..100]);
    assert!(decoder.is_in_mid_packet());
    decode_all(&mut decoder, &packet[100..]);
    let held = format!("{decoder:?}");
    assert!(held.contains("partial: []"), "{held}");
}

#[test]
fn a_length_that_lies_is_refused_by_the_net_header() {
    let mut packet = worked_packet();
    for (len, accepted) in [
        (200u32, true),
        (1_000, true),
        (1_001, false),
        (u32::MAX, false),
    ] {
        packet[4..8].copy_from_slice(&len.to_be_bytes());
        for piece in [1, 7, 16] {
            let mut decoder = PacketDecoder::new(1_000);
            let result = packet[..16]
                .chunks(piece)
                .try_for_each(|mut piece| decoder.next(&mut piece).map(|_| ()));
            assert_eq!(result.is_ok(), accepted, "{len}");
            assert!(decoder.partial_len() <= 16);
        }
    }
    // What is promised in vain is waited for, with no more memory than what came.
    packet[4..8].copy_from_slice(&(60u32 << 20).to_be_bytes());
    let mut decoder = PacketDecoder::default();
    assert!(decoder.next(&mut &packet[..]).unwrap().is_none());
    assert!(decoder.is_in_mid_packet() && decoder.partial_len() == packet.len());
}

#[test]
fn other_protocols_are_refused() {
    for text in [
        &b"POST / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00",
        b"\x01\xdb\xdb\xcc\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        let mut decoder = PacketDecoder::default();
        assert!(decoder.next(&mut &text[..]).is_err());
    }
}

#[test]
fn a_keepalive_within_the_connection_is_told_from_a_packet() {
    let mut stream = vec![0x48, 0xdb, 0xdb, 0xce, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.extend([1, 0, 1]);
    stream.extend(worked_packet());
    let mut input = &stream[..];
    let mut decoder = PacketDecoder::default();
    let frame = decoder.next(&mut input).unwrap().unwrap();
    assert_eq!(frame.header.kind, FrameKind::EasyKeepalive);
    assert!(frame.packet().is_err());
    let frame = decoder.next(&mut input).unwrap().unwrap();
    assert_eq!(frame.packet().unwrap().chid, 0x2a);
}

#[test]
fn a_damaged_payload_is_refused() {
    let mut packet = worked_packet();
    *packet.last_mut().unwrap() ^= 1;
    let packet = Packet::decode(1, &packet[16..]).unwrap();
    assert!(matches!(
        packet.content(100),
        Err(Violation::Checksum {
            expected: 0x58e3_fa20,
            ..
        })
    ));
}

#[test]
fn responses_carry_what_their_request_had() {
    let request = RpcHeader {
        pcode: Pcode::LS_FETCH_LOG2,
        tenant_id: 1002,
        src_cluster_id: 7,
        session_id: 9,
        ..RpcHeader::default()
    };
    let mut out = Vec::new();
    let rcode = ResultCode::new(ResultCode::OK);
    write_response(&mut out, 5, &request, &rcode, |w| w.bytes(b"result")).unwrap();
    let rcode = ResultCode::new(ResultCode::TIMEOUT);
    write_response(&mut out, 6, &request, &rcode, |w| w.bytes(b"never")).unwrap();
    out.extend(refusal(
        7,
        Pcode::SET_CONFIG,
        ResultCode::UNKNOWN_CONNECTION,
    ));

    let mut decoder = PacketDecoder::default();
    let mut input = &out[..];
    let mut responses = Vec::new();
    while let Some(frame) = decoder.next(&mut input).unwrap() {
        let packet = frame.packet().unwrap();
        assert!(packet.is_response());
        let content = packet.content(100).unwrap();
        let (rcode, result) = read_response(&content).unwrap();
        let header = packet.header;
        let of = (
            packet.chid,
            header.pcode,
            header.tenant_id,
            header.dst_cluster_id,
        );
        responses.push((of, rcode.rcode, result.to_vec()));
    }
    let fetch = Pcode::LS_FETCH_LOG2;
    assert_eq!(
        responses,
        [
            ((5, fetch, 1002, 7), 0, b"result".to_vec()),
            ((6, fetch, 1002, 7), -4012, vec![]),
            ((7, Pcode::SET_CONFIG, 1, -1), -4174, vec![]),
        ]
    );
}

/// `payload` compressed by every method that is read, with the same method's decoder.
fn compressed(payload: &[u8]) -> Vec<(Compressor, Vec<u8>)> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut zlib, payload).unwrap();
    let zstd =
        ruzstd::encoding::compress_to_vec(payload, ruzstd::encoding::CompressionLevel::Fastest);
    vec![
        (Compressor::ZLIB, zlib.finish().unwrap()),
        (Compressor::LZ4_1_9_1, lz4_flex::block::compress(payload)),
        (
            Compressor::SNAPPY,
            snap::raw::Encoder::new().compress_vec(payload).unwrap(),
        ),
        (Compressor::ZSTD_1_3_8, zstd),
    ]
}

#[test]
fn compressed_payloads_are_inflated_to_their_length_and_no_further() {
    let payload: Vec<u8> = (0..100_000u32).map(|i| (i / 251) as u8).collect();
    let len = payload.len() as u32;
    for (compressor, sent) in compressed(&payload) {
        assert!(sent.len() < payload.len() / 4, "{compressor}");
        let header = RpcHeader {
            compressor,
            original_len: len,
            ..RpcHeader::default()
        };
        let mut out = Vec::new();
        write_packet(&mut out, 1, &header, |w| w.bytes(&sent)).unwrap();
        let packet = Packet::decode(1, &out[16..]).unwrap();
        assert!(packet.content(1 << 20).unwrap() == payload, "{compressor}");

        for lie in [0, 1, len - 1, len + 1, len * 2] {
            let result = compressor.inflate(&sent, lie, 1 << 20);
            assert!(result.is_err(), "{compressor} to {lie}");
        }
        let long = compressor.inflate(&sent, len, len as usize - 1);
        assert!(matches!(long, Err(Violation::TooLong { .. })));
        for cut in [0, 1, sent.len() / 2, sent.len() - 1] {
            let result = compressor.inflate(&sent[..cut], len, 1 << 20);
            assert!(result.is_err(), "{compressor} cut at {cut}");
        }
    }
}

/// A few kilobytes that say they are, or become, many megabytes.
#[test]
fn a_bomb_is_refused() {
    for (compressor, bomb) in compressed(&vec![0; 32 << 20]) {
        let result = compressor.inflate(&bomb, 1_000, 1 << 20);
        assert!(result.is_err(), "{compressor}");
        let result = compressor.inflate(&bomb, 32 << 20, 1 << 20);
        assert!(
            matches!(result, Err(Violation::TooLong { .. })),
            "{compressor}"
        );
    }
    for compressor in [Compressor::STREAM_LZ4, Compressor(12), Compressor::NONE] {
        let result = compressor.inflate(b"x", 1, 10);
        assert_eq!(result, Err(Violation::Compressor(compressor.0)));
    }
}

/// Bytes changed, cut and repeated by chance: nothing panics, and nothing is read twice or beyond
/// the end.
#[test]
fn mutated_streams_are_survived() {
    let mut rng = 0x5ea1_u64;
    let mut next = move |bound: usize| {
        rng = rng
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (rng >> 33) as usize % bound.max(1)
    };
    let seeds = mutation_seeds();
    for _ in 0..20_000 {
        let mut bytes = seeds[next(seeds.len())].clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes[at] ^= 1 << next(8),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.extend_from_within(at..),
            }
        }
        let piece = 1 + next(bytes.len());
        read_everything(&bytes, piece);
    }
}

fn mutation_seeds() -> Vec<Vec<u8>> {
    let mut packets = vec![
        worked_packet(),
        LOGIN.to_vec(),
        refusal(1, Pcode::SET_CONFIG, -4174),
        Message::new(Method::SslIo, 1).encode(),
        EasyPreamble {
            channel: EasyChannel::NetKeepalive,
            thread: 0,
        }
        .encode(),
    ];
    for (compressor, sent) in compressed(&[7; 500]) {
        let header = RpcHeader {
            compressor,
            original_len: 500,
            ..RpcHeader::default()
        };
        let mut out = Vec::new();
        write_packet(&mut out, 1, &header, |w| w.bytes(&sent)).unwrap();
        packets.push(out);
    }
    let payloads: [fn(&mut Writer<'_>); 4] = [
        |w| payload::StartLsnRequest::default().write(w),
        |w| payload::StartLsnResponse::default().write(w),
        |w| payload::FetchLogRequest::default().write(w),
        |w| payload::FetchLogResponse::default().write(w),
    ];
    for write in payloads {
        let mut out = Vec::new();
        write_packet(&mut out, 1, &RpcHeader::default(), write).unwrap();
        packets.push(out);
    }
    packets
}

fn read_everything(bytes: &[u8], piece: usize) {
    let mut decoder = PacketDecoder::new(10_000);
    for mut input in bytes.chunks(piece) {
        while let Ok(Some(frame)) = decoder.next(&mut input) {
            let Ok(packet) = frame.packet() else { continue };
            let _ = packet.content(10_000);
            let header = packet.header;
            let _ = header
                .compressor
                .inflate(packet.payload, header.original_len, 10_000);
            read_payloads(packet.payload);
        }
    }
    read_payloads(bytes);
    let _ = FirstBytes::classify(bytes);
    let _ = Message::decode(bytes);
    let _ = KeepaliveAnswer::decode(&mut Reader::new(bytes));
}

fn read_payloads(content: &[u8]) {
    let _ = read_response(content);
    let _ = payload::SetConfig::read(content);
    let _ = payload::StartLsnRequest::read(content);
    let _ = payload::StartLsnResponse::read(content);
    let _ = payload::FetchLogRequest::read(content);
    if let Ok(response) = payload::FetchLogResponse::read(content) {
        for group in response.groups(0).flatten() {
            for entry in group.entries() {
                let _ = entry;
            }
        }
    }
    for group in payload::LogGroups::new(0, content) {
        let _ = group.map(|group| group.entries().count());
    }
}
