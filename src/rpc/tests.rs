//! Both ends against each other, and each against lies.

use std::time::Duration;

use super::*;
use crate::error::ErrorKind;
use crate::frame::obrpc::{
    Flags, PacketDecoder, Pcode, ResultCode, RpcHeader, refusal, write_packet, write_response,
};
use crate::time::{Monotonic, Now};
use crate::wire::Reader;

mod attacks;

const ECHO: Pcode = Pcode(1);
const COUNT: Pcode = Pcode(3);

fn at(ms: u64) -> Now {
    Now {
        monotonic: Monotonic::from_ns(ms * 1_000_000),
        wall_s: 1_780_272_000,
    }
}

fn call(pcode: Pcode) -> Call {
    Call {
        header: RpcHeader {
            pcode,
            ..RpcHeader::default()
        },
        timeout: Duration::from_secs(1),
    }
}

/// What a client heard of one answer.
type Heard = (CallId, i32, Vec<u8>, bool);

struct Pair {
    client: Client,
    server: Server,
}

impl Pair {
    fn new() -> Self {
        Self {
            client: Client::new(ClientLimits::default()),
            server: Server::new(ServerLimits::default(), false),
        }
    }

    fn call(&mut self, pcode: Pcode, content: &[u8]) -> CallId {
        let call = call(pcode);
        self.client
            .call(at(0), &call, |w| w.bytes(content))
            .unwrap()
    }

    /// Gives the server what the client sent, in pieces, and serves it.
    fn serve(&mut self, piece_len: usize) {
        let sent = self.client.transmit().to_vec();
        self.client.transmitted(sent.len());
        for mut piece in sent.chunks(piece_len) {
            while serve_one(&mut self.server, &mut piece) {}
        }
    }

    /// Gives the client what the server sent, in pieces.
    fn hear(&mut self, piece_len: usize) -> Vec<Heard> {
        let sent = self.server.transmit().to_vec();
        self.server.transmitted(sent.len());
        hear(&mut self.client, &sent, piece_len)
    }
}

fn hear(client: &mut Client, sent: &[u8], piece_len: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    for mut piece in sent.chunks(piece_len) {
        while let Some(reply) = client.handle_recv(at(0), &mut piece).unwrap() {
            let result = reply.result.to_vec();
            heard.push((reply.id, reply.rcode.rcode, result, reply.has_more));
        }
    }
    heard
}

/// An echo, and a stream that counts down.
fn serve_one(server: &mut Server, input: &mut &[u8]) -> bool {
    let ok = ResultCode::new(ResultCode::OK);
    let Some(incoming) = server.handle_recv(at(0), input).unwrap() else {
        return false;
    };
    match incoming {
        Incoming::Request { request, content } if request.header.pcode == COUNT => {
            let count = Reader::new(&content).u8().unwrap();
            part(server, request, count);
        }
        Incoming::Request { request, content } => {
            let content = content.into_owned();
            server.respond(request, &ok, |w| w.bytes(&content)).unwrap();
        }
        Incoming::Next { request, .. } => {
            let left = request.header.tenant_id as u8;
            part(server, request, left);
        }
        Incoming::Aborted { .. } | Incoming::Refused { .. } => {}
    }
    true
}

/// The tenant stands for what a server would keep of a session.
fn part(server: &mut Server, request: Request, left: u8) {
    let kind = if left <= 1 { Part::Last } else { Part::More };
    server
        .respond_part(at(0), request, kind, |w| w.u8(left))
        .unwrap();
}

#[test]
fn many_calls_are_in_flight_and_answered_in_any_order() {
    for piece_len in [1, 13, 1_000, usize::MAX] {
        let mut pair = Pair::new();
        let ids: Vec<_> = (0..64u8).map(|n| pair.call(ECHO, &[n; 20])).collect();
        assert_eq!(pair.client.calls_len(), 64);
        pair.serve(piece_len);
        // The last answer first.
        let sent = pair.server.transmit().to_vec();
        let mut packets: Vec<_> = sent.chunks(sent.len() / 64).collect();
        packets.reverse();
        let heard = hear(&mut pair.client, &packets.concat(), piece_len);
        let expected: Vec<_> = (0..64u8)
            .rev()
            .map(|n| (ids[usize::from(n)], 0, vec![n; 20], false))
            .collect();
        assert_eq!(heard, expected);
        assert_eq!(pair.client.calls_len(), 0);
        assert_eq!(
            (pair.server.in_hand(), pair.client.poll_timeout()),
            (0, None)
        );
    }
}

#[test]
fn calls_made_together_leave_together() {
    let mut pair = Pair::new();
    for _ in 0..10 {
        pair.call(ECHO, b"x");
    }
    let len = pair.client.transmit().len();
    assert_eq!(len, 10 * (16 + 192 + 1));
    pair.client.transmitted(len - 1);
    assert_eq!(pair.client.transmit(), b"x");
    pair.client.transmitted(1);
    assert!(pair.client.transmit().is_empty());
}

#[test]
fn a_call_without_an_answer_is_over_at_once() {
    let mut pair = Pair::new();
    let mut one_way = call(ECHO);
    one_way.header.flags |= Flags::UNNEED_RESPONSE;
    pair.client.call(at(0), &one_way, |_| {}).unwrap();
    assert_eq!(pair.client.calls_len(), 0);
    pair.serve(usize::MAX);
    assert!(pair.server.transmit().is_empty());
    assert_eq!(pair.server.in_hand(), 0);
}

#[test]
fn deadlines_pass_in_order_and_late_answers_are_dropped() {
    let mut pair = Pair::new();
    let first = pair.call(ECHO, b"first");
    let mut slow = call(ECHO);
    slow.timeout = Duration::from_secs(2);
    let second = pair
        .client
        .call(at(0), &slow, |w| w.bytes(b"second"))
        .unwrap();
    assert_eq!(pair.client.poll_timeout(), Some(at(1_000).monotonic));
    assert_eq!(pair.client.handle_timeout(at(999)), None);
    assert_eq!(pair.client.handle_timeout(at(1_000)), Some(first));
    assert_eq!(pair.client.handle_timeout(at(1_000)), None);
    pair.serve(usize::MAX);
    let heard = pair.hear(usize::MAX);
    assert_eq!(heard, [(second, 0, b"second".to_vec(), false)]);
    assert_eq!(pair.client.unmatched(), 1);
}

#[test]
fn a_cancelled_call_is_forgotten() {
    let mut pair = Pair::new();
    let id = pair.call(ECHO, b"never mind");
    pair.client.cancel(at(0), id);
    pair.client.cancel(at(0), id);
    pair.serve(usize::MAX);
    assert!(pair.hear(usize::MAX).is_empty());
    assert_eq!((pair.client.calls_len(), pair.client.unmatched()), (0, 1));
}

#[test]
fn a_stream_comes_part_by_part_as_asked_for() {
    let mut server = Server::new(ServerLimits::default(), false);
    let mut client = Client::new(ClientLimits::default());
    let id = client.call(at(0), &call(COUNT), |w| w.u8(3)).unwrap();
    let mut left = 3;
    loop {
        let sent = client.transmit().to_vec();
        client.transmitted(sent.len());
        let incoming = server.handle_recv(at(0), &mut &sent[..]).unwrap().unwrap();
        let (Incoming::Request { request, .. } | Incoming::Next { request, .. }) = incoming else {
            panic!("{incoming:?}")
        };
        part(&mut server, request, left);
        let answer = server.transmit().to_vec();
        server.transmitted(answer.len());
        let heard = hear(&mut client, &answer, 7);
        assert_eq!(heard, [(id, 0, vec![left], left > 1)]);
        if left == 1 {
            break;
        }
        client.next_part(at(0), id).unwrap();
        let again = client.next_part(at(0), id).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Misuse);
        left -= 1;
    }
    assert_eq!(client.calls_len(), 0);
    assert_eq!((server.poll_timeout(), client.poll_timeout()), (None, None));
}

#[test]
fn a_stream_may_be_ended_by_its_client() {
    let mut pair = Pair::new();
    let id = pair.call(COUNT, &[9]);
    pair.serve(usize::MAX);
    assert_eq!(pair.hear(usize::MAX), [(id, 0, vec![9], true)]);
    assert!(
        pair.server.poll_timeout().is_some(),
        "it waits for its client"
    );
    pair.client.cancel(at(0), id);
    let sent = pair.client.transmit().to_vec();
    pair.client.transmitted(sent.len());
    let incoming = pair.server.handle_recv(at(0), &mut &sent[..]).unwrap();
    assert!(matches!(
        incoming,
        Some(Incoming::Aborted { session_id: 1 })
    ));
    assert_eq!(pair.server.poll_timeout(), None);
    assert!(
        pair.hear(usize::MAX).is_empty(),
        "nobody waits for that answer"
    );
    assert_eq!(pair.client.calls_len(), 0);

    // Another client's, or the same one's again.
    let incoming = pair.server.handle_recv(at(0), &mut &sent[..]).unwrap();
    assert!(matches!(
        incoming,
        Some(Incoming::Refused { rcode: -4128, .. })
    ));
}

#[test]
fn a_stream_that_is_not_asked_on_ends() {
    let mut pair = Pair::new();
    let id = pair.call(COUNT, &[9]);
    pair.serve(usize::MAX);
    pair.hear(usize::MAX);
    // The application of the client took too long.
    assert_eq!(pair.client.handle_timeout(at(1_000)), Some(id));
    assert!(!pair.client.transmit().is_empty(), "the server is told");
    assert_eq!(pair.server.handle_timeout(at(1_199_999)), None);
    assert_eq!(pair.server.handle_timeout(at(1_200_000)), Some(1));
    assert_eq!(pair.server.poll_timeout(), None);
}

#[test]
fn streams_that_wait_are_bounded() {
    let limits = ServerLimits {
        streams_max: 1,
        ..ServerLimits::default()
    };
    let mut pair = Pair::new();
    pair.server = Server::new(limits, false);
    pair.call(COUNT, &[9]);
    pair.call(COUNT, &[9]);
    pair.serve(usize::MAX);
    let rcodes: Vec<_> = pair.hear(usize::MAX).iter().map(|heard| heard.1).collect();
    assert_eq!(rcodes, [0, ResultCode::NOT_SUPPORTED]);
}

#[test]
fn back_pressure_reaches_both_ends() {
    let limits = ClientLimits {
        calls_max: 2,
        ..ClientLimits::default()
    };
    let mut client = Client::new(limits);
    for is_taken in [true, true, false] {
        assert_eq!(client.is_writable(), is_taken);
        let result = client.call(at(0), &call(ECHO), |_| {});
        assert_eq!(result.is_ok(), is_taken);
    }
    let mut client = Client::new(ClientLimits::default());
    client
        .call(at(0), &call(ECHO), |w| w.zeros(1 << 20))
        .unwrap();
    let error = client.call(at(0), &call(ECHO), |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);

    let limits = ServerLimits {
        requests_max: 1,
        ..ServerLimits::default()
    };
    let mut server = Server::new(limits, false);
    let mut request = Vec::new();
    write_packet(&mut request, 1, &call(ECHO).header, |_| {}).unwrap();
    assert!(server.is_readable());
    let incoming = server.handle_recv(at(0), &mut &request[..]).unwrap();
    let Some(Incoming::Request { request, .. }) = incoming else {
        panic!("no request")
    };
    assert!(!server.is_readable());
    let ok = ResultCode::new(0);
    server.respond(request, &ok, |w| w.zeros(1 << 20)).unwrap();
    assert!(!server.is_readable(), "the answer is not taken yet");
    server.transmitted(server.transmit().len());
    assert!(server.is_readable());
}

#[test]
fn answers_to_calls_never_made_are_counted_and_dropped() {
    let mut pair = Pair::new();
    let id = pair.call(ECHO, b"x");
    let mut sent = refusal(99, ECHO, 0);
    sent.extend([
        0x48, 0xdb, 0xdb, 0xce, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 7,
    ]);
    sent.extend(refusal(1, ECHO, -4012));
    sent.extend(refusal(1, ECHO, 0));
    for piece_len in [1, usize::MAX] {
        let mut client = Client::new(ClientLimits::default());
        client.call(at(0), &call(ECHO), |_| {}).unwrap();
        let heard = hear(&mut client, &sent, piece_len);
        assert_eq!(heard, [(id, -4012, vec![], false)]);
        assert_eq!(client.unmatched(), 2);
    }
}

#[test]
fn an_answer_to_something_else_ends_the_connection() {
    for answer in [
        refusal(1, COUNT, 0),
        {
            let mut request = Vec::new();
            write_packet(&mut request, 1, &call(ECHO).header, |_| {}).unwrap();
            request
        },
        b"HTTP/1.1 400 Bad Request".to_vec(),
    ] {
        let mut pair = Pair::new();
        let id = pair.call(ECHO, b"x");
        assert!(pair.client.handle_recv(at(0), &mut &answer[..]).is_err());
        assert_eq!(pair.client.abandon(), [id], "its result is unknown");
    }
    let error_packet = refusal(1, Pcode::ERROR_PACKET, -4118);
    let mut pair = Pair::new();
    let id = pair.call(ECHO, b"x");
    let heard = hear(&mut pair.client, &error_packet, 9);
    assert_eq!(heard, [(id, -4118, vec![], false)]);
}

#[test]
fn channels_in_use_are_passed_over() {
    let mut pair = Pair::new();
    pair.client.chid = u32::MAX - 1;
    let ids: Vec<_> = (0..3u8).map(|n| pair.call(ECHO, &[n])).collect();
    // All the way round: the same channels come again.
    pair.client.chid = u32::MAX - 1;
    let fourth = pair.call(ECHO, &[3]);
    pair.serve(usize::MAX);
    let heard: Vec<_> = pair
        .hear(usize::MAX)
        .into_iter()
        .map(|heard| (heard.0, heard.2))
        .collect();
    assert_eq!(heard.len(), 4);
    for (n, id) in ids.into_iter().chain([fourth]).enumerate() {
        assert!(heard.contains(&(id, vec![n as u8])));
    }
}

#[test]
fn a_connection_that_ends_takes_its_calls_with_it() {
    let mut pair = Pair::new();
    let ids = [pair.call(ECHO, b"1"), pair.call(ECHO, b"2")];
    assert_eq!(pair.client.abandon(), ids);
    assert_eq!(pair.client.poll_timeout(), None);
    assert!(pair.client.transmit().is_empty());
    assert!(pair.call(ECHO, b"3") > ids[1], "an id is never used twice");
}

#[test]
fn what_cannot_be_served_is_answered_with_the_reason() {
    let mut damaged = Vec::new();
    write_packet(&mut damaged, 7, &call(ECHO).header, |w| w.bytes(b"x")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    let mut short = damaged[..16].to_vec();
    short[7] = 4;
    short.extend([0, 0, 0, 1]);
    let mut plain = Vec::new();
    write_packet(&mut plain, 7, &call(Pcode::SET_CONFIG).header, |_| {}).unwrap();
    for (request, is_restricted, pcode, rcode) in [
        (&damaged, false, ECHO, ResultCode::PACKET_CHECKSUM_ERROR),
        (
            &short,
            false,
            Pcode::ERROR_PACKET,
            ResultCode::RPC_PACKET_INVALID,
        ),
        (
            &plain,
            true,
            Pcode::SET_CONFIG,
            ResultCode::UNKNOWN_CONNECTION,
        ),
    ] {
        let mut server = Server::new(ServerLimits::default(), is_restricted);
        let incoming = server.handle_recv(at(0), &mut &request[..]).unwrap();
        let Some(Incoming::Refused { rcode: told, .. }) = incoming else {
            panic!("served")
        };
        assert_eq!(told, rcode);
        let mut decoder = PacketDecoder::default();
        let mut answer = server.transmit();
        let packet = decoder
            .next(&mut answer)
            .unwrap()
            .unwrap()
            .packet()
            .unwrap();
        assert_eq!((packet.chid, packet.header.pcode), (7, pcode));
        assert_eq!(server.in_hand(), 0);
    }
    let mut server = Server::new(ServerLimits::default(), true);
    let mut bypass = Vec::new();
    write_packet(&mut bypass, 7, &call(Pcode::LS_FETCH_LOG2).header, |_| {}).unwrap();
    let incoming = server.handle_recv(at(0), &mut &bypass[..]).unwrap();
    assert!(matches!(incoming, Some(Incoming::Request { .. })));
}

#[test]
fn a_response_to_a_server_ends_the_connection() {
    let mut response = Vec::new();
    let ok = ResultCode::new(0);
    write_response(&mut response, 1, &call(ECHO).header, &ok, |_| {}).unwrap();
    let mut server = Server::new(ServerLimits::default(), false);
    let error = server
        .handle_recv(at(0), &mut &response[..])
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
}

#[test]
fn a_request_knows_when_its_client_gives_up() {
    let mut pair = Pair::new();
    pair.call(ECHO, b"x");
    let sent = pair.client.transmit().to_vec();
    let incoming = pair.server.handle_recv(at(5), &mut &sent[..]).unwrap();
    let Some(Incoming::Request { request, .. }) = incoming else {
        panic!("no request")
    };
    assert_eq!(request.deadline, at(1_005).monotonic);
    assert_eq!(request.header.timestamp_us, 1_780_272_000_000_000);
}
