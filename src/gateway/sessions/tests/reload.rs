//! Sessions of MySQL whose route is changed by a reload.

use super::mysql::{Ends, IDLE, all, login, mysql_bench};
use super::*;
use crate::frame::mysql::{Capabilities, StatusFlags};
use crate::gateway::config::{
    GatewaySource, Given, LegSource, Place, RouteSource, Source, assemble,
};
use crate::gateway::service::Service;

const DRAIN: Duration = Duration::from_secs(5);

/// In service is from now on another state of the route than that of the sessions that there are.
fn reload(bench: &mut Bench) {
    let given = |value: &str| Given::flag("--test", value.to_owned());
    let leg = || LegSource {
        tls: Some(given("off")),
        ..LegSource::empty(Place::Flag("--test"))
    };
    let route = RouteSource {
        name: Some(given("test")),
        protocol: Some(given("mysql")),
        listen: vec![given("127.0.0.1:1")],
        client: leg(),
        server: LegSource {
            address: Some(given("127.0.0.1:2")),
            ..leg()
        },
        ..RouteSource::empty(Place::Flag("--test"))
    };
    let source = Source {
        gateway: GatewaySource {
            reload_drain_s: Some(Given::flag("--test", DRAIN.as_secs())),
            ..GatewaySource::default()
        },
        routes: vec![route],
        place: Place::Flag("--test"),
    };
    let service = Arc::new(Service::new(assemble(source).unwrap(), None, 1, 0).unwrap());
    bench.sessions.reloaded(&mut bench.engine, &service);
}

fn elapse(bench: &mut Bench, time: Duration) {
    let end = bench.elapsed() + time;
    bench.until(|bench| bench.elapsed() >= end);
}

#[test]
fn what_is_idle_ends_at_once_and_the_rest_when_it_is() {
    let mut bench = mysql_bench(SimOptions::default());
    let idle = Ends::logged_in(&mut bench, all(), IDLE);
    let busy = Ends::logged_in(&mut bench, all(), IDLE);
    busy.query(&mut bench);
    let in_transaction = Ends::logged_in(&mut bench, all(), IDLE);
    in_transaction.query(&mut bench);
    in_transaction.answer(&mut bench, IDLE | StatusFlags::IN_TRANS);

    let start = bench.elapsed();
    reload(&mut bench);
    idle.assert_left(&mut bench);
    busy.answer(&mut bench, IDLE);
    busy.assert_left(&mut bench);
    in_transaction.query(&mut bench);
    in_transaction.answer(&mut bench, IDLE);
    in_transaction.assert_left(&mut bench);
    assert!(bench.elapsed() - start < DRAIN);

    drop((idle, busy, in_transaction));
    bench.assert_empty();
    assert_eq!(bench.failures(), "");
}

#[test]
fn what_is_not_idle_by_the_deadline_is_broken_off_then() {
    let mut bench = mysql_bench(SimOptions::default());
    let in_transaction = Ends::logged_in(&mut bench, all(), IDLE);
    in_transaction.query(&mut bench);
    in_transaction.answer(&mut bench, IDLE | StatusFlags::IN_TRANS);
    let zstd = all().with(Capabilities::ZSTD_COMPRESSION_ALGORITHM);
    let unread = Ends::logged_in(&mut bench, zstd, IDLE);

    reload(&mut bench);
    elapse(&mut bench, DRAIN - Duration::from_millis(500));
    for ends in [&in_transaction, &unread] {
        ends.query(&mut bench);
        ends.answer(&mut bench, IDLE | StatusFlags::IN_TRANS);
    }
    elapse(&mut bench, Duration::from_millis(600));
    for ends in [&in_transaction, &unread] {
        assert!(ends.client.is_reset() && ends.server.is_reset());
    }
    drop((in_transaction, unread));
    bench.assert_empty();
    assert_eq!(bench.failures(), "timeout=2");
}

#[test]
fn a_login_that_a_reload_overtakes_is_completed_and_ended() {
    let mut bench = mysql_bench(SimOptions::default());
    let client = bench.client();
    let server = bench.server(SERVER);
    reload(&mut bench);
    let ends = Ends { client, server };
    for (from, bytes) in login(all(), IDLE) {
        ends.pass(&mut bench, from, &bytes);
    }
    ends.assert_left(&mut bench);
}

#[test]
fn the_idle_timeout_holds_for_a_session_that_is_to_end_later() {
    let mut bench = mysql_bench(SimOptions::default());
    let idle = Duration::from_secs(2);
    let route = Route {
        idle_timeout: Some(idle),
        ..mysql::mysql_route()
    };
    bench.state = Arc::new(RouteState {
        route: Arc::new(route),
        counters: bench.state.counters.clone(),
        password_key: None,
    });
    let ends = Ends::logged_in(&mut bench, all(), IDLE | StatusFlags::IN_TRANS);
    reload(&mut bench);
    let start = bench.elapsed();
    bench.until(|_| ends.client.is_eof() && ends.server.is_eof());
    assert!(bench.elapsed() - start < DRAIN);
    assert_eq!(bench.failures(), "timeout=1");
}
