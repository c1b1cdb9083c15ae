//! What a fuzzer, or a test with mutated recordings, does to the MySQL room: bytes go in, and
//! besides that nothing panics, what comes out has to be consistent.

use sealwire::frame::mysql::{
    Activity, Attributes, Capabilities, ChangeUser, FirstClientPacket, FirstServerPacket, Framing,
    Greeting, HandshakeResponse, Inflater, LoginReply, Ob20Reader, OkPacket, PacketAssembler,
    ServerKind, SessionWatch, SslRequest, StatusFlags, auth::Plugin,
};
use sealwire::wire::Writer;

/// A payload where a server's first packet is due.
pub fn greeting(payload: &[u8]) {
    let Ok(FirstServerPacket::Greeting(greeting)) = FirstServerPacket::parse(payload) else {
        return;
    };
    ServerKind::of(&greeting);
    assert_eq!(
        Greeting::parse(&written(|writer| greeting.write(writer))),
        Ok(greeting.clone())
    );

    let flipped = flip_ssl(greeting.capabilities);
    let mut edited = payload.to_vec();
    Greeting::set_capabilities(&mut edited, flipped).expect("it was parsed");
    assert_eq!(changed_bits(payload, &edited), 1);
    assert_eq!(
        Greeting::parse(&edited).map(|it| it.capabilities),
        Ok(flipped)
    );
}

/// A payload where a client's first packet, or its login inside of TLS, is due.
pub fn login(payload: &[u8]) {
    let _ = FirstClientPacket::parse(payload);
    let Ok(login) = HandshakeResponse::parse(payload) else {
        return;
    };
    assert!(login.attributes.iter().count() <= payload.len());
    let flipped = flip_ssl(login.capabilities);
    let mut edited = payload.to_vec();
    HandshakeResponse::set_capabilities(&mut edited, flipped).expect("it was parsed");
    assert_eq!(changed_bits(payload, &edited), 1);

    let request = SslRequest::before(payload).expect("a login is that long");
    let parsed = SslRequest::parse(&request).expect("it is a request");
    assert_eq!(parsed.capabilities, login.capabilities | Capabilities::SSL);

    let again = written(|writer| login.write(writer));
    let again = HandshakeResponse::parse(&again).expect("it was written here");
    assert_eq!(
        (again.user, again.attributes),
        (login.user, login.attributes)
    );
    let is_cut = again.auth_response != login.auth_response;
    assert!(!is_cut, "an answer that was parsed fits its encoding");
}

/// A payload where a server's reply to a login, or a client's change of user, is due. The first
/// byte says to whom.
pub fn reply(data: &[u8]) {
    let Some((&dialect, payload)) = data.split_first() else {
        return;
    };
    let kind = KINDS[usize::from(dialect) % KINDS.len()];
    let capabilities = Capabilities::from_bits(u64::from(dialect) << 19);
    if let Ok(LoginReply::Ok(ok)) = LoginReply::parse(payload, kind, Plugin::Other, capabilities) {
        let again = written(|writer| ok.write(writer));
        assert_eq!(OkPacket::parse(&again, capabilities), Ok(ok));
    }
    let _ = ChangeUser::parse(payload, capabilities | Capabilities::SECURE_CONNECTION);
    let _ = Attributes::parse(payload);
}

/// A stream where packets are due; the first byte is the longest that is accepted.
pub fn packets(data: &[u8]) {
    let Some((&len_max, stream)) = data.split_first() else {
        return;
    };
    let assemble = |piece_len: usize| {
        let mut assembler = PacketAssembler::new(len_max.into());
        let mut payloads = Vec::new();
        for mut piece in stream.chunks(piece_len) {
            loop {
                match assembler.next(&mut piece) {
                    Ok(Some(packet)) => payloads.push((packet.sequence, packet.payload.to_vec())),
                    Ok(None) => break,
                    Err(_) => return payloads,
                }
            }
        }
        payloads
    };
    let whole = assemble(stream.len().max(1));
    assert!(
        whole
            .iter()
            .all(|(_, payload)| payload.len() <= len_max.into())
    );
    assert_eq!(assemble(1), whole);
}

/// Both directions of a session behind its login. The first two bytes say how it is spoken; then a
/// byte says how long a piece is and whose it is, and the piece follows.
pub fn session(data: &[u8]) {
    let [dialect, framing, script @ ..] = data else {
        return;
    };
    let kind = KINDS[usize::from(*dialect) % KINDS.len()];
    let framing = FRAMINGS[usize::from(*framing) % FRAMINGS.len()];
    let capabilities = CAPABILITIES[usize::from(*dialect / 4) % CAPABILITIES.len()];
    let watch = |piece_len| follow(script, kind, capabilities, framing, piece_len);
    assert_eq!(watch(usize::MAX), watch(1), "pieces make no difference");
}

/// A stream where compressed frames are due.
pub fn compressed(stream: &[u8]) {
    let inflate = |piece_len: usize| {
        let mut inflater = Inflater::default();
        let mut plain = Vec::new();
        for mut piece in stream.chunks(piece_len) {
            loop {
                match inflater.next(&mut piece) {
                    Ok(Some(more)) if plain.len() < 1 << 20 => plain.extend_from_slice(more),
                    Ok(Some(_)) => return None,
                    Ok(None) => break,
                    Err(_) => return None,
                }
            }
        }
        Some(plain)
    };
    assert_eq!(inflate(stream.len().max(1)), inflate(1));
}

/// A stream where frames of protocol 2.0 are due.
pub fn ob20(stream: &[u8]) {
    let read = |piece_len: usize| {
        let mut reader = Ob20Reader::default();
        let mut plain = Vec::new();
        for mut piece in stream.chunks(piece_len) {
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(more)) => plain.extend_from_slice(more),
                    Ok(None) => break,
                    Err(error) => return (plain, Some(error)),
                }
            }
        }
        (plain, None)
    };
    assert_eq!(read(stream.len().max(1)), read(1));
}

fn follow(
    mut script: &[u8],
    kind: ServerKind,
    capabilities: Capabilities,
    framing: Framing,
    piece_len: usize,
) -> Vec<(Activity, StatusFlags, usize)> {
    let mut watch = SessionWatch::new(kind, capabilities, framing, StatusFlags::AUTOCOMMIT);
    let mut seen = Vec::new();
    let mut commands = 0;
    let mut was_lost = false;
    while let Some((&turn, rest)) = script.split_first() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(turn & 0x7f) + 1));
        script = rest;
        for piece in bytes.chunks(piece_len) {
            match turn & 0x80 {
                0 => watch.client(piece, |_, _| commands += 1),
                _ => watch.server(piece),
            }
        }
        let activity = watch.activity();
        assert!(
            !was_lost || activity == Activity::Unknown,
            "what was lost stays lost"
        );
        was_lost = activity == Activity::Unknown;
        assert!(!watch.is_safe_to_close() || activity == Activity::Idle);
        // How much was understood before a frame turned out to be broken depends on the pieces.
        let (status, commands) = match was_lost {
            true => Default::default(),
            false => (watch.status(), commands),
        };
        seen.push((activity, status, commands));
    }
    seen
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn flip_ssl(capabilities: Capabilities) -> Capabilities {
    match capabilities.contains(Capabilities::SSL) {
        true => capabilities.without(Capabilities::SSL),
        false => capabilities.with(Capabilities::SSL),
    }
}

fn changed_bits(before: &[u8], after: &[u8]) -> u32 {
    assert_eq!(before.len(), after.len());
    before
        .iter()
        .zip(after)
        .map(|(a, b)| (a ^ b).count_ones())
        .sum()
}

const KINDS: [ServerKind; 3] = [
    ServerKind::MySql,
    ServerKind::MariaDb,
    ServerKind::OceanBase,
];

const FRAMINGS: [Framing; 4] = [
    Framing::Plain,
    Framing::Zlib,
    Framing::Ob20OrPlain,
    Framing::Unreadable,
];

const CAPABILITIES: [Capabilities; 4] = [
    Capabilities::PROTOCOL_41,
    Capabilities::DEPRECATE_EOF,
    Capabilities::DEPRECATE_EOF.with(Capabilities::OPTIONAL_RESULTSET_METADATA),
    Capabilities::MARIADB_CACHE_METADATA.with(Capabilities::MARIADB_PROGRESS),
];
