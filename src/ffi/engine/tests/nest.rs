//! An engine within the loop of somebody else.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

use super::*;

/// One turn of a loop around poll(): what a program with a loop of its own does.
fn turn(rig: &Rig) -> Vec<sealwire_event> {
    let timeout_ms = sealwire_engine_timeout_ms(rig.engine);
    let mut polled = libc::pollfd {
        fd: sealwire_engine_fd(rig.engine),
        events: libc::POLLIN,
        revents: 0,
    };
    let is_for_ever = timeout_ms < 0;
    let limit_ms = if is_for_ever { 20_000 } else { timeout_ms };
    // SAFETY: one pollfd, which lives as long as the call.
    let begun = Instant::now();
    unsafe { libc::poll(&raw mut polled, 1, limit_ms) };
    let is_over = begun.elapsed() >= Duration::from_millis(limit_ms as u64);
    // At its end poll looks once more: it is not enough that it finds something then.
    assert!(!is_for_ever || !is_over, "poll would have hung for ever");
    rig.wait_for(0, 8)
}

pub(super) fn another_loop_never_hangs(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.listen();
    // Nothing is to be done, and the descriptor says so.
    let begun = Instant::now();
    while sealwire_engine_timeout_ms(rig.engine) == 0 {
        assert!(begun.elapsed() < HANG, "the engine is never idle");
        rig.wait_for(0, 8);
    }
    let client = rig.client();
    rig.connect(client, listener);
    let sent = (0..400_000_u32).map(|at| at as u8).collect::<Vec<_>>();
    let (mut server, mut written, mut got, mut turns) = (ptr::null_mut(), 0, Vec::new(), 0);
    let mut is_ended = false;
    while !is_ended {
        turns += 1;
        for event in turn(&rig) {
            match event.kind {
                SEALWIRE_EVENT_ACCEPTED => server = event.conn,
                SEALWIRE_EVENT_READY | SEALWIRE_EVENT_WRITABLE if event.conn == client => {
                    written += write(client, &sent[written..]).1;
                    if written == sent.len() {
                        assert_eq!(sealwire_conn_shutdown(client), SEALWIRE_OK);
                    }
                }
                SEALWIRE_EVENT_READABLE if event.conn == server => {
                    // Never all of it: what is left inside is not seen by the kernel.
                    let (result, data) = read(server, 3_000);
                    got.extend(data);
                    is_ended = result == SEALWIRE_EOF;
                }
                _ => {}
            }
        }
    }
    assert_eq!(got, sent);
    // It waits where it can: not every turn is one of a loop that spins.
    assert!(turns < 1_000, "{turns}");
    free([client, server]);
    sealwire_listener_free(listener);
    rig.settle();
    while sealwire_engine_timeout_ms(rig.engine) == 0 {
        rig.wait_for(0, 8);
    }
    let engine = AtomicPtr::new(rig.engine);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(
                sealwire_engine_wake(engine.load(Ordering::Relaxed)),
                SEALWIRE_OK
            );
        });
        while !turn(&rig)
            .iter()
            .any(|event| event.kind == SEALWIRE_EVENT_WOKEN)
        {}
    });
}

pub(super) fn the_timeout_is_that_of_the_next_deadline(backend: c_int) {
    let rig = Rig::new(backend);
    let (mine, theirs) = sockets();
    let mut builder = ptr::null_mut();
    sealwire_config_builder_new_client(&raw mut builder);
    sealwire_config_builder_danger_accept_any_certificate(builder);
    let result = sealwire_config_builder_set_handshake_timeout_ms(builder, 150);
    assert_eq!(result, SEALWIRE_OK);
    let config = build(builder);
    let client = new_client(config);
    sealwire_config_free(config);
    rig.wait_for(0, 8);
    assert_eq!(sealwire_engine_timeout_ms(rig.engine), -1);
    let attached = Instant::now();
    let fd = theirs.into_raw_fd();
    assert_eq!(sealwire_engine_attach(rig.engine, client, fd), SEALWIRE_OK);
    assert_eq!(sealwire_engine_timeout_ms(rig.engine), 0);
    let end = loop {
        let timeout_ms = sealwire_engine_timeout_ms(rig.engine);
        assert!((0..=1_000).contains(&timeout_ms), "{timeout_ms}");
        if let Some(event) = turn(&rig).first() {
            break *event;
        }
    };
    assert_eq!(
        (end.kind, end.result),
        (SEALWIRE_EVENT_CLOSED, SEALWIRE_ERR_TIMEOUT)
    );
    assert!(attached.elapsed() >= Duration::from_millis(150));
    sealwire_conn_free(client);
    drop(mine);
}
