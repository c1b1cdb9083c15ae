//! What is shown of sessions while they are served.

use super::*;

#[test]
fn the_newest_sessions_are_shown_with_their_age_and_bytes() {
    let mut bench = Bench::new(fixed(), SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    let apart = Duration::from_millis(10);
    let mut peers = Vec::new();
    for len in 1..=3 {
        let client = bench.client();
        client.send(&pattern(len));
        let server = bench.server(SERVER);
        assert_eq!(bench.recv(&server, len), pattern(len));
        peers.push((client, server));
        let until = bench.elapsed() + apart;
        bench.until(|bench| bench.elapsed() >= until);
    }
    let live = bench.sessions.live(&bench.engine, 2);
    assert_eq!(live.count, 3);
    let mut sessions = live.sessions;
    sessions.sort_by_key(|session| session.age);
    let sent: Vec<_> = sessions.iter().map(|it| it.to_server_bytes).collect();
    assert_eq!(sent, [3, 2]);
    assert!(sessions[1].age >= sessions[0].age + apart);
    assert!(sessions.iter().all(|it| it.phase == Phase::Relaying));
    assert!(
        sessions
            .iter()
            .all(|it| it.to_client_bytes == 0 && it.client.is_none())
    );
    assert_eq!(bench.sessions.live(&bench.engine, 9).sessions.len(), 3);

    drop(peers);
    bench.assert_empty();
    assert_eq!(bench.sessions.live(&bench.engine, 9).count, 0);
    let totals = bench.totals();
    assert_eq!(totals.connects.counts.iter().sum::<u64>(), 3);
    assert!(totals.handshakes.iter().all(|it| *it == Default::default()));
}
