//! Which sessions a change of service ends, and when: nobody knows of these what is under way in
//! them, so that they end at the deadline alone.

use super::*;

const DRAIN_S: u64 = 5;

fn bench(reload_drain_s: Option<u64>) -> Bench {
    let mut bench = Bench::new();
    bench.reload_drain_s = reload_drain_s;
    bench.serve(&[("one", &[A], SERVER_1), ("two", &[B], SERVER_1)]);
    bench
}

/// Route `one` goes elsewhere now, `two` where it went.
fn change_one(bench: &mut Bench, server: &str) {
    bench.serve(&[("one", &[A], server), ("two", &[B], SERVER_1)]);
}

impl Bench {
    fn elapse(&mut self, ms: u64) {
        let start = self.worker.engine.now().monotonic;
        self.until(|bench| {
            bench.worker.engine.now().monotonic.since(start) >= Duration::from_millis(ms)
        });
    }

    /// Whether the session lives at the end of the time in which it may.
    fn is_over((client, server): &(SimPeer, SimPeer)) -> bool {
        client.is_reset() && server.is_reset()
    }
}

#[test]
fn sessions_of_a_changed_route_end_at_the_deadline_and_others_live_on() {
    let mut bench = bench(Some(DRAIN_S));
    let (changed, other) = (bench.session(A, SERVER_1), bench.session(B, SERVER_1));
    change_one(&mut bench, SERVER_2);
    let fresh = bench.session(A, SERVER_2);
    bench.elapse(DRAIN_S * 1_000 - 500);
    bench.assert_passes(&changed.0, &changed.1);
    bench.elapse(600);
    assert!(Bench::is_over(&changed));
    for (client, server) in [&other, &fresh] {
        bench.assert_passes(client, server);
    }
    let service = bench.service.clone().unwrap();
    let totals = service.routes[0].counters.totals();
    assert_eq!(totals.failures.to_string(), "timeout=1");
}

#[test]
fn sessions_of_a_route_that_is_gone_end_too() {
    let mut bench = bench(Some(DRAIN_S));
    let gone = bench.session(A, SERVER_1);
    bench.serve(&[("two", &[B], SERVER_1)]);
    bench.elapse(DRAIN_S * 1_000 + 100);
    assert!(Bench::is_over(&gone));
}

#[test]
fn a_reload_that_changes_nothing_ends_nothing() {
    let mut bench = bench(Some(DRAIN_S));
    let session = bench.session(A, SERVER_1);
    let before = bench.service.clone().unwrap();
    change_one(&mut bench, SERVER_1);
    let after = bench.service.clone().unwrap();
    assert_eq!(after.changes_since(&before), 0);
    bench.elapse(DRAIN_S * 1_000 + 100);
    bench.assert_passes(&session.0, &session.1);
}

#[test]
fn a_reload_that_fails_ends_nothing() {
    let mut bench = bench(Some(DRAIN_S));
    let session = bench.session(A, SERVER_1);
    bench.sim.listen(&address(C));
    let routes: &[(&str, &[&str], &str)] = &[("one", &[A, C], SERVER_2)];
    bench.prepare(routes).map(drop).unwrap_err();
    bench.tell(Message::Rollback);
    bench.elapse(DRAIN_S * 1_000 + 100);
    bench.assert_passes(&session.0, &session.1);
}

#[test]
fn without_a_deadline_or_the_key_old_sessions_live_on() {
    for reload_drain_s in [None, Some(0)] {
        let mut bench = bench(reload_drain_s);
        let session = bench.session(A, SERVER_1);
        change_one(&mut bench, SERVER_2);
        bench.elapse(DRAIN_S * 1_000);
        bench.assert_passes(&session.0, &session.1);
    }
}

#[test]
fn a_second_reload_gives_nobody_more_time() {
    // The second one changes the route again, changes nothing, or takes the key away.
    for (server, drain_s) in [
        (SERVER_1, Some(DRAIN_S)),
        (SERVER_2, Some(DRAIN_S)),
        (SERVER_2, None),
    ] {
        let mut bench = bench(Some(DRAIN_S));
        let first = bench.session(A, SERVER_1);
        change_one(&mut bench, SERVER_2);
        let second = bench.session(A, SERVER_2);
        bench.elapse(3_000);
        bench.reload_drain_s = drain_s;
        change_one(&mut bench, server);
        bench.elapse(2_100);
        assert!(Bench::is_over(&first));
        bench.assert_passes(&second.0, &second.1);
        bench.elapse(3_000);
        assert_eq!(Bench::is_over(&second), server == SERVER_1);
    }
}

#[test]
fn what_was_accepted_for_a_route_that_is_changed_meanwhile_ends_too() {
    let mut bench = bench(Some(DRAIN_S));
    // In the queue of a listener that the next service has no use for.
    let queued = bench.sim.connect(&address(A)).unwrap();
    let routes: &[(&str, &[&str], &str)] = &[("one", &[C], SERVER_1), ("two", &[B], SERVER_1)];
    bench.service = Some(bench.prepare(routes).unwrap());
    bench.tell(Message::Commit(WaitGroup::new()));
    let server = bench.accept(SERVER_1);
    bench.assert_passes(&queued, &server);
    bench.elapse(DRAIN_S * 1_000 + 100);
    assert!(Bench::is_over(&(queued, server)));
}
